"""
What can be trusted in the text of a reply, and what was wrong with the rest.

`reply_json` finds the entries, `likeness` says which question each of them answers. What is here decides what an entry
is worth: an entry that was cut, is empty, or holds the model's thoughts is asked for again, because a cut answer in the
training data teaches the student to stop in the middle of a sentence. Markdown is kept as it came.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from understudy.calls import Reply, likeness
from understudy.calls.likeness import Asked, Claim
from understudy.calls.reply_json import entries, number_of, question_of, text_of
from understudy.interfaces import ReplyItem

_THINKING = re.compile(r"</?(?:think|thinking)>", re.IGNORECASE)
_TEMPLATE = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|<｜[^｜<>\n]{1,40}｜>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|^<s>|</s>$"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{2,5}|#x[0-9a-f]{2,4});", re.IGNORECASE)
_NO_WORDS = "the teacher refused and gave no reason"

_TAGS = re.compile(r"\btags?[*_\s]*[:：](.*?)(?=\bparagraphs?[*_\s]*[:：]|\n|$)", re.IGNORECASE)
_TYPE = re.compile(r"\btype[*_\s]*[:：](.*?)(?=\b(?:difficulty|tags?|paragraphs?)[*_\s]*[:：]|\n|$)", re.IGNORECASE)
_DIFFICULTY = re.compile(r"\bdifficulty[*_\s]*[:：]\W*(easy|medium|hard)\b", re.IGNORECASE)
_REASONING = re.compile(r"\A[*_\s]*reasoning[*_\s]*[:：][*_]*", re.IGNORECASE)
_PARAGRAPHS = re.compile(r"\bparagraphs?[*_\s]*[:：](.*)", re.IGNORECASE)
# The labels begin a line; small models write all three lines as one, after the question mark.
_LABEL = r"(?:tags?|paragraphs?|type|difficulty)[*_\s]*[:：]"
_FIRST_LABEL = re.compile(rf"(?:(?:^|\n)[^\w\n]*|(?<=[?？؟])[^\w\n]*){_LABEL}", re.IGNORECASE)
# A line break that the model spelled out, before a label; elsewhere it is a path, or a command of LaTeX.
_SPELLED_BREAK = re.compile(rf"(?:\\n)+(?=[^\w\n]*{_LABEL})", re.IGNORECASE)
_SPAN = re.compile(r"[0-9]{1,6}")
_MOST_TAGS = 3


class Parsed(NamedTuple):
    """The entries that can be trusted, how often something was wrong, and what was refused.

    Defects: 'unasked', 'doubled' (one number, two texts), 'moved' (it stood under another number), 'misplaced' (it may
    answer another question), 'empty', 'thinking', 'template', 'control' (a character no text has), 'cut' (the reply
    ended inside an entry), 'malformed' (an entry, or the whole reply, in another shape), 'escape' (a backslash put
    back), 'refused'.
    """

    items: list[ReplyItem]
    defects: Counter[str]
    refused: dict[int, str]


def parse(reply: Reply, kind: str, numbers: Sequence[int], asked: Asked | None = None) -> Parsed:
    """The entries of `reply` that are whole; for answers, only numbers asked and at most one per number.

    With `asked`, every answer has to fit its question, whatever its number says.
    """
    defects: Counter[str] = Counter()
    claims = [claim for claim in _claims(entries(reply.text, defects), kind, defects) if _sound(claim.text, defects)]
    if kind == "answers" and asked:
        texts = _placed(claims, asked, reply, defects)
    elif kind == "answers":
        texts = _by_number(claims, set(numbers), defects)
    else:
        texts = [(claim.number, claim.text) for claim in claims]
    items = [
        _question(n, text) if kind == "questions" else ReplyItem(question_number=n, text=text) for n, text in texts
    ]
    items = [item for item in items if item.text]
    refused: dict[int, str] = {}
    if reply.finish == "refused":
        defects["refused"] += 1
        # A filter may step in late: entries that were closed before it are paid for and kept.
        missing = set(numbers) - {item.question_number for item in items}
        words = (reply.refusal or ("" if items else reply.text)).strip() or _NO_WORDS
        refused = {number: words for number in numbers if number in missing}
    elif not items and not defects:
        defects["malformed" if reply.text.strip() else "empty"] += 1
    return Parsed(items, defects, refused)


def _claims(found: Sequence[Any], kind: str, defects: Counter[str]) -> Iterator[Claim]:
    """The entries that have a number and a text, outer white space stripped."""
    for entry in found:
        number, text = (number_of(entry), text_of(entry, kind)) if isinstance(entry, dict) else (None, None)
        if number is None or not isinstance(text, str | None) or (text and not _writable(text)):
            defects["malformed"] += 1
        elif not text or not text.strip(". …\t\r\n"):
            defects["empty"] += 1
        else:
            yield Claim(number, _unescaped(text.strip()), question_of(entry) if kind == "answers" else None)


def _unescaped(text: str) -> str:
    """`text` with HTML entities as the characters they stand for, unless there is code in it."""
    return html.unescape(text).replace("\xa0", " ") if "`" not in text and _ENTITY.search(text) else text


def _writable(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _placed(claims: Sequence[Claim], asked: Asked, reply: Reply, defects: Counter[str]) -> list[tuple[int, str]]:
    """The texts by the question they answer, in the order of the questions."""
    unasked = sum(claim.number not in asked.questions for claim in claims)
    by_number: dict[int, set[str]] = {}
    for claim in claims:
        by_number.setdefault(claim.number, set()).add(claim.text)
    closed = not defects["cut"] and reply.text.rstrip().endswith(("}", "]", "`"))
    placed = likeness.place(claims, asked, whole=closed or reply.finish == "stop")
    doubled = sum(len(texts) > 1 for texts in by_number.values())
    for name, count in (("unasked", unasked), ("doubled", doubled), ("moved", placed.moved)):
        defects.update({name: count} if count else {})
    defects.update({"misplaced": placed.dropped} if placed.dropped and not unasked and not doubled else {})
    return sorted(placed.texts.items())


def _by_number(claims: Sequence[Claim], numbers: set[int], defects: Counter[str]) -> list[tuple[int, str]]:
    """One text per number asked, in the order of the reply; two different texts for one number are none."""
    texts: dict[int, set[str]] = {}
    for claim in claims:
        if claim.number in numbers:
            texts.setdefault(claim.number, set()).add(claim.text)
        else:
            defects["unasked"] += 1
    defects.update({"doubled": doubled} if (doubled := sum(len(answers) > 1 for answers in texts.values())) else {})
    return [(number, answers.pop()) for number, answers in texts.items() if len(answers) == 1]


def _sound(text: str, defects: Counter[str]) -> bool:
    """False when the model's thoughts, its chat template or control characters got into `text`."""
    patterns = {"thinking": _THINKING, "template": _TEMPLATE, "control": _CONTROL}
    defect = next((name for name, pattern in patterns.items() if pattern.search(text)), None)
    if defect:
        defects[defect] += 1
    return defect is None


def _question(number: int, text: str) -> ReplyItem:
    """The three lines of a question. Lines that are missing or odd leave the question as it is."""
    text = _SPELLED_BREAK.sub("\n", text)
    label = _FIRST_LABEL.search(text)
    question, rest = (text[: label.start()], text[label.start() :]) if label else (text, "")
    question = re.sub(
        rf"^\W*(?:Q|question)?\s*{number}\s*[.):]+\s+", "", " ".join(question.split()), flags=re.IGNORECASE
    )
    tags, paragraphs, difficulty = _TAGS.search(rest), _PARAGRAPHS.search(rest), _DIFFICULTY.search(rest)
    kind = _TYPE.search(rest)
    first, last = _span(paragraphs.group(1)) if paragraphs else (None, None)
    return ReplyItem(
        question_number=number,
        text=question.strip("*_ "),
        tags=_tags(tags.group(1)) if tags else [],
        first_paragraph=first,
        last_paragraph=last,
        type=(kind.group(1).strip(" \t\r\"'`*_.").lower() or None) if kind else None,
        difficulty=difficulty.group(1).lower() if difficulty else None,
    )


def reasoned(text: str) -> tuple[str | None, str]:
    """(reasoning, answer) of an entry that begins with its reasoning; one without a blank line has none."""
    label = _REASONING.match(text)
    reasoning, gap, answer = text[label.end() :].partition("\n\n") if label else ("", "", "")
    if not reasoning.strip() or not gap or not answer.strip():
        return None, text
    return reasoning.strip(), answer.strip()


def _tags(line: str) -> list[str]:
    tags = [tag.strip(" \t\r\"'`*_#[]().").lower() for tag in re.split(r"[,;、，]", line)]
    return list(dict.fromkeys(tag for tag in tags if any(c.isalnum() for c in tag) and len(tag) <= 40))[:_MOST_TAGS]


def _span(line: str) -> tuple[int | None, int | None]:
    """First and last of the paragraphs named, None where there are none."""
    numbers = [int(number) for number in _SPAN.findall(line)]
    return (min(numbers), max(numbers)) if numbers else (None, None)
