"""A GGUF file written by several threads: each reads, converts and writes a chunk at its own place in the file."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from understudy.errors import ExportError
from understudy.exporters.gguf_quantize import replacing
from understudy.gguf.weights import Converted
from understudy.interfaces import Progress

if TYPE_CHECKING:
    from gguf import GGUFWriter

THREADS = 4
"""At most; each holds a few chunks, and more would only wait for the disk."""

Tensors = dict[str, "Converted | np.ndarray"]


class _Piece(NamedTuple):
    """What one thread does at a time."""

    number: int
    name: str
    start: int
    """Where the tensor begins in the file."""
    tensor: "Converted | np.ndarray"
    first: int
    rows: int


def write(writer: "GGUFWriter", out: Path, tensors: Tensors, progress: Progress) -> None:
    """Write the header that `writer` holds, then the weights, as the file `out`. Raises ExportError."""
    with replacing(out) as partial:
        try:
            start = _header(writer, partial)
            with partial.open("r+b") as file, ExitStack() as opened:
                sources = {
                    path: opened.enter_context(path.open("rb")).fileno()
                    for path in {t.stored.file for t in tensors.values() if isinstance(t, Converted)}
                }
                pieces = list(_pieces(tensors, start, writer.data_alignment))
                ends = [piece.start + piece.tensor.nbytes for piece in pieces[-1:]]
                file.truncate(-(-max([start, *ends]) // writer.data_alignment) * writer.data_alignment)
                _fill(file.fileno(), sources, pieces, len(tensors), progress)
        except OSError as error:
            raise ExportError(f"{out}: could not be written: {error.strerror or error}") from None
        finally:
            writer.close()


def _header(writer: "GGUFWriter", file: Path) -> int:
    """Write all but the weights; where these begin."""
    writer.write_header_to_file(file)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout
    return int(writer.ggml_pad(writer.fout[0].tell(), writer.data_alignment))


def _pieces(tensors: Tensors, start: int, alignment: int) -> Iterator[_Piece]:
    for number, (name, tensor) in enumerate(tensors.items()):
        for first, rows in tensor.chunks() if isinstance(tensor, Converted) else [(0, len(tensor))]:
            yield _Piece(number, name, start, tensor, first, rows)
        start += -(-tensor.nbytes // alignment) * alignment


def _fill(target: int, sources: dict[Path, int], pieces: list[_Piece], total: int, progress: Progress) -> None:
    def write_piece(piece: _Piece) -> _Piece:
        offset, content = 0, piece.tensor
        if isinstance(content, Converted):
            offset, content = content.chunk(sources[content.stored.file], piece.first, piece.rows)
        os.pwrite(target, np.ascontiguousarray(content).data, piece.start + offset)
        return piece

    reported = -1
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        try:
            for piece in threads.map(write_piece, pieces):
                if piece.number > reported:
                    reported = piece.number
                    progress(reported, total, piece.name)
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    progress(total, total)
