"""
Vocabularies over characters with bytes as a last resort: SentencePiece's, which Mistral and Gemma use.

llama.cpp merges by the score of the merged piece. tokenizer.model (SentencePiece's own file) has the
scores; where only tokenizer.json is there, the rank of a merge says the same.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from understudy.errors import ExportError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # SentencePiece's and llama.cpp's numbers
ADDED_SCORE, PADDING_SCORE = -1000.0, -10000.0
SPACE = "\u2581"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Piece(NamedTuple):
    """One entry of the vocabulary."""

    text: str
    score: float
    kind: int


def pieces(model: Path, vocab: Mapping[str, int], merges: Sequence[str | tuple[str, str]]) -> dict[int, Piece]:
    """Token number > piece: from tokenizer.model in the folder `model`, else from tokenizer.json's own words."""
    file = model / "tokenizer.model"
    if file.exists():
        return dict(enumerate(_read(file)))
    scores: dict[str, float] = {}
    for rank, pair in enumerate(merges):
        text = "".join(pair.split(" ")) if isinstance(pair, str) else "".join(pair)
        scores.setdefault(text, -float(rank))
    last = -float(len(merges))
    return {
        number: Piece(text, 0.0 if kind == BYTE else scores.get(text, last), kind)
        for text, number in vocab.items()
        for kind in [BYTE if _BYTE.fullmatch(text) else NORMAL]
    }


def _read(file: Path) -> list[Piece]:
    """The pieces of a sentencepiece_model.proto message: field 1, in it text 1, score 2, type 3. Raises ExportError."""
    try:
        listed = [dict(_fields(content)) for number, content in _fields(file.read_bytes()) if number == 1]
        found = [
            Piece(bytes(entry[1]).decode("utf-8"), struct.unpack("<f", entry.get(2, bytes(4)))[0], entry.get(3, NORMAL))
            for entry in listed
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise ExportError(f"{file}: cannot be read as a SentencePiece model ({error!r}); copy it again") from None
    # llama.cpp's converter writes what a user defined in SentencePiece as an ordinary piece
    return [piece._replace(kind=NORMAL) if piece.kind == USER_DEFINED else piece for piece in found]


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and content of each field of a protobuf message; what is a number comes as one."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        field, wire = divmod(number(), 8)
        if wire == 0:
            yield field, number()
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire}")
        size = number() if wire == 2 else {1: 8, 5: 4}[wire]
        if at + size > len(message):
            raise ValueError("a field goes on past the end")
        yield field, message[at : at + size]
        at += size
