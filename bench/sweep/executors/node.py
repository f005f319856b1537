"""A job of SLURM on its node: says its events into a file, and ends before it is ended."""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import submitit
from submitit.core.utils import JobPaths

from bench.sweep.executors import become_worker, run_job
from bench.sweep.executors.away import unfit
from bench.sweep.executors.eventfile import EventWriter
from bench.sweep.job import Begun, Job, Last, Lost, Report
from bench.train.ending import Ended, ask_to_end, asked_to_end
from bench.train.loop import Progress


def work(job: Job, folder: Path, path: Sequence[str]) -> None:
    """Runs a job. folder: of submitit's files. path: where the driver finds modules."""
    sys.path += [entry for entry in path if entry not in sys.path]
    id_ = submitit.JobEnvironment().job_id
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, _asked_by)
    _rename(id_, f"{job.study.name}:{job.file_name}")
    asked = JobPaths(folder, id_).submitted_pickle
    with EventWriter(folder / f"{id_}_events") as file, _own_databases(job.store):
        threads = _cores()
        become_worker(threads)
        trained = False
        try:
            file.write(Begun(platform.node()))
            if reasons := unfit(job):
                file.write(
                    Lost(f"{platform.node()} would give other numbers: {', '.join(reasons)}")
                )
                return
            for event in run_job(job, threads):
                file.write(event)
                trained |= isinstance(event, Progress)
                if _is_gone(asked):
                    return  # nobody wants it any more
                if (why := asked_to_end()) and not isinstance(event, Progress | Report | Last):
                    raise Ended(why)
        except Ended as end:
            file.write(Lost(f"SLURM job {id_} {end}", kept=trained))


def _is_gone(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass  # a shared folder in trouble
    return False


def _asked_by(number: int, frame: FrameType | None) -> None:
    near = "was near its time limit"
    ask_to_end("was told to end (SIGTERM)" if number == signal.SIGTERM else near)


def _rename(id_: str, name: str) -> None:
    """Gives a job of an array a name of its own, where nodes may speak with SLURM."""
    if "SLURM_JOB_ID" in os.environ and shutil.which("scontrol"):
        words = ["scontrol", "update", f"JobId={id_}", f"JobName={name}"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(words, capture_output=True, timeout=10)


@contextlib.contextmanager
def _own_databases(store: Path) -> Iterator[None]:
    """Lets SQLite write on this node alone; it begins with what is known of files."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (own := Path(folder, "store")).mkdir()
        with contextlib.suppress(OSError):
            shutil.copyfile(store / "files.db", own / "files.db")
        os.environ["BENCH_DATABASES"] = folder
        yield


def _cores() -> int:
    """The cores that SLURM gives this job."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    return int(given) if given else len(os.sched_getaffinity(0))
