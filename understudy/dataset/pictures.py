"""The pictures of a dataset: how long its answers are, and which part of each talk its kept pairs come from."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from understudy.dataset.describe import Coverage, Description, Spread
from understudy.report.drawing import WIDTH, Colour, Drawing, axes, drawable
from understudy.text.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TALKS_DRAWN = 40
LABELS_AT_MOST = 12
TITLE_CHARACTERS = 28
ROW = 22


def drawings(description: Description) -> dict[str, Drawing]:
    """'lengths' and, where it is known, 'coverage'; each has `.svg()` and `.png()`."""
    drawn = {"lengths": _lengths(description.answer_words)}
    talks = [(talk.title, talk.document_id, talk.coverage) for talk in description.talks if talk.coverage]
    return drawn | {"coverage": _coverage(talks)} if talks else drawn


def amount(part: Coverage) -> str:
    """How much of a talk is covered, e.g. '31.0 of 48.5 min'."""
    if part.unit == "paragraphs":
        return f"{part.covered:.0f} of {part.total:.0f} paragraphs"
    return f"{part.covered / 60:.1f} of {part.total / 60:.1f} min"


def _lengths(spread: Spread | None) -> Drawing:
    """Bars of words per answer; the last one holds everything above its start."""
    bins = spread.bins if spread else []

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        ax = axes(figure, 52, 20, 44, 50)
        figure.text(14 / WIDTH, 1 - 22 / 260, "Words per answer", size=15)
        if not bins:
            ax.set(xticks=[], yticks=[])
            ax.text(0, 0.5, "nothing to count", color=Colour.SOFT)
            return
        step = bins[0].high - bins[0].low
        ax.bar([b.low for b in bins], [b.count for b in bins], 0.95 * step, align="edge", color=Colour.VALID)
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        every = math.ceil(len(bins) / LABELS_AT_MOST)
        labels = {b.low: f"{b.low:g}" for b in bins[::every]} | {bins[-1].low: f"{bins[-1].low:g}+"}
        ax.set_xticks(list(labels), list(labels.values()))
        ax.set(xlim=(bins[0].low, bins[-1].high), xlabel="words")

    return Drawing(WIDTH, 260, f"Words per answer: {sum(b.count for b in bins)} in {len(bins)} bars", paint)


def _coverage(talks: Sequence[tuple[str, str, Coverage]]) -> Drawing:
    """A bar per talk (title, document id, coverage), from its beginning to its end, blue where a kept pair is from."""
    shown, more = talks[:TALKS_DRAWN], max(0, len(talks) - TALKS_DRAWN)
    title, top, bottom = "What of each talk is in kept pairs", 54, 30 if more else 12
    height = top + ROW * len(shown) + bottom

    def paint(figure: "Figure") -> None:
        ax = axes(figure, 236, 140, top, bottom)
        figure.text(14 / WIDTH, 1 - 22 / height, title, size=15)
        ax.set(xlim=(0, 1), ylim=(ROW * len(shown), 0), xticks=[])
        ax.text(0, -7, "beginning", color=Colour.SOFT)
        ax.text(1, -7, "end", color=Colour.SOFT, ha="right")
        for place, (_, _, part) in enumerate(shown):
            ax.broken_barh([(0, 1)], (ROW * place + 4, 12), color=Colour.LINE, lw=0)
            spans = [(start / part.total, (end - start) / part.total) for start, end in part.spans if part.total]
            ax.broken_barh(spans, (ROW * place + 4, 12), color=Colour.VALID, lw=0)
            ax.text(1.03, ROW * place + 14, amount(part), color=Colour.SOFT)
        names = [_short(title) if drawable(_short(title)) else document_id for title, document_id, _ in shown]
        ax.set_yticks([ROW * place + 10 for place in range(len(shown))], names)
        ax.tick_params(axis="y", labelcolor=Colour.INK, pad=8)
        if more:
            ax.text(0, ROW * len(shown) + 18, f"and {more} more talks", color=Colour.SOFT)

    return Drawing(WIDTH, height, f"{title}: {counted(len(talks), 'talk')}", paint)


def _short(title: str) -> str:
    return title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1].rstrip()}…"
