"""Jobs on the machines of a Ray cluster.

A job is one streaming task, whose events come as they are made. Ray repeats nothing: it would mix
two attempts in one stream, and attempts are the driver's business.
"""

import contextlib
import math
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import exceptions

from bench.data.roots import data_root, home, weights_root
from bench.errors import BenchError
from bench.records.store import Kind
from bench.study.resources import Needs
from bench.sweep.executors import Handle, become_worker
from bench.sweep.executors.away import Home, Origin, Unfit, run_away
from bench.sweep.executors.machines import LOOK_EVERY, Machines, connect, here
from bench.sweep.job import Begun, Event, Job, Last, Lost
from bench.train.loop import Note

PATIENCE = 60.0  # seconds for a machine to come back that has room for a job


@dataclass
class Running:
    """A job under way."""

    job: Job
    stream: Any


class RayExecutor:
    """Runs jobs on a cluster; without an address on one of this machine, for as long as it lives.

    workers: jobs at a time, at most; None: as many as the machines have room for, as they come and
    go. Raises BenchError where nothing answers at the address, and for all machines at once whose
    bench, torch or Python is not the driver's.
    """

    def __init__(self, address: str = "", workers: int | None = None) -> None:
        self._workers = workers
        self._running: dict[Handle, Running] = {}
        self._next = 0
        self._needs = Needs()
        self._had_room = -math.inf
        self._notes: list[str] = []
        self._keeper: Any = None
        self._theirs = ray.is_initialized()
        self._origin = _origin()
        self._folder = connect(address or os.environ.get("RAY_ADDRESS", ""))
        try:
            self._machines = Machines(self._origin.home, self._origin.probe, self._notes.append)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """As many jobs as the machines have room for; one at least, so that its lack is told."""
        self._machines.look()
        room = self._machines.room(self._needs)
        return max(1, min(room, self._workers or room))

    def submit(self, job: Job) -> Handle:
        """Gives a job to the cluster. Raises BenchError where nothing there has room for it."""
        self._needs = self._filled(job)
        self._wait_for_room(self._needs)
        self._next += 1
        self._running[self._next] = Running(job, self._start(job, self._needs))
        return self._next

    def _filled(self, job: Job) -> Needs:
        """A job's needs, with what its study leaves open.

        Of GPUs one, if the study and the cluster use any; of memory no more than a machine has, for
        a trial like it has run.
        """
        needs, said = job.needs, job.study.resources
        on_cpu = job.study.train is not None and job.study.train.device == "cpu"
        if needs.gpus is None:
            needs = needs._replace(gpus=float(self._machines.most("GPU") > 0 and not on_cpu))
        if said.memory is None:
            needs = needs._replace(memory=min(needs.memory, int(self._machines.most("memory"))))
        return needs

    def _wait_for_room(self, needs: Needs) -> None:
        """Raises BenchError where no machine has room; at once if none ever had."""
        self._machines.look()
        while not self._has_room(needs):
            time.sleep(LOOK_EVERY)
            self._machines.look()

    def _has_room(self, needs: Needs) -> bool:
        """Whether any machine has. Raises BenchError if none has for too long."""
        now = time.monotonic()
        if self._machines.room(needs):
            self._had_room = now
        elif now - self._had_room > PATIENCE:
            memory = f", {needs.memory / 1e9:.3g} GB" if needs.memory else ""
            asked = f"{needs.cpus} CPUs, {needs.gpus:g} GPUs{memory}"
            raise BenchError(
                f"no machine of the cluster has room for a job of {asked}:\n{self._machines}\n"
                "Ask for less in the study's `resources`, or add a machine."
            )
        return self._had_room == now

    def _start(self, job: Job, needs: Needs) -> Any:
        others = ",".join(self._machines.left_out)
        task = ray.remote(_work).options(
            name=job.file_name,
            num_returns="streaming",
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory or None,
            max_retries=0,
            label_selector={"ray.io/node-id": f"!in({others})"} if others else None,
        )
        return task.remote(job, self._origin, self._home(), needs)

    def _home(self) -> Any:
        """What has the home, for machines that do not see it: an actor on this one."""
        if self._keeper is None and not all(m.shared for m in self._machines.fit.values()):
            actor = ray.remote(Home).options(
                num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here()
            )
            self._keeper = actor.remote(self._origin.home)
        return self._keeper

    def events(self, timeout: float) -> Iterator[tuple[Handle, Event]]:
        """Yields what has come within `timeout` seconds."""
        self._machines.look()
        self._has_room(self._needs)
        handles = {running.stream: handle for handle, running in self._running.items()}
        ready, _ = ray.wait(list(handles), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(list(handles), num_returns=len(handles), timeout=0)
        for stream in ready:
            if (handle := handles[stream]) in self._running:
                yield from self._told(handle, self._next_of(stream))
        while self._notes and self._running:
            yield next(iter(self._running)), Note(self._notes.pop(0))

    def _told(self, handle: Handle, event: Event | Unfit) -> Iterator[tuple[Handle, Event]]:
        """What the driver is told of an event."""
        if isinstance(event, Unfit):
            self._go_elsewhere(handle, event)
            return
        if isinstance(event, Begun):
            machine = self._machines.fit.get(event.node)
            event = Begun(machine.name if machine else "a machine that has gone")
        elif isinstance(event, Last):
            del self._running[handle]
        yield handle, event

    def _next_of(self, stream: Any) -> Event | Unfit:
        try:
            event: Event | Unfit = ray.get(next(stream))
            return event
        except StopIteration:
            return Lost("the worker ended without a result")
        except exceptions.LocalRayletDiedError as error:
            again = "Nothing is lost: start it and run the same command again."
            raise BenchError(f"Ray on this machine has ended. {again}") from error
        except exceptions.RayError as error:
            return Lost(_why_lost(error))

    def _go_elsewhere(self, handle: Handle, event: Unfit) -> None:
        """Gives a job to another machine than one that would give other numbers."""
        running = self._running[handle]
        if machine := self._machines.fit.get(event.node):
            self._machines.leave_out(event.node, machine.name, "; ".join(event.reasons))
        if not self._machines.fit:
            raise BenchError(f"no machine of the cluster is as this one is:\n{self._machines}")
        running.stream = self._start(running.job, self._filled(running.job))

    def cancel(self, handle: Handle) -> None:
        """Stops a job with its process; no event of it comes afterwards."""
        if running := self._running.pop(handle, None):
            with contextlib.suppress(exceptions.RayError):
                ray.cancel(running.stream, force=True)

    def close(self) -> None:
        """Stops every job and leaves the cluster; one of its own ends."""
        for handle in list(self._running):
            self.cancel(handle)
        (self._origin.home / self._origin.probe).unlink(missing_ok=True)
        if not self._theirs:
            ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _origin() -> Origin:
    """This process's surroundings, with a probe in the home for others to see."""
    ours = f".cluster-{platform.node()}-"
    home().mkdir(parents=True, exist_ok=True)
    for old in home().glob(f"{ours}*-*"):  # of a driver that was killed
        if not Path("/proc", old.name.removeprefix(ours).split("-")[0]).exists():
            old.unlink(missing_ok=True)
    probe = f"{ours}{os.getpid()}-{secrets.token_hex(8)}"
    (home() / probe).touch()
    return Origin(Path.cwd(), home(), probe, data_root().absolute(), weights_root().absolute())


def _why_lost(error: exceptions.RayError) -> str:
    """What became of a worker, in one line."""
    words = {
        exceptions.NodeDiedError: "its machine went away",
        exceptions.WorkerCrashedError: "the worker process ended without a result",
        exceptions.OutOfMemoryError: "killed by Ray, for its machine was short of memory",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"


class _Asked:
    """The home on the driver's machine, asked from another one."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def fetch(self, kind: Kind, key: str) -> Mapping[str, bytes] | None:
        found: Mapping[str, bytes] | None = ray.get(self._actor.fetch.remote(kind, key))
        return found

    def keep(self, kind: Kind, key: str, files: Mapping[str, bytes]) -> None:
        ray.get(self._actor.keep.remote(kind, key, files))

    def picture(self, study: str, path: str, data: bytes) -> None:
        ray.get(self._actor.picture.remote(study, path, data))

    def records(self, study: str, trial: str) -> Mapping[str, bytes]:
        found: Mapping[str, bytes] = ray.get(self._actor.records.remote(study, trial))
        return found


def _work(job: Job, origin: Origin, keeper: Any, needs: Needs) -> Iterator[Event | Unfit]:
    """What a worker process does, one job after the other; with a GPU, one job."""
    if not needs.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    become_worker(needs.cpus)
    node = ray.get_runtime_context().get_node_id()
    yield from run_away(job, origin, _Asked(keeper) if keeper else None, node, needs.cpus)
