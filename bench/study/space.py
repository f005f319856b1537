"""Search ranges as a study writes them: parsed, checked, and expanded into grids."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bench.errors import nearest

Value = int | float | str | bool | None


class Range(BaseModel):
    """What the sampler may choose for one parameter. Both ends are included."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["float", "int", "choice", "grid"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: int = 1
    choices: tuple[Value, ...] = ()

    def values(self) -> tuple[Value, ...] | None:
        """Returns every value where they can be counted, else None."""
        if self.kind == "float":
            return None
        if self.kind == "int":
            return tuple(range(int(self.low), int(self.high) + 1, self.step))
        return self.choices

    def sample(self) -> Value:
        """Returns one value, for plans: the high end, which costs most, or the last choice."""
        return self.extremes()[-1]

    def extremes(self) -> tuple[Value, ...]:
        """Returns values that stand for all of them: both ends, or every choice."""
        if self.kind == "float":
            return self.low, self.high
        return (int(self.low), int(self.high)) if self.kind == "int" else self.choices

    def __str__(self) -> str:
        if self.kind in ("float", "int"):
            extra = ", log" if self.log else f", step {self.step}" if self.step != 1 else ""
            return f"{self.kind} [{self.low:g}, {self.high:g}{extra}]"
        return f"{self.kind} {list(self.choices)}"


KINDS = ("float", "int", "choice", "grid")
FORMS = (
    "{float: [lo, hi]}, {float: [lo, hi], log: true}, {int: [lo, hi], step: 1}, "
    "{choice: [a, b]} or {grid: [a, b]}"
)


def is_range(value: Any) -> bool:
    """A mapping where a parameter's value is expected can only mean a range."""
    return isinstance(value, Mapping)


def parse_range(value: Mapping[str, Any]) -> Range | str:
    """Returns the range, or what is wrong with it in one sentence."""
    kinds = [kind for kind in KINDS if kind in value]
    if len(kinds) != 1:
        near = [near for key in value if not kinds and (near := nearest(key, KINDS))]
        guess = f" Did you mean {near[0]!r}?" if near else ""
        return f"is no range: {dict(value)!r}.{guess} Write {FORMS}."
    kind = kinds[0]
    allowed = {kind, *{"float": ("log",), "int": ("step", "log")}.get(kind, ())}
    if extra := sorted(set(value) - allowed):
        return f"unknown key {extra[0]!r} in a range of kind {kind!r}. Write {FORMS}."
    items = value[kind]
    if kind in ("choice", "grid"):
        return _parse_choices(kind, items)
    number = (int,) if kind == "int" else (int, float)
    ends_are_numbers = (
        isinstance(items, list)
        and len(items) == 2
        and all(isinstance(x, number) and not isinstance(x, bool) for x in items)
        and all(math.isfinite(x) for x in items)
    )
    if not ends_are_numbers:
        return f"needs two {kind} ends, low and high, got {items!r}. Write {FORMS}."
    low, high = items
    log, step = value.get("log", False), value.get("step", 1)
    if not isinstance(log, bool):
        return f"log must be true or false, got {log!r}."
    if low > high:
        return f"low {low:g} is above high {high:g}. Write [{high:g}, {low:g}]."
    if log and low <= 0:
        return f"a logarithmic range must start above 0, got {low:g}."
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        return f"step must be a whole number of at least 1, got {step!r}."
    if log and step != 1:
        return "log and step exclude each other. Leave one out."
    if kind == "int" and (high - low) % step:
        return f"high {high} is not reached from {low} in steps of {step}."
    return Range(kind=kind, low=low, high=high, log=log, step=step)


def _parse_choices(kind: str, items: Any) -> Range | str:
    if not isinstance(items, list) or not items:
        return f"needs a list of at least one value, got {items!r}. Write {FORMS}."
    if any(isinstance(x, (dict, list)) for x in items):
        return f"choices are numbers, words or true/false, got {items!r}."
    if len({(type(x), x) for x in items}) != len(items):
        return f"a value is given twice: {items!r}."
    return Range(kind=kind, choices=tuple(items))


def grid(ranges: Mapping[str, Range]) -> list[dict[str, Value]]:
    """Returns every combination, the last parameter varying fastest.

    >>> grid({"a": Range(kind="int", low=1, high=2), "b": Range(kind="grid", choices=("x",))})
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    columns = []
    for name, range_ in ranges.items():
        values = range_.values()
        assert values is not None, f"{name} cannot be counted"
        columns.append(values)
    return [dict(zip(ranges, row, strict=True)) for row in itertools.product(*columns)]
