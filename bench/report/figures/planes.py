"""Draws methods as points between two quantities, with the front that none beats in both."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.report.figures.points import draw_labels
from bench.report.figures.style import (
    answer,
    colour_of,
    fill,
    headed,
    house_style,
    save,
)
from bench.report.planes import Plane
from bench.study.fields import Study

ACROSS = 2
MOST_LABELS = 16


def draw_planes(study: Study, planes: Sequence[Plane], title: str, path: Path) -> None:
    """Draws a panel for each set."""
    columns = min(ACROSS, len(planes))
    rows, methods = math.ceil(len(planes) / columns), list(study.methods)
    with house_style():
        figure, head = headed(f"{study.name}: {title}", 4.2 * columns + 0.3, 3.2 * rows)
        panels = [figure.add_subplot(rows, columns, k + 1) for k in range(len(planes))]
        for axes, plane in zip(panels, planes, strict=True):
            _draw(axes, plane, methods)
        fill(figure, (rows, columns), top=head + 0.25, right=0.2, gaps=(0.8, 0.85))
        for axes, plane in zip(panels, planes, strict=True):
            _label(axes, plane, methods)  # now that places in pixels are final
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
    if plane.x.log:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(0.16)
    _make_room(axes, plane)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _make_room(axes: Axes, plane: Plane) -> None:
    """For the labels, which go beyond the front: a third of the width, on that side."""
    low, high = axes.get_xlim()
    if plane.x.log:
        third = (high / low) ** (1 / 3)
        axes.set_xlim((low, high * third) if plane.x.more else (low / third, high))
    else:
        third = (high - low) / 3
        axes.set_xlim((low, high + third) if plane.x.more else (low - third, high))


def _label(axes: Axes, plane: Plane, methods: list[str]) -> None:
    others = [k for k in range(len(plane.points)) if k not in plane.front]
    shown = [plane.points[k] for k in (*plane.front, *others)][:MOST_LABELS]
    labels = [(p.x, p.y, p.label, colour_of(methods, p.method)) for p in shown]
    draw_labels(axes, labels, (1 if plane.x.more else -1, 1 if plane.y.more else -1))
