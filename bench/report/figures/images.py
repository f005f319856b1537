"""Draws what single images say: paired differences, and how alike metrics rank."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.measure.metrics import metric
from bench.report.figures.style import (
    COLOURS,
    LETTER,
    answer,
    axes_at,
    headed,
    house_style,
    save,
)
from bench.report.images import Agreement, Differences
from bench.study.fields import Study

ACROSS = 2
WIDE = 44
"""Letters beside a panel's width."""
LINE, CELL = 0.26, 0.55
"""Inches of a method's line, and of a number in a matrix."""


def draw_differences(study: Study, found: Sequence[Differences], path: Path, caution: str) -> None:
    """Draws a panel for each set: a line for each method, a dot for each image."""
    columns = min(ACROSS, len(found))
    names = max(len(d.label) for one in found for d in one.rows) * LETTER + 0.15
    heights = [
        1.0 + LINE * max(len(one.rows) for one in found[k : k + columns])
        for k in range(0, len(found), columns)
    ]
    title = f"{study.name}: each method beside the best, image by image{caution}"
    with house_style():
        figure, head = headed(title, columns * (names + 3.0) + 0.2, sum(heights))
        for k, one in enumerate(found):
            row, column = divmod(k, columns)
            left, top = column * (names + 3.0) + names, head + sum(heights[:row]) + 0.28
            _draw_differences(axes_at(figure, left, top, 2.85, LINE * len(one.rows)), one)
        save(figure, path)


def _draw_differences(axes: Axes, one: Differences) -> None:
    facts = metric(one.column.metric)
    unit = f", {facts.unit}" if facts.unit else ""
    count = len(one.rows[0].values)
    axes.set_title(f"{one.column.place}, {count} images", loc="left", color="#444444")
    label = f"{one.column.title} beside {one.best}{unit} (right: better)"
    axes.set_xlabel(textwrap.fill(label, WIDE))
    axes.axvline(0, color="#666666", lw=0.9)
    for k, row in enumerate(one.rows):
        (marks,) = axes.plot(row.values, np.full(count, k), ls="", marker="|", ms=8, mew=0.8,
                  color=COLOURS[0], alpha=max(0.15, min(0.7, 12 / count)))  # fmt: skip
        texts = zip(row.images, row.values, strict=True)
        answer(marks, [f"{image}, {row.label}: {value:+.4g}" for image, value in texts])
        if row.interval is not None:
            axes.plot(row.interval, [k, k], color=COLOURS[1], lw=2.2, solid_capstyle="butt")
        axes.plot(row.values.mean(), k, marker="o", ms=5, color=COLOURS[1], mec="white", mew=0.6)
    axes.set_yticks(range(len(one.rows)), [row.label for row in one.rows])
    axes.set_ylim(len(one.rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="y", length=0)


def draw_agreements(study: Study, found: Sequence[Agreement], path: Path, caution: str) -> None:
    """Draws a matrix for each set."""
    columns = min(ACROSS, len(found))
    names = max(len(c.title) for one in found for c in one.columns) * LETTER + 0.15
    side = CELL * max(len(one.columns) for one in found)
    each, tall = names + side + 0.3, names + side + 0.45
    title = f"{study.name}: how alike metrics rank the methods{caution}"
    with house_style():
        figure, head = headed(title, columns * each + 0.2, math.ceil(len(found) / columns) * tall)
        for k, one in enumerate(found):
            row, column = divmod(k, columns)
            left, top, mine = (
                column * each + names,
                head + row * tall + 0.3,
                CELL * len(one.columns),
            )
            _draw_agreement(axes_at(figure, left, top, mine, mine), one)
        save(figure, path)


def _draw_agreement(axes: Axes, one: Agreement) -> None:
    names = [column.title for column in one.columns]
    axes.set_title(f"{one.dataset}, {one.methods} methods, {one.images} images", loc="left",
                   color="#444444", fontsize=8.5)  # fmt: skip
    axes.imshow(one.correlation, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(one.correlation):
        ink = "white" if abs(value) > 0.65 else "black"
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
