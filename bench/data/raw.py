"""SID's raw files: black level, packing, exposure ratio, development. The one door to rawpy.

All numbers are those of the published code: Chen et al., Learning to See in the Dark, CVPR 2018.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.data.pixels import Image
from bench.errors import BenchError

if TYPE_CHECKING:
    import rawpy

Mosaic = NDArray[np.uint16]
"""(H, W) raw sensor values, one colour a pixel."""
Packed = NDArray[np.float32]
"""(h, w, channels), 0 at the black level, 1 at the white level."""

LONGEST = 300.0
"""The exposure ratio is capped: the longest exposure stands for more light than it caught."""


@dataclass(frozen=True)
class Camera:
    """How the published code reads a camera's files."""

    black: int
    white: int
    pattern: tuple[str, ...]
    """The colours of the sensor, row by row, as far as they repeat."""
    scale: int
    """The mosaic is so many times as large as the packed image."""
    pack: Callable[[Mosaic, int, int], Packed]


def pack_bayer(mosaic: Mosaic, black: int, white: int) -> Packed:
    """Returns (H/2, W/2, 4): of each 2x2 pixels (0,0), (0,1), (1,1), (1,0), that is R G B G.

    An odd last row or column is left out.
    """
    height, width = (n // 2 * 2 for n in mosaic.shape)
    levels = _levels(mosaic[:height, :width], black, white)
    return np.stack([levels[y::2, x::2] for y, x in ((0, 0), (0, 1), (1, 1), (1, 0))], axis=-1)


# channel -> which of 6x6 pixels becomes the packed pixel (0,0), (0,1), (1,0), (1,1)
_XTRANS = (
    ((0, 0), (0, 4), (3, 1), (3, 3)),  # red
    ((0, 2), (0, 5), (3, 2), (3, 5)),  # green
    ((0, 1), (0, 3), (3, 0), (3, 4)),  # blue
    ((1, 2), (2, 5), (5, 2), (4, 5)),  # red
    ((2, 2), (1, 5), (4, 2), (5, 5)),  # blue
    ((1, 0), (1, 3), (4, 0), (4, 3)),  # green, as the rest
    ((1, 1), (1, 4), (4, 1), (4, 4)),
    ((2, 0), (2, 3), (5, 0), (5, 3)),
    ((2, 1), (2, 4), (5, 1), (5, 4)),
)


def pack_xtrans(mosaic: Mosaic, black: int, white: int) -> Packed:
    """Returns (H/3, W/3, 9), H and W cut to a multiple of 6: R G B R B G G G G of each 3x3 pixels.

    Red and blue do not stand at one place in all 3x3 pixels, so 6x6 of them are packed at once.
    """
    height, width = (n // 6 * 6 for n in mosaic.shape)
    levels = _levels(mosaic[:height, :width], black, white)
    packed = np.empty((height // 3, width // 3, len(_XTRANS)), np.float32)
    for channel, places in enumerate(_XTRANS):
        for (i, j), (y, x) in zip(((0, 0), (0, 1), (1, 0), (1, 1)), places, strict=True):
            packed[i::2, j::2, channel] = levels[y::6, x::6]
    return packed


def _levels(mosaic: Mosaic, black: int, white: int) -> Packed:
    levels = np.maximum(mosaic.astype(np.float32) - np.float32(black), np.float32(0))
    return np.asarray(levels / np.float32(white - black))


CAMERAS = {
    "sony": Camera(512, 16383, ("RG", "GB"), 2, pack_bayer),
    "fuji": Camera(
        1024, 16383, ("RBGBRG", "GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB"), 3, pack_xtrans
    ),
}
"""Sony a7S II and Fuji X-T2."""


def exposure_ratio(short: str, long: str) -> float:
    """Returns how many times as long the second file's exposure is, at most 300.

    >>> exposure_ratio("10003_00_0.04s.ARW", "10003_00_10s.ARW")
    250.0
    """
    return min(_exposure(long) / _exposure(short), LONGEST)


def _exposure(name: str) -> float:
    """Seconds, from a file name of SID."""
    found = re.fullmatch(r"\d+_\d+_(\d+(?:\.\d+)?)s\.\w+", name)
    if found is None or not float(found[1]):
        raise BenchError(f"{name}: no exposure time in the name; wanted such as 10003_00_0.1s.ARW.")
    return float(found[1])


def read_short(path: Path, long: Path, camera: Camera) -> Packed:
    """Returns the short exposure packed, times the exposure ratio, clipped at 1.

    Raises BenchError for a file that is broken, rotated or of another sensor.
    """
    ratio = np.float32(exposure_ratio(path.name, long.name))
    packed = camera.pack(read_mosaic(path, camera), camera.black, camera.white)
    return np.asarray(np.minimum(packed * ratio, np.float32(1)))


def read_long(path: Path, camera: Camera) -> Image:
    """Returns (H, W, 3) 8-bit sRGB, as it is measured: `develop`, rounded.

    Raises BenchError as `read_short`.
    """
    levels = (develop(path, camera).astype(np.uint32) + 128) // 257  # 65535 = 257 * 255
    return levels.astype(np.uint8)


def develop(path: Path, camera: Camera) -> NDArray[np.uint16]:
    """Returns (H, W, 3) 16-bit sRGB, as the published code trains on it: LibRaw's development with
    the camera's white balance and fixed brightness. Raises BenchError as `read_short`."""
    return _developed(path, path.stat().st_mtime_ns if path.is_file() else 0, camera).copy()


@lru_cache(maxsize=1)  # development takes seconds, and up to 15 short exposures share a long one
def _developed(path: Path, modified: int, camera: Camera) -> NDArray[np.uint16]:
    with _opened(path, camera) as raw:
        picture = raw.postprocess(
            use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16
        )
        size = raw.sizes.height, raw.sizes.width
    if picture.shape[:2] != size:
        raise BenchError(f"{path}: developed to {picture.shape[:2]}, its sensor has {size}.")
    return np.asarray(picture, np.uint16)


def read_mosaic(path: Path, camera: Camera) -> Mosaic:
    """Returns the visible sensor values. Raises BenchError as `read_short`."""
    with _opened(path, camera) as raw:
        return np.array(raw.raw_image_visible)  # a copy: the file is closed


def raw_size(path: Path, camera: Camera) -> tuple[int, int]:
    """Returns (height, width) of the visible part from the file's header."""
    with _opened(path, camera) as raw:
        return raw.sizes.height, raw.sizes.width


def packed_size(path: Path, camera: Camera) -> tuple[int, int]:
    """Returns (height, width) of the packed image from the file's header."""
    period = len(camera.pattern)
    height, width = (n // period * period // camera.scale for n in raw_size(path, camera))
    return height, width


def black_levels(path: Path, camera: Camera) -> list[int]:
    """Returns the black level of each colour as the file itself states it."""
    with _opened(path, camera) as raw:
        return raw.black_level_per_channel


@contextmanager
def _opened(path: Path, camera: Camera) -> Iterator["rawpy.RawPy"]:
    import rawpy

    try:
        with rawpy.imread(str(path)) as raw:
            _refuse(path, raw, camera)
            yield raw
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise BenchError(
            f"{path}: not a readable raw file: {reason}. Copy or download it again."
        ) from None


def _refuse(path: Path, raw: "rawpy.RawPy", camera: Camera) -> None:
    """Raises BenchError if packing would mix colours, or HR would be turned."""
    top, left = raw.sizes.top_margin, raw.sizes.left_margin
    names = raw.color_desc.decode()
    period = range(len(camera.pattern))
    found = tuple("".join(names[raw.raw_color(top + y, left + x)] for x in period) for y in period)
    if found != camera.pattern:
        raise BenchError(
            f"{path}: its sensor's colours are {'/'.join(found)}, the set's camera has "
            f"{'/'.join(camera.pattern)}. Is it a file of this set?"
        )
    if raw.sizes.flip:
        raise BenchError(f"{path}: is marked as rotated. Use the file as it was published.")
