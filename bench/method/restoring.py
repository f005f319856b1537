"""From a trained method to a restored 8-bit picture."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bench.data.images import LARGEST
from bench.data.pairs import Pair
from bench.data.pixels import Image, Input, quantise
from bench.errors import Unscorable
from bench.method.contract import Method, to_tensor
from bench.method.faults import faults_told
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


def bands_of(method: Method, lr: Input, tile: int = TILE, whole: int = WHOLE) -> Iterator[Image]:
    """Yields the bytes of `picture_of` from the top, a row of tiles at a time.

    In memory are the floats of one tile alone: a picture in floats takes 80 bytes a pixel while it
    is rounded. The digest of `picture_of` stands for these pictures too. Raises ValueError as it
    does, and for a picture that is too large to be read again.
    """
    if method.halo is None or max(n + -n % method.stride for n in lr.shape[:2]) <= whole:
        yield np.ascontiguousarray(picture_of(method, lr, tile, whole))
        return
    tile += -tile % method.stride
    for top in range(0, lr.shape[0], tile):
        tiles = [_tile_of(method, lr, (top, left), tile) for left in range(0, lr.shape[1], tile)]
        yield np.concatenate(tiles, axis=1)


def _tile_of(method: Method, lr: Input, corner: tuple[int, int], tile: int) -> Image:
    """SR of one tile, made with its halo and cut out."""
    assert method.halo is not None
    halo = method.halo + -method.halo % method.stride  # all windows keep the grid of the stride
    top, left = corner
    y, x = max(0, top - halo), max(0, left - halo)
    window = lr[y : top + tile + halo, x : left + tile + halo]
    made = picture_of(method, window, whole=tile + 2 * halo)
    scale = made.shape[1] // window.shape[1]
    _check_size(scale * lr.shape[0], scale * lr.shape[1])
    return made[scale * (top - y) :, scale * (left - x) :][: scale * tile, : scale * tile]


def _check_size(height: int, width: int) -> None:
    if height * width > LARGEST:
        raise ValueError(
            f"the restored picture would have {width}x{height} pixels, more than the "
            f"{LARGEST // 10**6} million that can be read again"
        )


def scale_of(method: Method) -> int | None:
    """Returns the scale of a method's pictures; None if that shows only when it makes one."""
    known: int | None = method.hyperparameters.get("scale")
    return 1 if known is None and method.task != "super-resolution" else known


def restoring(method: Method, by: Method | None = None) -> Callable[[Pair], tuple[Input, Image]]:
    """Returns what restores a benchmark's pairs: pair -> (LR, SR as 8 bits).

    by: what asks the method for its pictures, such as a SelfEnsemble; None: nothing between. It
    raises NoPicture if the method is at fault.
    """

    def restored(pair: Pair) -> tuple[Input, Image]:
        lr = pair.lr()
        with faults_told(method, pair.scale):
            return lr, np.concatenate(list(bands_of(by or method, lr)))

    return restored
