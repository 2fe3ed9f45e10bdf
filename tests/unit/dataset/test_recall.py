"""Laws of the unseen questions about trained sections."""

from tests.unit.pairs import pair
from understudy.dataset import recall
from understudy.dataset.leakage import Alike
from understudy.records import Leakage, Split, SplitPlan

PAIRS = [
    pair(f"s{section}", number, f"How is the {name} of hall {section} kept?")
    for section in range(12)
    for number, name in enumerate(("bellows", "crucible", "damper", "flue", "gauge"), 1)
]
SPLITS: dict[str, Split] = {one.pair_id: "test" if one.document_id == "s0" else "train" for one in PAIRS}


def drawn(share: float, earlier: SplitPlan | None = None) -> list[str]:
    return recall.drawn(PAIRS, SPLITS, Alike([one.question for one in PAIRS], []), share, 5, earlier)


def test_the_share_is_held_out_of_trained_sections_and_each_keeps_a_pair() -> None:
    chosen = drawn(0.2)
    assert len(chosen) == 11 and len(set(chosen)) == 11
    assert all(SPLITS[name] == "train" for name in chosen)
    left = {one.document_id for one in PAIRS if SPLITS[one.pair_id] == "train" and one.pair_id not in chosen}
    assert left == {f"s{section}" for section in range(1, 12)}
    assert drawn(0.2) == chosen and not drawn(0.0)


def test_what_was_held_out_stays_so_and_what_was_trained_on_is_trained_on() -> None:
    chosen = drawn(0.2)
    trained = [name for name, split in SPLITS.items() if split == "train" and name not in chosen]
    earlier = SplitPlan(
        splits={"train": trained, "valid": [], "test": [*chosen]},
        documents={"train": [], "valid": [], "test": []},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
        recall=chosen,
    )
    assert set(drawn(0.5, earlier)) == set(chosen)
