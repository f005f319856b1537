"""Draws bars: importance of parameters, features of VIQET. The one door to seaborn."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import (
    COLOURS,
    LETTER,
    axes_at,
    colour_of,
    headed,
    house_style,
    save,
)
from bench.report.importance import Importance
from bench.report.rows import Row
from bench.report.scores import Column, metric_title
from bench.report.stats import Mean
from bench.study.fields import Study

BAR = 0.24
ACROSS = 3


def draw_importances(study: Study, found: Sequence[Importance], path: Path, caution: str) -> None:
    """Draws a panel for each method and objective, the most important parameter first."""
    place = study.select.dataset if study.select else ""
    title = f"{study.name}: what decides the objectives on {place} (selection){caution}"
    panels = [
        (
            f"{one.method}, {metric_title(one.objective)}, {one.trials} trials",
            [(name, share, COLOURS[0]) for name, share in one.shares.items()],
        )
        for one in found
    ]
    _draw(title, panels, "share of the variance", path)


def draw_features(
    study: Study, rows: Sequence[Row], columns: Sequence[Column],
    means: Sequence[Sequence[Mean | None]], path: Path, caution: str,
) -> None:  # fmt: skip
    """Draws a panel for each of VIQET's features of the first set, a bar for each method."""
    methods = list(study.methods)
    panels = []
    for k, column in enumerate(columns):
        bars = [
            (row.label, mean.value, colour_of(methods, row.method))
            for row, mean in zip(rows, (m[k] for m in means), strict=True)
            if mean and math.isfinite(mean.value)
        ]
        panels.append((f"{column.place}, {column.title.removeprefix('viqet.')}", bars))
    _draw(f"{study.name}: VIQET's features{caution}", [p for p in panels if p[1]], "", path)


def _draw(
    title: str,
    panels: Sequence[tuple[str, Sequence[tuple[str, float, str]]]],
    label: str,
    path: Path,
) -> None:
    columns = min(ACROSS, len(panels))
    names = max(len(name) for _, bars in panels for name, _, _ in bars) * LETTER + 0.15
    each, tall = names + 2.2, BAR * max(len(bars) for _, bars in panels) + 0.85
    with house_style():
        figure, head = headed(title, columns * each + 0.2, math.ceil(len(panels) / columns) * tall)
        for k, (name, bars) in enumerate(panels):
            row, column = divmod(k, columns)
            left, top = column * each + names, head + row * tall + 0.3
            axes = axes_at(figure, left, top, 1.95, BAR * len(bars))
            _draw_bars(axes, name, bars, label)
        save(figure, path)


def _draw_bars(axes: Axes, title: str, bars: Sequence[tuple[str, float, str]], label: str) -> None:
    import seaborn as sns  # half a second

    axes.set_title(title, loc="left", color="#444444")
    names, values, colours = zip(*bars, strict=True)
    sns.barplot(x=values, y=names, hue=names, palette=list(colours), saturation=1, width=0.66,
                legend=False, ax=axes)  # fmt: skip
    for place, value in enumerate(values):
        axes.annotate(f"{value:.3g}", (value, place), (3, 0), textcoords="offset points",
                      va="center", fontsize=7.5)  # fmt: skip
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.18 * max(*values, 1e-9))
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
