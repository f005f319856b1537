"""What a paper's adapter fulfils, and how one is found, built and run on large pictures."""

from bench.method.batch import Augment, Batch, Batches, Request
from bench.method.contract import Group, Losses, Method, Stage, groups_of, to_tensor
from bench.method.loading import (
    build_method,
    check_hyperparameters,
    find_method,
    known_methods,
    load_method,
    methods_in,
)
from bench.method.recipe import Recipe
from bench.study.recipe import Rate

__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "Group",
    "Losses",
    "Method",
    "Rate",
    "Recipe",
    "Request",
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
