"""Image files to arrays and back. What cannot be read exactly as stored is refused by name."""

import struct
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data import refusals
from bench.data.files import as_text, whole
from bench.data.pixels import Image
from bench.errors import BenchError, reason_of

if TYPE_CHECKING:
    import PIL.Image

LARGEST = 2**29
"""Pixels of a picture that may be read or made: reading takes 14 bytes of each, 7.5 GB. A 24 MP
photograph, enlarged x4, has 384 million."""
SUFFIXES = frozenset({".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "YCbCr": "RGB"}
_ORIENTATION = 0x0112
_ORIENTED = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_OPENING = threading.Lock()  # warnings.catch_warnings is for one thread at a time


def read_image(path: Path) -> Image:
    """Returns the pixels as stored, uint8: (H, W, 3) RGB, or (H, W) for a single-channel file.

    A palette becomes the RGB it stands for; a colour profile is ignored, as by all peers. Raises
    BenchError for a file that is broken, or that has an alpha channel, CMYK, 16 bits or a rotation
    mark: each can be turned into 8-bit RGB in several ways, so the user has to choose one.
    """
    with _opened(path) as picture:
        pixels = np.array(picture.convert(_MODES[picture.mode]))  # a copy: writable
        _refuse(path, picture)  # again: in a PNG the mark may follow the pixels
        return pixels


def image_size(path: Path) -> tuple[int, int]:
    """Returns (height, width) from the file's header; refuses what `read_image` refuses."""
    with _opened(path) as picture:
        width, height = picture.size
        return height, width


def image_kind(path: Path) -> tuple[str, str]:
    """Returns (file format, colour mode) as Pillow names them, such as ("PNG", "P")."""
    with _opened(path) as picture:
        return picture.format or "", picture.mode


def write_image(path: Path, image: Image) -> None:
    """Writes a PNG that is there whole or not at all. Lightly compressed: 5 times faster."""
    import PIL.Image

    if image.dtype != np.uint8:
        raise TypeError(f"write_image takes uint8, got {image.dtype}")
    with whole(path) as file:
        PIL.Image.fromarray(image).save(file, format="PNG", compress_level=1)


def image_files(folder: Path) -> dict[str, Path]:
    """Returns stem -> file of every image in a folder, sorted by stem as text: 10 before 9.

    Raises BenchError if there is none, or if files share a stem.
    """
    files, problems = scan_images(folder)
    if problems:
        raise BenchError("\n".join(problems))
    return files


def scan_images(folder: Path) -> tuple[dict[str, Path], list[str]]:
    r"""Returns (stem -> file of every image, sorted by stem; a line for each file to remove).

    Hidden files, folders and other files do not count. Stems are in Unicode's NFC form, so that a
    name from a Mac is the same name; bytes that are no UTF-8 are escaped, as in "caf\xe9". Raises
    BenchError for a folder without images.
    """
    files: dict[str, Path] = {}
    problems = []
    entries = folder_entries(folder)
    for path in entries:
        if not is_image(path):
            continue
        stem = unicodedata.normalize("NFC", as_text(path.stem))
        if stem in files:
            problems.append(
                f"{path}: has the same stem as {files[stem].name}, so it is not clear which "
                "of them is meant. Remove one."
            )
        else:
            files[stem] = path
    if not files:
        inside = ", ".join(path.name for path in entries if path.is_dir())
        raise BenchError(
            f"{folder}: has no image files ({', '.join(sorted(SUFFIXES))})."
            + (f" Folders in it are not searched: {inside}." if inside else "")
        )
    return dict(sorted(files.items())), problems


def other_files(folder: Path) -> list[Path]:
    """Returns the files of a folder that are no images, hidden ones apart, sorted.

    Raises BenchError if it cannot be listed.
    """
    shown = [path for path in folder_entries(folder) if not path.name.startswith(".")]
    return [path for path in shown if path.is_file() and not is_image(path)]


def is_image(path: Path) -> bool:
    """Whether a file's name is that of an image; it may be broken."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def folder_entries(folder: Path) -> list[Path]:
    """Returns what lies in a folder, sorted. Raises BenchError if it cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)  # paths compare slowly
    except OSError as error:
        raise BenchError(f"{folder}: cannot be listed: {reason_of(error)}") from None


def admit_large_pictures() -> None:
    """Has Pillow warn above LARGEST. Its own limit, 89 million pixels, is less than `bench restore`
    makes, and meant for servers that take pictures from strangers."""
    import PIL.Image

    PIL.Image.MAX_IMAGE_PIXELS = LARGEST


@contextmanager
def _opened(path: Path) -> Iterator["PIL.Image.Image"]:
    import PIL.Image

    try:
        with _OPENING, warnings.catch_warnings():
            admit_large_pictures()
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(path)
        with picture:
            _refuse(path, picture)
            yield picture
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
        raise BenchError(f"{path}: too large to be a photograph: {error}") from None
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file.") from None
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error) as error:
        raise BenchError(refusals.unreadable(path, error)) from None


def _refuse(path: Path, picture: "PIL.Image.Image") -> None:
    """Raises BenchError if the picture has several readings as 8-bit RGB."""
    # Pillow opens a 16-bit RGB file as 8-bit "RGB"; only the decoder's raw mode tells
    tiles = getattr(picture, "tile", ())
    deep = picture.mode.startswith(("I", "F")) or any(";16" in str(t[3]) for t in tiles)
    if deep:
        raise BenchError(refusals.too_deep(path, picture))
    if picture.mode[-1] in "Aa" or "transparency" in picture.info:
        raise BenchError(refusals.has_alpha(path, picture))
    if getattr(picture, "n_frames", 1) > 1:
        raise BenchError(refusals.has_frames(path, picture))
    if picture.mode not in _MODES:
        raise BenchError(refusals.of_another_mode(path, picture))
    # asked only where the file may say so: for a PNG, getexif() alone would decode all pixels
    may = picture.format == "TIFF" or any(key in picture.info for key in _ORIENTED)
    if may and picture.getexif().get(_ORIENTATION, 1) != 1:
        raise BenchError(refusals.is_rotated(path, picture.getexif()[_ORIENTATION]))
