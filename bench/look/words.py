"""What is wrong with a value of a study file, in words, and what to write instead."""

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

import pydantic

from bench.errors import unknown
from bench.study.space import KINDS

SHAPES = {"model_type": "a mapping (key: value)", "tuple_type": "a list ([a, b])"}
BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""What YAML 1.1 took for true and false."""


def innermost(model: type[pydantic.BaseModel], place: Sequence[str | int]) -> Any:
    """Returns the section that holds the last key of a place, as ("train", "rate", "halve")."""
    for key in place[:-1]:
        field = model.model_fields.get(str(key))
        for part in get_args(field.annotation) if field else ():
            if isinstance(part, type) and issubclass(part, pydantic.BaseModel):
                model = part
    return model


def describe(item: Any, model: type[pydantic.BaseModel]) -> str:
    """Returns the message for one of pydantic's errors in a section."""
    name, got = str(item["loc"][-1]) if item["loc"] else "", item["input"]
    match item["type"]:
        case "extra_forbidden":
            return unknown("key", name, model.model_fields)
        case "missing":
            return f"{name!r} is missing."
        case "literal_error":
            return unknown("value", got, _choices(model.model_fields[name].annotation))
        case "string_pattern_mismatch":
            return f"needs lower-case letters, digits, '_' and '-', got {got!r}."
        case "recipe":
            what = item["msg"]
        case kind if kind in SHAPES:
            what = f"needs {SHAPES[kind]}"
        case _:
            what = item["msg"].lower()
    return f"{what}, got {got!r}.{_instead(item['type'], got)}"


def _choices(annotation: Any) -> list[str]:
    """The words that a field takes, which may also be None."""
    parts = [part for part in get_args(annotation) if get_origin(part) is Literal]
    return [str(word) for word in get_args(parts[0] if parts else annotation)]


def _instead(kind: str, got: Any) -> str:
    """What was probably meant."""
    if kind == "tuple_type" and isinstance(got, str | int | float):
        return f" Write [{got}]."
    if kind == "model_type" and isinstance(got, str) and "." in got:
        return f" Write {{use: {got}}}."
    if kind == "bool_type" and str(got).lower() in BOOLEANS:
        return f" Write {BOOLEANS[str(got).lower()]}."
    if (isinstance(got, dict) and set(got) & set(KINDS)) or (
        kind in ("int_type", "float_type") and isinstance(got, list)
    ):
        return " Only the parameters of a method take ranges: write one value."
    return ""


def as_range(values: list[Any], sampler: str) -> str:
    """Returns how to write a list that was given for a parameter's value: it meant a range.

    >>> as_range([4, 8], "grid")
    ' Write {grid: [4, 8]} to try each.'
    """
    if not values or any(isinstance(value, list | dict) for value in values):
        return ""
    text = json.dumps(values)
    if sampler == "grid":
        return f" Write {{grid: {text}}} to try each."
    numbers = {type(value) for value in values}
    ends = len(values) == 2 and numbers <= {int, float} and values[0] < values[1]
    between = f"{{{'int' if numbers == {int} else 'float'}: {text}}} for all between, " * ends
    return (
        f" Write {between}{{choice: {text}}} to choose among these, or {{grid: {text}}} to try "
        "each, with sampler: grid."
    )
