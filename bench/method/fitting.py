"""With which parameters would a method's tensors be those of a file?"""

import re
import time
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bench.method.contract import Method

SECONDS = 5.0
"""Large networks take a while to build; what has been found until then is said."""


def fitting_parameters(
    method: "Method", state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], bool]:
    """Returns the parameters to change so that most of a file fits, and whether all of it does.

    One parameter after the other takes each value that the file suggests: its dimensions, how often
    numbered parts occur, the words of a Literal. Methods are built without memory for weights.
    """
    best = dict(method.hyperparameters)
    score, end = _likeness(type(method), best, state), time.monotonic() + SECONDS
    improved = True
    while improved and score < 1:
        improved = False
        for name, values in _candidates(type(method), state):
            for value in values if name in best else ():
                if time.monotonic() > end:
                    break
                other = _likeness(type(method), {**best, name: value}, state)
                if other > score:
                    best, score, improved = {**best, name: value}, other, True
    changed = {k: v for k, v in best.items() if v != method.hyperparameters[k]}
    return changed, score == 1


def _likeness(cls: type["Method"], values: dict[str, Any], state: Mapping[str, Tensor]) -> float:
    """Tensors that agree in name and shape, of all names in either; 0 where it cannot be built."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a layer without any weight
            own = cls(**values).state_dict()
    except Exception:  # a value that the constructor refuses, in whatever way
        return 0.0
    same = sum(name in state and state[name].shape == own[name].shape for name in own)
    return float(same / len(own.keys() | state.keys()))


def _candidates(
    cls: type["Method"], state: Mapping[str, Tensor]
) -> Iterator[tuple[str, list[Any]]]:
    """Parameters and the values worth trying."""
    numbers = _numbers(state)
    for name, hint in get_type_hints(cls.__init__).items():
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        for kind in kinds:
            if kind is bool:
                yield name, [False, True]
            elif kind is int:
                yield name, numbers
            elif get_origin(kind) is Literal:
                yield name, list(get_args(kind))


def _numbers(state: Mapping[str, Tensor]) -> list[int]:
    """Scales, dimensions, and counts of parts: "body.15.weight" makes 16."""
    found = {1, 2, 3, 4, 8, *(side for value in state.values() for side in value.shape)}
    found.update(int(part) + 1 for name in state for part in re.findall(r"\d+", name))
    return sorted(number for number in found if 0 < number <= 1024)
