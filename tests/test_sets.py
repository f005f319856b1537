"""Benchmark sets: pairing, refusals, the packaged photographs, the real sets."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from bench.degrade import imresize
from bench.errors import BenchError
from bench.images import read_image, write_image
from bench.sets import DATASETS, describe, fingerprint, load_pairs, missing

PHOTOS = ["photos_train", "photos_val", "photos_test"]


def photo(height: int = 13, width: int = 18, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def set5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder Set5 of two images with LR x4, where BENCH_DATA points."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for seed, stem in enumerate(("a", "b")):
        hr = photo(seed=seed)
        write_image(tmp_path / "Set5/HR" / f"{stem}.png", hr)
        write_image(tmp_path / "Set5/LR_x4" / f"{stem}.png", imresize(hr[:12, :16], 1 / 4))
    return tmp_path / "Set5"


def test_hr_is_cut_to_scale_times_lr(set5: Path) -> None:
    for pair in load_pairs("set5", 4):
        assert pair.hr().shape == (12, 16, 3) and pair.lr().shape == (3, 4, 3)
    assert [p.stem for p in load_pairs("set5", 4)] == ["a", "b"]
    assert np.array_equal(load_pairs("set5", 4)[0].hr(), photo()[:12, :16])


def test_without_lr_files_lr_is_made_from_the_divisible_part(set5: Path) -> None:
    pair = load_pairs("set5", 3)[1]
    assert np.array_equal(pair.lr(), imresize(photo(seed=1)[:12, :18], 1 / 3))
    assert describe("set5", 3) == (2, 5, "bicubic")
    assert describe("set5", 4) == (2, 5, "published LR_x4")


def test_another_degradation_never_takes_the_published_files(set5: Path) -> None:
    assert describe("set5", 4, "jpeg_lanczos") == (2, 5, "jpeg_lanczos")
    assert load_pairs("set5", 4, "jpeg_lanczos")[0].lr_path is None
    assert np.array_equal(load_pairs("set5", 1, "none")[0].lr(), photo())


def test_limit_takes_the_first(set5: Path) -> None:
    assert [p.stem for p in load_pairs("set5", 4, limit=1)] == ["a"]


def test_div2k_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    write_image(tmp_path / "DIV2K/DIV2K_train_HR/0001.png", photo(12, 12))
    lr = imresize(photo(12, 12), 1 / 2)
    write_image(tmp_path / "DIV2K/DIV2K_train_LR_bicubic/X2/0001x2.png", lr)
    (pair,) = load_pairs("div2k_train", 2)
    assert pair.stem == "0001" and np.array_equal(pair.lr(), lr)
    assert describe("div2k_train", 2) == (1, 800, "published X2")


def test_a_gray_file_stays_single_channel(set5: Path) -> None:
    write_image(set5 / "HR/a.png", photo()[..., 0])
    pair = load_pairs("set5", 2)[0]
    assert pair.hr().shape == (12, 18) and pair.lr().shape == (6, 9)


def test_a_palette_becomes_its_colours(set5: Path) -> None:
    flat = np.zeros((12, 16, 3), np.uint8)
    flat[:, :8], flat[:, 8:] = (200, 30, 40), (10, 250, 60)
    PIL.Image.fromarray(flat).quantize(4).save(set5 / "HR/a.png")
    assert np.array_equal(load_pairs("set5", 4)[0].hr(), flat)


def test_an_hr_without_lr_and_an_lr_without_hr_are_both_named(set5: Path) -> None:
    (set5 / "HR/a.png").rename(set5 / "HR/c.png")
    with pytest.raises(BenchError) as error:
        load_pairs("set5", 4)
    assert "HR/c.png: no LR file c.*" in str(error.value)
    assert "LR_x4/a.png: no HR file" in str(error.value)


def test_two_files_of_one_stem_are_refused(set5: Path) -> None:
    PIL.Image.fromarray(photo()).save(set5 / "HR/a.webp", lossless=True)
    with pytest.raises(BenchError, match=r"a\.webp: has the same stem as a\.png"):
        load_pairs("set5", 4)


def test_hidden_files_and_other_files_do_not_count(set5: Path) -> None:
    (set5 / "HR/._a.png").write_bytes(b"mac")
    (set5 / "HR/readme.txt").write_text("notes")
    assert len(load_pairs("set5", 4)) == 2


@pytest.mark.parametrize("size", [(4, 4), (2, 4), (6, 8)])
def test_lr_of_another_size_is_named_and_never_cut(set5: Path, size: tuple[int, int]) -> None:
    write_image(set5 / "LR_x4/b.png", photo(*size))
    with pytest.raises(BenchError, match=rf"LR_x4/b\.png: {size[1]}x{size[0]} is not a x4 LR of b"):
        load_pairs("set5", 4)


def test_an_hr_of_less_than_one_lr_pixel_is_named(set5: Path) -> None:
    write_image(set5 / "HR/a.png", photo(2, 9))
    with pytest.raises(BenchError, match=r"HR/a\.png: smaller than one LR pixel"):
        load_pairs("set5", 3)


def test_an_empty_folder_is_named(set5: Path) -> None:
    for path in (set5 / "HR").iterdir():
        path.unlink()
    with pytest.raises(BenchError, match="HR: has no image files"):
        load_pairs("set5", 4)


def test_a_truncated_file_is_named(set5: Path) -> None:
    path = set5 / "HR/a.png"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(BenchError, match=r"HR/a\.png: not a readable image"):
        load_pairs("set5", 4)[0].hr()


def test_a_file_that_is_no_image_is_named(set5: Path) -> None:
    (set5 / "HR/a.png").write_text("<html>404</html>")
    with pytest.raises(BenchError, match=r"HR/a\.png: not a readable image"):
        load_pairs("set5", 4)


def save_16_bit_rgb(path: Path) -> None:
    """A 1x1 PNG of three 16-bit samples, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", 1, 2, 3))
    png = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png)


def test_16_bits_alpha_cmyk_and_rotation_are_refused_by_name(tmp_path: Path) -> None:
    rgb = PIL.Image.fromarray(photo())
    save_16_bit_rgb(tmp_path / "rgb16.png")
    PIL.Image.fromarray(photo()[..., 0].astype(np.uint16) * 257).save(tmp_path / "gray16.png")
    rgb.convert("RGBA").save(tmp_path / "alpha.png")
    rgb.quantize(4).save(tmp_path / "palette_alpha.png", transparency=0)
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    rgb.save(tmp_path / "rotated.jpg", exif=exif)
    for name, reason in {
        "rgb16.png": "more than 8 bits", "gray16.png": "more than 8 bits",
        "alpha.png": "alpha channel", "palette_alpha.png": "alpha channel",
        "cmyk.jpg": "colour mode CMYK", "rotated.jpg": "marked as rotated",
    }.items():  # fmt: skip
        with pytest.raises(BenchError, match=f"{name}: .*{reason}"):
            read_image(tmp_path / name)


def test_an_upright_mark_and_a_bitmap_are_read(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 1
    PIL.Image.fromarray(photo()).save(tmp_path / "upright.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "upright.png"), photo())
    PIL.Image.fromarray(photo()[..., 0] > 99).save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) == {0, 255}


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "large.png", photo())
    for limit in (200, 100):  # Pillow warns above the limit, and raises above twice the limit
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(BenchError, match=r"large\.png: too large"):
            read_image(tmp_path / "large.png")


def test_written_images_come_back_and_leave_nothing_else(tmp_path: Path) -> None:
    for name, image in (("colour", photo()), ("gray", photo()[..., 1])):
        write_image(tmp_path / "new" / f"{name}.png", image)
        assert np.array_equal(read_image(tmp_path / "new" / f"{name}.png"), image)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["colour.png", "gray.png"]
    with pytest.raises(TypeError, match="uint8"):
        write_image(tmp_path / "float.png", photo() / 255)


def test_the_fingerprint_follows_content_and_not_place(
    set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint("set5", 4)
    assert fingerprint("set5", 2) != first != fingerprint("set5", 4, "jpeg_lanczos")
    set5.rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    (tmp_path / "moved").rename(tmp_path / "other/Set5")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "other"))
    assert fingerprint("set5", 4) == first
    write_image(tmp_path / "other/Set5/HR/b.png", photo(seed=9))
    assert fingerprint("set5", 4) != first


def test_a_missing_set_says_what_and_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    why = missing("urban100")
    assert why is not None
    assert "Urban100/HR" in why and str(tmp_path) in why and "https://" in why
    with pytest.raises(BenchError, match="Urban100/HR"):
        load_pairs("urban100", 4)


def test_a_set_that_cannot_be_read_yet_says_so() -> None:
    for name in ("dped_iphone", "sid_sony", "lol", "ava", "t91", "pirm_val", "ost300"):
        assert "not readable by this version of bench" in (missing(name) or "")


def test_unknown_names_are_told_with_the_nearest(set5: Path) -> None:
    with pytest.raises(BenchError, match="Did you mean 'set14'"):
        load_pairs("set41", 2)
    with pytest.raises(BenchError, match="Did you mean 'bicubic'"):
        load_pairs("set5", 2, "bicubik")


def test_every_set_stands_under_its_own_name() -> None:
    assert all(DATASETS[name].name == name for name in DATASETS)


@pytest.mark.parametrize("name", PHOTOS)
def test_packaged_photographs_are_rgb_and_of_a_size_to_train_or_try_on(name: str) -> None:
    assert missing(name) is None
    pairs = load_pairs(name, 4)
    assert (len(pairs), len(pairs), "bicubic") == describe(name, 4)
    for pair in pairs:
        hr = pair.hr()
        assert hr.ndim == 3 and min(hr.shape[:2]) >= 288
        assert not hr.shape[0] % 4 and not hr.shape[1] % 4
        assert name == "photos_train" or max(hr.shape[:2]) <= 512
    lr = pairs[0].lr()
    assert lr.shape == (pairs[0].hr().shape[0] // 4, pairs[0].hr().shape[1] // 4, 3)


def test_no_photograph_is_in_two_splits() -> None:
    files = [file for name in PHOTOS for file in DATASETS[name].files]
    assert len(files) == len(set(files))
    homes = [name for name in PHOTOS if any("motorcycle" in f for f in DATASETS[name].files)]
    assert homes == ["photos_train"]  # two views of one motorcycle


def test_listing_sets_and_metrics_needs_no_torch() -> None:
    code = (
        "import sys, bench.sets, bench.metrics; print('torch' in sys.modules, 'PIL' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
def test_real_sets_are_whole_or_recognised_as_partial() -> None:
    assert describe("set5", 2) == (5, 5, "published LR_x2")
    assert describe("set14", 3) == (14, 14, "published LR_x3")
    assert describe("bsd100", 4) == (100, 100, "published LR_x4")
    assert describe("bsd100", 2) == (100, 100, "bicubic")
    count, official, _ = describe("urban100", 4)
    assert (count, official) == (30, 100)


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_real_pairs_fit_and_set14_has_one_gray_file(scale: int) -> None:
    pairs = [p for name in ("set5", "set14", "bsd100", "urban100") for p in load_pairs(name, scale)]
    assert len(pairs) == 149
    shapes = [(p.hr().shape, p.lr().shape) for p in load_pairs("set14", scale)]
    assert all(h == (scale * low[0], scale * low[1], *low[2:]) for h, low in shapes)
    assert sum(len(h) == 2 for h, _ in shapes) == 1
