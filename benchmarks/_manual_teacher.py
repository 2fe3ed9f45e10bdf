"""
A generated manual, and a loopback teacher and verifier for it that find everything in what they are shown.

As a process it prints its URL first; `GET /account` says how many calls it answered, by kind:

    python -m benchmarks._manual_teacher 0.5
"""

import json
import random
import re
import sys
import threading
import time
from functools import cache
from typing import Any

from tests.fixtures.written_server import WrittenServer, shown_pairs
from understudy.calls.model_teacher import ModelTeacher
from understudy.registry import build

SYLLABLES = [f"{a}{b}" for a in "bdfgklmnprst" for b in "aeiou"]
WORDINGS = {
    "litres": ("holds {} litres", "How many litres does the {} of the {} hold?"),
    "hours": ("is cleaned every {} hours", "After how many hours is the {} of the {} cleaned?"),
    "turns": ("is opened by {} turns", "By how many turns is the {} of the {} opened?"),
    "bars": ("gives way above {} bars", "Above how many bars does the {} of the {} give way?"),
}
"""Unit > how a manual states a fact, and how it is asked for."""
FACTS = 10
"""In a section."""
MODEL = "gpt-4.1-mini"
_STATED = "|".join(stated.format(r"\d+") for stated, _ in WORDINGS.values())
_FACT = re.compile(rf"The (\w+) of the (\w+) ({_STATED})\.")
_ASKED = [re.compile(question.replace("?", r"\?").format(r"(\w+)", r"(\w+)")) for _, question in WORDINGS.values()]
_NUMBERED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
_TASK = re.compile(r"^(\d+)\. COMPARE (\d+)$", re.MULTILINE)
_COMPARED = re.compile(r'^\{"question_number": (\d+), "first"', re.MULTILINE)
_PARAGRAPH = re.compile(r"^\[(\d+)\] (.+)$", re.MULTILINE)


def noun(dice: random.Random) -> str:
    """A made-up noun of four syllables."""
    return "".join(dice.choice(SYLLABLES) for _ in range(4))


def section(number: int, characters: int, edition: int = 1) -> str:
    """A section with its heading: facts on the parts of one machine, among sentences that state none."""
    dice = random.Random(f"{number}/{edition}")
    machine = noun(random.Random(number))
    lines = [f"## {number}. Care of the {machine}"]
    sentences = []
    for _ in range(FACTS):
        stated, _ = WORDINGS[dice.choice(list(WORDINGS))]
        sentences.append(f"The {noun(dice)} of the {machine} {stated.format(dice.randint(2, 900))}.")
    while sum(map(len, sentences)) < characters:
        words = " ".join(noun(dice) for _ in range(6))
        sentences.insert(dice.randrange(len(sentences)), f"Whoever works at the {machine} knows {words}.")
    paragraphs = [" ".join(sentences[at : at + 6]) for at in range(0, len(sentences), 6)]
    return "\n\n".join([*lines, *paragraphs])


def manual(sections: int, characters: int = 4900, changed: int | None = None) -> str:
    """A manual of so many sections; `changed` is the number of one that has other facts."""
    texts = (section(n, characters, 2 if n == changed else 1) for n in range(1, sections + 1))
    return "\n\n".join(["# Works manual", *texts]) + "\n"


class ManualTeacher(WrittenServer):
    """The server: every reply takes `seconds`, every call is billed by the model's own tokens."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def usage(self, body: dict[str, Any], text: str) -> dict[str, int]:
        """By the tokenizer that the estimate counts with."""
        count = _model().tokens
        prompt, completion = sum(count(message["content"]) for message in body["messages"]), count(text)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def reply(self, messages: list[str]) -> str:
        """What it says, as JSON."""
        began, text = time.perf_counter(), messages[-1]
        kind, items = self._said(text)
        self.asked[kind] += 1
        time.sleep(max(0.0, self.seconds - (time.perf_counter() - began)))
        return json.dumps({"items": items}, ensure_ascii=False)

    def _said(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        facts = {(part, machine): stated for part, machine, stated in _FACT.findall(text)}
        if "You check pairs of a question" in text:
            return "verify", [_approved(item, facts) for item in shown_pairs(text)]
        if "first_quote" in text:
            return "contradictions", [_no_contradiction(int(number)) for number in _COMPARED.findall(text)]
        if tasks := _TASK.findall(text):
            return "compose", [_entry(int(number), _compared(list(facts.items()), int(nth))) for number, nth in tasks]
        if "\nQUESTIONS\n" in text:
            asked = _NUMBERED.findall(text.rpartition("\nQUESTIONS\n")[2])
            return "answers", [_entry(int(number), _answer(question, facts)) for number, question in asked]
        count = int(re.findall(r"Write exactly (\d+) questions", text)[-1])
        return "questions", [_entry(at, one) for at, one in enumerate(_questions(text, count), 1)]


def _no_contradiction(number: int) -> dict[str, Any]:
    return {"question_number": number, "first_quote": "", "second_quote": "", "contradicts": False, "about": ""}


def _entry(number: int, text: str) -> dict[str, Any]:
    return {"question_number": number, "text": text}


def _questions(text: str, count: int) -> list[str]:
    lines = []
    before = text.rpartition("were asked")[2] if "were asked" in text else ""
    for number, paragraph in _PARAGRAPH.findall(text):
        for part, machine, stated in _FACT.findall(paragraph):
            if part not in before:
                question = _wording(stated)[1].format(part, machine)
                place = f"tags: {machine}\nparagraphs: {number}-{number}"
                lines.append(f"{question}\ntype: recall\ndifficulty: easy\n{place}")
    return lines[:count]


def _wording(stated: str) -> tuple[str, str]:
    return next(words for unit, words in WORDINGS.items() if stated.endswith(unit))


def _answer(question: str, facts: dict[tuple[str, str], str]) -> str:
    key = next(match.groups() for pattern in _ASKED if (match := pattern.fullmatch(question)))
    part, machine = key
    stated = facts[part, machine]
    return (
        f'reasoning: The rule on this part says that it "{stated}", and it names no exception.\n\n'
        f"The {part} of the {machine} {stated}. This holds for every {part} that is built into a {machine}, whatever "
        "its age."
    )


def _compared(facts: list[tuple[tuple[str, str], str]], nth: int) -> str:
    if not facts:
        return ""
    by_machine: dict[str, list[tuple[str, str]]] = {}
    for (part, machine), stated in facts:
        by_machine.setdefault(machine, []).append((part, stated))
    (one, own), (other, others) = (list(by_machine.items()) * 2)[:2]  # two parts of one section have one machine
    (part, stated), (second, says) = own[-nth % len(own)], others[-(nth + 1) % len(others)]
    return (
        f"What do the {part} of the {one} and the {second} of the {other} each have as their rule?\n\n"
        f'reasoning: The first rule says "{stated}", the second says "{says}".\n\n'
        f"The {part} of the {one} {stated}. The {second} of the {other}, on the other hand, {says}, so that each has a "
        "rule of its own and neither can be taken for the other."
    )


def _approved(item: dict[str, Any], facts: dict[tuple[str, str], str]) -> dict[str, Any]:
    part, machine = next(key for key in facts if key[0] in item["question"])
    return {
        "question_number": item["question_number"],
        "question": item["question"],
        "evidence_quote": f"The {part} of the {machine} {facts[part, machine]}.",
        "grounded": True, "no_hallucination": True, "complete": True, "standalone": True, "reason": "",
    }  # fmt: skip


@cache
def _model() -> ModelTeacher:
    model: ModelTeacher = build("teacher", "openai", {"model": MODEL})
    return model


if __name__ == "__main__":
    with ManualTeacher(float(sys.argv[1])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
