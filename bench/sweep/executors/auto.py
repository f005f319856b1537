"""How many workers this machine gets, decided by what its first trials have measured."""

import contextlib
import ctypes
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from bench.measure.memory import free_memory
from bench.records.cell import Cell
from bench.sweep.executors import Executor, Handle, run_job
from bench.sweep.executors.local import LocalExecutor
from bench.sweep.job import Done, Event, Job

IDLE = 0.15
"""Share of the time that a card may wait while trials are measured and recorded."""
TRIALS = 2
"""That have trained, of each card, before it is decided: the first of a process starts up."""
CONTEXT = 2**30
"""Bytes of a card that a process takes besides its tensors, or somewhat less."""


@dataclass(frozen=True)
class CardUse:
    """What a trial has taken of its card; for the executor alone, said just before the end."""

    most: int
    """Bytes reserved for tensors, at most."""
    free: int
    """Bytes that nobody else has."""
    alone: bool
    """Whether the card is set to serve one process alone."""


def cards() -> int:
    """Returns how many GPUs there are."""
    return torch.cuda.device_count()


def default_workers() -> int:
    """Returns one worker for every GPU, else one for every core, four at most.

    Two workers of one thread finish 1.6 times as many trials as one with two (small EDSR).
    """
    return cards() or min(4, len(os.sched_getaffinity(0)))


def local_executor(workers: int | None, note: Callable[[str], None]) -> Executor:
    """Returns the executor of this machine. workers: None is "auto", which says what it chose.

    Processes serve one trial after the other where there is a GPU, whose start-up takes seconds. On
    a CPU a new one costs 0.1 s, and shares nothing with the one before.
    """
    if workers is None:
        return AutoExecutor(note)
    return LocalExecutor[Job, Event](workers, run_job, warm=cards() > 0)


class AutoExecutor(LocalExecutor[Job, Event | CardUse]):
    """Begins with `default_workers`, and lets a card have more if one leaves it waiting."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._cards = cards()
        super().__init__(default_workers(), run_measured, warm=self._cards > 0)
        self._note = note
        self._busy: list[float] = []
        self._uses: list[CardUse] = []

    def submit(self, job: Job) -> Handle:
        """As of any executor; the first one of a machine without a GPU says how many there are."""
        if not self._cards and not self._next:
            self._note(f"workers: {self.slots}, one for each core, four at most")
        return super().submit(job)

    def events(self, timeout: float) -> Iterator[tuple[Handle, Event]]:
        """As of any executor; once there are measurements enough, there may be more slots."""
        for handle, event in super().events(timeout):
            if isinstance(event, CardUse):
                self._uses.append(event)
                continue
            if self._cards and isinstance(event, Done):
                self._learn(event.cell)
            yield handle, event

    def _learn(self, cell: Cell) -> None:
        """Decides, after the last of the trials that are waited for."""
        busy = busy_share(cell)
        if busy is None or len(self._busy) >= TRIALS * self._cards:
            return
        self._busy.append(busy)
        if len(self._busy) == TRIALS * self._cards:
            limits = limits_of(self._cores, self._cards, cell.memory, free_memory(), self._uses)
            workers, why = workers_a_card(max(self._busy), limits)
            self.slots = workers * self._cards
            self._note(f"workers: {workers} a card; {why}")


def busy_share(cell: Cell) -> float | None:
    """Returns the share of a trial's time in which it trained; None where it did not, or failed."""
    trained = sum(stage.seconds for stage in cell.stages if not stage.reused)
    if cell.state != "complete" or not trained:
        return None
    return min(1.0, trained / cell.seconds)  # a training that goes on counts what it was before


def workers_a_card(busy: float, limits: Mapping[str, int]) -> tuple[int, str]:
    """Returns how many workers share a card, and why.

    As many as would train all the time but IDLE, each `busy` of its own, if no two ever wanted to
    train at once. limits: reason -> workers, at most.

    >>> workers_a_card(0.31, {"there are 2 cores for it": 2})
    (2, 'a trial trains 31 % of its time, so 3 would keep it busy, but there are 2 cores for it')
    """
    wanted = math.ceil((1 - IDLE) / busy)
    reason = min(limits, key=limits.__getitem__, default="")
    workers = max(1, min(wanted, limits.get(reason, wanted)))
    why = f"a trial trains {busy:.0%} of its time".replace("%", " %")
    if workers < wanted:
        return workers, f"{why}, so {wanted} would keep it busy, but {reason}"
    if workers > 1:
        return workers, f"{why}, so one would leave it waiting"
    return workers, f"{why}, which keeps it busy"


def limits_of(
    cores: int, cards: int, memory: int, free: int, uses: list[CardUse]
) -> dict[str, int]:
    """Returns how many workers a card may have, by what sets the limit.

    memory: bytes that a worker has resident; free: bytes that the machine has left beside one for
    each card. Of a card's memory as much is known as workers have said.
    """
    limits = {f"there are {cores // cards} cores for it": cores // cards}
    if memory:
        limits["this machine's memory has room for no more"] = (cards + free // memory) // cards
    if uses:
        left, most = min(use.free for use in uses), max(use.most for use in uses)
        limits["its memory has room for no more"] = (left + CONTEXT) // (most + CONTEXT)
    if any(use.alone for use in uses):
        limits["it is set to serve one process alone"] = 1
    return limits


def run_measured(job: Job, threads: int) -> Iterator[Event | CardUse]:
    """As `run_job`; a trial on a card also says what it took of it."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()
    for event in run_job(job, threads):
        if isinstance(event, Done) and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            yield _card_use()
        yield event


def _card_use() -> CardUse:
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return CardUse(torch.cuda.max_memory_reserved(), free, _is_alone(torch.cuda.current_device()))


def _is_alone(device: int) -> bool:
    """Whether a card's compute mode is not the usual one, as the driver says it."""
    mode, attribute = ctypes.c_int(0), 20  # CU_DEVICE_ATTRIBUTE_COMPUTE_MODE
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcuda.so.1").cuDeviceGetAttribute(ctypes.byref(mode), attribute, device)
    return mode.value != 0
