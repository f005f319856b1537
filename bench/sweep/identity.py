"""What decides a number: hashes that tell a current record from a stale one, and the machine."""

import inspect
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data import sets
from bench.measure.metrics import measure_digest, metric
from bench.method.contract import find_method, source_digest
from bench.records.store import content_key
from bench.study.fields import Study
from bench.train.loop import choose_device
from bench.train.stages import recipe_digest


def objective_digest(study: Study, method: str) -> str:
    """Returns a hash of all that decides a method's objective, besides parameters and seed."""
    use = find_method(study.methods[method].use)
    return content_key(
        {
            "search": study.search_digest(method),
            "source": source_digest(use),
            "code": [recipe_digest(), measure_digest()],
            "data": training_data_key(study),
            "judges": judges(study.select.objectives if study.select else ()),
        }
    )


def training_data_key(study: Study) -> str:
    """Returns a hash of the images that are trained and selected on."""
    names = [section.dataset for section in (study.train, study.select) if section is not None]
    return content_key({name: _data_key(study, name) for name in names})


def cell_fingerprint(study: Study, method: str, swept: dict[str, Any], seed: int) -> str:
    """Returns a hash of all that decides a cell; a recorded cell with another one is stale."""
    return content_key(
        {
            "objective": objective_digest(study, method),
            "swept": swept,
            "seed": seed,
            "evaluate": study.evaluate.model_dump(mode="json"),
            "data": [_data_key(study, name) for name in study.evaluate.datasets],
            "missing": [n for n in study.evaluate.metrics if metric(n).unavailable()],
            "judges": judges(study.evaluate.metrics),
        }
    )


def judges(metrics: Iterable[str]) -> list[str]:
    """Returns which weights or libraries stand behind metrics, where that may differ."""
    return [metric(name).identity() for name in metrics]


def _data_key(study: Study, dataset: str) -> str:
    if sets.missing(dataset):
        return "missing"
    return sets.fingerprint(dataset, study.task.scale, study.task.degradation)


def environment(study: Study) -> dict[str, str]:
    """Returns what a number may depend on besides the study: code, versions, machine.

    commit and tree are those of bench; of methods from other repositories, too, where there are.
    """
    chosen = choose_device(study.train.device if study.train else "auto")
    gpu = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else ""
    ours = git_state(Path(__file__))
    files = {name: inspect.getfile(find_method(m.use)) for name, m in study.methods.items()}
    states = {name: git_state(Path(file)) for name, file in files.items()}
    theirs = {n: f"{s['commit']} {s['tree']}" for n, s in states.items() if s != ours}
    return {
        **ours,
        **{f"commit of {name}": state for name, state in theirs.items()},
        "bench": _version("bench"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": gpu or f"cpu ({platform.machine()})",
        "threads": str(torch.get_num_threads()),
        "host": platform.node(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def git_state(file: Path) -> dict[str, str]:
    """Returns the commit that a file belongs to and whether its tree is "clean" or "dirty".

    "unknown" for a file that git does not track, such as one in an installed package.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        environment_ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20, env=environment_
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return {
            "commit": git("rev-parse", "HEAD"),
            "tree": "dirty" if git("status", "--porcelain") else "clean",
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "tree": "unknown"}
