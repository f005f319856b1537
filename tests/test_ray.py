"""Jobs on a Ray cluster: real clusters of several nodes, all on this machine's loopback."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import sys
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
from bench.data.processes import no_main_module  # noqa: E402
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
ONE_CORE = Needs()
SLOW = "{dataset: set5, patch: 16, batch: 2, steps: 9, learning_rate: 1e-3, device: cpu}"
NODE = {"object_store_memory": 80_000_000}
LOOPBACK = "import os; os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'"
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
    with pytest.MonkeyPatch.context() as patch, machines.on_loopback():
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


def job_of(world: Path, methods: str, needs: Needs = ONE_CORE, **sections: str) -> Job:
    study = load_study(kit.write_study(world, methods, **sections))
    name = next(iter(study.methods))
    swept = {"error": 0.125} if study.methods[name].swept else {}
    return Job(
        study=study, method=name, trial=0 if swept else None, swept=swept, seed=0,
        decided_by=Deciding(study).parts(name, swept, 0), store=home() / "store",
        pictures=home() / "studies" / study.name / "pictures", needs=needs,
    )  # fmt: skip


def training() -> list[int]:
    """Process ids of Ray's workers that run a job."""
    names = {p: (p / "cmdline").read_bytes() for p in Path("/proc").glob("[0-9]*") if mine(p)}
    return [int(p.name) for p, name in names.items() if name.startswith(b"ray::shift")]


def mine(process: Path) -> bool:
    return process.is_dir() and process.stat().st_uid == os.getuid()


def heard(executor: RayExecutor, handle: int) -> list[Any]:
    """All that a job says."""
    events: list[Any] = []
    end = time.monotonic() + kit.PATIENCE
    while not (events and isinstance(events[-1], Done | Lost)):
        assert time.monotonic() < end, events
        events += [event for at, event in executor.events(0.5) if at == handle]
    return events


def test_a_notebook_that_has_begun_processes_may_use_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__file__", raising=False)
    with no_main_module():
        pass
    machines.forget_no_file()
    assert not hasattr(main, "__file__")
    monkeypatch.setattr(main, "__file__", "mine.py", raising=False)
    machines.forget_no_file()
    assert main.__file__ == "mine.py"


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
        executor.submit(job_of(world, SHIFT, Needs(8, 0.5, 10**13), resources="{memory: 10 TB}"))
    assert time.monotonic() - began < 5
    text = str(caught.value)
    assert "8 CPUs, 0.5 GPUs, 1e+04 GB" in text and "a: 1 CPUs, 0 GPUs" in text


def test_a_cancelled_job_ends_with_its_process_and_says_nothing_more(
    executor: RayExecutor, world: Path
):
    (world / "hold").touch()
    try:
        handle = executor.submit(job_of(world, SHIFT, train=SLOW))
        kit.until(lambda: any(isinstance(e, Begun) for _, e in executor.events(0.2)))
        executor.cancel(handle)
        kit.until(lambda: not training())
        assert list(executor.events(0.5)) == []
    finally:
        (world / "hold").unlink()


def test_machines_that_are_installed_otherwise_are_named_in_one_message(
    cluster: Cluster, world: Path, monkeypatch: pytest.MonkeyPatch
):
    version = importlib.metadata.version
    ours = {"torch": "1.13.0", "bench": "0.0.9"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: ours.get(name) or version(name))
    with pytest.raises(BenchError) as caught:
        RayExecutor()
    lines = str(caught.value).splitlines()
    assert {line.partition(":")[0] for line in lines[1:-1]} == {"head", "a", "b"}
    assert f"torch {version('torch').partition('+')[0]}, here 1.13.0" in lines[1]
    assert "bench 0.1.0 (" in lines[1] and "here 0.0.9 (" in lines[1]
    assert list(home().glob(".cluster-*")) == []


def test_where_nothing_answers_the_sweep_does_not_wait(world: Path):
    for address, part in [
        ("127.0.0.1:9", "nothing answers there"),
        ("ray://127.0.0.1:10001", "Ray's client"),
        ("somewhere", "write ray:HOST:PORT"),
    ]:
        with pytest.raises(BenchError, match=part):
            machines.refuse_silence(address)


def test_a_machine_without_the_home_or_with_other_data(
    cluster: Cluster, base: Path, world: Path, capfd: pytest.CaptureFixture[str]
):
    """The first works in a home of its own and sends what it makes; the second gets no job."""
    other = base / "other"
    shutil.copytree(world / "data", other / "data")
    kit.write_pictures(other / "data/Set14/HR", 2, first=30)
    # only c and d have two cores
    c = add(cluster, "c", num_cpus=2, env_vars={"BENCH_HOME": str(other / "home")})
    d = add(cluster, "d", num_cpus=2, env_vars={"BENCH_DATA": str(other / "data")})
    try:
        with contextlib.closing(RayExecutor()) as executor:
            jobs = [job_of(world, SHIFT, Needs(cpus=2)) for _ in range(3)]
            handles = [executor.submit(job) for job in jobs]
            told: list[Any] = []
            while executor._running:
                for _, event in executor.events(0.5):
                    told.append(event)
                    if isinstance(event, Lost) and len(handles) < 6:  # as the driver does
                        handles.append(executor.submit(jobs[0]))
        cells = [event.cell for event in told if isinstance(event, Done)]
        assert [cell.state for cell in cells] == ["complete"] * len(jobs), told
        assert {event.node for event in told if isinstance(event, Begun)} == {"c"}
        (note,) = [e.text for e in told if isinstance(e, Note) and "left out" in e.text]
        assert note == "d is left out: images of set14 (another one)"
        (stage,) = cells[0].stages
        assert (home() / "store/stages" / stage.key / "weights.pth").is_file()
        assert (other / "home/store/stages" / stage.key).is_dir()
        pictures = home() / "studies/tiny/pictures"
        names = {p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png")}
        assert names == {
            f"{x}/bsd100/{n}.png" for x in ("shift-t000-s0", "reference") for n in (20, 21)
        }
    finally:
        cluster.remove_node(c)
        cluster.remove_node(d)


def test_status_shows_machines_and_a_killed_driver_takes_its_jobs_along(
    cluster: Cluster, world: Path, bench_home: Path
):
    kit.write_study(world, SHIFT, budget="{trials: 2, sampler: random}")
    command = ("sweep", "tiny.yaml", "--executor", f"ray:{cluster.address}")
    (world / "hold").touch()
    try:
        driver = kit.commands().start(world, *command, home=bench_home, before=LOOPBACK)
        kit.until(lambda: running_on() == {"a", "b"}, "two jobs")
        (told,) = (
            kit.commands().run(world, "status", "tiny", home=bench_home).out.splitlines()[-2:-1]
        )
        assert re.fullmatch(r"machine [ab]: 0 recorded, running shift t00[01] \(.*\)", told)
        kit.until(lambda: len(training()) == 2, "two alone, those of tests before having ended")
        driver.kill()
        driver.wait()
        kit.until(lambda: not training(), "their end")
    finally:
        (world / "hold").unlink()
    done = kit.commands().run(world, *command, home=bench_home, before=LOOPBACK)
    assert done.status == 0, done.err
    assert "2 trials to do" in done.err
    cells = kit.cells(bench_home)
    assert {cell["state"] for cell in cells.values()} == {"complete"} and len(cells) == 2
    assert list(bench_home.glob(".cluster-*")) == []  # the probe of the killed one too


def test_a_cluster_of_its_own_is_reached_from_this_machine_alone_and_leaves_nothing(
    world: Path, bench_home: Path
):
    kit.write_study(world, SHIFT, budget="{trials: 1, sampler: random}")
    (world / "hold").touch()
    try:
        driver = kit.commands().start(
            world, "sweep", "tiny.yaml", "--executor", "ray", home=bench_home
        )
        (folder,) = kit.until(
            lambda: [*Path(tempfile.gettempdir()).glob(f"bench-ray-{driver.pid}-*")]
        )
        kit.until(lambda: running_on(), "a job")
        addresses = listening(str(folder))
        assert addresses and addresses <= {"0100007F", "0" * 16 + "FFFF00000100007F"}
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        (world / "hold").unlink()
    done = driver.wait()
    assert done.status == 0, done.err
    assert not folder.exists() and not listening(str(folder))


def listening(word: str) -> set[str]:
    """Addresses, as /proc has them, at which processes with a word in their command listen."""
    sockets = set()
    for process in filter(mine, Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(OSError):
            if word.encode() in (process / "cmdline").read_bytes():
                sockets |= {os.readlink(fd) for fd in (process / "fd").iterdir()}
    rows = [
        line.split()
        for n in ("tcp", "tcp6")
        for line in Path("/proc/net", n).read_text().splitlines()
    ]
    return {r[1].partition(":")[0] for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in sockets}


def running_on() -> set[str]:
    with contextlib.suppress(BenchError):
        return {name for name, node in study_status("tiny")["nodes"].items() if node["running"]}
    return set()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_sweep_loses_two_of_three_machines_and_gives_the_values_of_one_process(
    cluster: Cluster, world: Path, bench_home: Path, monkeypatch: pytest.MonkeyPatch
):
    study = load_study(kit.write_study(world, SHIFT, budget="{trials: 6, sampler: random}"))
    nodes = {node._ray_params.node_name: node for node in cluster.worker_nodes}
    nodes["e"] = add(cluster, "e")
    screen = Kills(cluster, nodes, spare="e")
    cells = run_study(study, executor="ray", screen=screen).cells
    assert [cell.state for cell in cells] == ["complete"] * 6
    assert len(screen.killed) == 2 and sum(cell.attempt for cell in cells) >= 2
    assert any("attempt 2 of 3" in note for note in screen.notes)
    alone = bench_home.with_name("alone")
    kit.commands().blank(alone)
    done = kit.commands().run(world, "sweep", "tiny.yaml", home=alone)
    assert done.status == 0, done.err
    assert kit.results(bench_home) == kit.results(alone)


class Kills(Screen):
    """Kills machines as soon as they train, all but one."""

    def __init__(self, cluster: Cluster, nodes: dict[str, Any], spare: str) -> None:
        self.cluster, self.nodes, self.spare = cluster, nodes, spare
        self.killed: list[str] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def event(self, handle: int, label: str, event: Any) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)
        if isinstance(event, Begun) and event.node not in (self.spare, *self.killed):
            self.killed.append(event.node)
            self.cluster.remove_node(self.nodes[event.node], allow_graceful=False)
