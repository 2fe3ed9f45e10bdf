"""Long alternations that are tried only where they can match: most answers hold none of their words."""

import re
from collections.abc import Iterable, Sequence

_ENGLISH_STARTS = tuple(
    f"{word} " for word in "what how why when where who which is are do does did can could should would will if".split()
)


class Guarded:
    """A pattern, case ignored, that cannot match a text without one of its `pieces` in it.

    `in` is about fifty times faster than an alternation of a hundred branches.
    """

    def __init__(self, pattern: str, pieces: Iterable[str], flags: re.RegexFlag = re.IGNORECASE) -> None:
        self.pattern = re.compile(pattern, flags)
        self._pieces = tuple(dict.fromkeys(pieces))

    def search(self, text: str, low: str | None = None) -> re.Match[str] | None:
        """The match of `re.search`; `low` is `folded(text)`, where it is at hand."""
        low = folded(text) if low is None else low
        for piece in self._pieces:
            if piece in low:
                return self.pattern.search(text)
        return None


def folded(text: str) -> str:
    """`text` in lower case, with the three letters that only patterns take for an i or an s."""
    if text.isascii():
        return text.lower()
    return text.replace("\u0130", "i").replace("\u0131", "i").replace("\u017f", "s").lower()


def in_english(low: str) -> bool:
    """Whether a folded text has the commonest English words, so that phrases of other languages need no search."""
    return " the " in low or " and " in low or low.startswith(_ENGLISH_STARTS)


def listed(phrases: Sequence[str], whole_words: bool = True) -> Guarded | None:
    """Finds any of `phrases`, case ignored; None for none."""
    if not phrases:
        return None
    any_of = f"(?:{'|'.join(map(re.escape, phrases))})"
    return Guarded(rf"(?<!\w){any_of}(?!\w)" if whole_words else any_of, map(piece, phrases))


def piece(phrase: str) -> str:
    """The longest stretch of `phrase` in plain ASCII: what any spelling of it in capitals folds to."""
    return max(re.split(r"[^\x00-\x7f]+", folded(phrase)), key=len)
