"""Methods as points between two quantities: perception and distortion, cost and quality."""

import math
from collections.abc import Iterator, Sequence
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
            title = _title(place, means, across)
            found.append(_plane(title, _axis(columns[across]), _axis(columns[up]), rows, x, y))
    return [plane for plane in found if len(plane.points) >= FEWEST]


def cost_planes(
    study: Study, rows: Sequence[Row], columns: Sequence[Column], means: Means
) -> list[Plane]:
    """Returns quality over multiply-adds and over latency for the first set of each scale, where
    they were measured: the first metric of distortion or else the first at all. Latencies of
    several machines are not put side by side."""
    found = []
    for scale in study.task.scales:
        at = [k for k, c in enumerate(columns) if c.scale == scale]
        mine = [k for k in at if columns[k].dataset == columns[at[0]].dataset]
        if not mine:
            continue
        lead = next((k for k in mine if columns[k].metric in DISTORTION), mine[0])
        if metric(columns[lead].metric).direction == "neither":
            continue
        column, quality = columns[lead], _values(means, lead)
        for label, cost in _costs(study, rows, scale):
            x = Axis(f"{label} at {study.evaluate.efficiency_at} ↓", False, log=True)
            title = _title(column.place, means, lead)
            found.append(_plane(title, x, _axis(column), rows, cost, quality))
    return [plane for plane in found if len(plane.points) >= FEWEST]


def _costs(study: Study, rows: Sequence[Row], scale: int) -> Iterator[tuple[str, list[float]]]:
    """Each quantity of cost and its value for each row; NaN where it was not measured."""
    wanted = (scale, study.evaluate.efficiency_at)
    speeds = [
        next((s for c in row.cells for s in c.efficiency if (s.scale, s.size) == wanted), None)
        for row in rows
    ]
    counted = [s.multiply_adds / 1e9 if s and s.multiply_adds else math.nan for s in speeds]
    yield "multiply-adds (G)", counted
    if len({(s.machine, s.hardware) for s in speeds if s and s.seconds}) == 1:
        yield "latency (ms)", [1e3 * s.seconds if s and s.seconds else math.nan for s in speeds]


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


def _title(place: str, means: Means, k: int) -> str:
    """ "set14 x2, 14 images": as many as most rows have."""
    count = max((len(mean.images) for row in means if (mean := row[k]) is not None), default=0)
    return f"{place}, {count} image{'s' * (count != 1)}"


def _values(means: Means, k: int) -> list[float]:
    return [math.nan if (mean := row[k]) is None else mean.value for row in means]


def _axis(column: Column) -> Axis:
    facts = metric(column.metric)
    unit = f" ({facts.unit})" if facts.unit else ""
    label = f"{column.title}{unit} {ARROWS[facts.direction]}"
    return Axis(label, facts.direction == "higher")
