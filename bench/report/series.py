"""The points of the figures: every trial, every seed, and what they are compared with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from bench.measure.metrics import metric
from bench.records.cell import Cell
from bench.report.rows import objective_names
from bench.report.scores import ARROWS, Column, by_trial, cell_means, metric_title
from bench.study.fields import Study

MOST_PANELS = 30
"""In all response figures together, so that they are drawn in a second or two."""


@dataclass(frozen=True)
class Trial:
    """A trial's parameters and, per quantity, one mean a seed."""

    method: str
    number: int | None
    swept: dict[str, Any]
    values: dict[str | Column, list[float]]
    """A name stands for the objective of that name."""
    assessors: dict[str, str]


@dataclass(frozen=True)
class Panel:
    """A quantity over a parameter."""

    title: str
    label: str
    """With unit."""
    selection: bool
    """An objective, measured on the selection set."""
    points: dict[str, list[tuple[float, list[float]]]] = field(default_factory=dict)
    """Method -> (parameter, one value a seed), ordered by parameter."""
    lines: dict[str, float] = field(default_factory=dict)
    """Method without this parameter -> its value."""


@dataclass(frozen=True)
class Response:
    """One figure: all quantities over one parameter."""

    parameter: str
    log: bool
    panels: list[Panel]
    left_out: int
    """Quantities beyond MOST_PANELS."""
    alone: bool
    """No other parameter varies along."""


def make_trials(study: Study, cells: Sequence[Cell]) -> list[Trial]:
    """Returns every trial of the study with a complete record."""
    trials = []
    for (method, number), group in by_trial(cells).items():
        if method not in study.methods:
            continue
        values: dict[str | Column, list[float]] = {}
        for cell in group:
            pairs: list[tuple[str | Column, float]] = [*cell.objectives.items()]
            for key, value in [*pairs, *cell_means(cell).items()]:
                if math.isfinite(value):
                    values.setdefault(key, []).append(value)
        trials.append(Trial(method, number, group[0].swept, values, group[0].assessors))
    return trials


def numeric_parameters(study: Study, trials: Sequence[Trial]) -> dict[str, bool]:
    """Returns the swept parameters that are numbers -> whether their range is logarithmic."""
    logs: dict[str, bool] = {}
    for method in study.methods:
        for name, found in study.methods[method].ranges.items():
            logs[name] = logs.get(name, False) or found.log
    return {
        name: log
        for name, log in logs.items()
        if (values := [t.swept[name] for t in trials if name in t.swept])
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    }


def make_responses(
    study: Study, trials: Sequence[Trial], columns: Sequence[Column]
) -> list[Response]:
    """Returns one figure for each numeric parameter; objectives come first, then the columns."""
    parameters = numeric_parameters(study, trials)
    known = {key for trial in trials for key in trial.values}
    keys = [key for key in (*objective_names(study), *columns) if key in known]
    most = MOST_PANELS // max(1, len(parameters))
    responses = []
    for name, log in parameters.items():
        panels = [_panel(study, trials, name, key) for key in keys[:most]]
        if not panels:  # no trial has a number
            continue
        alone = all(t.swept.keys() == {name} for t in trials if name in t.swept)
        responses.append(Response(name, log, panels, len(keys) - len(panels), alone))
    return responses


def _panel(study: Study, trials: Sequence[Trial], name: str, key: str | Column) -> Panel:
    panel = Panel(quantity_place(study, key), quantity_label(trials, key), isinstance(key, str))
    for trial in trials:
        if values := trial.values.get(key):
            if name in trial.swept:
                panel.points.setdefault(trial.method, []).append((trial.swept[name], values))
            elif not trial.swept:
                panel.lines[trial.method] = fmean(values)
    for points in panel.points.values():
        points.sort()
    return panel


def quantity_place(study: Study, key: str | Column) -> str:
    """Returns where a quantity was measured."""
    if isinstance(key, Column):
        return key.place
    return f"{study.select.dataset} (selection)" if study.select else ""


def quantity_label(trials: Sequence[Trial], key: str | Column) -> str:
    """Returns a quantity's name, unit and good direction for an axis."""
    if isinstance(key, Column):
        name, title = key.metric, key.title
    else:
        assessors = {trial.assessors[key] for trial in trials if key in trial.assessors}
        name, title = key, " / ".join(sorted(assessors)) or metric_title(key)
    facts = metric(name)
    unit = f" ({facts.unit})" if facts.unit else ""
    return f"{title}{unit} {ARROWS[facts.direction]}".rstrip()
