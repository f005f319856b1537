"""What a sweep would do and what it would cost, from a few timed steps."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from bench.data import sets
from bench.data.benchmark import Benchmark, open_benchmark
from bench.data.roots import home, paths_from
from bench.errors import BenchError
from bench.measure.evaluate import evaluate
from bench.measure.meter import Meter
from bench.measure.metrics import metric
from bench.method.assessing import Marker
from bench.method.batch import Batch
from bench.method.contract import Method
from bench.method.ensemble import SelfEnsemble
from bench.method.recipe import Recipe, lay, layers, recipe_of
from bench.method.restoring import restoring
from bench.records.store import Store
from bench.study.fields import MethodSection, Study
from bench.study.words import duration
from bench.sweep.executors.auto import default_workers
from bench.sweep.rows import (
    ensembled,
    kind_of,
    measured_on,
    methods_of,
    protocol_of,
    seeds_of,
    start_of,
)
from bench.train.loop import choose_device
from bench.train.optimizers import make_optimizers
from bench.train.plan import Plan
from bench.train.planning import plan_stages
from bench.train.updates import update

Row = dict[str, Any]


def study_plan(study: Study, workers: int | None = None) -> Row:
    """Returns what a sweep would do and what it would cost, from a few timed steps.

    The steps run on random pixels with fresh weights, once for trainings that are the same, and
    each method restores and scores one image; nothing is stored.
    """
    workers = workers or default_workers()
    cores = torch.get_num_threads()
    shared: dict[str, float] = {}
    first: dict[str, str] = {}
    with paths_from(study.folder):
        share = max(1, cores // workers)
        methods = [_row_plan(study, name, share, shared, first) for name in study.methods]
        datasets = [_availability(name, scale, study) for name, scale in study.benchmarks()]
    alone = sum(float(m["cells"]) * float(m["seconds_each"]) for m in methods)
    return {
        "study": study.name,
        "question": study.header,
        "methods": methods,
        "datasets": datasets,
        "metrics": {n: metric(n).unavailable() for n in study.evaluate.metrics},
        "workers": workers,
        "seconds": alone / workers + sum(shared.values()),
    }


def _row_plan(
    study: Study, name: str, share: int, shared: dict[str, float], first: dict[str, str]
) -> Row:
    """The plan of one row; `shared` gets the seconds of stages that all trials have in common,
    `first` the row that a stage is trained for, which it then costs nothing in others."""
    section = study.methods[name]
    swept = {key: range_.sample() for key, range_ in section.ranges.items()}
    stages: list[Row] = []
    seconds = 0.0
    groups = methods_of(study, name, swept, 0) if kind_of(section) in ("trained", "weights") else ()
    for scales, method in groups:
        with _threads(share):
            seconds += sum(_seconds_to_measure(study, name, method, scale) for scale in scales)
        if kind_of(section) == "trained":
            for row in _stage_plans(study, name, method, scales[0], share, first):
                if row["once"]:
                    shared.setdefault(row["key"], row["seconds"])
                else:
                    seconds += row["seconds"]
                stages.append({k: v for k, v in row.items() if k != "key"})
    return {
        "name": name,
        "use": section.use or section.folder or " ".join(section.command or ()) or kind_of(section),
        "ranges": {key: str(range_) for key, range_ in section.ranges.items()},
        "cells": (study.trials_of(name) if section.ranges else 1) * len(seeds_of(study, name)),
        "stages": stages,
        "seconds_each": seconds,
    }


def _stage_plans(
    study: Study, name: str, method: Method, scale: int, share: int, first: dict[str, str]
) -> Iterator[Row]:
    store, section = Store(home() / "store"), study.methods[name]
    for plan in _planned(study, section, method, scale):
        once = plan.stage.seed is not None  # one training serves all seeds and trials
        ready = store.has("stages", plan.key)
        trained_for = first.setdefault(plan.key, name)
        with _threads(torch.get_num_threads() if once else share):
            cost = 0.0 if ready or trained_for != name else _seconds_to_train(plan)
        yield {"name": plan.stage.name, "steps": plan.steps, "seconds": cost, "in_store": ready,
               "once": once, "trained_for": trained_for, **_recipe(study, section, plan),
               "key": plan.key}  # fmt: skip


def _planned(study: Study, section: MethodSection, method: Method, scale: int) -> list[Plan]:
    start, seed = start_of(section, method, scale), study.budget.seeds[0]
    begins_from = start.digest if start else ""
    task = study.task.at(scale)
    return plan_stages(method, task, study.train, seed, section.train, begins_from=begins_from)


def _recipe(study: Study, section: MethodSection, plan: Plan) -> dict[str, str | dict[str, str]]:
    """What a stage's recipe says beyond steps and defaults, and the fields it lays itself over."""
    own, row, once = plan.stage.recipe, section.train, plan.stage.seed is not None
    whole = lay(layers(own, study.train, row, once))
    said = {"study": recipe_of(study.train), "stage": own, "method": recipe_of(row)}
    lost = {name: str(recipe.only(whole.overridden(recipe))) for name, recipe in said.items()}
    beyond = whole.unusual().only(set(Recipe.model_fields) - {"steps"})
    return {"recipe": str(beyond), "instead_of": {n: text for n, text in lost.items() if text}}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def _seconds_to_measure(study: Study, name: str, method: Method, scale: int) -> float:
    """Seconds to restore and score all images of a trial, by their pixels, from one image: of the
    sets' first ones the smallest, for a large network takes minutes for a large one."""
    names = [d for d, at in measured_on(study, name)[0] if at == scale and not sets.missing(d)]
    if study.select:
        snapshots = study.train.snapshots if study.train else None
        names += [study.select.dataset] * (snapshots or 1)
    if not names:
        return 0.0
    opened = partial(open_benchmark, scale=scale, degradation=study.task.degradation)
    method.to(choose_device())
    if method.does("assessment"):
        return _seconds_to_mark(method, [opened(name) for name in names])
    first = min((opened(name, limit=1) for name in {*names}), key=lambda one: one.pixels)
    with Meter(study.evaluate.metrics, device=str(choose_device()), workers=1) as meter:
        at = method.at(scale)
        by = SelfEnsemble(at) if ensembled(study, name) else None
        began = time.perf_counter()
        list(evaluate(restoring(at, by), first, meter, protocol_of(study, first.name)))
        seconds = time.perf_counter() - began
    return seconds * sum(opened(name).pixels for name in names) / first.pixels


def _seconds_to_mark(method: Method, opened: list[Benchmark]) -> float:
    """Seconds to mark all photographs, from the first one."""
    files = [pair.hr_path for pair in opened[0].pairs[:1] if pair.hr_path]
    began = time.perf_counter()
    list(Marker(method).marks(files))
    return (time.perf_counter() - began) * sum(len(one.pairs) for one in opened)


def _seconds_to_train(plan: Plan) -> float:
    """Seconds for a stage's updates, from a few on random pixels: three, or a second's worth; of
    long ones, for which nothing needs to warm up, ten seconds' worth.

    A stage's own batches are made as in the training.
    """
    device = choose_device()
    plan.owner.to(device).train()
    optimizers = make_optimizers(plan)
    small = plan.patch // plan.scale
    hr = torch.rand(plan.batch, 3, plan.patch, plan.patch, device=device)
    lr = torch.rand(plan.batch, plan.owner.channels, small, small, device=device)
    seconds: list[float] = []
    while sum(seconds) < 1 or (len(seconds) < 3 and sum(seconds) < 10):
        began, step = time.perf_counter(), len(seconds)
        batch = plan.batches.batch(step) if plan.batches else Batch(lr, hr, hr, step)
        losses = update(plan.owner, plan.stage, batch, optimizers, plan)
        [float(value) for value in losses.values()]  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * plan.steps


def _availability(name: str, scale: int, study: Study) -> Row:
    key = study.key(name, scale)
    if why := sets.missing(name):
        return {"name": key, "missing": why}
    try:
        found = open_benchmark(name, scale, study.task.degradation)
    except BenchError as error:
        return {"name": key, "missing": str(error)}
    return {"name": key, "missing": None, "count": len(found.pairs), "official": found.official,
            "lr": found.source, "protocol": protocol_of(study, name)}  # fmt: skip


def plan_text(plan: Row) -> str:
    """Returns the plan for people."""
    lines = [f"{plan['study']}: {plan['question'].splitlines()[0] if plan['question'] else ''}"]
    for method in plan["methods"]:
        ranges = ", ".join(f"{key} {text}" for key, text in method["ranges"].items())
        lines.append(
            f"  {method['name']:<14} {method['cells']:>4} x {duration(method['seconds_each'])}"
            f"  {method['use']}" + (f", {ranges}" if ranges else "")
        )
        for stage in method["stages"]:
            cost = "in the store" if stage["in_store"] else duration(stage["seconds"])
            if not stage["in_store"] and stage["trained_for"] != method["name"]:
                cost = f"trained for {stage['trained_for']}"
            once = ", once for all trials" if stage["once"] else ""
            lines.append(f"      stage {stage['name']}: {stage['steps']} steps, {cost}{once}")
            instead = [f"{text} of the {who}" for who, text in stage["instead_of"].items()]
            if stage["recipe"] or instead:
                over = f"; not {'; '.join(instead)}" if instead else ""
                lines.append(f"          {stage['recipe'] or 'all defaults'}{over}")
    lines.append("measured on:")
    for row in plan["datasets"]:
        lines.append(f"  {row['name']:<14} {_measured_on(row)}")
    for name, why in plan["metrics"].items():
        lines.append(f"  {name:<14} {'-  ' + why if why else 'available'}")
    lines.append(f"about {duration(plan['seconds'])} with {plan['workers']} workers (estimate)")
    return "\n".join(lines)


def _measured_on(row: Row) -> str:
    if row["missing"]:
        return f"missing: {row['missing']}"
    count, official = row["count"], row["official"]
    images = f"{count}/{official} images" if official else f"{count} images"
    partial = ", PARTIAL" if count < official else ""
    return f"{images}{partial}, {row['protocol']}, LR: {row['lr']}"
