"""Draws the objectives of a study against each other."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.figures.points import LABEL_SIZE, Label, draw_labels
from bench.report.figures.style import (
    COLOURS,
    FEW_TRIALS,
    HEADING,
    answer,
    fill,
    house_style,
    make_canvas,
    save,
)
from bench.report.rows import MOST_ROWS, maximized, objective_names
from bench.report.series import Trial, quantity_label
from bench.report.stats import evenly_spaced, pareto_front
from bench.study.fields import Study
from bench.study.words import number

MOST_PAIRS = 3
MARKERS = "osD^vP"
MOST_LETTERS = 16


def draw_trade_off(study: Study, trials: Sequence[Trial], path: Path, caution: str) -> None:
    """Draws the objectives in pairs: every trial, each swept method's Pareto front, the others."""
    names, methods = objective_names(study), list(study.methods)
    pairs = list(combinations(range(len(names)), 2))[:MOST_PAIRS]
    place = study.select.dataset if study.select else ""
    count = sum(t.number is not None and set(names) <= set(t.values) for t in trials)
    width, height = 4.6 * len(pairs) + 2.4, 4.6
    with house_style():
        figure = make_canvas(width, height)
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
            f"{study.name}: the objectives on {place} (selection), {count} trials{caution}",
            fontsize=HEADING, x=0.02, ha="left",
        )  # fmt: skip
        figure.legend(
            list(handles.values()), list(handles), loc="center left", frameon=False,
            bbox_to_anchor=(1 - 2.2 / width, 0.5),
        )  # fmt: skip
        fill(figure, (1, len(pairs)), top=0.45, right=2.3, gaps=(0.85, 0))
        up = [1 if more else -1 for more in maximized(study)]
        for (axes, texts), (a, b) in zip(labels, pairs, strict=True):
            _frame(axes, trials, (names[a], names[b]))
            low, high = axes.get_xlim()
            more = 0.3 * (high - low)  # for the labels
            axes.set_xlim((low, high + more) if up[a] > 0 else (low - more, high))
            draw_labels(axes, texts, (up[a], up[b]))  # now that places in pixels are final
        save(figure, path)


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
        answer(handles[method], _texts(trials, x, y))
        return []
    small = len(trials) > FEW_TRIALS
    for trial in trials:
        _draw_spread(axes, [trial.values[names[axis]] for axis in pair], colour)
    (handles[method],) = axes.plot(
        x, y, ls="", marker=shape, ms=3 if small else 5, color=colour, mec="none", alpha=0.35
    )
    answer(handles[method], _texts(trials, x, y))
    front = pareto_front(points, maximized(study))
    (handles[f"{method}: Pareto front"],) = axes.plot(
        [x[i] for i in front], [y[i] for i in front], ls="-" if len(names) == 2 else "", lw=1,
        marker=shape, ms=4.5 if small else 6, color=colour, mec="black", mew=0.7,
    )  # fmt: skip
    best = [trials[i] for i in front]
    texts = _texts(best, [x[i] for i in front], [y[i] for i in front])
    answer(handles[f"{method}: Pareto front"], texts)
    shown = [front[k] for k in evenly_spaced(len(front), MOST_ROWS)]
    return [(x[i], y[i], _short_label(trials[i]), colour) for i in shown]


def _texts(trials: Sequence[Trial], x: Sequence[float], y: Sequence[float]) -> Iterator[str]:
    names = (t.method if t.number is None else f"{t.method} {_whole_label(t)}" for t in trials)
    return (f"{n}: {a:.5g}, {b:.5g}" for n, a, b in zip(names, x, y, strict=True))


def _whole_label(trial: Trial) -> str:
    values = ", ".join(f"{name} {number(value)}" for name, value in sorted(trial.swept.items()))
    return f"t{trial.number:03d} ({values})"


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
