"""Methods as points between two quantities: perception and distortion, cost and quality."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.measure.metrics import metric
from bench.report.rows import Row
from bench.report.scores import ARROWS, Column
from bench.report.stats import Mean, pareto_front
from bench.study.fields import Study

DISTORTION = ("psnr_y", "psnr", "ssim_y", "ssim", "rmse")
PERCEPTION = ("lpips", "lpips_vgg", "niqe", "nima", "viqet")
"""The first of each that a set was scored with (Blau and Michaeli, CVPR 2018)."""
FEWEST = 3
Means = Sequence[Sequence[Mean | None]]


class Axis(NamedTuple):
    """A quantity."""

    label: str
    """With unit and good direction."""
    more: bool
    """Whether more of it is better."""
    log: bool = False


class Point(NamedTuple):
    """A row of the table."""

    label: str
    method: str
    x: float
    y: float


class Plane(NamedTuple):
    """A panel."""

    title: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: tuple[int, ...]
    """Points that no other beats in both, from left to right."""


def perception_planes(rows: Sequence[Row], columns: Sequence[Column], means: Means) -> list[Plane]:
    """Returns one for each set with a metric of distortion, one of perception and three rows."""
    found = []
    for place in dict.fromkeys(column.place for column in columns):
        at = {column.metric: k for k, column in enumerate(columns) if column.place == place}
        across = next((at[name] for name in DISTORTION if name in at), None)
        up = next((at[name] for name in PERCEPTION if name in at), None)
        if across is not None and up is not None:
            x, y = (_values(means, k) for k in (across, up))
            found.append(_plane(place, _axis(columns[across]), _axis(columns[up]), rows, x, y))
    return [plane for plane in found if len(plane.points) >= FEWEST]


def cost_planes(
    study: Study, rows: Sequence[Row], columns: Sequence[Column], means: Means
) -> list[Plane]:
    """Returns quality over multiply-adds for the first set of each scale, where they were counted:
    the first metric of distortion or else the first at all."""
    found = []
    for scale in study.task.scales:
        at = [k for k, c in enumerate(columns) if c.scale == scale]
        mine = [k for k in at if columns[k].dataset == columns[at[0]].dataset]
        if not mine:
            continue
        lead = next((k for k in mine if columns[k].metric in DISTORTION), mine[0])
        if metric(columns[lead].metric).direction == "neither":
            continue
        label = f"multiply-adds (G) at {study.evaluate.efficiency_at} ↓"
        cost = [_cost(row, scale, study.evaluate.efficiency_at) for row in rows]
        column = columns[lead]
        found.append(
            _plane(column.place, Axis(label, False, True), _axis(column), rows, cost,
                   _values(means, lead))
        )  # fmt: skip
    return [plane for plane in found if len(plane.points) >= FEWEST]


def _plane(
    title: str, x: Axis, y: Axis, rows: Sequence[Row], xs: Sequence[float], ys: Sequence[float]
) -> Plane:
    points = tuple(
        Point(row.label, row.method, a, b)
        for row, a, b in zip(rows, xs, ys, strict=True)
        if math.isfinite(a) and math.isfinite(b) and (a > 0 or not x.log)
    )
    front = pareto_front([(p.x, p.y) for p in points], [x.more, y.more])
    return Plane(title, x, y, points, tuple(front))


def _values(means: Means, k: int) -> list[float]:
    return [math.nan if (mean := row[k]) is None else mean.value for row in means]


def _axis(column: Column) -> Axis:
    facts = metric(column.metric)
    unit = f" ({facts.unit})" if facts.unit else ""
    label = f"{column.title}{unit} {ARROWS[facts.direction]}"
    return Axis(label, facts.direction == "higher")


def _cost(row: Row, scale: int, size: str) -> float:
    counted = [
        s.multiply_adds / 1e9
        for cell in row.cells
        for s in cell.efficiency
        if (s.scale, s.size) == (scale, size) and s.multiply_adds
    ]
    return counted[0] if counted else math.nan
