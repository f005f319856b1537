"""Draws trainings side by side: losses, and the objectives at their snapshots."""

from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import (
    COLOURS,
    fill,
    headed,
    house_style,
    save,
)
from bench.report.progress import Progress, ProgressPanel
from bench.study.fields import Study

COLUMNS = 3
FEW = 30
"""Points up to which each has a dot."""


def draw_progress(study: Study, progress: Progress, path: Path, caution: str) -> None:
    """Draws a panel for each quantity, a line for each row: mean over seeds, range pale."""
    columns = min(COLUMNS, len(progress.panels))
    lines = -(-len(progress.panels) // columns)
    width = max(6.5, 3.2 * columns + 0.6)
    per_line = max(1, int(width / (0.5 + 0.07 * max(map(len, progress.rows)))))
    legend = 0.2 * -(-len(progress.rows) // per_line)
    colours = dict(zip(progress.rows, COLOURS, strict=False))
    with house_style():
        title = f"{study.name}: on the way{caution}"
        figure, head = headed(title, width, 2.4 * lines + legend + 0.45)
        for k, panel in enumerate(progress.panels):
            _draw_panel(figure.add_subplot(lines, columns, k + 1), panel, colours)
        height = figure.get_size_inches()[1]
        handles = [Line2D([], [], color=colour, lw=1.4) for colour in colours.values()]
        figure.legend(
            handles, list(colours), loc="upper left", frameon=False, ncols=per_line,
            bbox_to_anchor=(0.01, 1 - (head - 0.05) / height), borderaxespad=0,
        )  # fmt: skip
        fill(figure, (lines, columns), top=head + legend + 0.15, right=0.2, gaps=(0.78, 0.72))
        save(figure, path)


def _draw_panel(axes: Axes, panel: ProgressPanel, colours: dict[str, str]) -> None:
    axes.set_ylabel(panel.label)
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    for row, line in panel.lines.items():
        steps = [step for step, _ in line]
        low, high = ([pick(values) for _, values in line] for pick in (min, max))
        axes.fill_between(steps, low, high, color=colours[row], alpha=0.15, lw=0)
        axes.plot(
            steps, [fmean(values) for _, values in line], color=colours[row], lw=1.4,
            marker="o" if len(line) <= FEW else "", ms=3.5,
        )  # fmt: skip
