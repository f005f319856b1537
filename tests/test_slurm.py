"""Jobs of SLURM: events through files, drivers that are killed and come back, jobs that end early.

Most of it runs with submitit's executor of local processes in the place of sbatch, and with a queue
that the test makes up; the last test starts a real SLURM of one node, where that is installed.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kit
import pytest
from kit import make_world, until, write_study
from submitit.core.utils import DelayedSubmission, FailedJobError

from bench.errors import BenchError
from bench.look.clean import clean
from bench.records.cell import Cell
from bench.records.place import QUEUE, Place, study_lock
from bench.study.fields import Study
from bench.sweep.executors import slurm
from bench.sweep.executors.eventfile import EventWriter, read_events
from bench.sweep.executors.sbatch import Queue, sbatch_parameters
from bench.sweep.job import Begun, Done, Event, Job, Lost, Strip
from bench.train.loop import Note

# --- events as a file ------------------------------------------------------------------------


def test_only_whole_records_are_read(tmp_path: Path) -> None:
    said: list[Event] = [Note("one"), Strip("set5", "baby", bytes(3000)), Note("three")]
    with EventWriter(tmp_path / "whole") as file:
        for event in said:
            file.write(event)
    data = (tmp_path / "whole").read_bytes()
    heard: list[Event] = []
    at = 0
    for size in range(0, len(data) + 1, 97):
        (tmp_path / "part").write_bytes(data[:size])
        events, at = read_events(tmp_path / "part", at)
        heard += events
    events, at = read_events(tmp_path / "whole", at)
    assert heard + events == said and at == len(data)


def test_a_size_that_is_seen_before_its_bytes_waits_for_them(tmp_path: Path) -> None:
    with EventWriter(tmp_path / "events") as file:
        file.write(Note("one"))
    data = (tmp_path / "events").read_bytes()
    for hole in (bytes(len(data)), data[:-4] + bytes(4)):
        (tmp_path / "events").write_bytes(hole)
        assert read_events(tmp_path / "events", 0) == ([], 0)


def test_a_job_that_slurm_starts_again_does_not_say_its_events_twice(tmp_path: Path) -> None:
    with EventWriter(tmp_path / "events"), pytest.raises(FileExistsError):
        EventWriter(tmp_path / "events")


# --- what sbatch is told -----------------------------------------------------------------------


def study(**changes: Any) -> Study:
    return Study.model_validate(
        {
            "name": "tiny",
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {"plain": {"use": "nets.Plain"}},
            "evaluate": {"datasets": ["bsd100"], "metrics": ["psnr_y"]},
            **changes,
        }
    )


TRAIN = {"dataset": "set5", "patch": 16, "batch": 2, "steps": 8}


def test_resources_become_options_of_sbatch_and_the_command_line_has_the_last_word() -> None:
    asked = {"cpus": 4, "gpus": 2, "memory": "8 GiB", "time": "4h", "partition": "gpu"}
    told = sbatch_parameters(study(resources=asked), ["partition=fast", "qos=high", "exclusive"])
    assert (told["time"], told["signal_delay_s"]) == (240, 120)
    assert told["srun_args"] == ["--cpus-per-task=4"]
    assert told["additional_parameters"] == {
        **{"no-requeue": True, "cpus-per-task": 4, "gpus-per-node": 2, "mem": "8192M"},
        **{"partition": "fast", "qos": "high", "exclusive": True},
    }


def test_a_study_whose_device_is_the_cpu_asks_for_no_gpu_and_another_for_one() -> None:
    for device, gpus in (("cpu", None), ("auto", 1)):
        told = sbatch_parameters(study(train={**TRAIN, "device": device}), ["time=10"])
        assert told["additional_parameters"].get("gpus-per-node") == gpus
        assert (told["time"], told["signal_delay_s"]) == (10, 60)
    told = sbatch_parameters(study(), ["time=10", "gres=shard:1"])
    assert "gpus-per-node" not in told["additional_parameters"]


@pytest.mark.parametrize(
    ("resources", "options", "said"),
    [
        ({}, [], "no time limit"),
        ({}, ["time=soon"], "--slurm time=soon: needs a number with a unit"),
        ({"time": "4h"}, ["array=0-9"], "bench sets array itself"),
        ({"time": "4h"}, ["=gpu"], "write key=value"),
        ({"time": "4h", "gpus": 0.5}, [], "SLURM gives whole GPUs"),
    ],
)
def test_what_slurm_cannot_be_told_is_one_message(
    resources: dict[str, Any], options: Sequence[str], said: str
) -> None:
    with pytest.raises(BenchError, match=said):
        sbatch_parameters(study(resources=resources), options)


# --- the executor, with a queue that is made up ---------------------------------------------------


class Cluster(Queue):
    """What sbatch, squeue and scancel would do, in memory."""

    def __init__(self, folder: Path, largest: int = 100) -> None:
        self.folder, self.largest = folder, largest
        self.known: dict[str, str] | None = {}
        self.arrays: list[list[str]] = []
        self.cancelled: list[str] = []
        self.refuses = ""
        self.numbers = count(1)

    def update_parameters(self, job_name: str) -> None:
        self.name = job_name

    def map_array(self, work: Any, jobs: Sequence[Job], *more: Any) -> list[Any]:
        if self.refuses:
            raise FailedJobError(self.refuses)
        number = next(self.numbers)
        ids = [f"{number}_{index}" for index in range(len(jobs))]
        for id_, job in zip(ids, jobs, strict=True):
            DelayedSubmission(print, job).dump(self.folder / f"{id_}_submitted.pkl")
            assert self.known is not None
            self.known[id_] = "PENDING (Priority)"
        self.arrays.append(ids)
        return [SimpleNamespace(job_id=id_) for id_ in ids]

    def states(self) -> dict[str, str] | None:
        return self.known

    def cancel(self, ids: Any) -> None:
        self.cancelled += ids

    def largest_array(self) -> int:
        return self.largest

    def says(self, id_: str, *events: Event) -> None:
        with EventWriter(self.folder / f"{id_}_events") as file:
            for event in events:
                file.write(event)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (folder := tmp_path / "slurm").mkdir()
    return Cluster(folder)


@pytest.fixture
def notes() -> list[str]:
    return []


Executor = slurm.SlurmExecutor


def driver_of(cluster: Cluster, notes: list[str], grace: float = 0.0) -> Executor:
    submitter: Any = cluster
    executor = Executor(cluster.folder, 16, submitter, cluster, notes.append, grace)
    assert executor.slots == 16  # as a driver begins
    return executor


def job(trial: int = 0, **more: Any) -> Job:
    return Job(
        study=study(), method="plain", trial=trial, seed=0, store=Path("store"),
        decided_by={"code": "1"}, **more,
    )  # fmt: skip


def done(trial: int = 0, state: Any = "complete", reason: str = "") -> Done:
    return Done(
        Cell(
            study="tiny", method="plain", use="nets.Plain", trial=trial, seed=0, attempt=0,
            state=state, reason=reason, parameters={}, swept={}, fingerprint="", started="",
        )
    )  # fmt: skip


def heard(executor: Executor) -> list[tuple[int, Event]]:
    """What it says, but for jobs that begin to wait."""
    return [(handle, event) for handle, event in executor.events(0) if event != Begun(QUEUE)]


def test_jobs_asked_together_are_one_array_no_larger_than_the_cluster_takes(
    cluster: Cluster, notes: list[str]
) -> None:
    cluster.largest = 3
    executor = driver_of(cluster, notes)
    for trial in range(5):
        executor.submit(job(trial))
    assert heard(executor) == [] and cluster.arrays == [["1_0", "1_1", "1_2"], ["2_0", "2_1"]]
    assert cluster.name == "tiny:plain-t003-s0+1"


def test_a_job_that_waits_is_not_lost_and_one_that_vanished_is(
    cluster: Cluster, notes: list[str]
) -> None:
    executor = driver_of(cluster, notes, grace=0.05)
    executor.submit(job())
    for _ in range(3):
        assert heard(executor) == []
        time.sleep(0.03)
    cluster.known = {}
    assert heard(executor) == []  # its last words may be on their way
    time.sleep(0.06)
    (found,) = heard(executor)
    assert found == (1, Lost("SLURM job 1_0 is not in SLURM's queue any more. It has no output."))
    assert heard(executor) == [] and list(cluster.folder.glob("*_submitted.pkl")) == []


def test_a_reason_to_wait_that_no_other_job_is_is_said_once(
    cluster: Cluster, notes: list[str]
) -> None:
    executor = driver_of(cluster, notes)
    for trial in range(3):
        executor.submit(job(trial))
    heard(executor)
    assert cluster.known is not None and notes == []
    cluster.known |= dict.fromkeys(cluster.known, "PENDING (PartitionTimeLimit)")
    heard(executor)
    (note,) = notes
    assert note.startswith("SLURM lets jobs wait: PartitionTimeLimit")


def test_a_shared_folder_in_trouble_loses_nothing(
    cluster: Cluster, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    cluster.says("1_0", done())
    with monkeypatch.context() as trouble:
        trouble.setattr(Path, "open", stale)
        assert heard(executor) == []
    assert heard(executor) == [(1, done())]


def stale(*_: Any) -> Any:
    raise OSError(errno.ESTALE, "Stale file handle")


def test_a_home_without_file_locks_is_refused_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(BenchError, match="has no file locks"), study_lock(Place(tmp_path, "tiny")):
        pass


def test_a_queue_that_does_not_answer_loses_nothing(cluster: Cluster, notes: list[str]) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    cluster.known = None
    assert heard(executor) == []
    cluster.says("1_0", Note("hello"), done())
    assert heard(executor) == [(1, Note("hello")), (1, done())]


def test_a_job_that_ended_says_how_and_where_its_output_is(
    cluster: Cluster, notes: list[str]
) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    output = cluster.folder / "1_0_0_log.out"
    output.write_text("submitit INFO (...) - Starting\nKilled\n")
    assert cluster.known is not None
    cluster.known["1_0"] = "OUT_OF_MEMORY node7"
    ((_, event),) = heard(executor)
    assert isinstance(event, Lost) and not event.kept
    assert event.reason == (
        "SLURM job 1_0 ended without a result (OUT_OF_MEMORY). "
        f"Its output: {output}. Its last line: Killed"
    )
    assert output.exists()


def test_a_result_counts_though_the_queue_knows_that_the_job_has_ended(
    cluster: Cluster, notes: list[str]
) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    cluster.says("1_0", done())
    cluster.known = {}
    assert heard(executor) == [(1, done())]


def test_a_failed_trial_names_its_output(cluster: Cluster, notes: list[str]) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    (cluster.folder / "1_0_0_log.out").write_text("a word\n")
    cluster.says("1_0", done(state="failed", reason="ValueError: no"))
    ((_, event),) = heard(executor)
    assert isinstance(event, Done)
    first, second = event.cell.reason.splitlines()
    assert first == "ValueError: no" and "1_0_0_log.out. Its last line: a word" in second


def test_the_files_of_a_job_stay_until_its_last_event_has_been_acted_upon(
    cluster: Cluster, notes: list[str]
) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    cluster.says("1_0", done())
    events = executor.events(0)
    assert next(events) == (1, done())  # and here the driver is killed
    again = driver_of(cluster, notes)
    again.submit(job())
    assert heard(again) == [(1, done())]
    assert list(cluster.folder.iterdir()) == [] and len(cluster.arrays) == 1


def test_the_next_driver_takes_up_the_jobs_that_it_would_submit_and_cancels_others(
    cluster: Cluster, notes: list[str]
) -> None:
    first = driver_of(cluster, notes)
    for trial in range(3):
        first.submit(job(trial))
    heard(first)
    cluster.says("1_0", Note("said while nobody heard"))
    second = driver_of(cluster, notes)
    second.submit(job(0, attempt=1))
    changed = job(1).model_copy(update={"decided_by": {"code": "2"}})
    second.submit(changed)
    assert heard(second) == [(1, Note("said while nobody heard"))]
    assert notes == ["SLURM: jobs of an earlier sweep that are still there: 3"]
    assert cluster.cancelled == ["1_1"] and cluster.arrays[1:] == [["2_0"]]
    second.close()
    assert sorted(cluster.cancelled) == ["1_0", "1_1", "1_2", "2_0"]
    assert list(cluster.folder.iterdir()) == []
    assert notes[-1] == "SLURM: jobs cancelled: 3"


def test_a_driver_that_has_nothing_to_do_cancels_what_was_left(
    cluster: Cluster, notes: list[str]
) -> None:
    first = driver_of(cluster, notes)
    first.submit(job())
    heard(first)
    driver_of(cluster, notes).close()
    assert cluster.cancelled == ["1_0"] and list(cluster.folder.iterdir()) == []


def test_a_home_is_not_cleaned_while_jobs_are_in_slurm(tmp_path: Path) -> None:
    (folder := Place(tmp_path, "tiny").slurm).mkdir(parents=True)
    (folder / "7_submitted.pkl").touch()
    with pytest.raises(BenchError, match="tiny: jobs in SLURM, of a sweep that was killed: 1"):
        clean(tmp_path, dry_run=True)
    (folder / "7_submitted.pkl").unlink()
    assert clean(tmp_path, dry_run=True)["bytes"] == 0


def test_a_driver_that_never_began_leaves_the_jobs_of_another_alone(
    cluster: Cluster, notes: list[str]
) -> None:
    """Its study may be swept by somebody else, which is found out after it has been made."""
    first = driver_of(cluster, notes)
    first.submit(job())
    heard(first)
    submitter: Any = cluster
    Executor(cluster.folder, 16, submitter, cluster, notes.append, 0.0).close()
    assert cluster.cancelled == [] and len(list(cluster.folder.iterdir())) == 1


def test_a_busy_slurm_is_asked_again_and_one_that_refuses_is_an_error(
    cluster: Cluster, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "AGAIN", 0.0)
    executor = driver_of(cluster, notes)
    executor.submit(job())
    cluster.refuses = "sbatch: error: Batch job submission failed: Socket timed out on send/recv"
    assert heard(executor) == [] and "trying again" in notes[-1]
    cluster.refuses = ""
    heard(executor)
    assert cluster.arrays == [["1_0"]]
    executor.submit(job(1))
    cluster.refuses = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    assert heard(executor) == []  # when the first has ended, there is room
    executor.cancel(1)
    with pytest.raises(BenchError, match="QOSMaxSubmitJobPerUserLimit"):
        heard(executor)


def test_a_job_that_is_pruned_is_cancelled_and_not_heard_any_more(
    cluster: Cluster, notes: list[str]
) -> None:
    executor = driver_of(cluster, notes)
    executor.submit(job())
    heard(executor)
    cluster.says("1_0", Note("one"), Note("two"))
    for _, event in executor.events(0):
        assert event == Note("one")
        executor.cancel(1)
    assert cluster.cancelled == ["1_0"] and list(cluster.folder.iterdir()) == []


def test_a_queue_out_of_reach_is_said_once_and_so_is_its_return(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: list[str]
) -> None:
    program = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    queue = Queue(notes.append, 0.0)
    for script in (
        "echo 'Unable to contact slurm controller' >&2; exit 1",
        "echo '7_0|RUNNING n1'",
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        answers = [queue.states(), queue.states()]
        assert answers == ([{"7_0": "RUNNING n1"}] * 2 if "RUNNING" in script else [None] * 2)
    assert notes == [
        "SLURM does not answer (Unable to contact slurm controller); its jobs go on, and so does "
        "this sweep",
        "SLURM answers again",
    ]


# --- whole sweeps -----------------------------------------------------------------------------

LOCAL = """
import os
from pathlib import Path

import submitit

from bench.data.roots import home
from bench.sweep.executors import sbatch, slurm


class Processes(sbatch.Queue):
    def states(self):
        alive = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = file.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if words[0] != "Z":
                alive[file.parent.name] = "RUNNING here"
        return alive

    def cancel(self, ids):
        for id_ in ids:
            os.kill(int(id_), 15)

    def largest_array(self):
        return 1000


class Counted(submitit.LocalExecutor):
    def map_array(self, work, jobs, *more):
        with open("submitted", "a") as file:
            file.writelines(f"{job.file_name}\\n" for job in jobs)
        return super().map_array(work, jobs, *more)


def executor(study, slots, options, note):
    folder = home() / "studies" / study.name / "slurm"
    submitter = Counted(folder)
    submitter.update_parameters(timeout_min=5, stderr_to_stdout=True)
    return slurm.SlurmExecutor(folder, slots, submitter, Processes(note, 1.0), note, 1.0)


slurm.slurm_executor = executor
"""

OWN = '''
import os
import time

from nets import Shift
from torch.nn import functional as F


class Slow(Shift):
    """Notes each update that it makes."""

    def training_step(self, batch, stage):
        with open("updates", "a") as file:
            file.write(f"{batch.step}\\n")
        time.sleep(0.05)
        return {"loss": F.l1_loss(self(batch.lr), batch.target)}
'''


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three trials and a plain row, and what a local sweep makes of it."""
    world = make_world(tmp_path_factory.mktemp("world"))
    write_study(
        world,
        "shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}",
        budget="{trials: 3, sampler: random}",
    )
    assert kit.commands().run(world, "sweep", "tiny.yaml", "--workers", "2").status == 0
    return world


@pytest.fixture
def elsewhere(world: Path) -> Iterator[tuple[Path, Path]]:
    """The world and a home that knows nothing yet."""
    yield world, kit.commands().blank(world / f"home-{time.monotonic_ns()}")
    for name in ("hold", "submitted"):
        (world / name).unlink(missing_ok=True)


def folder_of(home: Path) -> Path:
    return home / "studies/tiny/slurm"


def started(home: Path) -> list[int]:
    """Ids of jobs whose worker has said something."""
    files = folder_of(home).glob("*_events")
    return sorted(int(p.name.partition("_")[0]) for p in files if p.stat().st_size)


def status_of(world: Path, home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        kit.commands().run(world, "status", "tiny", "--json", home=home).out
    )
    return found


def test_a_killed_driver_leaves_its_jobs_and_the_next_one_takes_them_up(
    elsewhere: tuple[Path, Path],
) -> None:
    world, home = elsewhere
    (world / "hold").touch()
    command = ("sweep", "tiny.yaml", "--executor", "slurm", "--workers", "2")
    first = kit.commands().start(world, *command, before=LOCAL, home=home)
    jobs = until(lambda: len(found := started(home)) == 2 and found, "two jobs")
    both = lambda: len((now := status_of(world, home))["running"]) == 2 and now  # noqa: E731
    shown = until(both, "two that run")
    first.kill()
    first.wait()
    assert (len(shown["running"]), shown["waiting"], shown["left"]) == (2, [], 0)
    assert [len(node["running"]) for node in shown["nodes"].values()] == [2]
    assert status_of(world, home)["left"] == 2
    (world / "hold").unlink()
    until(lambda: not any(kit.children(pid) for pid in jobs), "the end of the jobs")
    assert kit.cells(home) == {}
    last = kit.commands().run(world, *command, before=LOCAL, home=home)
    assert last.status == 0, last.err
    assert "jobs of an earlier sweep that are still there: 2" in last.err
    assert kit.results(home) == kit.results(world / "home")
    submitted = (world / "submitted").read_text().split()
    assert sorted(submitted) == [f"shift-t00{key}-s0" for key in range(3)]
    complete = [key for key, state, _ in kit.trials(home) if state == "COMPLETE"]
    assert sorted(complete) == [0, 1, 2]
    assert not (home / "store/scores.db").exists()
    assert list(folder_of(home).iterdir()) == []


def test_a_killed_job_a_time_limit_and_a_program_error(elsewhere: tuple[Path, Path]) -> None:
    """A kill costs one of three attempts, the limit none and no update, an error is a result."""
    world, home = elsewhere
    (world / "own.py").write_text(OWN)
    (world / "updates").unlink(missing_ok=True)
    write_study(
        world, "shift: {use: nets.Shift}\nwrong: {use: nets.Wrong}\nslow: {use: own.Slow}",
        name="lost", train="{dataset: set5, patch: 16, batch: 2, steps: 80, device: cpu}",
        select="", budget="",
    )  # fmt: skip
    (world / "hold").touch()
    before = LOCAL.replace("study.name", "'tiny'")
    arguments = ("sweep", "lost.yaml", "--executor", "slurm", "--workers", "3")
    command = kit.commands().start(world, *arguments, before=before, home=home)
    until(lambda: "shift: stage fit" in command.err(), "the first job's training")
    shift, _, slow = sorted(int(p.name.partition("_")[0]) for p in pickles(home))
    for worker in kit.children(shift):
        os.kill(worker, signal.SIGKILL)
    updates = world / "updates"
    until(lambda: updates.exists() and len(updates.read_text().split()) > 5, "some updates")
    for worker in kit.children(slow):
        os.kill(worker, signal.SIGUSR2)
    (world / "hold").unlink()
    ended = command.wait()
    assert ended.status == 1
    assert "ended without a result" in ended.err or "not in SLURM's queue" in ended.err
    assert "shift: SLURM job" in ended.err and "attempt 2 of 3" in ended.err
    assert "was near its time limit; it goes on from its checkpoint" in ended.err
    cells = kit.cells(home, "lost")
    assert {n: (c["state"], c["attempt"]) for n, c in cells.items()} == {
        "shift-s0": ("complete", 1), "slow-s0": ("complete", 1), "wrong-s0": ("failed", 0),
    }  # fmt: skip
    assert "a mistake in training_step" in cells["wrong-s0"]["reason"]
    assert "log.out" in cells["wrong-s0"]["reason"]
    assert [int(step) for step in updates.read_text().split()] == list(range(80))


def pickles(home: Path) -> list[Path]:
    return list(folder_of(home).glob("*_submitted.pkl"))


# --- a real SLURM of one node ------------------------------------------------------------------

CONF = """
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=bf_interval=1
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=cpu Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def slurm_of_one_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its configuration, which the environment names too; all of it goes afterwards."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"no SLURM here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.getuid():
        pytest.skip("a SLURM of one's own is started by root here")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path is short
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, ports=free_ports(2)))
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    own = [f"--{key}={folder}/{file}" for key, file in MUNGE.items()]
    commands = [["munged", "--foreground", "--force", *own], ["slurmctld", "-D", "-c"],
                ["slurmd", "-D", "-N", "localhost"]]  # fmt: skip
    daemons = []
    try:
        for command in commands:
            daemons.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            if command[0] == "munged":
                until((folder / "munge").exists)
        until(lambda: "idle" in subprocess.getoutput("sinfo --noheader"), "a node that is idle")
        yield folder / "slurm.conf"
    finally:
        subprocess.run(["scancel", "--full", "--user=root"], stderr=subprocess.DEVNULL)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


MUNGE = {
    "key-file": "key", "socket": "munge", "pid-file": "munged.pid", "log-file": "munged.log",
    "seed-file": "seed",
}  # fmt: skip


def test_on_a_real_slurm_a_driver_and_a_job_are_killed_and_nothing_is_lost(
    elsewhere: tuple[Path, Path], slurm_of_one_node: Path
) -> None:
    world, home = elsewhere
    (world / "hold").touch()
    before = f"""
import os
os.environ["SLURM_CONF"] = {str(slurm_of_one_node)!r}
from bench.sweep.executors import slurm
slurm.EVERY, slurm.GRACE = 1.0, 1.0
"""
    command = ("sweep", "tiny.yaml", "--executor", "slurm", "--slurm", "time=10", "--workers", "2")
    first = kit.commands().start(world, *command, before=before, home=home)
    until(lambda: len(list(folder_of(home).glob("1_?_events"))) == 2, "two jobs")
    first.kill()
    first.wait()
    names = subprocess.getoutput("squeue --noheader --array --format='%i %j %T'").splitlines()
    assert sorted(names) == [f"1_{index} tiny:shift-t00{index}-s0 RUNNING" for index in range(2)]
    subprocess.run(["scancel", "--signal=KILL", "1_1"], check=True)
    running = "squeue --noheader --array --states=RUNNING --format=%i"
    until(lambda: subprocess.getoutput(running).split() == ["1_0"], "the end of a job")
    (world / "hold").unlink()
    last = kit.commands().run(world, *command, before=before, home=home)
    assert last.status == 0, last.err
    assert "jobs of an earlier sweep that are still there: 2" in last.err
    assert "attempt 2 of 3" in last.err
    assert kit.results(home) == kit.results(world / "home")
    jobs = subprocess.getoutput("squeue --noheader --states=all --array --format=%i").split()
    assert sorted(jobs) == ["1_0", "1_1", "3", "4"] or len(jobs) == 4
