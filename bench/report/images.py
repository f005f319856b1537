"""What single images say: differences of two methods, and metrics that disagree."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.measure.metrics import metric
from bench.report.paired import interval, ranks_of
from bench.report.rows import Row
from bench.report.scores import Column
from bench.report.stats import Mean

MOST_ROWS = 12
FEWEST_ROWS = 3
"""Methods that a rank correlation needs to say anything."""
MOST_NAMED = 3


class Difference(NamedTuple):
    """A row less the best one, by image, mean over seeds; above 0 the row is better there."""

    label: str
    images: tuple[str, ...]
    values: NDArray[np.float64]
    interval: tuple[float, float] | None


class Differences(NamedTuple):
    """Of one set and metric."""

    column: Column
    best: str
    rows: tuple[Difference, ...]
    left_out: int


class Agreement(NamedTuple):
    """Of the metrics of one set: how alike they rank the methods, image by image."""

    dataset: str
    columns: tuple[Column, ...]
    correlation: NDArray[np.float64]
    """`(metrics, metrics)`: Spearman's over methods, more being better, mean over images."""
    images: int
    methods: int
    apart: tuple[Column, Column]
    """The two that agree least."""
    worst: tuple[tuple[str, float], ...]
    """Images on which they agree least, with the correlation there."""


def differences(
    rows: Sequence[Row], columns: Sequence[Column], means: Sequence[Sequence[Mean | None]]
) -> list[Differences]:
    """Returns for each column its rows beside the best one, on the images of all of them."""
    found = []
    for k, column in enumerate(columns):
        facts = metric(column.metric)
        mine = [(row, mean[k]) for row, mean in zip(rows, means, strict=True)]
        whole = [(row, m) for row, m in mine if m and np.isfinite(m.scores).all()]
        sign = {"higher": 1.0, "lower": -1.0}.get(facts.direction)
        if sign is None or len(whole) < 2:
            continue
        best_row, best = max(whole, key=lambda pair: sign * pair[1].value)
        same = [
            (r, m) for r, m in whole if m.images.keys() == best.images.keys() and r is not best_row
        ]
        shown = tuple(
            Difference(
                row.label,
                tuple(m.images),
                sign * (m.scores.mean(axis=0) - best.scores.mean(axis=0)),
                interval(sign * m.scores, sign * best.scores),
            )
            for row, m in same[:MOST_ROWS]
        )
        if shown and len(best.images) > 1:
            found.append(Differences(column, best_row.label, shown, max(0, len(same) - MOST_ROWS)))
    return found


def agreements(
    columns: Sequence[Column], means: Sequence[Sequence[Mean | None]]
) -> list[Agreement]:
    """Returns one for each set with two metrics or more and FEWEST_ROWS methods or more."""
    found = []
    for place in dict.fromkeys(c.place for c in columns):
        at = [k for k, c in enumerate(columns) if c.place == place
              and metric(c.metric).direction != "neither"]  # fmt: skip
        table = [[row[k] for k in at] for row in means]
        whole = [[m for m in row if m is not None] for row in table if all(row)]
        if len(at) < 2 or len(whole) < FEWEST_ROWS:
            continue
        images = sorted(set.intersection(*(set(m.images) for row in whole for m in row)))
        if len(images) > 1:
            found.append(_agreement(place, [columns[k] for k in at], whole, images))
    return [one for one in found if np.isfinite(one.correlation).all()]


def _agreement(
    place: str, columns: Sequence[Column], table: Sequence[Sequence[Mean]], images: Sequence[str]
) -> Agreement:
    signs = [1 if metric(c.metric).direction == "higher" else -1 for c in columns]
    scores = np.array(
        [
            [[s * m.images[i] for i in images] for s, m in zip(signs, row, strict=True)]
            for row in table
        ]
    )  # (methods, metrics, images)
    lines = np.round(scores, 9).reshape(len(scores), -1).T  # one for each metric and image
    ranks = ranks_of(lines).T.reshape(scores.shape)
    centred = ranks - ranks.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):  # all methods equal on an image
        each = np.einsum("mki,mli->kli", centred, centred) / (norm[:, None] * norm[None])
        mean = np.nanmean(each, axis=2)
    off = np.where(np.eye(len(columns), dtype=bool), math.inf, mean)
    a, b = sorted(divmod(int(off.argmin()), len(columns)))
    order = np.argsort(each[a, b], kind="stable")[:MOST_NAMED]
    worst = tuple((images[k], float(each[a, b, k])) for k in order if np.isfinite(each[a, b, k]))
    return Agreement(
        place, tuple(columns), mean, len(images), len(table), (columns[a], columns[b]), worst
    )
