"""Names of tensors in the files of others: the authors' own code, and tool boxes that port it."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Rules = Sequence[tuple[str, str]]
"""Patterns of whole names, and what they become; the first that matches counts."""


def renamed(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Returns a file's tensors under other names. What no rule matches keeps its own; what becomes
    "" is left out.

    >>> sorted(renamed({"a.0.bias": 1, "a.1.bias": 2}, [(r"a\\.0\\.(.+)", r"first.\\1")]))
    ['a.1.bias', 'first.bias']
    """
    named = {_renamed(name, rules): value for name, value in state.items()}
    return {name: value for name, value in named.items() if name}


def _renamed(name: str, rules: Rules) -> str:
    for pattern, becomes in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(becomes)
    return name


MEAN_SHIFT = (r"(?:sub_mean|add_mean)\..+", "")
"""Convolutions of EDSR-PyTorch and its heirs that take DIV2K's mean off and add it: constants."""
