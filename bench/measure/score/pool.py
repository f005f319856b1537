"""Scores images in processes, one a core, with a bounded number of them in memory."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker

from bench.errors import BenchError
from bench.measure.metrics import ImageScore, Scorer, metric, score_image
from bench.measure.protocol import Protocol
from bench.measure.score.pairing import Task
from bench.sweep.processes import no_main_module

Outcome = Mapping[str, ImageScore] | BenchError
"""Metric -> score; or what is wrong with the image's files."""
Compute = Callable[[Iterable[tuple[Task, Sequence[str]]]], Iterator[tuple[Task, Outcome]]]
"""(tasks with the metrics that each lacks) -> tasks as they are finished, in any order."""

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


@contextmanager
def scoring(rules: Protocol, scale: int, images: int, workers: int | None) -> Iterator[Compute]:
    """Gives the function that scores: in `workers` processes, or here where they do not pay.

    Raises BenchError if a process is killed.
    """
    slots = min(workers or len(os.sched_getaffinity(0)), images)
    if slots <= 1 or images <= _FEW:
        yield lambda jobs: ((task, _compute(task, names, rules, scale)) for task, names in jobs)
        return
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(slots, mp_context=context, initializer=_begin)
    try:
        yield lambda jobs: _compute_in(pool, slots * _AHEAD, jobs, rules, scale)
    except BrokenProcessPool:
        raise BenchError(
            "a scoring process was killed, perhaps for want of memory. What it had finished is "
            "stored: run it again, with fewer --workers if it happens again."
        ) from None
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()  # else Ctrl-C waits for what they are at
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _compute_in(
    pool: ProcessPoolExecutor,
    ahead: int,
    jobs: Iterable[tuple[Task, Sequence[str]]],
    rules: Protocol,
    scale: int,
) -> Iterator[tuple[Task, Outcome]]:
    waiting: dict[Future[Outcome], Task] = {}

    def finished() -> Iterator[tuple[Task, Outcome]]:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            yield waiting.pop(future), future.result()

    for task, names in jobs:
        if not names:
            yield task, {}
            continue
        with no_main_module(), _uninterrupted():
            waiting[pool.submit(_compute, task, names, rules, scale)] = task
        if len(waiting) >= ahead:
            yield from finished()
    while waiting:
        yield from finished()


def _compute(task: Task, names: Sequence[str], rules: Protocol, scale: int) -> Outcome:
    if not names:
        return {}
    try:
        sr, hr = task.read()
    except BenchError as error:
        return error
    return {
        name: score_image(_scorer(name), sr, hr, rules, scale, reference=metric(name).reference)
        for name in names
    }


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


def _begin() -> None:
    """Lets a scoring process end with its parent: the pool alone would leave it waiting forever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
