"""MLflow goes away in the middle of a sweep: nothing stops, nothing is lost, nothing is doubled."""

from pathlib import Path

import kit
import pytest
from kit import cells, commands, results, runs, stage_times, trials, until, write_study

SWEPT = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"
GONE = """
import os
import mlflow.exceptions
from bench.sweep import outage
from bench.sweep.tracking import Tracking
def gone(*a, **k):
    raise mlflow.exceptions.MlflowException("API request failed: connection refused")
"""
NOTE = "MLflow does not answer (API request failed: connection refused)"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    world = kit.make_world(tmp_path_factory.mktemp("undisturbed") / "world")
    write_study(world, SWEPT)
    assert sweep(world).status == 0
    return results(world / "home")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = kit.make_world(tmp_path / "world")
    write_study(folder, SWEPT)
    return folder


def sweep(world: Path, before: str = "") -> kit.Ended:
    return commands().run(world, "sweep", "tiny.yaml", "--workers", "1", before=before)


def assert_whole(world: Path, expected: dict[str, object]) -> None:
    home = world / "home"
    assert results(home) == expected
    assert [(key, state) for key, state, _ in trials(home)] == [(k, "COMPLETE") for k in range(3)]
    finished = {run.id: run for run in runs(home) if run.status == "FINISHED"}
    assert {cell["run_id"] for cell in cells(home).values()} == finished.keys()
    assert {run.status for run in runs(home)} <= {"FINISHED", "KILLED"}
    (parent,) = runs(home, kind="study")
    assert (parent.status, parent.metrics["cells_complete"][-1]) == ("FINISHED", (0, 4.0))
    assert kit._rows(home / "mlflow.db", "select distinct name from datasets") == [("bsd100",)]
    for run in finished.values():
        artifacts = home / "artifacts" / run.id / "artifacts"
        assert len(list(artifacts.glob("images/bsd100~*.png"))) == 2
        assert (artifacts / "per_image.json").is_file()
        if run.tags["bench.key"]:
            assert [step for step, _ in run.metrics["train/fit/loss"]] == list(range(1, 9))
    assert not (home / "studies/tiny/samples").exists()


BREAKS = {
    "when the second run begins": """
begin, count = Tracking.start, []
def start(*a):
    count.append(1)
    return gone() if len(count) == 2 else begin(*a)
Tracking.start = start
""",
    "when results are logged": """
finish, count = Tracking.finish, []
def ending(*a):
    count.append(1)
    return gone() if len(count) == 2 else finish(*a)
Tracking.finish = ending
""",
    "in the middle of a run's results": """
log, count = Tracking.history, []
def logging(*a, **k):  # the files are there, the numbers and tags are not
    count.append(1)
    return gone() if len(count) == 2 else log(*a, **k)
Tracking.history = logging
""",
}


@pytest.mark.parametrize("pause", ["0.0", "60.0"])
@pytest.mark.parametrize("instant", BREAKS)
def test_what_an_outage_leaves_out_is_made_up_for_at_the_end(
    world: Path, instant: str, pause: str, undisturbed: dict[str, object]
) -> None:
    ended = sweep(world, GONE + f"outage.PAUSE = {pause}" + BREAKS[instant])
    assert ended.status == 0, ended.err
    assert ended.err.count(NOTE) == 1
    assert "the sweep goes on" in ended.err
    assert "MLflow answers again: nothing is missing" in ended.err
    assert_whole(world, undisturbed)


def test_what_is_still_missing_is_made_up_for_at_the_next_start(
    world: Path, undisturbed: dict[str, object]
) -> None:
    home = world / "home"
    calls = ("start", "finish", "kill", "runs", "close_study")
    ended = sweep(world, GONE + "\n".join(f"Tracking.{call} = gone" for call in calls))
    assert ended.status == 0, ended.err
    assert ended.err.count(NOTE) == 2
    assert "the same command makes up for it" in ended.err
    assert results(home) == undisturbed
    assert {cell["run_id"] for cell in cells(home).values()} == {""}
    assert (world / "reports/tiny/table.md").is_file()
    stages = stage_times(home)
    again = sweep(world)
    assert again.status == 0 and NOTE not in again.err and "training" not in again.err
    assert stage_times(home) == stages
    assert_whole(world, undisturbed)
    assert len(runs(home)) == 4


def test_a_database_that_breaks_in_mid_sweep_stops_nothing(
    world: Path, undisturbed: dict[str, object]
) -> None:
    database = world / "home/mlflow.db"
    (world / "hold").touch()
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1")
    until(lambda: "training 8 steps" in driver.err())
    good = database.read_bytes()
    with database.open("r+b") as file:
        file.write(b"no database" * 100)
    (world / "hold").unlink()
    ended = driver.wait()
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("MLflow does not answer (") == 2
    assert results(world / "home") == undisturbed
    database.write_bytes(good)
    assert sweep(world).status == 0
    assert_whole(world, undisturbed)


OWN_WORDS = "Error: MLflow fails: API request failed: connection refused. No trial has begun."
BEFORE = {
    "MLflow, when the run is looked for": ("Tracking._search = gone", OWN_WORDS),
    "MLflow, when the run has been made": ("Client.log_text = gone", OWN_WORDS),
    "MLflow, and then at all": ("Client.log_text = Client.set_terminated = gone", OWN_WORDS),
    "the disk": (
        "def full(*a, **k): raise OSError(28, 'No space left on device')\n"
        "recorder.environment = full",
        "Error: tiny: the disk is full (",
    ),
    "the code": (
        "def bug(*a, **k): raise RuntimeError('a bug of ours')\nrecorder.environment = bug",
        "RuntimeError: a bug of ours",
    ),
}


@pytest.mark.parametrize("fault", BEFORE)
def test_a_failure_before_the_studys_run_is_open_is_told_in_its_own_words(
    world: Path, fault: str
) -> None:
    patch, words = BEFORE[fault]
    more = "from mlflow import MlflowClient as Client\nfrom bench.sweep import recorder\n"
    ended = sweep(world, GONE + more + patch)
    assert ended.err.splitlines()[-1].startswith(words)
    if words.startswith("Error"):
        assert ended.status == 2
        assert len(ended.err.splitlines()) == 1  # no word of closing what was never open
    assert "MLflow does not answer" not in ended.err
    assert cells(world / "home") == {}
    open_ = "RUNNING" in {run.status for run in runs(world / "home", kind="study")}
    assert open_ == (fault == "MLflow, and then at all")
