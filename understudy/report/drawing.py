"""
Pictures by matplotlib: SVG in the colours of the page, light or dark, and PNG for cards.

Matplotlib is imported when the first picture is drawn. Its settings hold only while a picture is drawn, its caches lie
in the folder for temporary files, and the same drawing gives the same bytes.
"""

import base64
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, fromstring, tostring

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 720
SIDE = 14
"""Margin at both sides of a small picture."""
PNG_SCALE = 2


class Colour(StrEnum):
    """The page's colours in light; in an SVG each is the variable of that name in the page's style sheet."""

    INK = "#1d1f23"
    SOFT = "#5d6470"
    LINE = "#dcdfe4"
    CARD = "#ffffff"
    TRAIN = "#9aa3b2"
    VALID = "#1763c4"
    BEST = "#c2410c"
    BASE = "#b45309"


_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "understudy", "text.parse_math": False, "font.family": "DejaVu Sans",
    "font.size": 12, "text.color": Colour.INK, "axes.facecolor": "none", "axes.labelcolor": Colour.SOFT,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
    "axes.axisbelow": True, "axes.formatter.useoffset": False, "grid.color": Colour.LINE, "grid.linewidth": 1,
    "xtick.bottom": False, "ytick.left": False, "xtick.labelcolor": Colour.SOFT, "ytick.labelcolor": Colour.SOFT,
    "legend.frameon": False,
}  # fmt: skip
_KEPT = ("fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-weight", "text-anchor")
_METADATA = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "png": {"Software": None}}
_ONE_AT_A_TIME = threading.Lock()
_OWN_NAME = re.compile(r"[a-z-]+")  # matplotlib's own ids hold an underscore and a number
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class Drawing:
    """A picture that is painted when it is asked for; sizes in pixels of the SVG."""

    width: int
    height: int
    words: str
    """What it shows, for those who cannot see it."""
    paint: "Callable[[Figure], None]"

    def svg(self) -> str:
        """The picture for a page whose style sheet names the colours."""
        size, words = f"0 0 {self.width} {self.height}", _NOT_XML.sub("", self.words)
        drawn = Element("svg", {"viewBox": size, "role": "img", "aria-label": words})
        drawn.extend(_shapes(fromstring(_NOT_XML.sub("", self._saved("svg", 72).decode())), {}))
        return tostring(drawn, encoding="unicode")

    def png(self) -> bytes:
        """The picture on white, at twice its size for sharp letters."""
        return self._saved("png", 72 * PNG_SCALE)

    def _saved(self, kind: str, dpi: int) -> bytes:
        matplotlib = _matplotlib()
        from matplotlib.figure import Figure

        file, back = BytesIO(), "none" if kind == "svg" else Colour.CARD
        with _ONE_AT_A_TIME, matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72)
            self.paint(figure)
            figure.savefig(file, format=kind, dpi=dpi, facecolor=back, metadata=_METADATA[kind])
        return file.getvalue()


def axes(figure: "Figure", left: float, right: float, top: float, bottom: float) -> "Axes":
    """Axes that leave these margins, in pixels."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def heading(figure: "Figure", title: str, note: str = "") -> None:
    """The title of a small picture, and at its right what is worth saying at once."""
    width, height = figure.get_size_inches() * 72
    figure.text(SIDE / width, 1 - 16 / height, title, weight="bold")
    figure.text(1 - SIDE / width, 1 - 16 / height, note, ha="right", size=11)


def ends(ax: "Axes", labels: Mapping[float, str]) -> None:
    """Label the x axis at these values only; the first and the last label stay within the axis."""
    ax.set_xticks(list(labels), list(labels.values()))
    first, *_, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def standing_alone(svg: str) -> str:
    """A chart of the page with the page's light colours inside, for where no style sheet reaches; '' stays ''."""
    light = re.sub(r"var\(--(\w+)\)", lambda name: Colour[name[1].upper()].value, svg)
    style = f"text{{paint-order:stroke;stroke:{Colour.CARD.value};stroke-width:3px}}"
    inside = f'<style>{style}</style><rect width="100%" height="100%" fill="{Colour.CARD.value}"/>'
    head = r'<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" \1>' + inside
    return re.sub(r"^<svg ([^>]*)>", head, light, count=1)


def data_uri(picture: str | bytes) -> str:
    """An SVG (text) or a PNG (bytes) as an address that carries it, for `![]()`."""
    kind, content = ("svg+xml", picture.encode()) if isinstance(picture, str) else ("png", picture)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def drawable(text: str) -> bool:
    """Whether a PNG can hold `text`: the font that ships with matplotlib has its letters, written left to right."""
    import unicodedata

    _matplotlib()
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return all(font.get_char_index(ord(c)) and unicodedata.bidirectional(c) not in ("R", "AL") for c in text)


def _matplotlib() -> ModuleType:
    """The library, its caches in a folder of this user among the temporary files, never in the user's settings."""
    if "MPLCONFIGDIR" not in os.environ:
        folder = Path(tempfile.gettempdir()) / f"understudy-matplotlib-{os.getuid() if hasattr(os, 'getuid') else ''}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            folder = Path(tempfile.mkdtemp(prefix="understudy-matplotlib-"))
        os.environ["MPLCONFIGDIR"] = str(folder)
    import matplotlib

    return matplotlib


def _shapes(node: Element, markers: dict[str, str], kind: str | None = None) -> Iterator[Element]:
    """What a browser draws of matplotlib's SVG: no ids that meet those of another picture, no style attributes."""
    for child in node:
        tag, name = child.tag.rpartition("}")[2], child.get("id", "")
        if tag == "defs":
            markers |= {f"#{path.get('id')}": path.get("d", "") for path in child}
        elif tag == "g":
            yield from _shapes(child, markers, name if _OWN_NAME.fullmatch(name) else kind)
        elif tag in ("path", "text", "use"):
            style = dict(part.strip().split(": ", 1) for part in child.get("style", "").split(";") if part.strip())
            if tag != "text" and style.get("fill") == "none" and "stroke" not in style:
                continue
            look = {key: _variable(style[key]) for key in _KEPT if key in style}
            yield _placed(child, tag, look | ({"class": kind} if kind else {}), markers)


def _placed(child: Element, tag: str, look: dict[str, str], markers: dict[str, str]) -> Element:
    """One shape at its place, in tenths of a pixel; a marker becomes a shape of its own."""
    x, y = (_rounded(child.get(name, "0")) for name in "xy")
    if tag == "text":
        text = Element("text", {"x": x, "y": y} | look)
        text.text = child.text
        return text
    if tag == "path":
        return Element("path", {"d": _rounded(child.get("d", ""))} | look)
    path = markers[child.get("{http://www.w3.org/1999/xlink}href", "")]
    if "C" in path:  # the only round marker in use is a circle
        radius = max(map(float, re.findall(r"-?[\d.]+", path)))
        return Element("circle", {"cx": x, "cy": y, "r": _rounded(f"{radius:.2f}")} | look)
    return Element("path", {"d": _rounded(path), "transform": f"translate({x} {y})"} | look)


def _variable(colour: str) -> str:
    return f"var(--{Colour(colour).name.lower()})" if colour in set(Colour) else colour


def _rounded(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda n: f"{float(n[0]):.1f}".removesuffix(".0"), " ".join(numbers.split()))
