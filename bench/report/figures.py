"""Draws the figures: response, trade-off, strip. The only file that imports matplotlib and seaborn.

seaborn gives the look. Its own plots are not used: they take a frame apart for each of a thousand
trials, where one call draws them all.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from bench.report.labels import along, place_labels
from bench.report.rows import MOST_ROWS, maximized, objective_names
from bench.report.series import Panel, Response, Trial, quantity_label
from bench.report.stats import evenly_spaced, pareto_front
from bench.report.strip import WINDOW, Strip
from bench.space import number
from bench.study import Study

DPI = 120
COLUMNS = 3
MOST_ACROSS = 6
# Okabe and Ito's colours, distinguishable with any colour vision; without black and yellow.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
MARKERS = "osD^vP"
DASHES = ["--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))]
STRIP_COLUMNS = 6
LABEL_SIZE = 7.5
MOST_LETTERS = 16
FEW_TRIALS = 40
"""Up to here trials are joined by a line and dots are large."""


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


def _save(figure: Canvas, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # compress_level: half the time of the default for a tenth more bytes
    figure.savefig(path, dpi=DPI, pil_kwargs={"compress_level": 3})


def _colour(methods: Sequence[str], method: str) -> str:
    return COLOURS[methods.index(method) % len(COLOURS)]


def draw_response(study: Study, response: Response, path: Path, caution: str) -> None:
    """Draws each quantity over one parameter: all seeds pale, trial means full, others as lines."""
    cells = _arrange(response.panels)
    rows, columns = (1 + max(cell[k] for cell in cells) for k in (0, 1))
    methods = list(study.methods)
    with house_style():
        figure = Canvas(figsize=(2.75 * columns + 0.3, 2.0 * rows + 0.9))
        FigureCanvasAgg(figure)
        handles: dict[str, Line2D] = {}
        for (row, column), panel in zip(cells, response.panels, strict=True):
            axes = figure.add_subplot(rows, columns, row * columns + column + 1)
            _draw_panel(axes, panel, methods, handles, join=response.alone)
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
        figure.text(  # no suptitle: the layout would give it room a second time
            0.015, 1 - 0.08 / height, fontsize=10.5, va="top",
            s=f"{study.name}: response to {response.parameter}, every trial{caution}",
        )  # fmt: skip
        names = [name for name in methods if name in handles]
        wide = max(1, columns + columns // 3)  # entries that fit beside each other
        figure.legend(
            [handles[name] for name in names], names, loc="upper left", frameon=False,
            ncols=wide, bbox_to_anchor=(0.01, 1 - 0.3 / height), borderaxespad=0,
        )  # fmt: skip
        head = 0.3 + 0.2 * math.ceil(len(names) / wide)
        _fill(figure, (rows, columns), top=head + 0.3, right=0.1, gaps=(0.78, 0.4))
        _save(figure, path)


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
    axes: Axes, panel: Panel, methods: list[str], handles: dict[str, Line2D], *, join: bool
) -> None:
    axes.set_title(panel.title, loc="left", color="#444444")
    axes.set_ylabel(panel.label)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    for k, (method, value) in enumerate(panel.lines.items()):
        line = axes.axhline(
            value, color=_colour(methods, method), ls=DASHES[k % len(DASHES)], lw=1.3, zorder=1.5
        )
        handles.setdefault(method, line)
    for method, points in panel.points.items():
        colour, few = _colour(methods, method), len(points) <= FEW_TRIALS
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
            ls="-" if few and join else "", lw=0.7, marker="o", color=colour,
            ms=4.5 if few else 2.5, mec="white" if few else "none", mew=0.5,
            alpha=1 if few else 0.6,
        )  # fmt: skip
        handles[method] = dots


Label = tuple[float, float, str, str]
"""x, y, text, colour."""


def draw_trade_off(study: Study, trials: Sequence[Trial], path: Path, caution: str) -> None:
    """Draws the objectives in pairs: every trial, each swept method's Pareto front, the others."""
    names, methods = objective_names(study), list(study.methods)
    pairs = list(combinations(range(len(names)), 2))[:COLUMNS]
    place = study.select.dataset if study.select else ""
    width, height = 4.6 * len(pairs) + 2.4, 4.6
    with house_style():
        figure = Canvas(figsize=(width, height))
        FigureCanvasAgg(figure)
        handles: dict[str, Line2D] = {}
        labels: list[tuple[Axes, list[Label]]] = []
        for k, pair in enumerate(pairs):
            axes = figure.add_subplot(1, len(pairs), k + 1)
            axes.set_xlabel(quantity_label(trials, names[pair[0]]))
            axes.set_ylabel(quantity_label(trials, names[pair[1]]))
            axes.margins(0.1)
            labels.append((axes, []))
            for method in methods:
                mine = [t for t in trials if t.method == method and set(names) <= set(t.values)]
                if mine:
                    labels[-1][1].extend(
                        _draw_method(axes, study, mine, pair, handles, methods.index(method))
                    )
        figure.suptitle(
            f"{study.name}: the objectives on {place} (selection), every trial{caution}",
            fontsize=10.5, x=0.02, ha="left",
        )  # fmt: skip
        figure.legend(
            list(handles.values()), list(handles), loc="center left", frameon=False,
            bbox_to_anchor=(1 - 2.2 / width, 0.5),
        )  # fmt: skip
        _fill(figure, (1, len(pairs)), top=0.45, right=2.3, gaps=(0.85, 0))
        up = [1 if more else -1 for more in maximized(study)]
        for (axes, texts), (a, b) in zip(labels, pairs, strict=True):
            _frame(axes, trials, (names[a], names[b]))
            low, high = axes.get_xlim()
            more = 0.3 * (high - low)  # for the labels
            axes.set_xlim((low, high + more) if up[a] > 0 else (low - more, high))
            _draw_labels(axes, texts, (up[a], up[b]))  # now that places in pixels are final
        _save(figure, path)


def _frame(axes: Axes, trials: Sequence[Trial], names: tuple[str, str]) -> None:
    """Shows the swept trials large; a baseline far away becomes a word at the edge."""
    points = [
        (trial, np.array([fmean(trial.values[name]) for name in names]))
        for trial in trials
        if set(names) <= set(trial.values)
    ]
    swept = np.array([point for trial, point in points if trial.number is not None])
    if len(swept) < 2 or (np.ptp(swept, axis=0) == 0).any():
        return
    low, high = swept.min(axis=0), swept.max(axis=0)
    size = high - low
    outside = []
    for trial, point in points:
        if trial.number is None and (np.abs(point - (low + high) / 2) > 2 * size).any():
            outside.append(f"{trial.method} {point[0]:.4g}, {point[1]:.4g}")
        else:
            low, high = np.minimum(low, point), np.maximum(high, point)
    if outside:
        axes.set_xlim(low[0] - 0.15 * size[0], high[0] + 0.15 * size[0])
        axes.set_ylim(low[1] - 0.15 * size[1], high[1] + 0.15 * size[1])
        axes.text(
            0.01, 0.01, f"outside: {'; '.join(outside)}", transform=axes.transAxes,
            fontsize=LABEL_SIZE, color="#555555",
        )  # fmt: skip


def _draw_method(
    axes: Axes,
    study: Study,
    trials: Sequence[Trial],
    pair: tuple[int, int],
    handles: dict[str, Line2D],
    index: int,
) -> list[Label]:
    names = objective_names(study)
    colour, shape = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    points = [[fmean(trial.values[name]) for name in names] for trial in trials]
    x, y = ([point[axis] for point in points] for axis in pair)
    method = trials[0].method
    if trials[0].number is None:
        (handles[method],) = axes.plot(x, y, ls="", marker=shape, ms=8, color=colour, mec="white")
        return []
    small = len(trials) > FEW_TRIALS
    for trial in trials:
        _draw_spread(axes, [trial.values[names[axis]] for axis in pair], colour)
    (handles[method],) = axes.plot(
        x, y, ls="", marker=shape, ms=3 if small else 5, color=colour, mec="none", alpha=0.35
    )
    front = pareto_front(points, maximized(study))
    (handles[f"{method}: Pareto front"],) = axes.plot(
        [x[i] for i in front], [y[i] for i in front], ls="-" if len(names) == 2 else "", lw=1,
        marker=shape, ms=4.5 if small else 6, color=colour, mec="black", mew=0.7,
    )  # fmt: skip
    shown = [front[k] for k in evenly_spaced(len(front), MOST_ROWS)]
    return [(x[i], y[i], _short_label(trials[i]), colour) for i in shown]


def _draw_spread(axes: Axes, seeds: list[list[float]], colour: str) -> None:
    """A cross from the smallest to the largest seed."""
    (across, up) = seeds
    if len(across) > 1 and len(up) > 1:
        axes.plot([min(across), max(across)], [fmean(up)] * 2, color=colour, lw=0.8, alpha=0.4)
        axes.plot([fmean(across)] * 2, [min(up), max(up)], color=colour, lw=0.8, alpha=0.4)


def _short_label(trial: Trial) -> str:
    """ "t003: gamma 0.41", or the trial alone where several parameters leave no room."""
    values = ", ".join(f"{name} {number(value)}" for name, value in sorted(trial.swept.items()))
    return f"t{trial.number:03d}" + (f": {values}" if len(values) < MOST_LETTERS else "")


def _draw_labels(axes: Axes, labels: list[Label], outward: tuple[int, int]) -> None:
    to_pixels = axes.transData.transform
    points = np.array([to_pixels((x, y)) for x, y, _, _ in labels]).reshape(-1, 2)
    # an estimate is enough, and measuring text takes as long as drawing it
    em = LABEL_SIZE * DPI / 72
    sizes = [(0.58 * em * len(text), 1.3 * em) for _, _, text, _ in labels]
    lines = [(line, to_pixels(line.get_xydata())) for line in axes.lines]
    taken = [px if line.get_linestyle() == "None" else along(px) for line, px in lines]
    left, bottom, right, top = axes.get_window_extent().extents
    boxes = place_labels(points, sizes, np.concatenate(taken), (left, bottom, right, top), outward)
    for (x, y, text, colour), (px, py), box in zip(labels, points, boxes, strict=True):
        offset = ((box[0] + box[2]) / 2 - px, (box[1] + box[3]) / 2 - py)
        far = abs(offset[1]) > 16 or abs(offset[0]) > (box[2] - box[0]) / 2 + 11
        axes.annotate(
            text, (x, y), (offset[0] * 72 / DPI, offset[1] * 72 / DPI), ha="center", va="center",
            textcoords="offset points", fontsize=LABEL_SIZE, color=colour,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": colour} if far else None,
        )  # fmt: skip


def _fill(
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


def draw_strip(strip: Strip, path: Path, caution: str) -> None:
    """Draws the whole HR image with the window marked, then the window of HR and each method."""
    height, width = strip.hr.shape[:2]
    count = len(strip.crops)
    lines = math.ceil(count / STRIP_COLUMNS)
    columns = math.ceil(count / lines)
    side, text = 1.6, 0.55
    tall = lines * (side + text)
    whole = min((tall - text) * width / height, 4.5)
    wide = whole + columns * (side + 0.08) + 0.2
    title = (
        f"{strip.dataset}, {strip.image}: HR and the same {WINDOW}x{WINDOW} pixels of each "
        f"method{caution}"
    )
    heading = textwrap.wrap(title, int(10.5 * wide))  # letters of 10.5 points in an inch
    head = 0.18 + 0.17 * len(heading)
    with house_style():
        figure = Canvas(figsize=(wide, tall + head))
        FigureCanvasAgg(figure)
        total, high = figure.get_size_inches()

        def place(left: float, top: float, wide: float, down: float) -> Axes:
            axes = figure.add_axes(
                (left / total, 1 - (top + down) / high, wide / total, down / high)
            )
            axes.set_axis_off()
            return axes

        figure.text(
            0.08 / total, 1 - 0.06 / high, "\n".join(heading), fontsize=10.5, va="top",
            linespacing=1.15,
        )  # fmt: skip
        axes = place(0.08, head, whole, whole * height / width)
        axes.imshow(strip.hr)
        crop = strip.crops[0][1]
        axes.add_patch(
            Rectangle((strip.left, strip.top), crop.shape[1], crop.shape[0], fill=False,
                      edgecolor="#D55E00", lw=1.8)
        )  # fmt: skip
        for k, (label, picture) in enumerate(strip.crops):
            row, column = divmod(k, columns)
            left = whole + 0.16 + column * (side + 0.08)
            axes = place(left, head + row * (side + text), side, side)
            axes.imshow(picture, interpolation="nearest")
            below = head + 0.05 + row * (side + text) + side
            figure.text(
                (left + side / 2) / total, 1 - below / high, label,
                ha="center", va="top", fontsize=7.5, linespacing=1.1,
            )  # fmt: skip
        _save(figure, path)
