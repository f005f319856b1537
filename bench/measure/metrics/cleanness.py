"""How clean SR is where the original is smooth, and how sharp where the original has edges.

Both look at full-range gray, 0 to 255, and are bench's own: they put into numbers what the CAS-GAN
paper shows in pictures ("smooth areas", "sharp edges"). Each is blind to what the other measures.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.data.filters import Floats, filter_valid, gaussian_taps
from bench.data.pixels import Image, Plane, gray, shave
from bench.errors import Unscorable
from bench.measure.protocol import Protocol

SMOOTH = 2.0
"""Levels a pixel: the original's gradient, blurred by 1.5 pixels, stays below it in a smooth area,
and so it does 6 pixels round. White noise of 10 levels leaves 1 of it."""
EDGE = 15.0
"""Levels a pixel: the original's gradient, blurred by 1 pixel, is above it at an edge."""
FEWEST = 200
"""Pixels; of fewer nothing is said."""

_REACH = 6
_BLUR = gaussian_taps(2 * _REACH + 1, 2.0)
_TAN = math.tan(math.pi / 8)

Mask = NDArray[np.bool_]


def smooth_noise(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns the noise of SR in the original's smooth areas, in 8-bit levels.

    The root mean square of SR less its Gaussian blur of 2 pixels, over the pixels that SMOOTH
    describes, divided by what is left so of white noise: white noise of s levels on a smooth
    original gives s. Raises Unscorable where fewer than FEWEST pixels are smooth.
    """
    restored, original = _planes(sr, hr, rules, scale)
    smooth = _smooth(original)
    if smooth.sum() < FEWEST:
        raise Unscorable(f"fewer than {FEWEST} pixels of the original are smooth")
    detail = _inner(restored, _REACH) - filter_valid(restored, _BLUR)
    return float(np.sqrt(np.square(detail[smooth]).mean())) / _gain()


def edge_sharpness(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns how steep SR is across the original's edges: 1 as steep as the original, 0 flat.

    At the pixels where the original's gradient is above EDGE and largest across itself: SR's slope
    in the direction of that gradient, by central differences, as a share of the original's, the
    mean of one over the mean of the other. It is linear in SR, so that noise cancels out. Raises
    Unscorable where fewer than FEWEST pixels are edges.
    """
    restored, original = _planes(sr, hr, rules, scale)
    edges, x, y = _edges(original)
    if edges.sum() < FEWEST:
        raise Unscorable(f"fewer than {FEWEST} pixels of the original are edges")
    margin = (original.shape[0] - edges.shape[0]) // 2
    found, wanted = (_slopes(_inner(plane, margin - 1)) for plane in (restored, original))
    steep, whole = (float((dx * x + dy * y)[edges].sum()) for dx, dy in (found, wanted))
    return steep / whole


def _planes(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> tuple[Plane, Plane]:
    """The gray of both without the protocol's border."""
    if hr is None or sr.shape[:2] != hr.shape[:2]:
        raise ValueError(f"SR {sr.shape} needs an HR of its size")
    if min(hr.shape[:2]) <= 2 * (rules.border(scale) + _REACH + 2):
        raise Unscorable(f"{hr.shape[1]}x{hr.shape[0]} pixels are too few")
    restored, original = (gray(shave(image, rules.border(scale))) for image in (sr, hr))
    return restored, original


def _smooth(original: Plane) -> Mask:
    """Which pixels, of all but the outermost _REACH, lie in smooth areas."""
    taps = gaussian_taps(9, 1.5)
    edged = np.pad(original, len(taps) // 2 + 1, mode="edge")
    x, y = _slopes(filter_valid(edged, taps))
    steep = (_size(x, y) >= SMOOTH).astype(np.float32)
    return np.asarray(filter_valid(steep, np.ones(2 * _REACH + 1)) == 0)


def _edges(original: Plane) -> tuple[Mask, Plane, Plane]:
    """Which pixels of the inner ones are edges, and the gradient's direction there, of length 1."""
    x, y = _slopes(filter_valid(original, gaussian_taps(7, 1.0)))
    size = _size(x, y)
    largest = _largest(size, _inner(x, 1), _inner(y, 1))
    x, y, size = _inner(x, 1), _inner(y, 1), _inner(size, 1)
    length = np.maximum(size, 1e-9)
    return largest & (size > EDGE), x / length, y / length


def _size(x: Plane, y: Plane) -> Plane:
    """The gradient's, without rounding errors: steps have equal peaks, ramps lie on thresholds."""
    return np.asarray(np.round(np.hypot(x, y), 9))


def _largest(size: Plane, x: Plane, y: Plane) -> Mask:
    """Where a gradient is the largest of three along the nearest of four directions."""
    wide, high = np.abs(x), np.abs(y)
    flat, steep = high < _TAN * wide, wide < _TAN * high
    rising = x * y < 0
    before, after = _at(size, -1, -1), _at(size, 1, 1)
    for chosen, (row, column) in ((rising, (-1, 1)), (flat, (0, -1)), (steep, (-1, 0))):
        before = np.where(chosen, _at(size, row, column), before)
        after = np.where(chosen, _at(size, -row, -column), after)
    middle = _inner(size, 1)
    return np.asarray((middle > before) & (middle >= after))


def _slopes(plane: Floats) -> tuple[Plane, Plane]:
    """Central differences to the right and downwards, of all but the outermost pixels."""
    return (_at(plane, 0, 1) - _at(plane, 0, -1)) / 2, (_at(plane, 1, 0) - _at(plane, -1, 0)) / 2


def _at(plane: Floats, row: int, column: int) -> Plane:
    """Each pixel's neighbour, of all but the outermost."""
    height, width = plane.shape
    return np.asarray(plane, np.float64)[
        1 + row : height - 1 + row, 1 + column : width - 1 + column
    ]


def _inner(plane: Plane, margin: int) -> Plane:
    height, width = plane.shape
    return plane[margin : height - margin, margin : width - margin]


@cache
def _gain() -> float:
    """The deviation of white noise of deviation 1 less its blur."""
    centre, squares = float(_BLUR[_REACH] ** 2), float(np.square(_BLUR).sum() ** 2)
    return math.sqrt(1 - 2 * centre + squares)
