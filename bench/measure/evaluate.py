"""A benchmark's pictures, restored one by one and scored beside it: image by image to scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.benchmark import Benchmark
from bench.data.images import read_image, scan_images
from bench.data.pairs import Pair
from bench.data.pixels import Image, Input
from bench.errors import BenchError, NoPicture
from bench.measure.meter import Meter
from bench.measure.metrics import ImageScore
from bench.measure.naming import pair_names
from bench.measure.protocol import protocol as find_protocol
from bench.measure.task import Restored
from bench.records.cell import Score, UsedDataset

_EMPTY = np.empty((0, 0, 3), np.uint8)
Restore = Callable[[Pair], tuple[Input, Image]]
"""A pair of a benchmark -> its LR, and SR as 8 bits. Raises NoPicture for what is none."""


class Evaluated(NamedTuple):
    """One image of a benchmark, restored and scored."""

    stem: str
    lr: Input
    sr: Image
    hr: Image | None
    """None in a set without HR files: then only no-reference metrics have values."""
    scores: Mapping[str, ImageScore]
    """By metric."""

    def without_pixels(self) -> "Evaluated":
        """Returns the same with empty pictures, which take no memory."""
        return self._replace(lr=_EMPTY, sr=_EMPTY, hr=None)


def evaluate(
    restore: Restore,
    benchmark: Benchmark,
    meter: Meter,
    protocol: str,
    metrics: Sequence[str] | None = None,
) -> Iterator[Evaluated]:
    """Yields each image of a benchmark with its scores, as they are finished.

    Pictures are restored in this process while others are scored beside it. metrics: some of the
    meter's; None: all. Raises BenchError, which names the image, for what is no picture and for one
    of another size than HR's.
    """
    rules = find_protocol(protocol)
    tasks = (_restored(restore, benchmark, pair) for pair in benchmark.pairs)
    count = len(benchmark.pairs)
    for task, scores in meter.measure(tasks, rules, benchmark.scale, count, metrics):
        if isinstance(scores, BenchError):
            raise scores
        assert isinstance(task, Restored)
        yield Evaluated(task.stem, task.lr, task.sr, task.hr, scores)


def _restored(restore: Restore, benchmark: Benchmark, pair: Pair) -> Restored:
    place = f"{benchmark.name}/{pair.stem}"
    hr = pair.hr() if pair.has_hr else None
    try:
        lr, sr = restore(pair)
    except NoPicture as error:
        raise BenchError(f"{place}: {error}.") from error
    # one channel would broadcast into a plausible score
    size = hr.shape[:2] if hr is not None else tuple(benchmark.scale * n for n in lr.shape[:2])
    if sr.shape[:2] != size or (sr.ndim != 3 and (hr is None or hr.ndim == 3)):
        sizes = ["x".join(map(str, (w, h, *c))) for h, w, *c in (sr.shape, (*size, 3))]
        raise BenchError(f"{place}: the restored picture is {sizes[0]}, HR is {sizes[1]}.")
    return Restored(pair.stem, lr, sr, hr)


def originals(pair: Pair) -> tuple[Input, Image]:
    """Returns HR in place of SR: what no-reference metrics say of the originals themselves."""
    hr = pair.hr()
    return hr, hr


def pictures_in(folder: Path, benchmark: Benchmark) -> Restore:
    """Returns what takes the pictures of a folder for the restored ones, by stem, or as
    `pair_names` finds them. Raises BenchError with the stems that are lacking.
    """
    files, problems = scan_images(folder)
    named = pair_names(files, [pair.stem for pair in benchmark.pairs], benchmark.scale)
    files = {stem: files[name] for name, stem in named.pairs.items()}
    lacking = [pair.stem for pair in benchmark.pairs if pair.stem not in files]
    if lacking:
        problems.append(
            f"{folder}: no picture for {', '.join(lacking[:5])}"
            + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            + f" of {benchmark.name} x{benchmark.scale}. Pictures are paired by file stem."
        )
    if problems:
        raise BenchError("\n".join(problems))

    def read(pair: Pair) -> tuple[Input, Image]:
        sr = read_image(files[pair.stem])
        return sr, sr

    return read


def rows_of(benchmark: Benchmark, protocol: str, image: Evaluated) -> list[Score]:
    """Returns an image's scores as a record keeps them."""
    return [
        Score(
            benchmark.name, benchmark.scale, image.stem, name, protocol,
            score.value, score.why or "", score.note or "",
        )
        for name, score in image.scores.items()
    ]  # fmt: skip


def used(benchmark: Benchmark) -> UsedDataset:
    """Returns what a record keeps of a benchmark."""
    return UsedDataset(
        fingerprint=benchmark.fingerprint,
        count=len(benchmark.pairs),
        official=benchmark.official,
        source=benchmark.source,
    )
