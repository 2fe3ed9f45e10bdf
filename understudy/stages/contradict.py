"""
Stage `contradict`: sections that contradict each other, found by a second model that quotes both.

What was compared once is not compared again: a changed section pays for its own passages only.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from understudy.calls import contradicting, prompting
from understudy.calls.contradicting import Opinion, Two
from understudy.calls.model_teacher import ModelTeacher
from understudy.config import Config
from understudy.dataset import contradictions as finding
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Progress
from understudy.records import AssetRef, Contradiction, Contradictions, Document, Passage
from understudy.runs import teachers

VERSION = 1
log = logging.getLogger("understudy.dataset")


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> list[Any]:
    """By which prompt, and how many passages are compared."""
    config = graph.config
    return [prompting.identity(contradicting.KIND, config.teacher_prompts), _per_section(config)]


def materialize(node: Node) -> AssetRef:
    """All that is known: what was found before and is still there, what is found now, what the teacher names."""
    passages: list[Passage] = node.rows("passages")
    documents: dict[str, Document] = {name: node.workspace.read(ref) for name, ref in node.group("document").items()}
    verifier = teachers.shared_model(node.workspace, "verify")
    prompt = prompting.identity(contradicting.KIND, node.config.teacher_prompts)
    here, before = {passage.sha256 for passage in passages}, _before(node, verifier.label, prompt)
    due = finding.candidates(passages, _per_section(node.config), before.looked_at if before else ())
    with node.track() as progress:
        opinions, usd = _compared(verifier, due, node.config.runner.workers, progress)
    old = [one for one in before.contradictions if one.by != finding.TEACHER] if before else []
    new = [_found(due[at], one, documents, verifier.label) for at, one in opinions.items() if one.contradicts]
    stay = [one for one in old if {one.first.sha256, one.second.sha256} <= here]
    by_passages = {(one.first.sha256, one.second.sha256): one for one in (*stay, *new)}
    found = finding.joined([*by_passages.values()], finding.named_by_teacher(node.rows("pairs"), documents))
    for one in found:
        log.warning("contradiction, by %s: %s", one.by, finding.sentence(one))
    unsure = [two for at, two in enumerate(due) if at not in opinions]
    log.info("contradictions: %d pairs of passages compared, %d without a verdict, %.4f USD",
             len(due), len(unsure), usd)  # fmt: skip
    known = Contradictions(
        contradictions=found,
        verifier=verifier.label,
        prompt=prompt,
        looked_at=sorted(here - {passage.sha256 for two in unsure for passage in two}),
        compared=len(due),
        unsure=len(unsure),
        usd=usd,
    )
    return node.save([known])


def _compared(
    verifier: ModelTeacher, due: Sequence[Two], workers: int, progress: Progress
) -> tuple[dict[int, Opinion], float]:
    """The opinions by the place of their candidate, and USD."""
    size, opinions, usd = contradicting.PER_CALL, dict[int, Opinion](), 0.0
    starts = range(0, len(due), size)
    with ThreadPoolExecutor(workers) as pool:
        try:
            running = pool.map(lambda at: contradicting.ask(verifier, due[at : at + size]), starts)
            for start, (own, cost) in zip(starts, running, strict=True):
                opinions |= {start + at: opinion for at, opinion in sorted(own.items())}
                usd += cost
                progress(min(start + size, len(due)), len(due), "passages of like subject")
        finally:
            pool.shutdown(cancel_futures=True)
    return opinions, usd


def _found(two: Two, opinion: Opinion, documents: dict[str, Document], label: str) -> Contradiction:
    first, second = (finding.claim(p, quote, documents) for p, quote in zip(two, opinion.quotes, strict=True))
    return Contradiction(first=first, second=second, about=opinion.about, by=label)


def _before(node: Node, verifier: str, prompt: str) -> Contradictions | None:
    """What the same verifier said before to the same prompt."""
    ref = node.workspace.latest("contradictions")
    last: Contradictions | None = node.workspace.read(ref) if ref else None
    return last if last and (last.verifier, last.prompt) == (verifier, prompt) else None


def _per_section(config: Config) -> float:
    share: float = config.plugin("recipe").options.contradictions
    return share
