"""
Words, sentences and lengths in every script, without a model: deterministic and linear in the length of the text.

A word is what Unicode calls one, marks included: a letter without its vowel sign is no Hindi word. Scripts that put no
space between words (`UNSPACED`) have no words that a rule could find, so that their text counts in overlapping pairs of
characters where words are compared, and in characters per word where a length is meant.
"""

import re
from functools import cache

TERMINALS = ".!?…。！？｡؟۔।॥։።፧፨။៕។༎"
"""The marks that end a sentence, in every script that has some. Thai and Lao have none: a space does it there."""
QUESTION_MARKS = "?？؟፧՞;⸮"
CLOSERS = "\"'”’“‘»«›‹)]｣」』】）〉》*_`"
"""What may follow a mark of an end: quotes of every language (German closes with “), brackets, emphasis."""

UNSPACED = {
    "Han": 1.5,
    "Hiragana": 2.4,
    "Katakana": 2.4,
    "Thai": 4.5,
    "Lao": 4.5,
    "Khmer": 5.0,
    "Myanmar": 5.0,
    "Tibetan": 4.0,
}
"""Scripts without spaces between words, and how many characters stand for one English word in a translation."""

_WORD = r"[^\W_]+(?:['’-][^\W_]+)*"
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)]))\s+(?=[\"'“‘(]*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|Nr|Fig|vs|etc|e\.g|i\.e|cf|approx|bzw|ca)"
    r"|\b[^\W\d_])\.$"
)
_SPACED = {code: chr(code).lower() if chr(code).isalnum() or chr(code) in "'-" else " " for code in range(128)}


def words(text: str) -> list[str]:
    """The words of `text`, lower case, inner apostrophes and hyphens kept; pairs of characters in unspaced scripts."""
    if not text.isascii():
        return [token for word in _patterns().word.findall(text) for token in _tokens(word.lower())]
    # The same pattern, five times as fast.
    pieces = text.translate(_SPACED).split()
    if all(map(str.isalnum, pieces)):
        return pieces
    return [word for piece in pieces for word in ([piece] if piece.isalnum() else re.findall(_WORD, piece))]


def word_count(text: str) -> int:
    """The length of `text` in words: between spaces, and by `UNSPACED` where a script has no spaces."""
    if text.isascii():
        return len(text.split())
    spaced, unspaced = _parted(text)
    return len(spaced.split()) + round(unspaced)


def sentences(text: str) -> list[str]:
    """The sentences of one paragraph. Not cut after Dr., e.g. or a single capital."""
    line = " ".join(text.split())
    ends = _SENTENCE_END if line.isascii() else _patterns().sentence_end
    pieces: list[str] = []
    for piece in ends.split(line):
        if pieces and _ABBREVIATION.search(pieces[-1]):
            pieces[-1] += " " + piece
        elif piece:
            pieces.append(piece)
    return pieces


def ends_sentence(text: str) -> bool:
    """Whether `text` ends as a sentence does; always true of scripts that mark no end (Thai, Lao)."""
    bare = text.rstrip().rstrip(CLOSERS + " \t")
    return bare.endswith(tuple(TERMINALS)) or (not bare.isascii() and bool(_patterns().other_end.search(bare)))


def unspaced(text: str) -> bool:
    """Whether `text` holds a letter of a script without spaces between words."""
    return not text.isascii() and bool(_patterns().unspaced.search(text))


@cache
def _patterns() -> "_Patterns":
    return _Patterns()


class _Patterns:
    """The patterns that need Unicode's own properties; compiled when the first text that is not ASCII comes."""

    def __init__(self) -> None:
        import regex

        scripts = "".join(rf"\p{{{name}}}" for name in UNSPACED)
        self.word = regex.compile(_WORD)
        self.unspaced = regex.compile(rf"[{scripts}ー々〆]+")
        # A sentence of a script with capitals does not begin with a small letter; the wide marks need no space.
        quoted = rf"[{regex.escape(CLOSERS)}]*"
        self.sentence_end = regex.compile(
            rf"(?<=[{TERMINALS}]{quoted})\s+(?=[\"'“‘„«»(¿¡]*[^\p{{Ll}}\s\p{{P}}])|(?<=[。！？｡]{quoted})(?![{regex.escape(CLOSERS)}。！？｡])"
        )
        # Thai and Lao mark no end; the Greek question mark is a semicolon.
        self.other_end = regex.compile(r"[\p{Thai}\p{Lao}]$|\p{Greek};$")
        self.of_script = {name: regex.compile(rf"[\p{{{name}}}]") for name in UNSPACED}
        self.kana = regex.compile(r"[\p{Hiragana}\p{Katakana}ー]")


def _tokens(word: str) -> list[str]:
    """`word`, or the overlapping pairs of characters of its unspaced runs."""
    if word.isascii() or not _patterns().unspaced.search(word):
        return [word]
    tokens: list[str] = []
    at = 0
    for match in _patterns().unspaced.finditer(word):
        tokens += [rest] if (rest := word[at : match.start()].strip("'’-")) else []
        run, at = match.group(), match.end()
        tokens += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
    return [*tokens, rest] if (rest := word[at:].strip("'’-")) else tokens


def _parted(text: str) -> tuple[str, float]:
    """`text` without its unspaced runs, and how many words those stand for."""
    patterns, count = _patterns(), 0.0
    runs = "".join(patterns.unspaced.findall(text))
    if not runs:
        return text, 0.0
    # Kanji among kana are Japanese, which takes more characters than Chinese for the same.
    japanese = len(patterns.kana.findall(runs)) * 5 > len(runs)
    left = len(runs)
    for name, of_script in patterns.of_script.items():
        found = len(of_script.findall(runs))
        count += found / (UNSPACED["Hiragana"] if japanese else UNSPACED[name])
        left -= found
    count += left / UNSPACED["Hiragana"]
    # Punctuation between two runs is no word of its own.
    spaced = " ".join(p for p in patterns.unspaced.sub(" ", text).split() if any(c.isalnum() for c in p))
    return spaced, count


def slug(name: str) -> str:
    """`name` as lower-case letters, digits and hyphens, e.g. for a channel; '' when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def counted(count: int, noun: str) -> str:
    """'1 talk', '12 talks', '1,709 pairs': a number with its noun, which takes an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def one_line(text: str, limit_characters: int) -> str:
    """`text` on one line, cut at a word with an ellipsis, for tables and logs."""
    line = " ".join(text.split())
    if len(line) <= limit_characters:
        return line
    return line[: limit_characters - 1].rsplit(" ", 1)[0] + "…"
