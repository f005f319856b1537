"""SSIM and MS-SSIM of planes, a few rows at a time: what a few rows need stays in a core's cache.

The means, variances and covariance of x and y are taken from x + y and x - y. With the means p, m
and variances s, d of these two, SSIM's factors are

    luminance                1 - 2 m^2 / (p^2 + m^2 + 2 C1)
    contrast and structure   1 - 2 d / (s + d + 2 C2)

so two planes and their squares are filtered, and equal pictures have exactly 1.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bench.data.filters import gaussian_taps, multiply
from bench.data.pixels import Plane
from bench.errors import Unscorable

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's five scales, the finest first (Wang et al. 2003, section 3.2)."""
_STRIP = 8  # rows, or columns, of windows that one product with a banded matrix gives
_ROWS = 2 * _STRIP  # of windows that are worked on at a time

Sums = tuple[float, float, float]
"""Over some windows: of half of 1 - luminance, of half of 1 - structure, of the product of both."""
Maps = NDArray[np.float64]
Product = tuple[Maps, Maps, Maps]


def structural_similarity(first: Plane, second: Plane) -> float:
    """Returns mean SSIM of planes (..., H, W), 0 to 255.

    11x11 Gaussian of sigma 1.5 where it fits into the image, population variance, K 0.01 and 0.03,
    no downsampling: ssim_index.m of Wang et al., IEEE TIP 2004. Raises Unscorable below 11 pixels.
    """
    if min(first.shape[-2:]) < _WINDOW:
        height, width = first.shape[-2:]
        raise Unscorable(f"SSIM needs {_WINDOW} pixels a side, got {width}x{height}")
    return _similarity(first, second, gaussian_taps(_WINDOW, _SIGMA))[0]


def multi_scale_similarity(first: Plane, second: Plane, *, shrink: bool = False) -> float:
    """Returns MS-SSIM of planes (..., H, W), 0 to 255.

    Wang, Simoncelli and Bovik, Multi-scale Structural Similarity, Asilomar 2003: contrast and
    structure at five scales, luminance at the coarsest, 2x2 means in between (an odd last row or
    column is repeated). shrink: a window larger than the image is made smaller, with its sigma, as
    in the TensorFlow code that DPED uses. Raises Unscorable for images below 176 pixels a side
    without it, and where a scale is anticorrelated, which has no real fifth power.
    """
    height, width = first.shape[-2:]
    needed = _WINDOW * 2 ** (len(_SCALES) - 1)
    if min(height, width) < needed and not shrink:
        raise Unscorable(f"MS-SSIM needs {needed} pixels a side, got {width}x{height}")
    score = 1.0
    for k, exponent in enumerate(_SCALES):
        window = min(_WINDOW, *first.shape[-2:])
        both, structure = _similarity(
            first, second, gaussian_taps(window, _SIGMA * window / _WINDOW)
        )
        value = both if k == len(_SCALES) - 1 else structure
        if value < 0:
            raise Unscorable(f"MS-SSIM is not defined: scale {k + 1} is anticorrelated")
        score *= value**exponent
        first, second = _halve(first), _halve(second)
    return score


def _similarity(first: Plane, second: Plane, taps: Maps) -> tuple[float, float]:
    """(mean SSIM, mean of its contrast and structure part)."""
    firsts, seconds = (planes.reshape(-1, *planes.shape[-2:]) for planes in (first, second))
    sums = [_sums(x, y, taps) for x, y in zip(firsts, seconds, strict=True)]
    windows = math.prod(side - len(taps) + 1 for side in first.shape[-2:]) * len(firsts)
    darker, flatter, product = (math.fsum(column) / windows for column in zip(*sums, strict=True))
    return 1 - 2 * (darker + flatter - 2 * product), 1 - 2 * flatter


def _sums(first: Plane, second: Plane, taps: Maps) -> Sums:
    """Of all windows that fit into planes (H, W)."""
    reach = len(taps) - 1
    height, width = (side - reach for side in first.shape)
    sources, filters, filtered = _buffers(width, taps)
    sums = np.zeros(3)
    for top in range(0, height, _ROWS):
        rows = min(_ROWS, height - top)
        x, y = (plane[top : top + rows + reach] for plane in (first, second))
        plus, minus, *squares = sources[:, : rows + reach]
        np.add(x, y, out=plus)
        np.subtract(x, y, out=minus)
        np.square(plus, out=squares[0])
        np.square(minus, out=squares[1])
        for left, right, out in filters:
            multiply(left, right, out)
        sums += _sums_of(filtered, rows, width)
    darker, flatter, product = sums.tolist()
    return darker, flatter, product


def _sums_of(filtered: Maps, rows: int, width: int) -> Sums:
    """Of the windows in the first rows and columns of (4, H, W): x + y, x - y and their squares,
    filtered; works in place. All of it is taken, for parts of rows take twice as long."""
    means, variances = filtered[:2], filtered[2:]
    np.square(means, out=means)
    variances -= means
    filtered[::2] += filtered[1::2]
    filtered[0] += 2 * _C1
    filtered[2] += 2 * _C2
    filtered[1::2] /= filtered[::2]
    darker, flatter = filtered[1::2, :rows, :width]
    return darker.sum(), flatter.sum(), np.einsum("ij,ij", darker, flatter)


def _buffers(width: int, taps: Maps) -> tuple[Maps, list[Product], Maps]:
    """What _ROWS rows of windows are filtered in: four maps; the products (left, right, out) with
    a banded matrix that filter them downwards and across; and what comes out.

    The last columns of what comes out are of no meaning where `width` is no multiple of _STRIP.
    """
    n = len(taps)
    band = np.zeros((_STRIP + n - 1, _STRIP))
    for column in range(_STRIP):
        band[column : column + n, column] = taps
    wide = -(-width // _STRIP) * _STRIP
    sources = np.zeros((4, _ROWS + n - 1, width + n - 1))
    between = np.zeros((4, _ROWS, wide + n - 1))
    filtered = np.empty((4, _ROWS, wide))
    down = (
        band.T,
        sliding_window_view(sources, len(band), 1)[:, ::_STRIP].swapaxes(2, 3),
        between.reshape(4, -1, _STRIP, wide + n - 1)[..., : width + n - 1],
    )
    across = (
        sliding_window_view(between, len(band), 2)[:, :, ::_STRIP].swapaxes(1, 2),
        band,
        filtered.reshape(4, _ROWS, -1, _STRIP).swapaxes(1, 2),
    )
    return sources, [down, across], filtered


def _halve(planes: Plane) -> Plane:
    """Means of 2x2 pixels; an odd last row or column counts twice."""
    height, width = planes.shape[-2:]
    edges = [(0, 0)] * (planes.ndim - 2) + [(0, height % 2), (0, width % 2)]
    even = np.pad(planes, edges, mode="edge")
    rows = even[..., ::2, :] + even[..., 1::2, :]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) / 4)
