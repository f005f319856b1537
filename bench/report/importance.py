"""How much each swept parameter decides an objective, as Optuna works it out. A door to Optuna."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from bench.records.cell import Cell
from bench.report.rows import objective_names
from bench.report.scores import by_trial
from bench.study.fields import Study
from bench.study.space import Range

FEWEST = 8
"""Trials; below, a forest learns nothing of two parameters."""


class Importance(NamedTuple):
    """Of one method's parameters for one objective: shares of its variance, together 1."""

    method: str
    objective: str
    shares: dict[str, float]
    """Largest first."""
    trials: int


def importances(study: Study, cells: Sequence[Cell]) -> list[Importance]:
    """Returns fANOVA's shares (Hutter, Hoos, Leyton-Brown, ICML 2014) for every swept method.

    Of finished trials, mean over seeds; nothing for methods with one parameter or few trials.
    """
    trials = by_trial(cells)
    found = []
    for method, section in study.methods.items():
        ranges = {name: found for name, found in section.ranges.items() if _varies(found)}
        mine = [group for (name, _), group in trials.items() if name == method]
        if len(ranges) < 2 or len(mine) < FEWEST:
            continue
        for objective in objective_names(study):
            points = [
                ({n: group[0].swept[n] for n in ranges}, fmean(values))
                for group in mine
                if (values := [c.objectives.get(objective, math.nan) for c in group])
                and all(map(math.isfinite, values))
                and ranges.keys() <= group[0].swept.keys()
            ]
            if len(points) >= FEWEST and len({value for _, value in points}) > 1:
                found.append(Importance(method, objective, _shares(ranges, points), len(points)))
    return found


def _varies(found: Range) -> bool:
    values = found.values()
    return values is None or len(values) > 1


def _shares(
    ranges: dict[str, Range], points: Sequence[tuple[dict[str, Any], float]]
) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: _distribution(found) for name, found in ranges.items()}
    search = optuna.create_study()
    search.add_trials(
        [
            optuna.create_trial(params=swept, distributions=space, value=value)
            for swept, value in points
        ]
    )
    return get_param_importances(search, evaluator=FanovaImportanceEvaluator(seed=0))


def _distribution(found: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if found.kind == "float":
        return FloatDistribution(found.low, found.high, log=found.log)
    if found.kind == "int":
        step = 1 if found.log else found.step
        return IntDistribution(int(found.low), int(found.high), log=found.log, step=step)
    return CategoricalDistribution(found.values() or ())
