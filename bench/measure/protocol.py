"""Named, versioned ways to score: channel, border, rounding, gray files, what a set's score is.

Common to all of them: the restored image is clamped and rounded to 8 bits, and every image is
scored alone. A change that moves a number is a new version.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bench.data.pixels import Image, Plane, as_rgb, exact_gray, gray, luma, whole_levels
from bench.data.sets import dataset
from bench.errors import BenchError, unknown


class Noted(NamedTuple):
    """A score that a reader must be told something about."""

    value: float
    note: str
    """The same words for every image it holds for: reports count them."""


@dataclass(frozen=True)
class Protocol:
    """One way to score. A metric with the suffix _y is measured on Y under each of them."""

    name: str
    title: str
    channel: Literal["rgb", "y", "gray"] = "rgb"
    """What fidelity metrics without the suffix _y compare."""
    rounded: bool = False
    """Y and gray are rounded to whole levels before they are compared."""
    border_scales: int = 0
    border_pixels: int = 0
    """Left out on each side: border_scales * scale + border_pixels."""
    gray: Literal["native", "rgb"] = "rgb"
    """A single-channel HR file: its gray is Y itself, or it is an RGB image with equal channels."""
    niqe: Literal["y", "gray"] = "gray"
    """What NIQE sees, rounded: studio-swing Y, or full-range gray as in MATLAB's rgb2gray."""
    small_windows: bool = False
    """MS-SSIM shrinks its window where a scale is smaller, instead of refusing the image."""
    root_mean_square: tuple[str, ...] = ()
    """Metrics whose score of a set is the root of the mean square over its images."""
    lr: str = "the published LR files, else LR made by MATLAB's bicubic imresize"

    def border(self, scale: int) -> int:
        """Returns the number of pixels left out on each side."""
        return self.border_scales * scale + self.border_pixels

    def pool(self, metric: str, values: Iterable[float]) -> float:
        """Returns a set's score from its images': their mean, unless the protocol says otherwise.

        NaN for no image, and if one of them has no value.

        >>> PROTOCOLS["sr-y@1"].pool("rmse", [1, 7]), PROTOCOLS["pirm@1"].pool("rmse", [1, 7])
        (4.0, 5.0)
        """
        known = list(values)
        if not known:
            return math.nan
        if metric in self.root_mean_square:
            return math.sqrt(math.fsum(v * v for v in known) / len(known))
        return math.fsum(known) / len(known)


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "sr-y@1",
            "border of scale pixels, BT.601 studio-swing Y unrounded, gray files on their own gray "
            "(bicubic x2 on Set14: 30.24 dB, as SRCNN, VDSR and EDSR print it)",
            border_scales=1,
            gray="native",
            niqe="y",
        ),
        Protocol(
            "sr-y-rgb@1",
            "as sr-y@1, but gray files turned into RGB before Y is taken "
            "(bicubic x2 on Set14: 30.33 dB, as data sets prepared by RCAN's scripts give)",
            border_scales=1,
            niqe="y",
        ),
        Protocol(
            "sr-y-round@1",
            "as sr-y@1, but Y rounded to whole levels "
            "(bicubic x2 on Set5: 33.64 dB, as SelfExSR and tables made by MATLAB's uint8 print)",
            rounded=True,
            border_scales=1,
            gray="native",
            niqe="y",
        ),
        Protocol(
            "sr-rgb@1",
            "border of scale pixels, NIQE on rgb2gray; for results printed in RGB (BasicSR)",
            border_scales=1,
        ),
        Protocol(
            "div2k@1",
            "RGB, border of scale + 6 pixels: EDSR-PyTorch's code on DIV2K, NTIRE 2017",
            border_scales=1,
            border_pixels=6,
        ),
        Protocol(
            "pirm@1",
            "PIRM-SR 2018 challenge: Y rounded to whole levels, border of 4 pixels; "
            "the RMSE of a set is the root of its images' mean squared error",
            channel="y",
            rounded=True,
            border_pixels=4,
            niqe="y",
            root_mean_square=("rmse",),
        ),
        Protocol(
            "ntire-sr@2026",
            "NTIRE 2026 image super-resolution (x4): Y unrounded, border of 4 pixels at any scale",
            channel="y",
            border_pixels=4,
            niqe="y",
        ),
        Protocol(
            "ntire-esr@2026",
            "NTIRE 2026 efficient super-resolution: RGB, border of scale pixels",
            border_scales=1,
        ),
        Protocol(
            "dped-patch@1",
            "DPED and PIRM 2018 enhancement: aligned 100x100 patches, whole, RGB, mean over "
            "patches; MS-SSIM with windows shrunk to fit. Rounded to 8 bits: DPED's own log is "
            "not (iPhone model 22.182 dB here, 22.190 dB there)",
            small_windows=True,
            lr="the phone's patches as published",
        ),
        Protocol(
            "sid-srgb@1",
            "See-in-the-Dark: 8-bit sRGB, the whole image; no alignment of brightness",
            lr="short exposures, packed, times the exposure ratio",
        ),
        Protocol(
            "full@1",
            "RGB, the whole image, NIQE on rgb2gray; enhancement, low light and deblurring",
        ),
        Protocol(
            "votes@1",
            "people's votes: each photograph is marked whole, resized as its assessor says; a "
            "correlation is the mean over photographs of both standardised mean marks' product",
            lr="none: the photographs themselves",
        ),
        Protocol(
            "gray@1",
            "rounded rgb2gray, the whole image: the defaults of SSIM's, MS-SSIM's and NIQE's own "
            "releases (psnr is then gray's as well)",
            channel="gray",
            rounded=True,
        ),
    )
}


def protocol(name: str) -> Protocol:
    """Returns the protocol of that name. Raises BenchError with the nearest known one."""
    if name not in PROTOCOLS:
        raise BenchError(unknown("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]


def default_protocol(task: str) -> str:
    """Returns the name of the protocol that the papers of a task use.

    >>> default_protocol("super-resolution"), default_protocol("low-light")
    ('sr-y@1', 'full@1')
    """
    return {"super-resolution": "sr-y@1", "assessment": "votes@1"}.get(task, "full@1")


def usual_protocol(name: str, task: str) -> str:
    """Returns the name of the protocol that papers use on a set, or else for a task.

    >>> usual_protocol("set5", "super-resolution"), usual_protocol("dped_iphone", "enhancement")
    ('sr-y@1', 'dped-patch@1')
    """
    return dataset(name).protocol or default_protocol(task)


def scored_y(image: Image, rules: Protocol, *, single: bool) -> Plane:
    """Returns the Y plane that counts. single: whether the HR file has a single channel."""
    plane = exact_gray(image) if single and rules.gray == "native" else luma(image)
    return whole_levels(plane) if rules.rounded else plane


def scored_planes(image: Image, rules: Protocol, *, single: bool) -> Plane:
    """Returns (channels, H, W): what metrics without the suffix _y compare."""
    if rules.channel == "y":
        return scored_y(image, rules, single=single)[None]
    if rules.channel == "gray":
        plane = gray(image)
        return (whole_levels(plane) if rules.rounded else plane)[None]
    return np.moveaxis(as_rgb(image), -1, 0).astype(np.float64)
