"""From a dotted path to a method: found, its hyper-parameters checked, built."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from bench.errors import BenchError, unknown
from bench.method.contract import Method


def load_method(path: str, **hyperparameters: Any) -> Method:
    """Returns the method at a dotted path, such as "methods.classical.Bicubic", in eval mode.

    Also finds modules of the user's own in the current folder. Raises BenchError for an unknown
    path and for hyper-parameters that its constructor does not take.
    """
    return build_method(find_method(path), hyperparameters)


def build_method(
    cls: type[Method],
    hyperparameters: Mapping[str, Any],
    scale: int | None = None,
    scales: Sequence[int] = (),
) -> Method:
    """Returns a method in eval mode; `scale` and `scales` go to a constructor that takes them.

    Raises BenchError for hyper-parameters that the constructor does not take or refuses.
    """
    values = dict(hyperparameters)
    asked = scale is not None and "scale" in inspect.signature(cls.__init__).parameters
    if asked and values.setdefault("scale", scale) != scale:
        raise BenchError(f"parameter 'scale': {values['scale']!r} where {scale} is asked for.")
    if scales and cls.takes_scales():
        values.setdefault("scales", tuple(scales))
    checked, problems = check_hyperparameters(cls, values)
    if problems:
        raise BenchError("\n".join(problems))
    try:
        return cls(**checked).eval()
    except ValueError as error:
        raise BenchError(f"{cls.__name__}: {error}") from error


def find_method(path: str) -> type[Method]:
    """Returns the Method class at a dotted path. Raises BenchError with the nearest known one."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise BenchError(
            f"{path!r} is no method. {unknown('method', path, known_methods())} "
            "Give a dotted path: module.Class."
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise BenchError(unknown("method", path, known_methods())) from None
        raise BenchError(_why_not_imported(module_name, error)) from error
    except Exception as error:
        raise BenchError(_why_not_imported(module_name, error)) from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Method)):
        here = [f"{module_name}.{n}" for n in methods_in(module)]
        raise BenchError(unknown("method", path, here or known_methods()))
    return found


def _why_not_imported(module: str, error: Exception) -> str:
    """The place where importing a user's module went wrong, and how."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
    return f"{module} cannot be imported: {place}: {type(error).__name__}: {error}"


def methods_in(module: Any) -> list[str]:
    """Returns the names of the Method classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def known_methods() -> list[str]:
    """Returns the dotted paths of all methods in the package `methods`, sorted."""
    package = importlib.import_module("methods")  # found, never imported by name: it is a plug-in
    folder = Path(next(iter(package.__path__)))
    paths = []
    for file in sorted(folder.glob("[!_]*.py")):
        module = importlib.import_module(f"methods.{file.stem}")
        paths += [f"methods.{file.stem}.{name}" for name in methods_in(module)]
    return paths


def check_hyperparameters(
    cls: type[Method], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the values, converted to the constructor's types, and every problem found."""
    takes = {
        name: parameter
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if name != "self"
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    fields: dict[str, Any] = {
        name: (
            _type_of(parameter.annotation),
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for name, parameter in takes.items()
    }
    problems = [unknown("parameter", name, takes) for name in given if name not in takes]
    model = pydantic.create_model(cls.__name__, **fields)
    known = {name: value for name, value in given.items() if name in takes}
    for name in [n for n, value in known.items() if isinstance(value, bool)]:
        if "bool" not in str(takes[name].annotation):
            problems.append(f"parameter {name!r}: got {known[name]}, which is no number or word.")
            return {}, problems
    try:
        checked = model(**known)
    except pydantic.ValidationError as error:
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"])
            got = "" if item["type"] == "missing" else f", got {item['input']!r}"
            problems.append(f"parameter {name!r}: {item['msg'].lower()}{got}.")
        return {}, problems
    return {name: getattr(checked, name) for name in known}, problems


def _type_of(annotation: Any) -> Any:
    """What a value must be: bool strictly, or YAML's `no` would pass as a word for false."""
    if annotation is bool:
        return pydantic.StrictBool
    return Any if annotation is inspect.Parameter.empty else annotation
