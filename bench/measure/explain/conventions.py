"""Ways to score that are in use, and who prints numbers of each."""

import math
from dataclasses import dataclass
from typing import Literal

from bench.measure.explain.similarity import EDGES, SAMPLE, SHRUNK, SKIMAGE, ZEROS
from bench.measure.protocol import PROTOCOLS, Protocol

Channel = Literal["rgb", "blue", "y", "y-round", "y-image", "gray", "gray-round"]
GrayRule = Literal["native", "rgb"]
Shift = tuple[int, int]
"""(dx, dy): IMAGE moved to the right and down by so many pixels."""
Score = float | str
"""A value, or why there is none."""

SWING = 20 * math.log10(255 / 219)
"""1.32 dB: Y in studio swing spans 219 levels, and PSNR's peak stays 255."""

CHANNELS: dict[Channel, str] = {
    "rgb": "RGB",
    "blue": "blue alone (the first of BGR)",
    "y": "Y studio swing (BT.601, 16-235)",
    "y-round": "Y studio swing, rounded",
    "y-image": "Y studio swing, IMAGE's rounded",
    "gray": "Y full range (YIQ, JPEG)",
    "gray-round": "Y full range, rounded (rgb2gray)",
}
OF_GRAY_FILE: dict[Channel, str] = CHANNELS | {
    "rgb": "gray as RGB",
    "y": "gray as RGB, Y studio swing",
    "y-round": "gray as RGB, Y studio swing, rounded",
    "y-image": "gray as RGB, Y of IMAGE rounded",
    "gray": "gray as it is (full range)",
    "gray-round": "gray as it is, rounded",
}

MEAN = "mean of the channels' PSNR"
VARIANTS: dict[str, tuple[Channel, ...]] = {
    SKIMAGE: ("rgb", "y", "gray-round"),
    SAMPLE: ("rgb", "y", "gray-round"),
    ZEROS: ("rgb", "y", "gray-round"),
    EDGES: ("y", "gray-round"),  # MATLAB's ssim takes RGB for a volume
    SHRUNK: ("y", "gray-round"),
}
"""Variants of SSIM, and the channels they are used on."""

USUAL = {
    "psnr": "peak 255",
    "ssim": "ssim_index.m: Gaussian 11x11 where it fits",
    "niqe": "parameters of the authors' release",
}
_ON_Y = ("sr-y@1", "sr-y-rgb@1", "sr-y-round@1", "pirm@1")
"""Protocols whose tables print the scores of Y."""
_TABLES = {
    "sr-rgb@1": "BasicSR, MMagic in RGB",
    "div2k@1": "EDSR-PyTorch on DIV2K; NTIRE 2017",
    "full@1": "deblurring, low light, enhancement",
    "sr-y@1": "SRCNN, VDSR, EDSR, RCAN tables",
    "sr-y-rgb@1": "newer tables, gray files saved as RGB",
    "sr-y-round@1": "SelfExSR, Y as uint8",
    "pirm@1": "PIRM-SR 2018",
}
_PRINTED_BY: dict[str, dict[str, str]] = {
    "psnr": _TABLES | {"gray@1": "scripts with rgb2gray"},
    "ssim": _TABLES | {"gray@1": "SSIM's own release"},
    "niqe": {
        "sr-y@1": "BasicSR with a crop_border",
        "pirm@1": "PIRM-SR 2018, in its perceptual index",
        "gray@1": "the authors' release",
        "sr-rgb@1": "BasicSR with convert_to gray",
    },
}
"""Metric -> protocol -> whose numbers it gives."""
_PROGRAMS: tuple[tuple[str, Channel, int, str], ...] = (
    ("psnr", "rgb", 0, "pyiqa psnr, skimage"),
    ("psnr", "gray", 0, "pyiqa psnry"),
    ("ssim", "rgb", 0, "about pyiqa ssimc"),
    ("ssim", "gray-round", 0, "about pyiqa ssim"),
    ("ssim", "blue", 1, "MMEditing before 2023 (issue 1342)"),
    ("niqe", "y-round", 0, "BasicSR"),
    ("niqe", "gray-round", 0, "about pyiqa niqe"),
)
"""(metric, channel, border in scales, program): what no protocol of ours stands for. "about": pyiqa
clips what is negative in SSIM, and differs a little in NIQE."""


def signed(shift: Shift) -> str:
    """Returns "(+1, 0)"."""
    return f"({step(shift[0])}, {step(shift[1])})"


def step(pixels: int) -> str:
    return f"{pixels:+d}" if pixels else "0"


@dataclass(frozen=True)
class Convention:
    """One way to score, and what it gives."""

    channel: str
    variant: str
    """Empty for the usual way."""
    border: int
    """Pixels left out on each side."""
    gray: GrayRule | None
    """A single-channel file is its gray as it is, or RGB; None where the file is in colour."""
    shift: Shift
    value: float
    """Infinite for equal images, NaN if it cannot be computed."""
    why: str | None
    """Why it is not finite."""
    used_by: tuple[str, ...]
    """Tables and programs known to print it, and our protocols; not complete."""

    @property
    def name(self) -> str:
        moved = "" if self.shift == (0, 0) else f"IMAGE moved by {signed(self.shift)}"
        parts = (self.channel, self.variant, f"border {self.border}", moved)
        return ", ".join(part for part in parts if part)


def value_of(score: Score | None) -> tuple[float, str | None]:
    """Returns (value, why it is not finite)."""
    if isinstance(score, float):
        return score, "the two are equal" if score == math.inf else None
    return math.nan, score


def used_by(metric: str, scale: int, gray_file: bool) -> dict[tuple[Channel, int], list[str]]:
    """Returns (channel, border) -> who prints it; where, the protocols' own rules say."""
    found: dict[tuple[Channel, int], list[str]] = {}
    for name, who in _PRINTED_BY[metric].items():
        if name == "sr-y-rgb@1" and not gray_file:
            continue  # there it is sr-y@1
        rules = PROTOCOLS[name]
        cell = _channel_of(metric, rules, gray_file), rules.border(scale)
        found.setdefault(cell, []).append(f"{who} = {name}")
    for of, channel, scales, who in _PROGRAMS:
        if of == metric:
            found.setdefault((channel, scales * scale), []).append(who)
    return found


def _channel_of(metric: str, rules: Protocol, gray_file: bool) -> Channel:
    """What the tables of a protocol are scored on."""
    if metric == "niqe":
        return "y-round" if rules.niqe == "y" else "gray-round"
    if rules.name not in _ON_Y and rules.channel == "rgb":
        return "rgb"
    if rules.channel == "gray" or (gray_file and rules.gray == "native"):
        return "gray-round" if rules.rounded else "gray"
    return "y-round" if rules.rounded else "y"
