"""Questions that need two sections of a manual, or of two manuals, for answers by heart; a part of stage `compose`."""

import logging
import math
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor

from understudy.calls import composing
from understudy.calls.replies import reasoned
from understudy.dataset.contexts import Contexts
from understudy.graph import Node
from understudy.interfaces import Progress
from understudy.records import Document, Pair, Split
from understudy.runs import teachers
from understudy.stages import verify
from understudy.stages.units import Unit, written

SPARE = 1.15
"""Entries asked for over those that are wanted: some are refused."""
TYPE = "across"
log = logging.getLogger("understudy.dataset")


def rows(
    node: Node,
    contexts: Contexts,
    usable: Sequence[Pair],
    documents: Mapping[str, Document],
    before: Sequence[tuple[str, str]],
    settled: Set[str],
    progress: Progress,
) -> list[Pair]:
    """The questions over two sections of one split, with the second model's verdicts where there is one.

    `before` are sections that were asked about together in an earlier run, and stay together. `settled` are all that it
    had: those that found no partner then are not paired with each other now, so that a section that changed costs its
    own calls alone.
    """
    counts: dict[Split, int] = {}
    for pair in usable:
        split = contexts.split_of[pair.document_id]
        counts[split] = counts.get(split, 0) + 1
    units = {split: _units(node, contexts, split, count, documents, before, settled) for split, count in counts.items()}
    entries = written(node, units, documents, progress)
    pairs = [_placed(pair, documents) for split in units for pair in entries[split]["COMPARE"]]
    log.info("across: %d questions over two sections", len(pairs))
    return _verified(node, pairs, documents)


def _units(
    node: Node,
    contexts: Contexts,
    split: Split,
    count: int,
    documents: Mapping[str, Document],
    before: Sequence[tuple[str, str]],
    settled: Set[str],
) -> list[Unit]:
    """Sections of a split two by two, of one manual and of two, each asked for its part of what is wanted."""
    across = node.config.plugin("recipe").options.across
    alone = 1 - across.sections - across.documents

    def one_manual(one: str, other: str) -> bool:
        return _manual(documents[one]) == _manual(documents[other])

    units = list[Unit]()
    for share, may in ((across.sections, one_manual), (across.documents, lambda a, b: not one_manual(a, b))):
        if not share:
            continue
        kept = {one: other for one, other in before if one in documents and other in documents and may(one, other)}
        pairs = contexts.partners(split, kept, may, settled if kept else frozenset())
        wanted = math.ceil(SPARE * share / alone * count)
        each, more = divmod(wanted, len(pairs)) if pairs else (0, 0)  # the nearest are asked one more than the others
        sizes = [each + (at < more) for at in range(len(pairs))]
        units += [Unit(pair, composing.wishes(size, 0)) for pair, size in zip(pairs, sizes, strict=True) if size]
    return units


def _manual(document: Document) -> str:
    return document.section.manual_id if document.section else document.document_id


def _placed(pair: Pair, documents: Mapping[str, Document]) -> Pair:
    """The pair with its manuals and sections."""
    places = [(name, place) for s in pair.sources if (place := documents[name := s.document_id].section)]
    sections = [" > ".join(place.heading) or documents[name].title for name, place in places]
    manuals = dict.fromkeys(place.manual for _, place in places)
    reasoning, answer = reasoned(pair.answer)
    fields = {"manual": " and ".join(manuals) or None, "section": " and ".join(sections) or None, "type": TYPE}
    return pair.model_copy(update=fields | {"reasoning": reasoning, "answer": answer})


def _verified(node: Node, pairs: Sequence[Pair], documents: Mapping[str, Document]) -> list[Pair]:
    """The pairs with a second model's verdicts, both sections before its eyes."""
    config = node.config
    if not config.verify.on or not pairs:
        return list(pairs)
    verifier = teachers.shared_model(node.workspace, "verify")
    by_unit: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        by_unit.setdefault(tuple(source.document_id for source in pair.sources), []).append(pair)

    def checked(names: tuple[str, ...]) -> list[Pair]:
        own, both = by_unit[names], composing.together([documents[name] for name in names])
        verdicts = verify.verify(both, own, verifier, config.verify, config.seed)
        return verify.judged(own, {own[0].document_id: verdicts}, config.verify.only_approved)

    with ThreadPoolExecutor(config.runner.workers) as pool:
        return [pair for judged in pool.map(checked, by_unit) for pair in judged]
