"""What a paper's adapter fulfils, and how one is found, built and run on large pictures."""

from bench.method.contract import (
    Batch,
    Group,
    Losses,
    Method,
    Stage,
    build_method,
    check_hyperparameters,
    find_method,
    groups_of,
    known_methods,
    load_method,
    methods_in,
    to_tensor,
)
from bench.method.recipe import Recipe
from bench.study.recipe import Rate

__all__ = [
    "Batch",
    "Group",
    "Losses",
    "Method",
    "Rate",
    "Recipe",
    "Stage",
    "build_method",
    "check_hyperparameters",
    "find_method",
    "groups_of",
    "known_methods",
    "load_method",
    "methods_in",
    "to_tensor",
]
