"""Decoded images in one flat file, mapped: read as they are used, shared by all processes.

A folder holds `pixels.bin`, all images one behind the other, row by row; and `index.npz`: where
each image begins and how large it is. Equal images are there once, however often they are named.
"""

import mmap
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.pixels import Samples

# no swap space is set aside for a copy that nobody makes: a set may be larger than memory
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


@dataclass(frozen=True)
class Mapped:
    """Images of one depth and number of channels."""

    pixels: Samples
    """(pixels, channels), those of all images; not to be written to."""
    stems: NDArray[np.str_]
    """Name of each image."""
    offset: NDArray[np.int64]
    """Pixel of the file that each image begins at; the same for equal images."""
    height: NDArray[np.int64]
    width: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stems)

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[1])

    def image(self, i: int) -> Samples:
        """Returns (H, W, channels), a view."""
        size = int(self.height[i]), int(self.width[i])
        first = int(self.offset[i])
        return self.pixels[first : first + size[0] * size[1]].reshape(*size, self.channels)

    def firsts(self) -> list[int]:
        """Returns the number of the first image of each content, in the order of the file."""
        _, first = np.unique(self.offset, return_index=True)
        return [int(i) for i in first]


def write_mapped(
    folder: Path, images: Iterable[Samples], stems: Sequence[str], which: Sequence[int] = ()
) -> None:
    """Writes images `(H, W, channels)` as they come, so that memory holds one of them.

    which: for each stem the number of its image; empty: one image for each stem, in this order.
    Raises ValueError for images of different depths or channels.
    """
    kind: tuple[str, int] | None = None
    sizes: list[tuple[int, int]] = []
    with open(folder / "pixels.bin", "wb") as file:
        for image in images:
            own = image.dtype.name, image.shape[2]
            if kind not in (None, own):
                raise ValueError(f"image {len(sizes)} is {own}, those before are {kind}")
            kind = own
            sizes.append((image.shape[0], image.shape[1]))
            file.write(np.ascontiguousarray(image).data)
    if kind is None or len(stems) != len(which or sizes):
        raise ValueError(f"{len(sizes)} images, {len(stems)} stems, {len(which)} references")
    height, width = np.array(sizes, np.int64).T
    area = height * width
    index = np.stack([np.cumsum(area) - area, height, width])
    if which:
        index = index[:, list(which)]
    with open(folder / "index.npz", "wb") as file:
        np.savez(file, index=index, stems=np.array(stems), kind=np.array(kind))


def read_mapped(folder: Path) -> Mapped:
    """Returns what `write_mapped` has written; no pixel is read before it is used."""
    with np.load(folder / "index.npz") as file:
        index, stems, (depth, channels) = file["index"], file["stems"], file["kind"]
    with open(folder / "pixels.bin", "rb") as file:
        # private and writable, for torch warns of arrays that are read-only; nobody writes
        mapped = mmap.mmap(
            file.fileno(),
            0,
            flags=mmap.MAP_PRIVATE | _NO_RESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )
    pixels = np.frombuffer(mapped, np.dtype(str(depth))).reshape(-1, int(channels))
    return Mapped(pixels, stems, *index)
