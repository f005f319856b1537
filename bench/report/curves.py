"""The losses of trainings as learning curves: every update, thinned to what a figure can show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from bench.records.cell import LAST_UPDATES, Cell, TrainedStage
from bench.report.rows import Row, trial_label

MOST_FIGURES = 8
MOST_LINES = 6
MOST_PANELS = 12
STRETCHES = 800
"""Of a panel's updates, each thinned to two values: about one for each pixel."""
Values = NDArray[np.float32]
Losses = Mapping[str, Values]
Points = tuple[NDArray[np.int64], Values]
"""Updates and values."""


@dataclass(frozen=True)
class Curve:
    """One loss of one stage of one training."""

    line: int
    """Index of the training among those of the figure."""
    raw: Points
    mean: Points


@dataclass(frozen=True)
class CurvePanel:
    """One loss over the updates of one or more stages, one after the other."""

    loss: str
    stages: tuple[str, ...]
    ends: tuple[int, ...]
    """Update at which each stage ends, counted from the start of the first."""
    curves: list[Curve]


@dataclass(frozen=True)
class Curves:
    """One figure: every loss of a method."""

    method: str
    lines: tuple[str, ...]
    """Each training: trial and seed."""
    panels: list[CurvePanel]
    windows: tuple[int, ...]
    """Updates that a moving average goes over; several where stages are of different length."""
    left_out: tuple[str, ...]


def make_curves(
    rows: Sequence[Row], load: Callable[[str], Losses]
) -> tuple[list[Curves], list[str]]:
    """Returns a figure for each trained method of the table, and why others are not there.

    load: the losses `(steps,)` of a stored stage by its key, nothing where they are not kept; it is
    called for no stage that is not shown.
    """
    trained: dict[str, list[Row]] = {}
    for row in rows:
        if any(cell.stages for cell in row.cells):
            trained.setdefault(row.method, []).append(row)
    figures, absent = [], []
    for method, mine in list(trained.items())[:MOST_FIGURES]:
        made = _curves_of(method, mine, load)
        if isinstance(made, str):
            absent.append(made)
        else:
            figures.append(made)
    if more := list(trained)[MOST_FIGURES:]:
        absent.append(f"curves of {', '.join(more)}: only {MOST_FIGURES} methods have a figure.")
    return figures, absent


def _curves_of(method: str, rows: Sequence[Row], load: Callable[[str], Losses]) -> Curves | str:
    cells, left_out = choose_trainings(rows)
    keys = dict.fromkeys(stage.key for cell in cells for stage in cell.stages)
    losses = {key: found for key in keys if (found := load(key))}
    lost = {c.file_name: [s.name for s in c.stages if s.key not in losses] for c in cells}
    kept = [cell for cell in cells if not lost[cell.file_name]]
    if not kept:
        names = dict.fromkeys(name for names in lost.values() for name in names)
        return (
            f"curves of {method}: the losses of stage {', '.join(names)} are not in this store "
            "(trained elsewhere, or by an earlier version)."
        )
    left_out += [f"{_name(c)}: losses not in this store" for c in cells if lost[c.file_name]]
    panels = _panels(kept, losses)
    left_out += [f"{p.loss} of stage {p.stages[0]}" for p in panels[MOST_PANELS:]]
    lengths = {averaged(stage.steps) for cell in kept for stage in cell.stages}
    return Curves(
        method, tuple(map(_name, kept)), panels[:MOST_PANELS], tuple(sorted(lengths)),
        tuple(left_out),
    )  # fmt: skip


def choose_trainings(rows: Sequence[Row]) -> tuple[list[Cell], list[str]]:
    """Returns the trainings of a method that its figure shows, and what is left out.

    At most MOST_LINES: every seed of the table's trials, or else the first seed alone. A trial
    whose stages are all in another's, from the first on, is in that one's line.
    """
    keys = [tuple(stage.key for stage in row.cells[0].stages) for row in rows]
    begun = {mine[:n] for mine in keys for n in range(len(mine))}
    distinct: dict[tuple[str, ...], Row] = {}
    for mine, row in zip(keys, rows, strict=True):
        distinct.setdefault(mine, row)
    longest = [row for mine, row in distinct.items() if mine not in begun]
    left_out = []
    if within := len(rows) - len(longest):
        left_out.append(f"{within} of {len(rows)} trials, whose stages are all in another's")
    if (more := len(longest) - MOST_LINES) > 0:
        left_out.append(f"the last {more} of {len(longest)} trials")
    cells = [cell for row in longest[:MOST_LINES] for cell in row.cells]
    if len(cells) > MOST_LINES:
        cells = [row.cells[0] for row in longest[:MOST_LINES]]
        left_out.append("seeds but the first")
    return cells, left_out


def _panels(cells: Sequence[Cell], losses: Mapping[str, Losses]) -> list[CurvePanel]:
    panels: dict[tuple[object, ...], CurvePanel] = {}
    drawn: set[tuple[str, ...]] = set()  # trainings may share stages
    for line, cell in enumerate(cells):
        for stages in _groups(cell.stages, losses):
            names = tuple(stage.name for stage in stages)
            ends = tuple(accumulate(stage.steps for stage in stages))
            keys = tuple(stage.key for stage in stages)
            for loss in losses[keys[0]] if keys not in drawn else ():
                panel = panels.setdefault((loss, names, ends), CurvePanel(loss, names, ends, []))
                for key, start in zip(keys, (0, *ends), strict=False):
                    values = losses[key][loss]
                    panel.curves.append(_curve(line, values, start, -(-STRETCHES // len(keys))))
            drawn.add(keys)
    return list(panels.values())


def _name(cell: Cell) -> str:
    """ "t003 (gamma 0.41), seed 0"."""
    trial = trial_label(cell).removeprefix(cell.method).strip()
    return f"{trial}, seed {cell.seed}" if trial else f"seed {cell.seed}"


def _groups(
    stages: Sequence[TrainedStage], losses: Mapping[str, Losses]
) -> list[list[TrainedStage]]:
    """Stages with the same losses stand one after the other, others apart: their losses may be of
    another size."""
    groups: list[list[TrainedStage]] = []
    for stage in stages:
        if groups and losses[groups[-1][0].key].keys() == losses[stage.key].keys():
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def _curve(line: int, values: Values, start: int, stretches: int) -> Curve:
    average = moving_average(values, averaged(len(values)))
    ends = np.linspace(0, len(values) - 1, min(len(values), 2 * stretches)).round().astype(np.int64)
    ends = ends[np.isfinite(average[ends])]
    at, extremes = thin(values, stretches)
    return Curve(line, (start + at + 1, extremes), (start + ends + 1, average[ends]))


def averaged(steps: int) -> int:
    """Returns how many updates the moving average of a stage goes over: at most 1/20 of it.

    >>> averaged(200_000), averaged(400), averaged(5)
    (250, 20, 1)
    """
    return max(1, min(LAST_UPDATES, steps // 20))


def moving_average(values: Values, window: int) -> Values:
    """Returns at each update the mean of the last `window` values, those that are NaN left out.

    NaN before a whole window has passed, and where the window has no value.

    >>> moving_average(np.array([1, 2, 6, 7], np.float32), 2).tolist()
    [nan, 1.5, 4.0, 6.5]
    """
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.where(known, values, 0).cumsum(dtype=np.float64)])
    counts = np.concatenate([[0], known.cumsum()])
    average = np.full(len(values), np.nan, np.float32)
    count = counts[window:] - counts[:-window]
    total = sums[window:] - sums[:-window]
    np.divide(total, count, out=average[window - 1 :], where=count > 0, casting="same_kind")
    return average


def thin(values: Values, stretches: int) -> Points:
    """Returns the smallest and the largest value of each stretch, each at its own update.

    All finite values if they are no more than that. So nothing that sticks out is lost.

    >>> at, kept = thin(np.array([3, 1, 2, 9, 5, 4], np.float32), 2)
    >>> at.tolist(), kept.tolist()
    ([0, 1, 3, 5], [3.0, 1.0, 9.0, 4.0])
    """
    at = np.flatnonzero(np.isfinite(values))
    if len(at) > 2 * stretches:
        parts = np.array_split(at, stretches)
        extremes = [(part[values[part].argmin()], part[values[part].argmax()]) for part in parts]
        at = np.unique(extremes)
    return at, values[at]
