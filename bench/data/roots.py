"""The three folders that the environment names: records, benchmark sets, published weights."""

import os
from pathlib import Path

from bench.errors import BenchError


def user_path(text: str) -> Path:
    """Returns the path that a user has written: "~" is the home folder, "~NAME" that of NAME.

    Raises BenchError where nobody is called so.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BenchError(
            f"{text}: nobody here is called {Path(text).parts[0][1:]!r}. For a folder of such a "
            f"name write ./{text}."
        ) from None


def home() -> Path:
    """Returns the absolute folder of all that bench writes: $BENCH_HOME, else .bench here."""
    return user_path(os.environ.get("BENCH_HOME") or ".bench").resolve()


def data_root() -> Path:
    """Returns $BENCH_DATA, or `data` in the current folder."""
    return user_path(os.environ.get("BENCH_DATA") or "data")


def weights_root() -> Path:
    """Returns $BENCH_WEIGHTS, or `weights` in the current folder."""
    return user_path(os.environ.get("BENCH_WEIGHTS") or "weights")
