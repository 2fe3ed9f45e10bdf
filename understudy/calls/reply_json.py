r"""
The entries of a reply, out of the JSON in it or what is left of that.

A reply is read as JSON; where that fails, it is searched for entries whose object was closed. Nothing is completed by
guessing: an entry that was cut is asked for again. Other shapes of the same list are read where there is one way to
read them: an object keyed by number, JSON inside a string, other names of the fields, typographic quotes around them.

Models write `\frac` and `C:\Users` with one backslash, which JSON reads as a form feed or not at all. A backslash that
can only be meant as one is put back (`restored`); where it may also be a line break, the entry is given up.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

NUMBER_FIELDS = frozenset("questionnumber questionno questionid qnumber number no nr num n id index q".split())
TEXT_FIELDS = ("text", "answer", "answertext", "response", "content", "markdown")
QUESTION_FIELDS = ("question", "questiontext")
MOST_DEPTH = 3

_OBJECT = re.compile(r'\{\s*+"(?:[^"\\]|\\.)*+"(?:"(?:[^"\\]|\\.)*+"|[^"{}])*+\}', re.DOTALL)
"""A closed object that holds no other: strings are skipped as a whole, so braces in them do not count."""
_OBJECT_START = re.compile(r'\{\s*(?:"|$)')
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+")|,(?=\s*[}\]])', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_CURLY_FIELD = re.compile(r"(?<=[{,])(\s*)[“”„‟](\w+)[“”‟](\s*:)")
_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_HARMONY_FINAL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>")
_NUMBERED = re.compile(r"\W*(?:(?:q|question|no|nr|frage|answer|a)\b\W*|q)?0*([0-9]{1,6})\W*", re.IGNORECASE)
_BETWEEN = re.compile(r'"\s*\}\s*,\s*\{\s*"question_number"\s*:\s*("?[\w.# ]{1,12}"?)\s*,\s*"text"\s*:\s*"')
_FIRST = re.compile(
    r'\s*(?:```\w*\s*)?\{\s*"\w+"\s*:\s*\[\s*\{\s*"question_number"\s*:\s*("?[\w.# ]{1,12}"?)\s*,\s*"text"\s*:\s*"'
)
_LAST = re.compile(r'(?<!\\)"\s*\}\s*\]\s*\}\s*(?:```\s*)?\Z')

_BACKSLASH = re.compile(r"\\(u[0-9a-fA-F]{4}|[a-zA-Z]+|.)", re.DOTALL)
_SUSPICIOUS = re.compile(r'\\(?:[^"\\/nu]|u(?![0-9a-fA-F]{4})|n[a-z])')
_DRIVE = re.compile(r"(?<!\w)[A-Za-z]:\Z")
_PATH_ENDS = re.compile(r"\\n(?![a-z0-9_])|[\s\"'`<>|?*)]")
_LATEX_T = frozenset(
    "theta tau text textbf textit textrm textsf texttt textstyle times tan tanh tilde tfrac therefore triangle "
    "triangleleft triangleright top to thickapprox thinspace tag tiny twoheadrightarrow".split()
)
_LATEX_N = frozenset(
    "nabla ne neq neg nu not notin ni nmid nparallel nleq ngeq nsubseteq nexists nolimits nonumber".split()
)
# As words of their own they may follow a tab or a line break.
_AMBIGUOUS = frozenset("to top tan tag tiny ne ni not nu neg nparallel".split())


def is_empty_list(text: str) -> bool:
    """Whether a reply is JSON of the form that is asked for, without an entry."""
    start, end = text.find("{"), text.rfind("}")
    try:
        return bool(json.loads(text[start : end + 1]) == {"items": []})
    except ValueError:
        return False


def entries(text: str, defects: Counter[str]) -> list[Any]:
    """The entries of a reply in any state, in order; counts what was cut, malformed or restored in `defects`."""
    text = _CURLY_FIELD.sub(r'\1"\2"\3', _restored(text, defects))
    try:
        whole = json.loads(text, strict=False)  # not strict: raw line breaks in strings are common and clear
    except (ValueError, RecursionError):
        return _with_bare_quotes(text) or _closed(_without_thoughts(text, defects), defects)
    return list(flat(whole)) or ([] if _is_bare_list(whole) else [whole])


def flat(value: Any, depth: int = 0) -> Iterator[Any]:
    """The entries in `value`, whatever holds them: a list, a named list, an object by number, JSON in a string."""
    if depth > MOST_DEPTH:
        return
    if isinstance(value, str):
        try:
            yield from flat(json.loads(value, strict=False), depth + 1)
        except (ValueError, RecursionError):
            return
    elif isinstance(value, list):
        for one in value:
            yield from flat(one, depth + 1) if isinstance(one, list) else [one]
    elif isinstance(value, dict):
        if any(_plain(name) in NUMBER_FIELDS for name in value) and not any(map(_holds_entries, value.values())):
            yield value
        elif value and all(_NUMBERED.fullmatch(name) for name in value):
            for name, one in value.items():
                yield {"question_number": name} | (one if isinstance(one, dict) else {"text": one})
        else:
            for one in value.values():
                yield from flat(one, depth + 1) if isinstance(one, list | dict) else ()


def number_of(entry: dict[str, Any]) -> int | None:
    """The question number of an entry: 3, 3.0, "3", "3.", "Q3" and "#3" are one; None where there is none."""
    for name, value in entry.items():
        if _plain(name) in NUMBER_FIELDS:
            if isinstance(value, float) and value.is_integer():
                return int(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            match = _NUMBERED.fullmatch(value) if isinstance(value, str) else None
            return int(match[1]) if match else None
    return None


def text_of(entry: dict[str, Any], kind: str) -> Any:
    """The text of an entry; a list of strings is its paragraphs. Where no field has a known name: the only string."""
    named = {_plain(name): value for name, value in entry.items()}
    wanted = (*TEXT_FIELDS, *QUESTION_FIELDS) if kind == "questions" else TEXT_FIELDS
    value = next((named[name] for name in wanted if name in named), None)
    if not any(name in named for name in wanted):
        others = [v for n, v in named.items() if n not in NUMBER_FIELDS and n not in QUESTION_FIELDS]
        strings = [v for v in others if isinstance(v, str)]
        value = strings[0] if len(strings) == 1 else None
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "\n\n".join(part.strip() for part in value)
    return value


def question_of(entry: dict[str, Any]) -> str | None:
    """The question that an entry of pass 2 says it answers."""
    value = next((value for name, value in entry.items() if _plain(name) in QUESTION_FIELDS), None)
    return value if isinstance(value, str) and value.strip() else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _holds_entries(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def _is_bare_list(whole: Any) -> bool:
    return isinstance(whole, list) or (isinstance(whole, dict) and any(isinstance(v, list) for v in whole.values()))


def _without_thoughts(text: str, defects: Counter[str]) -> str:
    """What follows the thoughts at the beginning. A block of thought without an end leaves nothing."""
    if finals := list(_HARMONY_FINAL.finditer(text)):
        return text[finals[-1].end() :]
    end = _THOUGHT_END.search(text)
    if _THOUGHT.match(text):
        defects["thinking"] += not end
        return text[end.end() :] if end else ""
    # Some chat templates open the block in the prompt, so that only its end is in the reply.
    before_json = end and not re.match(r"\s*(?:```\w*\s*)?[\[{]", text)
    return text[end.end() :] if end and before_json else text


def _closed(text: str, defects: Counter[str]) -> list[Any]:
    """Every closed object in `text`, whatever stands around them: prose, fences, the ends of lists or nothing."""
    decoder, found, end, at = json.JSONDecoder(strict=False), list[Any](), 0, 0
    while start := _OBJECT_START.search(text, at):
        at = start.start()
        try:
            value, at = decoder.raw_decode(text, at)
            found += list(flat(value)) or ([] if _is_bare_list(value) else [value])
            end = at
            continue
        except (ValueError, RecursionError):
            match = _OBJECT.match(text, at)
        if match is None:
            at += 1
            continue
        end = at = match.end()
        try:
            found.append(json.loads(_TRAILING_COMMA.sub(r"\1", match.group()), strict=False))
        except (ValueError, RecursionError):
            defects["malformed"] += 1
    # The list itself opens with a brace too, so that one counts only when nothing was closed after it.
    if _OBJECT_START.search(text, end):
        defects["cut"] += 1
    return found


def _with_bare_quotes(text: str) -> list[Any]:
    """The entries of a whole reply whose texts hold quotes without a backslash; [] for anything else.

    The next number, or the end of the list, shows where a text ends: only a reply that begins and ends as it was asked
    to is read so.
    """
    first, last = _FIRST.match(text), _LAST.search(text)
    if not first or not last:
        return []
    numbers, texts, at = [first[1]], [], first.end()
    for match in _BETWEEN.finditer(text, at, last.start()):
        if _escaped(text, match.start()):
            return []
        texts.append(text[at : match.start()])
        numbers.append(match[1])
        at = match.end()
    texts.append(text[at : last.start()])
    if any('"question_number"' in one for one in texts):  # a separator that was damaged itself
        return []
    try:
        return [
            {"question_number": number.strip('"'), "text": json.loads(f'"{_quoted(one)}"', strict=False)}
            for number, one in zip(numbers, texts, strict=True)
        ]
    except ValueError:
        return []


def _escaped(text: str, at: int) -> bool:
    """Whether the character at `at` follows an odd number of backslashes."""
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _quoted(text: str) -> str:
    """`text` with a backslash before each quote that has none."""
    return re.sub(r'(\\.)|"', lambda m: m[1] or '\\"', text, flags=re.DOTALL)


def _restored(text: str, defects: Counter[str]) -> str:
    """`text` with a second backslash wherever a single one inside a string can only be meant as a backslash."""
    if not _SUSPICIOUS.search(text):
        return text
    return _STRING.sub(lambda match: _restored_string(match.group(), defects), text)


def _restored_string(literal: str, defects: Counter[str]) -> str:
    if not _SUSPICIOUS.search(literal):
        return literal
    pieces, at, path_ends = list[str](), 0, -1
    for match in _BACKSLASH.finditer(literal):
        start, run = match.start(), match[1]
        if start >= path_ends and run[0].isalnum() and _DRIVE.search(literal, max(0, start - 3), start):
            path_ends = _end_of_path(literal, start)
        meant, taken = _meant(literal, start, run, in_path=start < path_ends)
        if meant != literal[start : start + taken]:
            defects["escape"] += 1
        pieces += [literal[at:start], meant]
        at = start + taken
    return "".join([*pieces, literal[at:]])


def _meant(literal: str, start: int, run: str, in_path: bool) -> tuple[str, int]:
    """What the backslash at `start` and `run` behind it mean, as JSON; and how many characters that stands for."""
    first = run[0]
    as_it_is, literally = (f"\\{first}", 2), (f"\\\\{first}", 2)
    if first in '"\\/':
        return as_it_is
    if first in "'\n":
        return first, 2
    if in_path:
        return literally
    if first == "u":
        return (f"\\{run}", 1 + len(run)) if re.fullmatch("u[0-9a-fA-F]{4}", run) else literally
    if first == "r":
        return as_it_is if run == "r" else literally
    if first in "nt":
        commands = _LATEX_N if first == "n" else _LATEX_T
        followed = literal[start + 1 + len(run) : start + 2 + len(run)]
        sure = run in commands and (run not in _AMBIGUOUS or followed == "{" or _in_formula(literal, start))
        return literally if sure else as_it_is
    return literally


def _in_formula(literal: str, at: int) -> bool:
    """Whether an odd number of dollar signs stands before `at` in its paragraph."""
    paragraph = literal[:at].rsplit("\\n\\n", 1)[-1]
    return paragraph.count("$") % 2 == 1 or paragraph.rfind("\\(") > paragraph.rfind("\\)")


def _end_of_path(literal: str, at: int) -> int:
    """Where a path that goes on at `at` ends: at white space, a quote, or a line break before a sentence or a list."""
    end = _PATH_ENDS.search(literal, at)
    return end.start() if end else len(literal)
