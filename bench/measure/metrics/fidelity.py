"""PSNR, SSIM, MS-SSIM, RMSE and RTS's difference: how close SR is to HR."""

import math
from collections.abc import Callable

import numpy as np

from bench.data.filters import filter_valid, gaussian_taps
from bench.data.pixels import Image, Plane, shave
from bench.errors import Unscorable
from bench.measure.protocol import Protocol, scored_planes, scored_y

_WINDOW, _SIGMA = 11, 1.5
_TAPS = gaussian_taps(_WINDOW, _SIGMA)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's five scales, the finest first (Wang et al. 2003, section 3.2)."""

Compared = tuple[Plane, Plane]


def psnr(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns PSNR in dB, peak 255; infinite for equal images."""
    return _decibel(_mean_square(*_planes(sr, hr, rules, scale)))


def psnr_y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns PSNR of Y in dB, peak 255; infinite for equal images."""
    return _decibel(_mean_square(*_y(sr, hr, rules, scale)))


def rmse(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns the root mean squared error in 8-bit levels."""
    return math.sqrt(_mean_square(*_planes(sr, hr, rules, scale)))


def difference(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns the mean absolute difference in percent of the full range of 255 levels."""
    restored, original = _planes(sr, hr, rules, scale)
    return float(np.abs(restored - original).mean()) * 100 / 255


def ssim(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns the mean of the channels' SSIM."""
    return structural_similarity(*_planes(sr, hr, rules, scale))


def ssim_y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns SSIM of Y."""
    return structural_similarity(*_y(sr, hr, rules, scale))


def ms_ssim(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns multi-scale SSIM; of several channels, each scale's mean over them."""
    restored, original = _planes(sr, hr, rules, scale)
    return multi_scale_similarity(restored, original, shrink=rules.small_windows)


def structural_similarity(first: Plane, second: Plane) -> float:
    """Returns mean SSIM of planes (..., H, W), 0 to 255.

    11x11 Gaussian of sigma 1.5 where it fits into the image, population variance, K 0.01 and 0.03,
    no downsampling: ssim_index.m of Wang et al., IEEE TIP 2004. Raises Unscorable below 11 pixels.
    """
    if min(first.shape[-2:]) < _WINDOW:
        height, width = first.shape[-2:]
        raise Unscorable(f"SSIM needs {_WINDOW} pixels a side, got {width}x{height}")
    return _similarity(first, second, _TAPS)[0]


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


def _similarity(first: Plane, second: Plane, taps: Plane) -> tuple[float, float]:
    """(mean SSIM, mean of its contrast and structure part)."""
    # the two variances are only used as a sum, so four filtered maps do instead of five
    maps = np.stack([first, second, first * first + second * second, 2 * first * second])
    mean1, mean2, squares, products = filter_valid(maps, taps)
    mean_squares, mean_products = mean1 * mean1 + mean2 * mean2, 2 * mean1 * mean2
    structure = products - mean_products + _C2
    structure /= squares - mean_squares + _C2
    mean_products += _C1
    mean_products /= mean_squares + _C1  # luminance
    both = np.vdot(mean_products, structure) / structure.size
    return float(both), float(structure.mean())


def _halve(planes: Plane) -> Plane:
    """Means of 2x2 pixels; an odd last row or column counts twice."""
    height, width = planes.shape[-2:]
    edges = [(0, 0)] * (planes.ndim - 2) + [(0, height % 2), (0, width % 2)]
    even = np.pad(planes, edges, mode="edge")
    rows = even[..., ::2, :] + even[..., 1::2, :]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) / 4)


def _mean_square(first: Plane, second: Plane) -> float:
    return float(np.square(first - second).mean())


def _decibel(mean_square: float) -> float:
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf


def _planes(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> Compared:
    return _compared(sr, hr, rules, scale, scored_planes)


def _y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> Compared:
    return _compared(sr, hr, rules, scale, scored_y)


def _compared(
    sr: Image, hr: Image | None, rules: Protocol, scale: int, scored: Callable[..., Plane]
) -> Compared:
    """What counts of both images. Another size is our mistake: whoever pairs files checks them."""
    if hr is None or sr.shape[:2] != hr.shape[:2]:
        got = None if hr is None else hr.shape
        raise ValueError(f"SR {sr.shape} needs an HR of its size, got {got}")
    border, single = rules.border(scale), hr.ndim == 2
    restored, original = (scored(shave(i, border), rules, single=single) for i in (sr, hr))
    return restored, original
