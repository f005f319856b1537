"""`bench new`: the studies that ship, and a copy to begin from."""

import json
from pathlib import Path

import pytest

import bench.cli
from bench.errors import BenchError
from bench.look.new import copy_example, examples

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_study_ships_with_its_question_and_cost():
    rows = {row["name"]: row for row in examples()}
    assert set(rows) == {file.stem for file in STUDIES.glob("*.yaml")}
    for row in rows.values():
        assert row["question"].partition("?")[1] and row["cost"], row
    assert rows["gamma"]["question"] == "Does rewarding predicted aesthetics cost fidelity?"
    assert rows["gamma"]["cost"] == "about 90 s on 2 cores"
    assert rows["rts_small"]["cost"] == "25 to 27 min on 2 cores"


def test_a_copy_lies_where_the_commands_look(here: Path):
    assert copy_example("srcnn") == Path("studies/srcnn.yaml")
    assert (here / "studies/srcnn.yaml").read_bytes() == (STUDIES / "srcnn.yaml").read_bytes()
    assert copy_example("srcnn", Path("own/wide.yaml")) == Path("own/wide.yaml")
    assert (here / "own/wide.yaml").read_bytes() == (STUDIES / "srcnn.yaml").read_bytes()


def test_nothing_that_is_there_is_overwritten(here: Path):
    (here / "studies").mkdir()
    (here / "studies/gamma.yaml").write_text("mine")
    with pytest.raises(BenchError, match=r"studies/gamma\.yaml: is there already.*--to FILE"):
        copy_example("gamma")
    assert (here / "studies/gamma.yaml").read_text() == "mine"


def test_mistakes_are_named(here: Path):
    with pytest.raises(BenchError, match=r"unknown example 'gama'\. Did you mean 'gamma'\? Known"):
        copy_example("gama")
    with pytest.raises(BenchError, match=r"--to folder: name a file that ends in \.yaml"):
        copy_example("gamma", Path("folder"))
    assert list(here.iterdir()) == []


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["bench", "new", *words])
    with pytest.raises(SystemExit) as ended:
        bench.cli.main()
    return ended.value.code


def test_the_commands_to_type_next_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert run(monkeypatch, "gamma", "--to", "my gamma.yaml") == 0
    path, check, sweep = capsys.readouterr().out.splitlines()
    assert path == "my gamma.yaml" and Path(path).is_file()
    assert check.startswith("bench check 'my gamma.yaml' ")
    assert sweep.startswith("bench sweep 'my gamma.yaml' ")
    assert run(monkeypatch, "gamma", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"study": "studies/gamma.yaml"}


def test_without_a_name_they_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert run(monkeypatch) == 0
    listed = capsys.readouterr().out
    for file in STUDIES.glob("*.yaml"):
        assert f"\n{file.stem} " in f"\n{listed}"
    assert run(monkeypatch, "--to", "x.yaml") == 2
    assert "say which example" in capsys.readouterr().err
