"""Pixels: what an image is here, its 8 bits, its luma and its gray."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import Unscorable

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) for a single-channel file; 0 to 255."""
Input = Image | NDArray[np.float32]
"""What a method is given: an image; or (H, W, C) in [0, 1], packed from a raw file."""
Samples = NDArray[np.unsignedinteger[Any]]
"""(H, W, channels) or (pixels, channels), uint8 or uint16."""
Plane = NDArray[np.float64]
"""(H, W), 0 to 255."""


def quantise(sr: "Tensor | NDArray[np.floating]") -> Image:
    """Returns the 8-bit image (H, W, 3): clamped to [0, 1], times 255, rounded half up.

    Takes a tensor (3, H, W) or (1, 3, H, W), or an array (H, W, 3) or (H, W). Raises Unscorable if
    a value is not finite: clamping would turn it into a plausible picture.
    """
    if not isinstance(sr, np.ndarray):
        pixels = sr.detach()
        pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
        sr = pixels.permute(1, 2, 0).float().cpu().numpy()
    if not np.isfinite(sr).all():
        raise Unscorable("the restored image has values that are not finite")
    # float64, for a float32 0.5/255 may end on either side of the half
    levels = np.clip(sr, 0, 1).astype(np.float64) * 255
    return np.asarray(np.floor(levels + 0.5), np.uint8)


def as_rgb(image: Image) -> Image:
    """Returns (H, W, 3); the gray of a single-channel image in all three channels."""
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def luma(image: Image) -> Plane:
    """Returns Y of BT.601 in studio swing, 16 to 235, not rounded.

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255: rgb2ycbcr of MATLAB, and the Y of every
    super-resolution table. Summed in whole numbers.

    >>> luma(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)).round(3).tolist()
    [[16.0, 235.0]]
    """
    rgb = as_rgb(image)
    total = rgb[..., 0] * np.int32(65_481)
    total += rgb[..., 1] * np.int32(128_553)
    total += rgb[..., 2] * np.int32(24_966)
    levels = total / 255_000
    levels += 16
    return levels


def gray(image: Image) -> Plane:
    """Returns full-range gray, 0 to 255, not rounded: a single-channel image as it is, and
    0.298936 R + 0.587043 G + 0.114021 B of an RGB image, the weights of MATLAB's rgb2gray.

    Equal channels give their value back, within an ulp, so the gray of a restored single-channel
    image is what a method working on one channel would have put out.
    """
    if image.ndim == 2:
        return image.astype(np.float64)
    return _weighted(image, (0.298936, 0.587043, 0.114021))


def exact_gray(image: Image) -> Plane:
    """Returns `gray` without its rounding errors: equal channels give back their very value.

    For what is compared without rounding to whole levels: there an ulp is 328 dB, and equality
    is infinite. The weights have six digits, so each level is a multiple of 1e-6.

    >>> level = np.full((1, 1, 3), 13, np.uint8)
    >>> gray(level).tolist(), exact_gray(level).tolist()
    ([[12.999999999999998]], [[13.0]])
    """
    return np.asarray(np.round(gray(image), 6))


def _weighted(image: Image, weights: tuple[float, float, float]) -> Plane:
    red, green, blue = (image[..., c] * np.float64(weights[c]) for c in range(3))
    return np.asarray(red + green + blue)


def whole_levels(plane: Plane) -> Plane:
    """Returns the plane rounded half up, as MATLAB rounds to uint8.

    Also a half whose sum came out an ulp below it, as Y of 100 colours does.

    >>> whole_levels(luma(np.array([[[0, 204, 68]]], np.uint8))).tolist()  # of 125.5
    [[126.0]]
    """
    return np.asarray(np.floor(plane + (0.5 + 1e-9)))


def shave(image: Image, border: int) -> Image:
    """Returns a view without `border` pixels on each side. Raises Unscorable if that is empty."""
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border:
        raise Unscorable(f"{width}x{height} pixels leave nothing without a border of {border}")
    return image[border : height - border, border : width - border]
