"""Where the labels of points go: beside them, covering nothing. Geometry in pixels, no drawing."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""
Points = NDArray[np.float64]
"""`(n, 2)`, x and y."""

SIDES = [
    (9, 9, 0.0), (9, -10, 0.0), (-9, 9, 1.0), (-9, -10, 1.0),
    (11, 0, 0.0), (-11, 0, 1.0), (0, 16, 0.5), (0, -16, 0.5),
]  # fmt: skip
"""Of a label: steps right and up from its point, and the part of its width left of that."""
DISTANCES = (1, 2, 4, 6)


def place_labels(
    points: Points,
    sizes: Sequence[tuple[float, float]],
    taken: Points,
    frame: Box,
    outward: tuple[int, int],
) -> list[Box]:
    """Returns the box of each label, the nearest free one, in the direction `outward` first.

    Beyond a Pareto front, towards better values, there is nothing of the same method. `taken` are
    points to keep clear of; a place outside `frame` is as bad as a covered one.
    """
    boxes: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in taken.tolist()]
    sides = sorted(SIDES, key=lambda side: -side[0] * outward[0] - side[1] * outward[1])
    placed = []
    for (x, y), (wide, tall) in zip(points.tolist(), sizes, strict=True):
        corners = [
            (x + far * right - wide * part, y + far * up - tall / 2)
            for far in DISTANCES
            for right, up, part in sides
        ]
        places = [(left, bottom, left + wide, bottom + tall) for left, bottom in corners]
        occupied = np.array([*boxes, frame])
        best = min(places, key=lambda place: _hidden(place, occupied))  # the first of the equal
        boxes.append(best)
        placed.append(best)
    return placed


def along(corners: Points) -> Points:
    """Returns a line's corners and what lies between them, about ten pixels apart."""
    parts = [corners]
    for start, end in pairwise(corners):
        steps = int(np.hypot(*(end - start)) // 10)
        parts.append(start + (end - start) * np.linspace(0, 1, steps + 2)[1:-1, None])
    return np.concatenate(parts)


def _hidden(box: Box, occupied: NDArray[np.float64]) -> float:
    """Square pixels of a box that cover others or lie outside the frame, the last of `occupied`."""
    left, bottom, right, top = box
    wide = np.minimum(right, occupied[:, 2]) - np.maximum(left, occupied[:, 0])
    tall = np.minimum(top, occupied[:, 3]) - np.maximum(bottom, occupied[:, 1])
    areas = np.maximum(wide, 0) * np.maximum(tall, 0)
    return float(areas[:-1].sum() + (right - left) * (top - bottom) - areas[-1])
