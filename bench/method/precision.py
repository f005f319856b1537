"""What fp32 means: on a GPU, and amid a caller's own settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def ieee_fp32() -> Iterator[None]:
    """Makes a GPU multiply fp32 numbers as IEEE 754 has them, in convolutions too.

    cuDNN's default is TF32, with 10 bits of mantissa: figures made so differ in the third decimal
    from those of a CPU.
    """
    backends: tuple[Any, ...] = (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
    )
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def fp32_throughout(device: str) -> Iterator[None]:
    """As ieee_fp32, and whatever surrounds it: no autocast on the device, fp32 as default dtype."""
    before = torch.get_default_dtype()
    with ieee_fp32(), torch.autocast(torch.device(device).type, enabled=False):
        try:
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(before)
