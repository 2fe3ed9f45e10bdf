"""The numbers of a dataset are those of its pairs, and every picture can be opened."""

import struct
import zlib
from xml.etree import ElementTree

import pytest

from tests.unit.pairs import ANSWER, pair
from understudy.dataset.describe import Coverage, coverage, describe, ticks
from understudy.dataset.description import markdown
from understudy.dataset.pictures import drawings
from understudy.errors import DatasetError
from understudy.records import Document, Leakage, Pair, Paragraph, Question, Questions, SplitPlan
from understudy.report.drawing import drawable

VIDEO, FOLDER = "yt-abcdefghij1", "tea-notes"


def part(document_id: str, number: int, start: float | None, end: float | None, **changes: object) -> Pair:
    changed = {"start_seconds": start, "end_seconds": end, "title": f"Talk | {document_id}", **changes}
    return pair(document_id, number, f"Why {number}?").model_copy(update=changed)


def talk(document_id: str, *starts: float | None, duration: float | None = None) -> Document:
    return Document(
        document_id=document_id, title=f"Talk | {document_id}", locator="x", how="h", duration_seconds=duration,
        paragraphs=[Paragraph(start_seconds=start, text="five words are in it") for start in starts],
    )  # fmt: skip


def planned(train: list[str], test: list[str]) -> SplitPlan:
    return SplitPlan(
        splits={"train": train, "valid": [], "test": test},
        documents={"train": [VIDEO], "valid": [], "test": [FOLDER]},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )


PAIRS = [
    part(VIDEO, 1, 0, 60, tags=["tea", "heat"]),
    part(VIDEO, 2, 30, 90, tags=["tea"]),
    part(VIDEO, 3, 240, None),
    part(VIDEO, 4, 120, 150, kept=False, gate="length", reason="3 words"),
    part(FOLDER, 1, None, None, answer="# 🫖\n\n- **one** שלום\n- two.\n\n```\ncode\n```"),
    part(FOLDER, 2, None, None, kept=False, gate="length", reason="3 words"),
    part(FOLDER, 3, None, None, kept=False, gate="length", reason="4 words"),
]
PLAN = planned([f"{VIDEO}#1", f"{VIDEO}#2", f"{VIDEO}#3"], [f"{FOLDER}#1"])
DOCUMENTS = [talk(VIDEO, 0, 60, 240, duration=300), talk(FOLDER, None, None, None, None)]
ASKED = Questions(
    document_id=FOLDER, teacher="t",
    questions=[Question(question_number=n, question="?", first_paragraph=n, last_paragraph=n + 1) for n in (1, 2)],
)  # fmt: skip


def test_two_talks_are_described_by_their_kept_pairs() -> None:
    card = describe(PAIRS, PLAN, iter(DOCUMENTS), iter([ASKED]), tokens=len, usd=0.02)
    assert (card.pairs, card.kept, card.splits) == (7, 4, {"train": 3, "valid": 0, "test": 1})
    assert card.usd_per_kept == pytest.approx(0.005)
    assert (card.tags, card.distinct_tags, card.untagged) == ({"tea": 2, "heat": 1}, 2, 2)
    assert card.answer_words and card.answer_words.highest == len(ANSWER.split())
    assert card.answer_tokens and card.answer_tokens.highest == len(ANSWER)
    assert card.formatting and (card.formatting.n, card.formatting.bold, card.formatting.lists) == (4, 1.0, 0.25)
    assert (card.formatting.headings, card.formatting.paragraphs, card.formatting.broken) == (0.25, 0.75, 0)
    folder, video = card.talks
    assert (video.kept, video.pairs, video.splits) == (3, 4, ["train"])
    assert video.coverage == Coverage(unit="seconds", total=300, covered=150, spans=[(0, 90), (240, 300)])
    assert folder.coverage == Coverage(unit="paragraphs", total=4, covered=2, spans=[(1, 3)])


def test_every_gate_is_named_with_one_example_per_reason() -> None:
    (length,) = describe(PAIRS, PLAN).refusals
    assert (length.gate, length.pairs) == ("length", 3)
    assert [(e.pair_id, e.reason) for e in length.examples] == [(f"{VIDEO}#4", "3 words"), (f"{FOLDER}#3", "4 words")]
    assert length.examples[0].link == "https://youtu.be/abcdefghij1?t=120"


def test_coverage_is_not_known_without_times_and_questions() -> None:
    card = describe(PAIRS, PLAN, DOCUMENTS[1:])
    assert [t.coverage for t in card.talks] == [None, None]
    assert list(drawings(card)) == ["lengths"]
    assert "not known" in markdown(card)


def test_a_talk_that_taught_nothing_is_listed_first() -> None:
    silent = talk("yt-zzzzzzzzzzz", 0, 60, duration=120)
    card = describe(PAIRS, PLAN, [*DOCUMENTS, silent], [ASKED]).talks[0]
    assert (card.document_id, card.kept, card.splits) == ("yt-zzzzzzzzzzz", 0, [])
    assert card.coverage and card.coverage.share == 0


@pytest.mark.parametrize("spans", [[(10, 20), (15, 18), (20, 30)], [(25, 30), (10, 25)], [(10, 99), (-5, 5)]])
def test_no_second_counts_twice_and_none_outside_the_talk(spans: list[tuple[float, float]]) -> None:
    card = coverage(talk("t", 0, 20, duration=30), [part("t", i, *span) for i, span in enumerate(spans, 1)], {})
    assert card and card.covered == sum(any(a <= s < b for a, b in spans) for s in range(30))
    assert all(0 <= a < b <= 30 for a, b in card.spans)


def test_every_value_is_in_one_bar_and_an_endless_answer_does_not_squeeze_them() -> None:
    pairs = [part(VIDEO, n, 0, 1, answer="word " * (n % 100 + 1)) for n in range(1, 300)]
    pairs.append(part(VIDEO, 300, 0, 1, answer="word " * 50_000))
    spread = describe(pairs, planned([p.pair_id for p in pairs], [])).answer_words
    assert spread and sum(b.count for b in spread.bins) == spread.n == 300
    assert spread.highest == 50_000
    assert spread.bins[-1].high < 200


def test_nothing_kept_is_described_and_drawn_as_nothing() -> None:
    refused = [p.model_copy(update={"kept": False, "gate": "length"}) for p in PAIRS]
    card = describe(refused, planned([], []), usd=1.0)
    assert (card.kept, card.answer_words, card.formatting, card.usd_per_kept) == (0, None, None, None)
    assert "**0 kept**" in markdown(card)
    assert drawings(card)["lengths"].png()


def test_pairs_edited_by_hand_are_not_described() -> None:
    with pytest.raises(DatasetError, match="not among the pairs"):
        describe(PAIRS[1:], PLAN)


def test_the_tables_lead_to_the_second_and_hold_no_stray_bar() -> None:
    text = markdown(describe(PAIRS, PLAN, DOCUMENTS, [ASKED], usd=0.02))
    assert "[0:00 to 1:30](https://youtu.be/abcdefghij1), [4:00 to 5:00](https://youtu.be/abcdefghij1?t=240)" in text
    assert "50 % (2 of 4 paragraphs) | 2 to 3 |" in text
    assert "$0.02, $0.0050 per kept pair" in text
    for block in text.split("\n\n"):
        rows = [line.replace(r"\|", "").count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_every_picture_is_a_whole_png_and_a_whole_svg() -> None:
    card = describe(PAIRS, PLAN, DOCUMENTS, [ASKED])
    for drawing in drawings(card).values():
        data = drawing.png()
        assert data == drawing.png()
        width, height = struct.unpack(">II", data[16:24])
        assert (width, height) == (1440, 2 * drawing.height)
        channels, start = {2: 3, 6: 4}[data[25]], data.index(b"IDAT")
        (length,) = struct.unpack(">I", data[start - 4 : start])
        assert len(zlib.decompress(data[start + 4 : start + 4 + length])) == height * (1 + channels * width)
        assert ElementTree.fromstring(drawing.svg()).tag.endswith("svg")


def test_a_title_is_drawn_or_told_by_its_id() -> None:
    assert all(drawable(text) for text in (" ".join(map(chr, range(33, 127))), "Über “Öfen” – 5 €…", "Почему"))
    assert not any(drawable(text) for text in ("למה", "为什么", "なぜ", "🫖"))


def test_ticks_are_round_and_span_the_values() -> None:
    assert ticks(0, 300, 6) == [0, 50, 100, 150, 200, 250, 300]
    assert ticks(1.23, 3.4, 5) == [1, 1.5, 2, 2.5, 3, 3.5]
    assert ticks(2, 2, 5)[0] <= 2 <= ticks(2, 2, 5)[-1]
