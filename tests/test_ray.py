"""Jobs on a Ray cluster: real clusters of several nodes, all on this machine's loopback."""

import contextlib
import importlib.metadata
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kit
import pytest

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'bench[ray]'")

from ray.cluster_utils import Cluster  # noqa: E402

from bench.api import run_study  # noqa: E402
from bench.data.roots import home  # noqa: E402
from bench.errors import BenchError  # noqa: E402
from bench.look.check import load_study  # noqa: E402
from bench.look.status import study_status  # noqa: E402
from bench.study.resources import Needs  # noqa: E402
from bench.sweep.executors import machines  # noqa: E402
from bench.sweep.executors.ray import RayExecutor  # noqa: E402
from bench.sweep.identity import Deciding  # noqa: E402
from bench.sweep.job import Begun, Done, Job, Lost  # noqa: E402
from bench.sweep.screen import Screen  # noqa: E402
from bench.train.loop import Note, Progress  # noqa: E402

SHIFT = "shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"
NODE = {"object_store_memory": 80_000_000, "node_ip_address": machines.LOOPBACK}
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own sockets


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A world, beside the files of Ray: with a short name, for the sake of its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    kit.make_world(folder / "world")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(base: Path) -> Iterator[Cluster]:
    """The driver's node, where no job has room, and two nodes of one core, "a" and "b"."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "RAY_TMPDIR": str(base)}.items():
            patch.setenv(name, value)
        for name in ("BENCH_HOME", "BENCH_DATA", "BENCH_WEIGHTS"):
            patch.delenv(name, raising=False)
        (base / "ray").mkdir()
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**NODE, "num_cpus": 0, "node_name": "head", "include_dashboard": False},
        )
        for name in "ab":
            add(cluster, name, wait=False)
        cluster.wait_for_nodes()
        folder = os.getcwd()
        os.chdir(base / "world")  # as Ray tells its workers where to look for modules
        try:
            machines.connect(cluster.address)
            yield cluster
        finally:
            os.chdir(folder)
            ray.shutdown()
            cluster.shutdown()


def add(cluster: Cluster, name: str, **more: Any) -> Any:
    return cluster.add_node(**{**NODE, "num_cpus": 1, "node_name": name, **more})


@pytest.fixture
def world(base: Path, monkeypatch: pytest.MonkeyPatch, bench_home: Path) -> Path:
    world = base / "world"
    monkeypatch.chdir(world)
    monkeypatch.syspath_prepend(world)
    monkeypatch.setenv("BENCH_DATA", str(world / "data"))
    kit.commands().blank(bench_home)
    return world


@pytest.fixture
def executor(cluster: Cluster, world: Path) -> Iterator[RayExecutor]:
    with contextlib.closing(RayExecutor()) as executor:
        yield executor


def job_of(world: Path, methods: str, needs: Needs = Needs(), **sections: str) -> Job:
    study = load_study(kit.write_study(world, methods, **sections))
    name = next(iter(study.methods))
    swept = {"error": 0.125} if study.methods[name].swept else {}
    return Job(
        study=study, method=name, trial=0 if swept else None, swept=swept, seed=0,
        decided_by=Deciding(study).parts(name, swept, 0), store=home() / "store",
        pictures=home() / "studies" / study.name / "pictures", needs=needs,
    )  # fmt: skip


def heard(executor: RayExecutor, handle: int) -> list[Any]:
    """All that a job says."""
    events: list[Any] = []
    end = time.monotonic() + kit.PATIENCE
    while not (events and isinstance(events[-1], Done | Lost)):
        assert time.monotonic() < end, events
        events += [event for at, event in executor.events(0.5) if at == handle]
    return events


def test_the_events_of_a_job_come_as_from_a_process_of_this_machine(
    executor: RayExecutor, world: Path
):
    begun, *events = heard(executor, executor.submit(job_of(world, SHIFT)))
    assert isinstance(begun, Begun) and begun.node in ("a", "b")
    assert any(isinstance(event, Progress) for event in events)
    cell = events[-1].cell
    assert cell.state == "complete", cell.reason
    assert cell.objectives["psnr_y"] > 15 and cell.memory > 50e6
    assert executor.slots == 2  # a core each


def test_a_worker_that_dies_is_lost_and_a_program_that_fails_has_a_result(
    executor: RayExecutor, world: Path
):
    dies = executor.submit(job_of(world, "dies: {use: nets.Dies}"))
    wrong = executor.submit(job_of(world, "wrong: {use: nets.Wrong}"))
    assert heard(executor, dies)[-1] == Lost("the worker process ended without a result")
    cell = heard(executor, wrong)[-1].cell
    assert cell.state == "failed" and "a mistake in training_step" in cell.reason


def test_what_no_machine_has_is_an_error_at_once(executor: RayExecutor, world: Path):
    began = time.monotonic()
    with pytest.raises(BenchError) as caught:
        executor.submit(job_of(world, SHIFT, Needs(cpus=8, gpus=0.5, memory=10**13)))
    assert time.monotonic() - began < 5
    text = str(caught.value)
    assert "8 CPUs, 0.5 GPUs, 1e+04 GB" in text and "a: 1 CPUs, 0 GPUs" in text
