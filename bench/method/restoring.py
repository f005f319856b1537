"""From a trained method to a restored 8-bit picture."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.data.pairs import Pair
from bench.data.pixels import Image, Input, quantise
from bench.errors import Unscorable
from bench.method.contract import Method, to_tensor
from bench.method.precision import ieee_fp32
from bench.method.tiles import TILE, WHOLE, in_tiles


@torch.no_grad()
@ieee_fp32()
def restore(method: Method, lr: Tensor, tile: int = TILE, whole: int = WHOLE) -> Tensor:
    """Returns SR `(1, 3, scale*H, scale*W)`, fp32, not clamped, for `lr (1, C, H, W)` in [0, 1].

    A large image in tiles with the method's halo: the result is the same picture.
    """
    return in_tiles(method, lr, method.halo, tile, whole, method.stride)


def picture_of(method: Method, lr: Input, tile: int = TILE, whole: int = WHOLE) -> Image:
    """Returns SR (H, W, 3), uint8, clamped and rounded half up.

    Raises ValueError if the method makes no picture: values that are not finite, or no three
    channels, one of which would broadcast into a plausible score.
    """
    device = next((p.device for p in method.parameters()), torch.device("cpu"))
    sr = restore(method, to_tensor(lr, device), tile, whole)
    if sr.ndim != 4 or sr.shape[:2] != (1, 3):
        raise ValueError(f"{type(method).__name__} made {tuple(sr.shape)}, not (1, 3, H, W)")
    try:
        return quantise(sr)
    except Unscorable as error:
        raise ValueError(str(error)) from None


def restoring(method: Method) -> Callable[[Pair], tuple[Input, Image]]:
    """Returns what restores a benchmark's pairs: pair -> (LR, SR as 8 bits)."""

    def restored(pair: Pair) -> tuple[Input, Image]:
        lr = pair.lr()
        return lr, np.ascontiguousarray(picture_of(method, lr))

    return restored
