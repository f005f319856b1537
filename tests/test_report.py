"""The report says what its records say: means, fronts and marks worked out by hand."""

import base64
import csv
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet

from bench.errors import BenchError
from bench.records.cell import Cell, Score, TrainedStage, UsedDataset
from bench.report.labels import place_labels
from bench.report.latex import to_latex, to_siunitx
from bench.report.markup import Report, to_markdown
from bench.report.page.html import to_html
from bench.report.provenance import remarks, tiny_runs
from bench.report.render import render
from bench.report.rows import Row, choose_rows
from bench.report.scores import Column, columns_of
from bench.report.series import make_responses, make_trials
from bench.report.stats import (
    evenly_spaced,
    mean_over_seeds,
    pareto_front,
    ranks,
)
from bench.report.strip import choose_image, choose_window
from bench.report.tables import Table, make_tables
from bench.study.fields import Study

PSNR = {"a": 30.0, "b": 32.0}
STAGE = TrainedStage(
    name="fidelity", key="k", steps=300, parameters=10, seconds=1.0, reused=False,
    precision="bf16", device="cpu",
)  # fmt: skip


def make_study(**changes: Any) -> Study:
    fields: dict[str, Any] = {
        "name": "gamma",
        "task": {"kind": "super-resolution", "scale": 2},
        "methods": {
            "bicubic": {"use": "methods.classical.Bicubic"},
            "edsr": {"use": "methods.nima_sr.EDSR", "gamma": {"float": [0.0, 1.0]}},
        },
        "select": {"dataset": "photos_val", "maximize": ["psnr_y", "nima"]},
        "evaluate": {"datasets": ["set5"], "metrics": ["psnr_y", "niqe"]},
        "budget": {"trials": 3},
        "header": "Does it cost fidelity?",
    }
    return Study(**(fields | changes))


def make_cell(
    method: str = "bicubic",
    trial: int | None = None,
    seed: int = 0,
    scores: dict[str, dict[str, float]] | None = None,
    dataset: str = "set5",
    **changes: Any,
) -> Cell:
    """A complete record; scores: metric -> image -> value."""
    rows = [
        Score(dataset, 2, image, metric, "sr-y@1", value)
        for metric, images in ({"psnr_y": PSNR} if scores is None else scores).items()
        for image, value in images.items()
    ]
    fields: dict[str, Any] = {
        "study": "gamma", "method": method, "use": "x", "trial": trial, "seed": seed,
        "attempt": 0, "state": "complete", "parameters": {}, "scores": rows, "fingerprint": "feed",
        "datasets": {
            dataset: UsedDataset(fingerprint="c0ffee", count=5, official=5, source="published")
        },
        "run_id": f"run-{method}-{trial}-{seed}", "started": "2026-05-04T10:00:00Z",
        "environment": {"commit": "0123456789abcdef", "tree": "clean"},
    }  # fmt: skip
    return Cell(**(fields | changes))


def swept(trial: int, gamma: float, *objectives: float, seed: int = 0, **changes: Any) -> Cell:
    names = ("psnr_y", "nima")[: len(objectives)]
    found = dict(zip(names, objectives, strict=True))
    return make_cell("edsr", trial, seed, swept={"gamma": gamma}, objectives=found, **changes)


def tables_of(study: Study, cells: list[Cell]) -> list[Table]:
    return make_tables(study, cells, choose_rows(study, cells)[0], columns_of(study, cells))


def entries(table: Table, k: int) -> list[str]:
    """The k-th column's values, best in <>, second in ()."""
    around = {0: "{}{}", 1: "<{}>{}", 2: "({}){}"}
    return [around[e.place].format(e.value, e.mark) for e in (row[k] for _, row in table.rows)]


def report_of(study: Study, cells: list[Cell]) -> Report:
    rows, cuts = choose_rows(study, cells)
    notes = [*remarks(study, cells, rows), *cuts]
    return Report(study.name, study.header, notes, tables_of(study, cells), [], [], [])


# Statistics


def test_a_mean_is_taken_over_images_first_and_then_over_seeds() -> None:
    mean = mean_over_seeds({0: {"a": 30.0, "b": 32.0}, 1: {"a": 31.0, "b": 33.0}})
    assert mean.value == 31.5
    assert mean.spread == pytest.approx(math.sqrt(0.5))  # sample deviation of 31 and 32
    assert mean.images == {"a": 30.5, "b": 32.5}


def test_one_seed_has_no_spread() -> None:
    assert math.isnan(mean_over_seeds({0: PSNR}).spread)


def test_an_image_missing_under_one_seed_is_left_out_under_all() -> None:
    mean = mean_over_seeds({0: {"a": 30.0, "b": math.nan}, 1: {"a": 31.0, "b": 99.0}})
    assert (mean.value, set(mean.images), mean.total) == (30.5, {"a"}, 2)


def test_an_infinite_psnr_makes_the_mean_infinite_without_a_spread() -> None:
    mean = mean_over_seeds({0: {"a": math.inf, "b": 30.0}, 1: {"a": math.inf, "b": 31.0}})
    assert mean.value == math.inf and math.isnan(mean.spread)


def test_the_front_holds_what_nothing_dominates() -> None:
    points = [(1, 5), (2, 4), (2, 3), (3, 1), (0, 0), (math.nan, 9)]
    assert pareto_front(points, [True, True]) == [0, 1, 3]
    assert pareto_front(points, [True, False]) == [4, 3]
    assert pareto_front([(1.0, 1.0), (1.0, 1.0)], [True, True]) == [0, 1]
    assert pareto_front([], [True]) == []


def test_thinning_a_front_keeps_its_ends() -> None:
    assert evenly_spaced(3, 5) == [0, 1, 2]
    assert evenly_spaced(21, 5) == [0, 5, 10, 15, 20]


def test_values_that_print_alike_share_a_place_and_two_firsts_leave_no_second() -> None:
    assert ranks([30.1, 30.2, None, 30.0], True) == [2, 1, 0, 0]
    assert ranks([5.0, 4.0, 4.5, 4.5], False) == [0, 1, 2, 2]
    assert ranks([3.0, 3.0, 1.0], True) == [1, 1, 0]
    assert ranks([3.0, 3.0], True) == [0, 0]
    assert ranks([3.0], True) == [0]


# Rows


def test_one_objective_shows_the_best_trial_by_its_mean_over_seeds() -> None:
    study = make_study(select={"dataset": "photos_val", "maximize": ["psnr_y"]})
    cells = [swept(0, 0.1, 31.0), swept(0, 0.1, 31.0, seed=1),
             swept(1, 0.9, 33.0), swept(1, 0.9, 30.0, seed=1)]  # fmt: skip
    rows, _ = choose_rows(study, [make_cell(), *cells])
    assert [row.label for row in rows] == ["bicubic", "edsr t001 (gamma 0.9)"]


def test_a_minimized_objective_shows_the_smallest() -> None:
    study = make_study(select={"dataset": "photos_val", "minimize": ["psnr_y"]})
    rows, _ = choose_rows(study, [swept(0, 0.1, 31.0), swept(1, 0.9, 30.0)])
    assert rows[1].label == "edsr t001 (gamma 0.9)"


def test_two_objectives_show_the_pareto_optimal_trials() -> None:
    cells = [swept(0, 0.0, 31.0, 4.0), swept(1, 0.5, 30.0, 5.0), swept(2, 0.7, 29.0, 4.5)]
    rows, cuts = choose_rows(make_study(), cells)
    assert [row.label for row in rows[1:]] == ["edsr t001 (gamma 0.5)", "edsr t000 (gamma 0)"]
    assert cuts == ["bicubic: no finished record yet."]


def test_of_nine_optimal_trials_five_are_shown_and_the_rest_is_mentioned() -> None:
    cells = [swept(t, t / 10, 30.0 + t, 5.0 - t / 10) for t in range(9)]
    rows, cuts = choose_rows(make_study(), [make_cell(), *cells])
    assert [row.cells[0].trial for row in rows[1:]] == [0, 2, 4, 6, 8]
    assert cuts[0].startswith("edsr: 9 trials are Pareto-optimal in psnr_y and nima; 5 are shown")


def test_a_trial_with_fewer_seeds_does_not_compete() -> None:
    study = make_study(select={"dataset": "photos_val", "maximize": ["psnr_y"]})
    cells = [swept(0, 0.1, 31.0), swept(0, 0.1, 31.0, seed=1), swept(1, 0.9, 40.0)]
    rows, cuts = choose_rows(study, [make_cell(), *cells])
    assert rows[1].cells[0].trial == 0
    assert cuts == ["edsr: finished trials with fewer than 2 seeds do not compete for the table: "
                    "1 of 2."]  # fmt: skip


def test_without_objectives_every_trial_is_a_row() -> None:
    rows, _ = choose_rows(make_study(select=None), [swept(0, 0.1), swept(1, 0.2)])
    assert len(rows) == 3


# Tables


def test_the_best_is_marked_by_the_direction_of_its_metric() -> None:
    cells = [
        make_cell(scores={"psnr_y": {"a": 30.0}, "niqe": {"a": 5.0}}),
        swept(0, 0.1, 30.0, 5.0, scores={"psnr_y": {"a": 29.0}, "niqe": {"a": 4.0}}),
        swept(1, 0.2, 31.0, 4.0, scores={"psnr_y": {"a": 28.0}, "niqe": {"a": 6.0}}),
    ]
    (table,) = tables_of(make_study(), cells)
    assert table.groups == (("set5 x2", ("PSNR-Y ↑ (dB)", "NIQE ↓")),)
    assert entries(table, 0) == ["<30.00>", "(29.00)≈", "28.00≈"]  # by one image
    assert entries(table, 1) == ["(5.000)≈", "<4.000>", "6.000≈"]


def test_a_value_over_fewer_images_is_starred_and_not_ranked() -> None:
    cells = [
        make_cell(scores={"psnr_y": {"a": 30.0, "b": 20.0}}),
        swept(0, 0.1, 1.0, 2.0, scores={"psnr_y": {"a": 31.0, "b": math.nan}}),
        swept(1, 0.2, 2.0, 1.0, scores={"psnr_y": {"a": 28.0, "b": 20.0}}),
    ]
    (table,) = tables_of(make_study(), cells)
    assert entries(table, 0) == ["<25.00>", "31.00*", "(24.00)≈"]
    assert any("mean over 1 of 2 images, so not ranked" in note for note in table.notes)


def test_an_image_that_no_method_has_is_counted() -> None:
    cells = [make_cell(scores={"psnr_y": {"a": 30.0, "b": math.nan}})]
    (table,) = tables_of(make_study(), cells)
    assert "set5 x2 PSNR-Y: 1 of 2 images have no value." in table.notes


def test_an_infinite_value_is_explained() -> None:
    (table,) = tables_of(make_study(), [make_cell(scores={"psnr_y": {"a": math.inf, "b": 30.0}})])
    assert entries(table, 0)[0] == "∞"
    assert any("1 of 2 images are equal to HR" in note for note in table.notes)


def test_an_unavailable_metric_is_a_dash_with_its_reason() -> None:
    cell = make_cell(
        unavailable={"niqe": "no weights"},
        scores={},
    ).model_copy(
        update={"scores": [Score("set5", 2, "a", "psnr_y", "sr-y@1", math.nan, "different size")]}
    )
    (table,) = tables_of(make_study(), [cell])
    assert entries(table, 1) == ["\N{EM DASH}", "\N{EM DASH}"]
    assert "\N{EM DASH} NIQE: no weights" in table.notes
    assert "PSNR-Y on set5 (a): different size" in table.notes


def test_an_assessor_is_named_exactly() -> None:
    study = make_study(evaluate={"datasets": ["set5"], "metrics": ["nima"]})
    scores = {"nima": {"a": 4.0}}
    cells = [make_cell(scores=scores, assessors={"nima": "nima@photos"})]
    assert tables_of(study, cells)[0].groups[0][1] == ("nima@photos ↑",)
    cells.append(swept(0, 0.1, 1.0, 2.0, scores=scores, assessors={"nima": "nima@ava"}))
    (table,) = tables_of(study, cells)
    assert table.groups[0][1] == ("nima@ava ↑", "nima@photos ↑")  # never in one column


def test_scores_under_two_protocols_never_share_a_column() -> None:
    other = [Score("set5", 2, "a", "psnr_y", "sr-y@2", 28.0)]
    cells = [make_cell(), swept(0, 0.1, 1.0, 2.0).model_copy(update={"scores": other})]
    (table,) = tables_of(make_study(), cells)
    assert table.groups[0][1][:2] == ("PSNR-Y [sr-y@1] ↑ (dB)", "PSNR-Y [sr-y@2] ↑ (dB)")
    assert "protocol sr-y@1, sr-y@2;" in table.about


def test_a_set_under_two_protocols_is_refused_unless_told_and_then_marked(tmp_path: Path) -> None:
    other = [Score("set5", 2, "a", "psnr_y", "full@1", 28.0)]
    cells = [make_cell(), swept(0, 0.1, 1.0, 2.0).model_copy(update={"scores": other})]
    with pytest.raises(BenchError, match=r"set5: scored under full@1 and sr-y@1.*\n.*--mix-prot"):
        render(make_study(), cells, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    render(make_study(), cells, tmp_path, tmp_path / "out", formats=("md",), mixed=True)
    text = (tmp_path / "out" / "table.md").read_text()
    assert "PSNR-Y [full@1]" in text and "PSNR-Y [sr-y@1]" in text


def test_sets_under_protocols_of_their_own_are_marked() -> None:
    evaluate = {"datasets": ["set5", "div2k_val"], "metrics": ["psnr"],
                "protocol": {"div2k_val": "div2k@1"}}  # fmt: skip
    rows = [Score("set5", 2, "a", "psnr", "sr-y@1", 30.0),
            Score("div2k_val", 2, "a", "psnr", "div2k@1", 31.0)]  # fmt: skip
    cell = make_cell().model_copy(update={"scores": rows})
    (table,) = tables_of(make_study(evaluate=evaluate), [cell])
    assert [headers for _, headers in table.groups] == [
        ("PSNR [sr-y@1] ↑",), ("PSNR [div2k@1] ↑",)
    ]  # fmt: skip


def test_what_is_said_of_a_folder_s_images_is_found_below_its_table() -> None:
    study = make_study(evaluate={"datasets": ["./mine"], "metrics": ["viqet", "psnr_y"]})
    cell = make_cell(
        scores={"viqet": {"a": 2.0}, "psnr_y": {"a": math.nan}}, dataset="./mine",
        notes={"viqet on ./mine/a": "odd"}, unavailable={"psnr_y on ./mine/a": "no HR"},
    )  # fmt: skip
    (table,) = tables_of(study, [cell])
    assert "PSNR-Y on ./mine (a): no HR" in table.notes
    assert "viqet on ./mine: 1 of 1 pictures are odd." in table.notes


def test_the_rmse_of_pirm_is_the_root_of_the_mean_square() -> None:
    rows = [Score("set5", 2, image, "rmse", "pirm@1", v) for image, v in (("a", 1.0), ("b", 7.0))]
    study = make_study(evaluate={"datasets": ["set5"], "metrics": ["rmse"]})
    (table,) = tables_of(study, [make_cell().model_copy(update={"scores": rows})])
    assert entries(table, 0)[0] == "5.000"


def test_a_description_is_not_ranked_and_a_metric_says_what_it_must() -> None:
    study = make_study(evaluate={"datasets": ["set5"], "metrics": ["viqet", "viqet.saturation"]})
    cells = [
        make_cell(
            scores={"viqet": {"a": 2.0, "b": 3.0}, "viqet.saturation": {"a": 80.0, "b": 90.0}},
            notes={"viqet on set5/a": "out of its range"},
        ),
        swept(0, 0.1, 1.0, 2.0, scores={"viqet": {"a": 4.0}, "viqet.saturation": {"a": 70.0}}),
    ]
    (table,) = tables_of(study, cells)
    assert table.groups[0][1] == ("viqet ↑ (MOS)", "viqet.saturation")
    assert [entry.place for _, (_, entry) in table.rows] == [0, 0]
    assert any("version 115" in note and "117" in note for note in table.notes)
    assert "viqet on set5: 1 of 3 pictures are out of its range." in table.notes


def test_sets_stand_side_by_side_up_to_eight_columns() -> None:
    names = ["set5", "set14", "bsd100", "urban100", "t91"]
    study = make_study(evaluate={"datasets": names, "metrics": ["psnr_y", "ssim_y"]})
    cells = [
        make_cell(scores={"psnr_y": PSNR, "ssim_y": {"a": 0.9}}, dataset=name, seed=k)
        for k, name in enumerate(names)
    ]
    tables = tables_of(study, cells)
    assert [table.title for table in tables] == [
        "set5 x2, set14 x2, bsd100 x2, urban100 x2",
        "t91 x2",
    ]


def test_a_difference_smaller_than_its_interval_is_not_resolved() -> None:
    images = {str(k): 30.0 for k in range(10)}
    wave = {k: 30.01 + (-1) ** int(k) for k in images}
    cells = [make_cell(scores={"psnr_y": images}), swept(0, 0, 1.0, 2.0, scores={"psnr_y": wave})]
    (table,) = tables_of(make_study(), cells)
    assert any("not resolved (edsr t000, bicubic; 10 images)" in note for note in table.notes)


def test_every_table_names_protocol_study_commit_and_date_above_itself() -> None:
    (table,) = tables_of(make_study(), [make_cell(), make_cell(seed=1)])
    for part in ("Study gamma", "protocol sr-y@1", "commit 0123456789;", "date 2026-05-04",
                 "2 seeds ± sample standard deviation"):  # fmt: skip
        assert part in table.about


# Remarks


def said(study: Study, *cells: Cell) -> str:
    return "\n".join(remarks(study, list(cells), choose_rows(study, cells)[0]))


def test_a_partial_set_says_so_in_remark_and_header() -> None:
    part = UsedDataset(fingerprint="c0ffee", count=30, official=100, source="bicubic")
    cell = make_cell(datasets={"set5": part})
    assert "Partial set: set5, 30/100 images." in said(make_study(), cell)
    assert tables_of(make_study(), [cell])[0].groups[0][0] == "set5 x2 (partial: 30/100)"


def test_a_missing_set_is_listed_with_how_to_get_it() -> None:
    cell = make_cell(missing={"urban100": "Run bench fetch urban100."})
    assert "Missing data set: urban100. Run bench fetch urban100." in said(make_study(), cell)


def test_failed_and_pruned_trials_are_counted_with_their_reasons() -> None:
    lost = swept(1, 0.5, state="failed", reason="RuntimeError: out of memory\ntrace", scores={})
    cut = swept(2, 0.6, state="pruned", reason="worse than the median at step 100", scores={})
    text = said(make_study(), make_cell(), swept(0, 0.1, 1.0, 2.0), lost, cut)
    assert "edsr: 1 of 3 records failed: RuntimeError: out of memory (1)." in text
    assert "edsr: 1 of 3 records pruned: worse than the median at step 100 (1)." in text
    assert "trace" not in text


def test_an_unfinished_sweep_says_how_far_it_is() -> None:
    assert "edsr: 1/3 trials so far." in said(make_study(), swept(0, 0.1, 1.0, 2.0))


def test_records_of_different_commits_are_told_apart() -> None:
    other = make_cell(seed=1, environment={"commit": "ffff", "tree": "dirty", "torch": "2.14"})
    text = said(make_study(), make_cell(), other)
    assert "differ in commit: 0123456789 (bicubic); ffff with uncommitted changes" in text
    assert "differ in torch: unknown (bicubic); 2.14 (bicubic)" in text
    assert "no commit reproduces them" in text


def test_a_table_of_several_cards_and_hosts_says_so() -> None:
    a = {"host": "a", "device": "NVIDIA H100", "driver": "550.54.15"}
    b = {"host": "b", "device": "NVIDIA L4", "driver": "560.35.03"}
    cpu = {"host": "a", "device": "cpu (x86_64)"}  # and so it has no driver to differ in
    cells = [swept(i, 0.1, environment=e) for i, e in enumerate((a, b, cpu))]
    text = said(make_study(), *cells)
    assert "differ in device: NVIDIA H100 (edsr); NVIDIA L4 (edsr); cpu (x86_64) (edsr)" in text
    assert "differ in host: a (edsr); b (edsr). Their times cannot be compared." in text
    assert "differ in driver: 550.54.15 (edsr); 560.35.03 (edsr)." in text


def test_mixed_precision_and_changed_data_are_told() -> None:
    half = swept(0, 0.1, 1.0, 2.0, stages=[STAGE])
    full = swept(
        1,
        0.2,
        2.0,
        1.0,
        stages=[STAGE.model_copy(update={"precision": "fp32"})],
        datasets={"set5": UsedDataset(fingerprint="dead", count=5, official=5, source="")},
    )
    text = said(make_study(), make_cell(), half, full)
    assert "differ in precision of training: bf16 (edsr); fp32 (edsr)" in text
    assert "saw 2 different versions of set5" in text


def test_a_reported_selection_set_is_admitted() -> None:
    study = make_study(select={"dataset": "set5", "maximize": ["psnr_y"], "allow_reported": True})
    assert "The selection set set5 is also reported" in said(study, make_cell())


def test_a_training_of_300_updates_is_a_tiny_run_wherever_it_is_shown() -> None:
    cells = [make_cell(), swept(0, 0.1, 1.0, 2.0, stages=[STAGE])]
    rows, _ = choose_rows(make_study(), cells)
    assert tiny_runs(rows) == "edsr 300 updates"
    (table,) = tables_of(make_study(), cells)
    assert "tiny run: edsr 300 updates" in table.about
    assert [label for label, _ in table.rows] == ["bicubic", "edsr t000 (gamma 0.1) [tiny run]"]
    long = STAGE.model_copy(update={"steps": 300_000})
    assert not tiny_runs([Row("edsr", "edsr", (swept(0, 0.1, stages=[long]),))])


# Markup

RANKED = [
    make_cell(scores={"psnr_y": {"a": 30.0}}),
    make_cell(scores={"psnr_y": {"a": 30.4}}, seed=1),
    swept(0, 0.1, 1.0, 2.0, scores={"psnr_y": {"a": 31.0}}),
]


def test_markdown_marks_best_bold_and_second_underlined_in_aligned_lines() -> None:
    text = to_markdown(report_of(make_study(), RANKED))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "<u>30.20</u> ± 0.28" in lines[2] and "**31.00**" in lines[3]
    assert len({len(line) for line in lines}) == 1
    assert "> Does it cost fidelity?" in text


def test_a_pipe_in_a_reason_does_not_break_the_markdown() -> None:
    text = to_markdown(report_of(make_study(), [make_cell(unavailable={"niqe": "a|b *c*"})]))
    assert r"a\|b \*c\*" in text


def test_latex_escapes_names_and_uses_booktabs() -> None:
    text = to_latex(report_of(make_study(), [make_cell(unavailable={"niqe": "50 % & #1_$"})]))
    assert r"50 \% \& \#1\_\$" in text
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{set5 x2. Study gamma"):
        assert part in text
    assert r"\textbf{31.00}" in to_latex(report_of(make_study(), RANKED))
    assert text.count(r"\begin{") == text.count(r"\end{")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_alone_and_inside_a_paper(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(to_latex(report_of(make_study(), [*RANKED, ODD])))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\n"
        "\\begin{document}Before.\\input{table}After.\\end{document}\n"
    )
    for name in ("table", "paper"):
        compile_tex(name, tmp_path)


def siunitx_is_here() -> bool:
    command = ["kpsewhich", "siunitx.sty"]
    return bool(
        shutil.which("kpsewhich")
        and not subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    )


ODD = make_cell(unavailable={"niqe": 'x_y^2 ~ {a} \\b "c" <d> | é 漢 ∞'})


def test_siunitx_aligns_numbers_with_their_spread() -> None:
    text = to_siunitx(report_of(make_study(), [*RANKED, ODD]))
    assert r"\usepackage{booktabs,graphicx,siunitx}" in text
    assert "second in italics" in text and "underlined" not in text
    assert r"S[table-format=2.2(2)" in text  # 30.20 and 0.28
    assert r"& \itshape 30.20 \pm 0.28" in text and r"& \bfseries 31.00" in text
    assert "siunitx" not in to_latex(report_of(make_study(), RANKED))


@pytest.mark.skipif(not siunitx_is_here(), reason="siunitx is not installed")
def test_siunitx_compiles_alone(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(to_siunitx(report_of(make_study(), [*RANKED, ODD])))
    compile_tex("table", tmp_path)


def compile_tex(name: str, folder: Path) -> None:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", name]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_html_escapes_and_fetches_nothing() -> None:
    text = to_html(report_of(make_study(), [make_cell(unavailable={"niqe": "<script>"}), *RANKED]))
    assert "&lt;script&gt;" in text and "<script>niqe" not in text
    scripts = re.findall(r"<script[^>]*>", text)
    assert scripts == ["<script type='application/json' id='from-0'>", "<script>"]
    assert "<b>31.00</b>" in text
    assert not re.search(r'(src|href)="(?!data:)|https?:', text)


# Figures


def test_a_response_has_every_trial_every_seed_and_the_others_as_lines() -> None:
    cells = [make_cell(objectives={"psnr_y": 28.0}),
             swept(1, 0.9, 30.0, seed=0), swept(1, 0.9, 31.0, seed=1),
             swept(0, 0.1, 32.0, seed=0), swept(0, 0.1, 33.0, seed=1)]  # fmt: skip
    study = make_study(select={"dataset": "photos_val", "maximize": ["psnr_y"]})
    columns = columns_of(study, cells)
    (response,) = make_responses(study, make_trials(study, cells), columns)
    first = response.panels[0]
    assert (first.title, first.label) == ("photos_val (selection)", "PSNR-Y (dB) ↑")
    assert first.points == {"edsr": [(0.1, [32.0, 33.0]), (0.9, [30.0, 31.0])]}
    assert first.lines == {"bicubic": 28.0}
    assert response.panels[1].points["edsr"] == [(0.1, [31.0, 31.0]), (0.9, [31.0, 31.0])]
    assert not response.log and response.alone


def test_a_logarithmic_range_and_a_choice_of_words_decide_the_axes() -> None:
    methods = {"edsr": {"use": "x", "rate": {"float": [1e-5, 1e-3], "log": True},
                        "act": {"choice": ["relu", "gelu"]}}}  # fmt: skip
    cell = swept(0, 0.1, 31.0).model_copy(update={"swept": {"rate": 1e-4, "act": "relu"}})
    study = make_study(methods=methods)
    (response,) = make_responses(study, make_trials(study, [cell]), columns_of(study, [cell]))
    assert (response.parameter, response.log, response.alone) == ("rate", True, False)


def test_an_objective_that_is_not_reported_is_still_named_by_its_assessor() -> None:
    cell = swept(0, 0.1, 31.0, 4.0, assessors={"nima": "nima@photos"})
    (response,) = make_responses(make_study(), make_trials(make_study(), [cell]), [])
    assert [panel.label for panel in response.panels] == ["PSNR-Y (dB) ↑", "nima@photos ↑"]


def test_the_strip_shows_the_image_with_the_median_spread() -> None:
    scores = {
        "bicubic": {"a": 30.0, "b": 30.0, "c": 30.0, "d": 30.0, "e": 30.0},
        "edsr": {"a": 31.0, "b": 35.0, "c": 33.0, "d": math.inf},  # spreads 1, 5, 3
    }
    assert choose_image(scores) == "c"
    assert choose_image({"edsr": {"a": 31.0, "b": 35.0, "c": 33.0, "d": 36.0}}) == "c"
    assert choose_image({}) is None
    original = {"original": dict.fromkeys("abcd", math.inf)}
    assert choose_image({**original, **scores}) == "c"
    assert choose_image(original) is None


def test_the_window_is_where_the_pictures_differ_most() -> None:
    black = np.zeros((40, 60, 3), np.uint8)
    other = black.copy()
    other[20:28, 30:38] = 200
    other[0, 0] = 255
    assert choose_window([black, other], size=8) == (20, 30)
    assert choose_window([black, other], size=64) == (0, 0)


def test_labels_keep_clear_of_each_other_and_of_points() -> None:
    points = np.array([[50.0, 50.0], [52.0, 50.0], [50.0, 54.0]])
    boxes = place_labels(points, [(30.0, 8.0)] * 3, points, (0, 0, 200, 200), (1, 1))
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


# Everything


def full_study() -> tuple[Study, list[Cell]]:
    study = make_study(
        evaluate={"datasets": ["set5"], "metrics": ["psnr_y", "niqe"]},
        budget={"trials": 6, "seeds": [0, 1]},
    )
    cells = [make_cell(seed=seed, objectives={"psnr_y": 28.0, "nima": 4.0}) for seed in (0, 1)]
    cells += [
        swept(t, t / 6, 30 - t / 6 + seed / 50, 4 + t / 9, seed=seed,
              scores={"psnr_y": {i: 30 + t / 10 + seed / 9 for i in "abcde"}})
        for t in range(6) for seed in (0, 1)
    ]  # fmt: skip
    return study, cells


def write_pictures(folder: Path, cells: list[Cell]) -> None:
    noise = np.random.default_rng(0)
    for name in ("reference", *(cell.file_name for cell in cells if cell.seed == 0)):
        (folder / name / "set5").mkdir(parents=True)
        picture = noise.integers(0, 256, (80, 100, 3), np.uint8)
        for image in "ab":
            Image.fromarray(picture).save(folder / name / "set5" / f"{image}.png")


def test_render_writes_all_it_names_and_the_page_holds_its_figures(tmp_path: Path) -> None:
    study, cells = full_study()
    write_pictures(tmp_path / "pictures", cells)
    written = render(study, cells, tmp_path / "pictures", tmp_path / "out")
    assert set(written) == {
        "figures/response-gamma.png", "figures/trade-off.png", "figures/strip-set5.png",
        "table.md", "table.tex", "report.html", "scores.csv", "scores.parquet", "trials.csv",
    }  # fmt: skip
    page = written["report.html"].read_text()
    picture = base64.b64encode(written["figures/strip-set5.png"].read_bytes()).decode()
    assert picture in page
    assert page.count("<svg ") == 2, "points of the others answer"
    text = written["table.md"].read_text()
    assert "Chosen by rule" in text and "run-edsr-0-0" in text and "c0ffee" in text


def test_scores_come_back_from_csv_and_parquet_as_they_went_in(tmp_path: Path) -> None:
    study, cells = full_study()
    lost = swept(9, 0.5, state="failed", reason="broke\ntrace")
    written = render(study, [*cells, lost], tmp_path, tmp_path / "out", formats=("csv",))
    parquet = pd.read_parquet(written["scores.parquet"])
    assert parquet["value"].tolist() == [s.value for cell in cells for s in cell.scores]
    assert pd.read_csv(written["scores.csv"])["value"].tolist() == parquet["value"].tolist()
    with written["trials.csv"].open() as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["state"], last["reason"], last["parameter.gamma"]) == ("failed", "broke", "0.5")
    assert not (tmp_path / "out" / "figures").exists()


def test_odd_names_and_numbers_are_in_csv_and_parquet_as_they_are(tmp_path: Path) -> None:
    values = {"007": 1 / 3, "NA": math.inf, 'a, "b"\nc': 1e-20, "": -0.1, "none": math.nan}
    written = render(make_study(), [make_cell(scores={"psnr_y": values})], tmp_path,
                     tmp_path / "out", formats=("csv",))  # fmt: skip
    with written["scores.csv"].open(newline="", encoding="utf-8") as file:
        lines = {line["image"]: line["value"] for line in csv.DictReader(file)}
    assert lines == {k: "" if math.isnan(v) else repr(v) for k, v in values.items()}
    table = parquet.read_table(written["scores.parquet"]).to_pydict()
    found = dict(zip(table["image"], table["value"], strict=True))
    assert found == {k: None if math.isnan(v) else v for k, v in values.items()}
    assert (set(table["scale"]), set(table["trial"])) == ({2}, {-1})


def test_without_pictures_the_strip_is_left_out_with_a_reason(tmp_path: Path) -> None:
    study, cells = full_study()
    written = render(study, cells, tmp_path / "none", tmp_path / "out", formats=("md",))
    assert "figures/strip-set5.png" not in written
    assert "Not drawn: strip of set5: no picture of" in written["table.md"].read_text()


def test_a_study_without_records_still_gets_a_report(tmp_path: Path) -> None:
    written = render(make_study(), [], tmp_path, tmp_path / "out")
    assert "bicubic: no finished record yet." in written["table.md"].read_text()


def test_an_unknown_format_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="Did you mean 'html'"):
        render(make_study(), [], tmp_path, tmp_path / "out", formats=("htm",))


def test_columns_follow_the_study_and_skip_sets_without_records() -> None:
    study = make_study(evaluate={"datasets": ["bsd100", "set5"], "metrics": ["niqe", "psnr_y"]})
    assert columns_of(study, [make_cell()]) == [
        Column("set5", 2, "niqe", "", ""),
        Column("set5", 2, "psnr_y", "", "sr-y@1"),
    ]
