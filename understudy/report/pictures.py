"""
Pictures of a dataset, each drawn once and rendered twice: as SVG for pages, as PNG for cards and the Prefect UI.

The PNG needs no drawing library: boxes and letters of a few strokes each, blended onto a numpy canvas and
packed with zlib. It knows the letters of ASCII; a title in another script is told by its document id there, and
in full in the SVG.
"""

import base64
import math
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from understudy.report.charts import ticks

if TYPE_CHECKING:
    import numpy as np

WIDTH = 720
ROWS_SHOWN = 40
SHADES = 8  # between a colour and the one below it, at an edge: finer ones cannot be seen, and double the PNG
PNG_SCALE = 2
INK, SOFT, GRID, EMPTY, BLUE, PAPER = "#1d1f23", "#5d6470", "#dcdfe4", "#e6e9ee", "#1763c4", "#ffffff"

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Text:
    """One line of words with its baseline at `y`; `plain` stands for it where its script cannot be drawn."""

    x: float
    y: float
    words: str
    size: float = 12
    colour: str = SOFT
    anchor: Anchor = "start"
    plain: str = ""


@dataclass
class Drawing:
    """A picture `WIDTH` wide, in pixels of the SVG."""

    height: int
    words: str
    """What it shows, for those who cannot see it."""
    boxes: list[Box] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    def svg(self) -> str:
        """The drawing for a page; on one with a style sheet the letters take its colours."""
        boxes = [
            f'<rect x="{b.x:.1f}" y="{b.y:.1f}" width="{b.width:.1f}" height="{b.height:.1f}" fill="{b.colour}"/>'
            for b in self.boxes
        ]
        texts = [
            f'<text x="{t.x:.1f}" y="{t.y:.1f}" font-size="{t.size:g}" fill="{t.colour}" text-anchor="{t.anchor}">'
            f"{escape(t.words)}</text>"
            for t in self.texts
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'font-family="system-ui, sans-serif" aria-label="{escape(self.words, quote=True)}">'
            f"{''.join(boxes + texts)}</svg>"
        )

    def png(self) -> bytes:
        """The drawing on white, at twice its size for sharp letters."""
        import numpy as np

        canvas = np.full((self.height * PNG_SCALE, WIDTH * PNG_SCALE, 3), 255, np.float32)
        for box in self.boxes:
            _fill(canvas, box)
        for text in self.texts:
            _letter(canvas, text)
        return _packed(canvas.round(out=canvas).astype("uint8"))


def histogram(bins: Sequence[tuple[float, float, int]], title: str, axis: str, open_end: bool = False) -> Drawing:
    """Bars of (from, to, count); with `open_end` the last one holds everything above its start."""
    left, right, top, bottom, height = 52, 16, 44, 46, 260
    drawing = Drawing(height, f"{title}: {sum(n for *_, n in bins)} in {len(bins)} bars", texts=[_title(title)])
    most = max((count for *_, count in bins), default=0)
    if not most:
        drawing.texts.append(Text(left, height / 2, "nothing to count"))
        return drawing
    scale = [tick for tick in ticks(0, most, 4) if tick == int(tick)]
    step, plot = (WIDTH - left - right) / len(bins), height - top - bottom
    for tick in scale:
        y = height - bottom - plot * tick / scale[-1]
        drawing.boxes.append(Box(left, y - 0.5, WIDTH - left - right, 1, GRID))
        drawing.texts.append(Text(left - 8, y + 4, f"{tick:,.0f}", anchor="end"))
    every = math.ceil(len(bins) / 12)
    for place, (low, high, count) in enumerate(bins):
        x, tall = left + step * place, plot * count / scale[-1]
        drawing.boxes.append(Box(x + 1, height - bottom - tall, step - 2, tall, BLUE))
        last = open_end and place == len(bins) - 1
        if place % every == 0 or last:
            drawing.texts.append(Text(x, height - bottom + 17, f"{low:g}", anchor="middle"))
        if place == len(bins) - 1:
            end = "more" if last else f"{high:g}"
            drawing.texts.append(Text(WIDTH - right, height - bottom + 17, end, anchor="end"))
    drawing.texts.append(Text((left + WIDTH - right) / 2, height - 8, axis, anchor="middle"))
    return drawing


@dataclass(frozen=True)
class Row:
    """One talk: how much of it taught the model. `spans` in the unit of `total`."""

    title: str
    plain: str
    """Its document id."""
    total: float
    spans: Sequence[tuple[float, float]]
    note: str
    """At the end of the row, e.g. '31 of 48 min'."""


def coverage(rows: Sequence[Row], title: str) -> Drawing:
    """A bar per talk from its beginning to its end, blue where a kept pair comes from; the first `ROWS_SHOWN`."""
    left, right, row, top = 236, 136, 22, 52
    shown, bar = rows[:ROWS_SHOWN], WIDTH - left - right
    more = len(rows) - len(shown)
    drawing = Drawing(top + row * max(len(shown), 1) + (30 if more else 12), f"{title}: {len(rows)} talks")
    drawing.texts.append(_title(title))
    drawing.texts += [Text(left, top - 8, "beginning"), Text(left + bar, top - 8, "end", anchor="end")]
    for place, talk in enumerate(shown):
        y = top + row * place
        drawing.texts.append(Text(left - 12, y + 14, _short(talk.title), colour=INK, anchor="end", plain=talk.plain))
        drawing.boxes.append(Box(left, y + 4, bar, 12, EMPTY))
        for start, end in talk.spans if talk.total else ():
            drawing.boxes.append(
                Box(left + bar * start / talk.total, y + 4, bar * (end - start) / talk.total, 12, BLUE)
            )
        drawing.texts.append(Text(left + bar + 10, y + 14, talk.note))
    if more:
        drawing.texts.append(Text(left, drawing.height - 12, f"and {more} more talks"))
    return drawing


LOSS_STYLE = (
    "text{fill:#1d1f23;font-size:12.5px}.tick{fill:#5d6470;font-size:12px}"
    ".strong{font-weight:650;paint-order:stroke;stroke:#fff;stroke-width:4px}"
    "line,polyline{fill:none;stroke:#dcdfe4}.train{stroke:#9aa3b2;stroke-width:2}.valid{stroke:#1763c4;stroke-width:2.5}"
    ".dot{stroke:none}.train.dot{fill:#9aa3b2}.valid.dot{fill:#1763c4}"
    ".base{stroke:#5d6470;stroke-width:1.5;stroke-dasharray:5 4}.best{fill:none;stroke:#c2410c;stroke-width:2.5}"
    ".number{font-size:11.5px}.zero{stroke:#5d6470;stroke-dasharray:3 3}.whisker{stroke:#1763c4;stroke-width:2.5}"
    ".value,.tuned-mark{fill:#1763c4}.reference{fill:#5d6470}.base-mark{fill:#b45309}"
)


def standing_alone(svg: str) -> str:
    """A chart of the page with the page's light colours inside, for where no style sheet reaches; '' stays ''."""
    inside = f'<style>{LOSS_STYLE}</style><rect width="100%" height="100%" fill="{PAPER}"/>'
    head = r'<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" \1>' + inside
    return re.sub(r"^<svg ([^>]*)>", head, svg, count=1)


def data_uri(picture: str | bytes) -> str:
    """An SVG (text) or a PNG (bytes) as an address that carries it, for `![]()`."""
    kind, content = ("svg+xml", picture.encode()) if isinstance(picture, str) else ("png", picture)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _title(words: str) -> Text:
    return Text(14, 22, words, size=15, colour=INK)


def _short(title: str, most: int = 28) -> str:
    return title if len(title) <= most else f"{title[: most - 1].rstrip()}…"


def _fill(canvas: "np.ndarray", box: Box) -> None:
    """Blend a rectangle in; an edge between two pixels shades the one it is in."""
    import numpy as np

    across, down = (
        np.clip(np.minimum(np.arange(size) + 1, high) - np.maximum(np.arange(size), low), 0, 1)
        for size, low, high in (
            (canvas.shape[1], box.x * PNG_SCALE, (box.x + box.width) * PNG_SCALE),
            (canvas.shape[0], box.y * PNG_SCALE, (box.y + box.height) * PNG_SCALE),
        )
    )
    columns, lines = np.flatnonzero(across), np.flatnonzero(down)
    if len(columns) and len(lines):
        place = np.s_[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
        _blend(canvas, place, np.outer(down[lines], across[columns]), box.colour)


def _blend(canvas: "np.ndarray", place: tuple[slice, slice], share: "np.ndarray", colour: str) -> None:
    import numpy as np

    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], dtype=float)
    canvas[place] += (share * SHADES).round()[..., None] / SHADES * (value - canvas[place])


def _letter(canvas: "np.ndarray", text: Text) -> None:
    """Draw one line of words, stroke by stroke."""
    import numpy as np

    unit = text.size * PNG_SCALE / CELL
    words = drawable(text.words) or drawable(text.plain) or ""
    width = sum(_advance(letter) for letter in words) * unit
    x = text.x * PNG_SCALE - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    y, thick = text.y * PNG_SCALE - BASE * unit, max(0.6, 0.062 * text.size * PNG_SCALE)
    for letter in words:
        left = round(x)  # on whole pixels the same letter is the same everywhere, and packs better
        for stroke in _strokes(letter):
            points = [(left + px * unit, y + py * unit) for px, py in stroke]
            low_x, low_y = (max(0, int(min(p[i] for p in points) - thick - 1)) for i in (0, 1))
            high_x, high_y = (min(canvas.shape[1 - i], int(max(p[i] for p in points) + thick + 2)) for i in (0, 1))
            if high_x <= low_x or high_y <= low_y:
                continue
            grid_y, grid_x = np.mgrid[low_y:high_y, low_x:high_x] + 0.5
            away = np.min([_distance(grid_x, grid_y, a, b) for a, b in zip(points, points[1:] or points)], axis=0)
            _blend(canvas, np.s_[low_y:high_y, low_x:high_x], np.clip(thick + 0.5 - away, 0, 1), text.colour)
        x += _advance(letter) * unit


def _distance(x: "np.ndarray", y: "np.ndarray", a: tuple[float, float], b: tuple[float, float]) -> "np.ndarray":
    """How far each point is from the line between `a` and `b`."""
    import numpy as np

    dx, dy = b[0] - a[0], b[1] - a[1]
    along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / ((dx * dx + dy * dy) or 1), 0, 1)
    return np.hypot(x - a[0] - along * dx, y - a[1] - along * dy)


def _packed(pixels: "np.ndarray") -> bytes:
    """An 8-bit RGB image as PNG."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def drawable(words: str) -> str | None:
    """`words` in letters there are strokes for, accents dropped; None when some have none."""
    plain = words.translate(_PLAIN)
    letters = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return letters if letters and all(c == " " or c in GLYPHS for c in letters) else None


@cache
def _strokes(letter: str) -> list[list[tuple[float, float]]]:
    return [list(_points(stroke)) for stroke in GLYPHS.get(letter, [])]


def _advance(letter: str) -> float:
    """Width of a letter with the gap after it."""
    return max((x for stroke in _strokes(letter) for x, _ in stroke), default=1.2) + 1.7


def _points(stroke: str) -> Iterator[tuple[float, float]]:
    """The line a stroke means: pairs of digits, straight, or rounded after '~', or rounded and closed after '@'."""
    kind, digits = (stroke[0], stroke[1:]) if stroke[0] in "~@" else ("", stroke)
    points = [(float(x), float(y)) for x, y in zip(digits[::2], digits[1::2])]
    for _ in range(3 if kind else 0):
        ring = [*points, points[0]] if kind == "@" else points
        cut = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for a, b in pairwise(ring) for t in (0.25, 0.75)]
        points = cut if kind == "@" else [points[0], *cut[1:-1], points[-1]]
    yield from points
    if kind == "@":
        yield points[0]


CELL, BASE = 8.6, 6
"""Units of the grid to one letter height, and where the baseline is: capitals reach 0, small letters 2, tails 8."""
_PLAIN = str.maketrans({"…": "...", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "ß": "ss", "−": "-"})
GLYPHS = {
    token[0]: token[1:].split(";")
    for token in r"""
A062046;1434 B0006;~00404303;~03434606 C~414000064645 D0006;~003042443606 E40000646;0333 F400006;0333
G~414000064643;4323 H0006;4046;0343 I0006 J~30360605 K0006;4004;1346 L000646 M0600244046 N06004640 O@00404606
P0006;~00404303 Q@00404606;2547 R0006;~00404303;2346 S~4140000343460605 T0040;2026 U~00064640 V002640
W0016315660 X0046;4006 Y002340;2326 Z00400646
a@02323606;3236 b@02323606;0006 c~333202063635 d@02323606;3036 e0434;~343202063635 f~20101116;0222
g@02323606;~32380807 h0006;~04023236 i0206;00 j~121808;10 k0006;3205;1436 l0006 m0206;~04022226;~24224246
n0206;~04023236 o@02323606 p0208;@02323606 q3238;@02323606 r0206;~040222 s~3332020434360605 t~101626;0222
u~02063634;3236 v022642 w0216335662 x0236;3206 y0226;4218 z02320636
0@00303606 1012026 2~0100303306;0636 3~0100303313;~1333360605 4300444;3036 5300002;~0232360605
6@03333606;~31300005 7003016 8@00303303;@03333606 9@00303303;~31360605
.06 ,0607 :03;06 ;03;0607 !0004;06 ?~010030331314;16 -0424 +0444;2226 =0333;0535 /0620 \0026 (~10020517 )~00121507
[10000717 ]00101707 '0001 "0001;1011 #1006;3026;0242;0444 %@00202202;@24444626;4006 &~4602001020220406264643
*2024;0133;0331 _0747 <320436 >023406 |0007 @@00404606;@12323414 ~~04022644 ^021022 `0011 {~20100303;~03101727
}~00101323;~23101707 $~4140000343460605;2026
""".split()
}
