"""Named, versioned ways to score: which border is left out, how gray files count, what Y is.

Common to all of them: the restored image is clamped and rounded to 8 bits, every image is scored
alone, and a set's score is the mean over its images. A change that moves a number is a new version.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["super-resolution", "enhancement", "low-light", "deblurring"]
Image = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) for a single-channel file; 0 to 255."""
Plane = NDArray[np.float64]
"""(H, W), 0 to 255."""


class Unscorable(Exception):
    """A score that cannot be computed for one image, and why. Recorded as NaN and counted."""


@dataclass(frozen=True)
class Protocol:
    """One way to score. The _y suffix of a metric says that it is measured on Y, RGB otherwise."""

    name: str
    title: str
    shaves_scale: bool
    """Leaves out a border of `scale` pixels on each side; otherwise the whole image counts."""
    gray: Literal["native", "rgb"]
    """A single-channel HR file: its gray is Y itself, or it is an RGB image with equal channels."""
    niqe: Literal["y", "gray"]
    """What NIQE sees: studio-swing Y, or full-range gray as in MATLAB's rgb2gray."""

    def border(self, scale: int) -> int:
        """Returns the number of pixels left out on each side."""
        return scale if self.shaves_scale else 0


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "sr-y@1",
            "border of scale pixels, BT.601 studio-swing Y unrounded, gray files on their own gray "
            "(bicubic x2 on Set14: 30.24 dB, as SRCNN, VDSR and EDSR print it)",
            shaves_scale=True,
            gray="native",
            niqe="y",
        ),
        Protocol(
            "sr-y-rgb@1",
            "as sr-y@1, but gray files turned into RGB before Y is taken "
            "(bicubic x2 on Set14: 30.33 dB, as data sets prepared by RCAN's scripts give)",
            shaves_scale=True,
            gray="rgb",
            niqe="y",
        ),
        Protocol(
            "sr-rgb@1",
            "border of scale pixels, NIQE on rgb2gray; for results printed in RGB",
            shaves_scale=True,
            gray="rgb",
            niqe="gray",
        ),
        Protocol(
            "full@1",
            "the whole image, NIQE on rgb2gray; enhancement, low light and deblurring",
            shaves_scale=False,
            gray="rgb",
            niqe="gray",
        ),
    )
}


def protocol(name: str) -> Protocol:
    """Returns the protocol of that name. Raises BenchError with the nearest known one."""
    if name not in PROTOCOLS:
        raise BenchError(unknown("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]


def default_protocol(task: Task) -> str:
    """Returns the name of the protocol that the papers of a task use.

    >>> default_protocol("super-resolution"), default_protocol("low-light")
    ('sr-y@1', 'full@1')
    """
    return "sr-y@1" if task == "super-resolution" else "full@1"


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
    super-resolution table.

    >>> luma(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)).round(3).tolist()
    [[16.0, 235.0]]
    """
    return _weighted(as_rgb(image), (65.481 / 255, 128.553 / 255, 24.966 / 255)) + 16


def gray(image: Image) -> Plane:
    """Returns full-range gray, 0 to 255, not rounded: a single-channel image as it is, and
    0.298936 R + 0.587043 G + 0.114021 B of an RGB image, the weights of MATLAB's rgb2gray.

    Equal channels give their value back, so the gray of a restored single-channel image is what
    a method working on one channel would have put out.
    """
    if image.ndim == 2:
        return image.astype(np.float64)
    return _weighted(image, (0.298936, 0.587043, 0.114021))


def _weighted(image: Image, weights: tuple[float, float, float]) -> Plane:
    red, green, blue = (image[..., c] * np.float64(weights[c]) for c in range(3))
    return np.asarray(red + green + blue)


def scored_y(image: Image, rules: Protocol, *, single: bool) -> Plane:
    """Returns the Y plane that counts. single: whether the HR file has a single channel."""
    return gray(image) if single and rules.gray == "native" else luma(image)


def shave(image: Image, border: int) -> Image:
    """Returns a view without `border` pixels on each side. Raises Unscorable if that is empty."""
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border:
        raise Unscorable(f"{width}x{height} pixels leave nothing without a border of {border}")
    return image[border : height - border, border : width - border]
