"""Draws the losses of trainings over their updates."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.curves import CurvePanel, Curves
from bench.report.figures.style import COLOURS, HEADING, fill, house_style, make_canvas, save
from bench.study.fields import Study

COLUMNS = 3
TAIL = 0.5
"""Percent of the raw values."""
OUTSIDE = f"A panel may leave {TAIL} % of the pale values on either side outside."


def draw_curves(study: Study, curves: Curves, path: Path, caution: str) -> None:
    """Draws a panel for each loss: every update pale, the moving average full."""
    columns = min(COLUMNS, len(curves.panels))
    rows = math.ceil(len(curves.panels) / columns)
    with house_style():
        width = 3.6 * columns + 0.6 if columns > 1 else 6.5
        # labels that fit beside each other, by letters of 8.5 points
        per_line = max(1, int(width / (0.5 + 0.07 * max(map(len, curves.lines)))))
        head = 0.3 + 0.2 * math.ceil(len(curves.lines) / per_line)
        figure = make_canvas(width, 2.2 * rows + head + 0.5)
        for k, panel in enumerate(curves.panels):
            _draw_panel(figure.add_subplot(rows, columns, k + 1), panel, curves)
        height = figure.get_size_inches()[1]
        figure.text(
            0.015, 1 - 0.08 / height, fontsize=HEADING, va="top",
            s=f"{study.name}: training of {curves.method}{caution}",
        )  # fmt: skip
        handles = [Line2D([], [], color=COLOURS[k], lw=1.4) for k in range(len(curves.lines))]
        figure.legend(
            handles, curves.lines, loc="upper left", frameon=False, ncols=per_line,
            bbox_to_anchor=(0.01, 1 - 0.3 / height), borderaxespad=0,
        )  # fmt: skip
        fill(figure, (rows, columns), top=head + 0.3, right=0.4, gaps=(0.78, 0.72))
        save(figure, path)


def _draw_panel(axes: Axes, panel: CurvePanel, curves: Curves) -> None:
    few = len(panel.stages) <= 2
    axes.set_title(
        f"stage {' and '.join(panel.stages)}" if few
        else f"stages {panel.stages[0]} to {panel.stages[-1]}", loc="left", color="#444444",
    )  # fmt: skip
    axes.set_ylabel(panel.loss)
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    for end in panel.ends[:-1]:
        axes.axvline(end, color="#888888", lw=0.8, ls=":")
    for curve in panel.curves:
        axes.plot(*curve.raw, color=COLOURS[curve.line], lw=0.5, alpha=0.4, zorder=2)
    for curve in panel.curves:
        axes.plot(*curve.mean, color=COLOURS[curve.line], lw=1.4, zorder=3)
    axes.set_xlim(0, panel.ends[-1])
    _frame(axes, panel)


def _frame(axes: Axes, panel: CurvePanel) -> None:
    """Shows all averages and nearly all raw values, and says how many lie outside."""
    raw = np.concatenate([curve.raw[1] for curve in panel.curves])
    means = np.concatenate([curve.mean[1] for curve in panel.curves])
    low, high = np.percentile(raw, [TAIL, 100 - TAIL])
    low, high = min(low, means.min(initial=low)), max(high, means.max(initial=high))
    margin = 0.04 * (high - low)
    if margin == 0:
        return
    axes.set_ylim(low - margin, high + margin)
