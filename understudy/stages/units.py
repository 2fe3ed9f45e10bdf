"""What a teacher writes about one or two documents at once: a call for each unit of them, several at a time."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from understudy.calls import composing
from understudy.calls.model_teacher import ModelTeacher
from understudy.errors import TeacherError
from understudy.graph import Node
from understudy.interfaces import Progress
from understudy.records import Document, Pair, PairSource, Split
from understudy.retrieval.passages import unique_titles
from understudy.runs import teachers

COMPARED, UNANSWERED, SWAPPED, SECOND_UNIT = 10_001, 20_001, 30_000, 5_000
"""First question numbers of what is composed, far above those of a document's own questions."""
_CONTRADICTS = re.compile(r"\b(?:contradict|disagree|conflict)", re.IGNORECASE)
log = logging.getLogger("understudy.dataset")


class Unit(NamedTuple):
    """One or two documents of one split that the teacher is shown together."""

    documents: tuple[str, ...]
    wishes: list[composing.Wish]


def written(
    node: Node, units: Mapping[Split, Sequence[Unit]], documents: Mapping[str, Document], progress: Progress
) -> dict[Split, dict[str, list[Pair]]]:
    """What the teacher writes about every unit, by split and task; units that fail are logged and left out."""
    result: dict[Split, dict[str, list[Pair]]] = {split: {"COMPARE": [], "UNANSWERED": []} for split in units}
    jobs = [(split, unit) for split, those in units.items() for unit in those if unit.wishes]
    if not jobs:
        return result
    teacher, titles = teachers.shared_model(node.workspace, "teacher"), unique_titles(list(documents.values()))
    numbers, dropped, usd = set[str](), Counter[str](), 0.0

    def ask(unit: Unit) -> composing.Written:
        return composing.write(teacher, composing.together([documents[name] for name in unit.documents]), unit.wishes)

    with ThreadPoolExecutor(node.config.runner.workers) as pool:
        running = [pool.submit(ask, unit) for _, unit in jobs]
        try:
            for done, (job, (split, unit)) in enumerate(zip(running, jobs, strict=True), 1):
                try:
                    entries = job.result()
                except TeacherError as error:
                    log.warning("compose: %s: %s", " and ".join(unit.documents), error)
                    continue
                dropped, usd = dropped + entries.dropped, usd + entries.usd
                for wish in unit.wishes:
                    if wish.number in entries.pairs:
                        own = [documents[name] for name in unit.documents]
                        pair = _pair(own, titles, wish, entries.pairs[wish.number], numbers, teacher)
                        result[split][wish.task].append(pair)
                progress(done, len(jobs), "questions over two texts")
        finally:
            pool.shutdown(cancel_futures=True)
    log.info("compose: %.4f USD, left out: %s", usd, dict(dropped) or "nothing")
    for pair in (pair for groups in result.values() for pair in groups["COMPARE"] if pair.tags):
        both = " and ".join(source.title for source in pair.sources)
        log.warning("compose: %s contradict each other, says the teacher: %s", both, pair.question)
    return result


def _pair(
    documents: Sequence[Document],
    titles: Mapping[str, str],
    wish: composing.Wish,
    text: tuple[str, str],
    numbers: set[str],
    teacher: ModelTeacher,
) -> Pair:
    first, compares = documents[0], wish.task == "COMPARE"
    number = (COMPARED if compares else UNANSWERED) - 1 + wish.nth
    if f"{first.document_id}/{number}" in numbers:  # an odd document out is first in two units
        number += SECOND_UNIT
    numbers.add(f"{first.document_id}/{number}")
    sources = [PairSource(document_id=d.document_id, title=titles[d.document_id]) for d in documents]
    return Pair(
        pair_id=f"{first.document_id}#{number}",
        document_id=first.document_id,
        title=titles[first.document_id],
        published=first.published,
        question_number=number,
        question=text[0],
        answer=text[1],
        tags=["contradiction"] if compares and _CONTRADICTS.search(text[1]) else [],
        start_seconds=None,
        end_seconds=None,
        document_sha256="",
        teacher=teacher.label,
        prompt_sha256=teacher.prompt_sha256(composing.KIND),
        kept=True,
        gate=None,
        reason=None,
        kind="synthesis" if compares else "refusal",
        sources=sources if compares else [],
    )
