"""From any picture that a person has to what methods take: upright, sRGB, 8 bits, no metadata.

Benchmark files are read as they are stored and refused where that is not clear
(`bench.data.images`); a photograph of somebody's own is turned into what a viewer shows of it, and
each step is said. Runs in a worker: what breaks a decoder breaks one job.
"""

import io
import struct
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps

from bench.data.kinds import mistaken_for
from bench.data.pixels import Image
from bench.errors import BenchError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
TAKEN = "Give a PNG, JPEG, WebP, TIFF or BMP picture"
SMALL = 320
"""Pixels a side of a small picture, at most."""
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_WHITE_16 = 65535


def read_upload(path: Path, pixels: int) -> tuple[Image, list[str]]:
    """Returns ((H, W, 3) uint8 sRGB, what was done to it).

    pixels: the most that it may have; told by the header, before anything is decoded. Raises
    BenchError for what is no picture of FORMATS, is broken or too large.
    """
    PIL.Image.MAX_IMAGE_PIXELS = None  # our own limit is smaller
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with PIL.Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > pixels:
                    raise BenchError(
                        f"It has {width}x{height} pixels, and at most {pixels / 1e6:.0f} million "
                        "are taken. Make it smaller first."
                    )
                return _converted(picture)
    except PIL.UnidentifiedImageError:
        what = mistaken_for(path)
        raise BenchError(
            f"It is {what}." if what else f"It is no picture that can be read. {TAKEN}."
        ) from None
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error) as error:
        raise BenchError(f"The picture is broken: {error}. Save or download it again.") from None


def _converted(picture: PIL.Image.Image) -> tuple[Image, list[str]]:
    said: list[str] = []
    if (frames := getattr(picture, "n_frames", 1)) > 1:
        moving = getattr(picture, "is_animated", False) and picture.format in ("PNG", "WEBP")
        said.append(f"the first of {frames} {'frames' if moving else 'pictures'} in the file")
    deep = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ()))
    profile = picture.info.get("icc_profile")
    plain = _eight_bits(picture)
    if deep or plain is not picture:
        said.append("16 bits a channel reduced to 8")
    turned = PIL.ImageOps.exif_transpose(plain)
    if turned.size != plain.size or (turned is not plain and _is_turned(picture)):
        said.append("turned upright")
    colour, alpha = _without_alpha(turned)
    colour = _in_srgb(colour, profile, said)
    if alpha is not None:
        said.append("transparency laid on white")
        white = PIL.Image.new("RGB", colour.size, "white")
        colour = PIL.Image.composite(colour, white, alpha)
    return np.asarray(colour), said


def _is_turned(picture: PIL.Image.Image) -> bool:
    return bool(picture.getexif().get(0x0112, 1) != 1)


def _eight_bits(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture itself, or its 16-bit gray as 8 bits."""
    if picture.mode == "F":
        raise BenchError("Its pixels are floating-point numbers. Save it with 8 or 16 bits first.")
    if not picture.mode.startswith("I"):
        return picture
    levels = np.asarray(picture).astype(np.int64)
    if levels.min() < 0 or levels.max() > _WHITE_16:
        raise BenchError("Its pixels have more than 16 bits. Save it with 8 or 16 bits first.")
    gray = PIL.Image.fromarray(((levels * 255 + _WHITE_16 // 2) // _WHITE_16).astype(np.uint8))
    gray.info = dict(picture.info)
    return gray


def _without_alpha(picture: PIL.Image.Image) -> tuple[PIL.Image.Image, PIL.Image.Image | None]:
    """(the picture in colours alone, how opaque it is)."""
    if "transparency" in picture.info or picture.mode in _ALPHA:
        whole = picture.convert("RGBA")
        alpha = whole.getchannel("A")
        opaque = cast(tuple[int, int], alpha.getextrema())[0] == 255
        return whole.convert("RGB"), None if opaque else alpha
    if picture.mode in ("P", "1"):
        return picture.convert("RGB"), None
    return picture, None


def _in_srgb(picture: PIL.Image.Image, profile: bytes | None, said: list[str]) -> PIL.Image.Image:
    if profile:
        try:
            return _by_profile(picture, profile, said)
        except (PIL.ImageCms.PyCMSError, OSError, ValueError, TypeError):
            said.append("its colour profile cannot be read, so its colours are taken as sRGB's")
    if picture.mode == "CMYK":
        said.append("converted from CMYK, roughly: it names no usable colour profile")
    elif picture.mode not in ("RGB", "L", "YCbCr"):
        said.append(f"converted from {picture.mode}")
    return picture.convert("RGB")


def _by_profile(picture: PIL.Image.Image, profile: bytes, said: list[str]) -> PIL.Image.Image:
    found = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
    name = " ".join(PIL.ImageCms.getProfileDescription(found).split())[:60] or "its profile"
    if "srgb" in name.lower() and picture.mode == "RGB":
        return picture
    if picture.mode == "L" and found.profile.xcolor_space.strip() != "GRAY":
        picture = picture.convert("RGB")
    made = PIL.ImageCms.profileToProfile(
        picture, found, PIL.ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if made is None:
        raise ValueError(name)
    said.append(f"converted from {name} to sRGB")
    return made


def write_small(path: Path, image: Image) -> None:
    """Writes a PNG of at most SMALL pixels a side."""
    step = max(1, max(image.shape[:2]) // (2 * SMALL))  # of a large one every step-th pixel is seen
    small = PIL.Image.fromarray(np.ascontiguousarray(image[::step, ::step]))
    small.thumbnail((SMALL, SMALL), PIL.Image.Resampling.LANCZOS)
    small.save(path, format="PNG")
