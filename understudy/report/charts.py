"""Small drawings as inline SVG. Colours come from the page's style sheet, so both themes work."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from understudy.records import Interval
from understudy.report import Unit, difference, label, signed

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 42
SMALL = 380
"""Width of a drawing that stands beside others, and fills a phone."""
SMALL_CURVES = {
    "learning_rate": ("Learning rate", 1.0),
    "gradient_norm": ("Gradient norm", 1.0),
    "tokens_per_second": ("Tokens per second", 1.0),
    "peak_memory_bytes": ("Peak memory, GB", 1e-9),
}

Points = list[tuple[float, float]]


def loss_curve(rows: Sequence[Mapping[str, Any]], kept: int | None = None) -> str:
    """Train and valid loss over updates, the base's valid loss as a line, one valid loss marked; '' without losses.

    A row is a line of metrics.jsonl: `update` or `iteration`, and `train_loss` or `valid_loss`. `kept` is the iteration
    whose weights were kept (AdapterCard.best_iteration); without it the lowest valid loss is marked.
    """
    axis = "update" if all("update" in row for row in rows) else "iteration"
    train, valid = _series(rows, axis, "train_loss"), _series(rows, axis, "valid_loss")
    points = train + valid
    if not points:
        return ""
    to_x, to_y, axes = _frame(points, axis)
    parts = [axes]
    if valid:
        base, (word, best) = valid[0][1], _marked(rows, axis, valid, kept)
        parts.append(
            f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{to_y(base):.1f}" y2="{to_y(base):.1f}"/>'
        )
    parts += [_line("train", train, to_x, to_y), _line("valid", valid, to_x, to_y)]
    entries = [
        ("train", "train", bool(train)),
        ("valid", "valid", bool(valid)),
        ("base", "valid loss of the base", bool(valid)),
    ]
    if valid:
        x, y, words = to_x(best[0]), to_y(best[1]), f"{word} {best[1]:.3f}"
        anchor = "end" if x > WIDTH - 110 else "start" if x < LEFT + 40 else "middle"
        below = y <= TOP + 24 or 0 < y - to_y(base) < 30  # else the words would lie on the frame or on the base's line
        parts.append(f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        beside = y + 22 if below else y - 12
        parts.append(f'<text class="strong" x="{x:.1f}" y="{beside:.1f}" text-anchor="{anchor}">{words}</text>')
    parts.append(_legend([(kind, text) for kind, text, shown in entries if shown]))
    words = f"Loss over {axis}s, nats per answer token" + (f"; base {base:.3f}, {word} {best[1]:.3f}" if valid else "")
    return svg(HEIGHT, words, parts)


def _marked(
    rows: Sequence[Mapping[str, Any]], axis: str, valid: Points, kept: int | None
) -> tuple[str, tuple[float, float]]:
    """The valid loss to mark, and the word for it."""
    at = {float(row[axis]) for row in rows if kept is not None and row.get("iteration") == kept}
    found = [point for point in valid if point[0] in at]
    return ("kept", found[-1]) if found else ("best", min(valid, key=lambda point: point[1]))


def forests(differences: Mapping[str, Interval]) -> list[str]:
    """Tuned minus base, one drawing per unit, each with its own axis; what is no finite number is left out."""
    # One token weighs far more than the mean of all: on one axis with it nothing else could be read.
    units: dict[tuple[Unit, bool], list[str]] = {}
    for name, interval in differences.items():
        if all(math.isfinite(end) for end in (interval.low, interval.value, interval.high)):
            units.setdefault((label(name).unit, name == "nll_end"), []).append(name)
    return [_forest(unit, names, differences) for (unit, _), names in units.items()]


def _forest(unit: Unit, names: list[str], differences: Mapping[str, Interval]) -> str:
    """A line per metric, its words above it, so that it can be read on a phone."""
    left, right, row, top = 14, SMALL - 14, 46, 26
    reach = max(max(abs(differences[n].low), abs(differences[n].high)) for n in names) or 1.0
    middle, scale = (left + right) / 2, (right - left) / 2 / reach
    bottom = top + row * len(names)
    title = {"nats": "Nats per token", "share": "Points of 100", "words": "Words", "number": "Other units"}[unit]
    parts = [
        f'<text class="strong" x="{left}" y="16">{title}</text>',
    ]
    for place, name in enumerate(names):
        interval, y = differences[name], top + row * place
        low, high, value = (middle + scale * end for end in (interval.low, interval.high, interval.value))
        numbers = f"{signed(name, interval.value)} ({signed(name, interval.low)} to {signed(name, interval.high)})"
        parts += [
            f'<text x="{left}" y="{y + 17}">{escape(_cut(label(name).text))}</text>',
            f'<text class="number" x="{right}" y="{y + 17}" text-anchor="end">{numbers}</text>',
            f'<line class="zero" x1="{middle}" x2="{middle}" y1="{y + 22}" y2="{y + 40}"/>',
            f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y + 31}" y2="{y + 31}"/>',
            f'<circle class="value" cx="{value:.1f}" cy="{y + 31}" r="4.5"/>',
        ]
    for end, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end")):
        parts.append(
            f'<text class="tick" x="{middle + scale * end:.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
            f"{signed(names[0], end)}</text>"
        )
    words = f"Tuned minus base, {title}: " + "; ".join(
        f"{label(n).text} {difference(n, differences[n])}" for n in names
    )
    return svg(math.ceil(bottom + 24), words, parts, SMALL)


def _cut(words: str, most: int = 30) -> str:
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def small_curves(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Learning rate, gradient norm, speed and memory over the training, a small drawing each that has numbers."""
    axis = "update" if all("update" in row for row in rows) else "iteration"
    found = []
    for name, (title, factor) in SMALL_CURVES.items():
        points = [(x, y * factor) for x, y in _series(rows, axis, name)]
        if len(points) > 1:
            found.append(_small_curve(title, points, axis))
    return found


def _small_curve(title: str, points: Points, axis: str) -> str:
    left, right, top, bottom, height = 14, SMALL - 14, 34, 26, 140
    low_x, high_x = points[0][0], max(points[-1][0], points[0][0] + 1)
    low, high = min(0.0, min(y for _, y in points)), max(y for _, y in points) or 1.0
    path = " ".join(
        f"{left + (x - low_x) / (high_x - low_x) * (right - left):.1f},"
        f"{height - bottom - (y - low) / ((high - low) or 1) * (height - top - bottom):.1f}"
        for x, y in points
    )
    last, most = points[-1][1], max(y for _, y in points)
    parts = [
        f'<text class="strong" x="{left}" y="16">{title}</text>',
        f'<text class="number" x="{right}" y="16" text-anchor="end">highest {most:.3g}, last {last:.3g}</text>',
        f'<line class="grid" x1="{left}" x2="{right}" y1="{height - bottom}" y2="{height - bottom}"/>',
        f'<polyline class="valid" points="{path}"/>',
        f'<text class="tick" x="{left}" y="{height - 8}">{low_x:g}</text>',
        f'<text class="tick" x="{right}" y="{height - 8}" text-anchor="end">{axis} {high_x:g}</text>',
    ]
    words = f"{title} over {axis}s: first {points[0][1]:.3g}, highest {most:.3g}, last {last:.3g}"
    return svg(height, words, parts, SMALL)


def _series(rows: Sequence[Mapping[str, Any]], axis: str, name: str) -> Points:
    found = [(float(row[axis]), float(row[name])) for row in rows if axis in row and row.get(name) is not None]
    return sorted((x, y) for x, y in found if math.isfinite(x) and math.isfinite(y))


def _frame(points: Points, axis: str) -> tuple[Any, Any, str]:
    """The two scales, and grid, ticks and titles of both axes."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = ticks(min(xs), max(xs), 7), ticks(min(ys), max(ys), 5)
    low_y, high_y = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))
    low_x, high_x = min(xs), max(max(xs), min(xs) + 1)

    def to_x(x: float) -> float:
        return LEFT + (x - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)

    def to_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low_y) / ((high_y - low_y) or 1) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{to_y(y):.1f}" y2="{to_y(y):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{to_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in (x for x in x_ticks if low_x <= x <= high_x):
        parts.append(
            f'<text class="tick" x="{to_x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>'
        )
    parts.append(
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{axis}</text>'
    )
    parts.append(f'<text class="tick" x="{LEFT - 40}" y="{TOP - 18}">nats per answer token</text>')
    return to_x, to_y, "".join(parts)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that span low to high, at steps of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{place * step:.10g}") for place in range(first, last + 1)]


def _line(kind: str, points: Points, to_x: Any, to_y: Any) -> str:
    if not points:
        return ""
    path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in points)
    dots = "".join(f'<circle class="{kind} dot" cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="2.5"/>' for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>' + (dots if len(points) <= 60 else "")


def _legend(entries: list[tuple[str, str]]) -> str:
    """Right-aligned, above the plot."""
    parts, x = [], WIDTH - RIGHT
    for kind, text in reversed(entries):
        x -= 7 * len(text) + 8
        parts.append(f'<line class="{kind}" x1="{x - 26}" x2="{x - 6}" y1="{TOP - 22}" y2="{TOP - 22}"/>')
        parts.append(f'<text x="{x}" y="{TOP - 18}">{text}</text>')
        x -= 34
    return "".join(parts)


def svg(height: int, words: str, parts: list[str], width: int = WIDTH) -> str:
    words = escape(words, quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{words}">{"".join(parts)}</svg>'
