"""What a job finds in its process: put back before the next one, or the process has served."""

import contextlib
import ctypes
import gc
import hashlib
import importlib.machinery
import os
import pickle
import random
import signal
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from bench.measure.memory import reset_peak

MORE = 2**28
"""Bytes that a process may hold after a job beyond what it held after its first."""
OURS = Path(__file__).parents[2]
INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]

Setting = tuple[Callable[[], Any], Callable[[Any], object]]
"""What reads a setting of the process, and what writes it."""


class Surroundings:
    """All that a method may change in its process and that would decide what another one does.

    Made before the process's first job. A user's module is looked at when it has been loaded and
    before each job: its file, and what its names, its classes' and all below them hold. Not seen is
    what is changed in installed packages, in closures and caches of functions, and by C.
    """

    def __init__(self) -> None:
        self._settings = [(write, read()) for read, write in _settings()]
        self._modules: dict[str, tuple[object, ...]] = {}
        self._held = 0
        _when_loaded(self._look_at)
        gc.freeze()  # what is there now stays; to look for garbage in it takes 0.1 s

    def put_back(self) -> bool:
        """Makes the process as it was; returns whether that is possible."""
        for write, value in self._settings:
            write(value)
        held = _let_go()
        self._held = self._held or held
        return held <= self._held + MORE and not _rounds_to_zero()

    def as_loaded(self) -> bool:
        """Returns whether each user's module is as it was when it had been loaded, and its file."""
        return all(_state_of(sys.modules.get(n)) == state for n, state in self._modules.items())

    def _look_at(self, module: ModuleType) -> None:
        if _is_a_user_s(module):
            self._modules[module.__name__] = _state_of(module)


def _let_go() -> int:
    """Gives back what is not needed, on the card too; returns the bytes that stay resident."""
    torch.compiler.reset()  # what is compiled for one method too often is not compiled any more
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    with contextlib.suppress(AttributeError, OSError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    return reset_peak()


def _rounds_to_zero() -> bool:
    """Whether denormal numbers are flushed, which nothing tells, and threads begun then keep."""
    return float(torch.tensor(1e-310, dtype=torch.float64) / 2) == 0


# --- settings -----------------------------------------------------------------------------------


def _settings() -> Iterator[Setting]:
    yield from _settings_of_torch()
    yield np.geterr, lambda found: np.seterr(**found)
    yield np.random.get_state, np.random.set_state
    yield random.getstate, random.setstate
    yield lambda: dict(os.environ), _write_environment
    yield os.getcwd, os.chdir
    yield lambda: list(sys.path), lambda found: sys.path.__setitem__(slice(None), found)
    yield lambda: list(warnings.filters), _write_filters
    yield gc.isenabled, lambda on: gc.enable() if on else gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM):
        yield partial(signal.getsignal, number), partial(signal.signal, number)


def _settings_of_torch() -> Iterator[Setting]:
    # each card's generator takes the seed of the processor's, which may have gone on since
    yield torch.initial_seed, torch.manual_seed
    yield torch.get_rng_state, torch.set_rng_state
    yield torch.get_default_dtype, torch.set_default_dtype
    yield lambda: None, torch.set_default_device
    yield torch.is_grad_enabled, torch.set_grad_enabled
    yield torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly
    yield torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    for device in ("cpu", "cuda"):
        yield (
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
        )
        yield partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device)
    cudnn, mkldnn, cuda = torch.backends.cudnn, torch.backends.mkldnn, torch.backends.cuda
    for name in ("enabled", "benchmark", "benchmark_limit", "deterministic"):
        yield _attribute(cudnn, name)
    yield _attribute(mkldnn, "deterministic")
    for part in (cuda.matmul, cudnn, cudnn.conv, cudnn.rnn, mkldnn, mkldnn.conv, mkldnn.matmul):  # type: ignore[attr-defined]
        yield _attribute(part, "fp32_precision")
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        yield getattr(cuda, f"{kind}_sdp_enabled"), getattr(cuda, f"enable_{kind}_sdp")


def _attribute(holder: object, name: str) -> Setting:
    return lambda: getattr(holder, name), lambda found: setattr(holder, name, found)


def _write_environment(found: Mapping[str, str]) -> None:
    for name in os.environ.keys() - found.keys():
        del os.environ[name]
    os.environ.update(found)


def _write_filters(found: list[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = found  # type: ignore[index]


# --- a user's modules ---------------------------------------------------------------------------


def _when_loaded(look: Callable[[ModuleType], None]) -> None:
    """Has every module looked at that this process loads from now on, when it has been executed."""
    loader = importlib.machinery.SourceFileLoader
    execute = loader.exec_module

    def exec_module(self: importlib.machinery.SourceFileLoader, module: ModuleType) -> None:
        execute(self, module)
        look(module)

    loader.exec_module = exec_module  # type: ignore[method-assign, assignment]


def _is_a_user_s(module: ModuleType) -> bool:
    file = Path(module.__file__ or "")
    return not any(file.is_relative_to(folder) for folder in (OURS, *INSTALLED))


def _state_of(module: ModuleType | None) -> tuple[object, ...]:
    if module is None or module.__file__ is None:
        return ()
    try:
        status = os.stat(module.__file__)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, *_contents(module)


def _contents(holder: ModuleType | type) -> Iterator[object]:
    """A digest of each thing that a module has a name for, and that its classes have."""
    for name, value in list(vars(holder).items()):
        if name.startswith("__") or isinstance(value, ModuleType):
            continue  # submodules come when they are loaded
        yield name
        yield _digest(value)
        if isinstance(value, type) and isinstance(holder, ModuleType):
            yield from _contents(value)


def _digest(value: object) -> object:
    """Of a thing and all below it; of what cannot be written, such as a function, which one it is.

    What is written by its name, as a class is, is told apart by its identity as well.
    """
    try:
        return id(value), hashlib.blake2b(pickle.dumps(value), digest_size=16).digest()
    except Exception:  # whatever a thing may raise that is asked for its state
        return id(value)
