"""Scoring a folder: hand-worked scores, refusals by file, the store, real kills."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from math import inf, isnan, log10, nan
from pathlib import Path
from typing import Any

import kit
import numpy as np
import PIL.Image
import pytest
from pytest import approx

from bench.data.images import write_image
from bench.data.pixels import as_rgb
from bench.errors import BenchError
from bench.measure import scoring
from bench.measure.answer import to_csv, to_json, to_markdown, write_answer
from bench.measure.folder import FolderScores, score_folder
from bench.measure.metrics import METRICS, ImageScore, Metric, Scorer, niqe
from bench.measure.pairing import Task
from bench.measure.pool import Pool
from bench.measure.protocol import PROTOCOLS, Protocol
from bench.measure.scores import ScoreStore, score_key
from bench.measure.scoring import Computed, Job, Scoring
from bench.terminal.counter import Counter

HEIGHT, WIDTH = 20, 24


def flat(level: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


class Folders:
    """A reference of flat pictures of level 100, and restored ones that differ by an offset."""

    def __init__(self, root: Path) -> None:
        self.sr, self.hr = root / "sr", root / "hr"
        self.sr.mkdir()
        self.hr.mkdir()

    def add(self, stem: str, offset: int) -> None:
        write_image(self.hr / f"{stem}.png", flat(100))
        write_image(self.sr / f"{stem}.png", flat(100 + offset))

    def score(self, *metrics: str, scale: int = 1, **more: Any) -> FolderScores:
        return score_folder(self.sr, metrics or ("psnr",), scale, reference=self.hr, **more)

    def refusal(self, *metrics: str, scale: int = 1, **more: Any) -> list[str]:
        """The lines of the error."""
        with pytest.raises(BenchError) as caught:
            self.score(*metrics, scale=scale, **more)
        return str(caught.value).splitlines()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def decibel(error: float) -> float:
    return 20 * log10(255 / error)


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The installed command, with the home of the test."""
    return subprocess.run(
        [kit.BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=100
    )


def answer_of(*arguments: object) -> dict[str, Any]:
    """The one line of strict JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    done = bench("score", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout, parse_constant=refuse)
    return found


# --- what the scores are --------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [1, 5, 51])
def test_a_constant_offset_has_scores_worked_by_hand(folders: Folders, offset: int) -> None:
    folders.add("a", offset)
    found = folders.score("psnr", "psnr_y", "rmse", "difference")
    assert found.protocol == "full@1"
    assert found.values("psnr") == {"a": approx(decibel(offset), abs=1e-9)}
    # an offset of RGB is 219/255 of it on Y: 65.481 + 128.553 + 24.966 = 219
    assert found.values("psnr_y")["a"] == approx(decibel(offset * 219 / 255), abs=1e-9)
    assert found.values("rmse")["a"] == approx(offset)
    assert found.values("difference")["a"] == approx(offset / 2.55)


def test_a_folders_score_is_the_mean_or_what_its_protocol_says(folders: Folders) -> None:
    folders.add("a", 1)
    folders.add("b", 7)
    assert folders.score("rmse").mean("rmse") == approx(4)
    assert folders.score("psnr").mean("psnr") == approx((decibel(1) + decibel(7)) / 2)
    y = 219 / 255  # pirm@1 rounds it to whole levels: 100 and 102 are 101.88 and 103.6 on Y
    assert round(100 * y + 16) == 102 and round(101 * y + 16) == 103 and round(107 * y + 16) == 108
    pirm = folders.score("rmse", scale=4, protocol="pirm@1")
    assert pirm.mean("rmse") == approx(((1 + 6**2) / 2) ** 0.5)


def test_the_border_is_left_out(folders: Folders) -> None:
    folders.add("a", 0)
    framed = flat(100)
    framed[:2] = framed[-2:] = framed[:, :2] = framed[:, -2:] = 0
    write_image(folders.sr / "a.png", framed)
    assert folders.score("psnr_y", scale=2).mean("psnr_y") == inf
    assert folders.score("psnr_y", scale=1).mean("psnr_y") < 20


def test_a_reference_may_be_larger_by_what_the_scale_does_not_divide(folders: Folders) -> None:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 200, (15, 18, 3), dtype=np.uint8)
    write_image(folders.hr / "a.png", original)
    for scale, (height, width) in {1: (15, 18), 2: (14, 18), 4: (12, 16)}.items():
        write_image(folders.sr / "a.png", original[:height, :width] + 5)
        found = folders.score("psnr", scale=scale, protocol="full@1")
        assert found.mean("psnr") == approx(decibel(5))
        assert ("top-left part" in " ".join(found.notes())) == (scale > 1)
    write_image(folders.sr / "a.png", original + 5)  # restored without cropping
    assert folders.score(scale=4, protocol="full@1").mean("psnr") == approx(decibel(5))


@pytest.mark.parametrize(
    ("height", "width"), [(15, 17), (14, 16), (13, 18), (16, 18), (15, 19), (7, 9), (30, 36)]
)
def test_any_other_size_is_refused(folders: Folders, height: int, width: int) -> None:
    write_image(folders.hr / "a.png", flat(9, 15, 18))
    write_image(folders.sr / "a.png", flat(9, height, width))
    line, advice = folders.refusal(scale=2)
    sizes = f"{width}x{height} pixels, its reference {folders.hr / 'a.png'} 18x15."
    assert line == f"{folders.sr / 'a.png'}: {sizes}"
    assert "never resized" in advice and "--scale 2" in advice


def test_a_gray_reference_is_compared_on_its_own_gray(folders: Folders) -> None:
    write_image(folders.hr / "a.png", flat(100)[..., 0])
    for restored in (flat(105), flat(105)[..., 0]):
        write_image(folders.sr / "a.png", restored)
        found = folders.score("psnr_y", protocol="sr-y@1")
        assert found.mean("psnr_y") == approx(decibel(5))
        found = folders.score("psnr_y", protocol="sr-y-rgb@1")
        assert found.mean("psnr_y") == approx(decibel(5 * 219 / 255))


def test_a_gray_picture_saved_as_rgb_is_the_gray_picture(folders: Folders) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    write_image(folders.hr / "a.png", picture)
    for restored in (picture, as_rgb(picture)):
        write_image(folders.sr / "a.png", restored)
        for rules in PROTOCOLS:
            found = folders.score("psnr", "psnr_y", scale=2, protocol=rules)
            assert (found.mean("psnr"), found.mean("psnr_y")) == (inf, inf)
        told = answer_of(folders.sr, "--reference", folders.hr, "--scale", 2, "--metrics", "psnr_y")
        assert "infinite on 1 of 1 images" in str(told)


def test_a_palette_is_read_as_the_colours_it_stands_for(folders: Folders) -> None:
    picture = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (HEIGHT, WIDTH, 3))
    write_image(folders.hr / "a.png", picture)
    palette = PIL.Image.fromarray(picture).quantize(8)
    assert palette.mode == "P"
    palette.save(folders.sr / "a.png")
    assert folders.score("psnr").values("psnr") == {"a": inf}


def test_a_metric_named_twice_is_one_column(folders: Folders) -> None:
    folders.add("a", 1)
    assert folders.score("psnr", "rmse", "psnr").metrics == ("psnr", "rmse")


# --- a data set as the reference ------------------------------------------------------------------


def test_a_set_is_the_reference_and_what_is_not_here_makes_it_partial(
    small_sets: Path, tmp_path: Path
) -> None:
    for stem in ("baby", "bird"):
        picture = np.array(PIL.Image.open(small_sets / f"Set5/HR/{stem}.png"))
        write_image(tmp_path / f"sr/{stem}x3_net.png", np.clip(picture, 5, None)[:30, :27] - 5)
    form = "{stem}x{scale}_net"
    with pytest.raises(BenchError, match=r"babyx3_net\.png: 27x30 pixels, its reference .*39x30"):
        score_folder(tmp_path / "sr", ["psnr"], 3, dataset="set5", template=form)
    picture = np.array(PIL.Image.open(small_sets / "Set5/HR/baby.png"))
    write_image(tmp_path / "sr/babyx3_net.png", picture[:30, :39])
    picture = np.array(PIL.Image.open(small_sets / "Set5/HR/bird.png"))
    write_image(tmp_path / "sr/birdx3_net.png", picture[:36, :27])
    found = score_folder(tmp_path / "sr", ["psnr", "ssim"], 3, dataset="set5", template=form)
    assert (found.against, found.protocol) == ("set5", "sr-y@1")
    assert found.values("psnr") == {"baby": inf, "bird": inf}
    assert found.mean("ssim") == approx(1)
    assert found.partial and "PARTIAL: 2/5 images" in to_markdown(found)


@pytest.mark.parametrize(("name", "told"), [("set55", "'set5'"), ("urban100", "no folder")])
def test_a_set_that_is_not_known_or_not_here_is_refused(
    small_sets: Path, folders: Folders, name: str, told: str
) -> None:
    folders.add("a", 1)
    with pytest.raises(BenchError, match=told):
        score_folder(folders.sr, ["psnr"], 2, dataset=name)


def test_the_set_of_photographs_and_its_gray_file_are_two_references(tmp_path: Path) -> None:
    """In the set camera.png is an RGB photograph, in a folder a gray file: Y is not the same."""
    import skimage

    file = Path(skimage.__file__).parent / "data/camera.png"
    (tmp_path / "hr").mkdir()
    shutil.copy(file, tmp_path / "hr")
    gray = np.array(PIL.Image.open(file))
    write_image(tmp_path / "sr/camera.png", np.stack([gray ^ 1] * 3, axis=-1))
    asked: list[dict[str, Any]] = [{"reference": tmp_path / "hr"}, {"dataset": "photos_train"}]
    first, second = (score_folder(tmp_path / "sr", ["psnr_y"], 2, **kind) for kind in asked)
    assert first.mean("psnr_y") == approx(decibel(1))
    assert second.mean("psnr_y") == approx(decibel(219 / 255))


# --- what is refused ------------------------------------------------------------------------------


def deep_png(colour: int) -> bytes:
    """A PNG of 16 bits a channel: 0 gray, 2 RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour, 0, 0, 0)
    row = bytes(1 + WIDTH * 2 * (3 if colour else 1))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row * HEIGHT))
        + chunk(b"IEND", b"")
    )


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned() -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return exif


def made_badly() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, what is said of it), all seen in the header."""
    picture = PIL.Image.fromarray(flat(9))
    two = [PIL.Image.fromarray(flat(level)) for level in (0, 9)]
    return {
        "empty.png": (b"", "not a readable image"),
        "text.png": (b"no picture", "not a readable image"),
        "page.jpg": (b"<!DOCTYPE html><html>", "not a readable image"),
        "cut.webp": (encoded(picture, "WEBP", lossless=True)[:-9], "not a readable image"),
        "stub.bmp": (encoded(picture, "BMP")[:20], "not a readable image"),
        "gray16.png": (deep_png(0), "more than 8 bits"),
        "rgb16.png": (deep_png(2), "more than 8 bits"),
        "gray16.tif": (encoded(PIL.Image.new("I;16", (9, 9)), "TIFF"), "more than 8 bits"),
        "float.tiff": (encoded(PIL.Image.new("F", (9, 9)), "TIFF"), "more than 8 bits"),
        "alpha.png": (encoded(picture.convert("RGBA")), "alpha channel"),
        "alpha.webp": (
            encoded(PIL.Image.new("RGBA", (9, 9), (9, 9, 9, 0)), "WEBP", lossless=True),
            "alpha channel",
        ),
        "gray_alpha.png": (encoded(picture.convert("LA")), "alpha channel"),
        "palette_alpha.png": (encoded(picture.quantize(4), transparency=0), "alpha channel"),
        "colour_key.png": (encoded(picture, transparency=(9, 9, 9)), "alpha channel"),
        "inks.jpg": (encoded(picture.convert("CMYK"), "JPEG"), "colour mode CMYK"),
        "inks.tif": (encoded(picture.convert("CMYK"), "TIFF"), "colour mode CMYK"),
        "turned.jpg": (encoded(picture, "JPEG", exif=turned()), "marked as rotated"),
        "turned.png": (encoded(picture, exif=turned()), "marked as rotated"),
        "turned.tif": (encoded(picture, "TIFF", exif=turned()), "marked as rotated"),
        "moving.png": (encoded(two[0], save_all=True, append_images=two[1:]), "2 frames"),
        "moving.webp": (
            encoded(two[0], "WEBP", save_all=True, append_images=two[1:], lossless=True),
            "2 frames",
        ),
    }


BAD = made_badly()


@pytest.mark.parametrize("side", ["sr", "hr"])
def test_files_that_can_be_read_in_several_ways_are_all_named_at_once(
    folders: Folders, side: str
) -> None:
    folder, other = (folders.sr, folders.hr) if side == "sr" else (folders.hr, folders.sr)
    expected = []
    for i, (name, (data, told)) in enumerate(BAD.items()):
        stem = f"{i:02d}"
        (folder / f"{stem}{Path(name).suffix}").write_bytes(data)
        write_image(other / f"{stem}.png", flat(9))
        expected.append((str(folder / f"{stem}{Path(name).suffix}"), told))
    folders.add("whole", 1)
    lines = folders.refusal("psnr", "ssim")
    assert len(lines) == len(BAD)
    for (file, told), line in zip(expected, lines, strict=True):
        assert line.startswith(f"{file}: ") and told in line
        assert line.rstrip(".").endswith(
            ("again", "first", "itself", "save(NEW)", "('uint8'))", "profile")
        ), "what to do"


def test_broken_pixels_are_found_while_the_scores_of_the_others_are_stored(
    folders: Folders,
) -> None:
    for i in range(6):
        folders.add(f"fine{i}", i + 1)
    noise = PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    )
    cut = {"a.png": "PNG", "b.jpg": "JPEG", "c.bmp": "BMP", "e.tif": "TIFF"}
    for name, kind in cut.items():
        write_image(folders.hr / f"{name[0]}.png", flat(100))
        whole = encoded(noise, kind)
        (folders.sr / name).write_bytes(whole[: len(whole) * 3 // 4])
    write_image(folders.hr / "f.png", flat(100))
    write_image(folders.sr / "f.png", flat(100)[..., 0])
    *lines, stored = folders.refusal("psnr", workers=2)
    assert [Path(line.partition(": ")[0]).name for line in lines] == [*cut, "f.png"]
    assert all("not a readable image" in line for line in lines[:-1])
    assert "single channel, its reference" in lines[-1]
    assert stored == "The scores of the other 6 images are stored."
    for name in (*cut, "f.png"):
        (folders.sr / name).unlink()
    found = folders.score("psnr")
    assert (found.computed, found.stored) == (0, 6)
    assert found.values("psnr") == {f"fine{i}": approx(decibel(i + 1)) for i in range(6)}


def test_files_of_one_stem_are_refused_in_both_folders_together(folders: Folders) -> None:
    folders.add("a", 1)
    folders.add("b", 1)
    for file in (folders.sr / "a.jpg", folders.sr / "b.bmp", folders.hr / "a.tif"):
        PIL.Image.fromarray(flat(9)).save(file)
    (folders.sr / "empty.png").touch()
    lines = folders.refusal()
    twice = [line for line in lines if "has the same stem as" in line]
    assert [Path(line.partition(": ")[0]).name for line in twice] == ["a.png", "b.png", "a.tif"]
    assert any("empty.png: no reference with its stem" in line for line in lines)


def test_images_are_paired_by_stem_and_never_by_order(folders: Folders) -> None:
    for stem, offset in {"10": 1, "2": 2, "1": 3}.items():
        folders.add(stem, offset)
    (folders.sr / "2.png").unlink()
    found = folders.score("rmse")
    assert found.values("rmse") == {"1": approx(3), "10": approx(1)}
    assert found.paired.absent == ("2",)


@pytest.mark.parametrize(
    ("names", "template"),
    [
        (["babyx2", "birdx2"], "{stem}x2"),
        (["SR_baby", "SR_bird"], "SR_{stem}"),
        (["baby_bird_x2", "bird_bird_x2"], "{stem}_bird_x2"),
    ],
)
def test_a_suffix_is_refused_with_the_template_that_would_do(
    folders: Folders, names: Sequence[str], template: str
) -> None:
    for stem in ("baby", "bird", "butterfly"):
        write_image(folders.hr / f"{stem}.png", flat(100))
    for name in names:
        write_image(folders.sr / f"{name}.png", flat(105))
    *lines, hint = folders.refusal()
    assert lines == [f"{folders.sr / name}.png: no reference with its stem." for name in names]
    assert hint.endswith(f"--template '{template}' would pair 2 of them.")
    found = folders.score("psnr", template=template)
    assert found.values("psnr") == {s: approx(decibel(5)) for s in ("baby", "bird")}


def test_the_template_of_numbered_files_is_found(folders: Folders) -> None:
    for i in range(1, 14):
        write_image(folders.hr / f"{i}.png", flat(100))
        write_image(folders.sr / f"{i}_x2.png", flat(101))
    *lines, more, hint = folders.refusal()
    assert (len(lines), more) == (10, "... and 3 more.")
    assert hint.endswith("--template '{stem}_x2' would pair 13 of them.")
    assert len(folders.score(scale=2, template="{stem}_x{scale}").images) == 13


def test_where_no_template_would_do_the_references_are_named(folders: Folders) -> None:
    write_image(folders.hr / "baby.png", flat(100))
    write_image(folders.sr / "dog.png", flat(100))
    assert folders.refusal()[-1].endswith("The reference has baby, ...")


@pytest.mark.parametrize(
    "template", ["x2", "{}", "{name}_x2", "{stem", "{stem:.3}", "{stem!r}", "{stem[0]}", "{scale}"]
)
def test_a_template_that_does_not_hold_the_stem_is_refused(folders: Folders, template: str) -> None:
    folders.add("a", 1)
    (line,) = folders.refusal(template=template)
    assert line.startswith(f"--template {template!r}: ") and "{stem}x{scale}_edsr" in line


def test_unknown_names_are_told_with_the_nearest(folders: Folders) -> None:
    folders.add("a", 1)
    first, second = folders.refusal("psnry", "ssim", "lpisp")
    assert "'psnry'" in first and "Did you mean 'psnr_y'?" in first
    assert "'lpisp'" in second and "Did you mean 'lpips'?" in second
    (line,) = folders.refusal(protocol="sr-y@2")
    assert "unknown protocol 'sr-y@2'" in line and "'sr-y@1'" in line
    with pytest.raises(BenchError, match="no metrics given"):
        score_folder(folders.sr, [], 1, reference=folders.hr)


def test_what_is_not_there_is_told(folders: Folders, tmp_path: Path) -> None:
    (line,) = folders.refusal()
    assert line.startswith(f"{folders.sr}: has no image files")
    with pytest.raises(BenchError) as caught:
        score_folder(tmp_path / "no", ["psnr"], 1, reference=tmp_path / "none")
    missing = [f"{tmp_path / name}: no such folder." for name in ("no", "none")]
    assert str(caught.value).splitlines() == missing


def test_a_metric_that_compares_asks_for_a_reference(folders: Folders) -> None:
    folders.add("a", 1)
    with pytest.raises(BenchError, match=r"psnr, ssim: compared with a reference.*--ref"):
        score_folder(folders.sr, ["psnr", "niqe", "ssim"], 2)


# --- metrics without a reference, and what cannot be computed -------------------------------------


def load_level(device: str) -> Scorer:
    return score_level


def score_level(sr: np.ndarray, hr: np.ndarray | None, rules: Protocol, scale: int) -> float:
    assert hr is None
    if sr.max() >= 200:
        raise niqe.Unscorable(f"level {sr.max()} is 200 or more")
    return float(sr.mean())


@pytest.fixture
def level(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metric]:
    """A metric `level` without reference: the mean of all samples, of levels below 200."""
    made = Metric("level", "neither", "", 1, reference=False, colour="RGB", sizes="any",
                  source="this test", load=load_level)  # fmt: skip
    monkeypatch.setitem(METRICS, "level", made)
    yield made
    scoring._scorer.cache_clear()


def test_a_metric_without_reference_needs_none(folders: Folders, level: Metric) -> None:
    folders.add("a", 1)
    folders.add("b", 4)
    found = score_folder(folders.sr, ["level"], 2)
    assert found.values("level") == {"a": 101, "b": 104}
    assert found.mean("level") == approx(102.5)
    assert (found.against, found.partial) == (None, False)
    assert f"{folders.sr} without reference, x2, sr-y@1, 2 images" in to_markdown(found)
    both = folders.score("level", "psnr", scale=2)
    assert (both.stored, both.computed) == (2, 2), "its score does not depend on the reference"


def test_niqe_of_a_small_image_is_null_with_its_reason(folders: Folders) -> None:
    folders.add("a", 1)
    answer = to_json(folders.score("psnr", "niqe"))
    assert answer["mean"] == {"psnr": approx(decibel(1)), "niqe": None}
    assert answer["images"][0]["niqe"] is None
    assert "two blocks of 96x96 pixels, got 24x20" in answer["unavailable"]["niqe on a"]
    assert "no value on 1 of 1 images (a): NIQE needs" in answer["unavailable"]["niqe"]


def test_a_metric_that_cannot_be_measured_here_is_null_with_its_reason(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    folders.add("a", 1)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = folders.score("psnr", "lpips_vgg")
    answer = to_json(found)
    assert answer["mean"]["lpips_vgg"] is None and answer["images"][0]["lpips_vgg"] is None
    assert "vgg16-397923af.pth" in answer["unavailable"]["lpips_vgg"]
    assert to_csv(found).splitlines()[1].endswith(",")
    assert "| -" in to_markdown(found)


def test_equal_images_are_infinite_and_the_others_mean_is_told(folders: Folders) -> None:
    for stem, offset in {"a": 0, "b": 1, "c": 1}.items():
        folders.add(stem, offset)
    found = folders.score("psnr", "rmse")
    answer = to_json(found)
    assert answer["mean"] == {"psnr": None, "rmse": approx(2 / 3)}
    assert [row["psnr"] for row in answer["images"]] == [None, *[approx(decibel(1))] * 2]
    assert answer["unavailable"] == {
        "psnr": "infinite on 1 of 3 images (a): equal to the reference; over the other 2: 48.13",
        "psnr on a": "infinite: equal to its reference",
    }
    assert to_csv(found).splitlines()[1] == "a,inf,0.0"
    json.dumps(answer, allow_nan=False)


def test_every_kind_of_missing_value_is_told(folders: Folders, level: Metric) -> None:
    for i in range(6):
        folders.add(f"i{i}", 100 + i)
    folders.add("low", 0)
    why = folders.score("level", workers=1).why("level")
    assert why == (
        "no value on 6 of 7 images (i0, i1, i2, i3 and 2 more), such as: level 200 is 200 or more; "
        "over the other 1: 100.0"
    )
    found = folders.score("psnr")
    assert found.why("psnr") == (
        "infinite on 1 of 7 images (low): equal to the reference; over the other 6: "
        f"{sum(decibel(100 + i) for i in range(6)) / 6:.2f}"
    )


def test_a_folder_that_lacks_images_is_partial_wherever_its_score_stands(folders: Folders) -> None:
    for i in range(5):
        folders.add(f"i{i}", i + 1)
    for i in (1, 3):
        (folders.sr / f"i{i}.png").unlink()
    found = folders.score("rmse")
    answer = to_json(found)
    assert (answer["count"], answer["official"], answer["partial"]) == (3, 5, True)
    assert answer["absent"] == ["i1", "i3"]
    text = to_markdown(found)
    assert "PARTIAL: 3/5 images" in text.splitlines()[0]
    assert text.splitlines()[7] == "| **PARTIAL: 3/5** |           3.000 |"
    assert "- not restored: i1, i3" in text


# --- metrics that run a network -------------------------------------------------------------------


def test_a_network_runs_here_and_its_broken_files_are_named_too(
    folders: Folders, level: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = dataclasses.replace(level, network=True, label=lambda: "level@photos")
    monkeypatch.setitem(METRICS, "level", network)
    for stem, offset in {"a": 1, "b": 2, "c": 3}.items():
        folders.add(stem, offset)
    found = score_folder(folders.sr, ["level"], 1)
    assert (found.mean("level"), found.computed) == (102, 3)
    assert counts(score_folder(folders.sr, ["level"], 1)) == (0, 3)
    assert to_csv(found).startswith("image,level@photos\n")
    assert "level@photos" in to_markdown(found)
    assert to_json(found)["assessors"] == {"level": "level@photos"}
    other = dataclasses.replace(network, identity=lambda: "other weights")
    monkeypatch.setitem(METRICS, "level", other)
    assert score_folder(folders.sr, ["level"], 1).computed == 3, "other weights"
    for stem in ("a", "b"):
        file = folders.sr / f"{stem}.png"
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(BenchError) as caught:
        score_folder(folders.sr, ["level"], 1)
    first, second, rest = str(caught.value).splitlines()
    assert "a.png: not a readable image" in first and "b.png: not a readable" in second
    assert rest == "The scores of the other 1 images are stored."


# --- the answer -----------------------------------------------------------------------------------


def test_the_csv_holds_every_digit(folders: Folders) -> None:
    for stem, offset in {"a": 3, "b, c": 7}.items():
        folders.add(stem, offset)
    found = folders.score("psnr", "psnr_y")
    header, *rows = csv.reader(io.StringIO(to_csv(found)))
    assert header == ["image", "psnr", "psnr_y"]
    for (stem, *texts), name in zip(rows, ("a", "b, c"), strict=True):
        assert stem == name
        assert [float(t) for t in texts] == [s.value for s in found.images[stem].values()]


def test_the_table_ends_with_the_score_of_all(folders: Folders) -> None:
    folders.add("a", 1)
    folders.add("longer_name", 1)
    text = to_markdown(folders.score("psnr", "rmse"))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| image       | psnr (dB) ↑ | rmse (levels) ↓ |"
    assert table[-1] == "| **all**     |       48.13 |           1.000 |"
    assert {len(line) for line in table} == {len(table[0])}
    assert text.endswith("|\n")


def test_names_may_hold_any_character(folders: Folders) -> None:
    names = ["a|b", "two\nlines", os.fsdecode(b"latin-\xf6"), "日本"]
    for name in names:
        folders.add(name, 1)
    found = folders.score("psnr")
    table = [line for line in to_markdown(found).splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(names) + 1
    assert "a\\|b" in table[2]
    assert len(list(csv.reader(io.StringIO(to_csv(found))))) == 1 + len(names)
    done = bench("score", folders.sr, "--reference", folders.hr, "--scale", 1, "--metrics", "psnr")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_answer_is_written_beside_what_is_printed(folders: Folders, tmp_path: Path) -> None:
    folders.add("a", 1)
    found = folders.score("psnr")
    written = write_answer(found, tmp_path / "deep/out")
    assert [path.name for path in written] == ["scores.json", "scores.csv", "scores.md"]
    assert json.loads(written[0].read_text()) == to_json(found)
    assert written[1].read_text() == to_csv(found)
    assert written[2].read_text() == to_markdown(found)
    assert len(list((tmp_path / "deep/out").iterdir())) == 3, "nothing temporary is left"


# --- the store ------------------------------------------------------------------------------------


def counts(found: FolderScores) -> tuple[int, int]:
    """(computed, stored)"""
    assert found.trouble is None
    return found.computed, found.stored


def test_only_what_is_new_is_computed(folders: Folders) -> None:
    for stem, offset in {"a": 1, "b": 2, "c": 3}.items():
        folders.add(stem, offset)
    first = folders.score("psnr", "rmse")
    assert counts(first) == (6, 0)
    again = folders.score("psnr", "rmse")
    assert counts(again) == (0, 6)
    assert again.images == first.images
    assert counts(folders.score("psnr", "difference", "rmse")) == (3, 6), "one metric more"
    folders.add("b", 9)
    changed = folders.score("psnr", "rmse")
    assert counts(changed) == (2, 4), "one picture is another"
    assert changed.values("rmse") == {"a": approx(1), "b": approx(9), "c": approx(3)}
    write_image(folders.hr / "c.png", flat(101))
    assert counts(folders.score("psnr", "rmse")) == (2, 4), "one reference is another"


def test_a_score_belongs_to_the_content_whatever_the_file_is_called(
    folders: Folders, tmp_path: Path
) -> None:
    folders.add("a", 1)
    folders.add("b", 2)
    folders.score("rmse")
    other = Folders(tmp_path / "home")
    for old, new in {"a": "z_x2", "b": "y_x2"}.items():
        shutil.copy(folders.sr / f"{old}.png", other.sr / f"{new}.png")
        shutil.copy(folders.hr / f"{old}.png", other.hr / f"{new[0]}.png")
    found = other.score("rmse", template="{stem}_x2")
    assert counts(found) == (0, 2)
    assert found.values("rmse") == {"y": approx(2), "z": approx(1)}


def test_another_protocol_scale_or_version_is_another_score(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.add("a", 1)
    assert counts(folders.score("psnr", scale=2, protocol="sr-y@1")) == (1, 0)
    assert counts(folders.score("psnr", scale=2, protocol="sr-rgb@1")) == (1, 0)
    assert counts(folders.score("psnr", scale=4, protocol="sr-y@1")) == (1, 0), "another border"
    monkeypatch.setitem(METRICS, "psnr", dataclasses.replace(METRICS["psnr"], version=2))
    assert counts(folders.score("psnr", scale=2, protocol="sr-y@1")) == (1, 0)
    monkeypatch.undo()


def test_why_there_is_no_value_is_stored_too(folders: Folders, level: Metric) -> None:
    folders.add("a", 100)
    folders.add("b", 0)
    first, again = folders.score("level", "psnr"), folders.score("level", "psnr")
    assert counts(again) == (0, 4)
    assert isnan(again.images["a"]["level"].value)
    assert again.images["b"]["psnr"].value == inf
    assert again.unavailable == first.unavailable and "level on a" in again.unavailable


def break_database(how: str, file: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes the store unusable in one of the ways that happen."""
    real = sqlite3.connect
    if how == "home is a file":
        file.parents[1].write_text("")
        return
    file.parent.mkdir(parents=True)
    if how == "a folder":
        file.mkdir()
    elif how == "damaged":
        file.write_bytes(b"what once was a database" * 100)
    elif how == "scrambled":
        store = ScoreStore(file)
        for i in range(500):
            store.keep(score_key(str(i)), ImageScore(1.0))
        store.close()
        whole = file.read_bytes()
        file.write_bytes(whole[:4096] + bytes(reversed(whole[4096:])))
    elif how == "another version":
        ScoreStore(file).close()
        with contextlib.closing(real(file)) as database:
            database.execute("PRAGMA user_version = 99")
    elif how == "read-only":
        ScoreStore(file).close()
        uri = f"file:{file}?mode=ro"
        patch.setattr(sqlite3, "connect", lambda *a, **k: real(uri, uri=True))
    elif how == "disk full":

        def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
            database = real(*arguments, **options)
            database.execute("PRAGMA max_page_count = 1")
            return database

        patch.setattr(sqlite3, "connect", small)
    elif how == "locked":
        ScoreStore(file).close()
        holder = real(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        patch.setattr(break_database, "holder", holder, raising=False)
        patch.setattr(sqlite3, "connect", lambda path, timeout: real(path, timeout=0.1))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("home is a file", "Not a directory"),
        ("a folder", "unable to open"),
        ("damaged", "not a database"),
        ("scrambled", "malformed"),
        ("another version", "another version of bench (layout 99"),
        ("read-only", "readonly"),
        ("disk full", "full"),
        ("locked", "locked"),
    ],
)
def test_without_a_store_the_scores_are_given_and_the_trouble_told(
    folders: Folders, bench_home: Path, monkeypatch: pytest.MonkeyPatch, how: str, told: str
) -> None:
    folders.add("a", 1)
    folders.add("b", 0)
    file = bench_home / "store/scores.db"
    break_database(how, file, monkeypatch)
    before = file.read_bytes() if file.is_file() else None
    found = folders.score("psnr")
    if how == "locked":
        break_database.holder.close()  # type: ignore[attr-defined]
    assert found.values("psnr") == {"a": approx(decibel(1)), "b": inf}
    assert (found.computed, found.stored) == (2, 0)
    assert found.trouble and found.trouble.startswith(f"{file}: ")
    assert (
        told in found.trouble
        and "not stored" in found.trouble
        and "delete the file" in found.trouble
    )
    assert found.trouble in to_json(found)["notes"]
    assert f"- {found.trouble}" in to_markdown(found)
    assert before == (file.read_bytes() if file.is_file() and before else None), "left as it was"


def test_a_store_that_cannot_grow_still_gives_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "scores.db"
    keys = [score_key(str(i)) for i in range(2000)]
    store = ScoreStore(file)
    store.keep(keys[0], ImageScore(1.5, None, "noted"))
    store.close()
    store = ScoreStore(file)
    assert store._database is not None
    store._database.execute("PRAGMA max_page_count = 4")
    for key in keys[1:]:
        store.keep(key, ImageScore(nan, "why"))
    store.close()
    assert store.trouble is not None and "full" in store.trouble
    store = ScoreStore(file)
    assert store.look_up(keys) == {keys[0]: ImageScore(1.5, None, "noted")}
    store.close()


def test_no_process_waits_for_another_ones_slow_metric(tmp_path: Path) -> None:
    """A score that is not yet written holds no lock."""
    file, (one, two) = tmp_path / "scores.db", (score_key("1"), score_key("2"))
    slow, quick = ScoreStore(file), ScoreStore(file)
    slow.keep(one, ImageScore(1.0))
    quick.keep(two, ImageScore(2.0))
    began = time.monotonic()
    quick.close()
    assert time.monotonic() - began < 10
    assert quick.trouble is None
    slow.close()
    both = ScoreStore(file)
    assert both.look_up([one, two]) == {one: ImageScore(1.0), two: ImageScore(2.0)}
    both.close()


# --- processes ------------------------------------------------------------------------------------


def many(folders: Folders, count: int, side: int = 192) -> None:
    """Pictures of one look but of different pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for i in range(count):
        picture = PIL.Image.fromarray(np.roll(noise, i, axis=0))
        picture.save(folders.sr / f"{i:03d}.bmp")
        PIL.Image.fromarray(np.asarray(picture) ^ 1).save(folders.hr / f"{i:03d}.bmp")


SLOW = ("psnr", "ssim", "ms_ssim")
"""About 40 ms for each of `many`."""


class Run:
    """`bench score` under way, at the head of a group of processes of its own."""

    def __init__(self, folders: Folders, *arguments: object) -> None:
        self.command = [
            kit.BENCH, "score", folders.sr, "--reference", folders.hr, "--scale", "1",
            "--metrics", ",".join(SLOW), "--workers", "2", "--json", *arguments,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [str(word) for word in self.command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def workers(self) -> list[int]:
        """Those that score; multiprocessing's own tracker of resources is not one of them."""
        found = []
        for pid in kit.children(self.process.pid):
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def wait(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=kit.PATIENCE)
        return self.process.returncode, out, err


def stored(home: Path) -> int:
    """The scores on disk, as another process sees them."""
    with contextlib.suppress(sqlite3.Error):
        return int(kit._rows(home / "store/scores.db", "select count(*) from scores")[0][0])
    return 0


def gone(pid: int) -> bool:
    """Whether a process has ended; as a zombie its parent has yet to hear of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_killed_run_goes_on_where_it_was_and_leaves_no_process(
    folders: Folders, bench_home: Path
) -> None:
    many(folders, 120)
    run = Run(folders)
    kit.until(lambda: stored(bench_home) >= 30)
    workers = run.workers()
    run.process.kill()
    status, out, _ = run.wait()
    assert (status, out) == (-signal.SIGKILL, "")
    assert len(workers) == 2
    kit.until(lambda: all(map(gone, workers)), "the end of the workers")
    kept = stored(bench_home)
    found = folders.score(*SLOW, workers=2)
    assert counts(found) == (360 - kept, kept) and kept >= 30
    assert found.mean("psnr") == approx(decibel(1))


def test_a_killed_worker_is_one_message_and_the_next_run_goes_on(
    folders: Folders, bench_home: Path
) -> None:
    many(folders, 120)
    run = Run(folders)
    kit.until(lambda: stored(bench_home) >= 15)
    os.kill(run.workers()[0], signal.SIGKILL)
    status, out, err = run.wait()
    assert (status, out) == (2, "")
    assert err.startswith("Error: a scoring process was killed") and "Traceback" not in err
    assert "fewer --workers" in err
    kept = stored(bench_home)
    assert kept >= 15
    assert counts(folders.score(*SLOW, workers=2)) == (360 - kept, kept)


@pytest.mark.parametrize("moment", ["at once", "under way"])
def test_ctrl_c_stores_what_was_done(folders: Folders, bench_home: Path, moment: str) -> None:
    many(folders, 120)
    run = Run(folders)
    if moment == "at once":
        kit.until(run.workers)  # they are still importing
    else:
        kit.until(lambda: stored(bench_home) >= 15)
    os.killpg(run.process.pid, signal.SIGINT)
    status, out, err = run.wait()
    assert (status, out) == (130, "")
    (line,) = err.split("\n\n")[-1].splitlines()  # nor a traceback or a word of the workers
    assert line.startswith("Interrupted. Nothing is lost; to go on: bench score ")
    kept = stored(bench_home)
    assert kept >= 15 or moment == "at once"
    assert counts(folders.score(*SLOW, workers=2)) == (360 - kept, kept)


def test_two_runs_at_once_share_a_store(folders: Folders, bench_home: Path) -> None:
    many(folders, 20)
    runs = [Run(folders), Run(folders)]
    answers = []
    for run in runs:
        status, out, err = run.wait()
        assert (status, err) == (0, "")
        answers.append(json.loads(out))
    assert answers[0]["images"] == answers[1]["images"]
    assert [answer["notes"] for answer in answers] == [[], []]
    assert stored(bench_home) == 60
    assert counts(folders.score(*SLOW)) == (0, 60)


def test_processes_give_what_one_gives_in_the_order_of_the_names(
    folders: Folders, bench_home: Path
) -> None:
    for i in range(9):
        folders.add(f"i{i}", i + 1)
    several = folders.score("psnr", "ssim", workers=2)
    shutil.rmtree(bench_home)
    alone = folders.score("psnr", "ssim", workers=1)
    assert several.images == alone.images
    assert list(several.images) == [f"i{i}" for i in range(9)]
    assert counts(several) == counts(alone) == (18, 0)


def test_few_images_wait_for_a_process(folders: Folders) -> None:
    """The memory that a run needs does not grow with the folder."""
    folders.add("a", 1)
    job = Job(Task("a", folders.sr / "a.png", (HEIGHT, WIDTH)), ["psnr"], {}, None)
    taken, lead = 0, []

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for _ in range(60):
            taken += 1
            yield job

    pool, how = Pool(2), Scoring({"psnr": ""}, PROTOCOLS["full@1"], 1, None)
    for done, (_, outcome) in enumerate(pool.run(jobs(), how, 60)):
        assert isinstance(outcome, Computed)
        assert isnan(outcome.fresh["psnr"].value), "it has no reference"
        lead.append(taken - done)
    pool.close()
    assert len(lead) == 60
    assert 2 <= max(lead) <= 2 * 4


def test_an_application_of_several_threads_may_score(folders: Folders) -> None:
    for i in range(5):
        folders.add(f"i{i}", i + 1)
    found: list[FolderScores] = []
    thread = threading.Thread(target=lambda: found.append(folders.score("rmse", workers=2)))
    thread.start()
    thread.join()
    assert found[0].mean("rmse") == approx(3)


# --- the command line -----------------------------------------------------------------------------


def test_json_is_one_strict_object(folders: Folders) -> None:
    folders.add("a", 0)
    folders.add("b", 1)
    arguments = (folders.sr, "--reference", folders.hr, "--scale", 2)
    answer = answer_of(*arguments, "--metrics", "psnr_y,ssim_y,niqe,rmse")
    assert (answer["protocol"], answer["scale"], answer["count"]) == ("sr-y@1", 2, 2)
    assert answer["mean"] == {
        "psnr_y": None, "ssim_y": answer["mean"]["ssim_y"], "niqe": None, "rmse": 0.5,
    }  # fmt: skip
    assert {"psnr_y", "niqe"} <= set(answer["unavailable"])
    assert answer["images"][0]["psnr_y"] is None and answer["images"][0]["ssim_y"] == 1
    assert answer["images"][1]["psnr_y"] == approx(decibel(219 / 255))


def test_the_table_and_the_files_are_named_on_standard_output(
    folders: Folders, tmp_path: Path
) -> None:
    folders.add("a", 1)
    arguments = (folders.sr, "--reference", folders.hr, "--scale", 1, "--metrics", "psnr")
    done = bench("score", *arguments, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "| **all** |       48.13 |" in done.stdout
    assert "1 scores computed, 0 from the store" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out/scores.md")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--reference", "no"], "no: no such folder."),
        (["--reference", "hr", "--dataset", "set5"], "--reference and --dataset name two"),
        ([], "compared with a reference"),
        (["--dataset", "set51"], "'set5'"),
        (["--reference", "hr", "--metrics", "pnsr"], "unknown metric 'pnsr'"),
        (["--reference", "hr", "--protocol", "x"], "unknown protocol 'x'"),
        (["--reference", "hr", "--template", "x"], "--template 'x'"),
        (["--reference", "hr", "--out", "hr/a.png"], "hr/a.png"),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(
    folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folders.add("a", 1)
    metrics = [] if "--metrics" in arguments else ["--metrics", "psnr"]
    done = bench("score", "sr", "--scale", 1, *metrics, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and told in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_light_metrics_are_scored_without_torch(folders: Folders) -> None:
    folders.add("a", 1)
    code = (
        "import sys\nfrom bench.cli import cli\n"
        "assert cli(sys.argv[1:], standalone_mode=False) == 0\n"
        "heavy = {'torch', 'mlflow', 'optuna', 'pandas', 'scipy', 'pydantic', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    words = ["score", folders.sr, "--reference", folders.hr, "--scale", "2"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


# --- how far it has come --------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_written_over_and_never_wraps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen, times = Terminal(), iter(range(0, 1000, 100))
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("bench.terminal.counter.time.monotonic", lambda: next(times))
    monkeypatch.setenv("COLUMNS", "40")
    with Counter("scoring /a/very/long/path/to/a/folder") as counter:
        counter(1, 4)
        counter(4, 4)
    first, second = screen.getvalue().split("\r\x1b[K")[1:3]
    assert first == ".../to/a/folder: 1/4 images, 5 min left"
    assert second.endswith("4/4 images, 0 s left") and len(first) == len(second) == 39
    assert screen.getvalue().endswith("\r\x1b[K"), "nothing of it stays"


def test_elsewhere_a_line_comes_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, times = io.StringIO(), iter((0, 4, 11, 12, 22))
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("bench.terminal.counter.time.monotonic", lambda: next(times))
    with Counter("scoring sr") as counter:
        for done in (1, 2, 3):
            counter(done, 4)
        counter(7, 0)
    assert screen.getvalue() == "scoring sr: 2/4 images, 11 s left\nscoring sr: 7 images\n"
