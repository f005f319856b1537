"""Writes the names of points beside them, with a line to those that are far away."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bench.report.figures.style import DPI
from bench.report.labels import along, place_labels

LABEL_SIZE = 7.5
Label = tuple[float, float, str, str]
"""x, y, text, colour."""


def draw_labels(axes: Axes, labels: Sequence[Label], outward: tuple[int, int]) -> None:
    """Places each label where it covers nothing, towards better values first; to be called when
    places in pixels are final."""
    to_pixels = axes.transData.transform
    points = np.array([to_pixels((x, y)) for x, y, _, _ in labels]).reshape(-1, 2)
    # an estimate is enough, and measuring text takes as long as drawing it
    em = LABEL_SIZE * DPI / 72
    sizes = [(0.58 * em * len(text), 1.3 * em) for _, _, text, _ in labels]
    lines = [(line, to_pixels(line.get_xydata())) for line in axes.lines]
    taken = [px if line.get_linestyle() == "None" else along(px) for line, px in lines]
    left, bottom, right, top = axes.get_window_extent().extents
    boxes = place_labels(points, sizes, np.concatenate(taken), (left, bottom, right, top), outward)
    for (x, y, text, colour), (px, py), box in zip(labels, points, boxes, strict=True):
        offset = ((box[0] + box[2]) / 2 - px, (box[1] + box[3]) / 2 - py)
        far = abs(offset[1]) > 16 or abs(offset[0]) > (box[2] - box[0]) / 2 + 11
        axes.annotate(
            text, (x, y), (offset[0] * 72 / DPI, offset[1] * 72 / DPI), ha="center", va="center",
            textcoords="offset points", fontsize=LABEL_SIZE, color=colour,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": colour} if far else None,
        )  # fmt: skip
