"""Laws of the quality gate: a score for every pair, the lowest share refused, and weak answers among these."""

from collections.abc import Sequence

from tests.unit.pairs import pair
from understudy.gates.quality import QualityGate
from understudy.progress import track
from understudy.records import Pair
from understudy.stages.gate import judge

PARTS = ("bellows", "crucible", "damper", "flue", "gauge", "hatch", "igniter", "jacket", "kettle", "lever")
TEXT = " ".join(f"The {part} of the works holds {10 + at} litres of oil." for at, part in enumerate(PARTS))


def pairs(odd: dict[int, str]) -> list[Pair]:
    """Answers that their text holds, of about one length; `odd` replaces some."""
    return [
        pair(
            number=at,
            question=f"How much does the {part} hold?",
            answer=odd.get(
                at, f"The {part} of the works holds {10 + at} litres of oil, and it is never filled above that."
            ),
        )
        for at, part in enumerate(PARTS)
    ]


def gated(rows: Sequence[Pair], **options: float) -> dict[str, Pair]:
    gate = QualityGate(QualityGate.Options.model_validate({"form": "prose"} | options))
    gate.text_of = lambda document_id: TEXT
    with track("gate") as progress:
        return {one.pair_id: one for one in judge(rows, [("quality", gate)], progress)}


def test_every_pair_has_a_score_and_the_lowest_share_is_refused() -> None:
    rows = gated(pairs({}), drop_lowest=0.2)
    assert all(one.score is not None and 0 <= one.score <= 1 for one in rows.values())
    refused = [one for one in rows.values() if not one.kept]
    assert len(refused) == 2 and all(one.gate == "quality" and "lowest 20 %" in str(one.reason) for one in refused)
    assert max(one.score or 0 for one in refused) <= min(one.score or 0 for one in rows.values() if one.kept)
    assert all(one.kept for one in gated(pairs({}), drop_lowest=0).values())


def test_what_the_text_does_not_say_and_what_is_far_too_long_come_last() -> None:
    invented = "The gauge of the palace weighs 870 tonnes of marble, and emperors polished it every winter evening."
    long = " ".join(["The damper of the works holds 12 litres of oil, which is what it was built for."] * 9)
    rows = gated(pairs({4: invented, 2: long}), drop_lowest=0.2)
    assert {name for name, one in rows.items() if not one.kept} == {"talk#4", "talk#2"}


def test_a_second_model_s_word_raises_the_score() -> None:
    unseen, approved = (
        gated([one.model_copy(update={"verified": verified}) for one in pairs({})])["talk#3"].score
        for verified in (None, True)
    )
    assert (approved or 0) > (unseen or 0)
