"""Separable filters and products that keep to one core: what resizing and metrics are made of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def gaussian_taps(size: int, sigma: float) -> NDArray[np.float64]:
    """Returns a Gaussian sampled at `size` points round its centre, of sum 1.

    Its outer product with itself is MATLAB's fspecial("gaussian", size, sigma).
    """
    taps = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    return np.asarray(taps / taps.sum())


def filter_valid(image: Floats, taps: NDArray[np.float64]) -> Floats:
    """Returns (..., H - n + 1, W - n + 1): both last axes filtered with n symmetric taps.

    Only where the filter fits into the image. Keeps float32. A strip of 16 outputs at a time is a
    small product with a banded matrix, which BLAS does faster than anything else in numpy.
    """
    strip, n = 16, len(taps)
    band = np.zeros((strip + n - 1, strip), image.dtype)
    for column in range(strip):
        band[column : column + n, column] = taps
    height, width = image.shape[-2] - n + 1, image.shape[-1] - n + 1
    rows = np.empty((*image.shape[:-2], height, image.shape[-1]), image.dtype)
    for i in range(0, height, strip):
        k = min(strip, height - i)
        matrix = band[: k + n - 1, :k].T
        multiply(matrix, image[..., i : i + k + n - 1, :], rows[..., i : i + k, :])
    filtered = np.empty((*image.shape[:-2], height, width), image.dtype)
    for i in range(0, width, strip):
        k = min(strip, width - i)
        matrix = band[: k + n - 1, :k]
        multiply(rows[..., i : i + k + n - 1], matrix, filtered[..., i : i + k])
    return filtered


def without_noise(values: Floats) -> Floats:
    """Returns filtered 8-bit levels with 0 for whatever is below 1e-10; changes them in place.

    A filter errs by 1e-13 where it is 0 by its definition, as the distance to the mean is in flat
    areas and ramps, and hardly ever comes near without being it. The signs of such errors depend on
    the order of summation, and whoever counts signs or takes ratios would count them.
    """
    values[np.abs(values) < 1e-10] = 0
    return values


def multiply(left: Floats, right: Floats, out: Floats) -> None:
    """Matrix product in pieces so small that OpenBLAS does each on one core.

    Its threads wait for each other by spinning: with another process on one of the cores, as in a
    sweep with several workers, a product on all cores takes ten times as long.
    """
    (m, k), n = left.shape[-2:], right.shape[-1]
    step = max(1, 2**18 // (k * min(m, n)))  # OpenBLAS shares out more than 2^18 multiplications
    for i in range(0, max(m, n), step):
        if m > n:
            np.matmul(left[..., i : i + step, :], right, out=out[..., i : i + step, :])
        else:
            np.matmul(left, right[..., i : i + step], out=out[..., i : i + step])
