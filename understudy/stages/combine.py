"""Stage `combine`: gold sets of several channels as the dataset of another one, by the rules of `dataset.combined`."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from understudy import store
from understudy.calls.prompting import estimated_tokens
from understudy.catalog import CATALOG
from understudy.dataset import combined, description
from understudy.dataset.combined import Placed
from understudy.errors import DatasetError
from understudy.records import (
    AssetRef,
    ChatExample,
    Combined,
    CombinedSet,
    Contradiction,
    Contradictions,
    DescriptionCard,
    Document,
    Pair,
    Passage,
    Record,
    Split,
    SplitPlan,
)
from understudy.stages import describe, gold
from understudy.stages.split import SPLITS
from understudy.text.words import counted

VERSION = 1
GATE = "combine"
PERMISSION = "What the permissions of all its sets have in common; their own READMEs state them."
NUMBERS_APART = 100_000
"""Added to the question numbers of each further set, so that those of two sets about one section differ."""


class Place(NamedTuple):
    """A channel of a home folder, whatever its preset is."""

    home: Path
    channel: str

    def latest(self, name: str, **keys: str) -> AssetRef | None:
        """The finished asset `name`."""
        return store.latest(self.home, CATALOG[name].path.format(channel=self.channel, **keys))

    def rows(self, name: str, **keys: str) -> list[Any]:
        """Its records; none where it is not there."""
        ref, record = self.latest(name, **keys), CATALOG[name].record
        return list(store.read_rows(self.home, ref, record)) if ref and record else []

    def save(self, name: str, rows: Iterable[Record], fingerprint: str, **keys: str) -> AssetRef:
        """Write records as asset `name`."""
        path = CATALOG[name].path.format(channel=self.channel, **keys)
        data, count = store.encode(path, rows)
        return store.write_file(self.home, name, path, data, count, fingerprint)


class Set(NamedTuple):
    """The gold set of one channel, under names that begin with the channel's."""

    channel: str
    pairs: list[Pair]
    rows: dict[str, ChatExample]
    """Pair > its row, of those in a split."""
    splits: dict[str, Split]
    recall: set[str]
    documents: dict[str, Document]
    passages: list[Passage]
    contradictions: list[Contradiction]
    digest: str

    @property
    def placed(self) -> list[Placed]:
        """Its pairs that are in a split."""
        return [
            Placed(pair, self.splits[pair.pair_id], pair.pair_id in self.recall, self.channel)
            for pair in self.pairs
            if pair.pair_id in self.splits
        ]

    @property
    def reasons(self) -> bool:
        """Whether its rows teach more than the answer."""
        return any(self.rows[one.pair.pair_id].messages[-1].content != one.pair.answer for one in self.placed)


def combine(home: Path, channels: Sequence[str], name: str) -> Combined:
    """Write the dataset of the channel `name`; its pairs come last, so that a dataset is whole where there is one.

    Raises DatasetError where the sets do not fit together.
    """
    refuse(home, channels, name)
    same: dict[str, str] = {}
    sets = [_read(Place(home, channel), at, same) for at, channel in enumerate(channels)]
    if len({one.reasons for one in sets}) > 1:
        apart = " and ".join(one.channel for one in sets if one.reasons)
        raise DatasetError(
            f"only the rows of {apart} have the reasoning before the answer: set recipe.reasoning alike in all "
            "presets, and build those datasets again"
        )
    kept, left_out = combined.chosen([placed for one in sets for placed in one.placed])
    plan = combined.plan(kept)
    if not plan.splits["train"]:
        raise DatasetError("nothing is left to train on: all that one set trains on is held out by another")
    stays = {one.pair.pair_id for one in kept}
    known = Combined(
        sets=[
            CombinedSet(
                channel=one.channel,
                sha256=one.digest,
                rows=len(stays & one.splits.keys()),
                left_out=len(left_out.keys() & one.splits.keys()),
            )
            for one in sets
        ]
    )
    _write(Place(home, name), sets, plan, left_out, known)
    return known


def refuse(home: Path, channels: Sequence[str], name: str) -> None:
    """Raise DatasetError where a set is none of manuals, or the name is taken."""
    if len(channels) < 2 or len(set(channels)) < len(channels):
        raise DatasetError("name two or more channels, each once")
    if name in channels:
        raise DatasetError(f"{name!r} is one of the sets; give what they become another --name")
    there = (home / "data" / name).glob("[!.]*")
    if any(there) and not Place(home, name).latest("combined"):
        raise DatasetError(f"there is a channel {name!r} with talks of its own; choose another --name")
    for channel in channels:
        if Place(home, channel).latest("pairs") is None:
            raise DatasetError(f"{channel!r} has no dataset yet; run it with --only dataset first")
        if Place(home, channel).latest("gold") is None:
            raise DatasetError(f"{channel!r} has no gold set, as its recipe is not `expert`: only such are combined")


def _read(place: Place, number: int, same: dict[str, str]) -> Set:
    """The set of a channel; `same` is text > the section that has it, for all sets together."""
    [plan] = place.rows("split")
    pairs: list[Pair] = place.rows("pairs")
    names, documents = dict[str, str](), dict[str, Document]()
    for key in dict.fromkeys(name for pair in pairs for name in pair.documents):
        found: list[Document] = place.rows("document", document=key)
        text = store.fingerprint(found[0].title, found[0].text) if found else f"{place.channel}/{key}"
        names[key] = same.setdefault(text, f"{place.channel}.{key}")
        documents |= {names[key]: found[0].model_copy(update={"document_id": names[key]})} if found else {}
    new = {pair.pair_id: _renamed(pair, names, number * NUMBERS_APART) for pair in pairs}
    splits = {new[key].pair_id: split for split, ids in plan.splits.items() for key in ids}
    gold_ref = place.latest("gold")
    return Set(
        channel=place.channel,
        pairs=[_or_refused(pair, splits) for pair in new.values()],
        rows={new[k].pair_id: r for s in SPLITS for k, r in zip(plan.splits[s], place.rows(s), strict=True)},
        splits=splits,
        recall={new[key].pair_id for key in plan.recall},
        documents=documents,
        passages=[_moved(one, names) for one in place.rows("passages") if one.document_id in names],
        contradictions=[_between(one, names) for known in place.rows("contradictions") for one in known.contradictions],
        digest=store.fingerprint(gold_ref.sha256 if gold_ref else "", sorted(splits.items())),
    )


def _write(place: Place, sets: Sequence[Set], plan: SplitPlan, left_out: Mapping[str, str], known: Combined) -> None:
    """All assets of the dataset; of a section in two sets those of the first."""
    mark = store.fingerprint(GATE, VERSION, known.model_dump())
    for old in ("dataset", "documents"):
        shutil.rmtree(place.home / "data" / place.channel / old, ignore_errors=True)
    place.save("combined", [known], mark)
    first = list(reversed(sets))
    documents = {key: document for one in first for key, document in one.documents.items()}
    passages = {passage.passage_id: passage for one in first for passage in one.passages}
    rows = {key: row for one in sets for key, row in one.rows.items()}
    pairs = [_left_out(pair, left_out) for one in sets for pair in one.pairs]
    found = [contradiction for one in sets for contradiction in one.contradictions]
    accepted, rejects = gold.rows(pairs, plan, documents, found)
    for key, document in documents.items():
        place.save("document", [document], mark, document=key)
    place.save("passages", [passages[key] for key in sorted(passages)], mark)
    place.save("contradictions", [Contradictions(contradictions=found, verifier=GATE, prompt=GATE,
                                                 looked_at=[], compared=0)], mark)  # fmt: skip
    for split in SPLITS:
        place.save(split, [rows[key] for key in plan.splits[split]], mark)
    place.save("split", [plan], mark)
    _describe(place, pairs, plan, documents, found, known, mark)
    place.save("rejects", rejects, mark)
    place.save("gold", accepted, mark)
    place.save("pairs", pairs, mark)


def _describe(
    place: Place,
    pairs: Sequence[Pair],
    plan: SplitPlan,
    documents: Mapping[str, Document],
    found: Sequence[Contradiction],
    known: Combined,
    mark: str,
) -> None:
    """The description of the dataset, and the page that goes with it."""
    sets = "; ".join(f"{one.channel}: {counted(one.rows, 'row')}, {one.left_out} left out" for one in known.sets)
    remarks = [f"Combined of {sets}.", *describe.of_manuals(pairs), description.contradictions(found)]

    def make(out: Path) -> DescriptionCard:
        return describe.describe(pairs, plan, documents.values(), (), estimated_tokens, None, remarks, out)

    folder, page = (CATALOG[name].path.format(channel=place.channel) for name in ("description", "dataset_card"))
    store.build_folder(place.home, "description", folder, make, mark)
    summary = (place.home / folder / describe.SUMMARY).read_text(encoding="utf-8")
    text = f"# Gold pairs of {place.channel}\n\n{summary}\n\n## Permission\n\n{PERMISSION}\n"
    store.write_file(place.home, "dataset_card", page, text.encode(), 1, mark)


def _renamed(pair: Pair, names: Mapping[str, str], more: int) -> Pair:
    document, number = names[pair.document_id], pair.question_number + more
    sources = [source.model_copy(update={"document_id": names[source.document_id]}) for source in pair.sources]
    fields = {"pair_id": f"{document}#{number}", "document_id": document, "question_number": number}
    return pair.model_copy(update=fields | {"sources": sources})


def _or_refused(pair: Pair, splits: Mapping[str, Split]) -> Pair:
    """The pair; refused where its own dataset could place it in no split."""
    if not pair.kept or pair.pair_id in splits:
        return pair
    return pair.model_copy(update={"kept": False, "gate": gold.NOT_PLACED, "reason": "in no split of its dataset"})


def _left_out(pair: Pair, reasons: Mapping[str, str]) -> Pair:
    if pair.pair_id not in reasons:
        return pair
    return pair.model_copy(update={"kept": False, "gate": GATE, "reason": reasons[pair.pair_id]})


def _moved(passage: Passage, names: Mapping[str, str]) -> Passage:
    document, number = names[passage.document_id], passage.passage_id.rpartition("/")[2]
    return passage.model_copy(update={"document_id": document, "passage_id": f"{document}/{number}"})


def _between(one: Contradiction, names: Mapping[str, str]) -> Contradiction:
    first, second = (
        side.model_copy(update={"section": names.get(side.section, side.section)}) for side in (one.first, one.second)
    )
    return one.model_copy(update={"first": first, "second": second})
