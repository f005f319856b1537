"""Jobs in processes of this machine."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from bench.data.processes import end_with_parent, no_main_module
from bench.sweep.executors import Handle, become_worker
from bench.sweep.job import Last, Lost

J = TypeVar("J")
E = TypeVar("E")


class LocalExecutor(Generic[J, E]):
    """One process for each job, forked from a server that has torch loaded already.

    A crash costs one attempt of one job. The cores are divided among the workers, and the GPUs.
    run: what a worker does with a job and its number of threads, such as `run_job`; a function of a
    module, which is loaded once for all workers.
    """

    def __init__(self, workers: int, run: Callable[[J, int], Iterator[E]]) -> None:
        self.slots = workers
        self._run = run
        self._cores = len(os.sched_getaffinity(0))
        self._running: dict[Handle, tuple[BaseProcess, Connection]] = {}
        self._slots: dict[Handle, int] = {}
        self._next = 0
        # Threads that spin while they wait make a shared core crawl: on two cores with another busy
        # process a training step took 1.5 s with spinning threads, 0.1 s to 0.4 s without.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._context = multiprocessing.get_context("forkserver")
        # The first optimizer of a process imports torch._dynamo (1.4 s): once here, not in each.
        self._context.set_forkserver_preload(["torch._dynamo", run.__module__])

    def submit(self, job: J) -> Handle:
        """Starts a job with its share of the cores."""
        ours, theirs = self._context.Pipe(duplex=False)
        share = max(1, self._cores // self.slots)
        slot = min(set(range(self.slots)) - set(self._slots.values()), default=0)
        process = self._context.Process(target=_work, args=(theirs, self._run, job, share, slot))
        with no_main_module():
            process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        self._next += 1
        self._running[self._next] = (process, ours)
        self._slots[self._next] = slot
        return self._next

    def events(self, timeout: float) -> Iterator[tuple[Handle, E | Lost]]:
        """Yields what has come within `timeout` seconds."""
        handles = {pipe: handle for handle, (_, pipe) in self._running.items()}
        for ready in wait(list(handles), timeout):
            assert isinstance(ready, Connection)
            handle = handles[ready]
            while handle in self._running and ready.poll():
                try:
                    event: E | Lost = ready.recv()
                except (EOFError, OSError):
                    event = self._lost(handle)
                if isinstance(event, Last):
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


def _work(
    pipe: Connection, run: Callable[[J, int], Iterator[E]], job: J, threads: int, slot: int
) -> None:
    """What a worker process does. Ctrl-C is the driver's business; without driver it ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a method prints must not stand among the driver's answers
    become_worker(threads, slot)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for event in run(job, threads):
            pipe.send(event)
        pipe.close()
