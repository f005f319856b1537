"""Where a report goes: what bench did not write stays, what it wrote it replaces, or nothing."""

import errno
import json
import os
from pathlib import Path

import matplotlib.figure
import pytest
from test_report import full_study, make_cell, make_study, write_pictures

from bench.errors import BenchError
from bench.records.cell import Cell
from bench.report import render as rendering
from bench.report.figures import style
from bench.report.render import check_folder, render
from bench.study.fields import Study

LIST = ".bench-report.json"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def plain() -> tuple[Study, list[Cell]]:
    """A report without figures."""
    return make_study(), [make_cell()]


def report(out: Path, study: Study, cells: list[Cell], **more: object) -> dict[str, Path]:
    return render(study, cells, out.parent / "pictures", out, **more)  # type: ignore[arg-type]


@pytest.fixture
def pages_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure stands in the page as PNG, as versions had it that kept no list."""
    monkeypatch.setattr(style, "MOST_ANSWERS", 0)


def bytes_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def plot(path: Path) -> None:
    """A picture that somebody else drew with matplotlib."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    figure.savefig(path)


def test_the_users_own_pictures_stay_whatever_they_are_called(out: Path) -> None:
    names = ("strip-mine", "curves-mine", "trade-off-2019", "response-lr")
    for name in names:
        plot(out / "figures" / f"{name}.png")
    (out / "notes.md").write_text("mine")
    before = bytes_below(out)
    study, cells = full_study()
    for _ in range(2):
        written = report(out, study, cells)
        assert "figures/trade-off.png" in written
        assert before.items() <= bytes_below(out).items()
        assert not before.keys() & json.loads((out / LIST).read_text())["files"].keys()


@pytest.mark.parametrize("name", ["table.tex", "table.md", "scores.csv", "figures/trade-off.png"])
def test_what_bench_did_not_write_is_refused_by_name_and_nothing_is_written(
    out: Path, name: str
) -> None:
    plot(out / name) if name.endswith("png") else out.mkdir()
    if not name.endswith("png"):
        (out / name).write_text("% my own table\n")
    before = bytes_below(out)
    with pytest.raises(BenchError, match="has written nothing") as caught:
        report(out, *full_study())
    assert str(caught.value).startswith(f"{out}: not written by bench") and name in str(
        caught.value
    )
    assert bytes_below(out) == before


def test_a_report_that_was_edited_is_the_users(out: Path) -> None:
    study, cells = plain()
    report(out, study, cells)
    with (out / "table.md").open("a") as file:
        file.write("\nMy remark.\n")
    before = bytes_below(out)
    with pytest.raises(BenchError, match=r"changed since: table\.md\."):
        report(out, study, cells)
    assert bytes_below(out) == before
    (out / "table.md").rename(out / "mine.md")
    report(out, study, cells)
    assert "My remark." in (out / "mine.md").read_text()


def test_figures_of_the_last_report_go_unless_somebody_changed_them(out: Path) -> None:
    study, cells = full_study()
    write_pictures(out.parent / "pictures", cells)
    report(out, study, cells)
    plot(out / "figures" / "strip-set5.png")
    painted = (out / "figures" / "strip-set5.png").read_bytes()
    report(out, make_study(), [make_cell(scores={})])
    assert [*bytes_below(out / "figures")] == ["strip-set5.png"]
    assert (out / "figures" / "strip-set5.png").read_bytes() == painted


def test_a_report_in_one_format_leaves_the_others(out: Path) -> None:
    study, cells = full_study()
    report(out, study, cells)
    before = bytes_below(out)
    report(out, study, [make_cell()], formats=("csv",))
    after = bytes_below(out)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"scores.csv", "scores.parquet", "trials.csv", LIST}
    assert set(report(out, study, cells)) >= {"table.tex", "scores.csv", "figures/trade-off.png"}


def test_a_folder_that_holds_another_studys_report_is_refused(out: Path) -> None:
    study, cells = plain()
    report(out, study, cells)
    before = bytes_below(out)
    with pytest.raises(BenchError, match="holds the report of the study 'gamma'"):
        report(out, make_study(name="delta"), [])
    assert bytes_below(out) == before


@pytest.mark.usefixtures("pages_of_pictures")
def test_the_report_of_a_version_without_a_list_is_put_aside_whole(out: Path) -> None:
    study, cells = full_study()
    report(out, study, cells)
    (out / LIST).unlink()
    with (out / "table.md").open("a") as file:
        file.write("\nMy remark.\n")  # nobody can tell
    plot(out / "figures" / "strip-mine.png")
    before = bytes_below(out)
    check_folder(study, out)
    written = report(out, study, cells)
    aside = bytes_below(written["earlier"])
    assert aside == {
        name: text for name, text in before.items() if name != "figures/strip-mine.png"
    }
    assert (out / "figures/strip-mine.png").is_file()
    assert "earlier" not in report(out, study, cells), "once"


@pytest.mark.usefixtures("pages_of_pictures")
def test_of_a_version_without_a_list_only_what_is_replaced_is_put_aside(out: Path) -> None:
    study, cells = full_study()
    report(out, study, cells)
    (out / LIST).unlink()
    first = report(out, study, cells, formats=("tex",))
    assert [*bytes_below(first["earlier"])] == ["table.tex"]
    assert "earlier" in report(out, study, cells), "the others are still known by how they begin"


@pytest.mark.parametrize("step", ["figures", "page", "scores"])
def test_a_full_disk_leaves_the_last_report_as_it_was(
    out: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    study, cells = full_study()
    report(out, study, cells)
    before = bytes_below(out)

    def full(*args: object, **more: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "figures":
        monkeypatch.setattr(matplotlib.figure.Figure, "savefig", full)
    elif step == "page":
        monkeypatch.setitem(rendering.TEXTS, "html", ("report.html", full))
    else:
        monkeypatch.setattr(rendering, "_write_scores", full)
    with pytest.raises(OSError, match="No space left"):
        report(out, study, cells[:-2])
    assert bytes_below(out) == before and not [*out.glob(".bench-report-*")]


def test_a_kill_between_two_files_leaves_a_folder_that_bench_knows(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cells = plain()
    report(out, study, cells)
    replace, done = os.replace, []

    def cut_off(source: Path, target: Path) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(target)
        replace(source, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", cut_off)
        report(out, study, [make_cell(run_id="other")])
    assert len(done) == 3
    written = report(out, study, [make_cell(run_id="other")])
    assert "other" in written["table.md"].read_text() and "earlier" not in written


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "{"])
def test_a_list_that_cannot_be_read_loses_nothing(out: Path, text: str) -> None:
    study, cells = plain()
    report(out, study, cells)
    before = bytes_below(out)
    (out / LIST).write_text(text)
    aside = bytes_below(report(out, study, cells)["earlier"])
    assert aside == {name: content for name, content in before.items() if name != LIST}


def test_a_file_for_a_folder_is_one_message(out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(BenchError, match=r"is a file\. Name a folder"):
        check_folder(make_study(), out)
    out.unlink()
    out.mkdir()
    (out / "figures").write_text("mine")
    with pytest.raises(BenchError, match="changed since: figures"):
        report(out, *full_study())


def test_a_sweep_is_refused_before_it_trains(out: Path) -> None:
    out.mkdir()
    (out / "table.tex").write_text("% mine")
    with pytest.raises(BenchError, match=r"table\.tex"):
        check_folder(make_study(), out)
