"""What goes wrong in a method, which may be the user's own, said in one message."""

import inspect
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError, NoPicture, disk_is_full
from bench.method.contract import Method

_BENCH = Path(__file__).parents[1]
_INSTALLED = tuple(sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib"))


@contextmanager
def faults_told(method: Method, scale: int | None) -> Iterator[None]:
    """Holds what a method makes meanwhile to its contract.

    scale: of its pictures; None: any. Raises NoPicture, which names the method, for what is no
    picture of that scale, for want of memory, and for an exception in its code, with the place. A
    GPU that is lost and a full disk are no fault of the method: their errors pass.
    """

    def check(module: Any, given: tuple[Tensor], made: object) -> None:
        if wrong := _wrong(given[0], made, scale):
            raise ValueError(wrong)

    hook = method.register_forward_hook(check)
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        told = None if gpu_is_lost(error) or disk_is_full(error) else _told(method, error)
        if told is None:
            raise
        raise NoPicture(f"{_name(type(method))}: {told}") from error
    finally:
        hook.remove()


def gpu_is_lost(error: Exception) -> bool:
    """Whether an error is the GPU's or its driver's: after it the process can compute no more.

    Memory that does not suffice is no such error: it would not suffice the next time either.
    """
    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return False
    words = ("CUDA error", "cuDNN error", "NCCL error", "device-side assert")
    return isinstance(error, torch.AcceleratorError) or any(w in str(error) for w in words)


def memory_is_short(error: Exception) -> bool:
    """Whether an error says that memory, of whichever device, does not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # a CPU's allocator has no class of its own
    return isinstance(error, RuntimeError) and "memory: you tried to allocate" in str(error)


def _wrong(lr: Tensor, sr: object, scale: int | None) -> str | None:
    """What keeps that which `forward` has made from being a picture."""
    if not isinstance(sr, Tensor):
        return f"forward returned {_name(type(sr))}, not a tensor"
    if not sr.is_floating_point():
        return f"forward returned {sr.dtype}, not floats in [0, 1]"
    count, _, height, width = lr.shape
    times = scale or max(1, sr.shape[-1] // width if sr.ndim else 0)
    wanted = (count, 3, times * height, times * width)
    if sr.shape != wanted:
        return f"forward made {tuple(sr.shape)} of {tuple(lr.shape)}, not {wanted}"
    return None


def _told(method: Method, error: Exception) -> str | None:
    """What to say of an error; None if it is neither the method's nor ours to explain."""
    text = next(iter(str(error).splitlines()), "")
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if memory_is_short(error):
        return f"there is not enough memory ({said}). {_less(method)}"
    if place := place_of(method, error):
        return f"{place}: {said}"
    return text if isinstance(error, ValueError) else None  # raised here, of what it made


def _less(method: Method) -> str:
    if method.halo is None:
        return "It must see a picture as a whole (halo is None), so smaller ones alone help"
    return "Smaller tiles need less: `bench restore` has --tile"


def place_of(method: Method, error: Exception) -> str | None:
    """Returns the last line of a method's own code, or of what it imports, on the way to an error;
    None if the way led through bench and installed packages alone."""
    try:
        own = inspect.getfile(type(method))
    except (OSError, TypeError):  # of a class that was made without a file
        own = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        ours = Path(frame.filename).is_relative_to(_BENCH)
        if frame.filename == own or not (ours or frame.filename.startswith(("<", *_INSTALLED))):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"
