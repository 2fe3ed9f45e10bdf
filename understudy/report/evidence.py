"""Everything the page is made of, read from a run's folder or handed in; only the scorecard must be there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from understudy import store
from understudy.catalog import CATALOG
from understudy.errors import AssetError
from understudy.records import (
    AdapterCard,
    AssetRef,
    Comparison,
    Judgement,
    Pair,
    ParityReport,
    RunRecord,
    Sample,
    Scorecard,
    SplitPlan,
)
from understudy.report.training import lines
from understudy.scoring import preferences
from understudy.scoring.refusals import report as parity_report


def read_scorecard(file: Path) -> Scorecard:
    """The scorecard in `file`, of this format or an older one. Raises AssetError with the reason in one sentence."""
    try:
        return Scorecard.model_validate_json(file.read_bytes())
    except OSError as error:
        raise AssetError(f"{file} cannot be read ({error.strerror}): name a run's scorecard.json") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise AssetError(f"{file} is no scorecard this program can read ({where or 'the whole'}: {why})") from None


class Evidence(NamedTuple):
    """The arguments of a page; the page says what is missing."""

    scorecard: Scorecard
    curve: Sequence[Mapping[str, Any]] = ()
    """Lines of metrics.jsonl."""
    samples: Mapping[str, Sequence[Sample]] = {}
    """Candidate > its samples."""
    pairs: Sequence[Pair] = ()
    """The held-out ones."""
    cards: Mapping[str, object] = {}
    """Title > a record or a mapping, for the run record."""
    dataset: Mapping[str, int] = {}
    """Name > count."""
    parity: ParityReport | None = None
    train: Sequence[Pair] = ()
    """The train split's, whose form the answers should have."""
    people: Sequence[Comparison] = ()

    @property
    def answers(self) -> dict[str, list[str]]:
        """'reference', 'base' and 'tuned' > their answers."""
        texts = {"reference": [pair.answer for pair in self.pairs]}
        for name, key in (("base", "base"), ("tuned", "adapter")):
            texts[name] = [sample.text for sample in self.samples.get(key, ()) if sample.text is not None]
        return texts

    @property
    def kept(self) -> int | None:
        """The iteration whose weights were kept, as far as a card says."""
        adapters = (card for card in self.cards.values() if isinstance(card, AdapterCard))
        return next((adapter.best_iteration for adapter in adapters), None)


def gather(home: Path, channel: str, run: str) -> Evidence:
    """What is on disk of a scored run. Raises AssetError without a scorecard this program can read.

    The dataset's rows are left out when they are no longer the ones that were scored.
    """
    folder = home / "models" / channel / run
    card = read_scorecard(folder / "scorecard.json")
    samples = {}
    for name in (candidate.name for candidate in card.candidates):
        if ref := _current(home, "samples", channel, run=run, candidate=name):
            samples[name] = list(store.read_rows(home, ref, Sample))
    people = preferences.load(folder)
    splits, counts = _splits(home, channel, card)
    return Evidence(
        scorecard=_calibrated(home, card, people),
        curve=lines(folder / "adapter" / "metrics.jsonl"),
        samples=samples,
        pairs=splits.get("test") or splits.get("valid", []),
        cards=_cards(home, channel, run, folder),
        dataset=counts,
        parity=parity_report(folder),
        train=splits.get("train", []),
        people=people,
    )


def _calibrated(home: Path, card: Scorecard, people: Sequence[Comparison]) -> Scorecard:
    """The scorecard with how far its judge agrees with what people chose since it was written."""
    ref = _current(home, "judgements", card.channel, run=card.run)
    if card.judge is None or ref is None:
        return card
    agreement = preferences.agreement(
        preferences.by_pair(people, "adapter", "base"), store.read_rows(home, ref, Judgement)
    )
    if agreement is None:
        return card
    judge = card.judge.model_copy(update={"agreement": agreement[0], "kappa": agreement[1]})
    return card.model_copy(update={"judge": judge})


def _splits(home: Path, channel: str, card: Scorecard) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """Split > its pairs, and the counts of the dataset."""
    refs = {name: _current(home, name, channel) for name in ("pairs", "split", "test")}
    pairs, split, test = refs["pairs"], refs["split"], refs["test"]
    if pairs is None or split is None or test is None or test.sha256 != card.test_sha256:
        return {}, {}
    plan: SplitPlan = store.read_record(home, split, SplitPlan)
    known: dict[str, Pair] = {pair.pair_id: pair for pair in store.read_rows(home, pairs, Pair)}
    splits: dict[str, list[Pair]] = {
        split: [known[n] for n in names if n in known] for split, names in plan.splits.items()
    }
    counts = {
        "talks": len({pair.document_id for pair in known.values()}),
        "pairs": len(known),
        "kept": sum(pair.kept for pair in known.values()),
    }
    return splits, counts | {split: len(rows) for split, rows in splits.items()}


def _cards(home: Path, channel: str, run: str, folder: Path) -> dict[str, object]:
    cards: dict[str, object] = {}
    try:
        record = RunRecord.model_validate_json((folder / "run.json").read_bytes())
        cards["base"] = _record(home, record.base)
    except (OSError, ValueError):  # a run of an older version has none
        pass
    for name in ("adapter", "fused"):
        if ref := _current(home, name, channel, run=run):
            cards[name] = _record(home, ref)
    for file in sorted((folder / "gguf").glob(f"{channel}-*.gguf")):
        kind = file.stem.removeprefix(f"{channel}-")
        if kind != "adapter" and (ref := _current(home, "gguf", channel, run=run, type=kind)):
            cards[kind] = _record(home, ref)
    return {name: card for name, card in cards.items() if card is not None}


def _record(home: Path, ref: AssetRef) -> object:
    record = CATALOG[ref.name].record
    try:
        return store.read_record(home, ref, record) if record else None
    except (AssetError, OSError):
        return None


def _current(home: Path, name: str, channel: str, **keys: str) -> AssetRef | None:
    return store.latest(home, CATALOG[name].path.format(channel=channel, **keys))
