"""Which rows cannot be told from the best of their column, and what else the scatter says."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from bench.measure.metrics import metric
from bench.measure.protocol import PROTOCOLS
from bench.report.paired import (
    ALPHA,
    EXACT,
    Scores,
    holm,
    interval,
    p_over_images,
    p_over_seeds,
    ranks_of,
    smallest_resolvable,
)
from bench.report.provenance import Section
from bench.report.rows import Row
from bench.report.scores import DASH, Column
from bench.report.stats import Mean

MARK = "≈"
Means = Sequence[Sequence[Mean | None]]
"""Of each row, in each column."""


class Against(NamedTuple):
    """A row beside the best of its column, on the same images."""

    row: int
    column: int
    best: int
    """Row."""
    better: Scores
    """Of the best, `(seeds, images)`, signed so that more is better."""
    other: Scores
    p: float
    """That there is no difference, corrected for all comparisons of the table."""

    @property
    def differences(self) -> Scores:
        """Best minus this one, mean over seeds, by image."""
        with np.errstate(invalid="ignore"):  # two infinite scores
            return np.asarray(self.better.mean(axis=0) - self.other.mean(axis=0))

    @property
    def told(self) -> bool:
        """Whether the best is better by more than chance explains."""
        return self.p <= ALPHA


def images_of(means: Iterable[Mean | None]) -> set[str]:
    """Returns all images that any method of a column has a value for."""
    return {image for mean in means if mean for image in mean.images}


def against_best(columns: Sequence[Column], means: Means) -> list[Against]:
    """Returns every row with all images of a column beside its best, where something is better."""
    found = [
        one
        for k, column in enumerate(columns)
        for one in _of_column(column, k, [m[k] for m in means])
    ]
    corrected = holm(np.array([one.p for one in found]))
    return [one._replace(p=float(p)) for one, p in zip(found, corrected, strict=True)]


def _of_column(column: Column, k: int, means: Sequence[Mean | None]) -> list[Against]:
    facts, every = metric(column.metric), images_of(means)
    whole = {r: mean for r, mean in enumerate(means) if mean and mean.images.keys() == every}
    if facts.direction == "neither" or len(whole) < 2:
        return []
    sign = 1 if facts.direction == "higher" else -1
    best = max(whole, key=lambda r: sign * whole[r].value)  # the first of the equal
    power = 2 if _pools_squares(column) else 1  # their means stand in the order of the roots
    scores = {r: sign * mean.scores**power for r, mean in whole.items()}
    found = [Against(r, k, best, scores[best], scores[r], 1.0) for r in whole if r != best]
    p = p_over_images(np.array([one.differences for one in found]), facts.digits + 6)
    return [
        one._replace(p=max(float(p), p_over_seeds(one.better, one.other)))
        if len(one.better) > 1 or len(one.other) > 1
        else one._replace(p=float(p))
        for one, p in zip(found, p, strict=True)
    ]


def _pools_squares(column: Column) -> bool:
    rules = PROTOCOLS.get(column.protocol)
    return bool(rules and column.metric in rules.root_mean_square)


def mark_notes(
    rows: Sequence[Row], columns: Sequence[Column], found: Sequence[Against]
) -> list[str]:
    """Returns what the mark means, how far the best is from the second, and what the sets can
    resolve."""
    if not found:
        return []
    second: dict[int, Against] = {}
    for one in found:
        nearest = second.get(one.column)
        if nearest is None or one.differences.mean() < nearest.differences.mean():
            second[one.column] = one
    several = len({column.place for column in columns}) > 1
    titles = [f"{c.place} {c.title}" if several else c.title for c in columns]
    beside = [
        f"{titles[k]} {text}"
        for k, one in second.items()
        if (text := _beside(rows, columns[k], one))
    ]
    notes = [_legend(found)]
    if beside:
        drawn = "seeds and images" if any(len(one.better) > 1 for one in found) else "images"
        notes.append(
            f"Best minus second, with the 95 % paired bootstrap interval over {drawn}, not "
            f"corrected for the number of columns: {'; '.join(beside)}."
        )
    return [*notes, _resolvable(columns, second, len(found))]


def _legend(found: Sequence[Against]) -> str:
    counts = {one.better.shape[1] for one in found}
    exact, ranks = "the exact sign-flip test", "Wilcoxon's signed-rank test"
    over_images = exact if max(counts) <= EXACT else ranks
    if min(counts) <= EXACT < max(counts):
        over_images = f"{exact} up to {EXACT}, {ranks} beyond"
    seeds = max(len(side) for one in found for side in (one.better, one.other))
    over_seeds = "; over seeds Welch's t-test" if seeds > 1 else ""
    many = f"Holm over {len(found)} comparisons" if len(found) > 1 else "one comparison"
    how = f"over images {over_images}{over_seeds}; {many}"
    text = (
        f"{MARK} cannot be told from the best of its column (p > {ALPHA:g}; {how})."
        if any(not one.told for one in found)
        else f"Every row is told from the best of its column (p <= {ALPHA:g}; {how})."
    )
    return text + (" One seed: this is said of these weights, not of the methods." * (seeds == 1))


def _beside(rows: Sequence[Row], column: Column, one: Against) -> str:
    """ "+0.031 [+0.012, +0.052] (edsr, bicubic; 14 images)"; "" where there is nothing to tell."""
    found = interval(one.better, one.other)
    if _pools_squares(column) or found is None:
        return ""  # the difference of two roots is no mean over images
    sign = 1 if metric(column.metric).direction == "higher" else -1
    ends = found if sign == 1 else (-found[1], -found[0])
    digits = metric(column.metric).digits + 1
    mean, low, high = (f"{x:+.{digits}f}" for x in (sign * one.differences.mean(), *ends))
    unsure = ", not resolved" if found[0] <= 0 <= found[1] else ""
    names = f"{rows[one.best].cells[0].label}, {rows[one.row].cells[0].label}"
    return f"{mean} [{low}, {high}]{unsure} ({names}; {len(one.differences)} images)"


def _resolvable(columns: Sequence[Column], second: dict[int, Against], comparisons: int) -> str:
    """What each set can tell at all."""
    places: dict[str, list[str]] = {}
    for k, one in second.items():
        column, count = columns[k], len(one.differences)
        if not _pools_squares(column) and np.isfinite(one.differences).all():
            least = smallest_resolvable(one.differences, comparisons)
            digits = metric(column.metric).digits + 1
            shown = f"{least:.{digits}f}" if math.isfinite(least) else "none"
            places.setdefault(f"{column.place} ({count} images)", []).append(
                f"{column.title} {shown}"
            )
    told = "; ".join(
        f"{place} none, so few images reach no such p"
        if all(text.endswith(" none") for text in texts)
        else f"{place} {', '.join(texts)}"
        for place, texts in places.items()
    )
    return (
        "Smallest difference that would be told four times in five, by how far best and second "
        f"scatter: {told or 'none'}."
    )


def rank_section(rows: Sequence[Row], columns: Sequence[Column], means: Means) -> list[Section]:
    """Returns the mean place of each row over the sets, for metrics measured on several."""
    titles = dict.fromkeys(column.title for column in columns)
    told: dict[str, list[str]] = {}
    counts = Counter[str]()
    for title in titles:
        mine = [
            k
            for k, c in enumerate(columns)
            if c.title == title and metric(c.metric).direction != "neither"
        ]
        values = np.array(
            [
                [_rankable(columns[k], [m[k] for m in means], r) for k in mine]
                for r in range(len(rows))
            ]
        )
        whole = np.isfinite(values).all(axis=1)
        if len(mine) < 2 or whole.sum() < 2:
            continue
        places = iter(ranks_of(values[whole].T).mean(axis=0))
        told[title] = [f"{next(places):.2f}" if ranked else DASH for ranked in whole]
        counts[title] = len(mine)
    if not told:
        return []
    return [
        Section(
            "Mean place over the sets",
            ("row", *(f"{title}, {counts[title]} sets" for title in told)),
            tuple((row.label, *(told[t][r] for t in told)) for r, row in enumerate(rows)),
            about="1 is best; what prints alike shares a place. A dash: not on all of them.",
        )
    ]


def _rankable(column: Column, means: Sequence[Mean | None], row: int) -> float:
    """A value as printed, more is better; NaN where it is none or over fewer images."""
    mean, facts = means[row], metric(column.metric)
    if mean is None or mean.images.keys() != images_of(means):
        return math.nan
    return round(mean.value, facts.digits) * (1 if facts.direction == "higher" else -1)


def scatter_section(
    title: str, rows: Sequence[Row], columns: Sequence[Column], means: Means
) -> Section:
    """Returns how far a table's numbers scatter over seeds, and apart from that over images."""
    several = len({column.place for column in columns}) > 1
    return Section(
        f"Scatter over seeds / over images: {title}",
        ("row", *(f"{c.place} {c.title}" if several else c.title for c in columns)),
        tuple(
            (row.label, *(_scatter(c, mean) for c, mean in zip(columns, of_row, strict=True)))
            for row, of_row in zip(rows, means, strict=True)
        ),
        about="Sample standard deviations: of the seeds' means; of the images' means over seeds.",
    )


def _scatter(column: Column, mean: Mean | None) -> str:
    if mean is None:
        return DASH
    images = list(mean.images.values())
    digits = metric(column.metric).digits
    over_images = (
        np.std(images, ddof=1) if len(images) > 1 and np.isfinite(images).all() else math.nan
    )
    shown = (DASH if math.isnan(x) else f"{x:.{digits}f}" for x in (mean.spread, over_images))
    return " / ".join(shown)
