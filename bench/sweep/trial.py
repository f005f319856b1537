"""One trial: a pure function of its job, and the only thing that runs remotely.

It opens no database and imports no MLflow, Optuna or pandas; a worker needs torch, numpy, pydantic
and Pillow.
"""

import io
import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch

from bench.data import sets
from bench.data.benchmark import Benchmark, open_benchmark
from bench.data.degrade import imresize
from bench.data.images import write_image
from bench.data.pixels import Image, Input, as_rgb
from bench.data.roots import databases
from bench.errors import BenchError, Diverged, disk_is_full
from bench.measure.assess import able, assess, unmarked
from bench.measure.evaluate import Evaluated, Restore, evaluate, rows_of, used
from bench.measure.memory import peak_memory, reset_peak
from bench.measure.meter import Meter
from bench.measure.metrics import examinations_of, labels_of, metric
from bench.measure.protocol import protocol
from bench.measure.scores import ScoreStore
from bench.method.assessing import Marker
from bench.method.contract import Method
from bench.method.ensemble import SelfEnsemble, ensemble_cost
from bench.method.faults import gpu_is_lost
from bench.method.restoring import restoring
from bench.records.cell import Cell, OnTheWay, Score, TrainedStage, UsedDataset, label_of
from bench.records.store import Store
from bench.study.fields import Study
from bench.sweep.command import CommandFailed, Program
from bench.sweep.identity import environment
from bench.sweep.job import Done, Event, Halt, Job, Lost, Report, Scored, Strip
from bench.sweep.rows import (
    ensembled,
    kind_of,
    measured_on,
    methods_of,
    protocol_of,
    scales_of,
    source_of,
    start_of,
)
from bench.train.loop import MARKS, Progress, choose_device
from bench.train.stages import load_stages, on_the_way, train_stages

STRIPS = 3  # sample pictures of each set that go into the run's record
STRIP = 160  # their side in HR pixels
Source = Restore | Marker
"""What restores a benchmark's pictures, or marks them."""
REPORTS = MARKS  # times that a trial under a pruner reports
UNCHOSEN = ("folder", "reference", "command")  # rows of pictures that the sampler has no say in


@dataclass
class Result:
    """What a trial has come to; the fields of its Cell."""

    parameters: dict[str, Any]
    state: Literal["complete", "failed"] = "complete"
    reason: str = ""
    remarks: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    objectives: dict[str, float] = field(default_factory=dict)
    on_the_way: list[OnTheWay] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ensemble: float = 0.0
    datasets: dict[str, UsedDataset] = field(default_factory=dict)
    assessors: dict[str, str] = field(default_factory=dict)
    examined: dict[str, dict[str, float | str]] = field(default_factory=dict)
    stages: list[TrainedStage] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def run_trial(job: Job) -> Iterator[Event]:
    """Trains and measures one method under one seed; ends with Done, Halt or Lost, whatever
    happens."""
    started, began = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
    reset_peak()
    section = job.study.methods[job.method]
    result = Result({**section.fixed, **job.swept})
    try:
        result.environment = environment(job.study)
        yield from _train_and_measure(job, result)
    except (BenchError, Diverged) as error:
        result.state, result.reason = "failed", str(error)
    except Exception as error:  # a trial that fails is recorded, and the sweep goes on
        if disk_is_full(error):
            yield Halt(f"the disk is full ({getattr(error, 'filename', None) or job.store})")
            return
        if gpu_is_lost(error):
            yield Lost(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return
        text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        result.state, result.reason = "failed", text
    yield Done(
        Cell(
            study=job.study.name,
            method=job.method,
            use=section.use or kind_of(section),
            trial=job.trial,
            seed=job.seed,
            attempt=job.attempt,
            swept=job.swept,
            fingerprint=job.fingerprint,
            decided_by=job.decided_by,
            kept=job.kept,
            started=started,
            seconds=time.monotonic() - began,
            memory=peak_memory(),
            **vars(result),
        )
    )


def _train_and_measure(job: Job, result: Result) -> Iterator[Event]:
    """Goes through the scales: trains, measures the objectives, then all that is reported."""
    study = job.study
    device = choose_device(study.train.device if study.train else "auto")
    store = ScoreStore(databases(job.store) / "scores.db")
    metrics = [*(study.select.objectives if study.select else ()), *study.evaluate.metrics]
    with Meter(metrics, device=str(device), workers=job.workers, store=store) as meter:
        result.unavailable = {
            name: why for name, why in meter.unavailable.items() if name in study.evaluate.metrics
        }
        result.assessors = labels_of(meter.names)
        result.examined = examinations_of(meter.names)
        objectives: dict[str, list[float]] = {}
        if (kind := kind_of(section := study.methods[job.method])) in UNCHOSEN:
            source = source_of(study, job.method)
            if kind == "command":
                source = Program(section.program, Store(job.store), result.remarks, result.made)
            for scale in scales_of(study, job.method):
                yield from _measure_scale(job, scale, source, meter, result)
        else:
            yield from _with_methods(job, device, meter, result, objectives)
        result.objectives = {name: fmean(values) for name, values in objectives.items()}
        order = {name: place for place, name in enumerate(study.evaluate.metrics)}
        result.scores.sort(key=lambda s: order[s.metric])
        result.skipped |= measured_on(study, job.method)[1]


def _with_methods(
    job: Job,
    device: torch.device,
    meter: Meter,
    result: Result,
    objectives: dict[str, list[float]],
) -> Iterator[Event]:
    study = job.study
    for scales, method in methods_of(study, job.method, job.swept, job.seed):
        result.parameters, result.remarks = method.hyperparameters, list(method.remarks)
        yield from _train(job, method, scales[0], device, meter, result)
        if study.select is not None and result.stages:
            result.on_the_way += _on_the_way(job, method, scales, device, meter, result.stages[-1])
        for scale in scales:
            if study.select is not None:
                means = _objectives(study, scale, _shown(method.at(scale)), meter)
                for name, value in means.items():
                    objectives.setdefault(name, []).append(value)
            source = partial(_reported, job, method.at(scale), result)
            yield from _measure_scale(job, scale, source, meter, result)
    if len(study.task.scales) > 1:
        result.parameters = {k: v for k, v in result.parameters.items() if k != "scale"}


def _on_the_way(
    job: Job,
    method: Method,
    scales: Sequence[int],
    device: torch.device,
    meter: Meter,
    stage: TrainedStage,
) -> Iterator[OnTheWay]:
    """The objectives at each snapshot of the last stage; then its end's weights are back."""
    for step in on_the_way(method, stage, Store(job.store), device):
        means = [_objectives(job.study, s, _shown(method.at(s)), meter) for s in scales]
        for name in means[0]:
            yield OnTheWay(step, name, fmean(mean[name] for mean in means))


def _reported(job: Job, method: Method, result: Result, benchmark: Benchmark) -> Source:
    if method.does("assessment") or not ensembled(job.study, job.method):
        return _shown(method)
    result.ensemble = result.ensemble or ensemble_cost(method, benchmark.pairs[0].lr())
    return restoring(method, SelfEnsemble(method))


def _shown(method: Method) -> Source:
    """What restores with a method, or marks, in one pass."""
    return Marker(method) if method.does("assessment") else restoring(method)


def _train(
    job: Job, method: Method, scale: int, device: torch.device, meter: Meter, result: Result
) -> Iterator[Event]:
    """Trains a method, or takes it from the store; reports on the way if there is a pruner."""
    study, store = job.study, Store(job.store)
    task, section = study.task.at(scale), study.methods[job.method]
    if kind_of(section) == "weights":
        method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return
    known = [stage for stage in job.stages if stage.scale in (0, scale)]
    if known and all(store.has("stages", stage.key) for stage in known):
        yield from load_stages(method, known, store, device, result.stages)
        return
    last = [stage.name for stage in method.stages()][-1:]
    first = scales_of(study, job.method).index(scale) * REPORTS
    reported = 0
    training = train_stages(
        method, task, study.train, job.seed, store, result.stages, section.train,
        start_of(section, method, scale),
    )  # fmt: skip
    for item in training:
        yield item
        if not (job.prune and isinstance(item, Progress) and [item.stage] == last):
            continue
        if (quarter := item.step * REPORTS // item.steps) > reported and item.step < item.steps:
            reported = quarter
            in_training = method.training
            means = _objectives(study, scale, _shown(method.eval().at(scale)), meter)
            yield Report(first + quarter, *means.values())
            method.train(in_training)


def _measure_scale(
    job: Job,
    scale: int,
    source: Callable[[Benchmark], Source],
    meter: Meter,
    result: Result,
) -> Iterator[Event]:
    for dataset, at in measured_on(job.study, job.method)[0]:
        if at == scale:
            yield from _measure(job, dataset, scale, source, meter, result)


def _objectives(study: Study, scale: int, shown: Source, meter: Meter) -> dict[str, float]:
    """Returns the mean of each objective's metric over the selection set."""
    assert study.select is not None
    chosen, dataset = study.select.objectives, study.select.dataset
    rules = protocol(protocol_of(study, dataset))
    benchmark = open_benchmark(dataset, scale, study.task.degradation)
    rows: list[Score] = []
    if isinstance(shown, Marker):
        (rows,) = (
            r for r in assess(shown, benchmark, rules.name, chosen) if not isinstance(r, str)
        )
        rows = able(rows)
    else:
        for image in evaluate(shown, benchmark, meter, rules.name, chosen):
            rows += rows_of(benchmark, rules.name, image)
    reasons = [f"{n}: {why}" for n, why in meter.unavailable.items() if n in chosen]
    reasons += [f"{row.metric} on {dataset}/{row.image}: {row.why}" for row in rows if row.why]
    values = {
        name: rules.pool(name, (row.value for row in rows if row.metric == name)) for name in chosen
    }
    if lacking := [name for name, value in values.items() if math.isnan(value)]:
        raise BenchError(f"no value for the objective {lacking[0]}: {'; '.join(reasons)}")
    return values


def _measure(
    job: Job,
    dataset: str,
    scale: int,
    source: Callable[[Benchmark], Source],
    meter: Meter,
    result: Result,
) -> Iterator[Event]:
    """Scores one benchmark, keeps its pictures, and makes a few samples of them."""
    study, key = job.study, job.study.key(dataset, scale)
    if why := sets.missing(dataset):
        result.missing[dataset] = why
        return
    benchmark = open_benchmark(dataset, scale, study.task.degradation)
    reference_only = kind_of(study.methods[job.method]) == "reference"
    metrics = [n for n in study.evaluate.metrics if not (reference_only and metric(n).reference)]
    try:
        shown = source(benchmark)
    except CommandFailed:
        raise
    except BenchError as error:
        result.skipped[key] = str(error)
        return
    result.datasets[key] = used(benchmark)
    rules, label = protocol_of(study, dataset), label_of(key)
    if isinstance(shown, Marker):
        yield from _assess(shown, benchmark, rules, metrics, result)
        return
    images: dict[str, Evaluated] = {}
    for image in evaluate(shown, benchmark, meter, rules, metrics):
        if job.pictures is not None:
            reference = job.pictures / "reference" / label / f"{image.stem}.png"
            if image.hr is not None and not reference.exists():
                write_image(reference, image.hr)
            write_image(job.pictures / job.file_name / label / f"{image.stem}.png", image.sr)
        if len(images) < STRIPS:
            yield Strip(label, image.stem, _strip(image.lr, image.sr, image.hr, scale))
        images[image.stem] = image.without_pixels()
        yield Scored(dataset, image.stem, len(images), len(benchmark.pairs))
    for pair in benchmark.pairs:
        result.scores += rows_of(benchmark, rules, images[pair.stem])


def _assess(
    marker: Marker, benchmark: Benchmark, rules: str, metrics: list[str], result: Result
) -> Iterator[Event]:
    """Scores the marks of one set, and names the photographs that have no part in it."""
    done, count = 0, len(benchmark.pairs)
    for found in assess(marker, benchmark, rules, metrics):
        if isinstance(found, str):
            done += 1
            yield Scored(benchmark.name, found, done, count)
        else:
            result.scores += found
            result.remarks += unmarked(benchmark, found)


def _strip(lr: Input, sr: Image, hr: Image | None, scale: int) -> bytes:
    """Returns a PNG of the middle of an image, side by side: LR enlarged by bicubic, SR, HR.

    Without LR where it is a raw file, without HR where the set has none.
    """
    from PIL import Image as Pillow

    side = [min(STRIP, size) // scale for size in sr.shape[:2]]  # in LR pixels
    top, left = ((size // scale - n) // 2 for size, n in zip(sr.shape[:2], side, strict=True))
    small = np.s_[top : top + side[0], left : left + side[1]]
    large = np.s_[scale * top : scale * (top + side[0]), scale * left : scale * (left + side[1])]
    panels = [as_rgb(sr)[large]]
    if lr.dtype == np.uint8:
        panels.insert(0, imresize(as_rgb(np.asarray(lr, np.uint8))[small], scale))
    if hr is not None:
        panels.append(as_rgb(hr)[large])
    buffer = io.BytesIO()
    Pillow.fromarray(np.concatenate(panels, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()
