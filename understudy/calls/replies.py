"""
What can be trusted in the text of a reply, and what was wrong with the rest.

A reply is read as JSON; where that fails, it is searched for entries whose JSON object was closed.
Nothing is ever completed by guessing: an entry that was cut is asked for again, because a cut
answer in the training data teaches the student to stop in the middle of a sentence. Markdown is kept as it came.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from understudy.calls import Reply
from understudy.interfaces import ReplyItem

# A closed object that holds no other: strings are skipped as a whole, so braces in them do not count.
_OBJECT = re.compile(r'\{\s*+"(?:[^"\\]|\\.)*+"(?:"(?:[^"\\]|\\.)*+"|[^"{}])*+\}', re.DOTALL)
_OBJECT_START = re.compile(r'\{\s*(?:"|$)')
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+")|,(?=\s*[}\]])', re.DOTALL)
_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_THINKING = re.compile(r"</?(?:think|thinking)>", re.IGNORECASE)
_TEMPLATE = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|<｜[^｜<>\n]{1,40}｜>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|^<s>|</s>$"
)
_NO_WORDS = "the teacher refused and gave no reason"

_TAGS = re.compile(r"\btags?[*_\s]*[:：](.*?)(?=\bparagraphs?[*_\s]*[:：]|\n|$)", re.IGNORECASE)
_PARAGRAPHS = re.compile(r"\bparagraphs?[*_\s]*[:：](.*)", re.IGNORECASE)
# The labels begin a line; small models write all three lines as one, after the question mark.
_FIRST_LABEL = re.compile(r"(?:(?:^|\n)[^\w\n]*|(?<=[?？؟])[^\w\n]*)(?:tags?|paragraphs?)[*_\s]*[:：]", re.IGNORECASE)
_SPAN = re.compile(r"[0-9]{1,6}")
_MOST_TAGS = 3


class Parsed(NamedTuple):
    """The entries that can be trusted, how often something was wrong, and what was refused.

    Defects: 'unasked', 'doubled' (one number, two texts), 'empty', 'thinking', 'template', 'cut' (the
    reply ended inside an entry), 'malformed' (an entry, or the whole reply, in another shape), 'refused'.
    """

    items: list[ReplyItem]
    defects: Counter[str]
    refused: dict[int, str]


def parse(reply: Reply, kind: str, numbers: Sequence[int]) -> Parsed:
    """The entries of `reply` that are whole; for answers, only numbers asked and at most one per number."""
    defects: Counter[str] = Counter()
    entries = list(_numbered(_entries(reply.text, defects), defects))
    if kind == "answers":
        entries = _answers(entries, set(numbers), defects)
    sound = [(number, text) for number, text in entries if _sound(text, defects)]
    items = [
        _question(n, text) if kind == "questions" else ReplyItem(question_number=n, text=text) for n, text in sound
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


def _entries(text: str, defects: Counter[str]) -> list[Any]:
    """The entries of a reply in any state, in order; counts what was cut."""
    try:
        whole = json.loads(text, strict=False)  # not strict: raw line breaks in strings are common and clear
    except (ValueError, RecursionError):
        return _closed(_without_thoughts(text, defects), defects)
    items = whole.get("items", whole) if isinstance(whole, dict) else whole
    if isinstance(items, dict) and "question_number" not in items:
        return _closed(text, defects)  # the list has another name
    return items if isinstance(items, list) else [items]


def _without_thoughts(text: str, defects: Counter[str]) -> str:
    """What follows the block of thought at the beginning. A block without an end leaves nothing."""
    end = _THOUGHT_END.search(text)
    if _THOUGHT.match(text):
        defects["thinking"] += not end
        return text[end.end() :] if end else ""
    # Some chat templates open the block in the prompt, so that only its end is in the reply.
    before_json = end and not re.match(r"\s*(?:```\w*\s*)?[\[{]", text)
    return text[end.end() :] if end and before_json else text


def _closed(text: str, defects: Counter[str]) -> list[Any]:
    """Every closed object in `text`, whatever stands around them: prose, fences, the ends of lists or nothing."""
    entries, end = [], 0
    for match in _OBJECT.finditer(text):
        end = match.end()
        try:
            entries.append(json.loads(_TRAILING_COMMA.sub(r"\1", match.group()), strict=False))
        except (ValueError, RecursionError):
            defects["malformed"] += 1
    # The list itself opens with a brace too, so that one counts only when nothing was closed after it.
    if _OBJECT_START.search(text, end):
        defects["cut"] += 1
    return entries


def _numbered(entries: Sequence[Any], defects: Counter[str]) -> Iterator[tuple[int, str]]:
    """Number and text of the entries that have both, outer white space stripped."""
    for entry in entries:
        number, text = (entry.get("question_number"), entry.get("text")) if isinstance(entry, dict) else (None, None)
        if isinstance(number, str) and re.fullmatch(r"\s*[0-9]{1,6}\s*", number):
            number = int(number)
        if (
            not isinstance(number, int)
            or isinstance(number, bool)
            or not isinstance(text, str | None)
            or (text and not _writable(text))
        ):
            defects["malformed"] += 1
        elif not text or not text.strip():
            defects["empty"] += 1
        else:
            yield number, text.strip()


def _writable(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _answers(entries: list[tuple[int, str]], numbers: set[int], defects: Counter[str]) -> list[tuple[int, str]]:
    """One text per number asked, in the order of the reply; two different texts for one number are none."""
    texts: dict[int, set[str]] = {}
    for number, text in entries:
        if number in numbers:
            texts.setdefault(number, set()).add(text)
        else:
            defects["unasked"] += 1
    defects.update({"doubled": doubled} if (doubled := sum(len(answers) > 1 for answers in texts.values())) else {})
    return [(number, answers.pop()) for number, answers in texts.items() if len(answers) == 1]


def _sound(text: str, defects: Counter[str]) -> bool:
    """False when the model's thoughts or its chat template got into `text`."""
    defect = "thinking" if _THINKING.search(text) else "template" if _TEMPLATE.search(text) else None
    if defect:
        defects[defect] += 1
    return defect is None


def _question(number: int, text: str) -> ReplyItem:
    """The three lines of a question. Lines that are missing or odd leave the question as it is."""
    text = text.replace("\\n", "\n")
    label = _FIRST_LABEL.search(text)
    question, rest = (text[: label.start()], text[label.start() :]) if label else (text, "")
    question = re.sub(
        rf"^\W*(?:Q|question)?\s*{number}\s*[.):]+\s+", "", " ".join(question.split()), flags=re.IGNORECASE
    )
    tags, paragraphs = _TAGS.search(rest), _PARAGRAPHS.search(rest)
    first, last = _span(paragraphs.group(1)) if paragraphs else (None, None)
    return ReplyItem(
        question_number=number,
        text=question.strip("*_ "),
        tags=_tags(tags.group(1)) if tags else [],
        first_paragraph=first,
        last_paragraph=last,
    )


def _tags(line: str) -> list[str]:
    tags = [tag.strip(" \t\r\"'`*_#[]().").lower() for tag in re.split(r"[,;、，]", line)]
    return list(dict.fromkeys(tag for tag in tags if any(c.isalnum() for c in tag) and len(tag) <= 40))[:_MOST_TAGS]


def _span(line: str) -> tuple[int | None, int | None]:
    """First and last of the paragraphs named, None where there are none."""
    numbers = [int(number) for number in _SPAN.findall(line)]
    return (min(numbers), max(numbers)) if numbers else (None, None)
