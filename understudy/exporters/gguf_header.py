"""What the header of a GGUF file lists: its tensors and where they lie, read without the weights or the vocabulary."""

import struct
from collections import Counter
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.errors import ExportError

if TYPE_CHECKING:
    from gguf import GGUFReader


class Tensor(NamedTuple):
    """One tensor as the header lists it."""

    name: str
    type: str
    values: int
    bytes: int
    offset: int
    columns: int
    """Values of one row: what a block of a quantization must divide."""


@cache
def _reader() -> "type[GGUFReader]":
    """gguf's reader, which steps over arrays and lists tensors without looking at their weights.

    The original gives each of the half million strings of a Llama-3 vocabulary an array of its own: 9 s and 650 MB
    where this takes 0.3 s.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType

    class Reader(GGUFReader):  # type: ignore[misc]  # gguf has no types
        def _get_field_parts(self, offset: int, type: int) -> tuple[int, list[Any], list[int], list[Any]]:
            if type != GGUFValueType.ARRAY:
                size, parts, indexes, types = super()._get_field_parts(offset, type)
                return int(size), parts, indexes, types
            kind, count = struct.unpack_from("<IQ", self.data, offset)
            end = offset + 12
            if kind in self.gguf_scalar_to_np:
                end += count * self.gguf_scalar_to_np[kind]().nbytes
            else:
                for _ in range(count):
                    end += 8 + struct.unpack_from("<Q", self.data, end)[0]
            return end - offset, [], [], [GGUFValueType.ARRAY]

        def _build_tensors(self, start: int, fields: list[Any]) -> None:
            for field in fields:
                _, name, _, sides, type, offset = field.parts
                kind, values = GGMLQuantizationType(type[0]), prod(sides.tolist())
                block, size = GGML_QUANT_SIZES[kind]
                columns = int(sides[0]) if len(sides) else 1
                self.tensors.append(
                    Tensor(bytes(name).decode(), kind.name, values, values // block * size, int(offset[0]), columns)
                )

    return Reader


def tensors(file: Path) -> list[Tensor]:
    """Every tensor of `file`, which is as long as they need. Raises ExportError when it is not, or no GGUF."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise ExportError(f"{file}: not a GGUF file (it does not begin with 'GGUF'); convert the model again")
        reader = _reader()(file)
    except OSError as error:
        raise ExportError(f"{file}: cannot be read: {error.strerror}") from None
    except (struct.error, IndexError, KeyError, ValueError, OverflowError) as error:
        raise ExportError(f"{file}: its header is cut short or damaged ({error}); make the file again") from None
    listed: list[Tensor] = reader.tensors
    needed = reader.data_offset + max((tensor.offset + tensor.bytes for tensor in listed), default=0)
    if size < needed:
        raise ExportError(f"{file}: cut short: {size:,} bytes, its tensors need {needed:,}; make the file again")
    return listed


def describe(file: Path) -> tuple[dict[str, int], float]:
    """How many tensors of each type `file` holds, and its bits per weight. Raises ExportError."""
    listed = tensors(file)
    if not listed:
        raise ExportError(f"{file}: holds no tensors, only a vocabulary; convert the model again")
    counts = Counter(sorted(tensor.type for tensor in listed))
    return dict(counts), 8 * sum(t.bytes for t in listed) / sum(t.values for t in listed)


def fallbacks(file: Path, type: str) -> list[str]:
    """Which tensors of `file` are not of the kind `type` asks for because their rows cannot be, a sentence per kind."""
    block = 256 if "_K" in type or type in ("IQ4_XS", "IQ3_M", "IQ3_S") else 32
    if type in ("F16", "BF16"):
        return []
    other = [(t.type, t.columns) for t in tensors(file) if t.type != "F32" and t.columns % block]
    return [
        f"{count} tensors are {kind} instead of {type}: their rows of {columns} values are no multiple of {block}"
        for (kind, columns), count in sorted(Counter(other).items())
    ]
