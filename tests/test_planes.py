"""Methods between two quantities: what is drawn, and when it is not."""

import numpy as np

from bench.records.cell import Cell
from bench.records.speed import Speed
from bench.report.planes import Plane, cost_planes
from bench.report.rows import Row
from bench.report.scores import Column
from bench.report.stats import Mean
from bench.study.fields import Study

STUDY = Study.model_validate(
    {
        "name": "cost",
        "task": {"kind": "super-resolution", "scale": 2},
        "methods": {name: {"use": "methods.classical.Bicubic"} for name in "abc"},
        "evaluate": {"datasets": ["set5"], "metrics": ["psnr_y"], "efficiency": True},
    }
)


def planes(*speeds: dict[str, object], value: float = 30.0) -> list[Plane]:
    """Rows a, b, ... with a cost each; every one is a dB better than the one before."""
    rows, means = [], []
    for k, facts in enumerate(speeds):
        known = {"size": "256x256", "width": 256, "height": 256, "scale": 2, "machine": "here",
                 "device": "cpu", "hardware": "one", **facts}  # fmt: skip
        cell = Cell(
            study="cost", method="abc"[k], use="x", trial=None, seed=0, parameters={}, attempt=0,
            state="complete", fingerprint="f", efficiency=[Speed.model_validate(known)],
        )  # fmt: skip
        rows.append(Row("abc"[k], "abc"[k], (cell,)))
        scores = np.full((1, 5), value + k)
        images = {str(n): value + k for n in range(5)}
        means.append([Mean(value + k, float("nan"), 1, images, 5, scores)])
    column = Column("set5", 2, "psnr_y", "", "sr-y@1")
    return cost_planes(STUDY, rows, [column], means)


def test_a_method_without_multiply_adds_has_its_latency_beside_the_others() -> None:
    (plane,) = planes(
        {"seconds": 0.008}, {"seconds": 0.1, "multiply_adds": 10**9},
        {"seconds": 1.3, "multiply_adds": 10**10},
    )  # fmt: skip
    assert plane.x.label == "latency (ms) at 256x256 ↓" and plane.title == "set5 x2, 5 images"
    assert [(p.label, p.x, p.y) for p in plane.points] == [
        ("a", 8.0, 30.0), ("b", 100.0, 31.0), ("c", 1300.0, 32.0)]  # fmt: skip
    assert plane.front == (0, 1, 2)


def test_latencies_of_two_machines_are_not_put_side_by_side() -> None:
    counted = [{"seconds": 0.1, "multiply_adds": 10**9 * (k + 1)} for k in range(3)]
    assert [p.x.label for p in planes(*counted)] == [
        "multiply-adds (G) at 256x256 ↓", "latency (ms) at 256x256 ↓"]  # fmt: skip
    counted[1]["machine"] = "there"
    assert [p.x.label for p in planes(*counted)] == ["multiply-adds (G) at 256x256 ↓"]
