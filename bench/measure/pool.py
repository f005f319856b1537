"""Scores images in processes, one a core, with a bounded number of them in memory."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker
from typing import NamedTuple, Protocol

import numpy as np

from bench.data.pixels import Image
from bench.errors import BenchError
from bench.measure.metrics import ImageScore, Scorer, metric, score_image
from bench.measure.processes import no_main_module
from bench.measure.protocol import Protocol as Rules
from bench.measure.scores import ScoreStore

Digests = tuple[str, str]
"""Of the restored picture's pixels, and of its original's; "" without one."""


class Task(Protocol):
    """A restored picture and its original, which are compared. It goes to other processes."""

    @property
    def stem(self) -> str: ...

    def read(self) -> tuple[Image, Image | None]:
        """Returns (SR, HR). Raises BenchError for a file that is broken."""
        ...

    def digests(self, store: ScoreStore | None) -> Digests | None:
        """Returns what `digests_of` would, if that is known without decoding a file."""
        ...

    def remember(self, store: ScoreStore, digests: Digests) -> None:
        """Notes the digests of files, so that they need not be decoded to be looked up."""
        ...


class Computed(NamedTuple):
    """What a process says of a task."""

    scores: Mapping[str, ImageScore]
    digests: Digests | None = None


Job = tuple[Task, Sequence[str]]
"""A task, with the metrics that it lacks."""
Outcome = Computed | BenchError

_AHEAD = 4  # images handed to each process before it asks: bounds what waits in memory
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


def digests_of(sr: Image, hr: Image | None) -> Digests:
    """Returns hashes of the pixels, whatever the file they came from."""
    return _digest(sr), "" if hr is None else _digest(hr)


def _digest(image: Image) -> str:
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


class Pool:
    """Processes that score; they are started when that first pays, and end with `close`."""

    def __init__(self, workers: int | None) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))
        self._processes: ProcessPoolExecutor | None = None
        self._before: dict[str, str | None] = {}

    def run(
        self, jobs: Iterable[Job], rules: Rules, scale: int, count: int, *, with_digests: bool
    ) -> Iterator[tuple[Task, Outcome]]:
        """Yields the tasks as they are finished, in any order. Raises BenchError if a process is
        killed. count: how many there are."""
        if self._workers <= 1 or count <= _FEW:
            for task, names in jobs:
                yield task, _compute(task, names, rules, scale, with_digests)
            return
        try:
            yield from self._run(jobs, rules, scale, with_digests)
        except BrokenProcessPool:
            raise BenchError(
                "a scoring process was killed, perhaps for want of memory. What it had finished is "
                "stored: run it again, with fewer --workers if it happens again."
            ) from None

    def _run(
        self, jobs: Iterable[Job], rules: Rules, scale: int, with_digests: bool
    ) -> Iterator[tuple[Task, Outcome]]:
        waiting: dict[Future[Outcome], Task] = {}

        def finished() -> Iterator[tuple[Task, Outcome]]:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()

        for task, names in jobs:
            if not names:
                yield task, Computed({})
                continue
            with no_main_module(), _uninterrupted():
                future = self._started().submit(_compute, task, names, rules, scale, with_digests)
                waiting[future] = task
            if len(waiting) >= self._workers * _AHEAD:
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


def _compute(
    task: Task, names: Sequence[str], rules: Rules, scale: int, with_digests: bool
) -> Outcome:
    if not names:
        return Computed({})
    try:
        sr, hr = task.read()
    except BenchError as error:
        return error
    scores = {
        name: score_image(_scorer(name), sr, hr, rules, scale, reference=metric(name).reference)
        for name in names
    }
    return Computed(scores, digests_of(sr, hr) if with_digests else None)


@cache
def _scorer(name: str) -> Scorer:
    return metric(name).load("cpu")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Puts off Ctrl-C until the end, and starts processes that never hear of it.

    It is this process's business; one whose start is broken off would show its own traceback.
    """
    heard: list[int] = []
    resource_tracker.ensure_running()  # its own start would let the signal through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and before is not None
    if ours:  # it may come by way of another thread, so the mask alone does not put it off
        signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if ours:
            signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def end_with_parent() -> None:
    """Lets this process end with its parent, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
