"""Questions held out about sections that are trained on: whether a model recalls, beside whether it generalizes."""

from collections.abc import Mapping, Sequence

from understudy.dataset.leakage import Alike
from understudy.records import Pair, Split, SplitPlan, sha256_of

ACROSS = 3
"""How many times the share is held out of the questions over two sections: there are few, and they show most."""


def drawn(
    kept: Sequence[Pair],
    splits: Mapping[str, Split],
    alike: Alike,
    share: float,
    seed: int,
    earlier: SplitPlan | None = None,
) -> list[str]:
    """Ids of the train pairs to hold out: about `share` of them, none with a near-duplicate that is trained on.

    Every section keeps a pair in train. What `earlier` held out stays so, and what it trained on is trained on.
    """
    trained = [at for at, pair in enumerate(kept) if splits.get(pair.pair_id) == "train"]
    before = set(earlier.recall) if earlier else set[str]()
    known = set(earlier.splits["train"]) if earlier else set[str]()
    left: dict[str, int] = {}
    for at in trained:
        left[kept[at].document_id] = left.get(kept[at].document_id, 0) + 1
    kinds: dict[int, int] = {}
    for at in trained:
        kinds[alike.spokesman[at]] = kinds.get(alike.spokesman[at], 0) + 1
    chosen: list[str] = []
    for across in (False, True):
        group = [at for at in trained if (kept[at].kind == "synthesis") == across]
        fresh = [at for at in group if kept[at].pair_id not in known | before]
        wanted = round(min(0.5, share * (ACROSS if across else 1)) * len(fresh))
        old = [at for at in group if kept[at].pair_id in before]
        ranked = sorted(fresh, key=lambda at: sha256_of(f"{seed}/recall/{kept[at].pair_id}".encode()))
        for at in (*old, *ranked):
            pair, is_old = kept[at], kept[at].pair_id in before
            if not is_old and (wanted <= 0 or sum(kinds.get(kind, 0) for kind in alike.kinds(at)) > 1):
                continue
            if left[pair.document_id] < 2 and not is_old:
                continue
            left[pair.document_id] -= 1
            kinds[alike.spokesman[at]] -= 1
            wanted -= not is_old
            chosen.append(pair.pair_id)
    return chosen
