"""NIQE: how far an image's local statistics lie from those of pristine photographs.

Mittal, Soundararajan and Bovik, Making a Completely Blind Image Quality Analyzer, IEEE Signal
Processing Letters 2013, with the parameters of the authors' release (not those of MATLAB's niqe).
They are tables/niqe_pristine.csv, to the last bit; their notice lies beside it.

Half of the features count signs. In flat windows the release counts those of its rounding errors,
which no other program can repeat; a coefficient there is 0 here and has no sign. So the value is
the same on every machine, and within 0.6 % of the release's on the five pictures with known ones.
"""

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.data.degrade import imresize_float
from bench.data.filters import filter_valid, gaussian_taps, without_noise
from bench.data.pixels import Image, Plane, gray, luma, shave, whole_levels
from bench.errors import Unscorable
from bench.measure.protocol import Protocol

if TYPE_CHECKING:
    from bench.measure.metrics import Scorer

Floats = NDArray[np.floating[Any]]

_BLOCK = 96
_TAPS = gaussian_taps(7, 7 / 6)
_SHAPES = np.arange(0.2, 10.0005, 0.001)


@cache
def pristine() -> tuple[Floats, Floats]:
    """Returns mean (36,) and covariance (36, 36) of the features of pristine photographs."""
    table = np.loadtxt(Path(__file__).parent / "tables/niqe_pristine.csv", delimiter=",")
    return table[0], table[1:]


def scorer() -> "Scorer":
    """Returns the function that scores one image under a protocol; needs no HR."""

    def score(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
        image = shave(sr, rules.border(scale))
        plane = luma(image) if rules.niqe == "y" else gray(image)
        return naturalness(whole_levels(plane), *pristine())

    return score


def naturalness(plane: Plane, mean: Floats, covariance: Floats) -> float:
    """Returns NIQE of a plane (H, W), 0 to 255 and whole numbers.

    mean (36,) and covariance (36, 36) are the pristine model's. Raises Unscorable if there are
    fewer than two blocks of 96x96 pixels with texture.
    """
    height, width = (n // _BLOCK * _BLOCK for n in plane.shape)
    if height * width < 2 * _BLOCK**2:
        raise Unscorable(
            f"NIQE needs two blocks of {_BLOCK}x{_BLOCK} pixels, got {plane.shape[1]}x"
            f"{plane.shape[0]} without border"
        )
    plane = plane[:height, :width]
    half = imresize_float(plane, 0.5)
    features = np.hstack([_features(plane, _BLOCK), _features(half, _BLOCK // 2)])
    whole = features[np.isfinite(features).all(axis=1)]
    if len(whole) < 2:
        raise Unscorable("NIQE needs two blocks with texture")
    difference = mean - np.nanmean(features, axis=0)
    pooled = np.linalg.pinv((covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(difference @ pooled @ difference))


def _features(plane: Floats, size: int) -> Floats:
    """(blocks, 18): the 18 features of every size x size block; NaN in blocks without texture."""
    height, width = plane.shape
    tiles = _normalised(plane).reshape(height // size, size, width // size, size)
    blocks = tiles.swapaxes(1, 2).reshape(-1, size, size)
    # right, down and the two diagonals, round the block's edge
    shifts = ((0, 1), (1, 0), (1, 1), (1, -1))
    shape, left, right, _ = _fit(blocks.reshape(len(blocks), -1))
    columns = [shape, (left + right) / 2]
    for shift in shifts:
        products = blocks * np.roll(blocks, shift, axis=(1, 2))
        shape, left, right, skew = _fit(products.reshape(len(blocks), -1))
        columns += [shape, (right - left) * skew, left, right]
    return np.stack(columns, axis=1)


def _normalised(plane: Floats) -> Floats:
    """MSCN coefficients: (plane - local mean) / (local deviation + 1), border replicated."""
    padded = np.pad(plane, len(_TAPS) // 2, mode="edge")
    mean, square = filter_valid(np.stack([padded, padded * padded]), _TAPS)
    deviation = np.sqrt(np.abs(square - mean * mean))
    return np.asarray(without_noise(plane - mean) / (deviation + 1))


def _fit(x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(shape, left scale, right scale, Gamma(2/shape) / Gamma(1/shape)) of an asymmetric
    generalised Gaussian for each row of x, by matching moments (Lasmar et al., ICIP 2009)."""
    ratios, spread, skew = _tables()
    negative = np.minimum(x, 0)
    squares = np.einsum("ij,ij->i", x, x)
    squares_left = np.einsum("ij,ij->i", negative, negative)
    absolute = x.sum(axis=-1) - 2 * negative.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 marks a block without texture
        left = np.sqrt(squares_left / np.count_nonzero(x < 0, axis=-1))
        right = np.sqrt((squares - squares_left) / np.count_nonzero(x > 0, axis=-1))
        tilt = left / right
        ratio = absolute**2 / (squares * x.shape[-1])
        ratio *= (tilt**3 + 1) * (tilt + 1) / (tilt**2 + 1) ** 2
    above = np.searchsorted(ratios, ratio).clip(1, len(ratios) - 1)  # ratios rise with the shape
    nearest = above - (ratio - ratios[above - 1] < ratios[above] - ratio)
    gone = np.where(np.isfinite(ratio), 1.0, np.nan)
    scale = spread[nearest] * gone
    return _SHAPES[nearest] * gone, left * scale, right * scale, skew[nearest] * gone


@cache
def _tables() -> tuple[Floats, Floats, Floats]:
    """For every shape a: G(2/a)^2 / (G(1/a) G(3/a)), sqrt(G(1/a) / G(3/a)), G(2/a) / G(1/a)."""
    g1, g2, g3 = (np.array([math.gamma(k / a) for a in _SHAPES]) for k in (1, 2, 3))
    return g2**2 / (g1 * g3), np.sqrt(g1 / g3), g2 / g1
