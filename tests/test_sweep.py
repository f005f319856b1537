"""Sweeps in processes of their own, killed and interrupted at any instant, and what they leave."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import kit
import pytest
from kit import cells, commands, results, runs, stage_times, trials, until, write_study

SWEPT = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"
GRID = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {grid: [0.0, 0.1, 0.05, 0.2]}}"

FOUR = {  # sampler -> (workers, methods, budget): what is killed, and what it must come to
    "random": ("2", SWEPT, "{trials: 4, sampler: random}"),
    "grid": ("2", GRID, "{sampler: grid}"),
    "tpe": ("1", SWEPT, "{trials: 4, sampler: tpe}"),
}
FOUR_KEYS = {"plain-s0", *(f"shift-t{key:03d}-s0" for key in range(4))}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return kit.make_world(tmp_path / "world")


def sweep(world: Path, *more: str, before: str = "") -> kit.Ended:
    return commands().run(world, "sweep", "tiny.yaml", "--workers", "1", *more, before=before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory):
    """Returns the results of a study of `FOUR` that nothing has disturbed."""
    known = {}

    def results_of(sampler: str):
        if sampler not in known:
            world = kit.make_world(tmp_path_factory.mktemp(f"undisturbed-{sampler}"))
            write_four(world, sampler)
            assert sweep(world).status == 0
            known[sampler] = results(world / "home")
        return known[sampler]

    return results_of


def write_four(world: Path, sampler: str) -> str:
    """Writes the study; returns how many workers it gets."""
    workers, methods, budget = FOUR[sampler]
    write_study(world, methods, budget=budget)
    return workers


def assert_whole(world: Path, expected: dict[str, object]) -> None:
    """No trial is lost, none is counted twice, no run is left open, and the values are right."""
    home = world / "home"
    assert results(home) == expected
    assert set(expected) == FOUR_KEYS
    finished = [run for run in runs(home) if run.status == "FINISHED"]
    assert sorted(run.tags["bench.key"] for run in finished) == ["", "0", "1", "2", "3"]
    assert {run.status for run in runs(home)} <= {"FINISHED", "KILLED"}
    assert [run.status for run in runs(home, kind="study")] == ["FINISHED"]
    for run in finished:
        assert run.metrics["objective/psnr_y"] == [
            (0, pytest.approx(cells(home)[run.name.partition("-a")[0]]["objectives"]["psnr_y"]))
        ]
        if run.tags["bench.key"]:
            assert [step for step, _ in run.metrics["train/fit/loss"]] == list(range(1, 9))
    told = [(key, value) for key, state, value in trials(home) if state == "COMPLETE"]
    assert sorted(told) == [
        (key, expected[f"shift-t{key:03d}-s0"]["objectives"]["psnr_y"])  # type: ignore[index]
        for key in range(4)
    ]
    assert {state for _, state, _ in trials(home)} <= {"COMPLETE", "FAIL"}


# --- from nothing -------------------------------------------------------------------------------


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, with no setting of the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BENCH_", "MLFLOW_"))}
    return subprocess.run(
        [kit.BENCH, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=kept,
        check=False,
        timeout=200,
    )


def test_a_sweep_from_nothing_records_every_trial_and_a_second_one_does_nothing(tmp_path: Path):
    (tmp_path / "nets.py").write_text(kit.METHODS)
    write_study(
        tmp_path,
        SWEPT,
        train="{dataset: photos_train, patch: 32, batch: 2, steps: 5, precision: fp32}",
        select="{dataset: photos_val, maximize: [psnr_y]}",
        evaluate="{datasets: [photos_test, set5], metrics: [psnr_y, ssim_y, lpips_vgg]}",
        budget="{trials: 2, seeds: [0, 1]}",
    )
    home = tmp_path / ".bench"
    done = bench(tmp_path, "sweep", "tiny.yaml")
    assert done.returncode == 0, done.stderr

    records = cells(home)
    assert set(records) == {
        "plain-s0",  # has nothing to train: a second seed would only repeat it
        *(f"shift-t00{trial}-s{seed}" for trial in (0, 1) for seed in (0, 1)),
    }
    for cell in records.values():
        assert cell["state"] == "complete"
        assert {(s[0], s[3]) for s in cell["scores"]} == {
            ("photos_test", "psnr_y"),
            ("photos_test", "ssim_y"),
        }
        assert len(cell["scores"]) == 2 * 4
        assert "set5" in cell["missing"]
        assert "lpips_vgg" in cell["unavailable"]

    report = tmp_path / "reports/tiny"
    for name in ("table.md", "table.tex", "scores.csv", "scores.parquet"):
        assert (report / name).stat().st_size > 0
        assert str(Path("reports/tiny") / name) in done.stdout

    means = {
        trial: sum(records[f"shift-t00{trial}-s{s}"]["objectives"]["psnr_y"] for s in (0, 1)) / 2
        for trial in (0, 1)
    }
    assert trials(home) == [(t, "COMPLETE", pytest.approx(means[t])) for t in (0, 1)]

    (parent,) = runs(home, kind="study")
    assert (parent.name, parent.status) == ("tiny", "FINISHED")
    assert parent.metrics["cells_complete"][-1][1] == 5
    children = runs(home)
    assert len(children) == 5
    for run in children:
        cell = records[run.name]
        assert run.status == "FINISHED"
        assert run.id == cell["run_id"]
        assert run.tags["bench.state"] == "complete"
        assert run.tags["bench.seed"] == str(cell["seed"])
        assert run.params["train.steps"] == "5"
        values = [s[5] for s in cell["scores"] if s[3] == "psnr_y"]
        assert run.metrics["photos_test/psnr_y"] == [(0, pytest.approx(sum(values) / 4))]
        artifacts = home / "artifacts" / run.id / "artifacts"
        table = json.loads((artifacts / "per_image.json").read_text())
        assert len(table["data"]) == 8
        assert len(list(artifacts.glob("images/photos_test~*.png"))) == 3
        if run.tags["bench.method"] == "shift":
            assert run.params["error"] == str(cell["swept"]["error"])
            assert [step for step, _ in run.metrics["train/fit/loss"]] == [1, 2, 3, 4, 5]
            (stage,) = json.loads((artifacts / "model/config.json").read_text())["stages"]
            weights = Path(stage["path"])
            assert weights == home / "store/stages" / cell["stages"][0]["key"] / "weights.pth"
            assert str(weights) == run.tags["bench.weights"]
            assert weights.stat().st_size == stage["bytes"] > 0
            assert [path.name for path in artifacts.glob("model/*")] == ["config.json"]
    kept = home / "artifacts" / parent.id / "artifacts"
    assert (kept / "study.yaml").read_text() == (tmp_path / "tiny.yaml").read_text()
    assert (kept / "report/table.md").is_file()

    again = bench(tmp_path, "sweep", "tiny.yaml")
    assert again.returncode == 0
    assert "5 of them already recorded" in again.stderr
    assert cells(home) == records
    assert len(runs(home)) == 5
    assert len(runs(home, kind="study")) == 1
    assert len(trials(home)) == 2


IN_ORDER = """
import time
import bench.sweep.recorder, bench.sweep.sampler, bench.sweep.tracking
from bench.sweep.executors.local import LocalExecutor
def noting(owner, name):
    was = getattr(owner, name)
    def noted(*arguments, **more):
        with open("order", "a") as file:
            file.write(f"{name} {1000 * time.time()}\\n")
        return was(*arguments, **more)
    setattr(owner, name, noted)
noting(bench.sweep.recorder, "write_cell")
for name in ("ask", "tell"):
    noting(bench.sweep.sampler.Sampler, name)
noting(LocalExecutor, "submit")
for name in ("start", "finish"):
    noting(bench.sweep.tracking.Tracking, name)
"""


def test_the_next_trial_trains_while_the_last_one_is_written_to_mlflow(world: Path):
    write_study(world, "shift: {use: nets.Shift, error: {float: [0, 1]}}")
    assert sweep(world, before=IN_ORDER).status == 0
    called = [line.split() for line in (world / "order").read_text().splitlines()]
    begun, told = ["ask", "submit", "start"], ["write_cell", "tell"]
    order = begun + 2 * (told + begun + ["finish"]) + told + ["finish"]
    assert [name for name, _ in called] == order
    for run, submitted in zip(  # a run is made after its job, and begins no later
        runs(world / "home"), [float(ms) for name, ms in called if name == "submit"], strict=True
    ):
        begins = "select start_time from runs where run_uuid = ?"
        assert kit._rows(world / "home/mlflow.db", begins, run.id)[0][0] <= submitted + 1


# --- killed -------------------------------------------------------------------------------------

DIE = """
import os, signal
import mlflow, optuna, bench.sweep.driver, bench.sweep.recorder
from bench.sweep.executors.local import LocalExecutor
def die(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)
"""
OF_TPE = "when Optuna has chosen and the key is not noted"  # others begin a trial whole
INSTANTS = {
    "before the first trial": "bench.sweep.recorder.Recorder.reconcile = die",
    OF_TPE: "optuna.Trial.set_user_attr = die",
    "before a worker begins": "LocalExecutor.submit = die",
    "when a worker has begun without a run": "bench.sweep.tracking.Tracking.start = die",
    "before the record": "bench.sweep.recorder.write_cell = die",
    "when the next trial trains and the run is open": "bench.sweep.tracking.Tracking.finish = die",
    "when there is a record and Optuna does not know": "bench.sweep.sampler.Sampler._tell = die",
    "when the files are logged and half of the numbers": """
log, count = mlflow.MlflowClient.log_batch, []
def logging(*a, metrics=(), **k):
    count.extend(metrics)
    return die() if len(count) > 10 else log(*a, metrics=metrics, **k)
mlflow.MlflowClient.log_batch = logging
bench.sweep.tracking.BATCH = 5
""",
}
FOR_EVERY_SAMPLER = (
    "when a worker has begun without a run",
    "when the next trial trains and the run is open",
    "when there is a record and Optuna does not know",
)
WHILE_MENDING = "optuna.storages.RDBStorage.set_trial_state_values = die"


@pytest.mark.parametrize("sampler", FOUR)
def test_a_driver_killed_at_every_instant_loses_and_repeats_nothing(
    world: Path, sampler: str, uninterrupted
):
    workers = write_four(world, sampler)
    command = ["sweep", "tiny.yaml", "--workers", workers]
    more = {"random": INSTANTS.keys() - {OF_TPE}, "tpe": {OF_TPE}}
    instants = {*FOR_EVERY_SAMPLER, *more.get(sampler, ())}
    for instant, patch in INSTANTS.items():
        if instant not in instants:
            continue
        before = stage_times(world / "home")
        killed = commands().run(world, *command, before=DIE + patch)
        assert killed.status == -signal.SIGKILL, (instant, killed.err)
        if instant == "when a worker has begun without a run":
            mending = commands().run(world, *command, before=DIE + WHILE_MENDING)
            assert mending.status in (-signal.SIGKILL, 0)
        after = stage_times(world / "home")
        assert before.items() <= after.items()
    done = commands().run(world, *command)
    assert done.status == 0, done.err
    assert_whole(world, uninterrupted(sampler))
    assert len(stage_times(world / "home")) == 4


def test_a_driver_killed_while_workers_train_goes_on(world: Path, uninterrupted):
    write_four(world, "random")
    (world / "hold").touch()
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "2")
    until(lambda: len(driver.workers()) == 2 and len(cells(world / "home")) == 1)
    orphans = driver.workers()
    driver.kill()
    assert driver.wait().status == -signal.SIGKILL
    (world / "hold").unlink()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "end of the orphans")
    assert sweep(world).status == 0
    assert_whole(world, uninterrupted("random"))


def test_a_killed_worker_costs_one_attempt(world: Path, uninterrupted):
    write_four(world, "random")
    (world / "hold").touch()
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1")
    until(lambda: "training 8 steps" in driver.err())
    (worker,) = driver.workers()
    os.kill(worker, signal.SIGKILL)
    until(lambda: "attempt 2 of 3" in driver.err())
    (world / "hold").unlink()
    assert driver.wait().status == 0
    assert_whole(world, uninterrupted("random"))
    (lost,) = [run for run in runs(world / "home") if run.status == "KILLED"]
    assert lost.tags["bench.attempt"] == "0"
    assert "SIGKILL" in lost.tags["bench.reason"]
    again = [r for r in runs(world / "home") if r.tags["bench.key"] == lost.tags["bench.key"]]
    assert [r.tags["bench.attempt"] for r in again] == ["0", "1"]


def test_a_lost_gpu_costs_one_attempt_and_three_the_trial(world: Path):
    write_study(world, "gpu: {use: nets.Gpu}", select="", budget="")
    (world / "gpu").touch()
    ended = sweep(world)
    assert ended.status == 0, ended.err
    why = "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert f"{why}; attempt 2 of 3" in ended.err
    lost, done = runs(world / "home")
    assert (lost.status, lost.tags["bench.reason"]) == ("KILLED", why)
    assert (done.status, done.tags["bench.attempt"]) == ("FINISHED", "1")

    (world / "gpu").write_text("always")
    write_study(world, "gpu: {use: nets.Gpu, error: 0.1}", select="", budget="")
    ended = sweep(world)
    assert ended.status == 1
    assert cells(world / "home")["gpu-s0"]["reason"] == f"lost 3 times: {why}"


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_sweep_ends_cleanly_and_says_how_to_go_on(
    world: Path, how: str, uninterrupted
):
    write_four(world, "random")
    (world / "hold").touch()
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1")
    until(lambda: "training 8 steps" in driver.err())
    workers = driver.workers()
    if how == "Ctrl-C":
        driver.ctrl_c()
    else:
        driver.kill(signal.SIGTERM)
    ended = driver.wait()
    assert ended.status == 130
    assert ended.err.endswith("to go on: bench sweep tiny.yaml --workers 1\n")
    assert "Traceback" not in ended.err
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    home = world / "home"
    assert "RUNNING" not in {r.status for r in runs(home) + runs(home, kind="study")}
    assert "RUNNING" not in {state for _, state, _ in trials(home)}
    (world / "hold").unlink()
    assert sweep(world).status == 0
    assert_whole(world, uninterrupted("random"))


def test_interruptions_are_no_attempts(world: Path):
    write_study(world, SWEPT, budget="{trials: 1}")
    (world / "hold").touch()
    for _ in range(2):
        driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1")
        until(lambda: "training 8 steps" in driver.err())  # noqa: B023 - of this round
        driver.ctrl_c()
        assert driver.wait().status == 130
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1")
    until(lambda: "training 8 steps" in driver.err())
    os.kill(driver.workers()[0], signal.SIGKILL)
    until(lambda: "attempt 2 of 3" in driver.err() or "lost 3 times" in driver.err())
    (world / "hold").unlink()
    assert driver.wait().status == 0
    assert cells(world / "home")["shift-t000-s0"]["state"] == "complete"


# --- two at once --------------------------------------------------------------------------------


def test_the_second_sweep_of_a_study_says_who_has_it_and_status_shows_what_runs(
    world: Path, uninterrupted
):
    write_four(world, "random")
    (world / "hold").touch()
    first = commands().start(world, "sweep", "tiny.yaml", "--workers", "2")
    until(lambda: first.err().count("training 8 steps") == 2)
    second = sweep(world)
    assert second.status == 2
    assert f"process {first.pid} " in second.err
    assert len(second.err.splitlines()) == 1
    status = json.loads(commands().run(world, "status", "tiny", "--json").out)
    assert f"process {first.pid} " in status["swept_by"]
    assert [label.partition(" (")[0] for label in status["running"]] == ["shift t000", "shift t001"]
    assert (status["complete"], status["of"]) == (1, 5)
    (world / "hold").unlink()
    assert first.wait().status == 0
    assert_whole(world, uninterrupted("random"))
    status = json.loads(commands().run(world, "status", "tiny", "--json").out)
    assert (status["swept_by"], status["running"], status["complete"]) == ("", [], 5)


def test_two_studies_may_begin_at_once_in_a_new_home(world: Path):
    shutil.rmtree(world / "home")
    for name in ("one", "two"):
        write_study(world, SWEPT, name=name, budget="{trials: 1}")
    both = [commands().start(world, "sweep", f"{name}.yaml") for name in ("one", "two")]
    for command in both:
        ended = command.wait()
        assert ended.status == 0, ended.err
    assert len(runs(world / "home", "one")) == len(runs(world / "home", "two")) == 2


# --- trials that fail ---------------------------------------------------------------------------


def test_a_trial_that_fails_is_recorded_with_its_reason_and_the_others_complete(world: Path):
    names = ("Nan", "Wrong", "Dies", "Leaves", "Blank")
    lines = [f"{n.lower()}: {{use: nets.{n}, error: {{float: [0.0, 0.1]}}}}" for n in names]
    write_study(world, "\n".join([*lines, "plain: {use: nets.Plain}"]), budget="{trials: 1}")
    ended = sweep(world)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    home = world / "home"
    records = cells(home)
    assert records["plain-s0"]["state"] == "complete"
    reasons = {
        "nan": "loss at step 1 is nan",
        "wrong": "ValueError: a mistake in training_step",
        "dies": "lost 3 times: the worker process ended without a result (signal SIGKILL)",
        "leaves": "lost 3 times: the worker process ended without a result (status 3)",
        "blank": "values that are not finite",
    }
    by_key = {run.name: run for run in runs(home) if run.status != "KILLED"}
    for name, reason in reasons.items():
        cell = records[f"{name}-t000-s0"]
        first = cell["reason"].splitlines()[0]
        assert cell["state"] == "failed"
        assert reason in first
        assert first in ended.err
        (run,) = [run for key, run in by_key.items() if key.startswith(f"{name}-")]
        assert run.status == "FAILED"
        assert (run.tags["bench.state"], run.tags["bench.reason"]) == ("failed", first)
        assert (home / "artifacts" / run.id / "artifacts/reason.txt").read_text() == cell["reason"]
        assert trials(home, method=name) == [(0, "FAIL", None)]
    assert "in training_step\n" in records["wrong-t000-s0"]["reason"]  # the traceback
    attempts = [r.tags["bench.attempt"] for r in runs(home) if r.tags["bench.method"] == "dies"]
    assert attempts[:3] == ["0", "1", "2"]
    assert "RUNNING" not in {run.status for run in runs(home)}

    again = sweep(world)
    assert again.status == 1
    assert cells(home) == records


def test_an_objective_without_a_value_fails_the_trial(world: Path):
    tiny = world / "data/Set14/HR"
    shutil.rmtree(tiny)
    kit.write_pictures(tiny, 1, side=12)  # x3: nothing is left of it but a border
    write_study(
        world,
        "shift: {use: nets.Shift, error: {float: [0.0, 0.1]}}",
        task="{kind: super-resolution, scale: 6}",
        train="{dataset: set5, patch: 24, batch: 2, steps: 2, precision: fp32, device: cpu}",
        budget="{trials: 1}",
    )
    ended = sweep(world)
    (cell,) = cells(world / "home").values()
    assert ended.status == 1
    assert cell["state"] == "failed"
    assert "psnr_y on set14" in cell["reason"]
    assert trials(world / "home") == [(0, "FAIL", None)]


# --- pruned -------------------------------------------------------------------------------------

REPORTING = "{dataset: set5, patch: 16, batch: 2, steps: 8, precision: fp32, device: cpu}"


def test_a_clearly_worse_trial_is_pruned(world: Path):
    study = "shift: {use: nets.Shift, error: {grid: [0.0, 0.01, 0.02, 0.03, 0.5]}}"
    changes = {
        "train": REPORTING,
        "budget": "{sampler: grid, pruner: median, seeds: [0, 1]}",
    }
    write_study(world, study, **changes)
    ended = sweep(world)
    assert ended.status == 0, ended.err
    home = world / "home"
    records = cells(home)
    pruned = records.pop("shift-t004-s0")
    assert (pruned["state"], pruned["swept"]) == ("pruned", {"error": 0.5})
    assert "median" in pruned["reason"]
    assert set(records) == {f"shift-t00{t}-s{s}" for t in range(4) for s in (0, 1)}
    assert {cell["state"] for cell in records.values()} == {"complete"}
    assert [state for _, state, _ in trials(home)] == ["COMPLETE"] * 4 + ["PRUNED"]
    (run,) = [run for run in runs(home) if run.tags["bench.key"] == "4"]
    assert (run.status, run.tags["bench.state"]) == ("FINISHED", "pruned")
    assert len(run.metrics["report/psnr_y"]) == 1

    told = trials(home)
    again = sweep(world)
    assert "9 of them already recorded" in again.err
    assert cells(home).keys() == records.keys() | {"shift-t004-s0"}

    # measured again, and trained again where the stages are gone, it does not report any more
    shutil.rmtree(home / "store")
    write_study(world, study, **changes, evaluate="{datasets: [bsd100], metrics: [psnr_y, ssim_y]}")
    ended = sweep(world)
    assert ended.status == 0, ended.err
    assert trials(home) == told
    measured = [cell for cell in cells(home).values() if cell["state"] == "complete"]
    assert len(measured) == 8
    assert all({s[3] for s in c["scores"]} == {"psnr_y", "ssim_y"} for c in measured)


# --- changed studies ----------------------------------------------------------------------------


def test_what_a_changed_study_does_again(world: Path):
    home = world / "home"
    write_study(world, SWEPT, budget="{trials: 2}")
    assert sweep(world).status == 0
    first, told, stages = cells(home), trials(home), stage_times(home)

    # another evaluation measures again and does not train again
    write_study(
        world,
        SWEPT,
        budget="{trials: 2}",
        evaluate="{datasets: [bsd100], metrics: [psnr_y, ssim_y]}",
    )
    assert json.loads(commands().run(world, "status", "tiny", "--json").out)["stale"] == []
    assert sweep(world).status == 0
    second = cells(home)
    assert trials(home) == told
    assert stage_times(home) == stages
    for name, cell in second.items():
        assert {score[3] for score in cell["scores"]} == {"psnr_y", "ssim_y"}
        assert all(stage["reused"] for stage in cell["stages"])
        assert cell["objectives"] == first[name]["objectives"]
        assert cell["run_id"] != first[name]["run_id"]

    # more trials are added to those there are
    ended = sweep(world, "--trials", "3")
    assert ended.status == 0
    assert "3 of them already recorded" in ended.err
    third = cells(home)
    assert third.keys() - second.keys() == {"shift-t002-s0"}
    assert all(third[name] == second[name] for name in second)
    assert [key for key, _, _ in trials(home)] == [0, 1, 2]

    # another value of a fixed method touches that method alone
    changed = SWEPT.replace("nets.Plain}", "nets.Plain, error: 0.01}")
    metrics = "{datasets: [bsd100], metrics: [psnr_y, ssim_y]}"
    write_study(world, changed, budget="{trials: 3}", evaluate=metrics)
    assert sweep(world).status == 0
    fourth = cells(home)
    assert {name for name in fourth if fourth[name] != third[name]} == {"plain-s0"}
    assert fourth["plain-s0"]["parameters"]["error"] == 0.01

    # trials of other settings cannot be compared: refused, until told to start over
    write_study(
        world,
        changed,
        budget="{trials: 3}",
        evaluate=metrics,
        select="{dataset: set14, maximize: [ssim_y]}",
    )
    refused = sweep(world)
    assert refused.status == 2
    assert "select" in refused.err
    assert "--fresh" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert cells(home) == fourth
    stages = stage_times(home)
    assert sweep(world, "--fresh").status == 0
    fresh = cells(home)
    assert fresh.keys() == fourth.keys()
    assert stage_times(home) == stages
    assert all("ssim_y" in cell["objectives"] for cell in fresh.values())
    assert all(stage["reused"] for cell in fresh.values() for stage in cell["stages"])
    assert len(runs(home)) == 4  # the earlier ones are archived
    (aside,) = (home / "studies/tiny").glob("cells-*")
    assert {file.stem for file in aside.glob("*.json")} == fourth.keys()


def test_starting_over_after_a_kill_leaves_no_run_open(world: Path):
    write_study(world, SWEPT, budget="{trials: 1}")
    killed = sweep(world, before=DIE + INSTANTS["before the record"])
    assert killed.status == -signal.SIGKILL
    assert sweep(world, "--fresh").status == 0
    with sqlite3.connect(world / "home/mlflow.db") as database:
        states = database.execute("select status from runs").fetchall()
    database.close()
    assert ("RUNNING",) not in states


# --- a machine in trouble -----------------------------------------------------------------------

FULL = "import errno\ndef full(*a, **k): raise OSError(errno.ENOSPC, 'No space left', 'a file')\n"
SQLITE_FULL = """
import sqlalchemy.exc, mlflow.exceptions, sqlite3
def full(*a, **k):
    try:
        raise sqlite3.OperationalError("database or disk is full")
    except sqlite3.OperationalError as error:
        raise mlflow.exceptions.MlflowException(f"(sqlite3.OperationalError) {error}") from error
"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="in a worker"),
        pytest.param(
            f"{SQLITE_FULL}import bench.sweep.tracking\n"
            "bench.sweep.tracking.Tracking.finish = full",
            id="of a database",
        ),
        pytest.param(
            f"{FULL}import bench.sweep.recorder, bench.sweep.tracking\n"
            "bench.sweep.recorder.write_cell = full\n"
            "bench.sweep.tracking.Tracking.kill = full\n"
            "bench.sweep.tracking.Tracking.close_study = full",
            id="of all that is written",
        ),
    ],
)
def test_a_full_disk_stops_the_sweep_and_costs_nothing(world: Path, before: str):
    write_study(world, "full: {use: nets.Full, error: {float: [0.0, 0.1]}}", budget="{trials: 2}")
    if not before:
        (world / "full").touch()
    stopped = sweep(world, before=before)
    assert stopped.status == 2
    assert "Traceback" not in stopped.err
    assert "disk is full" in stopped.err.splitlines()[-1]
    assert not any(cell["state"] == "failed" for cell in cells(world / "home").values())
    (world / "full").unlink(missing_ok=True)
    assert sweep(world).status == 0
    home = world / "home"
    assert {cell["state"] for cell in cells(home).values()} == {"complete"}
    assert [key for key, state, _ in trials(home, method="full") if state == "COMPLETE"] == [0, 1]
    assert "RUNNING" not in {r.status for r in runs(home) + runs(home, kind="study")}


@pytest.mark.parametrize(
    ("kind", "file"),
    [("stages", "weights.pth"), ("pixels", "pixels.bin"), ("pixels", "index.npz")],
)
def test_what_does_not_fit_on_the_disk_is_no_failed_trial(world: Path, kind: str, file: str):
    """/dev/full takes no byte; torch alone would hide that the disk was full."""
    write_study(world, "shift: {use: nets.Shift}", select="", budget="")
    code = f"""
import sys
from pathlib import Path
import torch
from bench.train.loop import choose_device
sys.path.append("{world}")
from bench.sweep.trial import run_trial
from bench.sweep.job import Job, Halt
from bench.look.check import load_study
import bench.records.store
whole = bench.records.store.Store.commit
def commit(self, kind, key, write):
    if kind != "{kind}":
        return whole(self, kind, key, write)
    folder = Path("{world}/small")
    folder.mkdir()
    (folder / "{file}").symlink_to("/dev/full")
    write(folder)
bench.records.store.Store.commit = commit
job = Job(study=load_study("tiny.yaml"), method="shift", trial=None, seed=0, store="other")
*_, last = run_trial(job)
print(type(last).__name__, getattr(last, "reason", last))
raise SystemExit(0)
"""
    ended = commands().run(world, before=code)
    assert ended.out.startswith("Halt the disk is full"), ended


def _garbage(file: Path) -> None:
    file.write_bytes(b"these are not the bytes of a database " * 100)


def _other_version(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    database.close()


@pytest.mark.parametrize(
    ("name", "spoil"),
    [("mlflow.db", _garbage), ("optuna.db", _garbage), ("mlflow.db", _other_version)],
)
def test_a_database_that_cannot_be_read_is_named_and_left_alone(world: Path, name: str, spoil):
    write_study(world, SWEPT, budget="{trials: 1}")
    file = world / "home" / name
    spoil(file)
    content = file.read_bytes()
    ended = sweep(world)
    assert ended.status == 2, ended.err
    assert "Traceback" not in ended.err
    assert str(file) in ended.err
    assert len([line for line in ended.err.splitlines() if "Error" in line]) == 1
    assert file.read_bytes() == content


def test_a_report_that_cannot_be_written_leaves_no_run_open(world: Path):
    write_study(world, SWEPT, budget="{trials: 1}")
    mine = world / "taken/figures/strip-bsd100.png"  # found at the end, when figures are drawn
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    ended = sweep(world, "--out", "taken")
    assert ended.status == 2 and "strip-bsd100.png" in ended.err
    assert mine.read_text() == "mine" and len(cells(world / "home")) == 2
    home = world / "home"
    assert "RUNNING" not in {r.status for r in runs(home) + runs(home, kind="study")}
