"""What a report says first, and rows of several studies in one table."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.errors import BenchError
from bench.records.cell import Cell, Score, UsedDataset, write_cell
from bench.report.found import paragraph
from bench.report.joined import join
from bench.report.provenance import Section
from bench.report.rows import choose_rows
from bench.report.scores import columns_of
from bench.report.tables import make_tables
from bench.study.fields import Study

WAVE = np.sin(np.arange(14.0))


def make_study(name: str = "one", *methods: str, **changes: Any) -> Study:
    return Study.model_validate(
        {
            "name": name,
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {method: {"use": "x"} for method in methods},
            "evaluate": {"datasets": ["set5", "set14"], "metrics": ["psnr_y"]},
        }
        | changes
    )


def make_cell(
    study: str, method: str, mean: float, protocol: str = "sr-y@1", files: str = "f"
) -> Cell:
    used = UsedDataset(fingerprint=files, count=14, official=14, source="bicubic")
    return Cell(
        study=study, method=method, use="x", trial=None, seed=0, attempt=0, state="complete",
        parameters={}, fingerprint="feed", datasets={"set14": used},
        scores=[
            Score("set14", 2, f"{k:02d}", "psnr_y", protocol, v) for k, v in enumerate(mean + WAVE)
        ],
    )  # fmt: skip


def said(*means: float, study: Study | None = None) -> str:
    names = "abc"[: len(means)]
    one = study or make_study("one", *names)
    cells = [make_cell("one", n, m) for n, m in zip(names, means, strict=True)]
    rows = choose_rows(one, cells)[0]
    return paragraph(make_tables(one, cells, rows, columns_of(one, cells)), [])


# In plain words


def test_what_is_told_from_all_others_is_called_best() -> None:
    assert said(30.0, 31.0, 29.0) == "set14 x2: b is best in PSNR-Y, told from all others."


def test_what_is_not_told_is_called_first_with_how_many_it_may_be_no_better_than() -> None:
    cells = [make_cell("one", "a", 30.0), make_cell("one", "b", 25.0), make_cell("one", "c", 30.0)]
    scores = [s._replace(value=29.99 + w) for s, w in zip(cells[2].scores, WAVE[::-1], strict=True)]
    cells[2] = cells[2].model_copy(update={"scores": scores})
    study = make_study("one", "a", "b", "c")
    tables = make_tables(study, cells, choose_rows(study, cells)[0], columns_of(study, cells))
    assert paragraph(tables, []) == (
        "set14 x2: a, which cannot be told from 1 of 2 others, is first in PSNR-Y."
    )


def test_nothing_beside_nothing_is_no_finding() -> None:
    assert said(30.0) == ""


def test_the_verdicts_of_claims_are_counted() -> None:
    rows = (("x", "", "", "shown"), ("y", "", "", "not resolved"), ("z", "", "", "shown"))
    claims = Section("Claims", ("claim", "paper", "ours", "verdict"), rows)
    assert paragraph([], [claims]) == (
        "Of 3 claims of papers that were run: 2 shown, 1 not resolved."
    )


def test_the_verdicts_of_numbers_are_counted_in_their_order() -> None:
    rows = (
        ("MOS", "paper", "3.9", "4.0", "4.1"),
        ("same trend", "ours", "3.5", "4.0", "4.1"),
        ("", "verdict", "differs", "match", "match"),
        ("PSNR", "paper", "30.1", "30.2", ""),
        ("", "verdict", "", "match", ""),
    )
    table = Section("Table 1", ("series, trend", "", "HR1", "HR2", "HR3"), rows)
    assert paragraph([], [table]) == (
        "Of 4 numbers of papers on their own images: 3 match, 1 differs."
    )


# Several studies


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(world: Path, study: Study, *cells: Cell) -> None:
    place = world / "home" / "studies" / study.name
    place.mkdir(parents=True)
    (place / "study.json").write_text(study.model_dump_json())
    for cell in cells:
        write_cell(place / "cells", cell)


def test_rows_of_two_studies_are_marked_against_the_best_of_both(world: Path) -> None:
    keep(world, make_study("one", "net"), make_cell("one", "net", 30.0))
    keep(world, make_study("two", "net"), make_cell("two", "net", 31.0))
    done = CliRunner().invoke(cli, ["compare", "one", "two"], catch_exceptions=False)
    assert done.exit_code == 0
    text = (world / "reports" / "compare-one-two" / "table.md").read_text()
    assert re.search(rf"\| one/net +\| +<u>{30 + WAVE.mean():.2f}</u> \|", text)
    assert re.search(rf"\| two/net +\| +\*\*{31 + WAVE.mean():.2f}\*\* \|", text)
    assert "**Found.** set14 x2: two/net is best in PSNR-Y, told from all others." in text
    page = (world / "reports" / "compare-one-two" / "report.html").read_text()
    assert "<b>Found.</b> set14 x2: two/net" in page


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"protocol": "full@1"}, r"under several protocols \(one: sr-y@1; two: full@1\)"),
        ({"files": "g"}, r"on different files \(one: f; two: g\)"),
    ],
)
def test_a_set_whose_numbers_do_not_fit_is_refused_with_the_reason(
    world: Path, changed: dict[str, str], why: str
) -> None:
    keep(world, make_study("one", "net"), make_cell("one", "net", 30.0))
    other = make_cell("two", "net", 31.0, **changed)
    keep(world, make_study("two", "net"), other)
    with pytest.raises(BenchError, match=rf"No set can be joined.\nset14 is left out, .*{why}"):
        join(["one", "two"], None, ["md"])
    small = Score("set5", 2, "a", "psnr_y", "sr-y@1", 33.0)
    for name in ("one", "two"):
        cell = make_cell(name, "net", 30.0, **(changed if name == "two" else {}))
        both = cell.model_copy(update={"scores": [*cell.scores, small]})
        write_cell(world / "home" / "studies" / name / "cells", both)
    reasons, written = join(["one", "two"], None, ["md"])
    assert len(reasons) == 1 and re.search(why, reasons[0])
    text = written["table.md"].read_text()
    assert (
        reasons[0].replace(">", "\\>") in text and "## set5 x2" in text and "## set14" not in text
    )


def test_other_tasks_and_one_study_are_refused(world: Path) -> None:
    keep(world, make_study("one", "net"), make_cell("one", "net", 30.0))
    task = {"kind": "super-resolution", "scale": 4}
    keep(world, make_study("two", "net", task=task), make_cell("two", "net", 31.0))
    with pytest.raises(BenchError, match=r"super-resolution x2 of bicubic and .* x4 of bicubic"):
        join(["one", "two"], None, ["md"])
    with pytest.raises(BenchError, match="two studies or more"):
        join(["one", "one"], None, ["md"])
    with pytest.raises(BenchError, match=r"unknown study 'tow'. Did you mean 'two'"):
        join(["one", "tow"], None, ["md"])
