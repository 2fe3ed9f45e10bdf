"""
Questions and answers that people wrote as Markdown, and a teacher that replies with them.

One file holds the pairs of one talk and has the talk's name. A pair is a heading with its number and question, then,
where they are known, the lines that pass 1 asks for, then the answer:

    ## 3. Why does warm dough rise faster than cold dough?
    tags: yeast, warmth
    paragraphs: 5-5

    Warm dough rises faster because ...

The teacher writes them in the form in which a model replies, so that a recording of it goes through the same prompts,
parsing and repairs as one of a model.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from understudy.calls import Call, Reply, Transport
from understudy.calls.model_teacher import ModelOptions, ModelTeacher
from understudy.calls.prices import FREE, Usd
from understudy.errors import ConfigError, TeacherStopped

_HEADING = re.compile(r"^##[ \t]+([0-9]{1,4})\.[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_LABELS = re.compile(r"\A\s*((?:(?:tags|paragraphs):.*(?:\n|\Z))*)")


class WrittenPair(NamedTuple):
    """One question of a talk with its answer."""

    number: int
    question: str
    labels: str
    """The lines `tags:` and `paragraphs:`, empty where the file has none."""
    answer: str


def read_folder(folder: Path) -> dict[str, list[WrittenPair]]:
    """The pairs of every Markdown file in `folder` but its README, by the file's name without the ending.

    Raises ConfigError with everything that is wrong in any of them.
    """
    files = sorted(file for file in folder.glob("*.md") if not file.name.startswith("README"))
    pairs: dict[str, list[WrittenPair]] = {}
    problems = [] if files else [f"no Markdown file with questions and answers is in {folder}"]
    for file in files:
        try:
            pairs[file.stem] = read(file)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return pairs


def read(file: Path) -> list[WrittenPair]:
    """The pairs in `file`, in order. Raises ConfigError when numbers have gaps or an answer is missing."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file} cannot be read as UTF-8 text: {error}"]) from error
    headings = list(_HEADING.finditer(text))
    bodies = [text[one.end() : after.start()] for one, after in pairwise(headings)]
    bodies += [text[headings[-1].end() :]] if headings else []
    pairs = [_pair(heading, body) for heading, body in zip(headings, bodies, strict=True)]
    if problems := _problems(file, pairs):
        raise ConfigError(problems)
    return pairs


def _pair(heading: re.Match[str], body: str) -> WrittenPair:
    labels = _LABELS.match(body)
    assert labels, "the pattern matches an empty text too"
    return WrittenPair(int(heading[1]), heading[2], labels[1].strip(), body[labels.end() :].strip())


def _problems(file: Path, pairs: Sequence[WrittenPair]) -> list[str]:
    if not pairs:
        return [f"{file} has no question; write one as a line `## 1. The question?` with its answer below"]
    numbers = [pair.number for pair in pairs]
    problems = [f"{file}: question {pair.number} has no answer" for pair in pairs if not pair.answer]
    if numbers != list(range(1, len(pairs) + 1)):
        problems.append(f"{file}: the numbers are {numbers}; they must run from 1 without a gap")
    return problems


class WrittenTeacher(ModelTeacher):
    """Replies to both passes over a talk with what was written about it."""

    label = "written/by-hand"
    model = "by-hand"

    def __init__(self, pairs: Mapping[str, Sequence[WrittenPair]]) -> None:
        """`pairs` by document id."""
        super().__init__(ModelOptions())
        self._pairs = pairs

    def problems(self) -> list[str]:
        """None: what is written was read before."""
        return []

    def usd(self) -> Usd:
        """Nothing: no model is asked."""
        return FREE.usd

    def _transport(self) -> Transport:
        return _Markdown(self._pairs)


class _Markdown:
    """Gives the pairs of the talk that a call is about, as the JSON that its schema asks for."""

    def __init__(self, pairs: Mapping[str, Sequence[WrittenPair]]) -> None:
        self._pairs = pairs

    async def send(self, call: Call) -> Reply:
        """All questions, or the answers to the numbers asked for. Raises TeacherStopped for any other call."""
        pairs = self._pairs.get(call.document_id, [])
        if call.kind == "questions":
            texts = [(pair, f"{pair.question}\n{pair.labels}".strip()) for pair in pairs]
        elif call.kind == "answers":
            texts = [(pair, pair.answer) for pair in pairs if pair.number in call.numbers]
        else:
            raise TeacherStopped(f"nothing is written for a call of the kind {call.kind!r}")
        items = [_entry(call, pair, text) for pair, text in texts]
        return Reply(json.dumps({"items": items}, ensure_ascii=False), "stop")


def _entry(call: Call, pair: WrittenPair, text: str) -> dict[str, int | str]:
    """The fields of the call's schema in its order, which is part of what a model is asked for."""
    assert call.schema, "both passes have a schema"
    fields: dict[str, int | str] = {"question_number": pair.number, "question": pair.question, "text": text}
    return {name: fields[name] for name in call.schema["properties"]["items"]["items"]["properties"]}
