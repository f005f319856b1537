"""Fixtures that several tests share.

Real data, for tests marked `data`, is skipped where it does not lie; small made-up sets, a home
below tmp_path and importable modules of the test's own serve everything else.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from bench.data.degrade import imresize
from bench.data.images import write_image
from bench.records import digest

# A suite started in the background of a shell ignores Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small only wait for each other on several cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def bench_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all that bench writes goes: below tmp_path."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BENCH_HOME", str(folder))
    return folder


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    """A picture that a network can learn something from: noise, enlarged four times."""
    shape = (-(-height // 4), -(-width // 4), 3)
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return imresize(noise, 4)[:height, :width]


SMALL_SETS = {
    "Set5": {"baby": (32, 40), "bird": (36, 28)},
    "Set14": {"comic": (34, 26)},
    "BSD100": {"101085": (24, 30), "101087": (30, 24)},
}
"""Folder -> stem -> (height, width)."""


@pytest.fixture
def small_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets called set5, set14 and bsd100, of a few small pictures without LR files; no weights."""
    root = tmp_path / "data"
    for folder, sizes in SMALL_SETS.items():
        for seed, (stem, (height, width)) in enumerate(sizes.items()):
            write_image(root / folder / "HR" / f"{stem}.png", smooth(height, width, seed))
    monkeypatch.setenv("BENCH_DATA", str(root))
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "no-weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-home"))
    return root


MakeModule = Callable[..., ModuleType]


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeModule]:
    """A function (source, name) that writes a module, or writes it anew, and imports it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: set[str] = set()

    def make(source: str, name: str = "own_method") -> ModuleType:
        (folder / f"{name}.py").write_text(source)
        made.add(name)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        digest.forget_code()
        return importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)
    digest.forget_code()
