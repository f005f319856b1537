"""How every figure looks, and how it is written. The one door to seaborn.

seaborn gives the look. Its own plots are not used: they take a frame apart for each of a thousand
trials, where one call draws them all.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

DPI = 120
# Okabe and Ito's colours, distinguishable with any colour vision; without black and yellow.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
HEADING = 10.5
"""Points."""
HEADING_LINE = 0.17
"""Inches that each line of a heading takes."""
FEW_TRIALS = 40
"""Up to here trials are joined by a line and dots are large."""
_pdf: ContextVar[bool] = ContextVar("pdf", default=False)


@contextmanager
def pdf_too(wanted: bool) -> Iterator[None]:
    """Lets figures that are saved inside be written as PDF as well, a tenth of a second each."""
    before = _pdf.set(wanted)
    try:
        yield
    finally:
        _pdf.reset(before)


@contextmanager
def house_style() -> Iterator[None]:
    """Makes everything drawn inside look alike."""
    look = {
        **sns.axes_style("ticks"),
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
        "axes.formatter.useoffset": False,
        "axes.axisbelow": True,
    }
    with rc_context(look):  # type: ignore[arg-type]  # the stubs list the keys one by one
        yield


def heading_lines(text: str, width: float) -> list[str]:
    """Returns a figure's heading, HEADING points high, in lines that fit into `width` inches."""
    return textwrap.wrap(text, int(10.5 * width))


def make_canvas(width: float, height: float) -> Canvas:
    """Returns an empty figure, in inches."""
    figure = Canvas(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Canvas, path: Path) -> None:
    """Writes the figure as PNG, and beside it as PDF where `pdf_too` says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # compress_level: half the time of the default for a tenth more bytes
    figure.savefig(path, dpi=DPI, pil_kwargs={"compress_level": 3})
    if _pdf.get():
        figure.savefig(path.with_suffix(".pdf"), dpi=2 * DPI)


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
