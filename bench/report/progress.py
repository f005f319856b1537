"""Trainings side by side: what they minimised, and the objectives at their snapshots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from bench.measure.metrics import metric
from bench.records.cell import Cell
from bench.report.curves import Losses, averaged, moving_average
from bench.report.provenance import Section
from bench.report.rows import Row, objective_names
from bench.report.scores import DASH, printed_number
from bench.report.series import make_trials, quantity_label
from bench.study.fields import Study

MOST_LINES = 6
STRETCHES = 200
"""Points of a loss's line, at most."""
Line = list[tuple[int, list[float]]]
"""(updates, one value a seed), in order."""


@dataclass(frozen=True)
class ProgressPanel:
    """A quantity over the updates of each training's last stage."""

    label: str
    lines: dict[str, Line] = field(default_factory=dict)
    """Row -> its points."""


@dataclass(frozen=True)
class Progress:
    """One figure: losses first, then the objectives."""

    rows: tuple[str, ...]
    panels: list[ProgressPanel]
    left_out: tuple[str, ...]


def followed(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with snapshots."""
    return [row for row in rows if any(cell.on_the_way for cell in row.cells)]


def make_progress(
    study: Study, rows: Sequence[Row], load: Callable[[str], Losses]
) -> Progress | None:
    """Returns what the rows' trainings came to on the way; None if none has snapshots.

    load: the losses `(steps,)` of a stored stage by its key, nothing where they are not kept.
    """
    mine = followed(rows)
    shown = mine[:MOST_LINES]
    if not shown:
        return None
    trials = make_trials(study, [cell for row in shown for cell in row.cells])
    losses = dict.fromkeys(name for row in shown for name in row.cells[0].stages[-1].losses)
    panels = [
        ProgressPanel(name, {row.label: _loss(row, name, load) for row in shown}) for name in losses
    ]
    panels += [
        ProgressPanel(
            quantity_label(trials, name), {row.label: objective_line(row, name) for row in shown}
        )
        for name in objective_names(study)
    ]
    sound = [
        ProgressPanel(p.label, {r: line for r, line in p.lines.items() if line}) for p in panels
    ]
    return Progress(
        tuple(row.label for row in shown),
        [panel for panel in sound if panel.lines],
        tuple(row.label for row in mine[MOST_LINES:]),
    )


def objective_line(row: Row, name: str) -> Line:
    """Returns an objective at each snapshot and at the end: of several scales the mean."""
    found: dict[int, list[float]] = {}
    for cell in row.cells:
        for step, value in _of_cell(cell, name).items():
            found.setdefault(step, []).append(value)
    return sorted((step, values) for step, values in found.items() if len(values) == len(row.cells))


def _of_cell(cell: Cell, name: str) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for step, metric_, value in cell.on_the_way:
        if metric_ == name:
            values.setdefault(step, []).append(value)
    means = {step: fmean(several) for step, several in values.items()}
    if means and name in cell.objectives:
        means[cell.stages[-1].steps] = cell.objectives[name]
    return means


def _loss(row: Row, name: str, load: Callable[[str], Losses]) -> Line:
    """The moving average of a loss; of several scales that of the last."""
    kept = [load(cell.stages[-1].key).get(name) for cell in row.cells]
    seeds = [values for values in kept if values is not None]
    if not seeds:
        return []
    length = min(map(len, seeds))
    averages = np.stack([moving_average(s[:length], averaged(length)) for s in seeds])
    at = np.linspace(0, length - 1, min(length, STRETCHES)).round().astype(int)
    known = at[np.isfinite(averages[:, at]).all(axis=0)]
    return [(int(step) + 1, averages[:, step].tolist()) for step in known]


def progress_section(study: Study, rows: Sequence[Row]) -> list[Section]:
    """Returns the objectives at each snapshot as a table; [] where there are none."""
    mine = followed(rows)
    if not mine or study.select is None:
        return []
    names = objective_names(study)
    lines = {(row.label, name): dict(objective_line(row, name)) for row in mine for name in names}
    steps = sorted({step for line in lines.values() for step in line})
    texts = tuple(
        (label, metric_, *(_text(line.get(step), metric_) for step in steps))
        for (label, metric_), line in lines.items()
    )
    seeds = max(len(row.cells) for row in mine)
    about = f"Means over {seeds} seeds. " if seeds > 1 else ""
    return [
        Section(
            f"On the way: objectives on {study.select.dataset} after so many updates",
            ("row", "objective", *map(str, steps)),
            texts,
            about=f"{about}Of a method's last stage; one pass, no self-ensemble.",
        )
    ]


def _text(values: Sequence[float] | None, name: str) -> str:
    return DASH if values is None else printed_number(fmean(values), metric(name).digits)
