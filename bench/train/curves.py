"""Loss curves: every update's losses, the points that are drawn, and what has gone wrong."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import Diverged

POINTS = 100  # of each loss curve
EXPLODED = 100.0  # times the first points of the curve
History = list[tuple[int, dict[str, float]]]
"""(step, losses): means over equal numbers of updates, the last of them `step`."""
Curves = dict[str, NDArray[np.float32]]
"""Loss -> its value at each update, `(steps,)`; NaN where a step did not compute it."""


def keep_losses(
    curves: Curves, steps: int, losses: Mapping[str, Sequence[tuple[int, Tensor]]]
) -> tuple[dict[str, float], tuple[int, str, float] | None]:
    """Puts values by step into the curves; returns their means, and the first that is not finite
    as (step, loss, value)."""
    means: dict[str, float] = {}
    broken: list[tuple[int, str, float]] = []
    for name, pairs in losses.items():
        curve = curves.setdefault(name, np.full(steps, np.nan, np.float32))
        values = torch.stack([value for _, value in pairs]).cpu().numpy()  # waits for a GPU
        made = np.array([step for step, _ in pairs])
        curve[made] = values
        means[name] = float(values.mean(dtype=np.float64))
        for i in np.flatnonzero(~np.isfinite(values))[:1]:
            broken.append((int(made[i]), name, float(values[i])))
    return means, min(broken, default=None, key=lambda item: item[0])


def add_points(history: History, curves: Curves, steps: int, step: int) -> int:
    """Adds the points that `step` updates have completed; returns how many were added.

    They depend on the curves alone, not on when this is called.
    """
    every, before = max(1, steps // POINTS), len(history)
    begin = history[-1][0] if history else 0
    while (end := min(begin + every, steps)) <= step and begin < end:
        parts = {name: curve[begin:end] for name, curve in curves.items()}
        sound = {name: part[~np.isnan(part)] for name, part in parts.items()}
        point = {n: float(part.mean(dtype=np.float64)) for n, part in sound.items() if part.size}
        history.append((end, point))
        begin = end
    return len(history) - before


def check_point(history: History, trained: Collection[str], stage: str) -> None:
    """Raises Diverged when a loss that is minimised is, at the last point, far above where it
    began."""
    step, point = history[-1]
    for name in [name for name in point if name in trained]:
        value = point[name]
        early = [abs(losses[name]) for _, losses in history[:-1][:5] if name in losses]
        first = max(early, default=abs(value))
        # below 1, where a critic's loss may begin at nothing, only infinity counts
        if abs(value) > EXPLODED * max(first, 1.0):
            where = f"stage {stage}: {name} at step {step}"
            raise Diverged(f"{where} is {value:.4g}, at the beginning {first:.4g}.")


def check_finite(broken: tuple[int, str, float] | None, stage: str) -> None:
    """Raises Diverged for a loss that is not finite."""
    if broken is not None:
        step, name, value = broken
        assert not math.isfinite(value)
        raise Diverged(f"stage {stage}: {name} at step {step + 1} is {value}.")
