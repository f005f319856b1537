"""Sizes of pictures by name or by number."""

import re

from bench.errors import BenchError

NAMED = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}


def parse_size(text: str) -> tuple[int, int]:
    """Returns (width, height) in pixels. Raises BenchError for what is no size.

    >>> parse_size("100x80"), parse_size("4k")
    ((100, 80), (3840, 2160))
    """
    for name, size in NAMED.items():
        if name.casefold() == text.casefold():
            return size
    if numbers := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text):
        return int(numbers[1]), int(numbers[2])
    raise BenchError(f"no size {text!r}. Write WIDTHxHEIGHT, such as 100x100, or {_known()}.")


def _known() -> str:
    return ", ".join(f"{name} ({w}x{h})" for name, (w, h) in NAMED.items())
