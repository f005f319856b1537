"""What the machine has and where a study stands: the verbs that only look."""

import math
import platform
import statistics
import textwrap
import time
from collections import Counter
from importlib.metadata import version
from typing import Any

import torch

from bench.data import sets
from bench.data.images import image_size
from bench.data.weights import WEIGHTS, why_not
from bench.errors import BenchError
from bench.measure.evaluate import Measured, evaluate
from bench.measure.metrics import METRICS, metric, pyiqa
from bench.measure.protocol import PROTOCOLS
from bench.method.contract import Batch, Method, find_method, known_methods, load_method
from bench.records.cell import best_cells, load_records
from bench.records.place import Place, lock_holder
from bench.records.store import Store, home
from bench.study.fields import Study
from bench.study.space import swept_text
from bench.sweep.driver import default_workers
from bench.sweep.identity import cell_fingerprint
from bench.sweep.trial import make_method, planned_cells, protocol_of, seeds_of
from bench.terminal.progress import duration
from bench.train.loop import Plan, choose_device, choose_precision, make_optimizers, update
from bench.train.stages import plan_stages

Row = dict[str, Any]


def study_status(name: str) -> Row:
    """Returns counts of trials by state, the stale ones, who is sweeping, and the best so far."""
    study, cells, _ = load_records(name)
    states = Counter(cell.state for cell in cells)
    best = {
        cell.exact(name): {
            "value": cell.objectives[name],
            "trial": cell.file_name,
            "swept": cell.swept,
        }
        for name, cell in best_cells(study, cells).items()
    }
    holder, running = lock_holder(Place(home(), name))
    return {
        "study": name,
        "of": planned_cells(study),
        "complete": states["complete"],
        "failed": {c.file_name: c.reason.splitlines()[0] for c in cells if c.state == "failed"},
        "pruned": states["pruned"],
        "running": running,
        "stale": [
            cell.file_name
            for cell in cells
            if cell.fingerprint != cell_fingerprint(study, cell.method, cell.swept, cell.seed)
        ],
        "swept_by": holder,
        "best": best,
    }


def status_text(status: Row) -> str:
    """Returns the status for people."""
    done = status["complete"] + len(status["failed"]) + status["pruned"]
    lines = [
        f"{status['study']}: {done} of {status['of']} trials recorded "
        f"({status['complete']} complete, {len(status['failed'])} failed, "
        f"{status['pruned']} pruned)",
        f"swept now by {status['swept_by']}" if status["swept_by"] else "not being swept now",
    ]
    lines += [f"running: {label}" for label in status["running"]]
    lines += [f"failed: {name}: {reason}" for name, reason in status["failed"].items()]
    if stale := status["stale"]:
        lines.append(f"{len(stale)} stale (code, data or evaluation changed): {', '.join(stale)}")
    for objective, best in status["best"].items():
        swept = swept_text(best["swept"])
        where = f"{best['trial']} ({swept})" if swept else best["trial"]
        lines.append(f"best {objective}: {best['value']:.4f} by {where}")
    return "\n".join(lines)


def study_plan(study: Study, workers: int | None = None) -> Row:
    """Returns what a sweep would do and what it would cost, from a few timed steps.

    The steps run on random pixels with fresh weights, and one image of each set is restored and
    scored; nothing is stored.
    """
    workers = workers or default_workers()
    cores = torch.get_num_threads()
    share = max(1, cores // workers)
    store = Store(home() / "store")
    shared: dict[str, float] = {}
    methods: list[Row] = []
    for name, section in study.methods.items():
        swept = {key: range_.sample() for key, range_ in section.ranges.items()}
        method = make_method(study, name, swept, 0)
        trials = study.trials_of(name) if section.ranges else 1
        torch.set_num_threads(share)
        stages, seconds = [], _seconds_to_measure(study, method)
        for plan in plan_stages(method, study.task, study.train, study.budget.seeds[0]):
            once = plan.stage.seed is not None  # one training serves all seeds and trials
            torch.set_num_threads(cores if once else share)
            ready = store.has("stages", plan.key)
            cost = 0.0 if ready else _seconds_to_train(plan)
            if once:
                shared[plan.key] = cost
            else:
                seconds += cost
            stages.append({"name": plan.stage.name, "steps": plan.steps, "seconds": cost,
                           "in_store": ready, "once": once})  # fmt: skip
        torch.set_num_threads(cores)
        methods.append(
            {
                "name": name,
                "use": section.use,
                "ranges": {key: str(range_) for key, range_ in section.ranges.items()},
                "cells": trials * len(seeds_of(study, name)),
                "stages": stages,
                "seconds_each": seconds,
            }
        )
    alone = sum(float(m["cells"]) * float(m["seconds_each"]) for m in methods)
    total = alone / workers + sum(shared.values())
    return {
        "study": study.name,
        "question": study.header,
        "methods": methods,
        "datasets": [_availability(name, study) for name in study.evaluate.datasets],
        "metrics": {n: metric(n).unavailable() for n in study.evaluate.metrics},
        "workers": workers,
        "seconds": total,
    }


def _seconds_to_measure(study: Study, method: Method) -> float:
    """Seconds to restore and score all images of a trial, from the first one of each set."""
    scorers = {
        name: metric(name).load(str(choose_device()), load_method(path) if path else None)
        for name in study.evaluate.metrics
        if not metric(name).unavailable()
        for path in [metric(name).trained_by]
    }
    task, seconds = study.task, 0.0
    names = [n for n in study.evaluate.datasets if not sets.missing(n)]
    names += [study.select.dataset] if study.select else []
    for name in names:
        pairs = sets.load_pairs(name, task.scale, task.degradation)
        pixels = [math.prod(_size(pair)) for pair in pairs]
        rules = protocol_of(study, name)
        images = evaluate(
            method.to(choose_device()), name, task.scale, scorers, rules, Measured(),
            degradation=task.degradation, limit=1,
        )  # fmt: skip
        began = time.perf_counter()
        for _ in images:
            seconds += (time.perf_counter() - began) * sum(pixels) / pixels[0]
    return seconds


def _size(pair: sets.Pair) -> tuple[int, int]:
    if pair.has_hr:
        return pair.hr_size()
    assert pair.lr_path is not None
    return image_size(pair.lr_path)


def _seconds_to_train(plan: Plan) -> float:
    """Seconds for a stage's updates, from a few on random pixels: three, or a second's worth.

    A stage's own batches are made as in the training.
    """
    device = choose_device()
    plan.owner.to(device).train()
    optimizers = make_optimizers(plan)
    small = plan.patch // plan.scale
    hr = torch.rand(plan.batch, 3, plan.patch, plan.patch, device=device)
    lr = torch.rand(plan.batch, plan.owner.channels, small, small, device=device)
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < 1:
        began = time.perf_counter()
        step = len(seconds)
        batch = plan.batches.batch(step) if plan.batches else Batch(lr, hr, hr, step)
        losses = update(plan.owner, plan.stage, batch, optimizers, plan)
        [float(value) for value in losses.values()]  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * plan.steps


def _availability(name: str, study: Study) -> Row:
    if why := sets.missing(name):
        return {"name": name, "missing": why}
    count, official, source = sets.describe(name, study.task.scale, study.task.degradation)
    return {"name": name, "missing": None, "count": count, "official": official, "lr": source,
            "protocol": protocol_of(study, name)}  # fmt: skip


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
            once = ", once for all trials" if stage["once"] else ""
            lines.append(f"      stage {stage['name']}: {stage['steps']} steps, {cost}{once}")
    lines.append("measured on:")
    for row in plan["datasets"]:
        lines.append(
            f"  {row['name']:<14} missing: {row['missing']}"
            if row["missing"]
            else f"  {row['name']:<14} {row['count']}/{row['official'] or '?'} images, "
            f"{row['protocol']}, LR: {row['lr']}"
        )
    for name, why in plan["metrics"].items():
        lines.append(f"  {name:<14} {'-  ' + why if why else 'available'}")
    lines.append(f"about {duration(plan['seconds'])} with {plan['workers']} workers (estimate)")
    return "\n".join(lines)


def inventory(what: str) -> list[Row]:
    """Returns what there is of "methods", "datasets", "metrics" or "protocols"."""
    if what == "methods":
        found = [(path, find_method(path)) for path in known_methods()]
        return [{"name": p, "task": cls.task, "source": cls.paper} for p, cls in found]
    if what == "datasets":
        return [
            {"name": n, "images": d.official, "source": d.home, "licence": d.licence,
             "unavailable": sets.missing(n)}
            for n, d in sets.DATASETS.items()
        ]  # fmt: skip
    if what == "metrics":
        return [
            *(
                {"name": n, "better": m.direction, "unit": m.unit, "digits": m.digits,
                 "kind": "full-reference" if m.reference else "no-reference",
                 "colour": m.colour, "sizes": m.sizes, "source": m.source,
                 "remark": m.remark, "unavailable": m.unavailable()}
                for n, m in METRICS.items()
            ),
            {"name": "pyiqa:NAME", "source": f"{pyiqa.identity()}, by name", "names":
             ", ".join(pyiqa.known()), "colour": "each metric's own; tables name it",
             "unavailable": None if pyiqa.known() else "pyiqa is not installed"},
        ]  # fmt: skip
    return [
        {"name": name, "rules": rules.title, "channel": rules.channel, "lr": rules.lr,
         "border": f"{rules.border_scales} x scale + {rules.border_pixels} pixels",
         "range": "0 to 255, clipped, rounded to 8 bits" + ("; then Y or gray rounded" if
         rules.rounded else ""), "gray files": rules.gray, "niqe on": rules.niqe,
         "set's score": ", ".join(f"root of the mean square of {m}" for m in rules.root_mean_square)
         or "mean over images"}
        for name, rules in PROTOCOLS.items()
    ]  # fmt: skip


def inventory_text(rows: list[Row]) -> str:
    """Returns an inventory for people: a line of short facts, and one for each longer one."""
    lines = []
    for row in rows:
        facts = {k: str(v) for k, v in row.items() if k != "name" and v not in (None, "")}
        facts = {"not here" if k == "unavailable" else k: v for k, v in facts.items()}
        brief = [key for key, fact in facts.items() if len(fact) < 20 and key != "not here"]
        lines.append(f"{row['name']:<22} {', '.join(f'{key} {facts[key]}' for key in brief)}")
        for key in [k for k in facts if k not in brief]:
            text = textwrap.wrap(
                f"{key}: {facts[key]}", 96, subsequent_indent="  ", break_long_words=False
            )
            lines += [f"    {line}" for line in text]
    return "\n".join(line.rstrip() for line in lines)


def examine() -> Row:
    """Returns versions, device, precision, folders, and the data and weights found."""
    device = choose_device()
    packages = ("bench", "torch", "numpy", "mlflow", "optuna", "pandas", "pyiqa", "lpips")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": choose_precision("auto", device),
        "workers": default_workers(),
        "home": str(home()),
        "data": str(sets.data_root().resolve()),
        "datasets": {name: sets.missing(name) for name in sets.DATASETS},
        "weights": {name: why_not(name) for name in WEIGHTS},
    }


def doctor_text(found: Row) -> str:
    """Returns the examination for people."""
    lines = [f"{key:<10} {found[key]}" for key in ("python", "device", "threads", "precision")]
    lines += [f"{name:<10} {number}" for name, number in found["packages"].items()]
    lines += [f"{key:<10} {found[key]}" for key in ("home", "data")]
    for key in ("datasets", "weights"):
        here = [name for name, why in found[key].items() if why is None]
        lines.append(f"{key:<10} here: {', '.join(here) or 'none'}")
        lines += [f"{'':<10} {why}" for why in found[key].values() if why is not None]
    return "\n".join(lines)


def serve_mlflow(host: str, port: int) -> int:
    """Runs MLflow's server on the records until it is interrupted; returns its exit status.

    Raises BenchError for a host that others can reach: MLflow's server has no password by default.
    """
    import os
    import subprocess
    import sys

    from bench.sweep.tracking import tracking_uri

    if host not in ("127.0.0.1", "localhost", "::1"):
        raise BenchError(
            f"--host {host}: others could read and change every record. Keep 127.0.0.1 and forward "
            "the port (ssh -L), or run `mlflow server` yourself behind a login."
        )
    folder = home()
    if not (folder / "mlflow.db").is_file() and "MLFLOW_TRACKING_URI" not in os.environ:
        raise BenchError(f"{folder / 'mlflow.db'}: no records yet. Sweep a study first.")
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port),
               "--workers", "1", "--backend-store-uri", tracking_uri(folder),
               "--default-artifact-root", (folder / "artifacts").as_uri()]  # fmt: skip
    switches = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(command, env={**os.environ, **switches}, check=False).returncode
