"""Two images of one size, and every score of them without a shift."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from bench.data.pixels import Image, as_rgb, exact_gray, luma, shave, whole_levels
from bench.errors import Unscorable
from bench.measure.explain.conventions import (
    CHANNELS,
    MEAN,
    OF_GRAY_FILE,
    VARIANTS,
    Channel,
    Convention,
    GrayRule,
    Score,
    used_by,
    value_of,
)
from bench.measure.explain.similarity import GAUSSIAN, Compared, Plane, inside, similarities
from bench.measure.metrics import niqe

REACH = 2
"""Shifts are tried up to so many pixels in each direction."""


class Pair:
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
            for channel in CHANNELS
            if channel in of_sr
        }

    def name(self, channel: Channel) -> str:
        return (OF_GRAY_FILE if self.gray_file else CHANNELS)[channel]

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


def conventions_of(metric: str, pair: Pair) -> list[Convention]:
    """Every convention without a shift: the rows of a table, border by border.

    Raises Unscorable if none of them can be computed.
    """
    used = used_by(metric, pair.scale, pair.gray_file)
    refusals = {border: _too_small(metric, pair.sr, border) for border in pair.borders}
    possible = [border for border, why in refusals.items() if why is None]
    conventions = []
    for channel, variant, scores in ROWS[metric](pair, possible) if possible else ():
        found = dict(zip(possible, scores, strict=True))
        for border in pair.borders:
            value, why = value_of(found.get(border, refusals[border]))
            users = () if variant else tuple(used.get((channel, border), ()))
            gray_rule, name = pair.gray_rule(channel), pair.name(channel)
            conventions.append(
                Convention(name, variant, border, gray_rule, (0, 0), value, why, users)
            )
    if all(math.isnan(c.value) for c in conventions):
        raise Unscorable(conventions[0].why if conventions else refusals[0])
    return conventions


def _too_small(metric: str, image: Image, border: int) -> str | None:
    """Why a border leaves too few pixels; None if it does not."""
    try:
        height, width = shave(image, border).shape[:2]
    except Unscorable as error:
        return str(error)
    if metric != "ssim" or min(height, width) >= len(GAUSSIAN):
        return None
    return f"SSIM needs {len(GAUSSIAN)} pixels a side; a border of {border} leaves {width}x{height}"


def _psnr_rows(pair: Pair, borders: Sequence[int]) -> Iterator[_Row]:
    for channel, planes in pair.planes.items():
        errors = [
            [float(inside(squares, b).mean(dtype=np.float64)) for b in borders]
            for squares in (np.square(first - second) for first, second in planes)
        ]
        columns = list(zip(*errors, strict=True))
        yield _Row(channel, "", [decibel(average(column)) for column in columns])
        if channel == "rgb":
            yield _Row(channel, MEAN, [average(map(decibel, column)) for column in columns])


def _ssim_rows(pair: Pair, borders: Sequence[int]) -> Iterator[_Row]:
    work = [
        (both, borders, [v for v, channels in VARIANTS.items() if channel in channels])
        for channel, planes in pair.planes.items()
        for both in planes
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda arguments: similarities(*arguments), work)
        scores = {channel: [next(done) for _ in planes] for channel, planes in pair.planes.items()}
    for variant in ("", *VARIANTS):
        for channel, found in scores.items():
            if variant in found[0]:
                columns = zip(*(of_plane[variant] for of_plane in found), strict=True)
                yield _Row(channel, variant, [average(column) for column in columns])
        if not variant:
            yield _Row("blue", "", scores["rgb"][2][""])


def _niqe_rows(pair: Pair, borders: Sequence[int]) -> Iterator[_Row]:
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


ROWS = {"psnr": _psnr_rows, "ssim": _ssim_rows, "niqe": _niqe_rows}


def average(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def decibel(mean_square: float) -> float:
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf
