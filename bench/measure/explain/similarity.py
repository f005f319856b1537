"""SSIM as different programs compute it, of two planes inside several borders at once."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.filters import filter_valid, gaussian_taps
from bench.measure.metrics.ssim import structural_similarity

Plane = NDArray[np.floating[Any]]
"""(H, W), 0 to 255; float32 where all values are whole."""
Compared = tuple[Plane, Plane]
"""IMAGE's plane and REFERENCE's."""

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
GAUSSIAN, _UNIFORM = gaussian_taps(11, 1.5), np.full(7, 1 / 7)
SKIMAGE = "skimage default (7x7 uniform)"
SAMPLE = "skimage Gaussian, sample cov."
ZEROS = "zero-padded (pytorch-ssim)"
EDGES = "edge-padded (MATLAB's ssim)"
SHRUNK = "ssim.m, which shrinks first"
STRIP = 64
"""Rows worked on at a time, so that they stay in the processor's cache."""


def inside(plane: Plane, border: int) -> Plane:
    height, width = plane.shape
    return plane[border : height - border, border : width - border]


def similarities(
    planes: Compared, borders: Sequence[int], variants: Sequence[str]
) -> dict[str, list[float]]:
    """Variant -> SSIM inside each border, the usual one under ""."""
    # n / (n - 1) for windows of n pixels: variances of a sample
    usual, sample = maps_of(*planes, GAUSSIAN, 1, 121 / 120)
    whole = {"": usual}
    if SAMPLE in variants:
        whole[SAMPLE] = sample
    if SKIMAGE in variants:
        whole[SKIMAGE] = maps_of(*planes, _UNIFORM, 49 / 48)[0]
    found: dict[str, list[float]] = {name: [] for name in ("", *variants)}
    for border in borders:
        first, second, inner = (inside(plane, border) for plane in (*planes, usual))
        for variant, values in found.items():
            if variant in whole:  # where nothing is padded, a part of the whole map
                values.append(float(inside(whole[variant], border).mean()))
            elif variant == SHRUNK:
                values.append(_shrunk(first, second))
            else:
                values.append(_padded(first, second, inner, zeros=variant == ZEROS))
    return found


def maps_of(
    first: Plane, second: Plane, taps: NDArray[np.float64], *corrections: float
) -> list[Plane]:
    """SSIM of every window that fits, for each factor that variances are to be corrected by."""
    height, width = (side - len(taps) + 1 for side in first.shape)
    maps = [np.empty((height, width)) for _ in corrections]
    for i in range(0, height, STRIP):
        rows = slice(i, i + STRIP + len(taps) - 1)
        a, b = first[rows].astype(np.float64), second[rows].astype(np.float64)
        mean1, mean2, squares, products = filter_valid(
            np.stack([a, b, a * a + b * b, 2 * a * b]), taps
        )
        mean_squares, mean_products = mean1 * mean1 + mean2 * mean2, 2 * mean1 * mean2
        luminance = (mean_products + _C1) / (mean_squares + _C1)
        for map_, factor in zip(maps, corrections, strict=True):
            structure = factor * (products - mean_products) + _C2
            structure /= factor * (squares - mean_squares) + _C2
            map_[i : i + STRIP] = luminance * structure
    return maps


def _padded(first: Plane, second: Plane, inner: Plane, *, zeros: bool) -> float:
    """SSIM of a window round every pixel. inner: the map where the windows fit.

    Padding, with zeros or the edge's values, changes only a frame of 5 pixels; four strips give it.
    """
    p, near = len(GAUSSIAN) // 2, len(GAUSSIAN) - 1
    strips = (
        (np.s_[:near, :], ((p, 0), (p, p))),
        (np.s_[-near:, :], ((0, p), (p, p))),
        (np.s_[:, :near], ((0, 0), (p, 0))),
        (np.s_[:, -near:], ((0, 0), (0, p))),
    )
    total = inner.sum()
    for part, edges in strips:
        padded = [np.pad(x[part], edges, "constant" if zeros else "edge") for x in (first, second)]
        total += maps_of(padded[0], padded[1], GAUSSIAN, 1)[0].sum()
    return float(total) / first.size


def _shrunk(first: Plane, second: Plane) -> float:
    """SSIM after ssim.m's automatic downsampling: means of f x f pixels, f = round(side / 256)."""
    factor = max(1, math.floor(min(first.shape) / 256 + 0.5))
    return structural_similarity(_block_means(first, factor), _block_means(second, factor))


def _block_means(plane: Plane, factor: int) -> NDArray[np.float64]:
    """Every factor-th output of MATLAB's imfilter with a box, the border mirrored."""
    edges = ((factor - 1) // 2, factor // 2)
    wide = np.pad(plane.astype(np.float64), (edges, edges), "symmetric")
    height, width = (-(-side // factor) for side in plane.shape)
    rows = wide[: height * factor].reshape(height, factor, -1).sum(axis=1)
    blocks = rows[:, : width * factor].reshape(height, width, factor).sum(axis=2)
    return np.asarray(blocks / factor**2)
