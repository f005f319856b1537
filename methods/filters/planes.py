"""Separable filters as sums of shifted planes, in strips that stay in a core's cache.

torch's convolution of a single channel takes 50 to 90 ns a pixel and pass on a CPU, a shifted sum
0.25 ns a tap. A plane of its own for each step would cost 6 ns a pixel, most of it for memory that
the system has to hand out anew, hence the strips.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data.filters import gaussian_taps

ROWS = 64
"""Of a strip: half a megabyte a plane, where pictures are 2000 pixels wide."""

LUMA = (0.299, 0.587, 0.114)
"""Full-range Y of BT.601: a step that R, G and B share is Y's, and neither Cb nor Cr sees it."""


def luma(rgb: Tensor) -> Tensor:
    """Returns Y `(N, 1, H, W)` in [0, 1] of RGB `(N, 3, H, W)` in [0, 1]."""
    red, green, blue = (rgb[:, c : c + 1].float() for c in range(3))
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).contiguous()


def gaussian(sigma: float) -> list[float]:
    """Returns a Gaussian's taps out to three sigma, of sum 1; of sigma 0 a single one.

    >>> [round(tap, 3) for tap in gaussian(0.5)], gaussian(0)
    ([0.107, 0.787, 0.107], [1.0])
    """
    reach = math.ceil(3 * sigma - 0.5)
    return list(map(float, gaussian_taps(2 * reach + 1, sigma))) if sigma else [1.0]


def along(plane: Tensor, taps: Sequence[float], axis: int) -> Tensor:
    """Returns a plane filtered along one axis, only where the taps fit into it."""
    size = plane.shape[axis] - len(taps) + 1
    filtered = plane.narrow(axis, 0, size) * taps[0]
    for k, tap in enumerate(taps[1:], 1):
        filtered.add_(plane.narrow(axis, k, size), alpha=tap)
    return filtered


def both_ways(plane: Tensor, taps: Sequence[float]) -> Tensor:
    """Returns a plane filtered along columns, then along rows, only where the taps fit."""
    return along(along(plane, taps, -2), taps, -1)


def extended(plane: Tensor, reach: int) -> Tensor:
    """Returns `(N, C, H + 2 reach, W + 2 reach)`: the border goes on outside the picture."""
    return F.pad(plane, (reach,) * 4, mode="replicate")


def inner(plane: Tensor, margin: int) -> Tensor:
    """Returns a view without `margin` pixels on each side."""
    height, width = plane.shape[-2:]
    return plane[..., margin : height - margin, margin : width - margin]


def strips(plane: Tensor, reach: int) -> Iterator[Tensor]:
    """Yields views of ROWS rows and `reach` more above and below; together they lack the first and
    the last `reach` rows."""
    for top in range(0, plane.shape[-2] - 2 * reach, ROWS):
        yield plane[..., top : top + ROWS + 2 * reach, :]


def in_strips(function: Callable[..., Tensor], reach: int, *planes: Tensor) -> Tensor:
    """Returns a local function of planes `(N, C, H, W)`, of their size, strip by strip.

    function: of views with `reach` more pixels on each side, which it takes off again.
    """
    views = zip(*(strips(extended(plane, reach), reach) for plane in planes), strict=True)
    return torch.cat([function(*view) for view in views], dim=-2)
