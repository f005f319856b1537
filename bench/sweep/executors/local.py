"""Jobs in processes of this machine."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from bench.data.processes import end_with_parent, no_main_module
from bench.sweep.executors import Handle, become_worker
from bench.sweep.executors.surroundings import Surroundings
from bench.sweep.job import Last, Lost

J = TypeVar("J")
E = TypeVar("E")

PATIENCE = 10.0  # seconds that a worker may take to tidy up after a job, or to end


@dataclass
class Worker:
    """A process that serves one job at a time."""

    process: BaseProcess
    pipe: Connection
    slot: int
    threads: int = 0
    """Its share of the cores, of the job that it has."""

    def take(self, job: Any, threads: int) -> bool:
        """Hands it a job; returns whether it was there to take it."""
        self.threads = threads
        try:
            self.pipe.send((job, threads))
        except OSError:
            return False
        return True

    def is_ready(self) -> bool:
        """Returns whether it can serve another job, when it has tidied up after its last."""
        try:
            self.pipe.send(None)
            return self.pipe.poll(PATIENCE) and bool(self.pipe.recv())
        except (EOFError, OSError):
            return False

    def end(self, at_once: bool = False) -> None:
        """Waits for its end, which at the end of a job comes by itself."""
        if at_once:
            self.process.kill()
        self.pipe.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()


class LocalExecutor(Generic[J, E]):
    """Processes forked from a server that has torch loaded already, one for each job.

    A crash costs one attempt of one job. The cores are divided among the workers, and the GPUs.
    run: what a worker does with a job and its number of threads, such as `run_job`; a function of a
    module, which is loaded once for all workers. warm: a process serves one job after the other, as
    long as each ends well and leaves the process as it was (`Surroundings`).
    """

    def __init__(
        self, workers: int, run: Callable[[J, int], Iterator[E]], warm: bool = False
    ) -> None:
        self.slots = workers
        self._run, self._warm = run, warm
        self._cores = len(os.sched_getaffinity(0))
        self._running: dict[Handle, Worker] = {}
        self._resting: list[Worker] = []
        self._next = 0
        # Threads that spin while they wait make a shared core crawl: on two cores with another busy
        # process a training step took 1.5 s with spinning threads, 0.1 s to 0.4 s without.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._context = multiprocessing.get_context("forkserver")
        # The first optimizer of a process imports torch._dynamo (1.4 s): once here, not in each.
        self._context.set_forkserver_preload(["torch._dynamo", run.__module__])

    def submit(self, job: J) -> Handle:
        """Starts a job with its share of the cores."""
        taken = [worker.threads for worker in self._running.values()]
        share = share_of(self._cores, self.slots, taken)
        worker = self._rested()
        if worker is None or not worker.take(job, share):
            worker = self._started()
            worker.take(job, share)  # one that could not is lost, which `events` will tell
        self._next += 1
        self._running[self._next] = worker
        return self._next

    def _rested(self) -> Worker | None:
        """A worker that has served before and can serve again."""
        while self._resting:
            worker = self._resting.pop()
            if worker.is_ready():
                return worker
            worker.end()
        return None

    def _started(self) -> Worker:
        ours, theirs = self._context.Pipe()
        busy = {worker.slot for worker in [*self._running.values(), *self._resting]}
        slot = min(set(range(self.slots)) - busy, default=0)
        process = self._context.Process(target=_work, args=(theirs, self._run, slot, self._warm))
        with no_main_module():
            process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        return Worker(process, ours, slot)

    def events(self, timeout: float) -> Iterator[tuple[Handle, E | Lost]]:
        """Yields what has come within `timeout` seconds."""
        handles = {worker.pipe: handle for handle, worker in self._running.items()}
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
        process = self._running[handle].process
        process.join(5)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"status {code}"
        return Lost(f"the worker process ended without a result ({how})")

    def _end(self, handle: Handle) -> None:
        worker = self._running.pop(handle)
        if self._warm:
            self._resting.append(worker)
        else:
            worker.end()

    def cancel(self, handle: Handle) -> None:
        if worker := self._running.pop(handle, None):
            worker.end(at_once=True)

    def close(self) -> None:
        for handle in list(self._running):
            self.cancel(handle)
        while self._resting:
            self._resting.pop().end(at_once=True)


def share_of(cores: int, slots: int, taken: Sequence[int]) -> int:
    """Returns how many cores a job gets that begins beside those which have `taken` theirs.

    An equal share, but where the slots have become more no core is given away twice: one that
    began alone on 16 cores keeps them. One at least.

    >>> share_of(16, 4, []), share_of(16, 4, [8]), share_of(16, 4, [16]), share_of(2, 4, [])
    (4, 2, 1, 1)
    """
    left = (cores - sum(taken)) // max(1, slots - len(taken))
    return max(1, min(cores // slots, left))


def _work(pipe: Connection, run: Callable[[J, int], Iterator[E]], slot: int, warm: bool) -> None:
    """What a worker process does. Ctrl-C is the driver's business; without driver it ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a method prints must not stand among the driver's answers
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        if warm:
            _serve_on(pipe, run, slot)
        else:
            _serve(pipe, run, slot)
        pipe.close()


def _serve(pipe: Connection, run: Callable[[J, int], Iterator[E]], slot: int) -> bool:
    """Does the next job; returns whether another may be done by the same process."""
    job, threads = pipe.recv()
    become_worker(threads, slot)
    event: E | None = None
    for event in run(job, threads):
        pipe.send(event)
    return isinstance(event, Last) and event.clean


def _serve_on(pipe: Connection, run: Callable[[J, int], Iterator[E]], slot: int) -> None:
    """Does one job after the other, as long as the process is as good as a new one."""
    surroundings = Surroundings()
    while _serve(pipe, run, slot) and surroundings.put_back():
        pipe.recv()  # the question whether it is ready: a file may be edited until then
        if not surroundings.as_loaded():
            return
        pipe.send(True)
