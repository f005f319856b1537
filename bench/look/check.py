"""Loads a study file and reports every mistake in it at once, before the first training step."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pydantic

from bench.data import sets
from bench.data.catalog import Dataset
from bench.data.pairs import LR_SOURCES, Pair, is_lr_source, load_pairs
from bench.data.roots import home, paths_from
from bench.errors import BenchError, nearest, unknown
from bench.look.rows import check_rows
from bench.look.words import describe, innermost
from bench.measure import metrics, protocol
from bench.method.contract import Method, Stage
from bench.method.recipe import Recipe, lay, layers
from bench.records.store import Store
from bench.report.papers.published import load_paper
from bench.study.fields import (
    BudgetSection,
    EvaluateSection,
    MethodSection,
    Name,
    SelectSection,
    Study,
    TaskSection,
    TrainSection,
)
from bench.study.located_yaml import Document, Keys, load_yaml, parse_scalar
from bench.study.recipe import RecipeSection
from bench.study.resources import ResourcesSection
from bench.study.section import Section
from bench.study.space import Range
from bench.train.loop import choose_device
from bench.train.optimizers import rates
from bench.train.pixels import find_source, stored_sides
from bench.train.snapshots import snapshots_of


def load_study(file: str | Path, overrides: Iterable[str] = (), strict: bool = False) -> Study:
    """Returns the study of a YAML file.

    overrides: "dotted.path=value" each, as given to `--set`. strict: a set to report that is not on
    this machine is an error, not a line below the table. Raises BenchError with one line for every
    mistake, each with file, line, what was got and the nearest known name.
    """
    document = load_yaml(Path(file))
    for text in overrides:
        _override(document, text)
    check, folder = Check(document), str(Path(file).absolute().parent)
    with paths_from(folder):
        check.fields()
        check_rows(check)
        check.names(strict)
        check.search()
    if check.problems:
        raise BenchError("\n".join(dict.fromkeys(check.problems)))
    name = Path(file).name
    return Study(header=document.header, folder=folder, file=name, **document.data)


def _override(document: Document, text: str) -> None:
    """Sets one dotted path in the document, making sections that are not there yet."""
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise BenchError(f"--set {text!r}: write --set dotted.path=value.")
    document.lines = {k: v for k, v in document.lines.items() if k[: len(path)] != path}
    node = document.data
    for depth, part in enumerate(path[:-1], start=1):
        if part not in node:
            node[part] = {}
            document.lines[path[:depth]] = 0
        node = node[part]
        if not isinstance(node, dict):
            raise BenchError(f"--set {text!r}: {part!r} is a value, not a section.")
    node[path[-1]] = parse_scalar(value)
    document.lines[path] = 0


def _entry(name: str) -> Dataset | None:
    with contextlib.suppress(BenchError):
        return sets.dataset(name)
    return None


# what stands for a required field that is wrong, so that the others are checked all the same
UNKNOWN: dict[str, Any] = {"dataset": "", "steps": 1, "datasets": (), "metrics": ()}


class Check:
    """Collects problems; every check works with what the earlier ones found sound."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = list(document.problems)
        self.task: TaskSection | None = None
        self.train: TrainSection | None = None
        self.select: SelectSection | None = None
        self.evaluate: EvaluateSection | None = None
        self.budget: BudgetSection | None = BudgetSection()
        self.ranges: dict[str, dict[str, Range]] = {}
        self.rows: dict[str, RecipeSection | None] = {}
        self.sections: dict[str, MethodSection] = {}
        self.built: dict[str, Method] = {}
        """At the first scale."""
        self.broken: set[Keys] = set()
        self.misspelt: set[str] = set()
        """Sections that were meant by keys that are none."""

    def given(self, key: str) -> bool:
        """Whether a section is in the file, maybe misspelt."""
        return key in self.document.data or key in self.misspelt

    def add(self, path: Keys, message: str) -> None:
        self.problems.append(f"{self.document.at(path)}: {message}")

    def fields(self) -> None:
        """Types, required and unknown keys, section by section."""
        data, fields = self.document.data, Study.model_fields
        top = [key for key in fields if key not in Study.NOT_IN_FILES]
        for key in data:
            if key not in top:
                self.add((key,), unknown("key", key, top))
                self.misspelt |= {nearest(key, top) or key}
        for key in ("name", "task", "methods", "evaluate"):
            if not self.given(key):
                self.add((), f"{key!r} is missing. Known: {', '.join(top)}.")
        for key in data:
            if data[key] is None and key in top:
                self.add((key,), "empty. Fill it in, or delete the line.")
        if data.get("name") is not None:
            self.typed((), pydantic.create_model("Named", name=(Name, ...)), data)
        self.task = self._section("task", TaskSection)
        self.train = self._section("train", TrainSection)
        self.select = self._section("select", SelectSection)
        self.evaluate = self._section("evaluate", EvaluateSection)
        if "budget" in data:
            self.budget = self._section("budget", BudgetSection)
        self._section("resources", ResourcesSection)
        self._papers(data.get("compare"))

    def _papers(self, names: Any) -> None:
        """The papers to compare with, and that their files are sound."""
        if names is None:
            return
        if not isinstance(names, list):
            self.add(("compare",), f"needs a list ([a, b]), got {names!r}.")
            return
        for i, name in enumerate(names):
            try:
                load_paper(str(name))
            except BenchError as error:
                for line in str(error).splitlines():
                    self.add(("compare", i), line)

    def _section(self, key: str, model: type[Section]) -> Any:
        data = self.document.data.get(key)
        return None if data is None else self.typed((key,), model, data)

    def typed(self, path: Keys, model: type[pydantic.BaseModel], data: Any) -> Any:
        """Returns the section, without the fields that are wrong; None if none of it is sound."""
        try:
            return model.model_validate(data)
        except pydantic.ValidationError as error:
            for item in error.errors():
                self._pydantic_problem(path, model, item)
            wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
            for key in wrong - set(model.model_fields):  # a misspelt key was meant for another
                wrong = wrong | {nearest(key, model.model_fields) or key}
        self.broken |= {(*path, key) for key in wrong}
        if not isinstance(data, dict):
            return None
        sound = {key: value for key, value in data.items() if key not in wrong}
        try:
            return model.model_validate({k: UNKNOWN[k] for k in wrong & set(UNKNOWN)} | sound)
        except pydantic.ValidationError:
            return None

    def _pydantic_problem(self, path: Keys, model: type[pydantic.BaseModel], item: Any) -> None:
        where = (*path, *(part for part in item["loc"] if part not in ("one", "several")))
        message = describe(item, innermost(model, item["loc"]))
        self.add(where[:-1] if item["type"] == "missing" else where, message)

    def names(self, strict: bool) -> None:
        """Datasets, metrics, protocol and degradation: known, and here where they must be."""
        task = self.document.data.get("task")
        given = task.get("degradation") if isinstance(task, dict) else None
        path: Keys = ("task", "degradation")
        if isinstance(given, str) and not is_lr_source(given):
            self.add(path, unknown("degradation", given, LR_SOURCES))
            self.broken.add(path)
        elif self.task and self.task.degradation == "none" and self.task.scales != (1,):
            self.add(path, f"'none' leaves the size as it is: scale 1, got {self.task.scale}.")
            self.broken.add(path)
        if self.train:
            self._training(self.train)
        if self.select:
            self._dataset(("select", "dataset"), self.select.dataset, must_exist=True)
        if not self.evaluate:
            return
        self._list("datasets", self.evaluate.datasets)
        self._list("metrics", self.evaluate.metrics)
        for i, name in enumerate(self.evaluate.datasets):
            self._dataset(("evaluate", "datasets", i), name, must_exist=strict)
        for i, name in enumerate(self.evaluate.metrics):
            try:
                if why := self._other_kind(metrics.metric(name)):
                    self.add(("evaluate", "metrics", i), why)
            except BenchError as error:
                self.add(("evaluate", "metrics", i), str(error))
                self.broken.add(("evaluate", "metrics"))
        self._protocols(self.evaluate.protocol)
        for row, section in self.sections.items():
            for i, name in enumerate(section.datasets or ()):
                if name not in self.evaluate.datasets:
                    message = f"not reported. {unknown('dataset', name, self.evaluate.datasets)}"
                    self.add(("methods", row, "datasets", i), message)

    def _other_kind(self, metric: metrics.Metric) -> str:
        """Why a metric does not go with the task; "" if it does."""
        if self.task is None or (metric.of_marks is not None) == (self.task.kind == "assessment"):
            return ""
        if metric.of_marks is None:
            known = ", ".join(n for n, m in metrics.METRICS.items() if m.of_marks is not None)
            return f"{metric.name} scores pictures, and an assessment gives marks. Known: {known}."
        return f"{metric.name} compares marks with votes. Write task: {{kind: assessment, ...}}."

    def _protocols(self, chosen: str | dict[str, str]) -> None:
        """One protocol, or one for each set that is measured."""
        path: Keys = ("evaluate", "protocol")
        single = {path: chosen} if isinstance(chosen, str) else {}
        several = {} if isinstance(chosen, str) else {(*path, n): p for n, p in chosen.items()}
        for place, name in {**single, **several}.items():
            if name not in ("auto", *protocol.PROTOCOLS):
                self.add(place, unknown("protocol", name, ("auto", *protocol.PROTOCOLS)))
        if self.evaluate and self.select:
            measured = [*self.evaluate.datasets, self.select.dataset]
            for place in several:
                if place[-1] not in measured:
                    self.add(place, f"not measured. {unknown('dataset', place[-1], measured)}")

    def _training(self, train: TrainSection) -> None:
        try:
            choose_device(train.device)
        except BenchError as error:
            self.add(("train", "device"), str(error))
        recipes = self._recipes(train)
        sides = self._training_sides(train.dataset)
        if ("train", "patch") in self.broken:
            return
        for scale in self.task.scales if self.task else ():
            if train.patch and train.patch % scale:
                message = f"not a multiple of the scale {scale}, got {train.patch}."
                self.add(("train", "patch"), message)
                return
        if small := [stem for stem, side in sides.items() if side < (train.patch or 0)]:
            most = min(sides.values())
            message = f"{train.patch} does not fit into {', '.join(small)}. Take at most {most}."
            self.add(("train", "patch"), message)
            return
        reported: set[Keys] = set()  # many stages may have one mistake in common
        for name, stage, recipe in recipes:
            path = self._where_patch_is_said(name, stage)
            if stage.dataset is not None or path in reported:  # of other images than the study's
                continue
            if message := self._stage_patch(name, stage, recipe, min(sides.values(), default=0)):
                self.add(path, message)
                reported.add(path)

    def _training_sides(self, name: str) -> dict[str, int]:
        """Stem -> shorter side of HR; no file is opened of a set whose pixels are in the store.

        Nothing is known of photographs with votes, which are resized first.
        """
        path: Keys = ("train", "dataset")
        if (entry := _entry(name)) is not None and entry.votes:
            self._dataset(path, name, must_exist=True)
            return {}
        if self.task and ("task", "degradation") not in self.broken:
            with contextlib.suppress(BenchError):  # said below, line by line
                source = find_source(name, self.task.scales[-1], self.task.degradation)
                if sides := stored_sides(source, Store(home() / "store")):
                    return sides
        try:
            pairs = self._dataset(path, name, must_exist=True)
            return {pair.stem: min(pair.hr_size()) for pair in pairs}
        except BenchError as error:
            self.add(path, str(error))
            return {}

    def _recipes(self, train: TrainSection) -> list[tuple[str, Stage, Recipe]]:
        """The recipe of each method's stages that is sound; at most one mistake a method."""
        recipes = []
        for name, method in self.built.items():
            row = self.rows.get(name)
            path: Keys = ("train",) if row is None else ("methods", name, "train")
            for stage in method.stages():
                try:
                    shared = stage.seed is not None
                    recipe = lay(layers(stage.recipe, train, row, shared)).filled()
                    if recipe.average and snapshots_of(train, stage):
                        raise BenchError(
                            "snapshots are of the weights themselves, and 'average' is of many. "
                            "Leave one out."
                        )
                    rates((stage.trains or method).optimizers(stage), recipe)
                    if recipe.steps is None and recipe.epochs is None:
                        raise BenchError("'steps' is missing, or epochs.")
                except BenchError as error:
                    if not self.broken & {(*path, key) for key in ("train", *Recipe.model_fields)}:
                        self.add(path, f"stage {stage.name!r} of {name}: {error}")
                    break
                recipes.append((name, stage, recipe))
        return recipes

    def _where_patch_is_said(self, name: str, stage: Stage) -> Keys:
        row = self.rows.get(name)
        if row is not None and row.patch is not None:
            return ("methods", name, "train", "patch")
        return ("train", "patch") if stage.recipe.patch is None else ("methods", name)

    def _stage_patch(self, name: str, stage: Stage, recipe: Recipe, most: int) -> str:
        """Why a stage's patch does not suit its scale or the images; "" if it does."""
        assert self.task is not None and recipe.patch is not None
        owner = stage.trains or self.built[name]
        patch, degradation = recipe.patch, stage.degradation or self.task.degradation
        scale = owner.hyperparameters.get("scale", self.task.scales[0])
        what = f"stage {stage.name!r} of {name} trains on patches of {patch}"
        if degradation != "none" and patch % scale:
            return f"{what}, which is not a multiple of its scale, {scale}."
        return f"{what}, and the smallest training image has {most}." if patch > most > 0 else ""

    def _list(self, key: str, names: Sequence[str]) -> None:
        if not names and ("evaluate", key) not in self.broken:
            self.add(("evaluate", key), "empty. Name at least one.")
        for name in {n for n in names if names.count(n) > 1}:
            self.add(("evaluate", key), f"{name!r} is given twice.")

    def _dataset(self, path: Keys, name: str, must_exist: bool) -> Sequence[Pair]:
        """Returns the set's pairs, if it is here and whole."""
        if path in self.broken:
            return ()
        try:
            if self.task and self.task.kind == "assessment" and not sets.dataset(name).votes:
                self.add(path, f"{name!r} has no votes. Sets that have: ava_train, ava_val.")
                return ()
            if why := sets.missing(name):
                if must_exist:
                    self.add(path, f"dataset {name!r} is not on this machine: {why}")
            elif self.task and ("task", "degradation") not in self.broken:
                for scale in self.task.scales:
                    pairs = load_pairs(name, scale, self.task.degradation)
                return pairs
        except BenchError as error:
            for line in str(error).splitlines():
                self.add(path, line)
        return ()

    def search(self) -> None:
        """Objectives, and what sampler and pruner can do."""
        swept = {name: ranges for name, ranges in self.ranges.items() if ranges}
        if self.budget is not None:
            self._budget(self.budget, swept)
        if self.train and self.train.snapshots and not self.given("select"):
            message = "are measured on the selection set, and 'select' is missing. Leave them out."
            self.add(("train", "snapshots"), message)
        if self.select is None:
            grid = self.budget is not None and self.budget.sampler == "grid"
            if swept and not self.given("select") and not grid:
                message = f"'select' is missing, and {min(swept)} has ranges to choose from."
                self.add((), f"{message} Or report every trial: sampler: grid.")
            return
        self._objectives(self.select)

    def _budget(self, budget: BudgetSection, swept: dict[str, dict[str, Range]]) -> None:
        objectives = self.select.objectives if self.select else ()
        if budget.pruner != "none" and not self.select and not self.given("select"):
            message = "without 'select' there is no objective to prune by. Write pruner: none."
            self.add(("budget", "pruner"), message)
        if budget.pruner != "none" and len(objectives) > 1:
            message = "several objectives cannot be pruned. Name one objective, or pruner: none."
            self.add(("budget", "pruner"), message)
        if not budget.seeds or len(set(budget.seeds)) != len(budget.seeds):
            message = f"needs different whole numbers, got {list(budget.seeds)}."
            self.add(("budget", "seeds"), message)
        for name, ranges in swept.items():
            for key, range_ in ranges.items():
                path = ("methods", name, key)
                if budget.sampler == "grid" and range_.values() is None:
                    self.add(path, f"sampler grid cannot count {range_}. Write {{grid: [...]}}.")
                if budget.sampler != "grid" and range_.kind == "grid":
                    message = f"needs sampler: grid, got {budget.sampler}. Or write choice."
                    self.add(path, message)

    def _objectives(self, select: SelectSection) -> None:
        if not select.objectives and not self.broken & {
            ("select", "maximize"),
            ("select", "minimize"),
        }:
            self.add(("select",), "no objective. Write maximize: [psnr_y], or minimize.")
        for key, names in (("maximize", select.maximize), ("minimize", select.minimize)):
            for i, name in enumerate(names):
                self._objective(("select", key, i), key, name)
        reported = self.evaluate.datasets if self.evaluate else ()
        if select.dataset in reported and not select.allow_reported:
            message = (
                f"{select.dataset!r} is also reported, so its numbers would be chosen, not "
                "measured. "
                "Select on another set, or mark it with allow_reported: true."
            )
            self.add(("select", "dataset"), message)

    def _objective(self, path: Keys, key: str, name: str) -> None:
        if self.evaluate is None or ("evaluate", "metrics") in self.broken:
            return
        computed = self.evaluate.metrics
        if name not in computed:
            self.add(
                path,
                f"objective on a metric that is not computed. {unknown('metric', name, computed)}",
            )
        elif name in metrics.METRICS or name.startswith("pyiqa:"):
            metric = metrics.metric(name)
            better = {"higher": "maximize", "lower": "minimize"}.get(metric.direction)
            if better is not None and better != key:
                self.add(path, f"{name} is better when {metric.direction}. Put it under {better}.")
            if why := metric.unavailable():
                self.add(path, f"objective {name!r} cannot be computed on this machine: {why}")
