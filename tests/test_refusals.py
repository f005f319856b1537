"""Pictures that are refused: what is said of them, and that doing what is said helps."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from PIL import Image, ImageOps

from bench.data.images import image_size, read_image
from bench.data.pixels import as_rgb
from bench.errors import BenchError

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
GRAY = RGB[..., 0]
RED = (255, 0, 0)


def pillow(image: PIL.Image.Image, **options: object) -> Callable[[Path], object]:
    return lambda path: image.save(path, **options)


def tiff(pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(
        path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack"
    )


def opencv(pixels: np.ndarray) -> Callable[[Path], object]:
    """RGB of 16 bits as PNG, which Pillow reads as if it had 8."""
    return lambda path: cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def turned() -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return exif


AS_16 = RGB.astype(np.uint16) * 257
picture = PIL.Image.fromarray(RGB)
REFUSED: dict[str, tuple[Callable[[Path], object], str, np.ndarray]] = {
    "gray16.png": (opencv(AS_16[..., 0]), "more than 8 bits a channel (16 bits, gray)", GRAY),
    "rgb16.png": (opencv(AS_16), "more than 8 bits a channel (16 bits, RGB)", RGB),
    "gray16.tif": (tiff(AS_16[..., 0]), "more than 8 bits a channel (16 bits, gray)", GRAY),
    "rgb16.tif": (tiff(AS_16), "more than 8 bits a channel (16 bits, RGB)", RGB),
    "gray_float.tif": (
        tiff(GRAY / np.float32(255)),
        "more than 8 bits a channel (32-bit floating point, gray)",
        GRAY,
    ),
    "rgb_float.tif": (
        tiff(RGB / np.float32(255)),
        "more than 8 bits a channel (32-bit floating point, RGB)",
        RGB,
    ),
    "rgb_double.tif": (
        tiff(RGB / 255),
        "more than 8 bits a channel (64-bit floating point, RGB)",
        RGB,
    ),
    "alpha.png": (pillow(picture.convert("RGBA")), "an alpha channel (RGBA)", RGB),
    "gray_alpha.png": (
        pillow(PIL.Image.fromarray(GRAY).convert("LA")),
        "an alpha channel (LA)",
        GRAY,
    ),
    "key.png": (pillow(picture, transparency=(1, 2, 3)), "a transparent colour, mode RGB", RGB),
    "frames.png": (
        pillow(picture, save_all=True, append_images=[picture.rotate(180)]),
        "has 2 frames (PNG)",
        RGB,
    ),
    "turned.png": (pillow(picture, exif=turned()), "Exif orientation 6", np.rot90(RGB, -1)),
    "cmyk.tif": (pillow(PIL.Image.new("CMYK", (9, 12), (0, 255, 255, 0))), "colour mode CMYK",
                 np.full((12, 9, 3), RED, np.uint8)),
}  # fmt: skip
"""File name -> what writes it, what is found, and the pixels of the file that is advised."""


@pytest.mark.parametrize("name", REFUSED)
def test_doing_what_is_said_gives_a_picture_of_8_bits(name: str, tmp_path: Path) -> None:
    write, found, pixels = REFUSED[name]
    write(path := tmp_path / name)
    with pytest.raises(BenchError) as error:
        read_image(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ") and found in said and "ownload" not in said
    advice = re.search(r"(cv2|Image|ImageOps|p = )\S*\(.*(?<=\))(?=$|,)", said)
    assert advice is not None
    new = tmp_path / "new.png"
    names: dict[str, Any] = {
        "cv2": cv2,
        "Image": Image,
        "ImageOps": ImageOps,
        "FILE": str(path),
        "NEW": str(new),
    }
    exec(advice[0], names)
    if "p" in names:
        names["p"].close()
    np.testing.assert_array_equal(read_image(new), pixels)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_palette_is_the_rgb_it_stands_for(tmp_path: Path, suffix: str) -> None:
    colours = np.array([RED, (0, 255, 0), (9, 9, 9)], np.uint8)[rng.integers(0, 3, (5, 4))]
    image = PIL.Image.fromarray(colours).quantize(3)
    assert image.mode == "P"
    image.save(path := tmp_path / f"palette{suffix}")
    np.testing.assert_array_equal(read_image(path), colours)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    PIL.Image.fromarray(GRAY > 127).save(path := tmp_path / "bit.png")
    np.testing.assert_array_equal(as_rgb(read_image(path))[..., 1], np.where(GRAY > 127, 255, 0))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b'{"error": "not found"}', "JSON"),
        (b"<?xml version='1.0'?><Error>AccessDenied", "XML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIF picture. Convert it to PNG"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (b"\x1f\x8b\x08", "an archive. Unpack it"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    (path := tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BenchError, match=f"a.png: not a readable image: .*{what}"):
        image_size(path)


def test_no_permission_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A superuser reads everything, so the refusal is made up."""
    picture.save(path := tmp_path / "a.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(PIL.Image, "open", refuse)
    with pytest.raises(BenchError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: permission denied. ")
