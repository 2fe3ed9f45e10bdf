"""Stage `describe`: what the dataset holds, in numbers, tables and pictures."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from understudy.dataset import describe as describing
from understudy.dataset import description as showing
from understudy.dataset.pictures import drawings
from understudy.records import DescriptionCard, Document, Pair, Questions, SplitPlan

VERSION = 2
SUMMARY = "summary.md"


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
    found = describing.describe(pairs, plan, documents, questions, tokens, usd)
    (out / SUMMARY).write_text("\n\n".join([showing.markdown(found), *remarks]), encoding="utf-8")
    (out / "description.json").write_text(found.model_dump_json(indent=1), encoding="utf-8")
    for name, drawing in drawings(found).items():
        (out / f"{name}.png").write_bytes(drawing.png())
    return DescriptionCard(pairs=found.pairs, kept=found.kept, talks=len(found.talks))
