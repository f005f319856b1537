"""Where trials run: local processes here, a cluster behind the same seam."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from bench.data.processes import end_with_parent, no_main_module
from bench.data.roots import paths_from
from bench.sweep.job import Done, Event, Halt, Job, Lost
from bench.sweep.trial import run_trial

Handle = int


class Executor(Protocol):
    """Runs jobs and passes on their events. Every job ends with one Done, Halt or Lost."""

    slots: int
    """How many jobs may be in flight."""

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


class LocalExecutor:
    """One process for each job, forked from a server that has torch loaded already.

    A crash costs one attempt of one trial. The cores are divided among the workers, and the GPUs.
    """

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._cores = len(os.sched_getaffinity(0))
        self._running: dict[Handle, tuple[BaseProcess, Connection]] = {}
        self._slots: dict[Handle, int] = {}
        self._next = 0
        # Threads that spin while they wait make a shared core crawl: on two cores with another busy
        # process a training step took 1.5 s with spinning threads, 0.1 s to 0.4 s without.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._context = multiprocessing.get_context("forkserver")
        # The first optimizer of a process imports torch._dynamo (1.4 s): once here, not in each.
        self._context.set_forkserver_preload(["torch._dynamo", "bench.sweep.trial"])

    def submit(self, job: Job) -> Handle:
        """Starts a job with its share of the cores."""
        ours, theirs = self._context.Pipe(duplex=False)
        share = max(1, self._cores // self.slots)
        slot = min(set(range(self.slots)) - set(self._slots.values()), default=0)
        process = self._context.Process(target=_work, args=(theirs, job, share, slot))
        with no_main_module():
            process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        self._next += 1
        self._running[self._next] = (process, ours)
        self._slots[self._next] = slot
        return self._next

    def events(self, timeout: float) -> Iterator[tuple[Handle, Event]]:
        """Yields what has come within `timeout` seconds."""
        handles = {pipe: handle for handle, (_, pipe) in self._running.items()}
        for ready in wait(list(handles), timeout):
            assert isinstance(ready, Connection)
            handle = handles[ready]
            while handle in self._running and ready.poll():
                try:
                    event: Event = ready.recv()
                except (EOFError, OSError):
                    event = self._lost(handle)
                if isinstance(event, Done | Halt | Lost):
                    self._end(handle)
                yield handle, event

    def _lost(self, handle: Handle) -> Lost:
        process = self._running[handle][0]
        process.join(5)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"status {code}"
        return Lost(f"the worker process ended without a result ({how})")

    def _end(self, handle: Handle) -> None:
        process, pipe = self._running.pop(handle)
        del self._slots[handle]
        pipe.close()
        process.join(10)
        if process.is_alive():
            process.kill()

    def cancel(self, handle: Handle) -> None:
        if handle in self._running:
            self._running[handle][0].kill()
            self._end(handle)

    def close(self) -> None:
        for handle in list(self._running):
            self.cancel(handle)


def _work(pipe: Connection, job: Job, threads: int, slot: int) -> None:
    """What a worker process does. Ctrl-C is the driver's business; without driver it ends."""
    os.environ["OPENCV_FOR_THREADS_NUM"] = str(threads)  # read when OpenCV is first imported
    import torch

    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a method prints must not stand among the driver's answers
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(slot % torch.cuda.device_count())
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with gone, paths_from(job.study.folder):
        for event in run_trial(job.model_copy(update={"workers": threads})):
            pipe.send(event)
        pipe.close()
