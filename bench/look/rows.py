"""The rows of a study file: class, hyper-parameters, weights, pictures, and that they build."""

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from bench.data.roots import named_path
from bench.errors import BenchError, unknown
from bench.look.words import as_range
from bench.method.contract import Method
from bench.method.loading import build_method, check_hyperparameters, find_method
from bench.study.fields import METHOD_NAME, CommandSection, MethodSection, TaskSection
from bench.study.located_yaml import Keys
from bench.study.space import Range, is_range, parse_range
from bench.sweep.command import program_missing, wrong_places
from bench.sweep.rows import check_row_weights, kind_of

if TYPE_CHECKING:
    from bench.look.check import Check


def check_rows(check: "Check") -> None:
    """Each method's class, hyper-parameters and ranges, and that it can be built."""
    given = check.document.data.get("methods")
    if given is None:
        return
    if not isinstance(given, dict) or not given:
        check.add(("methods",), f"name: {{use: dotted.path, ...}} for each method, got {given!r}.")
        return
    for name, section in given.items():
        _method(check, name, section)


def _method(check: "Check", name: str, data: Any) -> None:
    path: Keys = ("methods", name)
    if not re.fullmatch(METHOD_NAME, name):
        check.add(path, "a method's name is made of letters, digits, '_' and '-'.")
    if name == "reference" and data is None:
        data = check.document.data["methods"][name] = {}
    section: MethodSection | None = check.typed(path, MethodSection, data)
    if section is None:
        return
    check.sections[name] = section
    if kind_of(section) == "command":
        _command(check, path, data)
        return
    if kind_of(section) in ("folder", "reference"):
        _pictures(check, path, section)
        return
    values: dict[str, Any] = {}
    check.rows[name] = section.train
    check.ranges[name] = {}
    for key, value in (section.model_extra or {}).items():
        parsed = parse_range(value) if is_range(value) else value
        if is_range(value) and isinstance(parsed, str):
            check.add((*path, key), parsed)
        elif isinstance(parsed, Range):
            check.ranges[name][key] = parsed
            values[key] = parsed.sample()
        else:
            values[key] = parsed
    try:
        cls = find_method(section.use)
    except BenchError as error:
        check.add((*path, "use"), str(error))
        return
    if _extremes(check, path, cls, values) and check.task is not None:
        scales = check.task.scales
        own = [scale for scale in scales if values.get("scale", scale) == scale]
        methods = {
            scale: _build(check, path, cls, values, check.task.at(scale))
            for scale in (own or scales)[: 1 if cls.takes_scales() else None]
        }
        _weights(check, path, section, {s: m for s, m in methods.items() if m is not None})


def _pictures(check: "Check", path: Keys, section: MethodSection) -> None:
    """A row of pictures made by anything, or of the originals."""
    kind = kind_of(section)
    if check.task is not None and check.task.kind == "assessment":
        check.add(path, "an assessment has no row of pictures: what is measured are marks.")
        return
    if kind == "reference" and section.use != "reference" and path[-1] != "reference":
        check.add(path, "'use' is missing. Or folder: DIR, for pictures made by anything.")
        return
    takes = {"folder", "datasets"} if kind == "folder" else {"use", "datasets"}
    given = {*section.model_fields_set, *(section.model_extra or {})}
    for key in sorted(given - takes):
        check.add(
            (*path, key), f"makes no sense for a row of pictures. {unknown('key', key, takes)}"
        )
    if section.folder is not None:
        root = named_path(section.folder.partition("{")[0])
        if not root.is_dir():
            check.add((*path, "folder"), f"no such folder: {root}.")


def _command(check: "Check", path: Keys, data: Any) -> None:
    """A row of pictures that a program makes: that it is there and is told both folders."""
    section: CommandSection | None = check.typed(path, CommandSection, data)
    if section is None or (*path, "command") in check.broken:
        return
    if why := program_missing(section.command[0]):
        check.add((*path, "command"), why)
    for text in wrong_places(section.command):
        check.add((*path, "command"), text)


def _weights(
    check: "Check", path: Keys, section: MethodSection, methods: Mapping[int, Method]
) -> None:
    """Weights that a row takes, or begins its training with. methods: by scale, without pixels."""
    if section.weights is not None:
        for key in ("train", "begins_from"):
            if getattr(section, key) is not None:
                check.add((*path, key), "a row with weights is not trained. Leave one out.")
        for key in check.ranges[str(path[-1])]:
            check.add((*path, key), "a row with weights has no ranges. Write one value.")
    for key in ("weights", "begins_from"):
        if (text := getattr(section, key)) is None:
            continue
        try:
            for scale, method in methods.items():
                swept = bool(check.ranges[str(path[-1])])
                check_row_weights(method, text, scale, swept, begin=key == "begins_from")
        except (BenchError, KeyError, IndexError, ValueError) as error:
            for line in str(error).splitlines():
                check.add((*path, key), line)


def _extremes(check: "Check", path: Keys, cls: type[Method], values: dict[str, Any]) -> bool:
    """Whether the constructor takes the values, also those that the sampler may choose."""
    before = len(check.problems)
    scale = {"scale": 1 if check.task is None else check.task.scales[0]}
    takes_scale = "scale" in inspect.signature(cls.__init__).parameters
    ranges = check.ranges[str(path[-1])]
    tried = [{}, *({key: v} for key, range_ in ranges.items() for v in range_.extremes())]
    for chosen in tried:
        given = {**(scale if takes_scale else {}), **values, **chosen}
        for text in check_hyperparameters(cls, given)[1]:
            named = text.split("'")[1]
            if named not in chosen and isinstance(values.get(named), list):
                text += as_range(values[named], check.budget.sampler if check.budget else "")
            check.add((*path, named) if named in values else path, text)
    return len(check.problems) == before


def _build(
    check: "Check", path: Keys, cls: type[Method], values: dict[str, Any], task: TaskSection
) -> Method | None:
    """The method without weights, if it can be built."""
    try:
        with torch.device("meta"):
            takes = cls.takes_scales()
            scales = check.task.scales if check.task else ()
            method = build_method(cls, values, None if takes else task.scales[0], scales)
        stages = method.stages()
    except BenchError as error:
        for line in str(error).splitlines():
            named = line.split("'")[1] if line.startswith("parameter '") else ""
            check.add((*path, named) if named in values else path, line)
        return None
    if check.sections[str(path[-1])].weights is None and cls.published and not stages:
        names = " or ".join(f"published:{name}" for name in cls.published)
        check.add(path, f"{cls.__name__} is not trained here. Give weights: {names}, or a file.")
    if check.sections[str(path[-1])].weights is None:
        check.built.setdefault(str(path[-1]), method)
    if not cls.does(task.kind):
        does = " and ".join(cls.tasks or (cls.task,))
        check.add((*path, "use"), f"{cls.__name__} is for {does}, the task is {task.kind}.")
    if (
        check.sections[str(path[-1])].weights is None
        and not check.given("train")
        and any(
            stage.trains is None and stage.recipe.steps is None and stage.recipe.epochs is None
            for stage in stages
        )
    ):
        check.add((), f"'train' is missing, and {path[-1]} has to be trained.")
    return method
