"""What decides a number: hashes that tell a current record from a stale one, and the machine."""

import inspect
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data import sets
from bench.data.pairs import fingerprint
from bench.measure.metrics import metric, metric_digest
from bench.measure.protocol import protocol
from bench.method.ensemble import SelfEnsemble
from bench.method.loading import find_method
from bench.method.restoring import picture_of
from bench.records.cell import Cell
from bench.records.digest import code_digest
from bench.records.store import Store, content_key
from bench.study.fields import Study
from bench.sweep.rows import decided_by, ensembled, kind_of, protocol_of
from bench.train.loop import choose_device
from bench.train.pixels import pixels_digest
from bench.train.planning import loop_digest, method_digest

SETTINGS = "the study's task, train, select, seeds, sampler or the method's section"
LOOP = "the training loop"
PIXELS = "the making of pixels"
RESTORING = "the restoring of pictures"
REPORTED = "what the study reports, or how"
_SCORES_ONLY = (RESTORING, REPORTED, "metric ", "images of ", "protocol ")
"""Beginnings of the parts that decide scores and no weights."""


class Deciding:
    """What decides the cells of a study, part by part: name -> hash."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._parts: dict[str, dict[str, str]] = {}

    def parts(self, method: str, swept: Mapping[str, Any], seed: int) -> dict[str, str]:
        """Returns all that decides a cell. One that was recorded with other parts is stale."""
        if method not in self._parts:
            self._parts[method] = {**self._training(method), **self._scoring(method)}
        return {**self._parts[method], "parameters": content_key({"seed": seed, **swept})}

    def _training(self, method: str) -> dict[str, str]:
        """What decides weights, or the pictures of a row without a method."""
        study, section = self.study, self.study.methods[method]
        parts = {SETTINGS: study.search_digest(method), **decided_by(study, method)}
        if kind_of(section) in ("trained", "weights"):
            parts[f"the code of {section.use}"] = method_digest(find_method(section.use))
        if kind_of(section) == "trained":
            parts[LOOP] = loop_digest()
            parts[PIXELS] = pixels_digest(study.task.degradation)
            if study.train is not None:
                name = study.train.dataset
                parts[f"the training images {name}"] = self._images(name)
        return parts

    def _scoring(self, method: str) -> dict[str, str]:
        study = self.study
        datasets = [*([study.select.dataset] if study.select else []), *study.evaluate.datasets]
        names = [*(study.select.objectives if study.select else ()), *study.evaluate.metrics]
        protocols = {protocol_of(study, name) for name in datasets}
        # these decide no score, or stand in the digest of the restoring
        costs = {"pictures", "efficiency", "efficiency_at", "ensemble"}
        reported = study.evaluate.model_dump(mode="json", exclude=costs)
        return {
            RESTORING: restoring_digest(ensembled(study, method)),
            REPORTED: content_key({"row": study.methods[method].datasets, **reported}),
            **{f"images of {name}": self._images(name) for name in datasets},
            **{f"metric {name}": self._metric(name) for name in names},
            **{f"protocol {name}": content_key({"rules": rules_of(name)}) for name in protocols},
        }

    @cache  # noqa: B019  as short-lived as the sweep or the status it serves
    def _images(self, dataset: str) -> str:
        if sets.missing(dataset):
            return "missing"
        task = self.study.task
        return " ".join(fingerprint(dataset, s, task.degradation) for s in task.scales)

    @staticmethod
    def _metric(name: str) -> str:
        return "unavailable" if metric(name).unavailable() else metric_digest(name)


@cache
def restoring_digest(ensemble: bool) -> str:
    """Returns a hash of the code between a trained method and its restored 8-bit picture."""
    return code_digest(picture_of, *([SelfEnsemble] if ensemble else []))


def rules_of(name: str) -> str:
    """Returns what a protocol says of scores, its words for people apart."""
    return repr(replace(protocol(name), name="", title="", lr=""))


def changes(cell: Cell, now: Mapping[str, str]) -> list[str]:
    """Returns what decides a cell today and has changed since it was recorded."""
    before = cell.decided_by
    if not before:
        return [] if cell.fingerprint == content_key(now) else [OLDER]
    return [name for name in now if before.get(name) != now[name]] + sorted(
        name for name in before if name not in now
    )


OLDER = "the version of bench: it recorded one hash for everything"


def retrains(change: str) -> bool:
    """Whether a change asks for more than measuring again."""
    return not change.startswith(_SCORES_ONLY)


def refusal(study: Study, stale: dict[str, list[str]]) -> str:
    """Returns what to say of trials that new ones cannot be compared with: record -> changes."""
    files: dict[str, list[str]] = {}
    for file, why in stale.items():
        for change in why:
            files.setdefault(change, []).append(file)
    reasons = [f"{change} ({_several(names)})" for change, names in files.items()]
    return (
        f"{study.name}: {len(stale)} recorded trials are stale, for these have changed since: "
        f"{'; '.join(reasons)}. Their objectives cannot be compared with new ones. Start over with "
        "--fresh (finished stages that still apply are reused), keep them with --keep (every table "
        "then marks them), or give the study another name."
    )


def lost_stages(cell: Cell, store: Store) -> list[str]:
    """Returns the stages of a cell that this machine has trained and the store lacks today, to be
    trained again. A cell that was kept though stale could not be."""
    if cell.state != "complete" or cell.kept or cell.environment.get("host") != platform.node():
        return []
    return [stage.name for stage in cell.stages if not store.has("stages", stage.key)]


def _several(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def environment(study: Study) -> dict[str, str]:
    """Returns what a number may depend on besides the study: code, versions, machine.

    commit and tree are those of bench; of methods from other repositories, too, where there are.
    """
    chosen = choose_device(study.train.device if study.train else "auto")
    gpu = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else ""
    ours = git_state(Path(__file__))
    files = {
        name: inspect.getfile(find_method(section.use))
        for name, section in study.methods.items()
        if kind_of(section) in ("trained", "weights")
    }
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
        **({"driver": driver} if gpu and (driver := gpu_driver()) else {}),
        "threads": str(torch.get_num_threads()),
        "host": platform.node(),
    }


def gpu_driver(file: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Returns the version of NVIDIA's driver, such as "550.54.15"; "" where none is loaded."""
    try:
        found = re.search(r"NVRM version:.*?\s(\d+(?:\.\d+)+)\s", file.read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1] if found else ""


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
            command, capture_output=True, encoding="utf-8", check=True, timeout=20, env=environment_
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return {
            "commit": git("rev-parse", "HEAD"),
            "tree": "dirty" if git("status", "--porcelain") else "clean",
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "tree": "unknown"}
