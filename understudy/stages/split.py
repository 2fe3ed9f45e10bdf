"""
Stage `split`: kept pairs to train, valid and test, so that nothing held out was trained on.

What belongs together (all pairs of one talk, and near-duplicate questions of different talks)
goes to one split, and what is held out is spread over the years of the channel. A split is frozen:
given the plan `before`, what was held out stays there, a talk that asks a held-out question is
held out too, and other new talks are trained on unless a split is under its share. A new pair that
would tie two splits together is dropped, and the plan says why.

With one talk, or all of them tied together, nothing honest can be held out: then near-duplicate
groups inside the talks are split instead, and the plan says so.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from understudy import registry
from understudy.dataset.leakage import Alike, Links, measure
from understudy.dataset.recall import drawn as recalled
from understudy.dataset.rows import row
from understudy.errors import DatasetError
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Recipe
from understudy.records import AssetRef, Dropped, Pair, Split, SplitPlan, sha256_of
from understudy.sections import PluginSpec, SplitSettings
from understudy.text.similarity import components, near_duplicates
from understudy.text.words import counted

VERSION = 3
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
SAFEST: tuple[Split, ...] = ("test", "valid", "train")
"""Where two splits want the same row: a held-out one must not lose it, and train can spare it."""
MOST_STRATA = 20
TEACH = PluginSpec(use="teach")

Group = list[Pair]
log = logging.getLogger("understudy.dataset")


def materialize(node: Node) -> AssetRef:
    """The plan, and the rows of each split; the plan is written last."""
    kept: dict[str, Pair] = {pair.pair_id: pair for pair in node.rows("pairs")}
    # Where rows are composed, that has decided which document is where.
    before = node.workspace.latest("assignment" if "passages" in node.inputs else "split")
    frozen: SplitPlan | None = node.workspace.read(before) if before else None
    if frozen and not frozen.honest and "passages" not in node.inputs:
        frozen = None  # a split made of too few talks is not worth keeping once there are more
    last = node.workspace.latest("split")
    earlier: SplitPlan | None = node.workspace.read(last) if last else None
    plan = split(list(kept.values()), node.config.split, node.config.seed, frozen, earlier)
    for note in plan.notes:
        log.warning("split: %s", note)
    recipe: Recipe = node.config.plugin("recipe")
    passages = {passage.passage_id: passage for passage in node.rows("passages")} if "passages" in node.inputs else {}
    for name in SPLITS:
        node.save([row(kept[pair_id], recipe, passages) for pair_id in plan.splits[name]], name)
    return node.save([plan])


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> Any:
    """How a row is made of a pair, where it is more than question and answer."""
    config = graph.config
    return registry.identity("recipe", config.recipe.use, config.recipe.options) if config.recipe != TEACH else None


def split(
    pairs: Sequence[Pair],
    settings: SplitSettings,
    seed: int,
    before: SplitPlan | None = None,
    earlier: SplitPlan | None = None,
) -> SplitPlan:
    """Which kept pair is in which split; `before` is the plan of an earlier run, and its own result gives itself.

    `earlier` is the last plan that was made: the questions about trained sections that it held out stay so.

    Raises DatasetError with fewer than three questions that differ, or when nothing is left to train on.
    """
    kept = sorted((pair for pair in pairs if pair.kept), key=lambda pair: (pair.document_id, pair.question_number))
    questions = [pair.question for pair in kept]
    links = list(near_duplicates(questions, settings.near_duplicate))
    if len(set(components(len(kept), links))) < len(SPLITS):
        raise DatasetError(f"{len(kept)} kept pairs are too few to hold any out; add talks or loosen the gates")
    alike = Alike(questions, links)
    old = _old(kept, before)
    talks = _spread(kept, alike, old, _old_talks(kept, old, before))
    dropped = _crossing(kept, alike, old, talks)
    splits = {p.pair_id: old.get(p.pair_id) or talks[p.document_id] for p in kept if p.document_id in talks}
    splits = {name: split for name, split in splits.items() if name not in dropped}
    rest = [pair for pair in kept if pair.document_id not in talks]
    splits |= _placed(kept, rest, links, splits, settings, seed)
    if "train" not in splits.values():
        raise DatasetError("all kept pairs are held out by the earlier split; add talks, or delete split.json")
    leakage = measure(kept, splits, alike)
    recall = recalled(kept, splits, alike, settings.questions, seed, earlier) if settings.questions else []
    placed = splits | dict.fromkeys(recall, "test")
    return SplitPlan(
        splits={split: [p.pair_id for p in kept if placed.get(p.pair_id) == split] for split in SPLITS},
        documents={split: sorted({p.document_id for p in kept if splits.get(p.pair_id) == split}) for split in SPLITS},
        recall=[p.pair_id for p in kept if p.pair_id in set(recall)],
        leakage=leakage,
        honest=not (leakage.rows_sharing_a_document or leakage.rows_sharing_a_passage),
        dropped=[
            Dropped(pair_id=p.pair_id, split=talks[p.document_id], reason=dropped[p.pair_id])
            for p in kept
            if p.pair_id in dropped
        ],
        notes=_notes(kept, splits, settings),
    )


def _old(kept: Sequence[Pair], before: SplitPlan | None) -> dict[str, Split]:
    """The split of each pair that an earlier plan placed and that is still there."""
    was = {name: split for split in SPLITS for name in (before.splits.get(split, []) if before else [])}
    was |= dict.fromkeys(before.recall if before else (), "train")
    return {pair.pair_id: was[pair.pair_id] for pair in kept if pair.pair_id in was}


def _old_talks(kept: Sequence[Pair], old: dict[str, Split], before: SplitPlan | None) -> dict[str, Split]:
    """The split of each talk that was placed before: train where an earlier split had to cut it through."""
    was = old | {drop.pair_id: drop.split for drop in (before.dropped if before else [])}
    splits_of: dict[str, set[Split]] = {}
    for pair in kept:
        if pair.pair_id in was:
            splits_of.setdefault(pair.document_id, set()).add(was[pair.pair_id])
    talks: dict[str, Split] = {n: next(iter(s)) if len(s) == 1 else "train" for n, s in splits_of.items()}
    # Rows that were composed stay with their documents, also where none of a document's own pairs is left.
    home = {name: split for split, names in (before.documents if before else {}).items() for name in names}
    composed = {p.document_id: home[p.document_id] for p in kept if p.kind != "plain" and p.document_id in home}
    return composed | talks


def _spread(kept: Sequence[Pair], alike: Alike, old: dict[str, Split], talks: dict[str, Split]) -> dict[str, Split]:
    """`talks` with every new talk that near-duplicates tie to them, each where most of its ties lead.

    Round by round, so that a talk tied to an old one is placed before those tied only to itself.
    """
    of_talk: dict[str, list[int]] = {}
    of_kind: dict[int, list[int]] = {}
    for at, pair in enumerate(kept):
        of_talk.setdefault(pair.document_id, []).append(at)
        of_kind.setdefault(alike.spokesman[at], []).append(at)
    placed, edge = dict(talks), sorted(talks)
    while edge:
        by_kind: dict[int, Counter[Split]] = {}
        for at in (at for name in edge for at in of_talk[name]):
            for kind in alike.kinds(at):
                if kind in of_kind:
                    by_kind.setdefault(kind, Counter())[old.get(kept[at].pair_id) or placed[kept[at].document_id]] += 1
        ties: dict[str, Counter[Split]] = {}
        for kind, splits in by_kind.items():
            for at in of_kind.pop(kind):  # after this round, all its talks are placed
                if kept[at].document_id not in placed:
                    ties.setdefault(kept[at].document_id, Counter()).update(splits)
        placed |= {name: max(SAFEST, key=count.__getitem__) for name, count in ties.items()}
        edge = sorted(ties)
    return placed


def _crossing(kept: Sequence[Pair], alike: Alike, old: dict[str, Split], talks: dict[str, Split]) -> dict[str, str]:
    """Pair id > why it cannot stay, of the rows with a near-duplicate in another split.

    Rows are let in one by one: what was held out always, then what was trained on, then the new ones, held-out
    talks first. So an old row goes only from train, and only when it became a near-duplicate of a held-out one.
    """
    rows = [at for at, pair in enumerate(kept) if pair.document_id in talks]
    split = {at: old.get(kept[at].pair_id) or talks[kept[at].document_id] for at in rows}
    rank = {at: SAFEST.index(split[at]) + len(SPLITS) * (kept[at].pair_id not in old) for at in rows}
    inside: dict[int, dict[Split, int]] = {}
    out = []
    for at in sorted(rows, key=lambda at: (rank[at], at)):
        frozen = rank[at] < SAFEST.index("train")
        if not frozen and any(set(inside.get(kind, ())) - {split[at]} for kind in alike.kinds(at)):
            out.append(at)
        else:
            those = inside.setdefault(alike.spokesman[at], {})
            those[split[at]] = min(at, those.get(split[at], at))
    reasons = {}
    for at in out:
        other, where = min(
            (other, where)
            for kind in alike.kinds(at)
            for where, other in inside.get(kind, {}).items()
            if where != split[at]
        )
        reasons[kept[at].pair_id] = (
            f"its talk is in {split[at]}, and it is a near-duplicate of {kept[other].pair_id} in {where}"
        )
    return reasons


def _placed(
    kept: Sequence[Pair],
    rest: Sequence[Pair],
    links: Links,
    splits: dict[str, Split],
    settings: SplitSettings,
    seed: int,
) -> dict[str, Split]:
    """The split of every pair of `rest`, which nothing ties to what is already placed."""
    names = {pair.pair_id for pair in rest}
    number = {at: new for new, at in enumerate(at for at, pair in enumerate(kept) if pair.pair_id in names)}
    inner = [(number[a], number[b]) for a, b in links if a in number and b in number]
    talks = [(i, i + 1) for i in range(len(rest) - 1) if rest[i].document_id == rest[i + 1].document_id]
    placed = [(pair, splits[pair.pair_id]) for pair in kept if pair.pair_id in splits]
    groups = _groups(rest, [*inner, *talks])
    if not placed and len(groups) == 1:
        # A minimum of talks has no meaning inside of one.
        settings, groups = settings.model_copy(update={"min_documents": 1}), _groups(rest, inner)
    return _Fill(groups, placed, settings, seed).run()


def _groups(rest: Sequence[Pair], links: Links) -> list[Group]:
    groups: dict[int, list[Pair]] = {}
    for pair, group in zip(rest, components(len(rest), links), strict=True):
        groups.setdefault(group, []).append(pair)
    return list(groups.values())


class _Fill:
    """Valid and test get whole groups, the emptier split first, from the years it has least of; train gets the rest."""

    def __init__(
        self, groups: list[Group], placed: list[tuple[Pair, Split]], settings: SplitSettings, seed: int
    ) -> None:
        self.settings, self.seed = settings, seed
        self.total = sum(map(len, groups)) + len(placed)
        self.wanted: dict[Split, float] = {"test": settings.test * self.total, "valid": settings.valid * self.total}
        self.rows = Counter(split for _, split in placed)
        self.talks: dict[Split, set[str]] = {split: set() for split in SPLITS}
        frozen: dict[str, list[Pair]] = {}
        for pair, split in placed:
            self.talks[split].add(pair.document_id)
            frozen.setdefault(pair.document_id, []).append(pair)
        stratum = _strata([*groups, *frozen.values()], settings)
        self.all_rows: Counter[int] = Counter()
        for group in (*groups, *frozen.values()):
            self.all_rows[stratum[group[0].pair_id]] += len(group)
        self.split_rows = Counter((split, stratum[frozen[pair.document_id][0].pair_id]) for pair, split in placed)
        self.waiting: dict[int, list[Group]] = {at: [] for at in sorted(self.all_rows)}
        # Taken from the end. By digest, so that neither names nor the order of talks matter.
        for group in sorted(groups, key=lambda group: self._digest(min(p.pair_id for p in group)), reverse=True):
            self.waiting[stratum[group[0].pair_id]].append(group)

    def run(self) -> dict[str, Split]:
        """Pair id > split, of every pair of every group."""
        splits: dict[str, Split] = {}
        wishes = [split for split in self.wanted if self.wanted[split]]
        while wishes:
            split = min(wishes, key=lambda split: self.rows[split] / self.wanted[split])
            if group := self._next(split, wishes):
                self.rows[split] += len(group)
                self.talks[split] |= {pair.document_id for pair in group}
                splits |= {pair.pair_id: split for pair in group}
            else:
                wishes.remove(split)
        return splits | {p.pair_id: "train" for groups in self.waiting.values() for group in groups for p in group}

    def _next(self, split: Split, wishes: list[Split]) -> Group | None:
        """The group that `split` takes now; None when it has enough, or the others would be left without."""
        empty = (not self.rows["train"]) + sum(not self.rows[other] for other in wishes if other != split)
        if sum(map(len, self.waiting.values())) <= empty:
            return None
        missing = self.wanted[split] - self.rows[split]
        # Only what brings it nearer its share: a talk that is most of the channel is never held out for it.
        if group := self._take(split, below=2 * missing):
            return group
        if len(self.talks[split]) < self.settings.min_documents:
            train = self.total - self.rows["valid"] - self.rows["test"]
            needed = self.total * min(0.5, 1 - self.settings.valid - self.settings.test)
            if group := self._take(split, below=train - needed + 0.5):
                return group
        if self.rows[split]:
            return None
        smallest = min(len(group) for groups in self.waiting.values() for group in groups)
        return self._take(split, below=smallest + 0.5)

    def _take(self, split: Split, below: float) -> Group | None:
        """The first group of fewer than `below` rows, from the stratum of which `split` has the smallest share."""
        for stratum in sorted(
            self.waiting,
            key=lambda at: (self.split_rows[split, at] / self.all_rows[at], self._digest(f"{split}/{at}")),
        ):
            groups = self.waiting[stratum]
            for at in range(len(groups) - 1, -1, -1):
                if len(groups[at]) < below:
                    self.split_rows[split, stratum] += len(groups[at])
                    return groups.pop(at)
        return None

    def _digest(self, name: str) -> str:
        return sha256_of(f"{self.seed}/{name}".encode())


def _strata(groups: list[Group], settings: SplitSettings) -> dict[str, int]:
    """The stratum of each group, by the id of its first pair: stretches of time, and one for the undated.

    As many as the talks a split will hold, each with as many groups, so that a split takes about one of each.
    """
    dated = []
    for group in groups:
        if dates := sorted(pair.published for pair in group if pair.published):
            dated.append((dates[len(dates) // 2], group[0].pair_id))
    talks = max(round(max(settings.valid, settings.test) * len(dated)), settings.min_documents)
    count = max(1, min(MOST_STRATA, talks, len(dated)))
    undated = {group[0].pair_id: count for group in groups}
    return undated | {name: at * count // len(dated) for at, (_, name) in enumerate(sorted(dated))}


def _notes(kept: Sequence[Pair], splits: dict[str, Split], settings: SplitSettings) -> list[str]:
    """What of the settings the plan does not meet; a fact of the plan, however it came about."""
    rows = Counter(splits.values())
    notes = []
    shares: dict[Split, float] = {"valid": settings.valid, "test": settings.test}
    for split, share in shares.items():
        talks = len({pair.document_id for pair in kept if splits.get(pair.pair_id) == split})
        has = rows[split] / len(splits)
        if not share:
            continue
        if not rows[split]:
            notes.append(f"{split} is empty: too few talks that nothing ties to train; add talks")
            continue
        if not share / 2 <= has <= share * 2:
            notes.append(f"{split} holds {has:.0%} of the pairs where {share:.0%} were wanted, as talks stay whole")
        if talks < settings.min_documents:
            notes.append(
                f"{split} holds {counted(talks, 'talk')} where {settings.min_documents} were wanted; add talks"
            )
    return notes
