"""A study goes to another machine as one file, whole or not at all."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bench.data.roots import home
from bench.errors import BenchError
from bench.records.cell import Cell, Score, load_records, write_cell
from bench.records.place import Place
from bench.report.archive import LIST, export_study, import_study
from bench.report.render import write_report
from bench.study.fields import Study

Change = Callable[[dict[str, bytes]], None]


def make_study(**more: object) -> Study:
    fields: dict[str, object] = {
        "name": "mine", "task": {"kind": "super-resolution", "scale": 2},
        "methods": {"a": {"use": "x"}, "b": {"use": "x"}},
        "evaluate": {"datasets": ["set5"], "metrics": ["psnr_y"]},
    }  # fmt: skip
    return Study(**(fields | more))  # type: ignore[arg-type]


def write_records(value: float = 30.0) -> Place:
    place = Place(home(), "mine")
    place.root.mkdir(parents=True)
    place.study_file.write_text(make_study().model_dump_json())
    for k, method in enumerate("ab"):
        write_cell(
            place.cells,
            Cell(study="mine", method=method, use="x", trial=None, seed=0, attempt=0,
                 state="complete", parameters={}, fingerprint="feed", run_id="gone",
                 scores=[Score("set5", 2, "img", "psnr_y", "sr-y@1", value + k)]),
        )  # fmt: skip
    for k, name in enumerate(("reference", "a-s0", "b-s0")):
        for image in ("img", "unseen"):
            file = place.pictures / name / "set5" / f"{image}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (80, 80), (90 * k, 0, 0)).save(file)
    return place


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of another machine, whose home is gone; this machine's is empty."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "there"))
    write_records()
    file = export_study("mine", tmp_path / "mine.bench.zip")
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "here"))
    return file


def changed(file: Path, change: Change) -> Path:
    """The archive with other members."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    other = file.with_name("changed.zip")
    with zipfile.ZipFile(other, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    return other


def test_another_machine_reports_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    assert import_study(archive) == ("mine", 2)
    study, cells, pictures = load_records("mine")
    assert study == make_study() and [cell.method for cell in cells] == ["a", "b"]
    seen = {p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png")}
    assert seen == {f"{name}/set5/img.png" for name in ("reference", "a-s0", "b-s0")}
    written = write_report("mine", tmp_path / "out")
    with zipfile.ZipFile(archive) as file:
        for name in ("table.md", "report.html", "scores.csv", "figures/strip-set5.png"):
            assert written[name].read_bytes() == file.read(f"report/{name}"), name


def test_a_second_import_adds_nothing(archive: Path) -> None:
    import_study(archive)
    assert import_study(archive) == ("mine", 0)


def test_records_that_are_missing_here_join_those_that_are_there(archive: Path) -> None:
    import_study(archive)
    (Place(home(), "mine").cells / "b-s0.json").unlink()
    assert import_study(archive) == ("mine", 1)


def test_another_study_of_the_name_is_refused(archive: Path) -> None:
    place = Place(home(), "mine")
    place.root.mkdir(parents=True)
    text = make_study(methods={"a": {"use": "y"}}).model_dump_json()
    place.study_file.write_text(text)
    with pytest.raises(BenchError, match="another study called mine, which differs in methods"):
        import_study(archive)
    assert place.study_file.read_text() == text and not place.cells.exists()


def test_another_record_of_a_trial_is_refused(archive: Path) -> None:
    place = write_records(value=20.0)
    before = {path: path.read_bytes() for path in place.root.rglob("*.json")}
    with pytest.raises(BenchError, match="there are other records here: a-s0"):
        import_study(archive)
    assert {path: path.read_bytes() for path in place.root.rglob("*.json")} == before


def _of_tomorrow(members: dict[str, bytes]) -> None:
    told = json.loads(members[LIST])
    members[LIST] = json.dumps(told | {"format": 9, "bench": "7.0"}).encode()


def _climbs(members: dict[str, bytes]) -> None:
    told = json.loads(members[LIST])
    told["files"]["pictures/../../../evil.png"] = "0"
    members[LIST] = json.dumps(told).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m.update({"cells/a-s0.json": b"{}"}),
            "a-s0.json is not what its list says",
        ),
        (lambda m: m.pop("cells/a-s0.json"), "cells/a-s0.json cannot be read"),
        (lambda m: m.update({LIST: b"[]"}), "its list cannot be read"),
        (lambda m: m.pop(LIST), "not an archive that `bench export` has written"),
        (_of_tomorrow, "of format 9, written by bench 7.0"),
        (_climbs, "holds what no study has"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    archive: Path, change: Change, said: str
) -> None:
    with pytest.raises(BenchError, match=said):
        import_study(changed(archive, change))
    assert not Place(home(), "mine").root.exists()


def test_a_file_cut_short_is_refused(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(BenchError, match="not an archive"):
        import_study(archive)


def test_export_overwrites_no_file_that_it_did_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_records()
    mine = tmp_path / "thesis.zip"
    mine.write_text("all of it")
    with pytest.raises(BenchError, match="not an archive of bench"):
        export_study("mine", mine)
    assert mine.read_text() == "all of it"
