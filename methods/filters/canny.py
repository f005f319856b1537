"""Canny's edge detector: thin lines where the gradient is largest across them."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.filters.planes import along, both_ways, gaussian, in_strips, inner

_SMOOTH, _DIFFERENCE = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
_TAN = math.tan(math.pi / 8)


def canny(plane: Tensor, blur: float, low: float, high: float) -> Tensor:
    """Returns the edges of planes `(N, 1, H, W)`, a bool for each pixel.

    Canny, A Computational Approach to Edge Detection, IEEE TPAMI 1986, in the form that image
    libraries have: a Gaussian of `blur` pixels; Sobel's 3x3 gradient, not normalised, so that a
    step of h has 4 h; the largest of three along the nearest of four directions; where that is over
    `high`, and what is over `low` and touches an edge. The border goes on outside the picture.
    """
    taps = gaussian(blur)
    reach = len(taps) // 2 + 2  # of Sobel and of the comparison with the neighbours one each
    return _linked(in_strips(partial(_ridges, taps=taps, low=low, high=high), reach, plane))


def _ridges(plane: Tensor, taps: list[float], low: float, high: float) -> Tensor:
    """Where the gradient is larger than on either side: 2 over `high`, 1 over `low`, else 0."""
    smooth = both_ways(plane, taps)
    x = along(along(smooth, _SMOOTH, -2), _DIFFERENCE, -1)
    y = along(along(smooth, _DIFFERENCE, -2), _SMOOTH, -1)
    size = torch.addcmul(x * x, y, y).sqrt_()
    largest = _largest(size, inner(x, 1), inner(y, 1))
    middle = inner(size, 1)
    found = (largest & (middle > low)).to(torch.uint8)
    return found.add_(largest.logical_and_(middle > high))


def _largest(size: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Whether a gradient (x, y) is the largest of three along its direction.

    Of two equal ones the first is, but on a diagonal neither.
    """
    middle, wide, high = inner(size, 1), x.abs(), y.abs()
    flat, steep = high < _TAN * wide, wide < _TAN * high
    falling = (x * y).ge_(0).bool()  # where x is 0, it is steep
    right = (middle > _at(size, 0, -1)).logical_and_(middle >= _at(size, 0, 1))
    down = (middle > _at(size, -1, 0)).logical_and_(middle >= _at(size, 1, 0))
    one = middle > torch.maximum(_at(size, -1, -1), _at(size, 1, 1))
    other = middle > torch.maximum(_at(size, -1, 1), _at(size, 1, -1))
    diagonal = (one & falling) | (other & ~falling)
    return (right & flat) | (down & steep) | (diagonal & ~(flat | steep))


def _at(plane: Tensor, row: int, column: int) -> Tensor:
    """Each pixel's neighbour, of all pixels but the outermost."""
    height, width = plane.shape[-2:]
    return plane[..., 1 + row : height - 1 + row, 1 + column : width - 1 + column]


def _linked(ridges: Tensor) -> Tensor:
    """What is 2, and what is 1 and linked to it: a front of edges moves along the lines."""
    frame = F.pad(ridges, (1, 1, 1, 1))  # so that no line runs from one picture into another
    edges, waiting = (frame == 2).flatten(), (frame == 1).flatten()
    width = frame.shape[-1]
    around = [row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
    steps = torch.tensor(around, device=frame.device)
    front = edges.nonzero()[:, 0]
    while len(front):
        near = (front[:, None] + steps).flatten()
        front = torch.unique(near[waiting[near]])
        waiting[front], edges[front] = False, True
    return inner(edges.view_as(frame), 1)
