"""What a trial is asked, and what it says while it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bench.records.cell import Cell, TrainedStage
from bench.records.store import content_key
from bench.study.fields import Study
from bench.study.resources import Needs
from bench.train.loop import Note, Progress


class Job(BaseModel):
    """All that a trial needs to know."""

    model_config = ConfigDict(frozen=True)

    study: Study
    method: str
    trial: int | None
    swept: dict[str, Any] = {}
    seed: int
    attempt: int = 0
    decided_by: dict[str, str] = {}
    """Of the cell that the job gives, as its `kept`."""
    kept: list[str] = []
    stages: list[TrainedStage] = []
    """Of a trial that is only measured again: its weights are taken from these."""
    store: Path
    pictures: Path | None = None
    """Where restored images go; None keeps none."""
    prune: bool = False
    """Whether to report the objective while training."""
    workers: int = 1
    """Processes that score beside the training device."""
    needs: Needs = Needs()
    """Of the machine that runs it, where an executor has several to choose from."""

    @property
    def file_name(self) -> str:
        """Of the record that the job gives."""
        return Cell.name_file(self.method, self.trial, self.seed)

    @property
    def fingerprint(self) -> str:
        """Of the record that the job gives."""
        return content_key(self.decided_by)


@dataclass(frozen=True)
class Begun:
    """A machine has taken the job."""

    node: str
    """Its name; `QUEUE` of bench.records.place as long as it waits for one."""


@dataclass(frozen=True)
class Report:
    """The objective part of the way through a training, for the pruner."""

    step: int
    value: float


@dataclass(frozen=True)
class Strip:
    """A sample picture (PNG) of the middle of an image: LR enlarged, SR, HR."""

    dataset: str
    image: str
    png: bytes


@dataclass(frozen=True)
class Scored:
    """An image has been scored."""

    dataset: str
    image: str
    count: int
    of: int


class Last:
    """After an event of this kind a job says nothing more."""

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong, so that the process may serve another job."""
        return False


@dataclass(frozen=True)
class Done(Last):
    """The trial has ended, well or not."""

    cell: Cell

    @property
    def clean(self) -> bool:
        return self.cell.state == "complete"


@dataclass(frozen=True)
class Halt(Last):
    """The machine cannot go on, such as with a full disk. The trial has no result."""

    reason: str


@dataclass(frozen=True)
class Lost(Last):
    """The worker went away without a result: killed, out of memory, its GPU or machine gone."""

    reason: str
    kept: bool = False
    """Whether it was asked to end, after a training that had come further, and at a checkpoint."""


Event = Begun | Progress | Note | Report | Strip | Scored | Done | Halt | Lost
