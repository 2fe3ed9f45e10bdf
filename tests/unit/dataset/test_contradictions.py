"""Passages of like subject are compared once; a contradiction counts when both of its quotes are there."""

import json

from tests.unit.pairs import pair
from understudy.calls import Reply, contradicting
from understudy.dataset.contradictions import candidates, touched
from understudy.records import Claim, Contradiction, Passage, sha256_of

HERON = "The Heron may heat by at most 120 marks an hour between 200 and 500 marks, at any hour."
NIGHT = "At night and at any hour the Heron may heat by at most 90 marks an hour between 200 and 500 marks."
TONGS = "Short tongs hold cups below 200 grams; baskets hold everything else that is dipped into glaze."


def passage(section: str, text: str) -> Passage:
    return Passage(
        passage_id=f"{section}/1", document_id=section, title=section, text=text, first_paragraph=0, last_paragraph=0,
        sha256=sha256_of(text.encode()),
    )  # fmt: skip


PASSAGES = [passage("a", HERON), passage("b", NIGHT), passage("c", TONGS), passage("d", HERON)]


def test_like_passages_of_two_sections_are_compared_once_and_equal_ones_never() -> None:
    found = {(one.document_id, other.document_id) for one, other in candidates(PASSAGES, 2)}
    assert found == {("a", "b"), ("b", "d")}
    seen = [one.sha256 for one in PASSAGES]
    assert candidates(PASSAGES, 2, seen) == []
    changed = passage("c", "The Heron may heat by at most 100 marks an hour between 200 and 500 marks at noon.")
    again = candidates([*PASSAGES[:2], changed], 2, seen)
    assert again and all(changed in two for two in again), "only what changed is compared again"
    assert len(again) <= 2, "as many as the share of the new sections allows"


def test_a_contradiction_counts_when_both_passages_have_its_words() -> None:
    two = (PASSAGES[0], PASSAGES[1])

    def said(**fields: object) -> dict[int, contradicting.Opinion]:
        entry = {"question_number": 1, "first_quote": HERON[:59], "second_quote": NIGHT[:70], "about": "rate"}
        reply = json.dumps({"items": [entry | {"contradicts": True} | fields]})
        return contradicting.parse(Reply(reply, "stop"), [two])

    assert said()[0].contradicts and said()[0].quotes == (HERON[:59], NIGHT[:70])
    assert said(first_quote="The Heron may never heat at all, says the manual") == {}
    assert said(second_quote="") == {} and said(question_number=2) == {}
    assert said(contradicts=False)[0] == contradicting.Opinion(False)
    both = json.dumps({"items": [{"question_number": 1, "contradicts": answer} for answer in (True, False)]})
    assert contradicting.parse(Reply(both, "stop"), [two]) == {}, "two verdicts on one are none"


def test_an_answer_is_flagged_where_it_rests_on_a_side_of_a_contradiction() -> None:
    sides = Claim(manual="A", section="a", quote=HERON[:59]), Claim(manual="B", section="b", quote=NIGHT[:70])
    one = Contradiction(first=sides[0], second=sides[1], about="rate", by="verifier")
    resting = pair("a").model_copy(update={"keywords": [["120"]]})
    other = pair("a", 2).model_copy(update={"keywords": [["18"]]})
    assert touched(resting, [one]) == ["b"] and touched(other, [one]) == []
    assert touched(pair("c"), [one]) == []
