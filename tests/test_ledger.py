"""Printed numbers beside all that a home has run: who answers, and what is said of it."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.errors import BenchError
from bench.records.cell import Cell, Score, TrainedStage, UsedDataset, write_cell
from bench.report.papers.ledger import Entry
from bench.report.papers.pages import ledger, write_paper
from bench.report.papers.published import load_paper, load_papers, paper_files
from bench.report.papers.verdicts import cell_verdict
from bench.study.fields import Study

NET = "methods.edsr.EDSR"
IMAGES = ("a", "b")
PAPER = """\
paper: Somebody
source: table 1
protocol: sr-y@1
tables:
  - title: Set5 x2
    setting: five images
    dataset: set5
    scale: 2
    degradation: bicubic
    points:
      Bicubic: {use: methods.classical.Bicubic}
      Net: {use: methods.edsr.EDSR, blocks: 16}
      Theirs: null
    series:
      - {name: PSNR, metric: psnr_y, values: [33.66, 37.99, 38.11]}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a folder with one small paper."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports" / "published").mkdir(parents=True)
    (tmp_path / "reports" / "published" / "small.yaml").write_text(PAPER)
    return tmp_path


def swept(
    world: Path,
    study: str,
    value: float,
    *,
    row: str = "whatever",
    use: str = NET,
    weights: str | None = None,
    steps: int = 0,
    protocol: str = "sr-y@1",
    count: int = 5,
    degradation: str = "bicubic",
    started: str = "2026-01-01",
    **parameters: Any,
) -> None:
    """Writes a study of one row, each image of set5 x2 with this PSNR."""
    section = {"use": use} | ({} if weights is None else {"weights": weights})
    place = world / "home" / "studies" / study
    place.mkdir(parents=True)
    made = Study.model_validate(
        {
            "name": study,
            "task": {"kind": "super-resolution", "scale": 2, "degradation": degradation},
            "train": {"dataset": "div2k_train", "patch": 96},
            "methods": {row: section | parameters},
            "evaluate": {"datasets": ["set5"], "metrics": ["psnr_y"]},
        }
    )
    (place / "study.json").write_text(made.model_dump_json())
    stage = TrainedStage(
        name="sr", key="k", steps=steps, parameters=9, seconds=1.0, reused=False,
        precision="fp32", device="cpu",
    )  # fmt: skip
    used = UsedDataset(fingerprint="f", count=count, official=5, source="bicubic")
    write_cell(
        place / "cells",
        Cell(
            study=study, method=row, use=use, trial=None, seed=0, attempt=0, state="complete",
            parameters=parameters, fingerprint="feed", started=started,
            scores=[Score("set5", 2, image, "psnr_y", protocol, value) for image in IMAGES],
            datasets={"set5": used}, stages=[stage] if steps else [],
        ),
    )  # fmt: skip


def entry(label: str) -> Entry:
    (found,) = (one for one in ledger(["small"])[0] if one.label == label)
    return found


# Verdicts


@pytest.mark.parametrize(
    ("name", "printed", "ours", "digits", "told"),
    [
        ("psnr_y", 33.66, 33.69, 2, "match"),
        ("psnr_y", 33.66, 33.70, 2, "close"),
        ("psnr", 33.66, 33.51, 2, "close"),
        ("psnr", 33.66, 33.50, 2, "differs"),
        ("psnr_y", 33.7, 33.66, 1, "match"),  # half a unit of the last digit is 0.05
        ("ssim_y", 0.93, 0.934, 2, "match"),
        ("ssim_y", 0.9299, 0.9310, 4, "close"),
        ("niqe", 3.402, 3.43, 3, "close"),
        ("viqet.saturation", 117.3, 117.5, 1, "match"),  # 0.2 % are 0.23
        ("viqet.saturation", 117.3, 118.6, 1, "differs"),  # 1 % are 1.17
    ],
)
def test_a_verdict_has_a_tolerance_for_each_metric_no_finer_than_the_digits(
    name: str, printed: float, ours: float, digits: int, told: str
) -> None:
    assert cell_verdict(name, printed, ours, digits, whole=True) == told


def test_equal_numbers_of_a_part_of_the_set_are_close_at_best() -> None:
    assert cell_verdict("psnr", 33.66, 33.66, 2, whole=False) == "close"
    assert cell_verdict("psnr", 33.66, 30.0, 2, whole=False) == "differs"


# Who answers


def test_a_run_is_found_by_its_method_whatever_the_study_calls_it(world: Path) -> None:
    swept(world, "mine", 33.68, row="edsr", use="methods.classical.Bicubic")
    found = entry("Bicubic")
    assert (found.verdict, found.ours, found.run and found.run.label) == (
        "match", 33.68, "mine/edsr",
    )  # fmt: skip
    assert entry("Net").verdict == "not run" and entry("Net").note == "no finished trial ran it"
    assert (
        entry("Theirs").verdict == "not run" and entry("Theirs").note == "no method here makes it"
    )


def test_other_hyper_parameters_are_another_method(world: Path) -> None:
    swept(world, "small", 37.99, blocks=4)
    assert entry("Net").verdict == "not run"


def test_another_task_is_not_run(world: Path) -> None:
    swept(world, "harder", 37.99, blocks=16, degradation="low_light")
    assert entry("Net").verdict == "not run"


def test_weights_at_hand_answer_before_a_training_and_a_long_before_a_short(world: Path) -> None:
    swept(world, "later", 37.99, blocks=16, steps=300, started="2026-09-09")
    assert entry("Net").run and entry("Net").verdict == "match"
    swept(world, "longer", 37.5, blocks=16, steps=20_000)
    found = entry("Net")
    assert found.verdict == "differs" and found.run and found.run.label == "longer/whatever"
    swept(world, "best", 38.1, blocks=16, weights="published:edsr_baseline")
    found = entry("Net")
    assert (found.verdict, found.run and found.run.scale()) == (
        "close", "weights published:edsr_baseline",
    )  # fmt: skip


def test_a_number_of_other_weights_is_not_theirs(world: Path) -> None:
    named = PAPER.replace("blocks: 16}", 'blocks: 16, weights: "published:edsr_baseline"}')
    (world / "reports" / "published" / "small.yaml").write_text(named)
    swept(world, "own", 37.99, blocks=16, steps=300)
    assert entry("Net").verdict == "not run"
    swept(world, "theirs", 37.99, blocks=16, weights="published:edsr_baseline")
    assert entry("Net").verdict == "match"


def test_a_part_of_the_set_is_no_match_and_says_so(world: Path) -> None:
    swept(world, "part", 33.66, use="methods.classical.Bicubic", count=2)
    assert (entry("Bicubic").verdict, entry("Bicubic").note) == ("close", "2/5 images")


def test_another_protocol_is_no_run_and_none_in_the_paper_is_unknown(world: Path) -> None:
    swept(world, "rgb", 33.66, use="methods.classical.Bicubic", protocol="sr-rgb@1")
    assert entry("Bicubic").verdict == "not run"
    assert entry("Bicubic").note == "scored under sr-rgb@1, printed under sr-y@1"
    silent = PAPER.replace("protocol: sr-y@1\n", "")
    (world / "reports" / "published" / "small.yaml").write_text(silent)
    assert (entry("Bicubic").verdict, entry("Bicubic").ours) == ("protocol unknown", 33.66)


def test_the_scale_of_a_run_is_read_from_its_record(world: Path) -> None:
    swept(world, "tiny", 30.0, blocks=16, steps=300)
    run = entry("Net").run
    assert run and run.scale() == "300 updates, patches of 96 of div2k_train, seed 0, tiny run"


# Pages and verbs


def test_a_paper_is_printed_again_in_three_languages(world: Path) -> None:
    swept(world, "mine", 33.68, use="methods.classical.Bicubic")
    told, files = write_paper("small", None, ["md", "tex", "html"])
    assert told == "Of 3 printed numbers 1 was run here: 1 matches."
    text = files["table.md"].read_text()
    assert "| PSNR   | published  | 33.66   | 37.99   | 38.11   |" in text
    assert "|        | measured   | 33.68   | —       | —       |" in text
    assert "|        | difference | +0.02   | —       | —       |" in text
    assert "|        | verdict    | match   | not run | not run |" in text
    assert "- Ours, Bicubic: mine/whatever, nothing trained." in text
    assert "The paper's: five images." in text and "> Source: table 1." in text
    tex = files["table.tex"].read_text()
    assert (
        "PSNR & published & 33.66 & 37.99 & 38.11 \\\\" in tex and r"\begin{tabular}{lllll}" in tex
    )
    assert "<td>match</td>" in files["report.html"].read_text()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX on this machine")
def test_the_latex_of_a_paper_compiles(world: Path) -> None:
    file = write_paper("rts", None, ["tex"])[1]["table.tex"]
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True)
    assert done.returncode == 0 and file.with_suffix(".pdf").is_file(), done.stdout[-2000:]


def test_the_ledger_counts_each_paper_and_names_each_run(world: Path) -> None:
    swept(world, "mine", 33.68, use="methods.classical.Bicubic")
    done = CliRunner().invoke(cli, ["ledger"], catch_exceptions=False)
    assert "small" in done.output and (world / "reports" / "ledger" / "table.md").is_file()
    text = (world / "reports" / "ledger" / "table.md").read_text()
    assert re.search(r"\| small +\| Set5 x2 +\| PSNR, Bicubic +\|.*\| mine/whatever \|", text)
    line = next(line for line in done.output.splitlines() if line.startswith("small "))
    assert line.split()[1:] == ["1", "0", "0", "0", "2", "3"]
    answer = json.loads(CliRunner().invoke(cli, ["ledger", "--json"]).output)
    told = Counter(number["verdict"] for number in answer["numbers"] if number["paper"] == "small")
    assert told == {"match": 1, "not run": 2}


def test_the_verb_report_takes_a_study_or_a_paper(world: Path) -> None:
    for words in ([], ["mine", "--paper", "small"]):
        with pytest.raises(BenchError, match=r"a study, or a paper with --paper"):
            CliRunner().invoke(cli, ["report", *words], catch_exceptions=False)
    with pytest.raises(BenchError, match=r"unknown paper 'smal'. Did you mean 'small'"):
        CliRunner().invoke(cli, ["report", "--paper", "smal"], catch_exceptions=False)
    with pytest.raises(BenchError, match=r"unknown format 'mdd'. Did you mean 'md'"):
        CliRunner().invoke(
            cli, ["report", "--paper", "small", "--format", "mdd"], catch_exceptions=False
        )


def test_a_home_with_a_broken_study_says_so_and_counts_the_rest(world: Path) -> None:
    swept(world, "mine", 33.68, use="methods.classical.Bicubic")
    broken = world / "home" / "studies" / "broken"
    broken.mkdir()
    (broken / "study.json").write_text("{")
    found, told = ledger(["small"])
    assert [one.verdict for one in found] == ["match", "not run", "not run"]
    assert len(told) == 1 and told[0].startswith("Left out: ") and "broken" in told[0]


# What ships


def test_the_papers_that_ship_are_more_than_400_numbers_each_with_its_source() -> None:
    found = load_papers(sorted(paper_files()))
    assert all(paper.source for paper in found.values())
    numbers = [v for p in found.values() for t in p.tables for s in t.series for v in s.values]
    assert sum(value is not None for value in numbers) >= 400


def test_a_protocol_in_a_papers_file_is_a_known_one(world: Path) -> None:
    (world / "reports" / "published" / "small.yaml").write_text(PAPER.replace("sr-y@1", "sr-y"))
    with pytest.raises(BenchError, match=r"small.yaml:3: protocol: .*Did you mean 'sr-y@1'"):
        load_paper("small")
