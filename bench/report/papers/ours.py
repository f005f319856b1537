"""What a study has for a number that a paper prints."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

import numpy as np

from bench.records.cell import Cell, TrainedStage, load_losses
from bench.report.paired import Scores
from bench.report.papers.published import Match, Series
from bench.report.scores import by_trial, cell_values
from bench.report.stats import mean_over_seeds
from bench.study.fields import Study

NOT_RUN = "no finished trial of the study ran it"
NO_METHOD = "no method here makes it"


@dataclass(frozen=True)
class Ours:
    """Our value for a printed one, or why there is none."""

    by_seed: Mapping[int, float] = field(default_factory=dict)
    why: str = ""
    images: Mapping[str, float] = field(default_factory=dict)
    """Image -> mean over seeds, for a metric."""
    asked: int = 0
    """Images that were to be measured."""
    protocol: str = ""
    scores: Scores = field(default_factory=lambda: np.empty((0, 0)))
    """`(seeds, images)`, the images ordered as in `images`."""

    def scores_of(self, images: Collection[str]) -> Scores:
        """Returns those of some images, in their order in `images`."""
        return self.scores[:, [image in images for image in self.images]]

    @property
    def value(self) -> float:
        """Mean over seeds; NaN without any."""
        return fmean(self.by_seed.values()) if self.by_seed else math.nan

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds; NaN with fewer than two."""
        values = list(self.by_seed.values())
        return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def find_trial(cells: Iterable[Cell], match: Match) -> tuple[Cell, ...] | str:
    """Returns the complete seeds of the one trial that a match picks, or why there is none.

    Trials with equal hyper-parameters are the same; where several others fit, none is chosen.
    """
    if not match:
        return NO_METHOD
    wanted = {key: value for key, value in match.items() if key not in ("use", "weights")}
    distinct: dict[str, list[Cell]] = {}
    for group in by_trial(cells).values():
        known = group[0].parameters
        if group[0].use == match["use"] and all(
            key in known and known[key] == value for key, value in wanted.items()
        ):
            distinct.setdefault(repr(sorted(known.items())), group)
    if not distinct:
        return NOT_RUN
    groups = list(distinct.values())
    if len(groups) == 1:
        return tuple(groups[0])
    values: dict[str, set[str]] = {}
    for group in groups:
        for key, value in group[0].parameters.items():
            values.setdefault(key, set()).add(str(value))
    differing = [f"{k} ({', '.join(sorted(v))})" for k, v in values.items() if len(v) > 1]
    return f"{len(groups)} trials fit and none is chosen; they differ in {' and '.join(differing)}"


def own_stages(cell: Cell) -> list[TrainedStage]:
    """Returns the stages of the method itself, without those of assessors."""
    return [stage for stage in cell.stages if stage.name not in cell.assessors.values()]


def choose_dataset(
    study: Study, cells: Iterable[Cell], metrics: Collection[str], wanted: str | None
) -> str:
    """Returns the wanted set if it was measured, else the one with most of the metrics, the first
    of several; "" if none of them was measured anywhere."""
    found = {
        (score.dataset, score.metric)
        for cell in cells
        for score in cell.scores
        if score.metric in metrics and not math.isnan(score.value)
    }
    counts = {d: sum(d == dataset for dataset, _ in found) for d in study.evaluate.datasets}
    if wanted is not None and counts.get(wanted):
        return wanted
    best = max(counts, key=counts.__getitem__)  # the first of the equal
    return best if counts[best] else ""


def value_of(series: Series, cells: Sequence[Cell], dataset: str) -> Ours:
    """Returns a series' quantity for one trial, its complete seeds given."""
    if series.metric is not None:
        return measured(cells, series.metric, dataset, series.image)
    stages = {cell.seed: own_stages(cell) for cell in cells}
    if not all(stages.values()):
        return Ours(why="nothing was trained")
    found: dict[int, float] = {}
    for seed, trained in stages.items():
        value = _of_stage(series, trained[-1])
        if isinstance(value, str):
            return Ours(why=value)
        found[seed] = value
    return Ours(found)


def _of_stage(series: Series, stage: TrainedStage) -> float | str:
    if series.examined is not None:
        value = stage.examined.get(series.examined)
        if isinstance(value, int | float):
            return value
        return f"the stage's examination found no number {series.examined!r}"
    losses = load_losses(stage.key)
    if series.loss not in losses:
        return f"no loss {series.loss!r} is kept with the stage"
    values = losses[series.loss]
    if len(values) < series.last:
        return f"{len(values)} updates, fewer than the last {series.last} that the paper averages"
    values = values[-series.last :]
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else f"the loss {series.loss!r} was not computed"


def measured(cells: Sequence[Cell], name: str, dataset: str, image: str | None = None) -> Ours:
    """Returns a metric of one trial on a set, pooled over images as the protocol does it."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    pools = {}
    for cell in cells:
        for column, images in cell_values(cell).items():
            kept = {i: v for i, v in images.items() if image is None or i == image}
            if column.metric == name and column.dataset == dataset and kept:
                key = f"{column.title} under {column.protocol}"
                found.setdefault(key, {})[cell.seed] = kept
                pools[key] = column
    if not found:
        why = next((c.unavailable[name] for c in cells if name in c.unavailable), "")
        where = f"image {image} of {dataset}" if image else dataset
        return Ours(why=f"{name} was not measured on {where}" + (f": {why}" if why else ""))
    if len(found) > 1:
        return Ours(why=f"scored in several ways: {', '.join(sorted(found))}")
    ((key, by_seed),) = found.items()
    column = pools[key]
    mean = mean_over_seeds(by_seed, column.pool)
    if not mean.images:
        return Ours(why=f"{name} has no value on any image of {dataset}")
    by_seed_mean = {
        seed: column.pool(values[i] for i in mean.images) for seed, values in by_seed.items()
    }
    return Ours(by_seed_mean, "", mean.images, mean.total, column.protocol, mean.scores)


def increment(before: Ours, now: Ours) -> Ours:
    """Returns the change between two points under the seeds that both have."""
    if why := now.why or before.why:
        return Ours(why=why)
    seeds = before.by_seed.keys() & now.by_seed.keys()
    if not seeds:
        return Ours(why="the point before has other seeds")
    changes = {seed: now.by_seed[seed] - before.by_seed[seed] for seed in sorted(seeds)}
    return Ours(changes, "", now.images, now.asked, now.protocol)
