"""What papers print beside ours: matches, values and verdicts worked out by hand."""

import csv
import inspect
import math
import re
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.catalog import DATASETS
from bench.errors import BenchError
from bench.look.check import load_study
from bench.method.loading import check_hyperparameters, find_method
from bench.records.cell import Cell, Score, TrainedStage, UsedDataset
from bench.report.papers.compared import Judged, Line, compare, judge
from bench.report.papers.ours import find_trial
from bench.report.papers.published import Claim, Paper, load_paper
from bench.report.papers.verdicts import rank_correlation, trend
from bench.report.render import render
from bench.study.fields import Study

DASH = "\N{EM DASH}"
PUBLISHED = sorted((Path(__file__).parents[1] / "reports" / "published").glob("*.yaml"))
RTS = "methods.rts.RTS"
IMAGES = ("a", "b", "c", "d", "e", "f")
STUDY = Study.model_validate(
    {
        "name": "again",
        "task": {"kind": "enhancement", "scale": 1, "degradation": "none"},
        "train": {"dataset": "div2k_crops", "steps": 300},
        "methods": {"rts": {"use": RTS}, "original": {"use": "methods.classical.Original"}},
        "evaluate": {"datasets": ["urban100", "div2k_val"], "metrics": ["viqet", "difference"]},
        "budget": {"seeds": [0, 1]},
    }
)


def made(
    value: float | list[float] | None = 4.0,
    *,
    seed: int = 0,
    metric: str = "viqet",
    dataset: str = "div2k_val",
    count: int = 6,
    **parameters: Any,
) -> Cell:
    """A record of RTS with hyper-parameters; value: of every image, or one for each."""
    values = value if isinstance(value, list) else [value] * 6
    stages = parameters.get("stages", 1)
    trained = TrainedStage(
        name=f"sr{stages}", key=f"key{stages}-{seed}", steps=300, parameters=40_896, seconds=1.0,
        reused=False, precision="fp32", device="cpu", examined={"k": 0.5 * stages, "rule": "go on"},
    )  # fmt: skip
    rows = [
        Score(dataset, 1, image, metric, "full@1", v)
        for image, v in zip(IMAGES, values, strict=False)
        if v is not None
    ]
    return Cell(
        study="again", method="rts", use=RTS, seed=seed, attempt=0,
        trial=zlib.crc32(repr(parameters).encode()), state="complete", parameters=parameters,
        scores=rows, fingerprint="feed",
        datasets={dataset: UsedDataset(fingerprint="f", count=count, official=6, source="none")},
        stages=[trained],
    )  # fmt: skip


def original(value: float) -> Cell:
    cell = made(value)
    changes = {"method": "original", "use": "methods.classical.Original", "trial": None}
    return cell.model_copy(update={**changes, "stages": []})


def paper_of(*values: float | None, dataset: str | None = "div2k_val", **series: Any) -> Paper:
    """A paper with one table, whose points are stages 1, 2, ..."""
    quantity = {} if {"examined", "loss"} & series.keys() else {"metric": "viqet"}
    return Paper.model_validate(
        {
            "paper": "Somebody",
            "source": "table 1",
            "protocol": "full@1",
            "tables": [
                {
                    "title": "Table 1",
                    "setting": "six images",
                    "dataset": dataset,
                    "points": {f"HR{n}": {"stages": n} for n in range(1, len(values) + 1)},
                    "series": [
                        {"name": "MOS", "match": {"use": RTS}, "values": values} | quantity | series
                    ],
                }
            ],
        }
    )


def line_of(paper: Paper, cells: list[Cell], study: Study = STUDY) -> Line:
    ((line,),) = (one.lines for one in compare(study, cells, paper))
    return line


def test_a_study_of_another_task_cannot_reproduce_a_table_on_its_images() -> None:
    paper, cells = paper_of(4.0, 4.1), [made(4.0, stages=1), made(4.1, stages=2)]
    assert line_of(paper, cells).numbers == ("match", "match")
    harder = STUDY.task.model_copy(update={"degradation": "low_light"})
    other = STUDY.model_copy(update={"task": harder})
    line = line_of(paper, cells, other)
    assert line.numbers == ("", "") and line.trend.startswith("same trend")


def test_a_claim_is_judged_over_the_seeds_that_both_sides_have() -> None:
    match = {"use": RTS, "stages": 1}
    claim = Claim(says="more", more=match | {"stages": 2}, than=match, metric="viqet")
    cells = [made(4.0, stages=1), made(9.0, seed=1, stages=1), made(4.5, stages=2)]
    assert judge(STUDY, cells, claim).ours.startswith("+0.5")
    alone = [made(9.0, seed=1, stages=1), made(4.5, stages=2)]
    assert judge(STUDY, alone, claim).why == "the two have no seed in common"


def ours_of(line: Line) -> list[float | None]:
    return [None if math.isnan(o.value) else o.value for o in line.ours]


# Verdicts


def test_equal_ranks_correlate_fully_and_one_swap_of_neighbours_in_four_gives_0_8() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 31]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # 1 - 6 (1 + 1) / (4 * 15)
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
    assert rank_correlation([1, 2, 2, 4], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(22.5))
    assert math.isnan(rank_correlation([1, 2, 3], [5, 5, 5]))


@pytest.mark.parametrize(
    ("printed", "ours", "said"),
    [
        ([4.0, 4.1, 4.2], [4.1, 4.2, 4.4], "same trend (3 of 3 pairs over 3 points)"),
        ([4.0, 4.1, 4.2], [4.1, 4.0, 4.2], "another trend (2 of 3 pairs over 3 points)"),
        ([1, 2, 3, 4], [10, 30, 20, 40], "same trend (0.80 over 4 points)"),
        ([1, 2, 3, 4], [30, 10, 20, 40], "another trend (0.40 over 4 points)"),
        ([1, 2, 3, 4], [7, 7, 7, 7], "another trend (ours do not differ, over 4 points)"),
        ([2.0, 2.0, 3.0], [9.0, 1.0, 10.0], "same trend (2 of 2 pairs over 3 points)"),
        ([2.8, 2.8], [1.0, 5.0], f"{DASH} the printed values do not differ"),
        ([4.0, 4.1], [4.0, math.nan], f"{DASH} fewer than 2 points of ours"),
        ([4.0, None, 4.2], [4.0, 9.0, 4.2], "same trend (1 of 1 pairs over 2 points)"),
        ([4.0, 4.1, 4.2], [4.0, 4.1, math.nan], "same trend (1 of 1 pairs over 2 of 3 points)"),
    ],
)
def test_a_trend_follows_its_rule(printed: Any, ours: Any, said: str) -> None:
    assert trend(printed, ours) == said


def test_a_number_without_a_known_protocol_is_not_judged_and_of_other_images_neither() -> None:
    cells = [made(4.0, stages=1), made(4.1, stages=2)]
    unknown = paper_of(4.0, 4.1).model_copy(update={"protocol": None})
    assert line_of(unknown, cells).numbers == ("protocol unknown", "protocol unknown")
    assert line_of(paper_of(4.0, 4.1, dataset=None), cells).numbers == ("", "")


# Which trial


def test_a_trial_is_picked_by_its_hyper_parameters_whatever_the_study_calls_it() -> None:
    cells = [made(stages=1), made(stages=2, seed=1), made(stages=2)]
    found = find_trial(cells, {"use": RTS, "stages": 2})
    assert [cell.seed for cell in found if isinstance(cell, Cell)] == [0, 1]
    absent = "no finished trial of the study ran it"
    assert find_trial(cells, {"use": RTS, "stages": 3}) == absent
    assert find_trial(cells, {"use": RTS, "stage": 1}) == absent
    assert find_trial(cells, {"use": "methods.rts.Degraded"}) == absent


def test_of_several_trials_that_fit_none_is_chosen() -> None:
    cells = [made(stages=1, quality=75), made(stages=1, quality=90)]
    line = line_of(paper_of(4.0, 4.1), cells)
    assert line.ours[0].why == ("2 trials fit and none is chosen; they differ in quality (75, 90)")
    assert ours_of(line) == [None, None]


def test_a_failed_trial_has_no_value() -> None:
    cell = made(stages=1).model_copy(update={"state": "failed"})
    assert find_trial([cell], {"use": RTS, "stages": 1}) == "no finished trial of the study ran it"


# Values


def test_ours_is_the_mean_over_images_and_then_over_seeds() -> None:
    cells = [made(4.0, stages=1), made(5.0, stages=1, seed=1), made(6.0, stages=2)]
    line = line_of(paper_of(4.5, 6.0), cells)
    assert ours_of(line) == [4.5, 6.0]
    assert line.ours[0].spread == pytest.approx(math.sqrt(0.5))  # of 4 and 5
    assert math.isnan(line.ours[1].spread)
    assert line.numbers == ("match", "match")
    assert line.trend == "same trend (1 of 1 pairs over 2 points)"
    assert line.parameters == "40,896"


def test_a_point_with_a_method_of_its_own_stands_alone() -> None:
    data = paper_of(3.75, 4.0).model_dump()
    data["tables"][0]["points"]["HR1"] = {"use": "methods.classical.Original"}
    data["tables"][0]["series"][0]["match"] = {"use": RTS, "network": "edsr"}
    line = line_of(
        Paper.model_validate(data), [original(3.75), made(4.0, stages=2, network="edsr")]
    )
    assert ours_of(line) == [3.75, 4.0]


def test_increments_are_taken_under_the_same_seeds() -> None:
    cells = [made(v, stages=n, seed=s) for n, s, v in [
        (1, 0, 1.0), (1, 1, 1.2), (2, 0, 1.5), (2, 1, 1.9), (3, 0, 1.6)]]  # fmt: skip
    line = line_of(paper_of(1.0, 0.5, 0.1, change=True), cells)
    assert ours_of(line) == pytest.approx([1.1, 0.6, 0.1])  # (0.5 + 0.7) / 2; 1.6 - 1.5
    assert line.ours[1].spread == pytest.approx(math.sqrt(0.02))  # of 0.5 and 0.7


def test_without_the_point_before_there_is_no_increment() -> None:
    line = line_of(paper_of(1.0, 0.5, 0.1, change=True), [made(1.0, stages=1), made(2, stages=3)])
    assert ours_of(line) == [1.0, None, None]


def test_what_a_stage_found_is_compared_by_its_trend_alone() -> None:
    cells = [made(stages=1), made(stages=2)]
    line = line_of(paper_of(0.5, 1.0, examined="k"), cells)
    assert ours_of(line) == [0.5, 1.0]
    assert line.trend.startswith("same trend") and line.numbers == ("", "")
    words = line_of(paper_of(0.5, 1.0, examined="rule"), cells)
    assert words.ours[0].why == "the stage's examination found no number 'rule'"


def test_a_loss_is_the_mean_of_its_last_updates_that_computed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    for key, values in {"key1-0": [9, 1, 2, 3], "key1-1": [9, 4, math.nan, 6]}.items():
        folder = tmp_path / "store" / "stages" / key
        folder.mkdir(parents=True)
        np.savez(folder / "losses.npz", perceptual=np.array(values, np.float32))
    cells = [made(stages=1), made(stages=1, seed=1), made(stages=2)]
    line = line_of(paper_of(2.0, 3.0, loss="perceptual", last=3), cells)
    assert ours_of(line) == [3.5, None]  # of 2 and 5
    assert line.ours[1].why == "no loss 'perceptual' is kept with the stage"
    long = line_of(paper_of(2.0, 3.0, loss="perceptual", last=5), cells)
    assert long.ours[0].why == "4 updates, fewer than the last 5 that the paper averages"


def test_the_papers_set_is_taken_where_it_was_measured_and_else_the_first() -> None:
    both = [
        made(4.0, stages=n).model_copy(
            update={
                "scores": [
                    Score(name, 1, "a", "viqet", "full@1", value + n)
                    for name, value in (("urban100", 3.0), ("div2k_val", 4.0))
                ]
            }
        )
        for n in (1, 2)
    ]
    assert ours_of(line_of(paper_of(5.0, 6.0), both)) == [5.0, 6.0]
    elsewhere = line_of(paper_of(4.0, 5.0, dataset=None), both)
    assert ours_of(elsewhere) == [4.0, 5.0]
    assert elsewhere.trend == "same trend (1 of 1 pairs over 2 points)"


def test_part_of_the_papers_set_is_close_at_best() -> None:
    cells = [made(float(n), stages=n, count=5) for n in (1, 2)]
    assert line_of(paper_of(1.0, 2.0), cells).numbers == ("close", "close")
    cells = [made([1.0, 1.0, math.nan], stages=1), made(2.0, stages=2)]
    assert line_of(paper_of(1.0, 2.0), cells).numbers == ("close", "match")


def test_a_value_of_one_image_is_compared_with_that_image() -> None:
    cells = [made([1.0, 9.0], stages=1, count=2), made([2.0, 9.0], stages=2, count=2)]
    line = line_of(paper_of(1.0, 2.0, image="a"), cells)
    assert ours_of(line) == [1.0, 2.0] and line.numbers == ("match", "match")
    absent = line_of(paper_of(1.0, 2.0, image="z"), cells)
    assert absent.ours[0].why == "viqet was not measured on image z of div2k_val"


# Claims


def judged(more: list[float], than: list[float], metric: str = "viqet") -> Judged:
    claim = Claim.model_validate(
        {
            "says": "twice is better",
            "metric": metric,
            "more": {"use": RTS, "stages": 2},
            "than": {"use": RTS, "stages": 1},
        }
    )
    cells = [made(than, stages=1, metric=metric), made(more, stages=2, metric=metric)]
    return judge(STUDY, cells, claim)


def test_a_claim_is_shown_where_the_interval_lies_above_zero() -> None:
    found = judged([4.5] * 6, [4.0] * 6)
    assert found.ours == "+0.5000 [+0.5000, +0.5000], 6 images of div2k_val"
    assert found.verdict == "shown"
    assert judged([4.0] * 6, [4.5] * 6).verdict == "not shown"
    assert judged([4.0, 4.0, 4.0, 5.0, 5.0, 5.0], [4.5] * 6).verdict == "not resolved"


def test_a_claim_counts_the_images_of_a_partial_set() -> None:
    assert judged([4.5] * 5, [4.0] * 5).ours.endswith("5/6 images of div2k_val")


def test_four_images_judge_no_claim() -> None:
    found = judged([4.5] * 4, [4.0] * 4)
    assert (found.ours, found.verdict) == (DASH, DASH)
    assert found.why == "fewer than 5 finite images of div2k_val"


def test_a_claim_says_which_side_is_lacking() -> None:
    claim = Claim.model_validate(
        {"says": "x", "metric": "viqet", "more": {"use": RTS, "stages": 4}, "than": {"use": RTS}}
    )
    why = judge(STUDY, [made(stages=1)], claim).why
    assert why == f"{RTS} (stages 4): no finished trial of the study ran it"


# Files

SMALL = """\
paper: Somebody
source: table 1
tables:
  - title: Table 1
    setting: six images
    points:
      HR1: {stages: 1}
      HR2: {stages: 2}
    series:
      - {name: MOS, metric: viqet, match: {use: methods.rts.RTS}, values: [3.9, 4.0]}
"""
FILE = Path("reports/published/small.yaml")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of one small paper, in the current folder."""
    monkeypatch.chdir(tmp_path)
    FILE.parent.mkdir(parents=True)
    FILE.write_text(SMALL)
    return FILE


def test_the_papers_of_the_current_folder_come_before_those_that_ship(published: Path) -> None:
    assert load_paper("small").tables[0].series[0].values == (3.9, 4.0)
    assert load_paper("rts").paper.startswith("Park and Kwak")
    published.with_name("rts.yaml").write_text(SMALL)
    assert load_paper("rts").paper.startswith("Somebody")
    with pytest.raises(BenchError, match=r"unknown paper 'rtss'.*'rts'.*Known: .*rts, .*small"):
        load_paper("rtss")


def test_in_an_empty_folder_the_papers_that_ship_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_paper("rts").paper.startswith("Park and Kwak")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[3.9, 4.0]", "[3.9]", r":4: tables.0: series 'MOS' has 1 values for 2 points\."),
        ("metric: viqet", "metric: viqett", r":10: tables.0.series.0.metric: .*mean 'viqet'"),
        ("metric: viqet, ", "", r":10: tables.0.series.0: needs one of metric, examined and loss"),
        ("name:", "nmae:", r":10: .*unknown key 'nmae'. Did you mean 'name'\?"),
        ("{use: methods.rts.RTS}", "{}", r":4: .*'MOS' at 'HR1' names no method"),
        ("source: table 1\n", "", r":1: 'source' is missing\."),
        ("[3.9, 4.0]", "[3.9, four]", r":10: tables.0.series.0.values.1: .*got 'four'"),
        ("paper: Somebody", "paper: [", r":\d+: not valid YAML"),
    ],
)
def test_a_broken_file_names_the_line(published: Path, old: str, new: str, said: str) -> None:
    published.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(BenchError, match=f"small.yaml{said}"):
        load_paper("small")


STUDY_FILE = """\
name: again
task: {kind: super-resolution, scale: 2}
methods: {bicubic: {use: methods.classical.Bicubic}}
evaluate: {datasets: [set5], metrics: [psnr_y]}
"""


def test_a_study_names_papers_that_there_are(published: Path, small_sets: Path) -> None:
    file = Path("again.yaml")
    file.write_text(STUDY_FILE + "compare: [small]\n")
    assert load_study(file).compare == ("small",)
    file.write_text(STUDY_FILE + "compare: [smal]\n")
    with pytest.raises(BenchError, match=r"again.yaml:5: compare.0: .*Did you mean 'small'\?"):
        load_study(file)
    file.write_text(STUDY_FILE + "compare: small\n")
    with pytest.raises(BenchError, match=r"again.yaml:5: compare: needs a list .*got 'small'"):
        load_study(file)
    published.write_text("paper: Somebody\n")
    file.write_text(STUDY_FILE + "compare: [small]\n")
    with pytest.raises(BenchError, match=r"compare.0: .*small.yaml:1: 'source' is missing"):
        load_study(file)


def test_papers_to_compare_with_make_no_record_stale() -> None:
    other = STUDY.model_copy(update={"compare": ("rts",)})
    assert other.search_digest("rts") == STUDY.search_digest("rts")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_what_the_repositorys_papers_name_exists(path: Path) -> None:
    paper = load_paper(path.stem)
    matches = [
        table.match_of(series, label)
        for table in paper.tables
        for series in table.series
        for label in table.points
    ]
    matches += [match for claim in paper.claims for match in (claim.more, claim.than)]
    for match in filter(None, matches):  # none: no method here makes it
        given = {key: value for key, value in match.items() if key not in ("use", "weights")}
        method = find_method(match["use"])
        assert given.keys() <= inspect.signature(method.__init__).parameters.keys()
        assert check_hyperparameters(method, given)[1] == []
    named = {table.dataset for table in paper.tables} | {claim.dataset for claim in paper.claims}
    assert named - {None} <= DATASETS.keys()


def test_the_printed_increments_of_rts_are_those_of_its_first_column() -> None:
    far, steps = load_paper("rts").tables[0].series
    known = [value for value in far.values if value is not None]
    increments = [known[0], *(b - a for a, b in pairwise(known))]
    assert [round(value, 2) for value in increments] == list(steps.values)


def test_the_contraction_of_rts_predicts_its_powers_summed_up() -> None:
    powers = load_paper("rts").tables[1].series[0].values
    sums = [sum(0.779**m for m in range(1, n + 1)) for n in range(1, 9)]
    assert list(powers) == [round(value, 3) for value in sums]


# Reports


def test_a_report_prints_both_with_the_verdict(published: Path, tmp_path: Path) -> None:
    claim = "claims:\n  - {says: twice is better, metric: viqet, more: {use: methods.rts.RTS,"
    claim += " stages: 2}, than: {use: methods.rts.RTS, stages: 1}, paper: 4.0 > 3.9}\n"
    published.write_text(SMALL + claim)
    study = STUDY.model_copy(update={"compare": ("small",)})
    cells = [made(3.0, stages=1, dataset="urban100"), made(3.5, stages=2, dataset="urban100")]
    written = render(study, cells, tmp_path, tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text()
    assert re.search(
        r"\| same trend \(1 of 1 pairs over 2 points\) \| ours +\| 3\.0 +\| 3\.5", text
    )
    assert re.search(r"\| MOS +\| paper \| 3\.9 +\| 4\.0", text)
    assert "tiny run: rts 300 updates; other images than the paper's" in text
    assert "Ours: tiny run: rts 300 updates." in text
    shown = "+0.5000 [+0.5000, +0.5000], 6 images of urban100"
    assert shown in text and shown in (tmp_path / "out" / "report.html").read_text()
    assert "same trend" in (tmp_path / "out" / "table.tex").read_text()
    with written["published.csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["label"], r["printed"], r["ours"]) for r in rows] == [
        ("HR1", "3.9", "3.0"),
        ("HR2", "4.0", "3.5"),
    ]
    trend = "same trend (1 of 1 pairs over 2 points)"
    assert [(r["verdict"], r["trend"]) for r in rows] == [("", trend)] * 2


def test_a_table_that_the_study_ran_nothing_of_is_named_alone(
    published: Path, tmp_path: Path
) -> None:
    study = STUDY.model_copy(update={"compare": ("small",)})
    render(study, [original(3.75)], tmp_path, tmp_path / "out", formats=["md"])
    text = (tmp_path / "out" / "table.md").read_text()
    assert "The study ran nothing of: Table 1." in text and "## Table 1" not in text


def test_without_papers_nothing_is_compared(tmp_path: Path) -> None:
    written = render(STUDY, [original(3.75)], tmp_path, tmp_path / "out", formats=["md", "csv"])
    assert "published.csv" not in written
    assert "verdicts" not in (tmp_path / "out" / "table.md").read_text()
