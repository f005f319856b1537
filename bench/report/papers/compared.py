"""A paper's printed tables and claims with what a study has for them, and the verdicts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

from bench.measure.metrics import metric
from bench.measure.protocol import PROTOCOLS
from bench.records.cell import Cell, at_scale
from bench.report.paired import FEWEST_IMAGES, interval
from bench.report.papers.numbers import not_of_these, number_verdict
from bench.report.papers.ours import (
    Ours,
    choose_dataset,
    find_trial,
    increment,
    measured,
    own_stages,
    value_of,
)
from bench.report.papers.published import Claim, Match, Paper, PrintedTable, Series
from bench.report.papers.verdicts import claim_verdict, trend
from bench.report.provenance import image_count, tiny_runs
from bench.report.rows import Row
from bench.report.scores import DASH
from bench.study.fields import Study

Trials = dict[str, tuple[Cell, ...] | str]
"""Label of a point -> the complete seeds of our trial, or why there is none."""


@dataclass(frozen=True)
class Line:
    """A printed series with ours, one a point."""

    series: Series
    ours: tuple[Ours, ...]
    numbers: tuple[str, ...]
    """The verdict of each; "" of other images than the paper's."""
    trend: str
    parameters: str
    """Trained numbers of ours, counted."""


@dataclass(frozen=True)
class Compared:
    """A printed table with ours."""

    table: PrintedTable
    lines: tuple[Line, ...]
    about: str
    """What ours were made with; "" if the study ran no series of the table."""

    @property
    def run(self) -> list[Line]:
        """The series that the study ran something of, besides points that any study may have."""
        own = [label for label, point in self.table.points.items() if point and "use" not in point]
        labels = own or list(self.table.points)
        return [
            line
            for line in self.lines
            if any(
                ours.by_seed and label in labels
                for label, ours in zip(self.table.points, line.ours, strict=True)
            )
        ]


def compare(study: Study, cells: Sequence[Cell], paper: Paper) -> list[Compared]:
    """Returns the tables of a paper with what the study has for each printed number."""
    scales = study.task.scales
    return [
        _compare(
            *at_scale(study, cells, table.scale if table.scale in scales else scales[0]),
            paper,
            table,
        )
        for table in paper.tables
    ]


def _compare(study: Study, cells: Sequence[Cell], paper: Paper, table: PrintedTable) -> Compared:
    trials: list[Trials] = [
        {label: find_trial(cells, table.match_of(series, label)) for label in table.points}
        for series in table.series
    ]
    used = [cell for row in trials for trial in row.values() for cell in _cells(trial)]
    metrics = {series.metric for series in table.series if series.metric}
    dataset = choose_dataset(study, used, metrics, table.dataset)
    lines = []
    for series, row in zip(table.series, trials, strict=True):
        ours = _ours(series, row, dataset)
        comparable = not not_of_these(study, table, series, dataset)
        numbers = tuple(
            number_verdict(paper, table, series, printed, _cells(trial), mine)[0]
            if comparable and printed is not None and mine.by_seed
            else ""
            for printed, trial, mine in zip(series.values, row.values(), ours, strict=True)
        )
        told = trend(series.values, [mine.value for mine in ours])
        lines.append(Line(series, ours, numbers, told, _parameters(row)))
    found = Compared(table, tuple(lines), "")
    run = found.run
    return replace(found, about=_about(study, table, run, used, dataset)) if run else found


def _cells(trial: tuple[Cell, ...] | str) -> tuple[Cell, ...]:
    return () if isinstance(trial, str) else trial


def _ours(series: Series, trials: Trials, dataset: str) -> tuple[Ours, ...]:
    found = [
        Ours(why=trial) if isinstance(trial, str) else value_of(series, trial, dataset)
        for trial in trials.values()
    ]
    if series.change:
        found = [found[0], *(increment(a, b) for a, b in pairwise(found))]
    return tuple(found)


def _parameters(trials: Trials) -> str:
    counts = {
        stages[-1].parameters
        for trial in trials.values()
        for cell in _cells(trial)
        if (stages := own_stages(cell))
    }
    return " or ".join(f"{count:,}" for count in sorted(counts)) or DASH


def _about(
    study: Study, table: PrintedTable, lines: Iterable[Line], cells: Sequence[Cell], dataset: str
) -> str:
    """What ours were made with, and whether they can be the paper's numbers at all."""
    series = [line.series for line in lines]
    parts = []
    if any(s.metric for s in series) and dataset:
        used = {cell.datasets[dataset] for cell in cells if dataset in cell.datasets}
        counts = sorted(image_count(u) for u in used)
        partial = ", partial" if any(u.count < u.official for u in used) else ""
        protocols = sorted({o.protocol for line in lines for o in line.ours if o.protocol})
        sources = sorted({u.source for u in used} - {"none"})
        made = f", LR: {' or '.join(sources)}" if sources else ""
        parts.append(f"{dataset} ({' or '.join(counts)}{partial}{made}), {', '.join(protocols)}")
    if any(s.loss for s in series) and study.train:
        parts.append(f"losses of training on {study.train.dataset}")
    if any(s.examined for s in series):
        parts.append("what the stages' own examinations found")
    steps = sorted({stage.steps for cell in cells for stage in own_stages(cell)})
    if steps:
        many = f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else str(steps[0])
        seeds = len({cell.seed for cell in cells if own_stages(cell)})
        parts.append(f"{many} updates a stage")
        parts.append(f"{seeds} seeds ± sample standard deviation" if seeds > 1 else "one seed")
    parts += sorted({text for cell in cells for text in cell.remarks})
    if tiny := tiny_runs(Row(cell.method, "", (cell,)) for cell in cells):
        parts.append(f"tiny run: {tiny}")
    if all(not_of_these(study, table, s, dataset) for s in series):
        parts.append("other images than the paper's, or of other LR: only the trend can agree")
    return "; ".join(parts)


# Claims


@dataclass(frozen=True)
class Judged:
    """A claim with what our images say of it."""

    claim: Claim
    ours: str
    """"+0.031 [+0.012, +0.052], 30 images of urban100"."""
    verdict: str
    why: str = ""
    """Why there is no verdict."""
    cells: tuple[Cell, ...] = ()
    """Those of both sides, where there is one."""


def judge(study: Study, cells: Sequence[Cell], claim: Claim) -> Judged:
    """Returns the mean difference over images, mean over seeds, with its interval and verdict."""
    trials = [find_trial(cells, match) for match in (claim.more, claim.than)]
    for match, trial in zip((claim.more, claim.than), trials, strict=True):
        if isinstance(trial, str):
            return Judged(claim, DASH, DASH, f"{_described(match)}: {trial}")
    seeds = [{cell.seed for cell in _cells(trial)} for trial in trials]
    sides = [tuple(c for c in _cells(trial) if c.seed in seeds[0] & seeds[1]) for trial in trials]
    if not all(sides):
        return Judged(claim, DASH, DASH, "the two have no seed in common")
    dataset = choose_dataset(study, [*sides[0], *sides[1]], [claim.metric], claim.dataset)
    if not dataset:
        return Judged(claim, DASH, DASH, f"{claim.metric} was not measured")
    more, than = (measured(side, claim.metric, dataset) for side in sides)
    why = more.why or than.why
    if not why and more.protocol != than.protocol:
        why = f"scored under {more.protocol} and {than.protocol}"
    rules = PROTOCOLS.get(more.protocol)
    if not why and rules and claim.metric in rules.root_mean_square:
        why = f"the difference of two sets' {claim.metric} is no mean over images"
    if why:
        return Judged(claim, DASH, DASH, why)
    images = sorted(more.images.keys() & than.images.keys())
    found = interval(more.scores_of(images), than.scores_of(images))
    if found is None:
        return Judged(claim, DASH, DASH, f"fewer than {FEWEST_IMAGES} finite images of {dataset}")
    digits = metric(claim.metric).digits + 1
    difference = fmean(more.images[image] - than.images[image] for image in images)
    mean, low, high = (f"{x:+.{digits}f}" for x in (difference, *found))
    both = (*sides[0], *sides[1])
    whole = max((c.datasets[dataset].official for c in both if dataset in c.datasets), default=0)
    count = f"{len(images)}/{whole}" if len(images) < whole else f"{len(images)}"
    ours = f"{mean} [{low}, {high}], {count} images of {dataset}"
    return Judged(claim, ours, claim_verdict(found), cells=both)


def _described(match: Match) -> str:
    given = ", ".join(f"{key} {value}" for key, value in match.items() if key != "use")
    return f"{match['use']}{f' ({given})' if given else ''}"
