"""Pictures read and resized by several processes, a few batches ahead of who looks at them."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from pathlib import Path

import numpy as np

from bench.data.images import read_image
from bench.data.pixels import Image, as_rgb
from bench.data.processes import end_with_parent, no_main_module, uninterrupted
from bench.errors import BenchError

Read = Image | str
"""(H, W, 3) RGB, uint8; or why the file is no picture."""

_AT_ONCE = 16  # pictures that a process is asked for in one go


def resized(image: Image, side: int | None) -> Image:
    """Returns RGB of side x side pixels, its shape not kept; None leaves the size as it is.

    Pillow's bilinear filter, which averages over what it shrinks. Rounded to 8 bits.
    """
    rgb = as_rgb(image)
    if side is None or rgb.shape[:2] == (side, side):
        return rgb
    import PIL.Image

    picture = PIL.Image.fromarray(np.ascontiguousarray(rgb))
    return np.array(picture.resize((side, side), PIL.Image.Resampling.BILINEAR))


def read_resized(path: Path, side: int | None) -> Read:
    """Returns a file's picture as `resized`, or why it cannot be read; all of it is decoded."""
    try:
        return resized(read_image(path), side)
    except BenchError as error:
        return str(error)


def _read_all(paths: Sequence[Path], side: int | None) -> list[Read]:
    return [read_resized(path, side) for path in paths]


class Readers:
    """Processes that read pictures; they are started when the first is asked for.

    workers: how many; with none, pictures are read in this process when they are asked for.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._processes: ProcessPoolExecutor | None = None

    def ask(self, paths: Sequence[Path], side: int | None) -> "Asked":
        """Begins to read some files; the pictures are to be had later, in this order."""
        parts = [paths[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE)]
        if self._workers < 1:
            return Asked([_done(_read_all(part, side)) for part in parts])
        with no_main_module(), uninterrupted():
            return Asked([self._started().submit(_read_all, part, side) for part in parts])

    def read(self, paths: Sequence[Path], side: int | None, ahead: int = 64) -> Iterator[Read]:
        """Yields the picture of each file, in order; about `ahead` wait in memory at most."""
        asked: list[Asked] = []
        for first in range(0, len(paths), ahead // 2):
            asked.append(self.ask(paths[first : first + ahead // 2], side))
            if len(asked) == 2:
                yield from asked.pop(0).pictures()
        for last in asked:
            yield from last.pictures()

    def _started(self) -> ProcessPoolExecutor:
        if self._processes is None:
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(
                self._workers, context, initializer=end_with_parent
            )
        return self._processes

    def close(self) -> None:
        """Ends the processes; who asks again starts them again."""
        if self._processes is not None:
            self._processes.shutdown(wait=False, cancel_futures=True)
            self._processes = None


class Asked:
    """Pictures that are being read."""

    def __init__(self, parts: Sequence["Future[list[Read]]"]) -> None:
        self._parts = parts

    def pictures(self) -> list[Read]:
        """Returns them, waiting where they are not there yet. Raises BenchError if a process was
        killed."""
        try:
            return list(chain.from_iterable(part.result() for part in self._parts))
        except BrokenProcessPool:
            raise BenchError(
                "a process that reads pictures was killed, perhaps for want of memory. Run it "
                "again: it goes on from its checkpoint."
            ) from None


def _done(found: list[Read]) -> "Future[list[Read]]":
    future: Future[list[Read]] = Future()
    future.set_result(found)
    return future
