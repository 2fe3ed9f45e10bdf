"""How long the answers are and what form they have: reference, base and tuned in one small chart each."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from understudy.report.charts import SMALL
from understudy.report.drawing import SIDE, Colour, Drawing, axes, ends, heading
from understudy.text.markdown import Profile, profile
from understudy.text.words import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answers = Mapping[str, Sequence[str]]
"""'reference', 'base', 'tuned' > texts."""

FORMS: dict[str, Callable[[str, Profile], bool]] = {
    "two or more paragraphs": lambda text, shape: shape.paragraphs >= 2,
    "bold terms": lambda text, shape: shape.bold_spans > 0,
    "a list": lambda text, shape: shape.list_items > 0,
    "a header": lambda text, shape: shape.headers > 0,
    "ends with punctuation": lambda text, shape: shape.ends_with_punctuation,
    "asks a question": lambda text, shape: "?" in text,
}
BINS = 16
ROW, FORM_ROW = 62, 36
"""Height of a candidate's row of bars, and of a form."""
MARKS = {"reference": ("o", Colour.SOFT), "base": ("s", Colour.BASE), "tuned": ("D", Colour.VALID)}
"""Marker and colour of each, so that they differ without colour too."""


def lengths(answers: Answers) -> str:
    """Words per answer, a row of bars for each on one axis; '' without answers."""
    counts = {name: [len(words(text)) for text in texts] for name, texts in answers.items() if texts}
    if not counts:
        return ""
    every = sorted(count for row in counts.values() for count in row)
    # One endless answer would press all others into the first bar: the last bar holds what is longer.
    most = max(BINS, every[math.ceil(0.97 * (len(every) - 1))])
    width = math.ceil((most + 1) / BINS)
    end = width * BINS

    def paint(figure: "Figure") -> None:
        heading(figure, "Words per answer")
        for place, (name, row) in enumerate(counts.items()):
            ax = axes(figure, SIDE, SIDE, 44 + ROW * place, 18 + ROW * (len(counts) - 1 - place) + 4)
            ax.set(xlim=(0, end), xticks=[], yticks=[])
            ax.hist([min(count, end - 1) for count in row], bins=BINS, range=(0, end), rwidth=0.9, color=MARKS[name][1])
            ax.axhline(0, color=Colour.LINE, lw=1)
            ax.set_title(name, loc="left", size=12, pad=5)
            ax.set_title(f"half have {median(row):.0f} or more", loc="right", size=11, pad=5)
        ends(ax, {0: "0", end: f"{end}{' and more' if every[-1] >= end else ''}"})

    middles = "; ".join(f"{name} {median(row):.0f} (median of {len(row)})" for name, row in counts.items())
    return Drawing(SMALL, 44 + ROW * len(counts), f"Words per answer: {middles}", paint).svg()


def forms(answers: Answers) -> str:
    """Share of the answers with each form, a mark for each on one line from 0 to 100 %; '' without answers."""
    read = {name: [(text, profile(text)) for text in texts] for name, texts in answers.items() if texts}
    shares = {
        name: [100 * sum(has(*text) for text in texts) / len(texts) for has in FORMS.values()]
        for name, texts in read.items()
    }
    if not shares:
        return ""
    numbers = {form: [share[place] for share in shares.values()] for place, form in enumerate(FORMS)}

    def paint(figure: "Figure") -> None:
        heading(figure, "Share of the answers with")
        ax = axes(figure, SIDE + 6, SIDE + 6, 44, 6)
        ax.set(xlim=(0, 100), ylim=(FORM_ROW * len(FORMS), 0), xticks=[], yticks=[])
        lines = [FORM_ROW * place + 25 for place in range(len(FORMS))]
        ax.hlines(lines, -2, 102, colors=Colour.LINE, lw=1, clip_on=False)
        for (form, values), y in zip(numbers.items(), lines):
            ax.text(-2, y - 11, form)
            ax.text(102, y - 11, f"{', '.join(f'{value:.0f}' for value in values)} %", ha="right", size=11)
        for name, share in shares.items():
            marker, colour = MARKS[name]
            ax.plot(share, lines, marker, color=colour, mec=Colour.CARD, ms=9, ls="", clip_on=False, label=name)
        ax.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0, handletextpad=0.1, ncols=3,
            columnspacing=1.2, labelcolor=Colour.SOFT,
        )  # fmt: skip

    listed = ((form, ", ".join(f"{n} {v:.0f} %" for n, v in zip(shares, values))) for form, values in numbers.items())
    title = f"Share of the answers with {'; '.join(f'{form} {values}' for form, values in listed)}"
    return Drawing(SMALL, 50 + FORM_ROW * len(FORMS), title, paint).svg()
