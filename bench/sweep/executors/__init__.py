"""Where trials run: processes of this machine, or others behind the same seam.

One module for each place. A worker opens no database: what it says are events, and whoever has
submitted its job writes.
"""

import os
import sys
from collections.abc import Iterator
from typing import Protocol

from bench.data.roots import paths_from
from bench.sweep.job import Event, Job
from bench.sweep.trial import run_trial

Handle = int


class Executor(Protocol):
    """Runs jobs and passes on their events. Every job ends with one Last."""

    @property
    def slots(self) -> int:
        """How many jobs may be in flight."""
        ...

    def submit(self, job: Job) -> Handle: ...

    def events(self, timeout: float) -> Iterator[tuple[Handle, Event]]:
        """Yields what has come within `timeout` seconds, in the order of each job."""
        ...

    def cancel(self, handle: Handle) -> None:
        """Stops a job; no event of it comes afterwards."""
        ...

    def close(self) -> None:
        """Stops every job."""
        ...


def become_worker(threads: int, slot: int = 0) -> None:
    """Makes this process a worker: its share of the cores, and one of the GPUs if there are."""
    os.environ["OPENCV_FOR_THREADS_NUM"] = str(threads)  # read when OpenCV is first imported
    if opencv := sys.modules.get("cv2"):
        opencv.setNumThreads(threads)
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(slot % torch.cuda.device_count())


def run_job(job: Job, threads: int) -> Iterator[Event]:
    """Runs a trial in a worker: its paths begin at its study's folder."""
    with paths_from(job.study.folder):
        yield from run_trial(job.model_copy(update={"workers": threads}))
