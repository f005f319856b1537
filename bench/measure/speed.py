"""What restoring a picture costs: latency, peak memory, multiply-adds."""

import contextlib
import copy
import ctypes
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.measure.memory import free_memory, peak_memory, reset_peak
from bench.method.contract import Method
from bench.method.faults import memory_is_short
from bench.method.restoring import restore
from bench.method.tiles import TILE, WHOLE
from bench.records.speed import Speed
from bench.study.size import parse_size

RUNS, SECONDS = 20, 2.0
"""Timed are so many runs at most, and no more once they have taken so long together; three at
least, or one alone of a picture that takes LONG."""
LONG = 10.0
SMALL, PROBE = 64, 256
"""Sides of the pictures that warm up, and that tell how much memory a larger one needs."""
FLOAT = 4  # bytes
SHARE = 0.5
"""Of the free memory that a picture may take in one piece."""


def measure_speed(method: Method, size: str, device: str) -> Speed:
    """Returns what one picture of a size costs on a device, "cpu" or "cuda".

    To be called in a process that has restored nothing, for the peak of the memory. One picture of
    random pixels in IEEE fp32. What does not fit in memory as a whole is restored in tiles, as
    everywhere here; what does not fit either, or fails, has `failed`, and no time.
    """
    width, height = parse_size(size)
    method.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    counted, why = multiply_adds(method, width, height)
    about = Speed(
        size=size,
        width=width,
        height=height,
        machine=platform.node(),
        device=device,
        hardware=hardware(device),
        torch=torch.__version__,
        parameters=parameters_used(method),
        multiply_adds=counted,
        not_counted=why,
    )
    try:
        found = _measured(method, width, height, device)
        memory = found["memory"] + FLOAT * about.parameters
        return about.model_copy(update={**found, "memory": memory})
    except Exception as error:
        if memory_is_short(error):
            told = "there is not enough memory"
        elif isinstance(error, BenchError):
            told = str(error)
        else:
            told = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        return about.model_copy(update={"failed": told})


def _measured(method: Method, width: int, height: int, device: str) -> dict[str, float | int]:
    """Returns scale, seconds, runs, memory beyond that of the loaded method, and tile."""
    small = _picture(method, min(SMALL, width), min(SMALL, height), device)
    scale = max(1, restore(method, small).shape[-1] // small.shape[-1])
    whole = _fits(method, width, height, scale, device)
    before = _reset(device)
    picture = _picture(method, width, height, device)
    try:
        first = _seconds(method, picture, device, whole)
    except Exception as error:
        if not (whole and method.halo is not None and memory_is_short(error)):
            raise
        whole, before = False, _reset(device)
        first = _seconds(method, picture, device, whole)
    memory = _peak(device) - before
    times = [] if first < LONG else [first]
    while first < LONG and (len(times) < 3 or (len(times) < RUNS and sum(times) < SECONDS)):
        times.append(_seconds(method, picture, device, whole))
    tiled = not whole and max(width, height) > WHOLE
    return {
        "scale": scale,
        "seconds": statistics.median(times),
        "runs": len(times),
        "memory": memory,
        "tile": (TILE + -TILE % method.stride) * tiled,
    }


def _fits(method: Method, width: int, height: int, scale: int, device: str) -> bool:
    """Whether the picture fits in memory in one piece, as a smaller one tells; on a GPU it is
    tried. Raises BenchError if it does not, and tiles would not help either."""
    if width * height <= 2 * PROBE**2 or device != "cpu":
        return True
    before = _reset(device)
    side = -(-PROBE // method.stride) * method.stride
    restore(method, _picture(method, side, side, device))
    times = width * height / side**2
    needed, free = (_peak(device) - before) * times, free_memory()
    made = 12 * width * height * (1 + scale**2)  # input and output, which stay as they are
    if needed < SHARE * free:
        return True
    if method.halo is None or made > SHARE * free:
        what = "it must see a picture whole" if method.halo is None else "tiles do not help"
        most = max(needed, made) if method.halo is None else made
        raise BenchError(
            f"needs about {most / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: {what}"
        )
    return False


def multiply_adds(method: Method, width: int, height: int) -> tuple[int | None, str]:
    """Returns the multiply-adds of a picture, FLOPs / 2 as torch counts them; or None and why.

    Counted on a copy without memory ("meta"), in one piece; sides are filled up to the method's
    stride. What torch does not count, such as interpolations and sums, is not in it.
    """
    if next(method.parameters(), None) is None:
        return None, "it has no parameters, and torch counts what modules multiply"
    sides = (side + -side % method.stride for side in (height, width))
    # not above: it loads Triton, which a sweep would pay for, and which complains as a process ends
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            copy.deepcopy(method).to("meta")(torch.empty(1, method.channels, *sides, device="meta"))
    except Exception as error:
        return None, f"it does not run without pixels ({type(error).__name__})"
    flops: int = counter.get_total_flops()
    return (flops // 2, "") if flops else (None, "nothing in it is of the kinds that torch counts")


def parameters_used(method: Method) -> int:
    """Returns how many parameters a picture depends on: a discriminator's are none of them.

    Found by the gradient of a picture without memory ("meta"); all, if it does not run so.
    """
    twin = copy.deepcopy(method).to("meta").requires_grad_()
    named = list(twin.parameters())
    side = SMALL + -SMALL % method.stride
    try:
        with torch.enable_grad():
            made = twin(torch.empty(1, method.channels, side, side, device="meta"))
            slopes = torch.autograd.grad(made.sum(), named, allow_unused=True)
    except Exception:
        slopes = tuple(named)
    return sum(p.numel() for p, slope in zip(named, slopes, strict=True) if slope is not None)


def hardware(device: str) -> str:
    """Returns the processor's name and the threads used, or the GPU's name."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.machine()])[0]}, {torch.get_num_threads()} threads"


def _picture(method: Method, width: int, height: int, device: str) -> Tensor:
    noise = torch.Generator().manual_seed(0)
    picture = torch.rand(1, method.channels, height, width, generator=noise).to(device)
    return picture.contiguous(memory_format=torch.channels_last)


def _seconds(method: Method, picture: Tensor, device: str, whole: bool) -> float:
    wait: Callable[[], None] = torch.cuda.synchronize if device != "cpu" else lambda: None
    wait()
    began = time.perf_counter()
    restore(method, picture, whole=max(picture.shape) if whole else WHOLE)
    wait()
    return time.perf_counter() - began


def _reset(device: str) -> int:
    """Forgets the peak; returns the bytes from which the next one is counted."""
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed
    return reset_peak()


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device != "cpu" else peak_memory()
