"""Draws what the methods make of one region of an image."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from bench.report.figures.style import (
    HEADING,
    HEADING_LINE,
    heading_lines,
    house_style,
    make_canvas,
    save,
)
from bench.report.strip import ACROSS, MOST_WHOLE, WINDOW, Crop, Strip

GAP = 0.08
WIDEST = 15.0
"""Of the figure, unless its lines alone are wider."""
LINE = 0.13
"""Height of a line of text."""


def draw_strip(strip: Strip, path: Path, caution: str) -> None:
    """Draws few methods side by side, each picture whole and its window below; many as lines of
    windows beside the whole HR image. All measures are inches from the upper left corner."""
    crops = [crop for _, line in strip.lines for crop in line]
    with house_style():
        if len(crops) <= MOST_WHOLE and not strip.by_parameter:
            page = _side_by_side(strip, [*crops, strip.hr], caution)
        else:
            page = _in_lines(strip, caution)
        save(page.figure.figure, path)


def _side_by_side(strip: Strip, crops: Sequence[Crop], caution: str) -> Axes:
    side = 2.0
    tall = side * strip.size[0] / strip.size[1]
    text = LINE * max(len(_text(crop, side)) for crop in crops) + 0.12
    wide = GAP + len(crops) * (side + GAP)
    what = f"whole, and {WINDOW}x{WINDOW} pixels of it"
    page, head = _page(strip, what + caution, wide, tall + GAP + side + text)
    for k, crop in enumerate(crops):
        left = GAP + k * (side + GAP)
        _show_whole(page, strip, crop, left, head, side)
        _show_window(page, crop, left, head + tall + GAP, side)
    return page


def _in_lines(strip: Strip, caution: str) -> Axes:
    if strip.by_parameter:
        lines = [(name, [strip.hr, *crops]) for name, crops in strip.lines]
        each, names = "trial", 0.25
    else:
        crops = [strip.hr, *(crop for _, line in strip.lines for crop in line)]
        columns = -(-len(crops) // -(-len(crops) // ACROSS))  # so that the last is not left alone
        lines = [("", crops[k : k + columns]) for k in range(0, len(crops), columns)]
        each, names = "method", 0.0
    columns = max(len(crops) for _, crops in lines)
    side = 1.6 if columns <= ACROSS + 1 else 1.3
    text = LINE * max(len(_text(crop, side)) for _, crops in lines for crop in crops) + 0.15
    right = names + columns * (side + GAP)
    high, width = strip.size
    tall = len(lines) * (side + text)
    whole = min((tall - text) * width / high, 4.5, max(2.5, WIDEST - right))
    what = f"HR and the same {WINDOW}x{WINDOW} pixels of each {each}"
    page, head = _page(strip, what + caution, 2 * GAP + whole + right, tall)
    _show_whole(page, strip, strip.hr, GAP, head, whole)
    start = 2 * GAP + whole
    for row, (name, crops) in enumerate(lines):
        top = head + row * (side + text)
        middle = (start + names / 2, top + side / 2)
        page.text(*middle, name, rotation=90, ha="center", va="center", fontsize=9)
        for column, crop in enumerate(crops):
            _show_window(page, crop, start + names + column * (side + GAP), top, side)
    return page


def _page(strip: Strip, what: str, wide: float, tall: float) -> tuple[Axes, float]:
    """Returns axes in inches over a figure with its heading, and the height of the heading.

    One pair of axes for all pictures: one for each would take most of the time.
    """
    heading = heading_lines(f"{strip.benchmark}, {strip.image}: {what}", wide)
    head = 0.18 + HEADING_LINE * len(heading)
    page = make_canvas(wide, tall + head).add_axes((0, 0, 1, 1))
    page.set_axis_off()
    page.set_xlim(0, wide)
    page.set_ylim(tall + head, 0)
    page.set_autoscale_on(False)
    page.text(GAP, 0.06, "\n".join(heading), fontsize=HEADING, va="top", linespacing=1.15)
    return page, head


def _show_whole(page: Axes, strip: Strip, crop: Crop, left: float, top: float, wide: float) -> None:
    scale = wide / strip.size[1]
    box = (left, left + wide, top + scale * strip.size[0], top)
    page.imshow(crop.whole, extent=box, aspect="auto")
    down, across = crop.window.shape[:2]
    page.add_patch(
        Rectangle(
            (left + scale * strip.left, top + scale * strip.top), scale * across, scale * down,
            fill=False, edgecolor="#D55E00", lw=1.6,
        )
    )  # fmt: skip


def _show_window(page: Axes, crop: Crop, left: float, top: float, side: float) -> None:
    down, across = (side * n / max(crop.window.shape) for n in crop.window.shape[:2])
    box = (left, left + across, top + down, top)
    page.imshow(crop.window, extent=box, aspect="auto", interpolation="nearest")
    page.text(
        left + side / 2, top + side + 0.05, "\n".join(_text(crop, side)),
        ha="center", va="top", fontsize=7.5, linespacing=1.1,
    )  # fmt: skip


def _text(crop: Crop, side: float) -> list[str]:
    """Returns title and scores in lines as wide as the crop."""
    title, _, values = crop.title.partition(" (")
    parts = [title, f"({values}" if values else "", *crop.scores]
    return [line for part in parts for line in textwrap.wrap(part, int(17 * side))]
