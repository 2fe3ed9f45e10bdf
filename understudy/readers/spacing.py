"""Where words meet in scripts with and without spaces: Chinese and Japanese lines join without one."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from understudy.text.words import sentences, unspaced, word_count

CHUNK_WORDS = 40  # of a stretch without any sentence end


@cache
def _wide() -> Any:
    import regex

    return regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uffef]")


def glued(before: str, after: str) -> bool:
    """Whether no space belongs between the end of `before` and the begin of `after`."""
    if not before or not after or before[-1].isascii() or after[0].isascii():
        return False
    return bool(_wide().match(before[-1]) and _wide().match(after[0]))


def join(pieces: Sequence[str]) -> str:
    """The pieces as one text, a space between two of them where the script has spaces."""
    text = pieces[0] if pieces else ""
    parts = [text]
    for before, after in pairwise(pieces):
        parts += [after] if glued(before, after) else [" ", after]
    return "".join(parts)


def ground(word: str) -> Iterator[str]:
    """A word as it is; a long stretch of a script without spaces by its sentences, and by length where none ends."""
    if word.isascii() or len(word) < CHUNK_WORDS or not unspaced(word):
        yield word
        return
    for sentence in sentences(word):
        if word_count(sentence) <= CHUNK_WORDS:
            yield sentence
        else:
            size = max(1, len(sentence) * CHUNK_WORDS // word_count(sentence))
            yield from (sentence[at : at + size] for at in range(0, len(sentence), size))
