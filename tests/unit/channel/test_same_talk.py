"""The same talk in two places is found by its words, and kept once."""

import random

from tests.fixtures.youtube_server import SENTENCE
from understudy.channel import same_talk
from understudy.channel.ledger import Row
from understudy.channel.same_talk import Candidate
from understudy.records import Document, Entry, Paragraph

VOCABULARY = [
    f"{first}{last}" for first in "wax wick flame cup tea heat".split() for last in "ing er ed s ly ness".split()
]


def talk(
    name: str, seed: int, length: int = 1000, wrong: float = 0.0, source: str = "", paid: bool = False
) -> Candidate:
    said, heard = random.Random(seed), random.Random(name)
    words = [said.choice(VOCABULARY) for _ in range(length)]
    words = [heard.choice(VOCABULARY) if heard.random() < wrong else word for word in words]
    paragraphs = [Paragraph(text=" ".join(words))]
    return Candidate(Document(document_id=name, title=name, locator=name, how="x", paragraphs=paragraphs), source, paid)


def test_a_talk_with_a_fifth_of_its_words_wrong_is_the_same_and_another_is_not() -> None:
    here = [talk("a", 1), talk("b", 2), talk("c", 1, wrong=0.2, source="feed"), talk("d", 3, source="feed")]
    assert same_talk.find(here) == {"c": "a"}


def test_talks_of_one_source_are_not_compared() -> None:
    assert same_talk.find([talk("a", 1), talk("b", 1)]) == {}


def test_what_was_paid_stays_then_the_whole_talk_then_the_first_source() -> None:
    assert same_talk.find([talk("a", 1), talk("b", 1, source="feed", paid=True)]) == {"a": "b"}
    assert same_talk.find([talk("a", 1, paid=True), talk("b", 1, source="feed", paid=True)]) == {}
    assert same_talk.find([talk("part", 1, 700), talk("whole", 1, 1000, source="feed")]) == {"part": "whole"}
    assert same_talk.find([talk("a", 1, 950), talk("b", 1, 1000, source="feed")]) == {"b": "a"}


def test_three_places_name_the_one_that_is_kept() -> None:
    three = [talk("part", 1, 700), talk("again", 1, 700, source="folder"), talk("whole", 1, 1000, source="feed")]
    assert same_talk.find(three) == {"part": "whole", "again": "whole"}


def test_a_few_words_are_no_evidence() -> None:
    short = Document(document_id="s", title="s", locator="s", how="x", paragraphs=[Paragraph(text=SENTENCE)])
    other = short.model_copy(update={"document_id": "t"})
    assert same_talk.find([Candidate(short, "", False), Candidate(other, "feed", False)]) == {}


def test_the_ledger_remembers_it_while_the_other_is_there() -> None:
    entry = Entry(document_id="b", title="B", locator="b", revision="1@feed")
    rows = {
        "a": Row("a", "A", "a", "1", "ok"),
        "b": Row("b", "B", "b", "1@feed", "duplicate", f"{same_talk.REASON}a"),
    }
    assert same_talk.is_known(entry, rows)
    assert not same_talk.is_known(entry, rows | {"a": rows["a"]._replace(status="excluded")})
    assert not same_talk.is_known(entry.model_copy(update={"revision": "2@feed"}), rows)
    assert not same_talk.is_known(entry, {})
