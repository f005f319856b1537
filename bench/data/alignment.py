"""Two photographs of one scene: by how many pixels they lie apart, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.pairs import Pair
from bench.data.pixels import Image, as_rgb

REACH = 3
"""Pixels that a shift is looked for within, in each direction."""
LOOKED_AT = 400
"""Pairs of a larger set that are compared, evenly spaced: 1.5 ms each of 100x100 pixels."""
LARGEST = 256
"""Pixels a side, of the middle, that are compared of larger pictures."""


@dataclass(frozen=True)
class Alignment:
    """How well the pairs of a set lie on each other."""

    compared: int
    """Pairs that were looked at; those of one colour do not count."""
    in_place: int
    """Of the compared: those that fit best as they are."""
    shift: tuple[int, int]
    """(dx, dy) under which all together fit best: LR lies so many pixels to the right of HR, and
    below it."""
    gain: float
    """dB by which the mean PSNR of the pairs rises if all are shifted by that."""
    own_gain: float
    """dB by which it rises if each pair is shifted by what suits it best."""

    def __str__(self) -> str:
        """Such as "231 of 396 pairs fit best as they are, within 3 px; all together as they are,
        +0.00 dB; each by its own shift +0.21 dB."."""
        x, y = self.shift
        together = "as they are" if self.shift == (0, 0) else f"shifted by ({x:+d}, {y:+d}) px"
        return (
            f"{self.in_place} of {self.compared} pairs fit best as they are, within {REACH} px; "
            f"all together {together}, {self.gain:+.2f} dB; each by its own shift "
            f"{self.own_gain:+.2f} dB."
        )


def alignment(pairs: Sequence[Pair]) -> Alignment | None:
    """Returns how a set's pairs lie on each other; None if none can be compared.

    PSNR is that of RGB between HR without its outer 3 pixels and the part of LR that lies there,
    or so many pixels beside it. Raises BenchError for files that cannot be read.
    """
    step = max(1, -(-len(pairs) // LOOKED_AT))
    found = [decibels(p.hr(), np.asarray(p.lr(), np.uint8)) for p in pairs[::step] if p.has_hr]
    tables = [table for table in found if table is not None]
    if not tables:
        return None
    each = np.stack(tables)
    mean, middle = each.mean(axis=0), (REACH, REACH)
    best = np.unravel_index(mean.argmax(), mean.shape)
    own = each.max(axis=(1, 2))
    return Alignment(
        compared=len(each),
        in_place=int((each[:, REACH, REACH] == own).sum()),
        shift=(int(best[1]) - REACH, int(best[0]) - REACH),
        gain=float(mean[best] - mean[middle]),
        own_gain=float(own.mean() - mean[middle]),
    )


def decibels(hr: Image, lr: Image) -> NDArray[np.float64] | None:
    """Returns PSNR for each shift, (7, 7): down by the first index less 3, right by the second.

    hr, lr: of one size. At most 100 dB, for equal pictures have none. None for pictures too small,
    and where one of them is of one colour, which fits everywhere alike.
    """
    still, moved = (_middle(as_rgb(image)).astype(np.int32) for image in (hr, lr))
    height, width = (side - 2 * REACH for side in still.shape[:2])
    if min(height, width) < 1 or min(np.ptp(still), np.ptp(moved)) == 0:
        return None
    fixed = still[REACH : REACH + height, REACH : REACH + width]
    errors = np.empty((2 * REACH + 1, 2 * REACH + 1))
    for dy, dx in np.ndindex(errors.shape):
        difference = moved[dy : dy + height, dx : dx + width] - fixed
        errors[dy, dx] = np.square(difference).mean()
    return 10 * np.log10(255**2 / np.maximum(errors, 255**2 * 1e-10))


def _middle(image: Image) -> Image:
    top, left = (max(0, side - LARGEST) // 2 for side in image.shape[:2])
    return image[top : top + LARGEST, left : left + LARGEST]
