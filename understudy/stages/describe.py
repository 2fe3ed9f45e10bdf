"""Stage `describe`: what the dataset holds, in numbers, tables and pictures."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from understudy.calls.prompting import estimated_tokens
from understudy.dataset import describe as describing
from understudy.dataset import description as showing
from understudy.dataset.pairs_page import pieces
from understudy.dataset.pictures import drawings
from understudy.graph import Node
from understudy.records import AssetRef, DescriptionCard, Document, Pair, Questions, SplitPlan
from understudy.runs import teachers
from understudy.scoring.manuals import approvals, warning
from understudy.stages import generate_answers, verify

VERSION = 5
SUMMARY = "summary.md"
RARE = 0.5
"""Of its even share among the types that were asked for: below it a type hardly came."""
log = logging.getLogger("understudy.dataset")


def materialize(node: Node) -> AssetRef:
    """The dataset in numbers, tables and pictures, and its pairs as a page to read."""
    workspace = node.workspace
    usd = sum(total.usd for total in teachers.paid(workspace) if total.kind != "judge") or None
    documents = (workspace.read(ref) for ref in node.talks("document"))
    questions = (workspace.read(ref) for ref in node.talks("questions"))
    pairs, plan, remarks = node.rows("pairs"), node.read("split"), list(_remarks(node))

    def page(out: Path) -> DescriptionCard:
        with out.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces(pairs, plan))
        return DescriptionCard(
            pairs=len(pairs), kept=sum(pair.kept for pair in pairs), talks=len(node.talks("document"))
        )

    workspace.build("pairs_page", page, node.fingerprint)
    return node.build(lambda out, _: describe(pairs, plan, documents, questions, estimated_tokens, usd, remarks, out))


def describe(
    pairs: Sequence[Pair],
    plan: SplitPlan,
    documents: Iterable[Document],
    questions: Iterable[Questions],
    tokens: Callable[[str], int],
    usd: float | None,
    remarks: Sequence[str],
    out: Path,
) -> DescriptionCard:
    """Fill the folder `out` with summary.md, description.json and a picture each of lengths and coverage.

    `remarks` are paragraphs that end the summary.
    """
    description = describing.describe(pairs, plan, documents, questions, tokens, usd)
    (out / SUMMARY).write_text("\n\n".join([showing.markdown(description), *remarks]), encoding="utf-8")
    (out / "description.json").write_text(description.model_dump_json(indent=1), encoding="utf-8")
    for name, drawing in drawings(description).items():
        (out / f"{name}.png").write_bytes(drawing.png())
    return DescriptionCard(pairs=description.pairs, kept=description.kept, talks=len(description.talks))


def of_types(pairs: Sequence[Pair], wanted: Sequence[str]) -> str:
    """How many kept pairs are of each type of question, and which types that were asked for hardly came."""
    counts = Counter(pair.type for pair in pairs if pair.kept and pair.type)
    single = sum(counts[name] for name in wanted)
    few = [name for name in wanted if counts[name] * len(wanted) < RARE * single]
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    rare = f" Under half of their share came of: {', '.join(few)}." if few else ""
    return f"Types of question: {listed or 'none'}.{rare}"


def _remarks(node: Node) -> Iterator[str]:
    """What became of the questions, and what the verifier answered, where there is one."""
    answers = (node.workspace.read(ref) for ref in node.talks("answers"))
    tally = sum(map(generate_answers.tally, answers), start=Counter[str]())
    passes = ", ".join(f"{tally[name]} {name}" for name in ("asked", "answered", "repaired", "failed"))
    yield f"Questions: {passes}."
    if tally["moved"] or tally["misplaced"]:
        yield (
            f"The teacher put {tally['moved']} answers under another question's number: they stand where they belong. "
            f"{tally['misplaced']} answers that may have been another question's were asked for again."
        )
    if node.config.verify.on:
        verified = (node.workspace.read(ref) for ref in node.talks("verified"))
        yield f"Verifier {verify.sentence(verify.summary(verified))}."
    if types := getattr(node.config.plugin("recipe").options, "types", None):
        yield of_types(node.rows("pairs"), types)
    yield from of_manuals(node.rows("pairs"))
    if "contradictions" in node.inputs:
        yield showing.contradictions(node.read("contradictions").contradictions)


def of_manuals(pairs: Sequence[Pair]) -> Iterator[str]:
    """The verifier's approval by manual, and whether its verdicts are all the same."""
    every = approvals(pairs)
    if sum(one.judged for one in every):
        yield showing.approvals(every)
    if alike := warning(every):
        log.warning("%s", alike)
        yield f"**{alike}**"
