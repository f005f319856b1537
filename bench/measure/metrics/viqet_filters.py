"""VIQET's filters, and what it measures with them of edges and noise.

Tool version 115, from a description of what VIQET-Desktop computes. `working` is the image as
resampled by the tool, (H, W, 3) RGB, and `gray` its gray (H, W), both 8 bits. Where the tool does
something odd, the oddity is kept and named: the regressor was trained on it.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.pixels import Image

Floats = NDArray[np.floating[Any]]

NOISE_BLOCK = 80


class Edges(NamedTuple):
    pixels: int
    sobel_sum: float
    acutance: list[float]
    """EA_1 to EA_9."""


class Noise(NamedTuple):
    level: float
    """N, at most 1.8; NaN without a complete block."""
    high_frequencies: float


# --- blocks, transforms and filters ---------------------------------------------------------------


def blocks(plane: NDArray[Any], size: int) -> NDArray[Any]:
    """Returns a view (rows, size, columns, size) of the complete blocks from the top left."""
    rows, columns = (side // size for side in plane.shape)
    return plane[: rows * size, : columns * size].reshape(rows, size, columns, size)


def block_sums(plane: NDArray[Any], size: int) -> Floats:
    """Returns the sum over every complete block, (rows, columns)."""
    return np.asarray(blocks(plane, size).sum(axis=1).sum(axis=2), np.float64)


def window_deviations(plane: NDArray[Any], size: int) -> Floats:
    """Returns the sample deviation in each size x size window, (H - size + 1, W - size + 1).

    plane: whole numbers, 0 to 255, or those halved a few times, so that sums are exact: windows
    that are constant get 0, not rounding noise.
    """
    import cv2

    n = size * size
    height, width = (side - size + 1 for side in plane.shape)
    total, squares = (
        cv2.boxFilter(x, cv2.CV_64F, (size, size), anchor=(0, 0), normalize=False)[:height, :width]
        for x in (plane, np.square(plane, dtype=np.float64))
    )
    return np.asarray(np.sqrt((n * squares - total * total) / (n * (n - 1))))


def sample_deviation(values: Floats, axis: tuple[int, ...] | None = None) -> Floats:
    """Returns the sample deviation along some axes; of equal numbers exactly 0.

    Their mean may differ from them by an ulp.
    """
    least = values.min(axis=axis, keepdims=True)
    return np.asarray((values - least).std(axis=axis, ddof=1))


@cache
def dct_matrix(size: int) -> Floats:
    """Returns the orthonormal DCT-II as a matrix: D @ x, and D @ x @ D.T of a block."""
    frequency, position = np.mgrid[:size, :size]
    matrix = np.cos(math.pi * frequency * (2 * position + 1) / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return np.asarray(matrix)


@cache
def zigzag(size: int) -> NDArray[np.intp]:
    """Returns the flat indices of a size x size block in JPEG's order: (0,0), (0,1), (1,0), ..."""
    row, column = np.divmod(np.arange(size * size), size)
    diagonal = row + column
    return np.lexsort((np.where(diagonal % 2, row, column), diagonal))


class Wave(NamedTuple):
    """A Gabor filter but for its direction."""

    sigma: float
    """Of the Gaussian, in pixels."""
    frequency: float
    """Radians per pixel."""
    half: int
    """The filter is 2 half + 1 pixels wide."""


def wave(upper: float, octaves: float) -> Wave:
    """Returns the filter with half power at `upper` cycles per pixel and some octaves below."""
    lower = upper * 2**-octaves
    sigma = math.sqrt(math.log(2)) / (math.pi * (upper - lower))
    return Wave(sigma, math.pi * (upper + lower), math.floor(3 * sigma + 0.5))


def gabor(band: Wave, angle: float) -> Floats:
    """Returns the taps of an even filter, square; angle in radians, of the direction of the wave.

    They are the real part of a complex filter of mean 0 and energy 1.
    """
    y, x = np.mgrid[-band.half : band.half + 1, -band.half : band.half + 1]
    along = x * math.cos(angle) + y * math.sin(angle)
    taps = np.exp(-(x * x + y * y) / (2 * band.sigma**2)) * np.exp(1j * band.frequency * along)
    taps -= taps.mean()
    taps /= np.linalg.norm(taps)
    # the tool reads its filters from text files of five digits
    return np.array([[float(f"{tap:.5g}") for tap in row] for row in taps.real])


def _oriented(band: Wave) -> tuple[Floats, ...]:
    return tuple(gabor(band, number * math.pi / 4) for number in range(4))


@cache
def bank_a() -> tuple[Floats, ...]:
    """Returns the nine filters of edge acutance: each the mean of four orientations."""
    return tuple(np.mean(_oriented(wave(0.5, k / 10)), axis=0) for k in range(1, 10))


_BAND_B = tuple(wave(0.5 * 2 ** (-0.9 * (4 - k)), 0.9) for k in range(1, 5))


@cache
def bank_b() -> tuple[tuple[Floats, ...], ...]:
    """Returns the filters of noise and flatness: four scales of four orientations."""
    return tuple(_oriented(band) for band in _BAND_B)


# --- edges ----------------------------------------------------------------------------------------


def edges(gray: Image) -> Edges:
    """Returns the number of edge pixels and how strong filters respond on them.

    Two Canny masks, of blurred gray that was and was not computed in 8 bits, differ in few pixels.
    """
    import cv2

    border = cv2.BORDER_REFLECT
    fine = cv2.GaussianBlur(gray.astype(np.float64), (13, 13), 2, borderType=border)
    coarse = cv2.GaussianBlur(gray, (13, 13), 2, borderType=border)
    on_edges = np.flatnonzero(cv2.Canny(np.rint(fine).astype(np.uint8), 40, 80))
    mask = cv2.Canny(coarse, 40, 80)
    inside = np.zeros_like(mask)
    inside[10:-10, 10:-10] = mask[10:-10, 10:-10]
    return Edges(
        pixels=len(on_edges),
        sobel_sum=_sobel_sum(gray, on_edges),
        acutance=_acutance(gray, np.flatnonzero(inside)),
    )


def _sobel_sum(gray: Image, pixels: NDArray[np.intp]) -> float:
    """The sum over some pixels of the mean absolute derivative, after blurring twice."""
    import cv2

    border = cv2.BORDER_CONSTANT
    plane = gray.astype(np.float32)
    for _ in range(2):
        plane = np.asarray(cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=border))
    derivatives = (cv2.Sobel(plane, cv2.CV_32F, dx, 1 - dx, borderType=border) for dx in (1, 0))
    return sum(_magnitude(derivative, pixels) for derivative in derivatives) / 2


def _acutance(gray: Image, pixels: NDArray[np.intp]) -> list[float]:
    """EA_1 to EA_9: the sum over some pixels of each filter's |response|."""
    import cv2

    plane, border = gray.astype(np.float32), cv2.BORDER_CONSTANT
    filters = (taps.astype(np.float32) for taps in bank_a())
    responses = (cv2.filter2D(plane, cv2.CV_32F, taps, borderType=border) for taps in filters)
    return [_magnitude(response, pixels) for response in responses]


def _magnitude(plane: NDArray[Any], pixels: NDArray[np.intp]) -> float:
    return float(np.abs(plane.ravel()[pixels]).sum(dtype=np.float64))


def largest_laplacian(gray: Image) -> float:
    """Returns the largest of the signed Laplacian with four neighbours."""
    import cv2

    return float(cv2.Laplacian(gray, cv2.CV_16S, ksize=1, borderType=cv2.BORDER_REPLICATE).max())


# --- noise ----------------------------------------------------------------------------------------


def noise(working: Image) -> Noise:
    """Returns the noise of the flattest hundredth of the 80x80 blocks, at 3/4 of the size."""
    import cv2

    height, width = (side * 3 // 4 for side in working.shape[:2])
    if min(height, width) < NOISE_BLOCK:
        return Noise(math.nan, math.nan)
    small = cv2.resize(working, (width, height), interpolation=cv2.INTER_LINEAR)
    gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    activity, spread = _activity(gray)
    flattest = _flattest(gray, activity, spread)
    level = np.sqrt(activity * spread).ravel()[flattest].mean()
    return Noise(min(float(level), 1.8), _high_frequencies(gray, flattest))


def _flattest(gray: Image, activity: Floats, spread: Floats) -> NDArray[np.intp]:
    """Flat indices of the hundredth of the blocks with the smallest product of six numbers.

    Black blocks, where it is NaN, come last.
    """
    count = math.ceil(0.01 * activity.size)
    variation = (activity * spread * _level_ratio(gray)).ravel()
    with np.errstate(invalid="ignore"):
        key = (variation * _structure(_rough_responses(gray)).ravel()) ** (1 / 6)
    # constant blocks are the flattest, whatever rounding makes of their structure
    key[variation == 0] = 0
    # far more than the rough responses err by, in blocks of any activity
    error = 1e-4 + 1e-4 / np.maximum(activity.ravel(), 1e-3)
    limit = np.partition(key * (1 + error), count - 1)[count - 1]
    near = key * (1 - error) <= limit
    if np.count_nonzero(near) > count:
        doubtful = np.flatnonzero(near & (key > 0) & np.isfinite(key))
        for index in doubtful:
            row, column = divmod(int(index), activity.shape[1])
            structure = _structure(_exact_responses(gray, row, column)).item()
            key[index] = (variation[index] * structure) ** (1 / 6)
    return np.argsort(key, kind="stable")[:count]


def _activity(gray: Image) -> tuple[Floats, Floats]:
    """(rows, columns) each: mean and sample deviation of the deviations in 20x20 windows."""
    windows = NOISE_BLOCK - 20 + 1
    inside = blocks(np.pad(window_deviations(gray, 20), ((0, 19), (0, 19))), NOISE_BLOCK)
    inside = inside[:, :windows, :, :windows]
    return inside.mean(axis=(1, 3)), sample_deviation(inside, axis=(1, 3))


def _level_ratio(gray: Image) -> Floats:
    """(rows, columns): a block's level at three quarters over that at one quarter of its pixels."""
    tiles = blocks(gray, NOISE_BLOCK).swapaxes(1, 2)
    levels = np.partition(tiles.reshape(*tiles.shape[:2], -1), (1600, 4800), axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):  # black
        return np.asarray(levels[..., 4800] / levels[..., 1600].astype(np.float64))


def _structure(responses: Iterable[Floats]) -> Floats:
    """(rows, columns): how strong and how scattered the responses to bank B are in a block.

    Product of the means over the 16 filters of m / e, m and e, where m is the mean |response| and e
    Renyi's entropy of order 3 of the normalised squares.
    """
    strengths, entropies = [], []
    with np.errstate(divide="ignore", invalid="ignore"):  # no response at all: black
        for response in responses:
            power = response * response
            cubes = block_sums(power * power * power, NOISE_BLOCK)
            strengths.append(block_sums(np.abs(response), NOISE_BLOCK) / NOISE_BLOCK**2)
            entropies.append(-np.log(cubes / block_sums(power, NOISE_BLOCK) ** 3) / 2)
        m, e = np.stack(strengths), np.stack(entropies)
        return np.asarray(np.mean(m / e, axis=0) * m.mean(axis=0) * e.mean(axis=0))


def _exact_responses(gray: Image, row: int, column: int) -> Iterator[Floats]:
    """One block's responses to bank B, (80, 80) each."""
    import cv2

    margin = _BAND_B[0].half
    y, x = row * NOISE_BLOCK, column * NOISE_BLOCK
    wide = np.pad(gray, margin, mode="symmetric")[y:, x:]
    patch = wide[: NOISE_BLOCK + 2 * margin, : NOISE_BLOCK + 2 * margin].astype(np.float64)
    for scale in bank_b():
        for taps in scale:
            response = cv2.filter2D(patch, cv2.CV_64F, taps)
            yield np.asarray(response[margin:-margin, margin:-margin])


def _rough_responses(gray: Image) -> Iterator[Floats]:
    """The image's responses to bank B, to 1e-3 or so of a level: as fast separable filters.

    A wave along an axis times a Gaussian is a product, and a diagonal one the sum of two, by the
    addition theorem. What is missing to the sum of the taps is spread over the window.
    """
    import cv2

    border = cv2.BORDER_REFLECT
    plane = gray.astype(np.float32)

    def filtered(row: Floats, column: Floats) -> NDArray[np.float32]:
        return np.asarray(cv2.sepFilter2D(plane, cv2.CV_32F, row, column, borderType=border))

    for (sigma, frequency, half), scale in zip(_BAND_B, bank_b(), strict=True):
        x = np.arange(-half, half + 1)
        bell = np.exp(-x * x / (2 * sigma**2))
        axial = bell * np.cos(frequency * x)
        even, odd = (bell * f(frequency * x / math.sqrt(2)) for f in (np.cos, np.sin))
        straight, diagonal = float(axial.sum() * bell.sum()), float(even.sum() ** 2)
        same, opposite = filtered(even, even), filtered(odd, odd)
        responses = (
            (filtered(axial, bell), straight),
            (same - opposite, diagonal),
            (filtered(bell, axial), straight),
            (same + opposite, diagonal),
        )
        window = cv2.boxFilter(plane, cv2.CV_32F, (len(x), len(x)), borderType=border)
        for (response, total), taps in zip(responses, scale, strict=True):
            scaling = 1 / math.sqrt((bell @ bell) ** 2 - (total / len(x)) ** 2)
            yield scaling * response + float(taps.sum() - scaling * total) * window


def _high_frequencies(gray: Image, chosen: NDArray[np.intp]) -> float:
    """The mean over some blocks of the last 1900 |DCT coefficients| in zig-zag order."""
    matrix = dct_matrix(NOISE_BLOCK)
    tiles = blocks(gray, NOISE_BLOCK).swapaxes(1, 2).reshape(-1, NOISE_BLOCK, NOISE_BLOCK)
    coefficients = (matrix @ tiles[chosen] @ matrix.T).reshape(len(chosen), -1)
    return float(np.abs(coefficients[:, zigzag(NOISE_BLOCK)[4500:]]).mean())


def noise_floor(working: Image, laplacian: float) -> float:
    """Returns the lowest local deviations over their mean and over the largest Laplacian."""
    deviation = _local_deviation(working)
    # the tool says 1e-5, which rounding comes near: constant areas get up to 7e-6, others 2e-3
    deviation = deviation[deviation > 1e-4]
    lowest = len(deviation) * 5 // 1000
    if lowest == 0 or laplacian == 0:
        return 0.0
    floor = np.partition(deviation, lowest)[:lowest].mean(dtype=np.float64)
    return float(floor / deviation.mean(dtype=np.float64) / laplacian)


def _local_deviation(working: Image) -> NDArray[np.float32]:
    """(H, W): mean over the channels of the deviation under a Gaussian window."""
    import cv2

    size = math.ceil(len(working) / 120) // 2 * 2 + 1

    def smooth(plane: Floats) -> Floats:
        border = cv2.BORDER_REPLICATE
        return np.asarray(cv2.GaussianBlur(plane, (size, size), size / 6, borderType=border))

    total = np.zeros(working.shape[:2], np.float32)
    for channel in cv2.split(working):
        plane = channel.astype(np.float64)  # in flat areas the squares cancel to the last digits
        variance = smooth(plane * plane) - smooth(plane) ** 2
        total += np.sqrt(np.abs(variance.astype(np.float32)))
    return np.asarray(total / 3)
