"""Why a score differs from somebody else's: one image under every convention in use.

What papers and programs leave open: the channel and its range, whether Y is rounded, the border,
what a single-channel file is, SSIM's window, and whether the two images lie on each other.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bench.data.images import read_image
from bench.data.pixels import Image, as_rgb, exact_gray, luma, shave, whole_levels
from bench.errors import BenchError, Unscorable, unknown
from bench.measure.explain.similarity import (
    EDGES,
    GAUSSIAN,
    SAMPLE,
    SHRUNK,
    SKIMAGE,
    STRIP,
    ZEROS,
    Compared,
    Plane,
    inside,
    maps_of,
    similarities,
)
from bench.measure.metrics import niqe
from bench.measure.protocol import PROTOCOLS, Protocol

Channel = Literal["rgb", "blue", "y", "y-round", "y-image", "gray", "gray-round"]
GrayRule = Literal["native", "rgb"]
Shift = tuple[int, int]
"""(dx, dy): IMAGE moved to the right and down by so many pixels."""
Score = float | str
"""A value, or why there is none."""

REACH = 2
"""Shifts are tried up to so many pixels in each direction."""
SWING = 20 * math.log10(255 / 219)
"""1.32 dB: Y in studio swing spans 219 levels, and PSNR's peak stays 255."""

_CHANNELS: dict[Channel, str] = {
    "rgb": "RGB",
    "blue": "blue alone (the first of BGR)",
    "y": "Y studio swing (BT.601, 16-235)",
    "y-round": "Y studio swing, rounded",
    "y-image": "Y studio swing, IMAGE's rounded",
    "gray": "Y full range (YIQ, JPEG)",
    "gray-round": "Y full range, rounded (rgb2gray)",
}
_OF_GRAY_FILE: dict[Channel, str] = _CHANNELS | {
    "rgb": "gray as RGB",
    "y": "gray as RGB, Y studio swing",
    "y-round": "gray as RGB, Y studio swing, rounded",
    "y-image": "gray as RGB, Y of IMAGE rounded",
    "gray": "gray as it is (full range)",
    "gray-round": "gray as it is, rounded",
}

_MEAN = "mean of the channels' PSNR"
_VARIANTS: dict[str, tuple[Channel, ...]] = {
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


@dataclass(frozen=True)
class Alignment:
    """How IMAGE has to be moved to fit best, judged by PSNR."""

    channel: str
    border: int
    """The part of REFERENCE without it is compared, with another part of IMAGE for each shift."""
    shift: Shift
    gain: float
    """In dB over leaving it where it is; infinite if the two are equal once it is moved."""
    between: tuple[float, float]
    """The shift with fractions of a pixel: where the parabolas through the errors of the best shift
    and its neighbours are lowest."""

    @property
    def aligned(self) -> bool:
        return self.shift == (0, 0) and max(map(abs, self.between)) < 0.25


@dataclass(frozen=True)
class Explanation:
    """One image under every convention."""

    metric: str
    scale: int
    image: Path
    reference: Path | None
    size: tuple[int, int]
    """(height, width) of what is compared."""
    reference_size: tuple[int, int]
    gray_file: bool
    """Whether REFERENCE has a single channel; for NIQE, IMAGE."""
    conventions: tuple[Convention, ...]
    alignments: tuple[Alignment, ...]
    """Of Y and of RGB; empty for NIQE, and where too few pixels are left."""
    paper: str | None
    """The number to find, as it was printed."""

    def matches(self) -> list[Convention]:
        """Returns the conventions whose value rounds to the paper's number, the used ones first."""
        if self.paper is None:
            return []
        found = [c for c in self.conventions if rounds_to(c.value, self.paper)]
        return sorted(found, key=lambda c: (c.shift != (0, 0), not c.used_by))

    def nearest(self) -> list[Convention]:
        """Returns the three conventions that come closest to the paper's number."""
        if self.paper is None:
            return []
        target = float(self.paper)
        finite = [c for c in self.conventions if math.isfinite(c.value)]
        return sorted(finite, key=lambda c: (round(abs(c.value - target), 6), not c.used_by))[:3]

    def as_json(self) -> dict[str, Any]:
        """Returns plain values. Equal images give an infinite PSNR: `why` says so too."""
        return {
            **asdict(self),
            "image": str(self.image),
            "reference": None if self.reference is None else str(self.reference),
            "matches": [asdict(c) for c in self.matches()],
            "nearest": [asdict(c) for c in self.nearest()],
        }


def rounds_to(value: float, printed: str) -> bool:
    """Returns whether a value, rounded to as many decimals as a printed number has, is that number.

    A value half-way between two numbers rounds to both.

    >>> rounds_to(26.284, "26.28"), rounds_to(26.284, "26.3"), rounds_to(26.284, "26.29")
    (True, True, False)
    """
    decimals = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * 10.0**-decimals + 1e-9


def explain(
    image: Path,
    reference: Path | None,
    metric: str = "psnr",
    scale: int = 4,
    paper: str | None = None,
) -> Explanation:
    """Returns the score of a restored image under every convention.

    metric: psnr, ssim or niqe; NIQE looks at IMAGE alone. paper: a number as somebody printed it;
    how many decimals it has decides what matches. REFERENCE may be larger by less than `scale`
    pixels at the right and bottom. Raises BenchError for an unknown metric, a number that cannot be
    one of it, files that cannot be read, and images that cannot be compared.
    """
    if metric not in _ROWS:
        raise BenchError(unknown("metric", metric, _ROWS))
    if scale < 1:
        raise BenchError(f"scale {scale}: a scale is 1 or more.")
    _check_number(metric, paper)
    sr = hr = original = read_image(image)
    if metric == "niqe":
        reference = None
    elif reference is None:
        raise BenchError(f"{image}: {metric} compares it with a REFERENCE, and none was given.")
    else:
        original = read_image(reference)
        _check_pair(image, sr, reference, original, scale)
        hr = original[: len(sr), : sr.shape[1]]
    pair = _Pair(sr, hr, scale)
    try:
        conventions, alignments = _conventions(metric, pair), []
    except Unscorable as error:
        raise BenchError(f"{image}: {error}.") from None
    for channel in _moved_channels(metric, pair):
        moved, alignment = _alignment(channel, metric, pair)
        conventions += moved
        alignments.append(alignment)
    return Explanation(
        metric, scale, image, reference, (len(sr), sr.shape[1]), (len(original), original.shape[1]),
        pair.gray_file, tuple(conventions), tuple(alignments), paper,
    )  # fmt: skip


def _check_number(metric: str, paper: str | None) -> None:
    """Raises BenchError for what is no number, or cannot be one of this metric."""
    if paper is None:
        return
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?|\.[0-9]+", paper):
        raise BenchError(
            f"--paper: got {paper!r}. Give the number as it is printed, with a point and without "
            "a unit: 26.28 or .6984."
        )
    meant = "ssim" if float(paper) <= 1 else "psnr"
    if metric != "niqe" and metric != meant:
        raise BenchError(
            f"--paper: {paper} is no {metric.upper()} of a restored image. Did you mean "
            f"'--metric {meant}'?"
        )


def _check_pair(image: Path, sr: Image, reference: Path, hr: Image, scale: int) -> None:
    """Raises BenchError for two images that cannot be compared."""
    (height, width), (full_height, full_width) = sr.shape[:2], hr.shape[:2]
    if not all(0 <= more < scale for more in (full_height - height, full_width - width)):
        smaller = f" or up to {scale - 1} pixels smaller" if scale > 1 else ""
        raise BenchError(
            f"{image}: {width}x{height} pixels, but {reference} has {full_width}x{full_height}. "
            f"IMAGE is REFERENCE restored: of the same size{smaller}, at scale {scale}."
        )
    if sr.ndim == 2 and hr.ndim == 3:
        raise BenchError(
            f"{image}: has a single channel, but {reference} is RGB. Save IMAGE with its colours, "
            "or give the gray REFERENCE it was restored from."
        )


class _Pair:
    """Two images of one size, and their planes, each made once."""

    def __init__(self, sr: Image, hr: Image, scale: int) -> None:
        self.sr, self.scale, self.gray_file = sr, scale, hr.ndim == 2
        self.borders = sorted({0, 4, scale, scale + 6})  # 4 is PIRM-SR's at every scale
        self.shift_border = scale if scale >= REACH else 4  # the pixels to move come from it
        of_sr = _planes(sr)
        of_hr = dict(of_sr) if hr is sr else _planes(hr)
        of_sr["y-image"], of_hr["y-image"] = of_sr["y-round"], of_hr["y"]
        self.planes: dict[Channel, list[Compared]] = {
            channel: list(zip(of_sr[channel], of_hr[channel], strict=True))
            for channel in _CHANNELS
            if channel in of_sr
        }

    def name(self, channel: Channel) -> str:
        return (_OF_GRAY_FILE if self.gray_file else _CHANNELS)[channel]

    def gray_rule(self, channel: Channel) -> GrayRule | None:
        if not self.gray_file:
            return None
        return "native" if channel.startswith("gray") else "rgb"


def _planes(image: Image) -> dict[Channel, list[Plane]]:
    y, full = luma(image), exact_gray(image)
    return {
        # float32 is exact here, and twice as fast
        "rgb": [plane.astype(np.float32) for plane in np.moveaxis(as_rgb(image), -1, 0)],
        "y": [y],
        "y-round": [whole_levels(y)],
        "gray": [full],
        "gray-round": [whole_levels(full)],
    }


class _Row(NamedTuple):
    channel: Channel
    variant: str
    scores: Sequence[Score]
    """One for each border."""


def _conventions(metric: str, pair: _Pair) -> list[Convention]:
    """Every convention without a shift: the rows of a table, border by border.

    Raises Unscorable if none of them can be computed.
    """
    used = _used_by(metric, pair)
    refusals = {border: _too_small(metric, pair.sr, border) for border in pair.borders}
    possible = [border for border, why in refusals.items() if why is None]
    conventions = []
    for channel, variant, scores in _ROWS[metric](pair, possible) if possible else ():
        found = dict(zip(possible, scores, strict=True))
        for border in pair.borders:
            value, why = _value(found.get(border, refusals[border]))
            users = () if variant else tuple(used.get((channel, border), ()))
            gray_rule, name = pair.gray_rule(channel), pair.name(channel)
            conventions.append(
                Convention(name, variant, border, gray_rule, (0, 0), value, why, users)
            )
    if all(math.isnan(c.value) for c in conventions):
        raise Unscorable(conventions[0].why if conventions else refusals[0])
    return conventions


def _value(score: Score | None) -> tuple[float, str | None]:
    """(value, why it is not finite)."""
    if isinstance(score, float):
        return score, "the two are equal" if score == math.inf else None
    return math.nan, score


def _too_small(metric: str, image: Image, border: int) -> str | None:
    """Why a border leaves too few pixels; None if it does not."""
    try:
        height, width = shave(image, border).shape[:2]
    except Unscorable as error:
        return str(error)
    if metric != "ssim" or min(height, width) >= len(GAUSSIAN):
        return None
    return f"SSIM needs {len(GAUSSIAN)} pixels a side; a border of {border} leaves {width}x{height}"


def _used_by(metric: str, pair: _Pair) -> dict[tuple[Channel, int], list[str]]:
    """(channel, border) -> who prints it; where, the protocols' own rules say."""
    found: dict[tuple[Channel, int], list[str]] = {}
    for name, who in _PRINTED_BY[metric].items():
        if name == "sr-y-rgb@1" and not pair.gray_file:
            continue  # there it is sr-y@1
        rules = PROTOCOLS[name]
        cell = _channel_of(metric, rules, pair.gray_file), rules.border(pair.scale)
        found.setdefault(cell, []).append(f"{who} = {name}")
    for of, channel, scales, who in _PROGRAMS:
        if of == metric:
            found.setdefault((channel, scales * pair.scale), []).append(who)
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


# --- the scores -----------------------------------------------------------------------------------


def _psnr_rows(pair: _Pair, borders: Sequence[int]) -> Iterator[_Row]:
    for channel, planes in pair.planes.items():
        errors = [
            [float(inside(squares, b).mean(dtype=np.float64)) for b in borders]
            for squares in (np.square(first - second) for first, second in planes)
        ]
        columns = list(zip(*errors, strict=True))
        yield _Row(channel, "", [_decibel(_average(column)) for column in columns])
        if channel == "rgb":
            yield _Row(channel, _MEAN, [_average(map(_decibel, column)) for column in columns])


def _ssim_rows(pair: _Pair, borders: Sequence[int]) -> Iterator[_Row]:
    work = [
        (both, borders, [v for v, channels in _VARIANTS.items() if channel in channels])
        for channel, planes in pair.planes.items()
        for both in planes
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda arguments: similarities(*arguments), work)
        scores = {channel: [next(done) for _ in planes] for channel, planes in pair.planes.items()}
    for variant in ("", *_VARIANTS):
        for channel, found in scores.items():
            if variant in found[0]:
                columns = zip(*(of_plane[variant] for of_plane in found), strict=True)
                yield _Row(channel, variant, [_average(column) for column in columns])
        if not variant:
            yield _Row("blue", "", scores["rgb"][2][""])


def _niqe_rows(pair: _Pair, borders: Sequence[int]) -> Iterator[_Row]:
    def naturalness(plane: Plane) -> Score:
        try:
            return niqe.naturalness(np.asarray(plane, np.float64), *niqe.pristine())
        except Unscorable as error:
            return str(error)

    channels: tuple[Channel, ...] = ("y-round", "gray-round", "y", "gray")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = [inside(pair.planes[channel][0][0], b) for channel in channels for b in borders]
        done = pool.map(naturalness, work)
        yield from (_Row(channel, "", [next(done) for _ in borders]) for channel in channels)


_ROWS = {"psnr": _psnr_rows, "ssim": _ssim_rows, "niqe": _niqe_rows}


def _average(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _decibel(mean_square: float) -> float:
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf


# --- shifts ---------------------------------------------------------------------------------------


def _moved_channels(metric: str, pair: _Pair) -> tuple[Channel, ...]:
    """What is shifted: nothing for NIQE, or if hardly more than SSIM's window is left."""
    left = min(pair.sr.shape[:2]) - 2 * pair.shift_border
    return () if metric == "niqe" or left < len(GAUSSIAN) + REACH else ("y", "rgb")


def _alignment(channel: Channel, metric: str, pair: _Pair) -> tuple[list[Convention], Alignment]:
    """Returns the conventions that move IMAGE, and how it fits best.

    PSNR is computed of all 25 shifts, SSIM of the best one alone.
    """
    border, planes = pair.shift_border, pair.planes[channel]
    errors = {
        (dx, dy): _average(_mean_square(*_moved(both, (dx, dy), border)) for both in planes)
        for dx, dy in product(range(-REACH, REACH + 1), repeat=2)
    }
    # of equal ones the nearest: a flat IMAGE fits everywhere
    best = min(errors, key=lambda shift: (errors[shift], abs(shift[0]) + abs(shift[1])))
    decibels = {shift: _decibel(error) for shift, error in errors.items()}
    gain = 0.0 if best == (0, 0) else decibels[best] - decibels[0, 0]
    moved = decibels if metric == "psnr" else [best]
    name, rule = pair.name(channel), pair.gray_rule(channel)
    conventions = []
    for shift in moved:
        if shift != (0, 0):
            both = (_moved(compared, shift, border) for compared in planes)
            score = decibels[shift] if metric == "psnr" else _average(map(_similarity, both))
            conventions.append(Convention(name, "", border, rule, shift, *_value(score), ()))
    return conventions, Alignment(name, border, best, gain, _between(errors, best))


def _moved(planes: Compared, shift: Shift, border: int) -> Compared:
    """Views: REFERENCE without its border, and the part of IMAGE that a shift brings there."""
    (first, second), (dx, dy) = planes, shift
    height, width = first.shape
    part = first[border - dy : height - border - dy, border - dx : width - border - dx]
    return part, inside(second, border)


def _mean_square(first: Plane, second: Plane) -> float:
    total = 0.0
    for i in range(0, len(first), STRIP):
        difference = first[i : i + STRIP] - second[i : i + STRIP]
        total += float(np.einsum("ij,ij->", difference, difference))
    return total / first.size


def _similarity(both: Compared) -> float:
    return float(maps_of(*both, GAUSSIAN, 1)[0].mean())


def _between(errors: dict[Shift, float], best: Shift) -> tuple[float, float]:
    """The best shift with fractions, as `Alignment.between`; whole at the edge of what is known."""
    (x, y), at = best, errors[best]
    neighbours = (((x - 1, y), (x + 1, y)), ((x, y - 1), (x, y + 1)))
    fractions = [0.0, 0.0]
    for axis, (before, after) in enumerate(neighbours):
        if at and before in errors and after in errors:
            curvature = errors[before] - 2 * at + errors[after]
            if curvature > 0:
                fractions[axis] = (errors[before] - errors[after]) / (2 * curvature)
    return x + fractions[0], y + fractions[1]
