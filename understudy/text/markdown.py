"""
What a well-formatted answer is: one definition for the gate that refuses pairs and the metric that counts answers.

A parser for the markdown that teachers write (paragraphs, bold, lists, headers, code fences), not
a CommonMark parser: deterministic, one pass, no dependency.
"""

import re
from dataclasses import dataclass
from typing import Literal

from understudy.text.words import ends_sentence, word_count

Form = Literal["markdown", "prose"]
"""What an answer is to look like: paragraphs, lists and bold terms, or sentences alone."""

WALL_WORDS = 80
"""More words than this in one single paragraph, without a list, is a wall of text."""

_FENCE = re.compile(r"^ {0,3}(?:```|~~~).*$", re.MULTILINE)
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+(?=\S)")
_EMPTY_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]*$")
_HEADER = re.compile(r"^ {0,3}#{1,6}[ \t]+\S")
_RULE = re.compile(r"^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
# Bold may run over a line break, but not into the next list item or paragraph.
_SOFT_BREAK = r"\n(?![ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])(?![ \t]*\n)"
_BOLD = re.compile(rf"\*\*(?=[^\s*])(?:[^\n*]|(?<!\*)\*(?!\*)|{_SOFT_BREAK})*?(?<=[^\s])\*\*|__(?=\S)[^\n_]+?(?<=\S)__")
# A backslash and an n, spelled out; not the start of a LaTeX command such as \nabla or \nu.
_LITERAL_BREAK = re.compile(r"(?:\\n){2}|\\n(?![a-z])")
_SIGNS = "\u200d\u20e3\ufe0f\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_EMOJI = re.compile(rf"[{_SIGNS}][{_SIGNS}\s]*\Z")
_MOST_EMOJI = 40  # characters at an end that may be emoji, so that no long text is searched
_SCALED = r"[µμmkcdhMGTnp]?(?:g|m|s|l|L|W|V|A|Hz|J|N|Pa|Ω|B|b|eV|Wh|K|F|H|T|mol|bit|bar|cal|Nm|px)"
_NO_STOP_NEEDED = re.compile(
    # A displayed formula or one in dollars, an address, a number with its unit, a line that says who is quoted.
    r"(?:\$\$|\\\]|\\\)|\\end\{\w+\*?\}|\$[^$\n]+\$)\Z"
    r"|(?:https?://|www\.)[^\s<>]+\Z|<https?://[^\s<>]+>\Z|[\w.+-]+@[\w-]+\.\w[\w.-]*\Z"
    r"|(?<![\w/])(?:[a-z0-9-]+\.)+[a-z]{2,}/[^\s<>]*\Z"
    rf"|\d[\s\u00a0\u202f]?(?:%|‰|[€£¥₹]|°(?:[CF]\b)?|{_SCALED}(?:[²³]|\^[23])?(?:/{_SCALED}[²³]?|·{_SCALED})?"
    rf"|km/h|mph|rpm|fps|ppm|dB|dpi|kcal"
    r"|ft|lbs?|oz|psi|[кмс]?(?:м|г|л)|к?Вт|[кмМГ]?Гц|В|Дж|Н|°С)\Z|[€$£¥₹]\s?\d[\d.,]*\Z"
    r"|\A[ \t>]*[—–―-]{1,2}[ \t]*(?=[^\W\d_])[^\n]{2,60}\Z"
)
# A line of its own, after a colon or without words.
_EQUATION = re.compile(
    r"(?::\s*\n|\n\s*\n(?![^\n]*[^\W\d_]{4}[^\n]*\s[^\W\d_]{4}))[^\n]{1,60}\s[=≈≤≥<>]\s[^\n]{1,60}\Z"
)
_LONGEST_END = 400  # characters of the last line that are looked at


@dataclass(frozen=True)
class Profile:
    """The shape of one answer; code is left out of every count."""

    paragraphs: int
    """Blocks of running text between blank lines; a list, a header or a table is none."""
    longest_paragraph_words: int
    bold_spans: int
    list_items: int
    empty_list_items: int
    headers: int
    words: int
    ends_with_punctuation: bool
    """True also where an answer may end without: code, a table, a list of bare items, a formula, an address, a unit."""
    unbalanced_bold: bool
    literal_breaks: int
    """Line breaks spelled as backslash and n."""
    unclosed_fence: bool


def profile(answer: str) -> Profile:
    """The shape of `answer`."""
    # A pattern is tried only where it can match: most answers hold no code, and none a line break spelled out.
    unfenced = _FENCED.sub("", answer) if "```" in answer or "~~~" in answer else answer
    fences = len(_FENCE.findall(unfenced)) if "```" in unfenced or "~~~" in unfenced else 0
    prose = _INLINE_CODE.sub("code", unfenced) if "`" in unfenced else unfenced
    lines = prose.splitlines()
    paragraphs = _paragraphs(lines)
    unbold, bold_spans = _BOLD.subn(" ", _without_markers(lines)) if "**" in prose or "__" in prose else ("", 0)
    return Profile(
        paragraphs=len(paragraphs),
        longest_paragraph_words=max(map(word_count, paragraphs), default=0),
        bold_spans=bold_spans,
        list_items=sum(_is_item(line) for line in lines),
        empty_list_items=sum(bool(_EMPTY_ITEM.match(line)) for line in lines),
        headers=sum(bool(_HEADER.match(line)) for line in lines),
        words=word_count(prose),
        ends_with_punctuation=_ends_well(answer, lines),
        unbalanced_bold="**" in unbold,
        literal_breaks=len(_LITERAL_BREAK.findall(prose)) if "\\n" in prose else 0,
        unclosed_fence=fences > 0,
    )


def problems(answer: str, form: Form = "markdown") -> list[str]:
    """The problems with the format of `answer`, one phrase each; [] when there are none."""
    if not answer.strip():
        return ["is empty"]
    shape = profile(answer)
    faults = _no_prose(shape, answer) if form == "prose" else []
    one_block = form == "markdown" and shape.paragraphs == 1 and not shape.list_items
    if one_block and shape.longest_paragraph_words > WALL_WORDS:
        faults.append(f"a wall of text: {shape.longest_paragraph_words} words in one paragraph and no list")
    if shape.unbalanced_bold:
        faults.append("a ** without its partner")
    if shape.empty_list_items:
        faults.append(f"{shape.empty_list_items} empty list item{'s' if shape.empty_list_items > 1 else ''}")
    if shape.literal_breaks:
        faults.append("line breaks spelled out as \\n")
    if shape.unclosed_fence:
        faults.append("a code fence that is not closed")
    elif not shape.ends_with_punctuation:
        faults.append(f"does not end with punctuation: ...{' '.join(answer.split())[-24:]!r}")
    return faults


def _no_prose(shape: Profile, answer: str) -> list[str]:
    """What of markdown is in an answer that is to be prose."""
    marks = {
        "a list": shape.list_items,
        "a heading": shape.headers,
        "bold": shape.bold_spans,
        "a table": _TABLE_ROW.search(answer),
        "code": "```" in answer,
    }
    return [f"{mark} where prose is wanted" for mark, there in marks.items() if there]


def well_formatted(answer: str, form: Form = "markdown") -> bool:
    """True without problems; markdown also has two paragraphs or a list, and a bold term."""
    if form == "prose":
        return not problems(answer, form)
    shape = profile(answer)
    return (shape.paragraphs >= 2 or shape.list_items > 0) and shape.bold_spans > 0 and not problems(answer)


def _is_item(line: str) -> bool:
    return bool(_ITEM.match(line)) and not _RULE.match(line)


def _paragraphs(lines: list[str]) -> list[str]:
    """Runs of plain lines. A line right after a list item belongs to the item, as in CommonMark."""
    paragraphs: list[list[str]] = []
    open_block = None
    for line in lines:
        if not line.strip() or _HEADER.match(line) or _RULE.match(line):
            open_block = None
        elif _is_item(line) or _EMPTY_ITEM.match(line) or _TABLE_ROW.match(line):
            open_block = "other"
        elif open_block == "text":
            paragraphs[-1].append(line)
        elif open_block is None and not line.startswith(("  ", "\t")):  # an indented line continues its item
            paragraphs.append([line])
            open_block = "text"
    return [" ".join(block) for block in paragraphs]


def _without_markers(lines: list[str]) -> str:
    """The text with rules dropped and list markers replaced, so that only emphasis has stars left."""
    return "\n".join(_ITEM.sub("- ", line) for line in lines if not _RULE.match(line))


def _ends_well(answer: str, lines: list[str]) -> bool:
    last = answer.rstrip().rsplit("\n", 1)[-1]
    if _FENCE.match(last) or _TABLE_ROW.match(last) or _stops(last):
        return True
    if _NO_STOP_NEEDED.search(last[-_LONGEST_END:].rstrip(" *_")):
        return True
    if not _is_item(last):
        return bool(_EQUATION.search(answer.rstrip()[-_LONGEST_END:]))
    items = [line for line in lines if _is_item(line)]
    return len(items) > 1 and not any(_stops(item) for item in items)


def _stops(line: str) -> bool:
    if ends_sentence(line):
        return True
    emoji = None if line.isascii() else _EMOJI.search(line, max(0, len(line) - _MOST_EMOJI))
    return emoji is not None and ends_sentence(line[: emoji.start()])
