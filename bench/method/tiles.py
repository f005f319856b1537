"""Large images are computed in tiles, so that memory does not grow with them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 256  # pixels: one forward of a tile fits in a few hundred MB for the usual networks
WHOLE = 400  # images up to this many pixels a side are computed in one piece


def in_tiles(
    function: Callable[[Tensor], Tensor],
    image: Tensor,
    halo: int | None,
    tile: int = TILE,
    whole: int = WHOLE,
    stride: int = 1,
) -> Tensor:
    """Returns `function(image)` as fp32, of images `(N, C, H, W)` to `(N, C', s*H, s*W)`.

    An image over `whole` pixels a side is computed in tiles of `tile` pixels, each with `halo` more
    pixels of context on every side, which are cut off afterwards: no seam where the halo covers the
    receptive field. halo None: never, the function must see the whole image.

    stride: the function takes sizes that are multiples of it. An image of another size is filled up
    by repeating its edge, tile and halo are rounded up, and what was made of the rest is cut off.
    """
    height, width = image.shape[-2:]
    rest = -height % stride, -width % stride
    if any(rest):
        filled = F.pad(image, (0, rest[1], 0, rest[0]), mode="replicate")
        made = in_tiles(function, filled, halo, tile, whole, stride)
        scale = made.shape[-1] // filled.shape[-1]
        return made[..., : height * scale, : width * scale]
    if halo is None or max(height, width) <= whole:
        return function(image).float()
    tile, halo = tile + -tile % stride, halo + -halo % stride  # so that all tiles keep the grid
    result: Tensor | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            part, (y, x, scale) = _one_tile(function, image, (top, left), tile, halo)
            if result is None:
                result = part.new_empty(*part.shape[:2], height * scale, width * scale)
            result[..., y : y + part.shape[2], x : x + part.shape[3]] = part
    assert result is not None
    return result


def _one_tile(
    function: Callable[[Tensor], Tensor],
    image: Tensor,
    corner: tuple[int, int],
    tile: int,
    halo: int,
) -> tuple[Tensor, tuple[int, int, int]]:
    """Returns a tile's result without its halo, and where it belongs: (y, x, scale)."""
    (height, width), (top, left) = image.shape[-2:], corner
    y0, x0 = max(0, top - halo), max(0, left - halo)
    bottom, right = min(height, top + tile), min(width, left + tile)
    window = image[..., y0 : min(height, bottom + halo), x0 : min(width, right + halo)]
    part = function(window.contiguous(memory_format=torch.channels_last)).float()
    scale = part.shape[-1] // window.shape[-1]
    part = part[
        ...,
        (top - y0) * scale : (bottom - y0) * scale,
        (left - x0) * scale : (right - x0) * scale,
    ]
    return part, (top * scale, left * scale, scale)
