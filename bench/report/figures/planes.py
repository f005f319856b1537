"""Draws methods as points between two quantities, with the front that none beats in both."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import (
    DPI,
    HEADING,
    answer,
    colour_of,
    fill,
    house_style,
    make_canvas,
    save,
)
from bench.report.labels import place_labels
from bench.report.planes import Plane
from bench.study.fields import Study

ACROSS = 2
LABEL_SIZE = 7.5
MOST_LABELS = 16


def draw_planes(study: Study, planes: Sequence[Plane], title: str, path: Path) -> None:
    """Draws a panel for each set."""
    columns = min(ACROSS, len(planes))
    rows = math.ceil(len(planes) / columns)
    with house_style():
        figure = make_canvas(4.2 * columns + 0.3, 3.2 * rows + 0.3)
        figure.suptitle(f"{study.name}: {title}", fontsize=HEADING, x=0.02, ha="left")
        panels = [figure.add_subplot(rows, columns, k + 1) for k in range(len(planes))]
        for axes, plane in zip(panels, planes, strict=True):
            _draw(axes, plane, list(study.methods))
        fill(figure, (rows, columns), top=0.6, right=0.2, gaps=(0.8, 0.85))
        for axes, plane in zip(panels, planes, strict=True):
            _label(axes, plane)  # now that places in pixels are final
        save(figure, path)


def _draw(axes: Axes, plane: Plane, methods: list[str]) -> None:
    axes.set_title(plane.title, loc="left", color="#444444")
    axes.set_xlabel(plane.x.label)
    axes.set_ylabel(plane.y.label)
    front = [plane.points[k] for k in plane.front]
    axes.plot([p.x for p in front], [p.y for p in front], color="#888888", lw=1, zorder=1.5)
    for point in plane.points:
        best = point in front
        (dot,) = axes.plot(
            point.x, point.y, ls="", marker="o", ms=7 if best else 5.5,
            color=colour_of(methods, point.method), mec="black" if best else "white", mew=0.8,
        )  # fmt: skip
        answer(dot, [f"{point.label}: {point.x:.5g}, {point.y:.5g}"])
    axes.margins(0.16)
    if plane.x.log:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _label(axes: Axes, plane: Plane) -> None:
    shown = [plane.points[k] for k in plane.front] + [
        p for k, p in enumerate(plane.points) if k not in plane.front
    ]
    points = np.array([axes.transData.transform((p.x, p.y)) for p in plane.points])
    places = np.array([axes.transData.transform((p.x, p.y)) for p in shown[:MOST_LABELS]])
    em = LABEL_SIZE * DPI / 72
    sizes = [(0.58 * em * len(p.label), 1.3 * em) for p in shown[:MOST_LABELS]]
    left, bottom, right, top = axes.get_window_extent().extents
    outward = (1 if plane.x.more else -1, 1 if plane.y.more else -1)
    boxes = place_labels(places, sizes, points, (left, bottom, right, top), outward)
    for p, (x, y), box in zip(shown, places, boxes, strict=False):
        offset = ((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y)
        axes.annotate(
            p.label, (p.x, p.y), (offset[0] * 72 / DPI, offset[1] * 72 / DPI), ha="center",
            va="center", textcoords="offset points", fontsize=LABEL_SIZE, color="#333333",
        )  # fmt: skip
