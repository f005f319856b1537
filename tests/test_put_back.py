"""MLflow's state changed from outside: the next sweep says so and puts back what records hold."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import kit
import pytest
from kit import cells, commands, results, runs, stage_times, write_study
from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SWEPT = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"


def sweep(world: Path, *more: str, before: str = "") -> kit.Ended:
    return commands().run(world, "sweep", "tiny.yaml", "--workers", "1", *more, before=before)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = kit.make_world(tmp_path_factory.mktemp("swept") / "world")
    write_study(world, SWEPT, budget="{trials: 2, sampler: random}")
    assert sweep(world).status == 0
    return world


@pytest.fixture
def world(swept: Path, tmp_path: Path) -> Path:
    """The swept world at another place."""
    shutil.copytree(swept, tmp_path / "moved here")
    return tmp_path / "moved here"


def content(folder: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def shown(home: Path) -> dict[str, object]:
    """What the page shows of each trial that has a record, but for the ids of runs."""
    names = {cell["run_id"]: name for name, cell in cells(home).items()}
    return {
        names[run.id]: (run.name, run.status, run.params, run.metrics, len(pictures(home, run.id)))
        for run in runs(home)
        if run.id in names
    }


def pictures(home: Path, run: str) -> list[Path]:
    return list((home / "artifacts" / run / "artifacts/images").glob("bsd100~*.png"))


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def runs_deleted(home: Path) -> None:
    client = client_of(home)
    for cell in list(cells(home).values())[:2]:
        client.delete_run(cell["run_id"])
    client.delete_run(runs(home, kind="study")[0].id)


def experiment_deleted(home: Path) -> None:
    client = client_of(home)
    client.delete_experiment(client.get_experiment_by_name("tiny").experiment_id)


def database_gone(home: Path) -> None:
    shutil.copy(commands()._blank, home / "mlflow.db")  # as MLflow makes a new one


def nothing(home: Path) -> None:
    pass


def kept_as_in_earlier_versions(home: Path) -> None:
    """One experiment for all studies, the runs of trials nested below the study's."""
    database_gone(home)
    client = client_of(home)
    former = client.create_experiment("bench", artifact_location=(home / "artifacts").as_uri())
    tags = {"bench.study": "tiny", "bench.kind": "study"}
    parent = client.create_run(former, tags=tags, run_name="tiny").info.run_id
    for name, cell in cells(home).items():
        tags = {"bench.study": "tiny", "bench.kind": "trial", "mlflow.parentRunId": parent}
        run = client.create_run(former, tags=tags, run_name=f"tiny-{name}").info.run_id
        old = home / "artifacts" / cell["run_id"] / "artifacts/images"
        strips = home / "artifacts" / run / "artifacts/strips/bsd100"
        strips.mkdir(parents=True)
        for picture in old.glob("*.png"):
            picture.rename(strips / picture.name.replace("bsd100~", "").replace("+", "-"))
        shutil.rmtree(old)
        text = (home / f"studies/tiny/cells/{name}.json").read_text()
        (home / f"studies/tiny/cells/{name}.json").write_text(text.replace(cell["run_id"], run))


PUT_BACK = "MLflow: runs of recorded trials that were not there, put back: 3"
CASES: dict[Callable[[Path], None], list[str]] = {
    nothing: [],
    runs_deleted: [
        "MLflow: the study's run had been deleted: restored",
        "MLflow: runs of trials that had been deleted, restored: 2",
    ],
    experiment_deleted: ["MLflow: the experiment tiny had been deleted: restored"],
    database_gone: [PUT_BACK],
    kept_as_in_earlier_versions: [PUT_BACK],
}


@pytest.mark.parametrize("change", CASES)
def test_what_mlflow_lost_is_told_and_put_back_and_nothing_goes_to_the_old_place(
    swept: Path, world: Path, change: Callable[[Path], None]
) -> None:
    home, old = world / "home", content(swept)
    change(home)
    ended = sweep(world)
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err
    moved = f"{home}: moved here from {swept / 'home'}; MLflow now has its files here"
    in_place = change in (database_gone, kept_as_in_earlier_versions)
    notes = [line for line in ended.err.splitlines() if "MLflow" in line]
    assert notes == ([] if in_place else [moved]) + CASES[change]

    assert results(home) == results(swept / "home")
    assert stage_times(home) == stage_times(swept / "home")
    assert shown(home) == shown(swept / "home")
    assert len(shown(home)) == 3
    (study,) = runs(home, kind="study")
    assert study.status == "FINISHED"
    assert (home / "artifacts" / study.id / "artifacts/report/table.md").is_file()
    for run in runs(home):
        config = json.loads((home / f"artifacts/{run.id}/artifacts/model/config.json").read_text())
        for stage in config["stages"]:
            assert Path(stage["path"]).is_file() and Path(stage["path"]).is_relative_to(home)
            assert run.tags["bench.weights"] == stage["path"]
    assert "RUNNING" not in {status for (status,) in _statuses(home)}
    assert content(swept) == old

    quiet = sweep(world)
    assert "MLflow" not in quiet.err
    assert shown(home) == shown(swept / "home")
    assert len(runs(home)) == 3


def _statuses(home: Path) -> list[tuple[str]]:
    return kit._rows(home / "mlflow.db", "select status from runs")


DIE = """
import os, signal, bench.sweep.recorder as recorder, bench.sweep.tracking as tracking
def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param("recorder.Recorder._finish_run = die", id="after a record"),
        pytest.param("tracking.Tracking.history = die", id="in the middle of a run"),
    ],
)
def test_a_kill_while_runs_are_put_back_neither_loses_nor_doubles_any(
    swept: Path, world: Path, patch: str
) -> None:
    home = world / "home"
    kept_as_in_earlier_versions(home)
    assert sweep(world, before=DIE + patch).status == -9
    assert sweep(world).status == 0
    assert shown(home) == shown(swept / "home")
    done = [run for run in runs(home) if run.status == "FINISHED"]
    assert len(done) == 3
    assert {run.status for run in runs(home)} <= {"FINISHED", "KILLED"}
