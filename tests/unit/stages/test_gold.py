"""Gold rows say where they stand and what the verifier said; what is refused keeps its reason."""

from tests.unit.pairs import pair
from understudy.records import Document, Dropped, Leakage, PairSource, Paragraph, SectionPlace, SplitPlan
from understudy.stages.gold import rows

PLACE = SectionPlace(manual_id="kiln", manual="Kiln Operation", heading=["3. Rates", "3.1 Heron"])
SECTION = Document(
    document_id="kiln--0001", title="Kiln Operation, 3.1 Heron", locator="", how="", section=PLACE,
    paragraphs=[Paragraph(text="The Heron may heat by 120 marks an hour.")],
)  # fmt: skip


def test_every_pair_is_gold_or_a_reject_with_its_reason() -> None:
    source = PairSource(document_id="kiln--0001", title=SECTION.title, first_paragraph=0)
    known = {"sources": [source], "reasoning": "So it says.", "difficulty": "easy", "type": "recall"}
    made = [pair("kiln--0001", number).model_copy(update=known) for number in range(1, 5)]
    kept, refused, crossing, unseen = made
    kept = kept.model_copy(update={"verified": True})
    refused = refused.model_copy(update={"kept": False, "gate": "verify", "reason": "incomplete", "verified": False})
    plan = SplitPlan(
        splits={"train": [kept.pair_id], "valid": [], "test": [unseen.pair_id]}, documents={}, honest=True,
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        dropped=[Dropped(pair_id=crossing.pair_id, split="train", reason="a near-duplicate")],
    )  # fmt: skip
    gold, rejects = rows([kept, refused, crossing, unseen], plan, {"kiln--0001": SECTION})
    assert [(row.pair_id, row.verdict, row.split) for row in gold] == [
        (kept.pair_id, "approved", "train"), (unseen.pair_id, "not verified", "test"),
    ]  # fmt: skip
    assert (gold[0].instruction, gold[0].input, gold[0].output) == (kept.question, "", kept.answer)
    assert (gold[0].reasoning, gold[0].difficulty, gold[0].type) == ("So it says.", "easy", "recall")
    [where] = gold[0].sources
    assert (where.manual, where.heading, where.paragraphs) == ("Kiln Operation", PLACE.heading, [0, 0])
    assert [(row.pair_id, row.gate, row.reason, row.verdict) for row in rejects] == [
        (refused.pair_id, "verify", "incomplete", "disapproved"),
        (crossing.pair_id, "split", "a near-duplicate", "not verified"),
    ]
    assert rows([kept], plan, {}, reasoning=False)[0][0].reasoning is None
