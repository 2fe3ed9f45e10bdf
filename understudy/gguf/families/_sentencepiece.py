"""
Vocabularies over characters with bytes as a last resort: SentencePiece's, which Mistral and Gemma use.

llama.cpp merges by the score of the merged piece. tokenizer.model (SentencePiece's own file) has the
scores; where only tokenizer.json is there, the rank of a merge says the same.
"""

import re
from collections.abc import Mapping, Sequence
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
    """The pieces of SentencePiece's own file; what a user defined is an ordinary piece, as for llama.cpp."""
    from sentencepiece import SentencePieceProcessor

    try:
        model = SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError) as error:
        raise ExportError(f"{file}: cannot be read as a SentencePiece model ({error}); copy it again") from None
    kinds = {UNKNOWN: model.is_unknown, CONTROL: model.is_control, UNUSED: model.is_unused, BYTE: model.is_byte}
    return [
        Piece(
            model.id_to_piece(number),
            model.get_score(number),
            next((kind for kind, holds in kinds.items() if holds(number)), NORMAL),
        )
        for number in range(model.vocab_size())
    ]
