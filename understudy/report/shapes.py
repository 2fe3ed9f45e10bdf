"""How long the answers are and what form they have: reference, base and tuned in one small drawing each."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from statistics import median

from understudy.report.charts import SMALL, svg
from understudy.text.markdown import Profile, profile
from understudy.text.words import words

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
LEFT, RIGHT = 14, SMALL - 14


def lengths(answers: Answers) -> str:
    """Words per answer, a row of bars for each side on one axis; '' without answers."""
    counts = {side: [len(words(text)) for text in texts] for side, texts in answers.items() if texts}
    if not counts:
        return ""
    every = sorted(count for row in counts.values() for count in row)
    # One endless answer would press all others into the first bar: the last bar holds what is longer.
    most = max(BINS, every[math.ceil(0.97 * (len(every) - 1))])
    width = math.ceil((most + 1) / BINS)
    parts, y, row = ['<text class="strong" x="14" y="16">Words per answer</text>'], 24, 62
    told = []
    for side, row_counts in counts.items():
        bars = [0] * BINS
        for count in row_counts:
            bars[min(BINS - 1, count // width)] += 1
        middle = median(row_counts)
        told.append(f"{side} {middle:.0f} (middle of {len(row_counts)})")
        parts += [
            f'<text x="{LEFT}" y="{y + 14}">{escape(side)}</text>',
            f'<text class="number" x="{RIGHT}" y="{y + 14}" text-anchor="end">half have {middle:.0f} or more</text>',
            *_bars(bars, side, y + 20, row - 24),
        ]
        y += row
    longest = width * BINS
    parts += [
        f'<text class="tick" x="{LEFT}" y="{y + 10}">0</text>',
        f'<text class="tick" x="{RIGHT}" y="{y + 10}" text-anchor="end">{longest}'
        f"{' and more' if every[-1] >= longest else ''}</text>",
    ]
    return svg(y + 18, f"Words per answer: {'; '.join(told)}", parts, SMALL)


def forms(answers: Answers) -> str:
    """Share of the answers with each form, a mark per side on one line from 0 to 100 %; '' without answers."""
    shares = {
        side: {name: sum(has(t, profile(t)) for t in texts) / len(texts) for name, has in FORMS.items()}
        for side, texts in answers.items()
        if texts
    }
    if not shares:
        return ""
    top, row = 44, 36
    parts = ['<text class="strong" x="14" y="16">Share of the answers with</text>', *_legend(list(shares))]
    for place, name in enumerate(FORMS):
        y = top + row * place
        numbers = ", ".join(f"{100 * share[name]:.0f}" for share in shares.values())
        parts += [
            f'<text x="{LEFT}" y="{y + 14}">{name}</text>',
            f'<text class="number" x="{RIGHT}" y="{y + 14}" text-anchor="end">{numbers} %</text>',
            f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y + 25}" y2="{y + 25}"/>',
            *(mark(side, LEFT + 6 + share[name] * (RIGHT - LEFT - 12), y + 25) for side, share in shares.items()),
        ]
    told = "; ".join(f"{name} " + ", ".join(f"{s} {100 * v[name]:.0f} %" for s, v in shares.items()) for name in FORMS)
    return svg(top + row * len(FORMS) + 6, f"Share of the answers with {told}", parts, SMALL)


def mark(side: str, x: float, y: float) -> str:
    """A circle for the reference, a square for the base, a diamond for the tuned model: told without colour too."""
    if side == "reference":
        return f'<circle class="mark reference" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if side == "base":
        return f'<rect class="mark base-mark" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    corners = ((x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y))
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in corners)
    return f'<polygon class="mark tuned-mark" points="{points}"/>'


def _legend(sides: list[str]) -> list[str]:
    parts, x = [], float(LEFT + 6)
    for side in sides:
        parts += [mark(side, x, 32), f'<text class="tick" x="{x + 10:.0f}" y="36">{escape(side)}</text>']
        x += 26 + 7.2 * len(side)
    return parts


def _bars(bars: Sequence[int], side: str, y: float, tall: float) -> list[str]:
    step, most = (RIGHT - LEFT) / len(bars), max(bars) or 1
    kind = {"reference": "reference", "base": "base-mark"}.get(side, "tuned-mark")
    return [
        f'<rect class="bar {kind}" x="{LEFT + step * place + 1:.1f}" y="{y + tall * (1 - count / most):.1f}" '
        f'width="{step - 2:.1f}" height="{tall * count / most:.1f}"/>'
        for place, count in enumerate(bars)
        if count
    ] + [f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y + tall:.1f}" y2="{y + tall:.1f}"/>']
