"""A sheet to draw on in inches: boxes, lines and words, with the size of words known before."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from distsim.report.figure import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT = "#222222", "#5F5F5F"
#: Points of the sizes of words.
TITLE, NORMAL, SMALL = 14.0, 9.5, 8.5
_POINTS = 72.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with round corners; `text` stands in its middle."""

    x: float
    y: float
    width: float
    height: float
    text: str = ""
    fill: str = "white"
    edge: str = INK
    dashed: bool = False
    line: float = 0.9
    layer: float = 3.0

    @property
    def middle(self) -> tuple[float, float]:
        """Return the point in the middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through points, or a curve where there are three and `curved` is set."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.2
    style: Any = "solid"
    curved: bool = False
    layer: float = 2.0


@dataclass(frozen=True, slots=True)
class Words:
    """A text whose left, middle or right stands at x, and whose middle at y."""

    x: float
    y: float
    text: str
    size: float = NORMAL
    bold: bool = False
    colour: str = INK
    align: str = "left"


@dataclass(slots=True)
class Sheet:
    """What is drawn."""

    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    def write(self, x: float, y: float, text: str, **style: Any) -> float:
        """Write a text and return where it ends."""
        words = Words(x, y, text, **style)
        self.words.append(words)
        return x + width_of(text, words.size, words.bold)

    def take(self, other: Sheet, dx: float, dy: float) -> None:
        """Take over what is on another sheet, moved."""
        self.boxes += [replace(b, x=b.x + dx, y=b.y + dy) for b in other.boxes]
        self.words += [replace(w, x=w.x + dx, y=w.y + dy) for w in other.words]
        for line in other.lines:
            self.lines.append(replace(line, points=[(x + dx, y + dy) for x, y in line.points]))

    def cropped(self) -> tuple[Sheet, float, float]:
        """Return what is drawn, moved to the corner, and its width and height."""
        xs, ys = zip(*self._corners(), strict=True)
        out = Sheet()
        out.take(self, -min(xs), -min(ys))
        return out, max(xs) - min(xs), max(ys) - min(ys)

    def _corners(self) -> Iterator[tuple[float, float]]:
        for box in self.boxes:
            yield from ((box.x, box.y), (box.x + box.width, box.top))
        for line in self.lines:
            yield from line.points
        for words in self.words:
            width = width_of(words.text, words.size, words.bold)
            left = words.x - {"left": 0.0, "center": 0.5, "right": 1.0}[words.align] * width
            half = 0.7 * words.size / _POINTS
            yield from ((left, words.y - half), (left + width, words.y + half))

    def figure(self, width: float, height: float) -> Figure:
        """Return the sheet as a figure of a size in inches.

        Raises
        ------
        UsageError
            DS640 where matplotlib is not installed.
        """
        drawn = figure(width, height)
        from matplotlib.patches import FancyBboxPatch, PathPatch
        from matplotlib.path import Path

        drawn.set_layout_engine("none")
        drawn.set_facecolor("white")
        axes = drawn.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        axes.set_axis_off()
        for line in self.lines:
            way = Path.CURVE3 if line.curved else Path.LINETO
            codes = [Path.MOVETO, *[way] * (len(line.points) - 1)]
            style = {"lw": line.width, "ls": line.style, "ec": line.colour, "capstyle": "round"}
            path = Path(list(line.points), codes)
            axes.add_patch(PathPatch(path, fc="none", zorder=line.layer, **style))
        for box in self.boxes:
            shape = f"round,pad=0,rounding_size={min(0.06, box.height / 4)}"
            corner, style = (box.x, box.y), {"lw": box.line, "ls": "--" if box.dashed else "-"}
            axes.add_patch(
                FancyBboxPatch(
                    corner,
                    box.width,
                    box.height,
                    boxstyle=shape,
                    fc=box.fill,
                    ec=box.edge,
                    zorder=box.layer,
                    **style,
                )
            )
        inside = [Words(*b.middle, b.text, size=SMALL, align="center") for b in self.boxes]
        for words in (*self.words, *inside):
            if words.text:
                axes.text(
                    words.x,
                    words.y,
                    words.text,
                    fontsize=words.size,
                    fontweight="bold" if words.bold else "normal",
                    color=words.colour,
                    ha=words.align,
                    va="center_baseline",
                    parse_math=False,
                    zorder=5,
                )
        return drawn


@lru_cache(maxsize=1)
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = figure(1, 1)
    drawn.set_dpi(_POINTS)
    canvas: Any = FigureCanvasAgg(drawn)
    return canvas.get_renderer()


@lru_cache(maxsize=4096)
def width_of(text: str, size: float = NORMAL, bold: bool = False) -> float:
    """Return the width of a text in inches, a little rounded up: renderers differ.

    A wide letter, as of Chinese, is as wide as it is high, whether the font has it or not. Without
    matplotlib a letter counts as 0.62 of its height, 0.7 in bold, which few words exceed.
    """
    try:
        from matplotlib.font_manager import FontProperties
    except ImportError:
        letters = sum(2.0 if east_asian_width(c) in "WF" else 1.0 for c in text)
        return letters * size * (0.7 if bold else 0.62) / _POINTS

    wide = sum(east_asian_width(letter) in "WF" for letter in text)
    narrow = "".join(letter for letter in text if east_asian_width(letter) not in "WF")
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    with missing_glyphs_allowed():
        width, _, _ = _renderer().get_text_width_height_descent(narrow, font, ismath=False)
    return (float(width) + wide * size) / _POINTS * 1.04


@contextmanager
def missing_glyphs_allowed() -> Iterator[None]:
    """Keep matplotlib from warning of letters that its font lacks: viewers of SVG have others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def fitted(text: str, width: float, size: float = NORMAL, bold: bool = False) -> str:
    """Return a text that is at most so wide, in inches; the middle is left out where it is not."""
    if width_of(text, size, bold) <= width:
        return text
    for keep in range(len(text) - 1, 1, -1):
        short = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
        if width_of(short, size, bold) <= width:
            return short
    return "…"


def wrapped(text: str, width: float, size: float = NORMAL) -> list[str]:
    """Return the lines of a text that are at most so wide, in inches."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width, size))
    return lines
