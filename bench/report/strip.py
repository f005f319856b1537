"""Which region of which image a strip of crops shows, and in which order: by rule, not by taste."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.measure.metrics import metric
from bench.records.cell import label_of
from bench.report.rows import Row
from bench.report.scores import Column, cell_values, printed_number
from bench.report.stats import evenly_spaced
from bench.study.fields import Study
from bench.study.words import number

WINDOW = 64
"""HR pixels: small enough to see single pixels, large enough to recognise what is there."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
MOST_WHOLE = 6
"""Up to so many methods stand side by side, each with its whole picture above its crop."""
MOST_CROPS = 18
ACROSS = 6
"""Crops in a line of a strip without a parameter."""
MOST_STEPS, MOST_LINES = 8, 7
THUMBNAIL = 540
"""Pixels of a whole picture's longer side: what is drawn of it, and the file stays small."""
Picture = NDArray[np.uint8]
Scores = Mapping[str, Mapping[Column, Mapping[str, float]]]
"""Label of a row -> column -> image -> value."""


@dataclass(frozen=True)
class Crop:
    """One method's picture of the image."""

    title: str
    scores: tuple[str, ...]
    window: Picture
    """`(WINDOW, WINDOW, 3)`."""
    whole: Picture
    """The whole picture, as a thumbnail."""
    file: Path
    """Where it lies."""


@dataclass(frozen=True)
class Line:
    """Rows of the table that stand beside each other."""

    name: str
    """The swept method; "" where there is none."""
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Strip:
    """The same region of one image, of HR and of every method."""

    benchmark: str
    image: str
    size: tuple[int, int]
    """Height and width of HR."""
    hr: Crop
    lines: tuple[tuple[str, tuple[Crop, ...]], ...]
    """Name and crops of each line."""
    left: int
    top: int
    rule: str
    absent: tuple[str, ...]
    """What is not shown, with the reason."""

    @property
    def by_parameter(self) -> bool:
        """Whether the lines go along a swept parameter."""
        return any(name for name, _ in self.lines)


def score_columns(study: Study, columns: Sequence[Column]) -> list[list[Column]]:
    """Returns for each set the two columns whose scores its strip tells; the first one chooses the
    image: full-reference metrics before others, PSNR first of all."""
    chosen: dict[tuple[str, int], list[Column]] = {}
    for column in sorted(
        columns, key=lambda c: (not metric(c.metric).reference, not c.metric.startswith("psnr"))
    ):
        chosen.setdefault((column.dataset, column.scale), []).append(column)
    places = dict.fromkeys([*study.benchmarks(), *chosen])
    return [chosen[place][:2] for place in places if place in chosen]


def arrange(study: Study, rows: Sequence[Row]) -> tuple[list[Line], list[str]]:
    """Returns the lines of a strip, and what is left out of it.

    Where nothing is selected and each swept method goes over one number by grid, every such method
    is a line in the order of the number, after a line of the others. Else all are one line.
    """
    if not _by_one_number(study):
        more = len(rows) - MOST_CROPS
        cut = f"the last {more} of the table's {len(rows)} rows"
        return [Line("", tuple(rows[:MOST_CROPS]))], [cut] if more > 0 else []
    lines = [Line("", tuple(row for row in rows if not study.methods[row.method].ranges))]
    left_out = []
    swept = [name for name, section in study.methods.items() if section.ranges]
    for name in swept[:MOST_LINES]:
        mine = [row for row in rows if row.method == name]
        mine.sort(key=lambda row: [*row.cells[0].swept.values()] if row.cells else [])
        kept = [mine[k] for k in evenly_spaced(len(mine), MOST_STEPS)]
        lines.append(Line(name, tuple(kept)))
        if len(kept) < len(mine):
            left_out.append(f"{name}: {len(mine) - len(kept)} of its {len(mine)} trials")
    left_out += [f"{name}: more than {MOST_LINES} swept methods" for name in swept[MOST_LINES:]]
    return [line for line in lines if line.rows], left_out


def _by_one_number(study: Study) -> bool:
    swept = [section.ranges for section in study.methods.values() if section.ranges]
    longest = max(map(study.trials_of, study.methods))
    values = [v for ranges in swept for range_ in ranges.values() for v in range_.values() or ()]
    return (
        study.select is None
        and study.budget.sampler == "grid"
        and (longest > 2 or len(swept) > 1)  # two values of one method are a pair, not a course
        and all(len(ranges) == 1 for ranges in swept)
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        and bool(values)
    )


def make_strips(
    study: Study, rows: Sequence[Row], columns: Sequence[Column], pictures: Path
) -> tuple[list[tuple[Strip, Column]], list[str]]:
    """Returns the strip of each data set with the column that chose its image, and why others are
    not there."""
    made = [(make_strip(study, rows, t, pictures), t[0]) for t in score_columns(study, columns)]
    strips = [(strip, column) for strip, column in made if isinstance(strip, Strip)]
    return strips, [why for why, _ in made if isinstance(why, str)]


def make_strip(
    study: Study, rows: Sequence[Row], columns: Sequence[Column], pictures: Path
) -> Strip | str:
    """Returns the strip of a data set, or why there is none. columns: of `score_columns`."""
    lines, left_out = arrange(study, rows)
    shown = [row for line in lines for row in line.rows]
    scores = {row.label: cell_values(row.cells[0]) for row in shown if row.cells}
    first = columns[0]
    image = choose_image(
        {label: values[first] for label, values in scores.items() if first in values}
    )
    benchmark = study.key(first.dataset, first.scale)
    place = f"strip of {benchmark}"
    if image is None:
        return f"{place}: no image has a {first.title} for every method."
    reference = pictures / "reference" / label_of(benchmark) / f"{image}.png"
    if not reference.exists():
        return f"{place}: no picture of {image}'s HR was kept."
    try:
        hr = load_picture(reference)
    except OSError:
        return f"{place}: {reference} is damaged."
    found, why = _load_all(shown, pictures, label_of(benchmark), image, hr)
    left_out += why
    if not found:
        return f"{place}: no restored picture of {image} can be shown ({'; '.join(left_out)})."
    top, left = choose_window([*found.values()] if len(found) > 1 else [hr, *found.values()])

    def crop(title: str, told: tuple[str, ...], whole: Picture, file: Path) -> Crop:
        window = whole[top : top + WINDOW, left : left + WINDOW].copy()  # keeps no whole picture
        return Crop(title, told, window, thumbnail(whole), file)

    def crop_of(row: Row, line: Line) -> Crop:
        told = _scores_of(scores[row.label], columns, image)
        file = _file_of(row, pictures, label_of(benchmark), image)
        return crop(_title(row, line), told, found[row.label], file)

    crops = tuple(
        (line.name, tuple(crop_of(row, line) for row in line.rows if row.label in found))
        for line in lines
    )
    return Strip(
        benchmark, image, hr.shape[:2], crop("HR", (), hr, reference),
        tuple(c for c in crops if c[1]),
        left, top, _rule(first, len(scores), len(found)), tuple(left_out),
    )  # fmt: skip


def _load_all(
    rows: Sequence[Row], pictures: Path, dataset: str, image: str, hr: Picture
) -> tuple[dict[str, Picture], list[str]]:
    """Returns each row's picture by its label, and why others are not shown."""
    found, why = {}, []
    for row in rows:
        made = _picture_of(_file_of(row, pictures, dataset, image), hr)
        if isinstance(made, str):
            why.append(f"{row.label}: {made}")
        else:
            found[row.label] = made
    return found, why


def _file_of(row: Row, pictures: Path, dataset: str, image: str) -> Path:
    name = row.cells[0].file_name if row.cells else row.method
    return pictures / name / dataset / f"{image}.png"


def _picture_of(path: Path, hr: Picture) -> Picture | str:
    """Returns a method's picture, or why it is not shown."""
    if not path.exists():
        return "no picture kept"
    try:
        picture = load_picture(path)
    except OSError:
        return f"{path} is damaged"
    if picture.shape != hr.shape:
        return f"{_size(picture)} pixels, HR has {_size(hr)}"
    if np.array_equal(picture, hr):
        return "the same picture as HR"
    return picture


def choose_image(scores: Mapping[str, Mapping[str, float]]) -> str | None:
    """Returns the image that is typical in how much the methods differ on it.

    Of method -> image -> score: the image whose spread, largest minus smallest score, is the set's
    lower median; with one method the one with the median score. A method without any finite score,
    such as the untouched original's PSNR, has no say; of the others' images those that one of them
    has no finite score for do not take part.
    """
    methods = [m for m in scores.values() if any(map(math.isfinite, m.values()))]
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
    first = pictures[0].astype(np.float32) @ LUMA
    mean, square = np.zeros(first.shape), np.zeros(first.shape)
    for picture in pictures[1:]:  # one at a time: a grid has dozens, of millions of pixels
        away = picture.astype(np.float32) @ LUMA - first
        mean += away / len(pictures)
        square += away * away / len(pictures)
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
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


def thumbnail(picture: Picture, most: int = THUMBNAIL) -> Picture:
    """Returns the picture with its longer side at most `most` pixels, each a mean over its area."""
    height, width = picture.shape[:2]
    part = most / max(height, width)
    if part >= 1:
        return picture
    size = (max(1, round(width * part)), max(1, round(height * part)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _size(picture: Picture) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _title(row: Row, line: Line) -> str:
    """ "stages 3" in the line of a swept method, else the row's label."""
    if not line.name:
        return row.label
    return ", ".join(f"{name} {number(value)}" for name, value in row.cells[0].swept.items())


def _scores_of(
    values: Mapping[Column, Mapping[str, float]], columns: Sequence[Column], image: str
) -> tuple[str, ...]:
    return tuple(
        f"{column.title} {printed_number(values[column][image], metric(column.metric).digits)}"
        for column in columns
        if image in values.get(column, {})
    )


def _rule(column: Column, scored: int, shown: int) -> str:
    image = (
        f"the image whose spread of {column.title} between these methods is the set's median"
        if scored > 1
        else f"the image whose {column.title} is the set's median"
    )
    differ = "the shown methods differ" if shown > 1 else "the method differs from HR"
    return (
        f"Chosen by rule: {image}; in it the {WINDOW}x{WINDOW} window in which {differ} most "
        "(largest mean standard deviation of luma)."
    )
