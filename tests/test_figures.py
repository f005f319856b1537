"""What the figures show: which pictures in which order, which values of which trainings."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.measure.metrics import METRICS
from bench.records.cell import Cell, Score, TrainedStage, load_losses
from bench.report.curves import choose_trainings, make_curves, moving_average, thin
from bench.report.figures import draw_figures
from bench.report.figures.crops import draw_strip
from bench.report.provenance import sections
from bench.report.render import render
from bench.report.rows import Row, choose_rows
from bench.report.scores import columns_of
from bench.report.series import make_responses, make_trials
from bench.report.strip import Strip, arrange, choose_window, make_strip, score_columns, thumbnail
from bench.study.fields import Study

SIDE = 96


def make_study(methods: Mapping[str, Iterable[float]], **changes: Any) -> Study:
    """Method -> the grid of its `stages`; empty: a method without ranges."""
    fields: dict[str, Any] = {
        "name": "steps",
        "task": {"kind": "enhancement", "scale": 1, "degradation": "none"},
        "methods": {
            name: {"use": "x", **({"stages": {"grid": list(grid)}} if grid else {})}
            for name, grid in methods.items()
        },
        "evaluate": {"datasets": ["set5"], "metrics": ["viqet", "difference"]},
        "budget": {"sampler": "grid"},
    }
    return Study(**(fields | changes))


def make_cell(method: str, trial: int | None = None, seed: int = 0, **changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "study": "steps", "method": method, "use": "x", "trial": trial, "seed": seed,
        "attempt": 0, "state": "complete", "parameters": {}, "fingerprint": "feed",
        "scores": [Score("set5", 1, "a", "difference", "full@1", 1.0 + (trial or 0))],
    }  # fmt: skip
    return Cell(**(fields | changes))


def grid_cells(method: str, grid: Iterable[float]) -> list[Cell]:
    return [make_cell(method, k, swept={"stages": value}) for k, value in enumerate(grid)]


def make_stage(name: str, key: str, steps: int = 40) -> TrainedStage:
    return TrainedStage(name=name, key=key, steps=steps, parameters=1, seconds=1.0, reused=False,
                        precision="fp32", device="cpu")  # fmt: skip


def row_of(method: str, *cells: Cell) -> Row:
    return Row(method, cells[0].label, cells)


def write_flat(folder: Path, name: str, colour: tuple[int, int, int]) -> None:
    path = folder / name / "set5" / "a.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), colour).save(path)


def strip_of(study: Study, cells: list[Cell], pictures: Path) -> Strip:
    (told,) = score_columns(study, columns_of(study, cells))
    strip = make_strip(study, choose_rows(study, cells)[0], told, pictures)
    assert isinstance(strip, Strip), strip
    return strip


def middle(picture: Path, colour: tuple[int, int, int], head: int = 60) -> tuple[float, float]:
    """Mean x and y of a colour's pixels below the heading."""
    with Image.open(picture) as file:
        pixels = np.asarray(file.convert("RGB"))[head:]
    down, across = np.nonzero((pixels == colour).all(axis=2))
    assert len(down), f"{colour} is not there"
    return float(across.mean()), float(down.mean())


# Lines of a strip


def test_without_a_selection_each_swept_method_is_a_line_in_the_order_of_its_parameter() -> None:
    study = make_study({"original": (), "usm": (4, 1, 2), "rts": (1, 2)})
    cells = [make_cell("original"), *grid_cells("usm", (4, 1, 2)), *grid_cells("rts", (1, 2))]
    lines, left_out = arrange(study, choose_rows(study, cells)[0])
    assert [(line.name, [row.cells[0].trial for row in line.rows]) for line in lines] == [
        ("", [None]), ("usm", [1, 2, 0]), ("rts", [0, 1]),
    ]  # fmt: skip
    assert left_out == []


def test_a_line_has_eight_trials_with_both_ends_and_says_how_many_more_there_are() -> None:
    study = make_study({"usm": range(1, 16)})
    lines, left_out = arrange(study, choose_rows(study, grid_cells("usm", range(1, 16)))[0])
    assert [row.cells[0].swept["stages"] for row in lines[0].rows] == [1, 3, 5, 7, 9, 11, 13, 15]
    assert left_out == ["usm: 7 of its 15 trials"]


def test_an_eighth_swept_method_is_named_as_left_out() -> None:
    names = [f"m{k}" for k in range(8)]
    study = make_study(dict.fromkeys(names, (1, 2)))
    cells = [cell for name in names for cell in grid_cells(name, (1, 2))]
    lines, left_out = arrange(study, choose_rows(study, cells)[0])
    assert [line.name for line in lines] == names[:7]
    assert left_out == ["m7: more than 7 swept methods"]


@pytest.mark.parametrize(
    "changes",
    [
        {"select": {"dataset": "photos_val", "minimize": ["difference"]}},
        {"methods": {"usm": {"use": "x", "stages": {"grid": [1, 2]}, "radius": {"grid": [1, 2]}}}},
        {"methods": {"usm": {"use": "x", "network": {"grid": ["a", "b"]}}}},
        {"budget": {"sampler": "random", "trials": 2}},
    ],
)
def test_a_selection_a_second_parameter_words_and_chance_make_no_lines(changes: Any) -> None:
    study = Study(**(make_study({"usm": (1, 2)}).model_dump() | changes))
    lines, _ = arrange(study, choose_rows(study, grid_cells("usm", (1, 2)))[0])
    assert [line.name for line in lines] == [""]


def test_a_strip_without_lines_ends_after_eighteen_rows_and_says_so() -> None:
    rows = [row_of("usm", make_cell("usm", k)) for k in range(20)]
    study = make_study({"usm": (1,)}, budget={"sampler": "random", "trials": 20})
    lines, left_out = arrange(study, rows)
    assert lines[0].rows == tuple(rows[:18])
    assert left_out == ["the last 2 of the table's 20 rows"]


# A strip's pictures

GRAYS = {"reference": 10, "bicubic-s0": 30}
GRAYS |= {"usm-t000-s0": 90, "usm-t001-s0": 60, "usm-t002-s0": 120}


def test_the_crops_of_a_line_are_the_trials_pictures_with_parameter_and_scores(
    tmp_path: Path,
) -> None:
    for name, gray in GRAYS.items():
        write_flat(tmp_path, name, (gray, gray, gray))
    study = make_study({"bicubic": (), "usm": (4, 1, 2)})
    scores = [Score("set5", 1, "a", "difference", "full@1", 2.5),
              Score("set5", 1, "a", "viqet", "full@1", 3.25)]  # fmt: skip
    cells = [make_cell("bicubic"), *grid_cells("usm", (4, 1, 2))]
    cells = [cell.model_copy(update={"scores": scores}) for cell in cells]
    strip = strip_of(study, cells, tmp_path)
    found = [
        (name, [(crop.title, int(crop.window[0, 0, 0])) for crop in crops])
        for name, crops in strip.lines
    ]
    assert found == [
        ("", [("bicubic", 30)]),
        ("usm", [("stages 1", 60), ("stages 2", 120), ("stages 4", 90)]),
    ]
    assert strip.lines[1][1][0].scores == ("difference 2.50", "viqet 3.250")
    assert (strip.hr.title, int(strip.hr.window[0, 0, 0])) == ("HR", 10)


def test_a_picture_equal_to_hr_is_not_shown_twice(tmp_path: Path) -> None:
    for name, gray in (GRAYS | {"bicubic-s0": 10}).items():
        write_flat(tmp_path, name, (gray, gray, gray))
    study = make_study({"bicubic": (), "usm": (4, 1, 2)})
    strip = strip_of(study, [make_cell("bicubic"), *grid_cells("usm", (4, 1, 2))], tmp_path)
    assert [name for name, _ in strip.lines] == ["usm"]
    assert strip.absent == ("bicubic: the same picture as HR",)


def test_two_trials_of_one_method_are_a_pair_beside_the_others() -> None:
    study = make_study({"bicubic": (), "usm": (4, 1)})
    cells = [make_cell("bicubic"), *grid_cells("usm", (4, 1))]
    lines, left_out = arrange(study, choose_rows(study, cells)[0])
    assert [line.name for line in lines] == [""] and len(lines[0].rows) == 3 and left_out == []


def test_psnr_comes_first_and_a_metric_without_reference_last() -> None:
    metrics = ["niqe", "ssim_y", "lpips", "psnr_y"]
    cell = make_cell("bicubic", scores=[Score("set5", 2, "a", m, "sr-y@1", 1.0) for m in metrics])
    study = make_study({"bicubic": ()}, evaluate={"datasets": ["set5"], "metrics": metrics})
    (told,) = score_columns(study, columns_of(study, [cell]))
    assert [column.metric for column in told] == ["psnr_y", "ssim_y"]
    study = make_study({"bicubic": ()}, evaluate={"datasets": ["set5"], "metrics": metrics[:2]})
    (told,) = score_columns(study, columns_of(study, [cell]))
    assert [column.metric for column in told] == ["ssim_y", "niqe"]


def test_the_window_is_that_of_the_standard_deviation_taken_at_once() -> None:
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 256, (30, 40, 3), np.uint8) for _ in range(5)]
    luma = np.stack([p @ np.array([0.299, 0.587, 0.114]) for p in pictures]).std(axis=0)
    sums = {
        (top, left): luma[top : top + 8, left : left + 8].sum()
        for top in range(23) for left in range(33)
    }  # fmt: skip
    assert choose_window(pictures, size=8) == max(sums, key=sums.__getitem__)


def test_a_thumbnail_is_the_mean_over_areas_and_never_larger_than_the_picture() -> None:
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[:, :2] = 200
    picture[0, 2:] = 100
    assert thumbnail(picture, 2)[:, :, 0].tolist() == [[200, 50]]
    assert thumbnail(picture, 9) is picture


# Drawn strips

RED, GREEN, BLUE, HR = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0)


def test_few_methods_stand_side_by_side_in_the_order_of_the_table_and_hr_last(
    tmp_path: Path,
) -> None:
    study = make_study({"one": (), "two": (), "three": ()})
    for name, colour in {"reference": HR, "one-s0": RED, "two-s0": GREEN, "three-s0": BLUE}.items():
        write_flat(tmp_path, name, colour)
    strip = strip_of(study, [make_cell(name) for name in study.methods], tmp_path)
    draw_strip(strip, tmp_path / "strip.png", "")
    across, down = zip(*(middle(tmp_path / "strip.png", c) for c in (RED, GREEN, BLUE, HR)),
                       strict=True)  # fmt: skip
    assert list(across) == sorted(across)
    assert np.ptp(down) < 2
    assert np.ptp(np.diff(across)) < 2  # columns of equal width


def test_lines_of_a_grid_lie_below_each_other_and_go_from_left_to_right(tmp_path: Path) -> None:
    study = make_study({"usm": (2, 1), "rts": (1, 2)})
    colours = {"reference": HR, "usm-t000-s0": GREEN, "usm-t001-s0": RED,
               "rts-t000-s0": BLUE, "rts-t001-s0": (0, 150, 150)}  # fmt: skip
    for name, colour in colours.items():
        write_flat(tmp_path, name, colour)
    cells = [*grid_cells("usm", (2, 1)), *grid_cells("rts", (1, 2))]
    draw_strip(strip_of(study, cells, tmp_path), tmp_path / "strip.png", "")
    red, green, blue, last = (
        middle(tmp_path / "strip.png", c) for c in (RED, GREEN, BLUE, (0, 150, 150))
    )
    assert red[0] == pytest.approx(blue[0], abs=2) and green[0] == pytest.approx(last[0], abs=2)
    assert red[1] == pytest.approx(green[1], abs=2) and blue[1] == pytest.approx(last[1], abs=2)
    assert red[0] < green[0] and red[1] < blue[1]


# Curves


def test_a_moving_average_is_the_mean_of_the_last_values_that_there_are() -> None:
    values = np.array([1, 2, 6, math.nan, 4, math.nan, math.nan, math.nan], np.float32)
    found = moving_average(values, 3)
    assert np.isnan(found[:2]).all()
    assert found[2:7].tolist() == [3, 4, 5, 4, 4]  # (1+2+6)/3, (2+6)/2, (6+4)/2, 4, 4
    assert np.isnan(found[7])


def test_thinning_keeps_every_spike_at_its_own_update() -> None:
    values = np.sin(np.arange(10_000, dtype=np.float32))
    values[[123, 4567]] = 9, -9
    values[8000:9000] = np.nan
    at, kept = thin(values, 100)
    assert len(at) <= 200 and (np.diff(at) > 0).all()
    assert kept[at == 123] == 9 and kept[at == 4567] == -9
    assert np.array_equal(kept, values[at])
    assert len(thin(values[:200], 100)[0]) == 200


def test_a_trial_whose_stages_begin_another_s_has_no_line_of_its_own() -> None:
    stages = [make_stage(f"sr{n}", f"key{n}") for n in range(3)]
    rows = [row_of("rts", make_cell("rts", n, stages=stages[: n + 1])) for n in range(3)]
    cells, left_out = choose_trainings(rows)
    assert [cell.trial for cell in cells] == [2]
    assert left_out == ["2 of 3 trials, whose stages are all in another's"]


def test_six_lines_are_all_seeds_or_else_the_first_seed_of_six_trials() -> None:
    def rows(trials: int) -> list[Row]:
        return [
            row_of("m", *(make_cell("m", t, s, stages=[make_stage("sr", f"{t}{s}")])
                          for s in (0, 1)))
            for t in range(trials)
        ]  # fmt: skip

    cells, left_out = choose_trainings(rows(3))
    assert [(c.trial, c.seed) for c in cells] == [(t, s) for t in range(3) for s in (0, 1)]
    assert left_out == []
    cells, left_out = choose_trainings(rows(8))
    assert [(c.trial, c.seed) for c in cells] == [(t, 0) for t in range(6)]
    assert left_out == ["the last 2 of 8 trials", "seeds but the first"]


def test_nothing_is_read_of_what_is_not_shown_and_nothing_twice() -> None:
    read: list[str] = []

    def load(key: str) -> dict[str, np.ndarray]:
        read.append(key)
        return {"loss": np.ones(40, np.float32)}

    rows = [
        row_of(f"m{m}", make_cell(f"m{m}", t, stages=[make_stage("shared", "s"),
                                                      make_stage("own", f"{m}.{t}")]))
        for m in range(10) for t in range(8)
    ]  # fmt: skip
    figures, absent = make_curves([*rows, row_of("bicubic", make_cell("bicubic"))], load)
    assert [figure.method for figure in figures] == [f"m{m}" for m in range(8)]
    assert read == [key for m in range(8) for key in ("s", *(f"{m}.{t}" for t in range(6)))]
    assert absent == ["curves of m8, m9: only 8 methods have a figure."]


def test_stages_with_the_same_losses_follow_each_other_and_others_stand_apart() -> None:
    kept = {
        "a": {"loss": np.full(40, 1, np.float32)},
        "b": {"loss": np.full(60, 2, np.float32)},
        "c": {"loss": np.full(20, 3, np.float32), "psnr": np.full(20, 30, np.float32)},
    }
    stages = [make_stage("sr1", "a", 40), make_stage("sr2", "b", 60), make_stage("gan", "c", 20)]
    row = row_of("m", make_cell("m", stages=stages))
    ((figure,), _) = make_curves([row], kept.__getitem__)
    assert [(p.loss, p.stages, p.ends) for p in figure.panels] == [
        ("loss", ("sr1", "sr2"), (40, 100)), ("loss", ("gan",), (20,)), ("psnr", ("gan",), (20,)),
    ]  # fmt: skip
    first, second = figure.panels[0].curves
    assert first.raw[0].tolist() == list(range(1, 41)) and set(first.raw[1]) == {1}
    assert second.raw[0].tolist() == list(range(41, 101)) and set(second.raw[1]) == {2}
    assert second.mean[0][0] == 43  # the average begins anew, over 60 / 20 updates
    assert figure.windows == (1, 2, 3)


def test_a_stage_that_trainings_share_is_one_curve() -> None:
    rows = [
        row_of("m", make_cell("m", t, stages=[make_stage("first", "s"), make_stage("own", str(t))]))
        for t in range(3)
    ]
    losses = {"s": {"emd": np.ones(40, np.float32)}}
    ((figure,), _) = make_curves(
        rows, lambda key: losses.get(key, {"loss": np.ones(40, np.float32)})
    )
    assert [(p.loss, [c.line for c in p.curves]) for p in figure.panels] == [
        ("emd", [0]), ("loss", [0, 1, 2]),
    ]  # fmt: skip


def test_losses_that_are_not_in_the_store_are_told() -> None:
    here = row_of("m", make_cell("m", 0, stages=[make_stage("sr", "here")]))
    gone = row_of("m", make_cell("m", 1, stages=[make_stage("sr", "gone")]))
    kept = {"here": {"loss": np.ones(40, np.float32)}}
    figures, absent = make_curves([here, gone], lambda key: kept.get(key, {}))
    assert figures[0].lines == ("t000, seed 0",) and absent == []
    assert figures[0].left_out == ("t001, seed 0: losses not in this store",)
    figures, absent = make_curves([gone], load_losses)
    assert figures == []
    assert absent[0].startswith("curves of m: the losses of stage sr are not in this store")


# The whole report


def test_a_grid_without_selection_gets_response_strip_and_curves(
    tmp_path: Path, bench_home: Path
) -> None:
    study = make_study({"original": (), "rts": (1, 2, 3)})
    cells = [make_cell("original")]
    write_flat(tmp_path / "pictures", "reference", HR)
    write_flat(tmp_path / "pictures", "original-s0", HR)
    for k, colour in enumerate((RED, GREEN, BLUE)):
        stages = [make_stage(f"sr{n + 1}", f"k{n}") for n in range(k + 1)]
        cells.append(make_cell("rts", k, swept={"stages": k + 1}, stages=stages))
        write_flat(tmp_path / "pictures", cells[-1].file_name, colour)
        folder = bench_home / "store" / "stages" / f"k{k}"
        folder.mkdir(parents=True)
        np.savez(folder / "losses.npz", loss=np.geomspace(1, 0.1, 40, dtype=np.float32))
    written = render(study, cells, tmp_path / "pictures", tmp_path / "out", formats=("md",))
    names = ["response-stages", "strip-set5", "curves-rts"]
    assert [*written] == [*(f"figures/{name}.png" for name in names), "table.md"]
    for name in names:
        with Image.open(written[f"figures/{name}.png"]) as file:
            assert min(file.size) > 100 and np.asarray(file.convert("L")).std() > 5
    text = written["table.md"].read_text()
    papers = render(study, cells, tmp_path / "pictures", tmp_path / "out", formats=("pdf",))
    assert [n for n in papers if n.endswith(".pdf")] == [f"figures/{name}.pdf" for name in names]
    assert all(p.read_bytes()[:5] == b"%PDF-" for n, p in papers.items() if n.endswith(".pdf"))
    assert "Left out: original: the same picture as HR." in text
    assert "2 of 3 trials, whose stages are all in another's" in text
    assert "over the last 2 updates" in text


def test_viqet_its_features_and_the_difference_on_two_sets_are_all_in_the_response() -> None:
    metrics = ["difference", "viqet", *(name for name in METRICS if name.startswith("viqet."))]
    places = ["urban100", "ost300"]
    study = make_study({"usm": (1, 2)}, evaluate={"datasets": places, "metrics": metrics})
    scores = [Score(place, 1, "a", name, "full@1", 1.0) for place in places for name in metrics]
    cells = [cell.model_copy(update={"scores": scores}) for cell in grid_cells("usm", (1, 2))]
    (response,) = make_responses(study, make_trials(study, cells), columns_of(study, cells))
    assert (len(response.panels), response.left_out) == (2 * len(metrics), 0)


def test_a_parameter_without_any_number_has_no_figure(tmp_path: Path) -> None:
    study = make_study({"usm": (1, 2)})
    cells = [cell.model_copy(update={"scores": []}) for cell in grid_cells("usm", (1, 2))]
    rows, _ = choose_rows(study, cells)
    figures, _ = draw_figures(study, cells, rows, columns_of(study, cells), [], tmp_path)
    assert not [figure for figure in figures if "response" in figure.path.name]


def test_a_score_that_there_is_not_is_a_dash_in_a_strip_and_in_an_examination(
    tmp_path: Path,
) -> None:
    study = make_study({"a": (), "b": ()})
    stage = make_stage("sr", "k").model_copy(update={"examined": {"k": math.nan, "rule": "go on"}})
    scores = [Score("set5", 1, "a", "difference", "full@1", 1.0),
              Score("set5", 1, "a", "viqet", "full@1", math.nan, "too small")]  # fmt: skip
    cells = [make_cell(name, scores=scores, stages=[stage]) for name in "ab"]
    for name, colour in (("reference", HR), ("a-s0", RED), ("b-s0", GREEN)):
        write_flat(tmp_path, name, colour)
    strip = strip_of(study, cells, tmp_path)
    assert {score.partition(" ")[2] for score in strip.lines[0][1][0].scores} == {
        "1.00",
        "\N{EM DASH}",
    }
    (trained,) = [
        section
        for section in sections(study, cells, choose_rows(study, cells)[0])
        if section.heading.startswith("Stages")
    ]
    assert trained.rows[0][-1] == "k \N{EM DASH}, rule go on"


def test_a_damaged_picture_is_a_reason(tmp_path: Path) -> None:
    study, cells = make_study({"a": (), "b": ()}), [make_cell("a"), make_cell("b")]
    for name, colour in (("reference", HR), ("a-s0", RED), ("b-s0", GREEN)):
        write_flat(tmp_path, name, colour)
    broken = tmp_path / "a-s0" / "set5" / "a.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert strip_of(study, cells, tmp_path).absent == (f"a: {broken} is damaged",)
    original = tmp_path / "reference" / "set5" / "a.png"
    original.write_bytes(b"")
    rows, columns = choose_rows(study, cells)[0], columns_of(study, cells)
    (told,) = score_columns(study, columns)
    assert make_strip(study, rows, told, tmp_path) == f"strip of set5: {original} is damaged."
