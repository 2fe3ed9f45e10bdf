"""
What a well-formatted answer is: one definition for the gate that refuses pairs and the metric that counts answers.

A parser for the markdown that teachers write (paragraphs, bold, lists, headers, code fences), not
a CommonMark parser: deterministic, one pass, no dependency.
"""

import re
from dataclasses import dataclass

WALL_WORDS = 80
"""More words than this in one single paragraph, without a list, is a wall of text."""

_FENCE = re.compile(r"^ {0,3}(?:```|~~~).*$", re.MULTILINE)
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+(?=\S)")
_EMPTY_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]*$")
_HEADER = re.compile(r"^ {0,3}#{1,6}[ \t]+\S")
_RULE = re.compile(r"^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$")
# Bold may run over a line break, but not into the next list item or paragraph.
_SOFT_BREAK = r"\n(?![ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])(?![ \t]*\n)"
_BOLD = re.compile(rf"\*\*(?=[^\s*])(?:[^\n*]|(?<!\*)\*(?!\*)|{_SOFT_BREAK})*?(?<=[^\s])\*\*|__(?=\S)[^\n_]+?(?<=\S)__")
# A backslash and an n, spelled out; not the start of a LaTeX command such as \nabla or \nu.
_LITERAL_BREAK = re.compile(r"(?:\\n){2}|\\n(?![a-z])")
_TERMINAL = tuple(".!?…。！？")
_CLOSERS = " \t*_`\"'”’)]»"


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
    """True also where an answer may end without punctuation: a code block, a table, a list of bare items."""
    unbalanced_bold: bool
    literal_breaks: int
    """Line breaks spelled as backslash and n."""
    unclosed_fence: bool


def profile(answer: str) -> Profile:
    """The shape of `answer`."""
    prose = _INLINE_CODE.sub("code", _FENCED.sub("", answer))
    fences = len(_FENCE.findall(_FENCED.sub("", answer)))
    lines = prose.splitlines()
    paragraphs = _paragraphs(lines)
    unbold = _BOLD.sub(" ", _without_markers(lines))
    return Profile(
        paragraphs=len(paragraphs),
        longest_paragraph_words=max((len(p.split()) for p in paragraphs), default=0),
        bold_spans=len(_BOLD.findall(prose)),
        list_items=sum(_is_item(line) for line in lines),
        empty_list_items=sum(bool(_EMPTY_ITEM.match(line)) for line in lines),
        headers=sum(bool(_HEADER.match(line)) for line in lines),
        words=len(prose.split()),
        ends_with_punctuation=_ends_well(answer, lines),
        unbalanced_bold="**" in unbold,
        literal_breaks=len(_LITERAL_BREAK.findall(prose)),
        unclosed_fence=fences > 0,
    )


def problems(answer: str) -> list[str]:
    """The problems with the format of `answer`, one phrase each; [] when there are none."""
    if not answer.strip():
        return ["is empty"]
    shape = profile(answer)
    faults = []
    if shape.paragraphs == 1 and not shape.list_items and shape.longest_paragraph_words > WALL_WORDS:
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


def well_formatted(answer: str) -> bool:
    """True without problems, with two paragraphs or a list, and with a bold term."""
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
    if not _is_item(last):
        return False
    items = [line for line in lines if _is_item(line)]
    return len(items) > 1 and not any(_stops(item) for item in items)


def _stops(line: str) -> bool:
    return line.rstrip(_CLOSERS).endswith(_TERMINAL)
