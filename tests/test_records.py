"""Records that are damaged, of another version, another study's, or without their weights."""

import json
import os
import shutil
from pathlib import Path

import pytest
from kit import Ended, cells, commands, make_world, stage_times, write_study
from test_report import make_cell, make_study

from bench.errors import BenchError
from bench.records.cell import load_cells, load_losses, load_records, write_cell
from bench.records.place import Place, one_at_a_time, study_lock
from bench.study.fields import Study
from bench.sweep.identity import gpu_driver
from bench.sweep.owner import another_study

ROWS = "plain: {use: nets.Plain}\nshift: {use: nets.Shift}"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which a study without ranges has been swept; nothing may be changed in it."""
    world = make_world(tmp_path_factory.mktemp("records") / "world")
    write_study(world, ROWS, select="", budget="")
    ended = commands().run(world, "sweep", "tiny.yaml")
    assert ended.status == 0, ended.err
    return world


@pytest.fixture
def world(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept, tmp_path / "world", ignore=shutil.ignore_patterns("command-*"))
    record = tmp_path / "world/home/studies/tiny/study.json"  # it names its file
    record.write_text(record.read_text().replace(str(swept), str(tmp_path / "world")))
    return tmp_path / "world"


def bench(world: Path, *arguments: str) -> Ended:
    return commands().run(world, *arguments)


def refused(ended: Ended) -> str:
    """What a verb says, but for a sweep's line that the home, which is a copy, was moved."""
    lines = [line for line in ended.err.splitlines(True) if ": moved here from " not in line]
    said = "".join(lines)
    assert (ended.status, ended.out) == (2, "")
    assert said.startswith("Error: ") and "Traceback" not in said
    return said


# --- damaged files ------------------------------------------------------------------------------


def of_an_older_version(text: str) -> str:
    return json.dumps(
        {key: value for key, value in json.loads(text).items() if key != "parameters"}
    )


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text[: len(text) // 2], "Invalid JSON"),
        (lambda text: "", "Invalid JSON"),
        (lambda text: "[]", "object"),
        (of_an_older_version, "parameters: field required"),
    ],
    ids=["cut short", "empty", "a list", "older"],
)
def test_a_record_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, damage, why: str
) -> None:
    file = write_cell(tmp_path, make_cell())
    file.write_text(damage(file.read_text()))
    with pytest.raises(BenchError) as caught:
        load_cells(tmp_path)
    first, advice = str(caught.value).splitlines()
    assert first.startswith(f"{file}: not a record") and why in first and "sweep again" in advice


def test_many_such_records_are_one_message(tmp_path: Path) -> None:
    for seed in range(5):
        write_cell(tmp_path, make_cell(seed=seed)).write_text("")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(BenchError) as caught:
        load_cells(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5 and lines[3] == f"3 more records in {tmp_path}"


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "Invalid JSON"), ('{"name": "gamma"', "Invalid JSON"), ("{}", "name: field required"),
     (make_study().model_dump_json()[:-1] + ',"future":1}', "future: extra"), (None, "No such")],
    ids=["empty", "cut short", "older", "newer", "gone"],
)  # fmt: skip
def test_a_study_file_of_the_records_that_cannot_be_read_is_named(
    bench_home: Path, text: str | None, why: str
) -> None:
    place = Place(bench_home, "gamma")
    write_cell(place.cells, make_cell())
    if text is not None:
        place.study_file.write_text(text)
    with pytest.raises(BenchError) as caught:
        load_records("gamma")
    assert str(caught.value).startswith(f"{place.study_file}: ") and why in str(caught.value)
    assert "sweep the study's own file again" in str(caught.value)


def test_a_full_disk_leaves_the_study_file_of_the_records_whole(world: Path) -> None:
    file = world / "home/studies/tiny/study.json"
    before = file.read_text()
    full = """
import os
real = os.replace
def replace(source, target):
    if str(target).endswith("study.json"):
        raise OSError(28, "No space left on device", str(target))
    real(source, target)
os.replace = replace
"""
    told = refused(commands().run(world, "sweep", "tiny.yaml", before=full))
    assert "the disk is full" in told and file.read_text() == before


def test_a_folder_where_a_file_belongs_is_one_message(tmp_path: Path) -> None:
    place = Place(tmp_path, "tiny")
    place.lock.mkdir(parents=True)
    with pytest.raises(BenchError, match=r"studies/tiny/lock: is a folder"), study_lock(place):
        pass
    (tmp_path / "lock").mkdir()
    with pytest.raises(BenchError, match=r"lock: is a folder"), one_at_a_time(tmp_path):
        pass
    place.cells.write_text("")
    with pytest.raises(BenchError, match=r"cells: is no folder"):
        load_cells(place.cells)


def test_losses_that_are_cut_short_are_none(bench_home: Path) -> None:
    file = bench_home / "store/stages/key/losses.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PK\x03\x04 and no end")
    assert load_losses("key") == {}


def test_every_verb_tells_of_a_damaged_record_alike_and_nothing_is_lost(world: Path) -> None:
    record = world / "home/studies/tiny/cells/plain-s0.json"
    record.write_text(record.read_text()[:200])
    before = stage_times(world / "home")
    verbs = [("sweep", "tiny.yaml"), ("status", "tiny"), ("report", "tiny"), ("clean",),
             ("restore", "tiny/shift-s0", "data/Set5/HR/00.png", "--out", "out")]  # fmt: skip
    told = {refused(bench(world, *verb)) for verb in verbs}
    assert len(told) == 1 and str(record) in told.pop()
    record.rename(world / "aside.json")
    assert bench(world, "sweep", "tiny.yaml").status == 0
    assert set(cells(world / "home")) == {"plain-s0", "shift-s0"}
    assert stage_times(world / "home") == before


def test_a_sweep_writes_a_damaged_study_file_anew(world: Path) -> None:
    file = world / "home/studies/tiny/study.json"
    whole = file.read_text()
    file.write_text(whole[:100])
    assert str(file) in refused(bench(world, "status", "tiny"))
    ended = bench(world, "sweep", "tiny.yaml")
    assert ended.status == 0 and "2 of them already recorded" in ended.err
    assert file.read_text() == whole


# --- pictures of the user's ---------------------------------------------------------------------


def test_what_the_user_has_put_beside_restored_pictures_stays(world: Path) -> None:
    pictures = world / "home/studies/tiny/pictures"
    (pictures / "mine").mkdir()
    (pictures / "mine" / "a.txt").write_text("mine")
    (pictures / "notes.txt").write_text("mine")
    for verb in (("clean",), ("sweep", "tiny.yaml", "--fresh")):
        ended = bench(world, *verb)
        assert ended.status == 0, ended.err
        assert (pictures / "mine" / "a.txt").is_file() and (pictures / "notes.txt").is_file()


# --- two files of one name ----------------------------------------------------------------------


def study_of(file: Path, steps: int = 8, **changes: str) -> Study:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"name: {changes.get('in_file', 'gamma')}\n")
    train = {"dataset": "set5", "steps": steps}
    return make_study(
        train=train, folder=str(file.parent), file=file.name, header=changes.get("header", "")
    )


def test_another_file_of_the_same_name_that_says_otherwise_may_not_take_the_records(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    why = another_study(study_of(second, steps=9), study_of(first))
    assert str(first) in why and str(second) in why and "differ in train" in why
    assert "--fresh" in why and "--keep" in why


def test_who_edits_moves_or_copies_a_study_goes_on_with_its_records(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    assert another_study(study_of(first, steps=9), study_of(first)) == "", "edited"
    assert another_study(study_of(second, header="Why?"), study_of(first)) == "", "copied"
    recorded = study_of(first)
    first.unlink()
    assert another_study(study_of(second, steps=9), recorded) == "", "moved and edited"
    recorded = study_of(first, in_file="other")
    assert another_study(study_of(second, steps=9), recorded) == "", "the first has another name"
    unknown = make_study()
    assert another_study(study_of(second), unknown) == "", "of a version that did not say the file"


def test_a_second_file_is_refused_before_anything_is_touched(world: Path) -> None:
    home = world / "home"
    before, text = cells(home), (home / "studies/tiny/study.json").read_text()
    (world / "more").mkdir()
    second = write_study(
        world / "more", "plain: {use: nets.Plain, error: 0.1}", select="", budget=""
    )
    told = refused(bench(world, "sweep", str(second)))
    assert str(second) in told and str(world / "tiny.yaml") in told and "--fresh" in told
    assert cells(home) == before and (home / "studies/tiny/study.json").read_text() == text
    assert bench(world, "sweep", str(second), "--keep").status == 0
    assert cells(home)["plain-s0"]["kept"]


# --- weights that are gone ----------------------------------------------------------------------


def test_weights_that_somebody_deleted_are_trained_again_and_it_is_said(world: Path) -> None:
    home = world / "home"
    before = cells(home)["shift-s0"]
    (stage,) = before["stages"]
    entry = home / "store/stages" / stage["key"]
    restore = ("restore", "tiny/shift-s0", "data/Set5/HR/00.png", "--out", "out")
    os.truncate(entry / "weights.pth", 100)
    told = refused(bench(world, *restore))
    assert "weights of stage fit are missing or damaged" in told and str(entry) in told
    shutil.rmtree(home / "store")
    assert "stage fit" in bench(world, "status", "tiny").out
    kept = bench(world, "sweep", "tiny.yaml", "--keep")
    assert kept.status == 0 and "again" not in kept.err
    ended = bench(world, "sweep", "tiny.yaml")
    assert ended.status == 0, ended.err
    line = "shift: the weights of stage fit are missing or damaged in the store"
    assert f"{line}: training it again" in ended.err
    after = cells(home)["shift-s0"]
    assert after["scores"] == before["scores"] and after["fingerprint"] == before["fingerprint"]
    assert bench(world, *restore).status == 0


def test_records_from_another_machine_need_no_weights_here(world: Path) -> None:
    for file in (world / "home/studies/tiny/cells").glob("*.json"):
        record = json.loads(file.read_text())
        record["environment"]["host"] = "elsewhere"
        file.write_text(json.dumps(record))
    shutil.rmtree(world / "home/store/stages")
    ended = bench(world, "sweep", "tiny.yaml")
    assert ended.status == 0 and "2 of them already recorded" in ended.err
    told = refused(bench(world, "restore", "tiny/shift-s0", "data/Set5/HR/00.png", "--out", "out"))
    assert "trained on elsewhere" in told


def test_the_driver_of_a_gpu_is_read_from_what_its_module_says(tmp_path: Path):
    said = tmp_path / "version"
    said.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
        "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
    )
    assert gpu_driver(said) == "570.86.15"
    assert gpu_driver(tmp_path / "none") == ""
