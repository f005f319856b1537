"""Scores images in processes, one a core, with a bounded number of them in memory."""

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from bench.data.processes import end_with_parent, no_main_module, uninterrupted
from bench.errors import BenchError
from bench.measure.scoring import Job, Outcome, Scoring

_AHEAD = 4  # images handed to each process before it asks
_HELD = 2**29  # bytes of pictures that wait in memory; a larger one waits alone
_FEW = 4  # images up to which starting processes costs more than it saves
_ENVIRONMENT = {
    # each process has one core: threads of NumPy and OpenCV on top would only get in the way
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # glibc: the memory of an image is kept for the next one instead of given back to the kernel
    # array by array, which took a quarter of the time
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
}


class Pool:
    """Processes that score; they are started when that first pays, and end with `close`."""

    def __init__(self, workers: int | None) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))
        self._processes: ProcessPoolExecutor | None = None
        self._before: dict[str, str | None] = {}

    def run(
        self, jobs: Iterable[Job], scoring: Scoring, count: int
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields the jobs as they are finished, in any order. Raises BenchError if a process is
        killed. count: how many there are."""
        if self._workers <= 1 or count <= _FEW:
            for job in jobs:
                yield job, scoring.compute(job)
            return
        try:
            yield from self._run(jobs, scoring)
        except BrokenProcessPool:
            raise BenchError(
                "a scoring process was killed, perhaps for want of memory. What it had finished is "
                "stored: run it again, with fewer --workers if it happens again."
            ) from None

    def _run(self, jobs: Iterable[Job], scoring: Scoring) -> Iterator[tuple[Job, Outcome]]:
        waiting: dict[Future[Outcome], Job] = {}

        def finished() -> Iterator[tuple[Job, Outcome]]:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()

        for job in jobs:
            if not scoring.reads(job):
                yield job, scoring.compute(job)
                continue
            with no_main_module(), uninterrupted():
                waiting[self._started().submit(scoring.compute, job)] = job
            while len(waiting) >= self._workers * _AHEAD or _held(waiting.values()) > _HELD:
                yield from finished()
        while waiting:
            yield from finished()

    def _started(self) -> ProcessPoolExecutor:
        if self._processes is None:
            self._before = {name: os.environ.get(name) for name in _ENVIRONMENT}
            os.environ.update(_ENVIRONMENT)
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(
                self._workers, context, initializer=end_with_parent
            )
        return self._processes

    def close(self, at_once: bool = False) -> None:
        """Ends the processes; at_once: also what they are at, or Ctrl-C would wait for it."""
        if self._processes is None:
            return
        if at_once:
            for process in list(self._processes._processes.values()):
                process.terminate()
        self._processes.shutdown(wait=False, cancel_futures=True)
        self._processes = None
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _held(jobs: Iterable[Job]) -> int:
    return sum(job.task.held for job in jobs)
