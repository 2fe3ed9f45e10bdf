"""A talk over the window is cut once, at pauses, and nothing of it is lost."""

import random

import pytest

from understudy.calls.parts import parts
from understudy.errors import TeacherError
from understudy.records import Document, Paragraph


def talk(sizes: list[int], pauses: dict[int, float] | None = None, seconds: float = 60) -> Document:
    return Document(
        document_id="d", title="Tea", locator="d", how="test", duration_seconds=len(sizes) * seconds,
        paragraphs=[
            Paragraph(start_seconds=at * seconds, pause_seconds=(pauses or {}).get(at), text="word " * size)
            for at, size in enumerate(sizes)
        ],
    )  # fmt: skip


def count(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("seed", range(30))
def test_every_paragraph_is_in_one_part_and_every_part_fits(seed: int) -> None:
    draw = random.Random(seed)
    document = talk([draw.randint(1, 90) for _ in range(draw.randint(1, 60))])
    window = draw.randint(90, 900)
    result = parts(document, count, window)
    assert [p for part in result for p in part.document.paragraphs] == document.paragraphs
    assert all(sum(count(p.text) for p in part.document.paragraphs) <= window for part in result)
    assert [part.first for part in result] == [
        sum(len(before.document.paragraphs) for before in result[:at]) for at in range(len(result))
    ]
    assert {part.of for part in result} == {len(result)}


def test_a_talk_that_fits_stays_as_it_is() -> None:
    document = talk([100] * 5)
    assert [part.document for part in parts(document, count, 500)] == [document]
    assert [part.document for part in parts(document, count, None)] == [document]


def test_the_cut_is_at_the_longest_pause_near_the_middle() -> None:
    document = talk([50] * 20, {2: 30.0, 9: 1.0, 11: 8.0})
    first, second = parts(document, count, 600)
    assert second.first == 11
    assert first.document.title == "Tea (part 1 of 2)"
    assert (first.document.duration_seconds, second.document.duration_seconds) == (660, 540)


def test_a_part_too_many_can_be_asked_for_again() -> None:
    document = talk([50] * 20)
    assert len(parts(document, count, 600, at_least=2)) == 2
    assert len(parts(document, count, None, at_least=2)) == 2


def test_a_paragraph_over_the_window_is_refused_by_name() -> None:
    with pytest.raises(TeacherError, match="a paragraph of d has 700 tokens, more than the 600"):
        parts(talk([50, 700]), count, 600)
