"""The pictures that the page lets compare: those of the strips, pixel for pixel."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bench.report.scores import Column
from bench.report.strip import Crop, Picture, Strip, load_picture

WHOLE = 600_000
"""Pixels up to which a picture stands in the page as it is."""
SIDE = 640
"""Of the part of a larger one."""
MOST_BYTES = 24_000_000
"""Of all pictures in a page."""


@dataclass(frozen=True)
class Shown:
    """One method's picture."""

    name: str
    scores: tuple[str, ...]
    png: bytes


@dataclass(frozen=True)
class Compared:
    """Pictures of one scene, HR first."""

    title: str
    about: str
    pictures: tuple[Shown, ...]


def compared(strips: Sequence[tuple[Strip, Column]]) -> tuple[list[Compared], list[str]]:
    """Returns the pictures of each strip, and what was left out for the page's size."""
    found, left_out, size = [], [], 0
    for strip, column in strips:
        pictures = tuple(_pictures(strip))
        size += sum(len(one.png) for one in pictures)
        title = f"{column.place}, {strip.image}"
        if size > MOST_BYTES:
            left_out.append(f"pictures to compare of {title}: the page would be too large.")
        else:
            found.append(Compared(title, f"{_part_text(strip)} {strip.rule}", pictures))
    return found, left_out


def _pictures(strip: Strip) -> Iterator[Shown]:
    for crop in (strip.hr, *(crop for _, line in strip.lines for crop in line)):
        yield Shown(crop.title, crop.scores, _png(crop, strip))


def _png(crop: Crop, strip: Strip) -> bytes:
    """The file as it lies there, or the part of a large picture."""
    if (part := _part(strip)) is None:
        return crop.file.read_bytes()
    buffer = io.BytesIO()
    picture: Picture = np.ascontiguousarray(load_picture(crop.file)[part])
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _part(strip: Strip) -> tuple[slice, slice] | None:
    """Of a picture that is too large: a square round the strip's window."""
    height, width = strip.size
    if height * width <= WHOLE:
        return None
    tall, wide = min(SIDE, height), min(SIDE, width)
    top = min(max(0, strip.top + 32 - tall // 2), height - tall)
    left = min(max(0, strip.left + 32 - wide // 2), width - wide)
    return slice(top, top + tall), slice(left, left + wide)


def _part_text(strip: Strip) -> str:
    if (part := _part(strip)) is None:
        return "The whole picture, each pixel as it was scored."
    rows, columns = part
    return (
        f"{columns.stop - columns.start}x{rows.stop - rows.start} pixels from left {columns.start},"
        f" top {rows.start}, each as it was scored."
    )
