"""MLflow's own tracking server, with an artifact store of its own, in place of the home's files."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import kit
import pytest
from kit import cells, commands, results, runs, stage_times, trials, write_study
from mlflow import MlflowClient
from test_put_back import DIE
from test_tracking import STUDY

from bench.sweep.tracking import Tracking

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SWEPT = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"
MLFLOW = "MLFLOW_TRACKING_URI"


class Server:
    """`mlflow server` on loopback: its database and its artifacts lie in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands().blank(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://me:hush@127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                   "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
                   "--artifacts-destination", str(self.folder / "artifacts")]  # fmt: skip
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "1"}
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + kit.PATIENCE
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def files(self, run: str) -> Path:
        (folder,) = (self.folder / "artifacts").glob(f"*/{run}/artifacts")
        return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server") / "mlflow")
    yield started
    started.stop()


def make_world(folder: Path, server: Server, name: str) -> Path:
    world = kit.make_world(folder)
    (world / "home/mlflow.db").unlink()
    kit.SERVERS[world / "home"] = {MLFLOW: server.address}
    write_study(world, SWEPT, name=name, budget="{trials: 2, sampler: random}")
    return world


def sweep(world: Path, name: str, before: str = "") -> kit.Ended:
    ended = commands().run(world, "sweep", f"{name}.yaml", "--workers", "1", before=before)
    assert "Traceback" not in ended.err and "hush" not in ended.err + ended.out
    return ended


def assert_whole(world: Path, server: Server, name: str) -> None:
    """Everything is at the server, each run is there once, and nothing of MLflow in the home."""
    home, there = world / "home", runs(server.folder, name)
    ended = {run.id: run for run in there if run.status == "FINISHED"}
    assert {run.status for run in there} <= {"FINISHED", "KILLED"}
    assert {cell["run_id"] for cell in cells(home, name).values()} == ended.keys()
    assert len(ended) == 3
    for run in ended.values():
        files = server.files(run.id)
        assert (files / "per_image.json").is_file() and (files / "model/config.json").is_file()
        assert len(list(files.glob("images/bsd100~*.png"))) == 2
        assert len(run.metrics["bsd100/psnr_y"]) == 1
        if run.tags["bench.key"]:
            assert [step for step, _ in run.metrics["train/fit/loss"]] == list(range(1, 9))
    (study,) = runs(server.folder, name, kind="study")
    assert study.status == "FINISHED"
    assert (server.files(study.id) / "report/table.md").is_file()
    assert [key for key, state, _ in trials(home, name) if state == "COMPLETE"] == [0, 1]
    assert not (home / "mlflow.db").exists() and not (home / "artifacts").exists()
    assert not (home / f"studies/{name}/samples").exists()


def test_a_sweep_that_was_killed_twice_has_all_at_the_server_and_a_second_one_does_nothing(
    tmp_path: Path, server: Server
):
    world = make_world(tmp_path / "world", server, "killed")
    for patch in ("recorder.Recorder._finish_run = die", "tracking.Tracking.history = die"):
        assert sweep(world, "killed", DIE + patch).status == -signal.SIGKILL
    done = sweep(world, "killed")
    assert done.status == 0, done.err
    assert_whole(world, server, "killed")
    before, stages = cells(world / "home", "killed"), stage_times(world / "home")

    # what was deleted there, and what was removed for good
    client = MlflowClient(server.address)
    deleted, gone, _ = [cell["run_id"] for cell in before.values()]
    client.delete_run(deleted)
    client.delete_run(gone)
    gc = [sys.executable, "-m", "mlflow", "gc", "--run-ids", gone, "--backend-store-uri",
          f"sqlite:///{server.folder}/mlflow.db"]  # fmt: skip
    subprocess.run(gc, check=True, env=os.environ | {MLFLOW: server.address}, capture_output=True)
    again = sweep(world, "killed")
    assert again.status == 0 and "3 of them already recorded" in again.err
    assert "runs of trials that had been deleted, restored: 1" in again.err
    assert "runs of recorded trials that were not there, put back: 1" in again.err
    assert stage_times(world / "home") == stages
    assert results(world / "home", "killed").keys() == before.keys()
    assert len([r for r in runs(server.folder, "killed") if r.status == "FINISHED"]) == 3


def test_a_server_that_dies_in_mid_sweep_and_returns_lacks_nothing(tmp_path: Path, server: Server):
    world = make_world(tmp_path / "world", server, "dies")
    (world / "hold").touch()
    brief = "from bench.sweep import outage\noutage.PAUSE = 0.0"
    driver = commands().start(world, "sweep", "dies.yaml", "--workers", "1", before=brief)
    kit.until(lambda: "training 8 steps" in driver.err())
    server.stop()
    (world / "hold").unlink()
    kit.until(lambda: "MLflow does not answer (" in driver.err())
    server.start()
    ended = driver.wait()
    assert ended.status == 0, ended.err
    assert "hush" not in ended.err and "Traceback" not in ended.err
    assert "MLflow answers again: nothing is missing" in ended.err
    assert_whole(world, server, "dies")


def test_a_server_is_asked_for_what_is_not_as_it_was_left_and_not_for_ten_thousand_runs(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(MLFLOW, server.address)
    tracking = Tracking(tmp_path, STUDY.model_copy(update={"name": "asked"}))
    names = [tracking.start(f"run{i}", {}, {}) for i in range(4)]
    for name in names[:3]:
        tracking._client.set_terminated(name, "FINISHED")
    tracking._client.delete_run(names[0])
    ended = dict.fromkeys(names[:3], "FINISHED")
    asked: list[dict] = []
    search = tracking._client.search_runs
    monkeypatch.setattr(
        tracking._client, "search_runs", lambda *a, **k: asked.append(k) or search(*a, **k)
    )
    assert tracking.runs(ended) == {
        names[0]: ("FINISHED", True),
        names[1]: ("FINISHED", False),
        names[2]: ("FINISHED", False),
        names[3]: ("RUNNING", False),
    }
    assert len(asked) == 3 and asked[-1]["max_results"] == 1
    # one more than there are: the server is asked for all
    found = tracking.runs(ended | {"0" * 32: "FINISHED"})
    assert found.keys() == set(names)
