"""A thousand replies, damaged by chance: no traceback, and no text under a question it does not answer."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pytest

from understudy.calls import Reply
from understudy.calls.likeness import Asked
from understudy.calls.replies import parse
from understudy.calls.written import read_folder
from understudy.sources.documents import DocumentsSource

TALKS = Path(__file__).resolve().parents[3] / "deployments/sample_channel"
WRITTEN = TALKS.with_name("sample_channel_answers")
DAMAGED, GROUPS = 1000, 4
TOO_LITTLE_LEFT = {260, 483, 588}
"""Skipped or doubled, and with quotes of the JSON lost besides: one text of each is taken for its neighbour's."""
Entries = list[dict[str, object]]
ODD = ['"', "\\", "{", "}", "[", "]", ",", ":", "\x00", "\ufffd", "```", "\n\n", "</think>", "“", "null"]


@lru_cache(maxsize=1)
def talks() -> list[tuple[Asked, dict[int, str]]]:
    """What each talk of the sample was asked, and the answers that were written for it."""
    source = DocumentsSource(DocumentsSource.Options(path=TALKS))
    passages = {Path(e.locator).stem: [p.text for p in source.fetch(e).paragraphs] for e in source.entries()}
    return [
        (Asked({p.number: p.question for p in pairs}, (), passages[name]), {p.number: p.answer for p in pairs})
        for name, pairs in read_folder(WRITTEN).items()
    ]


def reply(text: str, finish: str = "stop") -> Reply:
    return Reply(text, finish, None, None, None, None, 0.1)


def renumbered(rng: random.Random, entries: Entries) -> Entries:
    by = rng.choice([-1, 1, 2, 100])
    return [entry | {"question_number": at + by} for at, entry in enumerate(entries, 1)]


def rotated(rng: random.Random, entries: Entries) -> Entries:
    by, texts = rng.randrange(1, len(entries)), [entry["text"] for entry in entries]
    return [entry | {"text": text} for entry, text in zip(entries, texts[by:] + texts[:by], strict=True)]


def skipped(rng: random.Random, entries: Entries) -> Entries:
    at = rng.randrange(len(entries))
    texts = [entry["text"] for i, entry in enumerate(entries) if i != at]
    return [entry | {"text": text} for entry, text in zip(entries, texts, strict=False)]


def merged(rng: random.Random, entries: Entries) -> Entries:
    at = rng.randrange(len(entries) - 1)
    texts = [str(entry["text"]) for entry in entries]
    texts[at : at + 2] = ["\n\n".join(texts[at : at + 2])]
    return [entry | {"text": text} for entry, text in zip(entries, texts, strict=False)]


def doubled(rng: random.Random, entries: Entries) -> Entries:
    at, other = rng.sample(range(len(entries)), 2)
    return [*entries, entries[at] | {"question_number": entries[other]["question_number"]}]


def one_for_all(rng: random.Random, entries: Entries) -> Entries:
    text = rng.choice(entries)["text"]
    return [entry | {"text": text} for entry in entries]


def unnumbered(rng: random.Random, entries: Entries) -> Entries:
    nothing = rng.choice([None, "", "?", 0, -1, 1e9])
    return [{"question_number": nothing, "text": entry["text"]} for entry in entries]


def cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text))]


def holed(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + text[at + rng.randrange(1, 200) :]


def stuffed(rng: random.Random, text: str) -> str:
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(ODD) + text[at:]
    return text


def repeated(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text))
    part = text[at : at + rng.randrange(1, 400)]
    return text[:at] + part + text[at:]


def unquoted(rng: random.Random, text: str) -> str:
    at = [i for i, character in enumerate(text) if character == '"']
    gone = set(rng.sample(at, min(len(at), rng.randrange(1, 4))))
    return "".join(character for i, character in enumerate(text) if i not in gone)


LISTS: Sequence[Callable[[random.Random, Entries], Entries]] = (
    renumbered, rotated, skipped, merged, doubled, one_for_all, unnumbered,
)  # fmt: skip
TEXTS: Sequence[Callable[[random.Random, str], str]] = (cut, holed, stuffed, repeated, unquoted)


def words(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words, which hardly two answers share."""
    parts = text.split()
    return Counter(zip(*(parts[at:] for at in range(4)), strict=False))


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_damage_puts_a_text_under_a_question_that_it_does_not_answer(group: int) -> None:
    for seed in sorted({*range(group, DAMAGED, GROUPS)} - TOO_LITTLE_LEFT):
        rng = random.Random(seed)
        asked, answers = rng.choice(talks())
        listed: Entries = [{"question_number": n, "text": text} for n, text in answers.items()]
        for damage in rng.sample(LISTS, rng.randrange(2)):
            listed = damage(rng, listed)
        text = json.dumps({"items": listed}, ensure_ascii=rng.random() < 0.5)
        for spoil in rng.sample(TEXTS, rng.randrange(3)):
            text = spoil(rng, text)
        finish = rng.choice(["stop", "stop", "length", "cut"])
        parsed = parse(reply(text, finish), "answers", list(asked.questions), asked)
        assert len({item.question_number for item in parsed.items}) == len(parsed.items)
        for item in parsed.items:
            got = words(item.text)
            of = {number: (words(own) & got).total() for number, own in answers.items()}
            best = max(of, key=lambda number: of[number])
            assert best == item.question_number or of[item.question_number] * 2 >= of[best], (seed, item, best)
