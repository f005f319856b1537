"""How every figure looks, and how it is written.

The look is seaborn's, from matplotlib's own copy: seaborn takes half a second to load, so only the
figures that it draws itself import it (bars). Of a thousand trials it would take a frame apart for
each, where one call draws them all.
"""

import io
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from weakref import WeakKeyDictionary
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from numpy.typing import NDArray

DPI = 120
SVG = "http://www.w3.org/2000/svg"
# Okabe and Ito's colours, distinguishable with any colour vision; without black and yellow.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
HEADING = 10.5
"""Points."""
HEADING_LINE = 0.17
"""Inches that each line of a heading takes."""
LETTER = 0.068
"""Inches that a small letter takes, about."""
FEW_TRIALS = 40
"""Up to here trials are joined by a line and dots are large."""
MOST_ANSWERS = 500
"""Points of a figure that answers; above, they cover each other and cost a tenth of a second."""
_also: ContextVar[frozenset[str]] = ContextVar("also", default=frozenset())
_answers: WeakKeyDictionary[Line2D, Sequence[str]] = WeakKeyDictionary()


@contextmanager
def also_as(formats: Collection[str]) -> Iterator[None]:
    """Lets figures that are saved inside be written as "pdf" or "svg" as well as PNG.

    A PDF takes a tenth of a second; an SVG is written of figures with points that answer.
    """
    before = _also.set(frozenset(formats))
    try:
        yield
    finally:
        _also.reset(before)


def answer(points: Line2D, texts: Iterable[str]) -> None:
    """Gives each point of a line what it says in the page under a pointer; too many say nothing."""
    if len(points.get_xydata()) <= MOST_ANSWERS:  # type: ignore[arg-type]  # the stubs say more
        _answers[points] = list(texts)


@contextmanager
def house_style() -> Iterator[None]:
    """Makes everything drawn inside look alike."""
    look = {
        **style.library["seaborn-v0_8-ticks"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titley": 1.02,  # at a given height: finding one doubles the time to draw
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8.5,
        "font.sans-serif": ["DejaVu Sans"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.6,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.minor.size": 2,
        "ytick.minor.size": 2,
        "patch.edgecolor": "w",
        "patch.force_edgecolor": True,
        "axes.formatter.useoffset": False,
        "axes.axisbelow": True,
    }
    with rc_context(look):
        yield


def heading_lines(text: str, width: float) -> list[str]:
    """Returns a figure's heading, HEADING points high, in lines that fit into `width` inches."""
    return textwrap.wrap(text, int(10.5 * width))


def make_canvas(width: float, height: float) -> Canvas:
    """Returns an empty figure, in inches."""
    figure = Canvas(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def headed(title: str, width: float, height: float) -> tuple[Canvas, float]:
    """Returns a figure of so many inches with its heading above them, and the heading's height.

    No suptitle: the layout would give it room a second time.
    """
    lines = heading_lines(title, width)
    head = 0.2 + HEADING_LINE * len(lines)
    figure = make_canvas(width, height + head)
    figure.text(
        0.015, 1 - 0.08 / (height + head), "\n".join(lines), fontsize=HEADING, va="top",
        linespacing=1.15,
    )  # fmt: skip
    return figure, head


def axes_at(figure: Canvas, left: float, top: float, wide: float, high: float) -> Axes:
    """Returns new axes at a place in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    box = (left / width, 1 - (top + high) / height, wide / width, high / height)
    return figure.add_axes(box)


def save(figure: Canvas, path: Path) -> None:
    """Writes the figure as PNG, and beside it as `also_as` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # compress_level: half the time of the default for a tenth more bytes
    figure.savefig(path, dpi=DPI, pil_kwargs={"compress_level": 3})
    if "pdf" in _also.get():
        figure.savefig(path.with_suffix(".pdf"), dpi=2 * DPI)
    lines = [line for line in figure.findobj(Line2D) if line in _answers]
    if "svg" in _also.get() and 0 < sum(len(_answers[line]) for line in lines) <= MOST_ANSWERS:
        _save_svg(figure, path.with_suffix(".svg"), lines)


def _save_svg(figure: Canvas, path: Path, lines: Sequence[Line2D]) -> None:
    """Writes a figure whose points have titles, which browsers show under the pointer."""
    for k, line in enumerate(lines):
        line.set_gid(f"{path.stem}-{k}")
    drawn = io.BytesIO()
    # a salt of its own: the same figure has the same bytes, and no two of a page the same names
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(drawn.getvalue())
    groups = {group.get("id"): group for group in root.iter(f"{{{SVG}}}g")}
    for k, line in enumerate(lines):
        expected = _places(figure, line)
        for point in groups[f"{path.stem}-{k}"].iter(f"{{{SVG}}}use"):
            # matplotlib leaves out what lies far outside, so the order alone would not do
            place = float(point.get("x", 0)), float(point.get("y", 0))
            nearest = int(np.nanargmin(np.hypot(*(expected - place).T)))
            ElementTree.SubElement(point, f"{{{SVG}}}title").text = _answers[line][nearest]
    path.write_bytes(ElementTree.tostring(root))


def _places(figure: Canvas, line: Line2D) -> NDArray[np.float64]:
    """Of a line's points in its SVG, `(n, 2)`: in points from the upper left."""
    pixels = line.get_transform().transform(line.get_xydata())
    points = np.asarray(pixels) * 72 / figure.dpi
    return np.column_stack([points[:, 0], figure.get_size_inches()[1] * 72 - points[:, 1]])


def colour_of(methods: Sequence[str], method: str) -> str:
    """Returns the colour that a method has in every figure of the study."""
    return COLOURS[methods.index(method) % len(COLOURS)]


def fill(
    figure: Canvas, shape: tuple[int, int], *, top: float, right: float, gaps: tuple[float, float]
) -> None:
    """Spreads rows and columns over the figure; top, right, gaps across and down in inches.

    In place of tight_layout, which draws every text a second time to measure it.
    """
    width, height = figure.get_size_inches()
    (rows, columns), left, bottom = shape, 0.78, 0.52
    across = (width - left - right - gaps[0] * (columns - 1)) / columns
    down = (height - top - bottom - gaps[1] * (rows - 1)) / rows
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height,
        gaps[0] / across, gaps[1] / down,
    )  # fmt: skip
