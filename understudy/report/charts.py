"""The charts of a training and of a scorecard, as SVG for the page; what has no numbers is ''."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.records import Interval
from understudy.report import Unit, difference, label, signed
from understudy.report.drawing import SIDE, WIDTH, Colour, Drawing, axes, ends, heading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = 380
"""Width of a chart that stands beside others, and fills a phone."""
SMALL_CURVES = {
    "learning_rate": ("Learning rate", 1.0),
    "gradient_norm": ("Gradient norm", 1.0),
    "tokens_per_second": ("Tokens per second", 1.0),
    "peak_memory_bytes": ("Peak memory, GB", 1e-9),
}
UNITS: dict[Unit, str] = {"nats": "Nats per token", "share": "Points of 100", "words": "Words", "number": "Other units"}
DOTS_AT_MOST = 60
ROW = 46
"""Height of a row of a forest."""

Rows = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]


def loss_curve(rows: Rows, kept: int | None = None) -> str:
    """Train and valid loss over steps, the base's valid loss as a line, one valid loss marked; '' without losses.

    A row is a line of metrics.jsonl: `step` or `iteration`, and `train_loss` or `valid_loss`. `kept` is the iteration
    whose weights were kept (AdapterCard.best_iteration); without it the lowest valid loss is marked.
    """
    axis = _axis(rows)
    train, valid = _series(rows, axis, "train_loss"), _series(rows, axis, "valid_loss")
    if not train and not valid:
        return ""
    word, best = _marked(rows, axis, valid, kept) if valid else ("", (0.0, 0.0))

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        ax = axes(figure, 52, 20, 40, 44)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.grid(axis="y")
        for kind, points, colour in (("train", train, Colour.TRAIN), ("valid", valid, Colour.VALID)):
            if points:
                dot = "o" if len(points) <= DOTS_AT_MOST else ""
                ax.plot(*zip(*points), marker=dot, color=colour, lw=2.2, ms=5, label=kind, gid=kind)
        if valid:
            ax.axhline(
                valid[0][1], color=Colour.SOFT, lw=1.5, ls=(0, (4, 3)), label="valid loss of the base", gid="base"
            )
            ax.plot(*best, "o", ms=11, mfc=Colour.CARD, mec=Colour.BEST, mew=2.5, gid="best")
            (low, high), (x, y) = ax.get_xlim(), best
            anchor = "left" if x < low + 0.1 * (high - low) else "right" if x > high - 0.1 * (high - low) else "center"
            ax.annotate(f"{word} {y:.3f}", best, (0, -22), textcoords="offset points", ha=anchor, weight="bold")
        ax.margins(y=0.16)
        ax.set_xlabel(axis)
        figure.text(SIDE / WIDTH, 0.93, "nats per answer token", color=Colour.SOFT, va="center")
        figure.legend(loc="center right", bbox_to_anchor=(1 - SIDE / WIDTH, 0.93), ncols=3, borderaxespad=0)

    base = f"; base {valid[0][1]:.3f}, {word} {best[1]:.3f}" if valid else ""
    return Drawing(WIDTH, 300, f"Loss over {axis}s, nats per answer token{base}", paint).svg()


def forests(differences: Mapping[str, Interval]) -> list[str]:
    """Tuned minus base, one chart per unit, each with its own axis; what is no finite number is left out."""
    # One token weighs far more than the mean of all: on one axis with it nothing else could be read.
    units: dict[tuple[Unit, bool], list[str]] = {}
    for name, interval in differences.items():
        if all(math.isfinite(end) for end in (interval.low, interval.value, interval.high)):
            units.setdefault((label(name).unit, name == "nll_end"), []).append(name)
    return [_forest(UNITS[unit], {name: differences[name] for name in names}) for (unit, _), names in units.items()]


def _forest(title: str, intervals: Mapping[str, Interval]) -> str:
    """A line per metric, its words above it, so that it can be read on a phone."""
    reach = max(max(abs(i.low), abs(i.high)) for i in intervals.values()) or 1.0

    def paint(figure: "Figure") -> None:
        ax = axes(figure, SIDE, SIDE, 26, 26)
        heading(figure, title)
        ax.set(xlim=(-reach, reach), ylim=(ROW * len(intervals), 0), yticks=[])
        for place, (name, interval) in enumerate(intervals.items()):
            top = ROW * place
            numbers = f"{signed(name, interval.value)} ({signed(name, interval.low)} to {signed(name, interval.high)})"
            room = (SMALL - 2 * SIDE - 6 * len(numbers)) / 6.6
            ax.text(-reach, top + 17, _cut(label(name).text, int(room)))
            ax.text(reach, top + 17, numbers, ha="right", size=11)
            ax.vlines(0, top + 22, top + 40, colors=Colour.SOFT, linestyles=(0, (3, 3)), lw=1)
            ax.plot([interval.low, interval.high], [top + 31] * 2, color=Colour.VALID, lw=2.5)
            ax.plot(interval.value, top + 31, "o", color=Colour.VALID, ms=9, mew=0)
        ends(ax, {end: signed(next(iter(intervals)), end) for end in (-reach, 0.0, reach)})

    words = "; ".join(f"{label(name).text} {difference(name, interval)}" for name, interval in intervals.items())
    return Drawing(SMALL, ROW * len(intervals) + 52, f"Tuned minus base, {title}: {words}", paint).svg()


def small_curves(rows: Rows) -> list[str]:
    """Learning rate, gradient norm, speed and memory over the training, a small chart each that has numbers."""
    axis = _axis(rows)
    series = {title: [(x, y * k) for x, y in _series(rows, axis, name)] for name, (title, k) in SMALL_CURVES.items()}
    return [_small_curve(title, points, axis) for title, points in series.items() if len(points) > 1]


def _small_curve(title: str, points: Points, axis: str) -> str:
    (start, first), (end, last), highest = points[0], points[-1], max(y for _, y in points)

    def paint(figure: "Figure") -> None:
        ax = axes(figure, SIDE, SIDE, 34, 26)
        heading(figure, title, f"highest {highest:,.4g}, last {last:,.4g}")
        ax.plot(*zip(*points), color=Colour.VALID, lw=2.2)
        ax.set(xlim=(start, max(end, start + 1)), ylim=(min(0.0, *(y for _, y in points)), highest or 1.0), yticks=[])
        ax.axhline(ax.get_ylim()[0], color=Colour.LINE, lw=1)
        ends(ax, {start: f"{start:g}", end: f"{axis} {end:g}"})

    words = f"{title} over {axis}s: first {first:.3g}, highest {highest:,.4g}, last {last:,.4g}"
    return Drawing(SMALL, 140, words, paint).svg()


def _axis(rows: Rows) -> str:
    return "step" if all("step" in row for row in rows) else "iteration"


def _series(rows: Rows, axis: str, name: str) -> Points:
    points = [(float(row[axis]), float(row[name])) for row in rows if axis in row and row.get(name) is not None]
    return sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))


def _marked(rows: Rows, axis: str, valid: Points, kept: int | None) -> tuple[str, tuple[float, float]]:
    """The valid loss to mark, and the word for it."""
    at = {float(row[axis]) for row in rows if kept is not None and row.get("iteration") == kept}
    there = [point for point in valid if point[0] in at]
    return ("kept", there[-1]) if there else ("best", min(valid, key=lambda point: point[1]))


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"
