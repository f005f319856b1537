"""Jobs that do something to the process they run in; each is a function of its name.

A module of its own, because a worker's process loads it.
"""

import gc
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.measure.memory import peak_memory, reset_peak
from bench.sweep.job import Last


@dataclass(frozen=True)
class Said(Last):
    """A job's last word: in which process it ran, and what it found."""

    pid: int
    found: Any = None
    clean: bool = True


@dataclass(frozen=True)
class Deed:
    """A job of the tests: a function of this module, and its arguments."""

    name: str
    arguments: tuple[Any, ...] = field(default=())


def run(job: Deed, threads: int) -> Iterator[Said]:
    found = globals()[job.name](*job.arguments)
    yield found if isinstance(found, Said) else Said(os.getpid(), found)


def nothing() -> None:
    """Leaves the process as it is."""


def fail() -> Said:
    return Said(os.getpid(), clean=False)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait() -> None:
    time.sleep(100)


def tell() -> dict[str, Any]:
    """What a method may change of its process, and other methods would feel."""
    return {
        "default dtype": str(torch.ones(1).dtype),
        "default device": str(torch.get_default_device()),
        "threads of torch": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "autocast's type": str(torch.get_autocast_dtype("cpu")),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "TF32 of matrix products": torch.backends.cuda.matmul.fp32_precision,
        "TF32 of convolutions": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "flash attention": torch.backends.cuda.flash_sdp_enabled(),
        "NumPy's errors": np.geterr()["over"],
        "environment": sorted(name for name in os.environ if name.startswith("A_METHOD")),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "warnings": len(warnings.filters),
        "collector": gc.isenabled(),
        "SIGINT": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "numbers of torch": torch.rand(2).tolist(),
        "numbers of NumPy": np.random.rand(2).tolist(),
        "numbers of Python": random.random(),
    }


def change() -> dict[str, Any]:
    """Changes all of that."""
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.autograd.set_detect_anomaly(True)
    torch.use_deterministic_algorithms(True)
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.enable_flash_sdp(False)
    np.seterr(over="raise")
    os.environ["A_METHOD_S"] = "1"
    os.chdir("/")
    sys.path.append("/elsewhere")
    warnings.simplefilter("always")
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    found = tell()
    torch.set_default_device("meta")
    return found | {"default device": str(torch.get_default_device())}


def use(module: str, deed: str = "") -> Any:
    """Loads a user's module, and does something with it."""
    names: dict[str, Any] = {}
    exec(f"import {module} as user\nfound = {deed or None}", names)
    return names["found"]


def keep(size: int) -> None:
    """Holds memory for as long as the process lives."""
    globals().setdefault("KEPT", []).append(np.ones(size, np.uint8))


def peak(size: int) -> int:
    """What `Cell.memory` is made of: the most that is resident during a job."""
    reset_peak()
    np.ones(size, np.uint8).sum()
    return peak_memory()


def flush() -> None:
    torch.set_flush_denormal(True)
