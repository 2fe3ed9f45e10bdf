"""Small drawings as inline SVG. Colours come from the page's style sheet, so both themes work."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from understudy.records import Interval
from understudy.report import Unit, difference, label, signed

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 42

Points = list[tuple[float, float]]


def loss_curve(rows: Sequence[Mapping[str, Any]]) -> str:
    """Train and valid loss over updates, the base's valid loss as a line, the best update marked; '' without losses.

    A row is a line of metrics.jsonl: `update` or `iteration`, and `train_loss` or `valid_loss`.
    """
    axis = "update" if all("update" in row for row in rows) else "iteration"
    train, valid = _series(rows, axis, "train_loss"), _series(rows, axis, "valid_loss")
    points = train + valid
    if not points:
        return ""
    to_x, to_y, axes = _frame(points, axis)
    parts = [axes]
    if valid:
        base, best = valid[0][1], min(valid, key=lambda point: point[1])
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
        x, y, words = to_x(best[0]), to_y(best[1]), f"best {best[1]:.3f}"
        anchor = "end" if x > WIDTH - 110 else "start" if x < LEFT + 40 else "middle"
        above = y - 12 if y > TOP + 24 else y + 22
        parts.append(f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text class="strong" x="{x:.1f}" y="{above:.1f}" text-anchor="{anchor}">{words}</text>')
    parts.append(_legend([(kind, text) for kind, text, shown in entries if shown]))
    words = f"Loss over {axis}s, nats per answer token" + (f"; base {base:.3f}, best {best[1]:.3f}" if valid else "")
    return _svg(HEIGHT, words, parts)


def forest(differences: Mapping[str, Interval]) -> str:
    """Tuned minus base, one line per metric, a panel with its own axis per unit; '' for none."""
    units: dict[Unit, list[str]] = {}
    for name in differences:
        units.setdefault(label(name).unit, []).append(name)
    if not units:
        return ""
    parts: list[str] = []
    y = 8.0
    for unit, names in units.items():
        drawn, y = _panel(unit, names, differences, y)
        parts += drawn
    words = "Tuned minus base: " + "; ".join(f"{label(n).text} {difference(n, differences[n])}" for n in differences)
    return _svg(math.ceil(y), words, parts)


def _panel(unit: Unit, names: list[str], differences: Mapping[str, Interval], y: float) -> tuple[list[str], float]:
    """The lines of one unit from height `y` on, and the height below them."""
    left, right, row = 220, WIDTH - 178, 26
    reach = max(max(abs(differences[n].low), abs(differences[n].high)) for n in names) or 1.0
    middle, scale = (left + right) / 2, (right - left) / 2 / reach
    bottom = y + row * len(names) + 4
    parts = [f'<line class="zero" x1="{middle}" x2="{middle}" y1="{y:.0f}" y2="{bottom:.0f}"/>']
    for place, name in enumerate(names):
        interval, at = differences[name], y + row * (place + 0.5)
        low, high, value = (middle + scale * end for end in (interval.low, interval.high, interval.value))
        parts += [
            f'<text x="{left - 14}" y="{at + 4:.1f}" text-anchor="end">{escape(label(name).text)}</text>',
            f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>',
            f'<circle class="value" cx="{value:.1f}" cy="{at:.1f}" r="4.5"/>',
            f'<text class="number" x="{right + 14}" y="{at + 4:.1f}">{signed(name, interval.value)}'
            f" ({signed(name, interval.low)} … {signed(name, interval.high)})</text>",
        ]
    unit_words = {"nats": "nats per token", "share": "points", "words": "words", "number": ""}[unit]
    for end, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end")):
        text = f"{signed(names[0], end)}{' ' + unit_words if end == 0 else ''}"
        parts.append(
            f'<text class="tick" x="{middle + scale * end:.1f}" y="{bottom + 14:.1f}"'
            f' text-anchor="{anchor}">{text}</text>'
        )
    return parts, bottom + 34


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


def _svg(height: int, words: str, parts: list[str]) -> str:
    words = escape(words, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words}">{"".join(parts)}</svg>'
