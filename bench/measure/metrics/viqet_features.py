"""What VIQET measures of light and colour, texture and flat regions.

As bench/metrics/viqet_filters.py: `working` is the resampled image, `gray` its gray, and oddities
of the tool are kept and named.
"""

import math
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.filters import without_noise
from bench.data.pixels import Image
from bench.measure.metrics.viqet_filters import (
    Floats,
    bank_b,
    block_sums,
    blocks,
    dct_matrix,
    sample_deviation,
    window_deviations,
    zigzag,
)

TABLES = Path(__file__).with_name("tables")
TEXTURE_BLOCK = 36


class Light(NamedTuple):
    contrast: float
    exposure: float


class Classifier(NamedTuple):
    """libsvm's nu-SVC with an RBF kernel, and the sigmoid of its probabilities."""

    vectors: Floats
    """(n, 20) support vectors."""
    weights: Floats
    offset: float
    gamma: float
    slope: float
    shift: float


# --- light and colour -----------------------------------------------------------------------------


def light(gray: Image) -> Light:
    """Returns contrast and exposure, from 7x7 blocks; those at the right and below may be smaller.

    contrast: mean of (max - min) / (max + min). exposure: mean level of the blocks that deviate
    more than the average block, where both means divide by one block too many.
    """
    margin = [(0, -side % 7) for side in gray.shape]
    repeated = blocks(np.pad(gray, margin, mode="edge"), 7)
    highest = repeated.max(axis=1).max(axis=2).astype(np.float64)
    lowest = repeated.min(axis=1).min(axis=2).astype(np.float64)
    wide = np.pad(gray, margin).astype(np.int32)
    size = block_sums(np.pad(np.ones_like(gray), margin), 7)
    mean, squares = block_sums(wide, 7) / size, block_sums(wide * wide, 7) / size
    deviation = np.sqrt(np.maximum(squares - mean * mean, 0))
    varied = deviation > deviation.sum() / (deviation.size + 1)
    return Light(
        contrast=float(np.mean((highest - lowest) / (highest + lowest + 1e-19))),
        exposure=float(mean[varied].sum() / (np.count_nonzero(varied) + 1)),
    )


def saturation(working: Image) -> float:
    """Returns the mean S of HSV, 0 to 255."""
    import cv2

    return float(cv2.cvtColor(working, cv2.COLOR_RGB2HSV)[..., 1].mean())


def divergence(gray: Image) -> float:
    """Returns the Kullback-Leibler divergence of the histogram from the uniform one.

    Level 255 is left out, as the tool does. A picture of nothing else has divergence 0.
    """
    counts = np.bincount(gray.ravel(), minlength=256)[:255]
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.sum(share * np.log(256 * share)))


def colour_temperature(working: Image) -> float:
    """Returns the mean over a quarter-size image of the kelvin whose locus point is nearest.

    Two mistakes of the tool are kept: red and blue are swapped, and X and Y themselves take the
    place of the chromaticities x and y.
    """
    import cv2

    channels = cv2.split(cv2.cvtColor(working, cv2.COLOR_BGR2XYZ))[:2]
    small = (cv2.resize(x.astype(np.float32), None, fx=0.25, fy=0.25) for x in channels)
    # means of four whole numbers: many pixels share one of 1024 x 1024 pairs
    x, y = ((4 * mean).astype(np.int64) for mean in small)
    counts = np.bincount((1024 * x + y).ravel())
    pairs = np.flatnonzero(counts)
    points = np.stack(np.divmod(pairs, 1024), axis=1) / 1024  # (X, Y) / 256
    return float(counts[pairs] @ _nearest_kelvin(points) / counts.sum())


def _nearest_kelvin(points: Floats) -> Floats:
    """(n,): temperature of the point of the Planckian locus nearest to each of (n, 2).

    Some points are equally near to two, and the last bit of the squared distance decides. So it is
    made as the tool makes it, without a sum whose order is another's choice, such as a product's.
    """
    table = np.loadtxt(TABLES / "planck.csv", delimiter=",", skiprows=3)
    first = np.sort(np.unique(table[:, 1:], axis=0, return_index=True)[1])  # of equal points
    kelvin, (x, y) = table[first, 0], table[first, 1:].T
    nearest = []
    for part in np.array_split(points, len(points) // 256 + 1):  # stays in the cache
        squares, more = part[:, :1] - x, part[:, 1:] - y
        squares *= squares
        more *= more
        squares += more
        nearest.append(np.argmin(squares, axis=1))
    return np.asarray(kelvin[np.concatenate(nearest)])


def clipped_areas(gray: Image) -> tuple[float, float]:
    """Returns the percentages of pixels whose surroundings are white (> 254) and black (< 2).

    Surroundings: the mean over a square of an eighth of the shorter side.
    """
    import cv2

    side = min(gray.shape) // 8
    total = cv2.boxFilter(
        gray, cv2.CV_32S, (side, side), anchor=(side // 2, side // 2), normalize=False,
        borderType=cv2.BORDER_REFLECT,
    )  # fmt: skip
    area = side * side
    white, black = (np.count_nonzero(x) for x in (total > 254 * area, total < 2 * area))
    return 100 * white / gray.size, 100 * black / gray.size


# --- texture --------------------------------------------------------------------------------------


def texture(gray: Image) -> list[float]:
    """Returns GM_1 to GM_24: six bands each of four statistics over the DCTs of 36x36 blocks.

    The statistics of a coefficient over the blocks: shape of a generalised Gaussian, the kurtosis-
    like ratio that it follows from, variance, mean magnitude. The bands: 216 coefficients each in
    zig-zag order, without the DC. NaN without a complete block.
    """
    if min(gray.shape) < TEXTURE_BLOCK:
        return [math.nan] * 24
    matrix = dct_matrix(TEXTURE_BLOCK)
    # block by block, not as one large product: BLAS then takes no second core from the others
    x = matrix @ blocks(gray.astype(np.float64), TEXTURE_BLOCK).swapaxes(1, 2) @ matrix.T
    magnitude = np.abs(x).mean(axis=(0, 1))
    x -= x.mean(axis=(0, 1))
    variance = (x * x).mean(axis=(0, 1))
    ratio = variance / (np.abs(x).mean(axis=(0, 1)) ** 2 + 1e-7)
    maps = (_shape(ratio), ratio, variance, magnitude)
    return [mean for values in maps for mean in _band_means(values)]


def _band_means(values: Floats) -> list[float]:
    """The means of the six bands of a 36x36 map, the first of them without the DC."""
    bands = values.ravel()[zigzag(TEXTURE_BLOCK)].reshape(6, -1)
    return [float(bands[0, 1:].mean()), *(float(band.mean()) for band in bands[1:])]


@cache
def _shape_ratios() -> tuple[Floats, Floats]:
    """Shapes 0.03, 0.031, ... 10 and G(1/s) G(3/s) / G(2/s)^2 of each, which falls with s."""
    shapes = np.add.accumulate(np.array([0.03, *[0.001] * 9971]))
    shapes = shapes[shapes <= 10]
    g1, g2, g3 = (np.array([math.gamma(k / shape) for shape in shapes]) for k in (1, 2, 3))
    return shapes, g1 * g3 / g2**2


def _shape(ratio: Floats) -> Floats:
    """The shape whose ratio is the last not below the given one; 11 outside the table."""
    shapes, ratios = _shape_ratios()
    index = len(ratios) - np.searchsorted(ratios[::-1], ratio) - 1
    known = (index >= 0) & (index < len(ratios) - 1)
    return np.where(known, shapes[np.where(known, index, 0)], 11.0)


def band_ratios(gm: list[float]) -> list[float]:
    """Returns R1 to R8: the first band and the middle ones over the last, of each statistic.

    In R7 the fifth band stands where the sixth belongs; the tool has it so.
    """
    ratios = []
    for statistic in (3, 2, 1, 0):
        first, *middle, last = gm[6 * statistic : 6 * statistic + 6]
        typical = sum(middle) / 4
        instead = middle[-1] if statistic == 0 else last
        ratios += [first / (1 + 0.5 * (typical + instead)), typical / (1 + last)]
    return ratios


# --- flat regions ---------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def load_classifier(path: Path) -> Classifier:
    """Returns the classifier of flat blocks that a file holds."""
    with np.load(path) as file:
        numbers = (float(file[name]) for name in ("rho", "gamma", "probA", "probB"))
        return Classifier(file["sv"], file["coef"], *numbers)


def flat_region_index(working: Image, gray: Image, classifier: Classifier) -> float:
    """Returns the median score of the flat blocks; NaN if there are none.

    working (H, W, 3) RGB and its gray (H, W); blocks of an eighth of the shorter side.
    """
    import cv2

    size = min(gray.shape) // 8
    flat = np.flatnonzero(_flat_probability(block_features(gray, size), classifier) > 0.9)
    hue = np.asarray(cv2.cvtColor(working, cv2.COLOR_RGB2HSV)[..., 0], np.uint8)
    columns = gray.shape[1] // size
    scores = []
    for row, column in zip(*np.divmod(flat, columns), strict=True):
        inside = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
        variation = _colour_variation(working[inside], hue[inside])
        scores.append((variation * _gray_variation(gray[inside]) / (gray.size / 1e6)) ** (1 / 3))
    scores = [score for score in scores if score != 0]
    return float(np.median(scores)) if scores else math.nan


# --- flat regions: which blocks are flat ----------------------------------------------------------


def block_features(gray: Image, size: int) -> Floats:
    """Returns (blocks, 20): five numbers of each orientation's mean response over the scales."""
    import cv2

    plane = gray.astype(np.float64)
    features = []
    for taps in _mean_taps():
        response = cv2.filter2D(plane, cv2.CV_64F, taps, borderType=cv2.BORDER_REFLECT)
        features.append(_response_features(without_noise(np.asarray(response)), size))
    return np.concatenate(features, axis=1)


@cache
def _mean_taps() -> tuple[Floats, ...]:
    """For each orientation the mean of bank B's four scales, which are padded to the largest."""
    largest = max(len(scale[0]) for scale in bank_b())
    padded = [[np.pad(taps, (largest - len(taps)) // 2) for taps in scale] for scale in bank_b()]
    return tuple(np.mean(padded, axis=0))


def _response_features(response: Floats, size: int) -> Floats:
    """(blocks, 5): mean and variance of |response|; shape, left and right scale of an asymmetric
    generalised Gaussian."""
    n = size * size
    left = np.minimum(response, 0)
    left_squares = block_sums(left * left, size).ravel()
    squares = block_sums(response * response, size).ravel()
    mean = block_sums(np.abs(response), size).ravel() / n
    with np.errstate(divide="ignore", invalid="ignore"):  # a block may lack one of the two sides
        left_deviation = np.sqrt(left_squares / block_sums(response < 0, size).ravel())
        right_deviation = np.sqrt((squares - left_squares) / block_sums(response > 0, size).ravel())
        tilt = left_deviation / right_deviation
        ratio = mean**2 / (squares / n) * (tilt**3 + 1) * (tilt + 1) / (tilt**2 + 1) ** 2
    shape, scale = _fit(ratio)
    scales = [np.nan_to_num(side * scale, nan=0.0) for side in (left_deviation, right_deviation)]
    return np.stack([mean, squares / n - mean**2, shape, *scales], axis=1)


@cache
def _shape_table() -> tuple[Floats, Floats, Floats]:
    """Shapes 0.2, 0.201, ... below 10; G(2/s)^2 / (G(1/s) G(3/s)), which rises with s; and
    sqrt(G(1/s) / G(3/s))."""
    shapes = np.add.accumulate(np.array([0.2, *[0.001] * 9800]))
    shapes = shapes[shapes < 10]
    g1, g2, g3 = (np.array([math.gamma(k / shape) for shape in shapes]) for k in (1, 2, 3))
    return shapes, g2**2 / (g1 * g3), np.sqrt(g1 / g3)


def _fit(ratio: Floats) -> tuple[Floats, Floats]:
    """The shape whose ratio is nearest, the lower of two, and the scale of unit deviation."""
    shapes, ratios, scales = _shape_table()
    above = np.searchsorted(ratios, ratio).clip(1, len(ratios) - 1)
    nearest = above - ((ratios[above - 1] - ratio) ** 2 <= (ratios[above] - ratio) ** 2)
    nearest[np.isnan(ratio)] = 0
    return shapes[nearest], scales[nearest]


def _flat_probability(features: Floats, classifier: Classifier) -> Floats:
    """(blocks,): the probability that libsvm gives to a block's being flat."""
    vectors, weights, offset, gamma, slope, shift = classifier
    distance = ((features[:, None] - vectors) ** 2).sum(axis=2)
    decision = np.exp(-gamma * distance) @ weights - offset
    textured = 1 / (1 + np.exp(slope * decision + shift))
    return np.array([_coupled(p) for p in np.clip(textured, 1e-7, 1 - 1e-7)])


def _coupled(p: float) -> float:
    """1 - p, as libsvm's pairwise coupling leaves it.

    It iterates although two classes need no coupling, and stops early (Wu, Lin and Weng, JMLR
    2004, second method). The difference moves blocks across the threshold, so it is repeated here.
    """
    q = np.array([[(1 - p) ** 2, -p * (1 - p)], [-p * (1 - p), p * p]])
    x = np.array([0.5, 0.5])
    for _ in range(100):
        qx = q @ x
        if np.abs(qx - x @ qx).max() < 0.0025:
            break
        for t in (0, 1):
            qx = q @ x
            x[t] += (x @ qx - qx[t]) / q[t, t]
            x /= x.sum()
    return float(x[1])


# --- flat regions: how much varies ----------------------------------------------------------------


def _gray_variation(gray: Image) -> float:
    """The product of the means over three sizes of the 3x3 deviations' mean and deviation."""
    import cv2

    plane = gray.astype(np.float64)
    means, deviations = [], []
    for level in range(3):
        if level:
            half = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_LINEAR)
            plane = np.asarray(half, np.float64)
        if min(plane.shape) < 4:  # fewer than two windows have no deviation
            return math.nan
        windows = window_deviations(plane, 3)
        means.append(windows.mean())
        deviations.append(sample_deviation(windows))
    return float(np.mean(means) * np.mean(deviations))


def _colour_variation(colours: Image, hue: Image) -> float:
    """The root of: mean deviation between the normalised channels, times the hue's deviation."""
    import cv2

    red, green, blue = (
        channel / (mean + 1)
        for channel, mean in zip(cv2.split(colours), cv2.mean(colours), strict=False)
    )
    # the sample variance of three numbers, by their differences
    squares = (red - green) ** 2 + (green - blue) ** 2 + (blue - red) ** 2
    # of whole numbers: the deviation of a single hue is 0, not what rounding makes of it
    return float(np.sqrt(np.sqrt(squares / 6).mean() * hue.std() / 180))
