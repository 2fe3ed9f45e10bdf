"""Words and sentences, without a model: deterministic and linear in the length of the text."""

import re

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)]))\s+(?=[\"'“‘(]*[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|Fig|vs|etc|e\.g|i\.e|cf|approx)|\b[A-Z])\.$")

_SPACED = {code: chr(code).lower() if chr(code).isalnum() or chr(code) in "'-" else " " for code in range(128)}


def words(text: str) -> list[str]:
    """The words of `text`, lower case, inner apostrophes and hyphens kept."""
    if not text.isascii():
        return _matches(text)
    # The same pattern, five times as fast.
    pieces = text.translate(_SPACED).split()
    if all(map(str.isalnum, pieces)):
        return pieces
    return [word for piece in pieces for word in ([piece] if piece.isalnum() else _matches(piece))]


def _matches(text: str) -> list[str]:
    return [match.group().lower() for match in _WORD.finditer(text)]


def sentences(text: str) -> list[str]:
    """The sentences of one paragraph. Not cut after Dr., e.g. or a single capital."""
    pieces: list[str] = []
    for piece in _SENTENCE_END.split(" ".join(text.split())):
        if pieces and _ABBREVIATION.search(pieces[-1]):
            pieces[-1] += " " + piece
        elif piece:
            pieces.append(piece)
    return pieces


def slug(name: str) -> str:
    """`name` as lower-case letters, digits and hyphens, e.g. for a channel; '' when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def one_line(text: str, limit_characters: int) -> str:
    """`text` on one line, cut at a word with an ellipsis, for tables and logs."""
    line = " ".join(text.split())
    if len(line) <= limit_characters:
        return line
    return line[: limit_characters - 1].rsplit(" ", 1)[0] + "…"
