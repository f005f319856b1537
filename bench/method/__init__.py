"""What a paper's adapter fulfils, and how one is found, built and run on large pictures."""

from bench.method.batch import Augment, Batch, Batches, Request
from bench.method.contract import (
    Losses,
    Method,
    Stage,
    build_method,
    check_hyperparameters,
    find_method,
    known_methods,
    load_method,
    methods_in,
    to_tensor,
)

__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "Losses",
    "Method",
    "Request",
    "Stage",
    "build_method",
    "check_hyperparameters",
    "find_method",
    "known_methods",
    "load_method",
    "methods_in",
    "to_tensor",
]
