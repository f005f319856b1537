"""Why a score differs from somebody else's: one image under every convention in use.

What papers and programs leave open: the channel and its range, whether Y is rounded, the border,
what a single-channel file is, SSIM's window, and whether the two images lie on each other.
"""

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.data.images import read_image
from bench.data.pixels import Image
from bench.errors import BenchError, Unscorable, unknown
from bench.measure.explain.conventions import Convention
from bench.measure.explain.pair import ROWS, Pair, conventions_of
from bench.measure.explain.shifts import Alignment, alignment_of, moved_channels


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
    if metric not in ROWS:
        raise BenchError(unknown("metric", metric, ROWS))
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
    pair = Pair(sr, hr, scale)
    try:
        conventions, alignments = conventions_of(metric, pair), []
    except Unscorable as error:
        raise BenchError(f"{image}: {error}.") from None
    for channel in moved_channels(metric, pair):
        moved, alignment = alignment_of(channel, metric, pair)
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
