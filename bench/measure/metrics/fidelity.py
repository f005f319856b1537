"""PSNR, SSIM, MS-SSIM, RMSE and RTS's difference: how close SR is to HR."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.data.pixels import Image, Plane, shave
from bench.measure.metrics.ssim import multi_scale_similarity, structural_similarity
from bench.measure.protocol import Protocol, scored_planes, scored_y

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


def _mean_square(first: Plane, second: Plane) -> float:
    off = first - second
    return float(np.square(off, out=off).mean())


def _decibel(mean_square: float) -> float:
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf


def _planes(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> Compared:
    return _compared(sr, hr, rules, scale, scored_planes)


def _y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> Compared:
    """The last pair is remembered, for a table asks for SSIM after PSNR."""
    last = _LAST.get("y")
    if hr is None or last is None or not last.is_of(sr, hr, (rules, scale)):
        planes = _compared(sr, hr, rules, scale, scored_y)
        assert hr is not None
        last = _LAST["y"] = _Pair(sr.copy(), hr.copy(), (rules, scale), planes)
    return last.planes


class _Pair(NamedTuple):
    """Two pictures, and what counts of them."""

    sr: Image
    hr: Image
    how: tuple[Protocol, int]
    planes: Compared

    def is_of(self, sr: Image, hr: Image, how: tuple[Protocol, int]) -> bool:
        return self.how == how and np.array_equal(self.sr, sr) and np.array_equal(self.hr, hr)


_LAST: dict[str, _Pair] = {}


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
