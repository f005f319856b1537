"""Differences by image, agreement of metrics and importance of parameters, by known answers."""

import random
from typing import Any

import numpy as np
import pytest

from bench.records.cell import Cell, Score
from bench.report.images import agreements, differences
from bench.report.importance import FEWEST, importances
from bench.report.means import means_of
from bench.report.planes import perception_planes
from bench.report.references import bibtex
from bench.report.rows import Row, choose_rows
from bench.report.scores import columns_of
from bench.study.fields import Study

Images = dict[str, float]


def make_study(methods: dict[str, Any], metrics: list[str], **more: Any) -> Study:
    return Study(
        name="s", task={"kind": "super-resolution", "scale": 2}, methods=methods,
        evaluate={"datasets": ["set5"], "metrics": metrics}, **more,
    )  # fmt: skip


def make_cell(method: str, scores: dict[str, Images], **more: Any) -> Cell:
    fields: dict[str, Any] = {
        "study": "s", "method": method, "use": "x", "trial": None, "seed": 0, "attempt": 0,
        "state": "complete", "parameters": {}, "fingerprint": "feed",
        "scores": [
            Score("set5", 2, image, name, "sr-y@1", value)
            for name, images in scores.items() for image, value in images.items()
        ],
    }  # fmt: skip
    return Cell(**(fields | more))


def table(scores: dict[str, dict[str, Images]]) -> Any:
    """Rows, columns and means of method -> metric -> image -> value."""
    metrics = list(next(iter(scores.values())))
    study = make_study({name: {"use": "x"} for name in scores}, metrics)
    cells = [make_cell(name, of) for name, of in scores.items()]
    rows: list[Row] = choose_rows(study, cells)[0]
    columns = columns_of(study, cells)
    return rows, columns, means_of(rows, columns)


def test_a_difference_is_the_method_less_the_best_on_the_same_image() -> None:
    (one,) = differences(*table({
        "good": {"psnr_y": {"a": 30.0, "b": 40.0}}, "other": {"psnr_y": {"a": 31.0, "b": 36.0}},
    }))  # fmt: skip
    assert one.best == "good" and [row.label for row in one.rows] == ["other"]
    assert np.allclose(one.rows[0].values, [1, -4])
    assert one.rows[0].interval is None, "two images have no bootstrap"


def test_where_less_is_better_right_is_still_better() -> None:
    (one,) = differences(*table({
        "good": {"lpips": {"a": 0.1, "b": 0.2}}, "other": {"lpips": {"a": 0.4, "b": 0.1}},
    }))  # fmt: skip
    assert one.best == "good" and np.allclose(one.rows[0].values, [-0.3, 0.1])


def test_a_method_that_lacks_an_image_has_no_line() -> None:
    found = differences(*table({
        "good": {"psnr_y": {"a": 30.0, "b": 40.0}}, "other": {"psnr_y": {"a": 31.0}},
    }))  # fmt: skip
    assert found == []


def test_agreement_is_spearmans_correlation_over_methods_worked_by_hand() -> None:
    """On image a both metrics order the three methods alike; on b LPIPS swaps the last two, so
    1 - 6 (0 + 1 + 1) / (3 (9 - 1)) = 0.5. The mean is 0.75, and b is where they part."""
    _, columns, means = table({
        "first": {"psnr_y": {"a": 33.0, "b": 33.0}, "lpips": {"a": 0.1, "b": 0.1}},
        "second": {"psnr_y": {"a": 32.0, "b": 32.0}, "lpips": {"a": 0.2, "b": 0.3}},
        "third": {"psnr_y": {"a": 31.0, "b": 31.0}, "lpips": {"a": 0.3, "b": 0.2}},
    })  # fmt: skip
    (one,) = agreements(columns, means)
    assert (one.images, one.methods) == (2, 3)
    assert np.allclose(one.correlation, [[1, 0.75], [0.75, 1]])
    assert [column.metric for column in one.apart] == ["psnr_y", "lpips"]
    assert [(image, pytest.approx(value)) for image, value in one.worst] == [("b", 0.5), ("a", 1)]


def test_two_methods_have_no_rank_correlation() -> None:
    of = {"psnr_y": {"a": 33.0, "b": 32.0}, "lpips": {"a": 0.1, "b": 0.1}}
    _, columns, means = table({"first": of, "second": of})
    assert agreements(columns, means) == []


def test_the_front_of_perception_and_distortion_is_worked_by_hand() -> None:
    """PSNR up, LPIPS down: "worse" is beaten by "sharp" in both, the two others by nobody."""
    rows, columns, means = table({
        "smooth": {"psnr_y": {"a": 30.0}, "lpips": {"a": 0.4}},
        "sharp": {"psnr_y": {"a": 28.0}, "lpips": {"a": 0.1}},
        "worse": {"psnr_y": {"a": 27.0}, "lpips": {"a": 0.2}},
    })  # fmt: skip
    (plane,) = perception_planes(rows, columns, means)
    assert (plane.x.more, plane.y.more) == (True, False)
    assert [plane.points[k].label for k in plane.front] == ["sharp", "smooth"]
    assert perception_planes(rows[:2], columns, means[:2]) == []


def test_each_method_and_set_is_cited_once() -> None:
    uses = ("methods.srcnn.SRCNN", "methods.classical.Bilinear", "methods.cas_gan.CASGAN")
    study = make_study(
        {f"m{k}": {"use": use} for k, use in enumerate((*uses, uses[0]))}, ["psnr_y"]
    )
    text = bibtex(study)
    assert text.count("@") == 3, "SRCNN, CAS-GAN and Set5; Bilinear is nobody's"
    assert "author = {Liu and Gao and Wu}," in text and "author = {Dong and others}," in text
    assert "@inproceedings{bevilacqua2012low," in text and "booktitle = {BMVC}," in text
    assert "year = {2020}," in text


def swept(count: int, objective: Any) -> tuple[Study, list[Cell]]:
    study = make_study(
        {"m": {"use": "x", "a": {"float": [0.0, 1.0]}, "b": {"float": [0.0, 1.0]}}}, ["psnr_y"],
        select={"dataset": "set14", "maximize": ["psnr_y"]}, budget={"trials": count},
    )  # fmt: skip
    draw = random.Random(1)
    points = [{"a": draw.random(), "b": draw.random()} for _ in range(count)]
    return study, [
        make_cell("m", {}, trial=k, swept=point, objectives={"psnr_y": objective(**point)})
        for k, point in enumerate(points)
    ]


def test_a_parameter_that_alone_decides_has_nearly_all_importance() -> None:
    (one,) = importances(*swept(40, lambda a, b: 10 * b))
    assert [*one.shares] == ["b", "a"] and one.shares["b"] > 0.95
    assert one.trials == 40 and sum(one.shares.values()) == pytest.approx(1)


def test_three_times_the_slope_has_nine_times_the_variance() -> None:
    (one,) = importances(*swept(200, lambda a, b: 3 * a + b))
    assert one.shares["a"] == pytest.approx(0.9, abs=0.05)


def test_few_trials_or_an_objective_that_never_moves_have_none() -> None:
    assert importances(*swept(FEWEST - 1, lambda a, b: a)) == []
    assert importances(*swept(FEWEST, lambda a, b: 1.0)) == []
