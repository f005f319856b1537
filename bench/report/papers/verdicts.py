"""What may be said of our numbers beside a paper's, each rule a pure function."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.report.scores import DASH

VERDICTS = ("match", "close", "differs", "protocol unknown", "not run")
"""Of a printed number and ours."""
TREND = 0.8
"""Spearman's rank correlation."""
ENOUGH = 4
"""Points for a rank correlation."""

TOLERANCES = {
    "psnr": (0.03, 0.15),
    "ssim": (0.001, 0.005),
    "ms_ssim": (0.001, 0.005),
    "lpips": (0.002, 0.01),
    "niqe": (0.02, 0.1),
    "rmse": (0.05, 0.25),
}
"""Metric without its channel -> how far ours may lie from a printed value to match, to be close.
Two right implementations differ so much, in LR files, rounding, gray files or a window."""
RELATIVE = (0.002, 0.01)
"""Of the printed value, for other metrics."""


def cell_verdict(name: str, printed: float, ours: float, digits: int, *, whole: bool) -> str:
    """Returns "match", "close" or "differs" for one printed value.

    digits: printed after the point; half a unit of the last one is always within the tolerance.
    whole: ours is of the whole set; a part of it is close at best, for it is another set.

    >>> cell_verdict("psnr_y", 33.66, 33.684, 2, whole=True)
    'match'
    >>> cell_verdict("psnr_y", 33.66, 33.684, 2, whole=False)
    'close'
    """
    relative = tuple(share * abs(printed) for share in RELATIVE)
    tolerances = TOLERANCES.get(name.removesuffix("_y").removesuffix("_vgg"), relative)
    match, close = (max(allowed, 0.5 * 10.0**-digits) * (1 + 1e-9) for allowed in tolerances)
    if whole and abs(ours - printed) <= match:
        return "match"
    return "close" if abs(ours - printed) <= close else "differs"


RULES = (
    (
        "match, close, differs",
        "Of each number on the paper's own images, task and protocol: how far ours lies from it. "
        + "; ".join(
            f"{name} within {match:g}, {close:g}" for name, (match, close) in TOLERANCES.items()
        )
        + f"; others within {100 * RELATIVE[0]:g} %, {100 * RELATIVE[1]:g} %; half a unit of the "
        "last printed digit is always within. A part of the set is close at best.",
    ),
    (
        "same trend, another trend",
        f"Of a series, on any images: Spearman's rank correlation is {TREND} or more over {ENOUGH} "
        "points or more; with 2 or 3 points every pair stands in the paper's order, pairs that "
        "print alike left out. In parentheses: the correlation, or the pairs in order, and the "
        "points.",
    ),
    (
        "shown, not shown, not resolved",
        "Of a claim: the 95 % paired bootstrap interval of the difference, over images and, where "
        "there are several, over seeds, lies above 0, below 0, or holds 0. Not corrected for the "
        "number of claims.",
    ),
)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Returns Spearman's rank correlation, equal values with their mean rank; NaN if all are equal.

    >>> rank_correlation([1, 2, 3, 4], [10, 30, 20, 40])
    0.8
    """
    ranked = [_ranks(np.asarray(values, float)) for values in (a, b)]
    x, y = (r - r.mean() for r in ranked)
    norm = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm else math.nan


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    return np.asarray(below + (equal + 1) / 2)


def trend(printed: Sequence[float | None], ours: Sequence[float]) -> str:
    """Returns "same trend (0.93 over 9 points)" by the rule above, or a dash with the reason.

    printed: None where the paper has no value. ours: NaN where there is none.
    """
    points = [
        (p, o) for p, o in zip(printed, ours, strict=True) if p is not None and not math.isnan(o)
    ]
    asked = sum(p is not None for p in printed)
    if len(points) < 2:
        return f"{DASH} fewer than 2 points of ours"
    over = f"over {len(points)}{f' of {asked}' if len(points) < asked else ''} points"
    differing = [(a, b) for a, b in combinations(points, 2) if a[0] != b[0]]
    if not differing:
        return f"{DASH} the printed values do not differ"
    if len(points) < ENOUGH:
        kept = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in differing)
        same, told = kept == len(differing), f"{kept} of {len(differing)} pairs {over}"
    else:
        found = rank_correlation(*zip(*points, strict=True))
        same = found >= TREND - 1e-9
        told = f"ours do not differ, {over}" if math.isnan(found) else f"{found:.2f} {over}"
    return f"{'same' if same else 'another'} trend ({told})"


def claim_verdict(interval: tuple[float, float]) -> str:
    """Returns what the interval of (more - than) says of a claim.

    >>> claim_verdict((0.1, 0.3)), claim_verdict((-0.3, -0.1)), claim_verdict((-0.1, 0.1))
    ('shown', 'not shown', 'not resolved')
    """
    low, high = interval
    if low <= 0 <= high:
        return "not resolved"
    return "shown" if low > 0 else "not shown"
