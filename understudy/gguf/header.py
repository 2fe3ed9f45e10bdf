"""What the header of a GGUF file says: its metadata, its tensors and where they lie, read without the weights."""

import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import ExportError

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF's number of a type of value > its sign for `struct`."""
ALIGNMENT = 32


class Tensor(NamedTuple):
    """One tensor as the header lists it."""

    name: str
    type: str
    values: int
    bytes: int
    offset: int
    """From the first byte of the weights, which is `Header.start`."""
    columns: int
    """Values of one row: what a block of a quantization must divide."""
    shape: tuple[int, ...]
    """Rows first, as in a safetensors file."""


class Header(NamedTuple):
    """All of a GGUF file but its weights."""

    file: Path
    metadata: dict[str, Any]
    """Key > number, truth, text or list of these. Bytes that are no UTF-8 are kept as surrogates."""
    tensors: list[Tensor]
    start: int
    """Where the weights begin in the file."""


def read(file: Path) -> Header:
    """The header of `file`, which is as long as its tensors need. Raises ExportError when it is not, or no GGUF.

    Not by `gguf.GGUFReader`: it gives each of the half million strings of a Llama-3 vocabulary an array of its own,
    9 s and 650 MB where this takes 0.5 s.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise ExportError(f"{file}: not a GGUF file (it does not begin with 'GGUF'); convert the model again")
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                header = _Cursor(content).header(file)
    except OSError as error:
        raise ExportError(f"{file}: cannot be read: {error.strerror}") from None
    except (struct.error, KeyError, ValueError, OverflowError, MemoryError) as error:
        raise ExportError(f"{file}: its header is cut short or damaged ({error}); make the file again") from None
    needed = max((header.start + tensor.offset + tensor.bytes for tensor in header.tensors), default=0)
    if size < needed:
        raise ExportError(f"{file}: cut short: {size:,} bytes, its tensors need {needed:,}; make the file again")
    return header


def tensors(file: Path) -> list[Tensor]:
    """Every tensor of `file`. Raises ExportError like `read`."""
    return read(file).tensors


class _Cursor:
    """A place in the header, which moves on with everything that is read."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.at = content, 4

    def header(self, file: Path) -> Header:
        version = self.number("I")
        if version not in (2, 3):
            raise ValueError(f"version {version}, where 2 and 3 are known")
        tensors, keys = self.number("Q"), self.number("Q")
        metadata = {self.text(): self.value(self.number("I")) for _ in self.times(keys)}
        listed = [self.tensor() for _ in self.times(tensors)]
        alignment = int(metadata.get("general.alignment", ALIGNMENT))
        return Header(file, metadata, listed, -(-self.at // alignment) * alignment)

    def tensor(self) -> Tensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self.text()
        sides = [self.number("Q") for _ in self.times(self.number("I"))]
        kind, offset = GGMLQuantizationType(self.number("I")), self.number("Q")
        (block, size), values = GGML_QUANT_SIZES[kind], prod(sides)
        columns = sides[0] if sides else 1
        return Tensor(name, kind.name, values, values // block * size, offset, columns, tuple(reversed(sides)))

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(SCALARS[kind])
        inner, count = self.number("I"), self.number("Q")
        if inner in (STRING, ARRAY):
            return [self.value(inner) for _ in self.times(count)]
        return list(self.unpack(f"<{count}{SCALARS[inner]}"))

    def number(self, sign: str) -> Any:
        return self.unpack(f"<{sign}")[0]

    def text(self) -> str:
        length = self.number("Q")
        end = self.at + length
        if end > len(self.content):
            raise ValueError(f"a text of {length:,} bytes at byte {self.at:,}")
        text, self.at = self.content[self.at : end], end
        return text.decode("utf-8", errors="surrogateescape")

    def unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return values

    def times(self, count: int) -> Iterator[int]:
        if count > len(self.content):  # a damaged count must not become a long wait
            raise ValueError(f"a count of {count:,} at byte {self.at:,}")
        return iter(range(count))


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
