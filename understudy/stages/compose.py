"""
Stage `compose`: rows to learn answers from given texts, made after the documents were split.

Every pair gets the passages that answer it and others that nearly do. From two near documents of one split the teacher
writes questions that need both, and questions that neither answers; a second model, where there is one, looks whether
the passages answer those after all. Then as many of each kind stay as the recipe's shares want.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from understudy.calls import composing
from understudy.calls.model_teacher import ModelTeacher
from understudy.dataset.contexts import Contexts, Sizes, balanced
from understudy.graph import Node
from understudy.interfaces import Progress
from understudy.records import AssetRef, Document, Pair, PairKind, Split, SplitPlan
from understudy.retrieval.passages import unique_titles
from understudy.runs import teachers
from understudy.stages import across
from understudy.stages import split as splitting
from understudy.stages.gate import LEFT_OUT
from understudy.stages.units import SWAPPED, Unit, written

VERSION = 1
SPARE = 1.15
"""Entries asked for over those that the shares want: some are refused."""
SHARE_MISSED = 0.03
MOST_REFUSALS = 0.5
log = logging.getLogger("understudy.dataset")


def problems(recipe: Any, teacher: object) -> list[str]:
    """What keeps a recipe from being carried out, one sentence each."""
    if isinstance(teacher, ModelTeacher):
        return []
    options = recipe.options
    if not recipe.retrieves:
        wanted = options.across.sections or options.across.documents
        why = "recipe.across: questions over two sections are written by a model, and this teacher is none; choose "
        return [f"{why}another, or set recipe.across to {{sections: 0, documents: 0}}"] if wanted else []
    if not (options.shares.synthesis or options.shares.refusal):
        return []
    return [
        "recipe: questions over two texts, and those that texts do not answer, are written by a model, and this "
        "teacher is none; choose another, or set recipe.shares to {grounded: 1, synthesis: 0, refusal: 0}"
    ]


def materialize(node: Node) -> AssetRef:
    """All pairs of the channel, those that stay with their passages; the assignment of documents is written first."""
    config, recipe = node.config, node.config.plugin("recipe")
    options = recipe.options
    documents: dict[str, Document] = {name: node.workspace.read(ref) for name, ref in node.group("document").items()}
    pairs, passages = node.rows("talk_pairs"), node.rows("passages")
    if recipe.retrieves:
        pairs = _titled(pairs, documents, options.citation)
    kept = [pair for pair in pairs if pair.kept]
    plan = _assignment(node, kept)
    placed = {name: split for split, names in plan.splits.items() for name in names}
    usable = [pair for pair in kept if pair.pair_id in placed]
    split_of = {pair.document_id: placed[pair.pair_id] for pair in usable}
    sizes = Sizes(options.per_question, getattr(options, "max_rank", 1), config.seed)
    contexts = Contexts(passages, split_of, [pair.answer for pair in usable], sizes)
    ref = node.workspace.latest("composed")
    rows_before: Sequence[Pair] = node.workspace.rows(ref) if ref else ()
    before = _partners(rows_before)
    with node.track() as progress:
        if recipe.retrieves:
            composed = list(_composed(node, contexts, usable, documents, dict(before), progress))
        else:
            settled = {pair.document_id for pair in rows_before}
            composed = [*usable, *across.rows(node, contexts, usable, documents, before, settled, progress)]
    stay = {pair.pair_id for pair in composed}
    rest = [_left_out(pair, pair.pair_id in placed) if pair.kept else pair for pair in pairs]
    node.save([plan], "assignment")
    return node.save([*composed, *(pair for pair in rest if pair.pair_id not in stay)])


def _composed(
    node: Node,
    contexts: Contexts,
    usable: Sequence[Pair],
    documents: Mapping[str, Document],
    before: Mapping[str, str],
    progress: Progress,
) -> Iterator[Pair]:
    """The rows of every split, each kind in its share."""
    options, seed = node.config.plugin("recipe").options, node.config.seed
    shares: dict[PairKind, float] = options.shares.model_dump()
    by_split: dict[Split, list[Pair]] = {}
    for pair in usable:
        by_split.setdefault(contexts.split_of[pair.document_id], []).append(pair)
    if shares["refusal"] > MOST_REFUSALS:
        log.warning("compose: %.0f%% of the rows refuse: a model learns from them to refuse", 100 * shares["refusal"])
    units = {split: _units(own, contexts.partners(split, before), shares) for split, own in by_split.items()}
    entries = written(node, units, documents, progress)
    unsure, owed = Counter[str](), dict[PairKind, float]()
    for split, own in by_split.items():
        groups: dict[PairKind, list[Pair]] = {"grounded": _each(map(contexts.answering, own))}
        groups["synthesis"] = _each(map(contexts.answering, entries[split]["COMPARE"]))
        refusals = _each(map(contexts.not_answering, entries[split]["UNANSWERED"]))
        groups["refusal"] = _unanswered(node, refusals, contexts, unsure)
        wanted = _wanted(len(own), shares, "refusal")
        if len(groups["refusal"]) < wanted:
            swapped = _swapped(own, wanted - len(groups["refusal"]), contexts, options.refusal)
            groups["refusal"] += _unanswered(node, swapped, contexts, unsure)
        chosen = balanced(groups, shares, seed, owed)
        _say(split, chosen, shares)
        yield from (pair for rows in chosen.values() for pair in rows)
    if unsure:
        log.info("compose: refusals left out: %s", dict(unsure))


def _say(split: Split, chosen: Mapping[PairKind, Sequence[Pair]], shares: Mapping[PairKind, float]) -> None:
    """What a split is made of, and what it lacks."""
    total = sum(map(len, chosen.values()))
    log.info("compose: %s has %s", split, ", ".join(f"{len(rows)} {kind}" for kind, rows in chosen.items()))
    for kind, rows in chosen.items():
        if total and len(rows) / total < shares[kind] - SHARE_MISSED:
            log.warning(
                "compose: %s has %.0f%% %s rows where %.0f%% were wanted: the teacher wrote too few of them",
                split, 100 * len(rows) / total, kind, 100 * shares[kind],
            )  # fmt: skip


def _units(own: Sequence[Pair], partners: Sequence[tuple[str, str]], shares: Mapping[PairKind, float]) -> list[Unit]:
    """What is asked of each pair of documents of a split; of a single document what it does not answer."""
    groups = list[tuple[str, ...]](partners) or [(name,) for name in dict.fromkeys(pair.document_id for pair in own)]
    compare = math.ceil(SPARE * _wanted(len(own), shares, "synthesis") / len(groups)) if partners else 0
    unanswered = math.ceil(SPARE * _wanted(len(own), shares, "refusal") / len(groups))
    return [Unit(group, composing.wishes(compare, unanswered)) for group in groups]


def _wanted(grounded: int, shares: Mapping[PairKind, float], kind: PairKind) -> int:
    """How many of `kind` belong to so many grounded ones; where none of those are wanted, as many as there are."""
    return round(grounded * shares[kind] / shares["grounded"]) if shares["grounded"] else grounded


def _unanswered(node: Node, refusals: Sequence[Pair], contexts: Contexts, unsure: Counter[str]) -> list[Pair]:
    """The refusals that a second model finds right; all of them where there is none."""
    if not refusals or not node.config.verify.on:
        return list(refusals)
    verifier = teachers.shared_model(node.workspace, "verify")
    numbered = {number: (pair, contexts.shown(pair)) for number, pair in enumerate(refusals, 1)}
    checked = composing.check(verifier, numbered)
    out = checked.answered | (checked.unsure if node.config.verify.only_approved else set())
    unsure["the passages answer it"] += len(checked.answered)
    unsure["no second opinion"] += len(out - checked.answered)
    return [pair for number, (pair, _) in numbered.items() if number not in out]


def _swapped(own: Sequence[Pair], count: int, contexts: Contexts, refusal: str) -> list[Pair]:
    """Up to `count` questions of the split whose own documents are not among their passages."""
    found: list[Pair] = []
    for pair in sorted(own, key=lambda pair: contexts.digest(f"swap/{pair.pair_id}")):
        if len(found) >= count:
            break
        if swapped := contexts.swapped(pair, SWAPPED + pair.question_number, refusal):
            found.append(swapped)
    return found


def _assignment(node: Node, kept: Sequence[Pair]) -> SplitPlan:
    """Which document is in which split; what was held out before stays so."""
    before = node.workspace.latest("assignment") or node.workspace.latest("split")
    frozen: SplitPlan | None = node.workspace.read(before) if before else None
    frozen = frozen if frozen and frozen.honest else None
    settings = node.config.split.model_copy(update={"questions": 0.0})  # which are drawn once all rows are here
    return splitting.split(kept, settings, node.config.seed, frozen)


def _partners(rows: Sequence[Pair]) -> list[tuple[str, str]]:
    """The documents that were shown together, so that a new one makes nothing be asked again; most questions first."""
    both = Counter((p.sources[0].document_id, p.sources[1].document_id) for p in rows if p.kind == "synthesis")
    return [names for names, _ in both.most_common()]


def _titled(pairs: Iterable[Pair], documents: Mapping[str, Document], form: Any) -> list[Pair]:
    """The pairs with titles that tell documents apart, in their sources and in their answers."""
    titles = unique_titles(list(documents.values()))
    result = []
    for pair in pairs:
        old, new = " ".join(documents[pair.document_id].title.split()), titles[pair.document_id]
        begins, ends = ("[", r"(?=\])") if form == "[Title]" else ("(", r"(?=[,)])")
        named = re.compile(re.escape(begins + old) + ends, re.IGNORECASE)
        sources = [source.model_copy(update={"title": titles[source.document_id]}) for source in pair.sources]
        answer = named.sub(lambda _: begins + new, pair.answer) if old != new else pair.answer  # noqa: B023  # at once
        result.append(pair.model_copy(update={"title": new, "sources": sources, "answer": answer}))
    return result


def _each(pairs: Iterable[Pair | None]) -> list[Pair]:
    return [pair for pair in pairs if pair]


def _left_out(pair: Pair, placed: bool) -> Pair:
    shares = "left out so that each kind of row has its share, or without a passage"
    reason = shares if placed else "a near-duplicate of a question in another split"
    return pair.model_copy(update={"kept": False, "gate": LEFT_OUT, "reason": reason})
