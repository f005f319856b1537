"""The scores of records, sorted into the columns of a table."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from bench.measure.protocol import PROTOCOLS
from bench.records.cell import Cell
from bench.study.fields import Study

Trial = tuple[str, int | None]
"""Method and trial; all its seeds together."""

DASH = "\N{EM DASH}"
"""Stands for a number that there is not."""
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
ACRONYMS = {"psnr", "ssim", "ms", "rmse", "niqe", "lpips", "pi", "emd", "emd1", "lcc", "srcc"}


class Column(NamedTuple):
    """What a number must agree in to stand below another one."""

    dataset: str
    scale: int
    metric: str
    assessor: str
    """Exact name of the trained thing behind the metric, such as nima@photos; "" for a formula."""
    protocol: str

    @property
    def title(self) -> str:
        """ "PSNR-Y"; an assessor's exact name, so that nima@photos never reads as NIMA."""
        return self.assessor or metric_title(self.metric)

    def pool(self, values: Iterable[float]) -> float:
        """Returns the set's score from its images', as the column's protocol makes it; the mean
        for the protocol of another version of bench."""
        rules = PROTOCOLS.get(self.protocol, PROTOCOLS["full@1"])
        return rules.pool(self.metric, values)

    @property
    def place(self) -> str:
        """ "set5 x2"."""
        return self.dataset if self.scale == 1 else f"{self.dataset} x{self.scale}"


def metric_title(name: str) -> str:
    """Returns the name of a metric as papers print it.

    >>> metric_title("psnr_y"), metric_title("viqet.noise_signature")
    ('PSNR-Y', 'viqet.noise_signature')
    """
    words = name.split("_")
    return "-".join(words).upper() if words[0] in ACRONYMS else name


def printed_number(value: float, digits: int) -> str:
    """Returns a number as it is printed, a dash for what is none.

    >>> printed_number(31.256, 2), printed_number(-math.inf, 2)
    ('31.26', '-∞')
    """
    if math.isnan(value):
        return DASH
    return ("∞" if value > 0 else "-∞") if math.isinf(value) else f"{value:.{digits}f}"


def by_trial(cells: Iterable[Cell]) -> dict[Trial, list[Cell]]:
    """Returns the complete cells of each trial, one a seed, ordered by seed."""
    trials: dict[Trial, list[Cell]] = {}
    for cell in sorted(cells, key=lambda c: c.seed):
        if cell.state == "complete":
            trials.setdefault((cell.method, cell.trial), []).append(cell)
    return trials


def columns_of(study: Study, cells: Iterable[Cell]) -> list[Column]:
    """Returns the columns of the report in the study's order; a set without records has none.

    A metric that could not be computed keeps its column. Scores under another protocol, scale or
    assessor never share one.
    """
    seen: dict[tuple[str, int, str], set[Column]] = {}
    measured: set[tuple[str, int]] = set()
    for cell in cells:
        if cell.state != "complete":
            continue
        measured.update(b for b in study.benchmarks() if study.key(*b) in cell.datasets)
        for column in cell_values(cell):
            seen.setdefault((column.dataset, column.scale, column.metric), set()).add(column)
            measured.add((column.dataset, column.scale))
    # scores of another scale than today's stand behind those of the study
    places = dict.fromkeys([*study.benchmarks(), *sorted(measured)])
    return [
        column
        for dataset, scale in places
        if (dataset, scale) in measured and dataset in study.evaluate.datasets
        for metric in study.evaluate.metrics
        for column in sorted(
            seen.get((dataset, scale, metric)) or {Column(dataset, scale, metric, "", "")}
        )
        if column.protocol or (dataset, scale) in study.benchmarks()
    ]


def cell_values(cell: Cell) -> dict[Column, dict[str, float]]:
    """Returns column -> image -> value."""
    values: dict[tuple[str, int, str, str], dict[str, float]] = {}
    for dataset, scale, image, metric, protocol, value, *_ in cell.scores:
        values.setdefault((dataset, scale, metric, protocol), {})[image] = value
    return {
        Column(dataset, scale, metric, cell.assessors.get(metric, ""), protocol): images
        for (dataset, scale, metric, protocol), images in values.items()
    }


def cell_means(cell: Cell) -> dict[Column, float]:
    """Returns column -> score over the images that have a value; NaN where none has."""
    means = {}
    for column, images in cell_values(cell).items():
        means[column] = column.pool(v for v in images.values() if not math.isnan(v))
    return means
