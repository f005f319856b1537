"""What is said of a picture that is refused: what was found, and what to convert it to."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.kinds import mistaken_for
from bench.errors import reason_of

if TYPE_CHECKING:
    import PIL.Image

_OPEN = "Image.open(FILE)"
_BITS, _SAMPLES, _FORMAT = 258, 277, 339  # tags of TIFF


def too_deep(path: Path, picture: "PIL.Image.Image") -> str:
    """Of a picture with more than 8 bits a channel, opened by Pillow."""
    channels = "gray" if picture.mode[0] in "IF" else picture.mode
    if picture.mode == "I":
        return _deep(path, "32-bit whole numbers, gray", "")
    if picture.mode == "F":
        return _deep(path, f"32-bit floating point, {channels}", "* 255")
    return _deep(path, f"16 bits, {channels}", "/ 257")


def _deep(path: Path, found: str, factor: str) -> str:
    said = f"{path}: more than 8 bits a channel ({found}). Convert it to 8 bits"
    if not factor:
        return f"{said} first."
    white = 1 if factor == "* 255" else 65535
    pixels = f"(cv2.imread(FILE, -1) {factor}).round().clip(0, 255)"
    return f"{said}; if {white} is white: cv2.imwrite(NEW, {pixels}.astype('uint8'))"


def has_alpha(path: Path, picture: "PIL.Image.Image") -> str:
    mode = picture.mode
    kind = mode if mode[-1] in "Aa" else f"a transparent colour, mode {mode}"
    plain = "L" if mode in ("L", "LA", "La") else "RGB"
    return (
        f"{path}: has an alpha channel ({kind}). Flatten it onto a background first, or drop it: "
        f"{_OPEN}.convert('{plain}A').convert('{plain}').save(NEW)"
    )


def has_frames(path: Path, picture: "PIL.Image.Image") -> str:
    return (
        f"{path}: has {picture.n_frames} frames ({picture.format}). Save the one that is meant: "  # type: ignore[attr-defined]
        f"p = {_OPEN}; p.seek(0); p.save(NEW)"
    )


def of_another_mode(path: Path, picture: "PIL.Image.Image") -> str:
    """Of a picture in colours that are no RGB."""
    said = f"{path}: colour mode {picture.mode}. Convert it to 8-bit RGB first"
    if picture.mode != "CMYK":
        return f"{said}, with a program that knows these colours."
    return f"{said}: {_OPEN}.convert('RGB').save(NEW), or a program that heeds its profile."


def is_rotated(path: Path, orientation: int) -> str:
    return (
        f"{path}: is marked as rotated (Exif orientation {orientation}). Save it upright first: "
        f"ImageOps.exif_transpose({_OPEN}).save(NEW)"
    )


def unreadable(path: Path, error: Exception) -> str:
    """Of a file that Pillow does not open, or not to its end."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{path}: {reason_of(error)}"
    if (what := mistaken_for(path)) is not None:
        return f"{path}: not a readable image: {what}."
    if found := _float_tiff(path):
        return _deep(path, found, "* 255")
    return f"{path}: not a readable image: {error}. Copy or download it again."


def _float_tiff(path: Path) -> str:
    """What Pillow does not tell of a TIFF: it opens gray floating point alone."""
    from PIL import TiffImagePlugin

    with contextlib.suppress(Exception), path.open("rb") as file:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        if tags.get(_FORMAT, (1,))[0] == 3:
            samples = "RGB" if tags.get(_SAMPLES) == 3 else f"{tags.get(_SAMPLES, 1)} samples"
            return f"{tags[_BITS][0]}-bit floating point, {samples}"
    return ""
