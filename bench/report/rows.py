"""Which trials a table shows: the best one, or those on the Pareto front."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.records.cell import Cell
from bench.report.scores import by_trial
from bench.report.stats import evenly_spaced, pareto_front
from bench.study.fields import Study
from bench.study.words import number

MOST_ROWS = 5
"""Of one method's Pareto-optimal trials; the figures show all."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a method, and the trial where there are several."""

    method: str
    label: str
    """"edsr_nima t003 (gamma 0.41)"."""
    cells: tuple[Cell, ...] = ()
    """Its complete seeds; none: nothing to show yet."""


def objective_names(study: Study) -> tuple[str, ...]:
    """Returns the metrics that the sampler sees, in the study's order."""
    return study.select.objectives if study.select else ()


def maximized(study: Study) -> list[bool]:
    """Returns for each objective whether more of it is better."""
    return [d == "maximize" for d in study.select.directions] if study.select else []


def objective_means(study: Study, cells: Sequence[Cell]) -> list[float]:
    """Returns each objective of one trial, mean over its seeds; NaN where a seed has none."""
    return [
        fmean(cell.objectives.get(name, math.nan) for cell in cells)
        for name in objective_names(study)
    ]


def trial_label(cell: Cell) -> str:
    """Returns "edsr_nima t003 (gamma 0.41)"."""
    values = ", ".join(f"{name} {number(value)}" for name, value in sorted(cell.swept.items()))
    return f"{cell.label} ({values})" if values else cell.label


def choose_rows(study: Study, cells: Iterable[Cell]) -> tuple[list[Row], list[str]]:
    """Returns the rows in the study's order, and remarks on what was left out.

    A method without ranges is one row. Of a swept one, with one objective its best trial, with
    several its Pareto-optimal ones, with none all. Only trials with as many finished seeds as any
    other compete: fewer seeds would give luck an advantage.
    """
    trials = by_trial(cells)
    rows: list[Row] = []
    remarks: list[str] = []
    for method in study.methods:
        mine = [group for (name, _), group in trials.items() if name == method]
        if not mine:
            rows.append(Row(method, method))
            remarks.append(f"{method}: no finished record yet.")
            continue
        most = max(map(len, mine))
        full = [group for group in mine if len(group) == most]
        if len(full) < len(mine):
            remarks.append(
                f"{method}: finished trials with fewer than {most} seeds do not compete "
                f"for the table: {len(mine) - len(full)} of {len(mine)}."
            )
        chosen, remark = _choose(study, sorted(full, key=lambda g: g[0].trial or 0))
        remarks += [f"{method}: {remark}"] if remark else []
        rows += [Row(method, trial_label(group[0]), tuple(group)) for group in chosen]
    return rows, remarks


def _choose(study: Study, trials: list[list[Cell]]) -> tuple[list[list[Cell]], str]:
    names, upward = objective_names(study), maximized(study)
    if trials[0][0].trial is None or not names:
        return trials, ""
    # of trials with equal parameters the first stands for all
    distinct: dict[str, list[Cell]] = {}
    for group in trials:
        distinct.setdefault(repr(sorted(group[0].swept.items())), group)
    trials = list(distinct.values())
    points = [objective_means(study, group) for group in trials]
    front = pareto_front(points, upward)
    if not front:
        return trials[:1], "no trial has every objective; the first is shown."
    if len(names) == 1:  # the front is the best value, more than once if trials tie
        return [trials[min(front)]], ""
    shown = [front[k] for k in evenly_spaced(len(front), MOST_ROWS)]
    remark = (
        f"{len(front)} trials are Pareto-optimal in {' and '.join(names)}; {len(shown)} are shown, "
        f"evenly spaced along {names[0]}. The figures show all."
        if len(shown) < len(front)
        else ""
    )
    return [trials[k] for k in shown], remark
