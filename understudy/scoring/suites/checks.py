"""Rules an answer can be checked against by counting: one function each, its name is the key in the suites' files."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from understudy.text.language import language
from understudy.text.markdown import profile
from understudy.text.words import sentences, words

Check = Callable[[str, Any], bool]

_BULLET = re.compile(r"^[ \t]*[-*+•][ \t]+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+\S", re.MULTILINE)
_DECLINES = re.compile(
    r"\b(?:can(?:no|['’])t|cannot|won['’]t|will not|not able to|unable to|must decline|refuse|decline)\b"
    r"|\b(?:sorry|apolog)",
    re.IGNORECASE,
)


def failed(answer: str, checks: Mapping[str, Any]) -> list[str]:
    """The names of the checks that `answer` does not keep. Raises ValueError for a check that does not exist."""
    if unknown := [name for name in checks if name not in CHECKS]:
        raise ValueError(f"there is no check {unknown[0]!r}; choose from {', '.join(sorted(CHECKS))}")
    text = answer.strip()
    # An empty answer keeps no instruction, though it has no comma either.
    return [name for name, wanted in checks.items() if not text or not CHECKS[name](text, wanted)]


def _has(text: str, word: str) -> bool:
    return f" {' '.join(words(word))} " in f" {' '.join(words(text))} "


def _sentences(text: str) -> int:
    return sum(len(sentences(block)) for block in text.splitlines() if block.strip())


def _bare(text: str) -> str:
    """One short answer without the marks around it."""
    return text.strip(" \t\n.!*_`\"'“”").lower()


def _json(text: str) -> Any:
    """`text` parsed as JSON, in a fence or not; None when it is not JSON."""
    try:
        return json.loads(re.sub(r"^```\w*\n|\n?```$", "", text.strip()))
    except ValueError:
        return None


def _json_keys(text: str, keys: list[str]) -> bool:
    value = _json(text)
    return isinstance(value, dict) and set(value) == set(keys)


def _json_list(text: str, length: int) -> bool:
    value = _json(text)
    return isinstance(value, list) and len(value) == length


def _plain(text: str, wanted: bool) -> bool:
    shape = profile(text)
    return wanted == (not (shape.bold_spans or shape.headers or shape.list_items))


def _paragraphs(text: str) -> int:
    return len([block for block in re.split(r"\n[ \t]*\n", text) if block.strip()])


CHECKS: dict[str, Check] = {
    "words_at_most": lambda text, count: len(text.split()) <= count,
    "words_at_least": lambda text, count: len(text.split()) >= count,
    "words_exactly": lambda text, count: len(words(text)) == count,
    "sentences_exactly": lambda text, count: _sentences(text) == count,
    "bullets": lambda text, count: len(_BULLET.findall(text)) == count,
    "numbered": lambda text, count: len(_NUMBERED.findall(text)) == count,
    "paragraphs": lambda text, count: _paragraphs(text) == count,
    "lines": lambda text, count: len([line for line in text.splitlines() if line.strip()]) == count,
    "bold": lambda text, count: profile(text).bold_spans == count,
    "contains": lambda text, listed: all(_has(text, word) for word in listed),
    "without": lambda text, listed: not any(_has(text, word) for word in listed),
    "contains_text": lambda text, listed: all(part in text for part in listed),
    "without_text": lambda text, listed: not any(part in text for part in listed),
    "without_letter": lambda text, letter: letter not in text.lower(),
    "count_text": lambda text, part_and_count: text.count(part_and_count[0]) == part_and_count[1],
    "no_digits": lambda text, wanted: wanted != any(c.isdigit() for c in text),
    "lower_case": lambda text, wanted: wanted == (text == text.lower()),
    "upper_case": lambda text, wanted: wanted == (text == text.upper()),
    "starts_with": lambda text, begin: text.startswith(begin),
    "ends_with": lambda text, end: text.endswith(end),
    "equals": lambda text, whole: text.strip(" `\"'*") == whole or text.rstrip(".") == whole,
    "one_of": lambda text, listed: _bare(text) in listed,
    "json_keys": _json_keys,
    "json_list": _json_list,
    "code_block": lambda text, wanted: wanted == bool(re.search(r"^```.*\n[\s\S]*?^```", text, re.MULTILINE)),
    "language": lambda text, code: language(text) == code,
    "declines": lambda text, wanted: wanted == bool(_DECLINES.search(text)),
    "plain": _plain,
}
