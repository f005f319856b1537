"""What can be chosen: rows, benchmark sets, metrics. Answers from files and records; no training
is read, no weights are loaded."""

import inspect
import os
import re
import threading
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch

import bench
from bench.data import sets
from bench.data.catalog import DATASETS, Dataset
from bench.data.pairs import list_pairs
from bench.data.weights import why_not
from bench.errors import BenchError
from bench.measure.metrics import metric
from bench.method.contract import Method
from bench.method.loading import build_method, find_method, known_methods
from bench.records.cell import Cell, load_records
from bench.records.store import Store
from bench.report.means import means_of
from bench.report.provenance import tiny_runs
from bench.report.rows import Row as TableRow
from bench.report.rows import choose_rows, trial_label
from bench.report.scores import by_trial, columns_of, metric_title
from bench.study.fields import Study
from bench.sweep.identity import git_state
from bench.sweep.rows import check_row_weights, kind_of, scales_of
from bench.train.loop import choose_device
from bench.web import shapes
from bench.web.work import NO_REFERENCE, REFERENCE

PUBLISHED = "published:"
SCALES = (2, 3, 4)
"""That benchmark sets are offered at."""
MOST_IMAGES = 200
"""Of a set that are offered."""


class Catalogue:
    """home: whose records count."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._trained: tuple[Any, list[shapes.Row]] = (None, [])

    def rows(self) -> list[shapes.Row]:
        """Returns all rows: trained ones anew where a record has changed."""
        with self._lock:
            state = _state_of(self._home)
            if self._trained[0] != state:
                self._trained = (state, list(_trained(self._home)))
            return [*self._trained[1], *_classical(), *self._published]

    @cached_property
    def _published(self) -> list[shapes.Row]:
        return [_published_row(name) for name in _published()]

    def row(self, ident: str) -> shapes.Row | None:
        return next((row for row in self.rows() if row.id == ident), None)

    def recipe(self, ident: str) -> tuple[str, str | None]:
        """Returns (dotted path or STUDY/TRIAL, weights) of a row."""
        name = ident.removeprefix(PUBLISHED)
        return (_published()[name][0], ident) if name != ident else (ident, None)

    def sets(self) -> list[shapes.Set]:
        """Returns the benchmark sets of pictures that are on this machine."""
        return self._sets

    @cached_property
    def _sets(self) -> list[shapes.Set]:
        return [found for name, entry in DATASETS.items() if (found := _set(name, entry))]

    def metrics(self) -> list[shapes.Metric]:
        return [shown_metric(name) for name in NO_REFERENCE + REFERENCE]

    @cached_property
    def device(self) -> str:
        device = choose_device()
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        return f"{len(os.sched_getaffinity(0))} cores"

    def environment(self) -> dict[str, str]:
        """Returns version and commit of what makes the pictures."""
        return {"bench": self.version, **git_state(Path(bench.__file__))}

    @cached_property
    def version(self) -> str:
        return version("bench")


def shown_metric(name: str, exact: str = "") -> shapes.Metric:
    """Returns what the page must know of a metric. exact: the name of the network behind it."""
    facts = metric(name)
    exact = exact or facts.label()
    return shapes.Metric(
        name=exact or name, label=exact or metric_title(name), unit=facts.unit,
        better=facts.direction, reference=facts.reference, digits=facts.digits,
        source=facts.source, missing=facts.unavailable(),
    )  # fmt: skip


# --- methods without training, and published weights ----------------------------------------------


def _methods() -> Iterator[tuple[str, type[Method]]]:
    """Those that make pictures of RGB pictures."""
    for path in known_methods():
        cls = find_method(path)
        if cls.channels == 3 and not cls.does("assessment"):
            yield path, cls


@cache
def _classical() -> list[shapes.Row]:
    """Methods with nothing to train and no weights; bicubic first, it is what all are held to."""
    found = []
    for path, cls in _methods():
        try:
            with torch.device("meta"):
                method = build_method(cls, {})
            if cls.published or method.stages():
                continue
        except BenchError:
            continue  # it needs weights
        scales = None if "scale" in method.hyperparameters else [1]
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()
        found.append(
            shapes.Row(id=path, name=name, group="classical", scales=scales, told=cls.paper)
        )
    return sorted(found, key=lambda row: row.name != "bicubic")


@cache
def _published() -> dict[str, tuple[str, dict[int | None, str]]]:
    """Name -> (the method's path, scale -> entry); of a name that several methods know, the one
    whose paper it is of."""
    found: dict[str, tuple[str, dict[int | None, str]]] = {}
    for path, cls in sorted(_methods(), key=_borrows):
        for entry in cls.published:
            name, _, scale = entry.partition("_x")
            if found.setdefault(name, (path, {}))[0] == path:
                found[name][1][int(scale) if scale else None] = entry
    return found


def _borrows(item: tuple[str, type[Method]]) -> bool:
    """Whether a method takes the weights of another one, whose module they are called after."""
    module = item[0].split(".")[1]
    own = "published" in vars(item[1])
    return not (own and any(name.startswith(module) for name in item[1].published))


def _published_row(name: str) -> shapes.Row:
    path, files = _published()[name]
    cls = find_method(path)
    missing = {scale: why_not(entry, cls.published) for scale, entry in files.items()}
    here = [scale for scale, why in missing.items() if why is None] or list(files)
    scales = [s for scale in here for s in ([scale] if scale else _scales_of(cls, files[scale]))]
    why = next(iter(missing.values())) if all(missing.values()) else None
    return shapes.Row(
        id=PUBLISHED + name, name=name, group="published", scales=sorted(set(scales)),
        told=f"{cls.__name__}, published weights. {cls.paper}", missing=why,
    )  # fmt: skip


def _scales_of(cls: type[Method], entry: str) -> list[int]:
    """Of weights whose name tells none: those that they fit, or the method's default."""
    parameters = inspect.signature(cls.__init__).parameters
    if cls.takes_scales():
        return list(parameters["scales"].default or SCALES)
    if "scale" not in parameters:
        return [1]
    fitting = [scale for scale in SCALES if _fits(cls, entry, scale)]
    return fitting or [parameters["scale"].default]


def _fits(cls: type[Method], entry: str, scale: int) -> bool:
    try:
        with torch.device("meta"):
            method = build_method(cls, {}, scale)
        check_row_weights(method, PUBLISHED + entry, scale, swept=False)
    except BenchError:
        return False
    return True


# --- what sweeps have trained ---------------------------------------------------------------------


def _state_of(home: Path) -> list[tuple[str, int]]:
    """Another value once a record has been written."""
    folders = [home / "studies", *(home / "studies").glob("*/cells")]
    files = [*folders, *(home / "studies").glob("*/study.json")]
    return sorted((str(p), p.stat().st_mtime_ns) for p in files if p.exists())


def _trained(home: Path) -> Iterator[shapes.Row]:
    """Of every study the rows of its table first, then all other trials of the first seed."""
    store = Store(home / "store")
    for name in sorted(p.parent.name for p in (home / "studies").glob("*/study.json")):
        try:
            study, cells, _ = load_records(name)
            if study.task.kind == "assessment":
                continue
            shown = [row for row in choose_rows(study, cells)[0] if row.cells]
        except BenchError:
            continue  # `bench status` says what is wrong with it
        best = {row.cells[0].file_name for row in shown}
        others = [
            TableRow(method, trial_label(group[0]), tuple(group))
            for (method, _), group in by_trial(cells).items()
            if group[0].file_name not in best
        ]
        for row in [*shown, *others]:
            if kind_of(study.methods[row.method]) == "trained" and row.cells[0].stages:
                yield _trained_row(study, row, row.cells[0].file_name in best, store)


def _trained_row(study: Study, row: TableRow, best: bool, store: Store) -> shapes.Row:
    cell = row.cells[0]
    lost = [stage.name for stage in cell.stages if not store.has("stages", stage.key)]
    missing = f"the weights of stage {', '.join(lost)} are not in the store" if lost else None
    if missing is None:
        try:
            cls = find_method(cell.use)
            missing = f"{cls.__name__} takes no RGB pictures" if cls.channels != 3 else None
        except BenchError as error:
            missing = str(error)
    updates = tiny_runs([row])
    told = f"{cell.use.rpartition('.')[2]} of the study {study.name}"
    return shapes.Row(
        id=f"{study.name}/{cell.file_name}", name=row.label, group="trained", study=study.name,
        scales=list(scales_of(study, row.method)) or [1], best=best,
        told=f"{told}, a tiny run: {updates}" if updates else told,
        table=list(_table(study, row)), missing=missing,
    )  # fmt: skip


def _table(study: Study, row: TableRow) -> Iterator[shapes.TableValue]:
    """The row's numbers as the study's table has them."""
    columns = columns_of(study, row.cells)
    (means,) = means_of([row], columns)
    for column, mean in zip(columns, means, strict=True):
        if mean is not None and isfinite(mean.value):
            yield shapes.TableValue(
                dataset=column.place, metric=column.assessor or column.metric, value=mean.value,
                unit=metric(column.metric).unit,
            )  # fmt: skip


# --- benchmark sets -------------------------------------------------------------------------------


def _set(name: str, entry: Dataset) -> shapes.Set | None:
    if entry.camera or entry.votes or entry.part or name.endswith("_train") or sets.missing(name):
        return None
    scales, images = [], []
    for scale in (1,) if entry.scale == 1 else (entry.scale,) if entry.scale else SCALES:
        try:
            pairs = list_pairs(name, scale)
        except BenchError:
            continue
        if pairs and all(pair.has_hr for pair in pairs):
            scales.append(scale)
            images = [pair.stem for pair in pairs[:MOST_IMAGES]]
    return shapes.Set(name=name, images=images, scales=scales) if scales else None


def cells_of_rows(study: Study, cells: list[Cell]) -> dict[str, TableRow]:
    """Returns the rows of a study's table that have a record, by the name of their first one."""
    rows = choose_rows(study, cells)[0]
    return {row.cells[0].file_name: row for row in rows if row.cells}
