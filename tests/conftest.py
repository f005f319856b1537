"""Where real data lies, for tests marked `data`; such a test is skipped where it does not."""

import os
from pathlib import Path

import pytest


def _folder(variable: str) -> Path:
    if not (value := os.environ.get(variable)):
        pytest.skip(f"{variable} is not set")
    return Path(value)


@pytest.fixture
def data_root() -> Path:
    """Benchmark sets."""
    return _folder("BENCH_DATA")


@pytest.fixture
def weights_root() -> Path:
    """Published weights."""
    return _folder("BENCH_WEIGHTS")


@pytest.fixture
def reference_root(data_root: Path) -> Path:
    """Images whose scores were computed with the metrics' own authors' code."""
    folder = Path(os.environ.get("BENCH_REFERENCE") or data_root.parent / "reference")
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} (BENCH_REFERENCE)")
    return folder
