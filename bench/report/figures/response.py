"""Draws each quantity over a swept parameter."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import (
    FEW_TRIALS,
    answer,
    colour_of,
    fill,
    headed,
    house_style,
    save,
)
from bench.report.series import Panel, Response
from bench.study.fields import Study
from bench.study.words import number

COLUMNS = 3
MOST_ACROSS = 3
DASHES = ["--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))]


def draw_response(study: Study, response: Response, path: Path, caution: str) -> None:
    """Draws each quantity over one parameter: all seeds pale, trial means full, others as lines."""
    cells = _arrange(response.panels)
    rows, columns = (1 + max(cell[k] for cell in cells) for k in (0, 1))
    methods = list(study.methods)
    count = max(sum(map(len, panel.points.values())) for panel in response.panels)
    title = f"{study.name}: response to {response.parameter}, {count} trials{caution}"
    with house_style():
        figure, head = headed(title, 2.75 * columns + 0.3, 2.0 * rows + 0.55)
        handles: dict[str, Line2D] = {}
        for (row, column), panel in zip(cells, response.panels, strict=True):
            axes = figure.add_subplot(rows, columns, row * columns + column + 1)
            _draw_panel(axes, panel, methods, handles, response)
            if response.log:
                axes.set_xscale("log")
            else:
                whole = all(isinstance(x, int) for p in panel.points.values() for x, _ in p)
                axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
            if (row, column) == max(cell for cell in cells if cell[1] == column):
                axes.set_xlabel(response.parameter)
            else:
                axes.tick_params(labelbottom=False)
        height = figure.get_size_inches()[1]
        names = [name for name in methods if name in handles]
        wide = max(1, columns + columns // 3)  # entries that fit beside each other
        figure.legend(
            [handles[name] for name in names], names, loc="upper left", frameon=False,
            ncols=wide, bbox_to_anchor=(0.01, 1 - (head - 0.05) / height), borderaxespad=0,
        )  # fmt: skip
        legend = 0.2 * math.ceil(len(names) / wide)
        fill(figure, (rows, columns), top=head + legend + 0.25, right=0.1, gaps=(0.78, 0.4))
        save(figure, path)


def _arrange(panels: Sequence[Panel]) -> list[tuple[int, int]]:
    """Returns row and column of each panel: sets down, metrics across, or line by line if many."""
    places = list(dict.fromkeys(panel.title for panel in panels))
    labels = list(dict.fromkeys(panel.label for panel in sorted(panels, key=lambda p: p.selection)))
    cells = [(places.index(panel.title), labels.index(panel.label)) for panel in panels]
    filled = len(set(cells)) / (len(places) * len(labels))
    if len(labels) <= MOST_ACROSS and len(set(cells)) == len(cells) and filled > 0.6:
        return cells
    return [divmod(k, COLUMNS) for k in range(len(panels))]


def _draw_panel(
    axes: Axes, panel: Panel, methods: list[str], handles: dict[str, Line2D], response: Response
) -> None:
    axes.set_title(panel.title, loc="left", color="#444444")
    axes.set_ylabel(panel.label)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    for k, (method, value) in enumerate(panel.lines.items()):
        line = axes.axhline(
            value, color=colour_of(methods, method), ls=DASHES[k % len(DASHES)], lw=1.3, zorder=1.5
        )
        handles.setdefault(method, line)
    for method, points in panel.points.items():
        colour, few = colour_of(methods, method), len(points) <= FEW_TRIALS
        seeds = [(x, value) for x, values in points for value in values if len(values) > 1]
        if seeds:
            axes.vlines(
                [x for x, _ in points],
                [min(values) for _, values in points],
                [max(values) for _, values in points],
                color=colour, lw=1, alpha=0.45,
            )  # fmt: skip
            axes.plot(*zip(*seeds, strict=True), ls="", marker="o", ms=2.5, color=colour, alpha=0.4)
        (dots,) = axes.plot(
            [x for x, _ in points],
            [fmean(values) for _, values in points],
            ls="-" if few and response.alone else "", lw=0.7, marker="o", color=colour,
            ms=4.5 if few else 2.5, mec="white" if few else "none", mew=0.5,
            alpha=1 if few else 0.6,
        )  # fmt: skip
        handles[method] = dots
        where = f"{panel.title}, {method}"
        answer(
            dots,
            [
                f"{where}, {response.parameter} {number(x)}: {fmean(values):.5g}"
                for x, values in points
            ],
        )
