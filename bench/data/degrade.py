"""HR to LR and other ways to spoil an image: pure, seeded functions on uint8 images."""

import io
import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.filters import Floats, filter_valid, gaussian_taps, multiply
from bench.data.pixels import Image


def imresize(image: Image, scale: float, kernel: str = "cubic") -> Image:
    """Returns the image resized as MATLAB's imresize does it: ceil(scale * size) pixels, uint8.

    Antialiased when shrinking; rows first, rounded to 8 bits between the two passes, border
    replicated. Gives the published LR files of Set5, Set14, BSD100 and Urban100 sample for sample.
    kernel: "linear", "cubic" (Keys, a = -0.5) or "lanczos3".
    """
    if scale == 1:
        return image.copy()
    rows = _round(_along_rows(image, scale, kernel, "replicated"))
    return _round(_along_columns(rows, scale, kernel, "replicated"))


def imresize_float(image: Floats, scale: float, kernel: str = "cubic") -> Floats:
    """Returns the image resized as MATLAB does it with doubles: border mirrored, no rounding.

    These are the only differences to `imresize`; NIQE's second scale needs both.
    """
    rows = _along_rows(image, scale, kernel, "mirrored")
    return _along_columns(rows, scale, kernel, "mirrored")


@lru_cache(maxsize=256)
def resize_weights(
    size: int, scale: float, kernel: str = "cubic", border: str = "replicated"
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Returns (indices, weights), both (output size, taps): out[i] = sum of weights * in[indices].

    Output i lies at (i + 0.5) / scale - 0.5 of the input. When shrinking, the kernel is stretched
    by 1/scale. Indices outside the image are those of its "replicated" or "mirrored" border.
    """
    function, support = _KERNELS[kernel]
    squeeze = min(scale, 1.0)
    width = support / squeeze
    # 1e-9: scale * size of a third may end a rounding error above the whole number
    centres = (np.arange(math.ceil(size * scale - 1e-9)) + 0.5) / scale - 0.5
    first = np.floor(centres - width / 2)
    indices = (first[:, None] + np.arange(math.ceil(width) + 2)).astype(np.intp)
    weights = function(squeeze * (centres[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    indices, weights = indices[:, used], weights[:, used]
    if border == "mirrored":
        indices = indices % (2 * size)
        return np.minimum(indices, 2 * size - 1 - indices), weights
    return np.clip(indices, 0, size - 1), weights


def _linear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys, Cubic convolution interpolation, IEEE ASSP 1981, a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _lanczos3(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], int]] = {
    "linear": (_linear, 2),
    "cubic": (_cubic, 4),
    "lanczos3": (_lanczos3, 6),
}


_BLOCK = 16


@lru_cache(maxsize=256)
def _bands(size: int, scale: float, kernel: str, border: str) -> list[tuple[int, Floats]]:
    """The resize as a banded matrix, cut into blocks of output rows: (first input row, block).

    Dense blocks let BLAS do the work; the far larger zero part of the matrix is left out.
    """
    indices, weights = resize_weights(size, scale, kernel, border)
    # dyadic weights (x2, x4, x8) are exact in float32, and so are their sums of 8-bit samples
    exact = np.array_equal(weights, weights.astype(np.float32))
    bands = []
    for start in range(0, len(weights), _BLOCK):
        index, weight = indices[start : start + _BLOCK], weights[start : start + _BLOCK]
        first = int(index.min())
        block = np.zeros((len(index), int(index.max()) - first + 1))
        np.add.at(block, (np.arange(len(index))[:, None], index - first), weight)
        bands.append((first, block.astype(np.float32) if exact else block))
    return bands


def _along_rows(image: NDArray[Any], scale: float, kernel: str, border: str) -> Floats:
    """The image with its first axis resized; float32 or float64."""
    bands = _bands(len(image), scale, kernel, border)
    flat = image.reshape(len(image), -1)
    flat = flat.astype(np.result_type(bands[0][1], flat))
    rows = np.empty((sum(len(block) for _, block in bands), flat.shape[1]), flat.dtype)
    for i, (first, block) in enumerate(bands):
        out = rows[i * _BLOCK : (i + 1) * _BLOCK]
        multiply(block.astype(flat.dtype), flat[first : first + block.shape[1]], out)
    return rows.reshape(len(rows), *image.shape[1:])


def _along_columns(image: NDArray[Any], scale: float, kernel: str, border: str) -> Floats:
    turned = np.ascontiguousarray(image.swapaxes(0, 1))
    return np.ascontiguousarray(_along_rows(turned, scale, kernel, border).swapaxes(0, 1))


def _round(values: Floats) -> Image:
    return np.asarray(np.floor(np.clip(values, 0, 255) + 0.5), np.uint8)


def blur(image: Image, sigma: float, size: int = 7) -> Image:
    """Returns the image under a Gaussian of size x size pixels (odd), border replicated."""
    edges = [(size // 2, size // 2)] * 2 + [(0, 0)] * (image.ndim - 2)
    planes = np.pad(image, edges, mode="edge").astype(np.float64)
    planes = np.moveaxis(planes, -1, 0) if image.ndim == 3 else planes
    blurred = filter_valid(planes, gaussian_taps(size, sigma))
    return _round(np.moveaxis(blurred, 0, -1) if image.ndim == 3 else blurred)


def noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Returns the image with white Gaussian noise of `sigma` 8-bit levels, clipped and rounded."""
    return _round(image + rng.normal(0, sigma, image.shape))


def jpeg(image: Image, quality: int) -> Image:
    """Returns the image after JPEG as Pillow writes it: colour at half size in both directions."""
    import PIL.Image

    file = io.BytesIO()
    colour = {"subsampling": "4:2:0"} if image.ndim == 3 else {}
    PIL.Image.fromarray(image).save(file, format="JPEG", quality=quality, **colour)
    return np.array(PIL.Image.open(file), np.uint8)


def down_up(image: Image, scale: int) -> Image:
    """Returns the image shrunk and enlarged again by bicubic `imresize`; of the same size.

    A size that the scale does not divide is rounded up in between, and the surplus cut off.
    """
    height, width = image.shape[:2]
    return imresize(imresize(image, 1 / scale), scale)[:height, :width]


def tone(image: Image, gamma: float = 1.0, contrast: float = 1.0) -> Image:
    """Returns contrast * (v^gamma - 0.5) + 0.5 of every value v in [0, 1]; gamma > 1 darkens."""
    levels = contrast * ((np.arange(256) / 255) ** gamma - 0.5) + 0.5
    return np.asarray(_round(255 * levels)[image])


def _none(hr: Image, scale: int, seed: int) -> Image:
    """LR is HR; for what learns from originals alone, at scale 1."""
    if scale != 1:
        raise ValueError(f"degradation 'none' at scale {scale}")
    return hr


def _bicubic(hr: Image, scale: int, seed: int) -> Image:
    """MATLAB's imresize: how the published LR files of all benchmark sets were made."""
    return imresize(hr, 1 / scale)


def _bicubic_blur(hr: Image, scale: int, seed: int, sigma: float = 1.6) -> Image:
    """NIMA-SR's de-blurring: bicubic LR under a Gaussian. It gives no width; 7x7, sigma 1.6 are
    those of the BD degradation (Zhang et al., Learning a Single CNN SR Network, CVPR 2018)."""
    return blur(imresize(hr, 1 / scale), sigma=sigma, size=7)


def _jpeg_shrunk(
    hr: Image, scale: int, seed: int, kernel: str = "lanczos3", quality: int = 75
) -> Image:
    """RTS's training data: JPEG, then shrinking. The paper gives no quality, 75 is the usual one,
    and names a Lanczos scaler only for what is made of SR afterwards."""
    return imresize(jpeg(hr, quality), 1 / scale, kernel)


def _low_light(hr: Image, scale: int, seed: int) -> Image:
    """Simulated low light, for want of raw files: bicubic LR darkened by gamma 2.5, then noise of
    5 levels. No paper's model; results on it stand for themselves."""
    dark = tone(imresize(hr, 1 / scale), gamma=2.5)
    return noise(dark, 5.0, np.random.default_rng(seed))


def _blur_noise(hr: Image, scale: int, seed: int) -> Image:
    """A stand-in for DIV2K's "unknown" track: HR under a Gaussian of scale / 2 pixels, bicubic
    shrinking, then noise of 3 levels.

    No paper's model; results on it stand for themselves. The track's blur and decimation are not
    published (NTIRE 2017, Timofte et al., CVPRW 2017: the same for all its images), its LR files
    lie some pixels beside HR, and these do not.
    """
    lr = imresize(blur(hr, sigma=scale / 2, size=3 * scale // 2 * 2 + 1), 1 / scale)
    return noise(lr, 3.0, np.random.default_rng(seed))


Degradation = Callable[[Image, int, int], Image]
"""(HR whose size the scale divides, scale, seed) -> LR, exactly scale times smaller."""

_JPEG = {"jpeg_lanczos": "lanczos3", "jpeg_bilinear": "linear"}

WIDEST = 3.0
"""Sigma of a blur, in LR pixels: wider ones a kernel of 7x7 pixels would cut off."""


class _Degradations(dict[str, Degradation]):
    """By name; that of a blur may carry its sigma: bicubic_blur@1.2.

    Entries decide, not this look-up: each has a digest of its own (records/digest.py).
    """

    def get(  # type: ignore[override]  # one of dict.get's three signatures
        self, name: str, default: Degradation | None = None
    ) -> Degradation | None:
        kind, _, sigma = name.partition("@")
        if kind == "bicubic_blur" and re.fullmatch(r"\d+(\.\d+)?", sigma):
            width = float(sigma)
            return partial(_bicubic_blur, sigma=width) if 0 < width <= WIDEST else default
        return super().get(name, default)


DEGRADATIONS = _Degradations(
    {
        "none": _none,
        "bicubic": _bicubic,
        "bicubic_blur": _bicubic_blur,
        **{name: partial(_jpeg_shrunk, kernel=kernel) for name, kernel in _JPEG.items()},
        "low_light": _low_light,
        "blur_noise": _blur_noise,
    }
)


def find_degradation(name: str) -> Degradation | None:
    """Returns the degradation of that name; None if there is none. A name that begins with "jpeg_"
    may carry the quality, 1 to 100: "jpeg_lanczos:90"; a blur its sigma: "bicubic_blur@1.2"."""
    kind, colon, quality = name.partition(":")
    if not colon:
        return DEGRADATIONS.get(kind)
    if kind in _JPEG and quality.isdecimal() and 1 <= int(quality) <= 100:
        return partial(_jpeg_shrunk, kernel=_JPEG[kind], quality=int(quality))
    return None
