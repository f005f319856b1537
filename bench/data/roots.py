"""The three folders that the environment names: records, benchmark sets, published weights."""

import os
from pathlib import Path


def home() -> Path:
    """Returns the absolute folder of all that bench writes: $BENCH_HOME, else .bench here."""
    return Path(os.environ.get("BENCH_HOME") or ".bench").resolve()


def data_root() -> Path:
    """Returns $BENCH_DATA, or `data` in the current folder."""
    return Path(os.environ.get("BENCH_DATA") or "data")


def weights_root() -> Path:
    """Returns $BENCH_WEIGHTS, or `weights` in the current folder."""
    return Path(os.environ.get("BENCH_WEIGHTS") or "weights")
