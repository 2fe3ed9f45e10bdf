"""Stage `gold`: the kept pairs of manuals in alpaca form with where each stands, and the refused with the reason."""

import logging
from collections.abc import Mapping, Sequence

from understudy.dataset.contradictions import named_by_teacher, touched
from understudy.graph import Node
from understudy.records import (
    AssetRef,
    Contradiction,
    Contradictions,
    Document,
    GoldRow,
    GoldSource,
    Pair,
    RejectedRow,
    Split,
    SplitPlan,
)

VERSION = 1
NOT_PLACED = "split"
"""The gate of pairs that are in no split."""
_VERDICTS: Mapping[bool | None, str] = {True: "approved", False: "disapproved", None: "not verified"}
log = logging.getLogger("understudy.dataset")


def materialize(node: Node) -> AssetRef:
    """gold.jsonl, after rejects.jsonl; the rows are in the order of the pairs."""
    documents = {name: node.workspace.read(ref) for name, ref in node.group("document").items()}
    keep = node.config.plugin("recipe").options.reasoning != "drop"
    known: Contradictions | None = node.read("contradictions") if "contradictions" in node.inputs else None
    pairs: list[Pair] = node.rows("pairs")
    found = known.contradictions if known else named_by_teacher(pairs, documents)
    gold, rejects = rows(pairs, node.read("split"), documents, found, keep)
    log.info("gold: %d pairs, %d rejects", len(gold), len(rejects))
    node.save(rejects, "rejects")
    return node.save(gold)


def rows(
    pairs: Sequence[Pair],
    plan: SplitPlan,
    documents: Mapping[str, Document],
    contradictions: Sequence[Contradiction] = (),
    reasoning: bool = True,
) -> tuple[list[GoldRow], list[RejectedRow]]:
    """The pairs of a split, and all others with what refused them."""
    split_of = {name: split for split, names in plan.splits.items() for name in names}
    dropped = {one.pair_id: one.reason for one in plan.dropped}
    gold, rejects = list[GoldRow](), list[RejectedRow]()
    for pair in pairs:
        fields = _fields(pair, split_of.get(pair.pair_id), documents)
        fields |= {"contradicts": touched(pair, contradictions)} | ({} if reasoning else {"reasoning": None})
        if pair.kept and pair.pair_id in split_of:
            gold.append(GoldRow.model_validate(fields))
            continue
        gate = pair.gate or NOT_PLACED
        reason = pair.reason or dropped.get(pair.pair_id, "in no split")
        rejects.append(RejectedRow.model_validate(fields | {"gate": gate, "reason": reason}))
    return gold, rejects


def _fields(pair: Pair, split: Split | None, documents: Mapping[str, Document]) -> dict[str, object]:
    return {
        "instruction": pair.question,
        "output": pair.answer,
        "reasoning": pair.reasoning,
        "difficulty": pair.difficulty,
        "type": pair.type,
        "verdict": _VERDICTS[pair.verified],
        "sources": _sources(pair, documents),
        "split": split,
        "pair_id": pair.pair_id,
        "document": pair.document_id,
    }


def _sources(pair: Pair, documents: Mapping[str, Document]) -> list[GoldSource]:
    sources = []
    for source in pair.sources:
        document = documents.get(source.document_id)
        place = document.section if document else None
        first, last = source.first_paragraph, source.last_paragraph
        sources.append(
            GoldSource(
                manual=place.manual if place else source.title,
                heading=place.heading if place else source.heading,
                section=source.document_id,
                paragraphs=None if first is None else [first, first if last is None else last],
            )
        )
    return sources
