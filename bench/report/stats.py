"""The statistics of a report, each a pure function of a few numbers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Mean(NamedTuple):
    """A metric of one method on one set: first the mean over images, then over seeds."""

    value: float
    """NaN where no image could be scored under every seed."""
    spread: float
    """Sample standard deviation over seeds; NaN with fewer than two, or with infinite means."""
    seeds: int
    images: Mapping[str, float]
    """Image -> mean over seeds, for the images averaged."""
    total: int
    """Images asked for; the others have no value under some seed."""
    scores: NDArray[np.float64]
    """`(seeds, images)`, the images ordered as in `images`."""


def mean_over_seeds(
    by_seed: Mapping[int, Mapping[str, float]], pool: Callable[[Iterable[float]], float] = fmean
) -> Mean:
    """Returns the mean of seed -> image -> value over the images that every seed has a value for.

    pool: how a protocol makes a set's score from its images'.

    Only so do the means of all seeds cover the same images, and their spread is the seeds' alone.

    >>> mean_over_seeds({0: {"a": 1.0, "b": 3.0}, 1: {"a": 2.0, "b": 4.0}})[:3]
    (2.5, 0.7071067811865476, 2)
    """
    asked = {image for values in by_seed.values() for image in values}
    kept = sorted(
        image
        for image in asked
        if not any(math.isnan(values.get(image, math.nan)) for values in by_seed.values())
    )
    images = {image: fmean(values[image] for values in by_seed.values()) for image in kept}
    if not kept:
        none = np.empty((len(by_seed), 0))
        return Mean(math.nan, math.nan, len(by_seed), {}, len(asked), none)
    means = [pool(values[image] for image in kept) for values in by_seed.values()]
    spread = stdev(means) if len(means) > 1 and all(map(math.isfinite, means)) else math.nan
    scores = np.array([[values[image] for image in kept] for values in by_seed.values()])
    return Mean(fmean(means), spread, len(means), images, len(asked), scores)


def pareto_front(points: Sequence[Sequence[float]], maximize: Sequence[bool]) -> list[int]:
    """Returns the indices of the points that no other point dominates, ordered by the first axis.

    A point dominates another if it is nowhere worse and somewhere better. A point with a NaN is
    never on the front. Equal points are on it together.

    >>> pareto_front([(1, 5), (2, 4), (2, 3), (3, 1)], [True, True])
    [0, 1, 3]
    """
    if not len(points):
        return []
    values = np.asarray(points, float) * np.where(maximize, 1.0, -1.0)
    alive = np.flatnonzero(~np.isnan(values).any(axis=1))
    # best first: what dominates a point comes before it, and something on the front does, too
    order = alive[np.lexsort(-values[alive].T[::-1])]
    front: list[int] = []
    best = np.empty_like(values)
    for i in order:
        others = best[: len(front)]
        nowhere_worse = (others >= values[i]).all(axis=1)
        if not (nowhere_worse & (others > values[i]).any(axis=1)).any():
            best[len(front)] = values[i]
            front.append(int(i))
    return sorted(front, key=lambda i: (points[i][0], i))


def evenly_spaced(count: int, most: int) -> list[int]:
    """Returns at most `most` indices below `count`, both ends among them.

    >>> evenly_spaced(9, 5)
    [0, 2, 4, 6, 8]
    """
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def ranks(printed: Sequence[float | None], higher_is_better: bool) -> list[int]:
    """Returns 1 for best, 2 for second, else 0; `printed` is rounded as shown, None: not ranked.

    Values that print alike share a place, and two firsts leave no second. Where all are alike, or
    fewer than two are ranked, nothing is marked.

    >>> ranks([30.1, 30.2, None, 30.0], True)
    [2, 1, 0, 0]
    """
    ranked = [value for value in printed if value is not None]
    if len(set(ranked)) < 2:
        return [0] * len(printed)
    places = []
    for value in printed:
        better = [r for r in ranked if value is not None and (r > value) == higher_is_better]
        better = [r for r in better if r != value]
        places.append(len(better) + 1 if value is not None and len(better) < 2 else 0)
    return places
