"""PSNR, SSIM and RMSE: how close SR is to HR."""

import math

import numpy as np

from bench.degrade import filter_valid, gaussian_taps
from bench.protocol import Image, Plane, Protocol, Unscorable, as_rgb, scored_y, shave

_TAPS = gaussian_taps(11, 1.5)


def psnr(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns RGB PSNR in dB; infinite for equal images."""
    return _decibel(_mean_square(*_rgb(sr, hr, rules, scale)))


def psnr_y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns PSNR of Y in dB, peak 255; infinite for equal images."""
    return _decibel(_mean_square(*_y(sr, hr, rules, scale)))


def rmse(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns the RGB root mean squared error in 8-bit levels."""
    return math.sqrt(_mean_square(*_rgb(sr, hr, rules, scale)))


def ssim(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns the mean of the three channels' SSIM."""
    restored, original = _rgb(sr, hr, rules, scale)
    return structural_similarity(np.moveaxis(restored, -1, 0), np.moveaxis(original, -1, 0))


def ssim_y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
    """Returns SSIM of Y."""
    return structural_similarity(*_y(sr, hr, rules, scale))


def structural_similarity(first: Plane, second: Plane) -> float:
    """Returns mean SSIM of planes (..., H, W), 0 to 255.

    11x11 Gaussian of sigma 1.5 where it fits into the image, population variance, K 0.01 and 0.03,
    no downsampling: ssim_index.m of Wang et al., IEEE TIP 2004. Raises Unscorable below 11 pixels.
    """
    if min(first.shape[-2:]) < len(_TAPS):
        raise Unscorable(f"SSIM needs {len(_TAPS)} pixels a side, got {first.shape[-2:]}")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    # the two variances are only used as a sum, so four filtered maps do instead of five
    maps = np.stack([first, second, first * first + second * second, 2 * first * second])
    mean1, mean2, squares, products = filter_valid(maps, _TAPS)
    mean_squares, mean_products = mean1 * mean1 + mean2 * mean2, 2 * mean1 * mean2
    similarity = (mean_products + c1) * (products - mean_products + c2)
    similarity /= (mean_squares + c1) * (squares - mean_squares + c2)
    return float(similarity.mean())


def _mean_square(first: Plane, second: Plane) -> float:
    return float(np.square(first - second).mean())


def _decibel(mean_square: float) -> float:
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf


def _rgb(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> tuple[Plane, Plane]:
    restored, original = _shaved(sr, hr, rules, scale)
    return as_rgb(restored).astype(np.float64), as_rgb(original).astype(np.float64)


def _y(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> tuple[Plane, Plane]:
    restored, original = _shaved(sr, hr, rules, scale)
    single = original.ndim == 2
    return scored_y(restored, rules, single=single), scored_y(original, rules, single=single)


def _shaved(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> tuple[Image, Image]:
    """Both images without the border. Another size is our mistake: load_pairs checks the files."""
    if hr is None or sr.shape[:2] != hr.shape[:2]:
        got = None if hr is None else hr.shape
        raise ValueError(f"SR {sr.shape} needs an HR of its size, got {got}")
    border = rules.border(scale)
    return shave(sr, border), shave(hr, border)
