"""The jobs of the page in their order, one at a time, through an executor as trials go."""

import itertools
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.sweep.job import Last, Lost
from bench.web.work import Ended, Job, Warm

LISTEN = 0.1
"""Seconds until a cancellation or a limit of time is noticed."""


@dataclass(order=True)
class Item:
    """A job that waits or runs, and who hears of it."""

    rank: int
    """0 before 1: reading before restoring, restoring before what nobody waits for."""
    number: int
    owner: str = field(compare=False)
    """Id of the picture or result that it is for."""
    job: Callable[[], Job] = field(compare=False)
    """Made when it begins."""
    limit: float = field(compare=False)
    """Seconds that it may take."""
    heard: Callable[[Any], None] = field(compare=False)
    """Called with what the worker says, but the end."""
    ended: Callable[[str | None], None] = field(compare=False)
    """Called once, with the reason if it came to nothing; not if it is cancelled."""
    kind: str = field(compare=False)
    """Jobs of one kind take time by their size."""
    size: Callable[[], int] = field(compare=False)
    """0 while it is not known."""
    began: float | None = field(compare=False, default=None)
    handle: int = field(compare=False, default=-1)
    cancelled: bool = field(compare=False, default=False)


class Queue:
    """One thread that submits, listens and ends; nobody else touches the executor.

    executor: as `bench.sweep.executors` has them, that runs `bench.web.work.run`. changed: called
    after every change. lock: held while any of the callbacks runs.
    """

    def __init__(self, executor: Any, lock: "threading.RLock", changed: Callable[[], None]) -> None:
        self._executor, self._changed = executor, changed
        self._lock = threading.Condition(lock)
        self._waiting: list[Item] = []
        self._running: list[Item] = []
        self._numbers = itertools.count()
        self._paces: dict[str, float] = {}
        """Seconds for a size of 1, as the last job of a kind has taken."""
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)
        self._thread.start()

    def add(
        self,
        rank: int,
        owner: str,
        job: Callable[[], Job],
        *,
        kind: str,
        size: Callable[[], int],
        limit: float,
        heard: Callable[[Any], None],
        ended: Callable[[str | None], None],
    ) -> None:
        """Puts a job behind those of its rank."""
        with self._lock:
            item = Item(rank, next(self._numbers), owner, job, limit, heard, ended, kind, size)
            self._waiting.append(item)
            self._waiting.sort()
            self._lock.notify()

    def cancel(self, owner: str) -> None:
        """Takes all jobs of a picture or result away; a running one is killed."""
        with self._lock:
            self._waiting = [item for item in self._waiting if item.owner != owner]
            for item in self._running:
                item.cancelled = item.cancelled or item.owner == owner
            self._lock.notify()

    def items(self) -> tuple[list[Item], list[Item]]:
        """Returns what runs and what waits, in order."""
        with self._lock:
            return [i for i in self._running if not i.cancelled], list(self._waiting)

    def left(self, item: Item, part: float = 0.0) -> float | None:
        """Returns how many seconds a job will take from now on; None if that is not known.

        part: how much of it is done; that tells where no job of its kind has run before.
        """
        now = 0.0 if item.began is None else time.monotonic() - item.began
        size, pace = item.size(), self._paces.get(item.kind)
        if pace and size:
            return max(0.0, pace * size - now)
        return now * (1 - part) / part if 0.1 < part < 1 else None

    def close(self) -> None:
        """Kills what runs; what waits is forgotten."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        self._thread.join(20)

    def _work(self) -> None:
        try:
            self._warm_up()
            while not self._closed:
                try:
                    self._serve()
                except Exception:  # our own mistake costs what runs, not the page
                    traceback.print_exc()
                    self._give_up()
        finally:
            self._executor.close()

    def _serve(self) -> None:
        while (steps := self._next()) is not None:
            stopped, begun = steps
            for handle in stopped:
                self._executor.cancel(handle)
            for item, job in begun:  # may take seconds: never while others wait for the lock
                item.handle = self._executor.submit(job)
            for handle, event in list(self._executor.events(LISTEN)):
                self._hear(handle, event)

    def _give_up(self) -> None:
        with self._lock:
            given_up, self._running = self._running, []
            for item in given_up:
                self._executor.cancel(item.handle)
                item.ended("A mistake of bench's own: its log says more.")
            self._changed()

    def _warm_up(self) -> None:
        """Waits until the server that workers are forked from has loaded what they need."""
        self._executor.submit(Warm())
        while not self._closed:
            if any(isinstance(event, Last) for _, event in self._executor.events(LISTEN)):
                return

    def _next(self) -> tuple[list[int], list[tuple[Item, Job]]] | None:
        """What to stop and what to begin now; waits while there is nothing. None at the end."""
        with self._lock:
            while not (self._closed or self._waiting or self._running):
                self._lock.wait()
            if self._closed:
                return None
            stopped = self._stopped()
            begun = []
            while self._waiting and len(self._running) < self._executor.slots:
                item = self._waiting.pop(0)
                item.began = time.monotonic()
                self._running.append(item)
                begun.append((item, item.job()))
                self._changed()
            return stopped, begun

    def _stopped(self) -> list[int]:
        """Handles of what is cancelled or takes too long, which runs no more."""
        now = time.monotonic()
        stopped = []
        for item in list(self._running):
            late = now - (item.began or now) > item.limit
            if item.cancelled or late:
                self._running.remove(item)
                stopped.append(item.handle)
            if late and not item.cancelled:
                item.ended(f"It took longer than {item.limit:.0f} s, and was stopped.")
                self._changed()
        return stopped

    def _hear(self, handle: int, event: Any) -> None:
        with self._lock:
            item = next((item for item in self._running if item.handle == handle), None)
            if item is None or item.cancelled:
                return
            if isinstance(event, Last):
                self._running.remove(item)
            if isinstance(event, Lost):
                item.ended(f"It broke the worker: {event.reason}.")
            elif isinstance(event, Ended):
                if event.reason is None and item.began and item.size():
                    self._paces[item.kind] = (time.monotonic() - item.began) / item.size()
                item.ended(event.reason)
            else:
                item.heard(event)
            self._changed()
