"""One trial: a pure function of its job, and the only thing that runs remotely.

It opens no database and imports no MLflow, Optuna or pandas; a worker needs torch, numpy, pydantic
and Pillow.
"""

import errno
import io
import math
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from bench.data import sets
from bench.data.degrade import imresize
from bench.data.pixels import Image, Input, as_rgb
from bench.errors import BenchError, Diverged
from bench.measure.evaluate import Measured, evaluate, load_scorers
from bench.measure.metrics import metric
from bench.measure.protocol import usual_protocol
from bench.method.contract import Method, build_method, find_method, load_method
from bench.records.cell import Cell, TrainedStage, label_of
from bench.records.store import Store, content_key
from bench.study.fields import Study, TaskSection, TrainSection
from bench.sweep.identity import environment
from bench.train.loop import Progress, choose_device
from bench.train.stages import Note, load_stages, train_stages

STRIPS = 3  # sample pictures of each set that go into the run's record
STRIP = 160  # their side in HR pixels
REPORTS = 4  # times that a trial under a pruner reports


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
    prepare: bool = False
    """Only trains what the metrics need, for all trials to share."""

    @property
    def file_name(self) -> str:
        """Of the record that the job gives."""
        return Cell.name_file(self.method, self.trial, self.seed)

    @property
    def fingerprint(self) -> str:
        """Of the record that the job gives."""
        return content_key(self.decided_by)


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


@dataclass(frozen=True)
class Done:
    """The trial has ended, well or not."""

    cell: Cell


@dataclass(frozen=True)
class Halt:
    """The machine cannot go on, such as with a full disk. The trial has no result."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker went away without a result: killed, out of memory, its GPU or machine gone."""

    reason: str


Event = Progress | Note | Report | Strip | Scored | Done | Halt | Lost


def run_trial(job: Job) -> Iterator[Event]:
    """Trains and measures one method under one seed; ends with Done, Halt or Lost, whatever
    happens."""
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    trained: list[TrainedStage] = []
    found, objectives = Measured(), dict[str, float]()
    parameters: dict[str, Any] = {**job.study.methods[job.method].fixed, **job.swept}
    state, reason, about = "complete", "", dict[str, str]()
    told: Sequence[str] = ()
    try:
        about = environment(job.study)
        method = make_method(job.study, job.method, job.swept, job.seed)
        parameters, told = method.hyperparameters, method.remarks
        yield from _train_and_measure(job, method, trained, found, objectives)
    except (BenchError, Diverged) as error:
        state, reason = "failed", str(error)
    except Exception as error:  # a trial that fails is recorded, and the sweep goes on
        if disk_is_full(error):
            yield Halt(f"the disk is full ({getattr(error, 'filename', None) or job.store})")
            return
        if gpu_is_lost(error):
            yield Lost(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return
        state, reason = "failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    yield Done(
        Cell(
            study=job.study.name,
            method=job.method,
            use=job.study.methods[job.method].use,
            trial=job.trial,
            seed=job.seed,
            attempt=job.attempt,
            state=state,
            reason=reason,
            parameters=parameters,
            swept=job.swept,
            objectives=objectives,
            stages=trained,
            remarks=list(told),
            fingerprint=job.fingerprint,
            decided_by=job.decided_by,
            kept=job.kept,
            started=started,
            seconds=time.monotonic() - began,
            environment=about,
            **vars(found),
        )
    )


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that there is no room left."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "disk is full" in str(error):  # SQLite's words, in whatever they are wrapped
            return True
        error = error.__cause__ or error.__context__
    return False


def gpu_is_lost(error: Exception) -> bool:
    """Whether an error is the GPU's or its driver's: after it the process can compute no more.

    Memory that does not suffice is no such error: it would not suffice the next time either.
    """
    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return False
    words = ("CUDA error", "cuDNN error", "NCCL error", "device-side assert")
    return isinstance(error, torch.AcceleratorError) or any(w in str(error) for w in words)


def make_method(study: Study, name: str, swept: dict[str, Any], seed: int) -> Method:
    """Returns a method of a study, its weights initialised under the seed."""
    section = study.methods[name]
    torch.manual_seed(seed)
    return build_method(find_method(section.use), {**section.fixed, **swept}, study.task.scale)


def _train_and_measure(
    job: Job,
    method: Method,
    trained: list[TrainedStage],
    found: Measured,
    objectives: dict[str, float],
) -> Iterator[Event]:
    study, store = job.study, Store(job.store)
    device = choose_device(study.train.device if study.train else "auto")
    names = study.evaluate.metrics
    assessors = yield from train_assessors(names, study.task, study.train, store, found)
    if job.prepare:
        return
    scorers = load_scorers(study.evaluate.metrics, device, assessors, found)
    last = [stage.name for stage in method.stages()][-1:]
    reported = 0
    training = (
        load_stages(method, job.stages, store, device, trained)
        if job.stages
        else train_stages(method, study.task, study.train, job.seed, store, trained)
    )
    for item in training:
        yield item
        if not (job.prune and isinstance(item, Progress) and [item.stage] == last):
            continue
        if (quarter := item.step * REPORTS // item.steps) > reported and item.step < item.steps:
            reported = quarter
            was_training = method.training
            yield Report(quarter, *_objectives(study, method.eval(), scorers).values())
            method.train(was_training)
    if study.select is not None:
        objectives.update(_objectives(study, method, scorers))
    for dataset in study.evaluate.datasets:
        yield from _measure(job, method, dataset, scorers, found)


def train_assessors(
    metrics: Sequence[str],
    task: TaskSection,
    train: TrainSection | None,
    store: Store,
    found: Measured,
) -> Generator[Progress | Note, None, dict[str, Method]]:
    """Returns the trained method behind each metric that has one, training it if need be.

    Adds its exact name and what its examination found to `found`.
    """
    trained: dict[str, Method] = {}
    for name in metrics:
        path = metric(name).trained_by
        if path is None or metric(name).unavailable():
            continue
        if published := metric(name).published():
            found.assessors[name] = published
            continue
        stages: list[TrainedStage] = []
        trained[name] = load_method(path)
        yield from train_stages(trained[name], task, train, 0, store, stages)
        found.assessors[name] = stages[-1].name
        found.examined[stages[-1].name] = stages[-1].examined
    return trained


def _objectives(study: Study, method: Method, scorers: Any) -> dict[str, float]:
    """Returns the mean of each objective's metric over the selection set."""
    assert study.select is not None
    chosen = {name: scorers[name] for name in study.select.objectives}
    found, dataset, scale = Measured(), study.select.dataset, study.task.scale
    for _ in evaluate(
        method, dataset, scale, chosen, protocol_of(study, dataset), found,
        degradation=study.task.degradation,
    ):  # fmt: skip
        pass
    values = {name: found.mean(dataset, name) for name in chosen}
    if lacking := [name for name, value in values.items() if math.isnan(value)]:
        reasons = [f"{place}: {why}" for place, why in found.unavailable.items()]
        raise BenchError(f"no value for the objective {lacking[0]}: {'; '.join(reasons)}")
    return values


def _measure(
    job: Job, method: Method, dataset: str, scorers: Any, found: Measured
) -> Iterator[Event]:
    """Scores one reported set, keeps its pictures, and makes a few strips of them."""
    scale, degradation = job.study.task.scale, job.study.task.degradation
    name = Cell.name_file(job.method, job.trial, job.seed)
    save = job.pictures / name if job.pictures else None
    rules = protocol_of(job.study, dataset)
    images = evaluate(
        method, dataset, scale, scorers, rules, found, degradation=degradation, save=save
    )
    for count, (stem, lr, sr, hr) in enumerate(images, start=1):
        if job.pictures is not None:
            reference = job.pictures / "reference" / label_of(dataset) / f"{stem}.png"
            if hr is not None and not reference.exists():
                sets.write_image(reference, hr)
        if count <= STRIPS:
            yield Strip(label_of(dataset), stem, _strip(lr, sr, hr, scale))
        yield Scored(dataset, stem, count, found.datasets[dataset].count)


def _strip(lr: Input, sr: Image, hr: Image | None, scale: int) -> bytes:
    """Returns a PNG of the middle of an image, side by side: LR enlarged by bicubic, SR, HR.

    Without LR where it is a raw file, without HR where the set has none.
    """
    from PIL import Image as Pillow

    side = [min(STRIP, size) // scale for size in sr.shape[:2]]  # in LR pixels
    top, left = ((size // scale - n) // 2 for size, n in zip(sr.shape[:2], side, strict=True))
    small = np.s_[top : top + side[0], left : left + side[1]]
    large = np.s_[scale * top : scale * (top + side[0]), scale * left : scale * (left + side[1])]
    panels = [sr[large]]
    if lr.dtype == np.uint8:
        panels.insert(0, imresize(as_rgb(np.asarray(lr, np.uint8))[small], scale))
    if hr is not None:
        panels.append(as_rgb(hr)[large])
    buffer = io.BytesIO()
    Pillow.fromarray(np.concatenate(panels, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def seeds_of(study: Study, name: str) -> tuple[int, ...]:
    """Returns the seeds a method is run under: one if it has nothing to train."""
    section = study.methods[name]
    values = {key: range_.sample() for key, range_ in section.ranges.items()}
    with torch.device("meta"):
        method = build_method(find_method(section.use), section.fixed | values, study.task.scale)
    return study.budget.seeds if method.stages() else study.budget.seeds[:1]


def planned_cells(study: Study) -> int:
    """Returns how many records a finished sweep has: trials times seeds, baselines included."""
    return sum(
        len(seeds_of(study, name)) * (study.trials_of(name) if section.ranges else 1)
        for name, section in study.methods.items()
    )


def protocol_of(study: Study, dataset: str) -> str:
    """Returns the name of the protocol that the study's numbers on a set are measured under."""
    chosen = study.evaluate.protocol
    name = chosen if isinstance(chosen, str) else chosen.get(dataset, "auto")
    return usual_protocol(dataset, study.task.kind) if name == "auto" else name
