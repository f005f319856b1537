"""Which region of which image a strip of crops shows, decided by a rule and not by taste."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.metrics import metric
from bench.records import label_of
from bench.report.rows import Row
from bench.report.scores import Column, cell_values

WINDOW = 64
"""HR pixels: small enough to see single pixels, large enough to recognise what is there."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Strip:
    """The same region of one image, HR first and then method by method."""

    dataset: str
    image: str
    hr: Picture
    crops: tuple[tuple[str, Picture], ...]
    """Title and picture `(WINDOW, WINDOW, 3)`."""
    left: int
    top: int
    rule: str
    absent: tuple[str, ...]
    """Methods without a picture, with the reason."""


def make_strip(rows: Sequence[Row], column: Column, pictures: Path) -> Strip | str:
    """Returns the strip of a data set chosen by a full-reference metric, or why there is none."""
    scores = {
        row.label: values[column]
        for row in rows
        if row.cells and column in (values := cell_values(row.cells[0]))
    }
    image = choose_image(scores)
    place = f"strip of {column.dataset}"
    if image is None:
        return f"{place}: no image has a {column.title} for every method."
    folder = label_of(column.dataset)
    reference = pictures / "reference" / folder / f"{image}.png"
    if not reference.exists():
        return f"{place}: no picture of {image}'s HR was kept."
    hr = load_picture(reference)
    shown: dict[str, Picture] = {}
    absent = []
    for row in rows:
        file = row.cells[0].file_name if row.cells else row.method
        path = pictures / file / folder / f"{image}.png"
        if not path.exists():
            absent.append(f"{row.label}: no picture kept")
        elif (picture := load_picture(path)).shape != hr.shape:
            absent.append(f"{row.label}: {_size(picture)} pixels, HR has {_size(hr)}")
        else:
            shown[row.label] = picture
    if not shown:
        return f"{place}: no restored picture of {image} has HR's size ({'; '.join(absent)})."
    compared = list(shown.values()) if len(shown) > 1 else [hr, *shown.values()]
    top, left = choose_window(compared)
    crop = (slice(top, top + WINDOW), slice(left, left + WINDOW))
    titles = {label: _title(label, scores.get(label, {}).get(image), column) for label in shown}
    crops = (("HR", hr[crop]), *((titles[label], p[crop]) for label, p in shown.items()))
    rule = _rule(column, len(scores), len(shown))
    return Strip(column.dataset, image, hr, crops, left, top, rule, tuple(absent))


def choose_image(scores: Mapping[str, Mapping[str, float]]) -> str | None:
    """Returns the image that is typical in how much the methods differ on it.

    Of method -> image -> score: the image whose spread, largest minus smallest score, is the set's
    lower median; with one method the one with the median score. Images that some method has no
    finite score for do not take part.
    """
    methods = list(scores.values())
    if not methods:
        return None
    spreads = []
    for image in set.intersection(*(set(m) for m in methods)):
        values = [m[image] for m in methods]
        if all(map(math.isfinite, values)):
            spread = max(values) - min(values) if len(values) > 1 else values[0]
            spreads.append((spread, image))
    return sorted(spreads)[(len(spreads) - 1) // 2][1] if spreads else None


def choose_window(pictures: Sequence[Picture], size: int = WINDOW) -> tuple[int, int]:
    """Returns top and left of the window in which pictures `(H, W, 3)` differ most.

    That is the largest mean over its pixels of the standard deviation of luma across pictures;
    the first in reading order if several. A picture smaller than the window is taken whole.
    """
    luma = np.stack([picture.astype(np.float32) @ LUMA for picture in pictures])
    deviation = luma.std(axis=0, dtype=np.float64)
    height, width = deviation.shape
    tall, wide = min(size, height), min(size, width)
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = deviation.cumsum(axis=0).cumsum(axis=1)
    sums = total[tall:, wide:] - total[:-tall, wide:] - total[tall:, :-wide] + total[:-tall, :-wide]
    # rounded, so that the noise of the running sum does not decide between equal windows
    top, left = np.unravel_index(np.round(sums, 6).argmax(), sums.shape)
    return int(top), int(left)


def load_picture(path: Path) -> Picture:
    """Returns RGB `(H, W, 3)`, uint8."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


def _size(picture: Picture) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _title(label: str, value: float | None, column: Column) -> str:
    score = "" if value is None else f"\n{column.title} {value:.{metric(column.metric).digits}f}"
    return label.replace(" (", "\n(") + score


def _rule(column: Column, scored: int, shown: int) -> str:
    image = (
        f"the image whose spread of {column.title} between the table's methods is the set's median"
        if scored > 1
        else f"the image whose {column.title} is the set's median"
    )
    differ = "the shown methods differ" if shown > 1 else "the method differs from HR"
    return (
        f"Chosen by rule: {image}; in it the {WINDOW}x{WINDOW} window in which {differ} most "
        "(largest mean standard deviation of luma)."
    )
