"""Approval is counted manual by manual, over what the verifier judged; verdicts that are all the same are said."""

from tests.unit.pairs import pair
from understudy.records import Claim, Contradiction, Pair, Sample
from understudy.scoring.manuals import approvals, summary, warning
from understudy.scoring.statistics import wilson


def of(manual: str, number: int, verified: bool | None, gate: str | None = None) -> Pair:
    known = {"manual": manual, "verified": verified, "kept": gate is None, "gate": gate, "keywords": [["7"]]}
    return pair(manual, number).model_copy(update=known)


PAIRS = [
    *(of("A", number, True) for number in range(9)), of("A", 9, False, "verify"), of("A", 10, None, "length"),
    *(of("B", number, None) for number in range(3)), of("B", 3, True),
]  # fmt: skip


def test_a_manual_has_the_rate_of_what_was_judged_of_it() -> None:
    first, second = approvals(PAIRS)
    assert (first.approved, first.judged, first.pairs, first.rate) == (9, 10, 10, wilson(9, 10))
    assert (second.approved, second.judged, second.pairs) == (1, 1, 4)
    assert approvals([pair()]) == []
    over = [of(name, 20, True).model_copy(update={"kind": "synthesis"}) for name in ("A and B", "B and A", "B")]
    assert [(one.manual, one.pairs) for one in approvals([*PAIRS, *over])] == [
        ("A", 10), ("B", 5), ("over two manuals", 2),
    ]  # fmt: skip


def test_a_verifier_that_approves_all_or_refuses_all_is_said_in_a_sentence() -> None:
    assert warning(approvals(PAIRS)) is None and warning(approvals(PAIRS[-4:])) is None
    all_right = [of("A", number, True) for number in range(10)]
    assert "approved all 10" in str(warning(approvals(all_right)))
    all_wrong = [of("A", number, False, "verify") for number in range(10)]
    assert "refused all 10" in str(warning(approvals(all_wrong)))


def test_a_manual_has_its_own_held_out_questions() -> None:
    held_out = [PAIRS[0], PAIRS[1], PAIRS[-1]]
    texts = {"base": ["no", "no", "no"], "adapter": ["7", "no", "7"]}
    samples = {
        arm: [
            Sample(pair_id=p.pair_id, document_id=p.document_id, nll=1, tokens=1, text=text)
            for p, text in zip(held_out, said, strict=True)
        ]
        for arm, said in texts.items()
    }
    sides = (Claim(manual="A", section="a"), Claim(manual="B", section="b"))
    one = Contradiction(first=sides[0], second=sides[1], about="heat", by="teacher")
    result = summary(PAIRS, held_out, samples, [one], 1)
    assert result and result.contradictions == [one]
    right = {score.manual: (score.questions, score.metrics["adapter"]["correct"].value) for score in result.scores}
    assert right == {"A": (2, 0.5), "B": (1, 1.0)}
    assert summary([pair()], [pair()], {}, [], 1) is None
