"""Benchmark sets: pairing, refusals, the packaged photographs, the real sets."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from bench.data import images
from bench.data.benchmark import open_benchmark
from bench.data.catalog import DATASETS, SELFEXSR, Layout
from bench.data.degrade import imresize
from bench.data.images import image_files, read_image, write_image
from bench.data.pairs import (
    LR_SOURCES,
    find_pairs,
    fingerprint,
    load_originals,
    load_pairs,
    published_lr,
)
from bench.data.sets import dataset, missing
from bench.errors import BenchError
from bench.measure.protocol import PROTOCOLS, usual_protocol

PHOTOS = ["photos_train", "photos_val", "photos_test"]


def describe(*asked: object) -> tuple[int, int, str]:
    """(images here, images in the whole set or 0, where LR comes from)."""
    opened = open_benchmark(*asked)  # type: ignore[arg-type]
    return len(opened.pairs), opened.official, opened.source


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
    assert describe("div2k_train", 2) == (1, 800, "published DIV2K_train_LR_bicubic/X2")


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


def test_a_rotation_mark_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """Pillow turns a TIFF by itself, and reads what stands behind a PNG's pixels with them."""
    picture, exif = PIL.Image.fromarray(photo()), PIL.Image.Exif()
    exif[0x0112] = 6
    for name in ("exif.png", "exif.webp", "exif.tif"):
        picture.save(tmp_path / name, exif=exif)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    picture.save(tmp_path / "xmp.jpg", xmp=xmp)
    late = (tmp_path / "exif.png").read_bytes()
    start = late.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(late[start : start + 4], "big")
    last = late.index(b"IEND") - 4
    moved = late[:start] + late[end:last] + late[start:end] + late[last:]
    (tmp_path / "late.png").write_bytes(moved)
    for path in sorted(tmp_path.glob("*.*")):
        with pytest.raises(BenchError, match=f"{path.name}: is marked as rotated"):
            read_image(path)
    picture.save(tmp_path / "plain.tif")
    assert np.array_equal(read_image(tmp_path / "plain.tif"), photo())


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
        monkeypatch.setattr(images, "LARGEST", limit)
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


def test_unknown_names_are_told_with_the_nearest(set5: Path) -> None:
    with pytest.raises(BenchError, match="Did you mean 'set14'"):
        load_pairs("set41", 2)
    with pytest.raises(BenchError, match="Did you mean 'bicubic'"):
        load_pairs("set5", 2, "bicubik")


# --- layouts on disk ------------------------------------------------------------------------------


def put(path: Path, image: np.ndarray) -> None:
    """Writes a picture whose format is that of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path, quality=95)


def small(scale: int, seed: int = 0) -> np.ndarray:
    return imresize(photo(24, 24, seed), 1 / scale)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where BENCH_DATA points."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


TREES = {  # set, scale, degradation -> HR and LR file below BENCH_DATA, stem, where LR comes from
    ("set5", 4, "bicubic"): ("Set5/HR/a.png", "Set5/LR_x4/a.png", "a", "published LR_x4"),
    ("set14", 4, "bicubic"): (
        "Set14/GTmod12/a.png", "Set14/LRbicx4/a.png", "a", "published LRbicx4"),
    ("bsd100", 3, "bicubic"): (
        "B100/HR/a.png", "B100/LR_bicubic/X3/ax3.png", "a", "published LR_bicubic/X3"),
    ("set5", 2, "bicubic"): (
        "Set5/image_SRF_2/img_001_SRF_2_HR.png", "Set5/image_SRF_2/img_001_SRF_2_LR.png",
        "img_001", "published image_SRF_2"),
    ("urban100", 4, "bicubic"): (
        "Urban100/image_SRF_4/img_100_SRF_4_HR.png", "Urban100/image_SRF_4/img_100_SRF_4_LR.png",
        "img_100", "published image_SRF_4"),
    ("div2k_val", 4, "bicubic"): (
        "DIV2K/DIV2K_valid_HR/0801.png", "DIV2K/DIV2K_valid_LR_bicubic/X4/0801x4.png",
        "0801", "published DIV2K_valid_LR_bicubic/X4"),
    ("div2k_val", 8, "bicubic"): (
        "DIV2K/DIV2K_valid_HR/0801.png", "DIV2K/DIV2K_valid_LR_x8/0801x8.png",
        "0801", "published DIV2K_valid_LR_x8"),
    ("div2k_val", 3, "unknown"): (
        "DIV2K_valid_HR/0801.png", "DIV2K_valid_LR_unknown/X3/0801x3.png",
        "0801", "published DIV2K_valid_LR_unknown/X3"),
    ("pirm_val", 4, "bicubic"): (
        "PIRM/PIRM_dataset/Validation/Original/1.png",
        "PIRM/PIRM_dataset/Validation/4x_downsampled/1.png",
        "1", "published PIRM_dataset/Validation/4x_downsampled"),
    ("pirm_test", 4, "bicubic"): (
        "PIRM/PIRM_Test_set/HR/201.png", "PIRM/PIRM_Test_set/LR/201.png",
        "201", "published PIRM_Test_set/LR"),
    ("dped_sony", 1, "bicubic"): (
        "DPED/sony/test_data/patches/canon/0.png", "DPED/sony/test_data/patches/sony/0.png",
        "0", "published sony/test_data/patches/sony"),
    ("dped_iphone_train", 1, "bicubic"): (
        "dped/iphone/training_data/canon/7.png", "dped/iphone/training_data/iphone/7.png",
        "7", "published iphone/training_data/iphone"),
    ("lol", 1, "bicubic"): (
        "LOL/eval15/high/1.png", "LOL/eval15/low/1.png", "1", "published eval15/low"),
    ("lol_train", 1, "bicubic"): (
        "LOLdataset/our485/high/2.png", "LOLdataset/our485/low/2.png",
        "2", "published our485/low"),
    ("t91", 2, "bicubic"): ("T91/t1.bmp", None, "t1", "bicubic"),
    ("ost300", 4, "bicubic"): ("OutdoorSceneTest300/OST_001.png", None, "OST_001", "bicubic"),
    ("ava", 4, "jpeg_lanczos"): ("AVA/images/953619.png", None, "953619", "jpeg_lanczos"),
}  # fmt: skip


@pytest.mark.parametrize("asked", TREES, ids=str)
def test_every_layout_is_recognised(root: Path, asked: tuple[str, int, str]) -> None:
    hr, lr, stem, source = TREES[asked]
    name, scale, _ = asked
    put(root / hr, photo(24, 24))
    if lr:
        put(root / lr, small(scale, seed=1))  # another picture: so it was read, not made
    (pair,) = load_pairs(*asked)
    assert pair.stem == stem and pair.has_hr and pair.hr_size() == (24, 24)
    assert np.array_equal(pair.hr(), photo(24, 24))
    if lr:
        assert np.array_equal(pair.lr(), small(scale, seed=1))
    assert describe(*asked) == (1, DATASETS[name].official, source)
    assert missing(name) is None


@pytest.mark.parametrize(("hr", "lr"), [
    ("HR/a.png", "LR_x4/a.png"), ("HR/a.png", "LR_bicubic/X4/ax4.png"),
    ("GTmod12/a.png", "LRbicx4/a.png"), ("a.png", "LR_x4/a.png"), ("a.png", None),
    ("image_SRF_4/a_SRF_4_HR.png", "image_SRF_4/a_SRF_4_LR.png"),
])  # fmt: skip
def test_a_folder_of_the_users_own_has_the_same_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hr: str, lr: str | None
) -> None:
    put(tmp_path / "mine" / hr, photo(24, 24))
    if lr:
        put(tmp_path / "mine" / lr, small(4, seed=1))
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "mine"), "./mine"):
        (pair,) = load_pairs(name, 4)
        assert pair.stem == "a"
        assert np.array_equal(pair.lr(), small(4, seed=1 if lr else 0))
        assert describe(name, 4)[:2] == (1, 0)
        assert missing(name) is None


def test_a_folder_that_is_not_there_or_has_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine/empty").mkdir(parents=True)
    (tmp_path / "mine/unknown/gt").mkdir(parents=True)
    (tmp_path / "mine/file").touch()
    for name, told in (
        ("mine/empty", r"mine/empty: no pictures in it, nor .*GTmod12.*: it is empty\."),
        ("mine/unknown", r"mine/unknown: no pictures in it, nor .*: it holds gt\."),
        ("mine/zzzz", r"mine/zzzz: no such folder\.$"),
        ("mine/emtpy", r"mine/emtpy: no such folder\. Did you mean .*/mine/empty\?"),
        ("mine/file", r"mine/file: is a file\. Name the folder"),
    ):
        with pytest.raises(BenchError, match=told):
            load_pairs(str(tmp_path / name), 4)


def test_a_set_in_an_unknown_layout_is_no_missing_set(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "Set5").mkdir(parents=True)
    assert "is there" not in str(missing("set14"))
    assert "no layout that is known: it is empty. `bench data check set5`" in str(missing("set5"))
    put(root / "Set5/original/baby.png", photo())
    told = f"{root / 'Set5'} is there, in no layout that is known: it holds original."
    assert told in str(missing("set5"))
    monkeypatch.setenv("BENCH_DATA", str(root / "nowhere"))
    assert f"below {root / 'nowhere'} ($BENCH_DATA). There is no such folder." in str(
        missing("set5")
    )


def test_others_results_between_selfexsrs_files_are_not_of_the_set(root: Path) -> None:
    folder = root / "Set5/image_SRF_4"
    for stem in ("img_001", "img_002"):
        put(folder / f"{stem}_SRF_4_HR.png", photo(24, 24))
        put(folder / f"{stem}_SRF_4_LR.png", small(4))
        for method in ("A+", "glasner", "bicubic", "SelfExSR"):
            put(folder / f"{stem}_SRF_4_{method}.png", photo(24, 24, 5))
    assert [p.stem for p in load_pairs("set5", 4)] == ["img_001", "img_002"]
    (folder / "img_002_SRF_4_LR.png").unlink()
    with pytest.raises(BenchError, match=r"img_002_SRF_4_HR\.png: no LR file img_002_SRF_4_LR"):
        load_pairs("set5", 4)
    with pytest.raises(BenchError, match=r"no folder .*image_SRF_3, where its HR files for x3"):
        load_pairs("set5", 3)


def test_selfexsrs_half_size_urban_files_are_never_read(root: Path) -> None:
    folder = root / "Urban100"
    put(folder / "image_SRF_4/img_001_SRF_4_HR.png", photo(48, 48))
    put(folder / "image_SRF_4/img_001_SRF_4_LR.png", imresize(photo(48, 48), 1 / 4))
    put(folder / "image_SRF_2/img_001_SRF_2_HR.png", photo(24, 24, 1))
    put(folder / "image_SRF_2/img_001_SRF_2_LR.png", small(2, 1))
    for scale, source in ((2, "bicubic"), (3, "bicubic"), (4, "published image_SRF_4")):
        (pair,) = load_pairs("urban100", scale)
        assert np.array_equal(pair.hr(), photo(48, 48))
        assert np.array_equal(pair.lr(), imresize(photo(48, 48), 1 / scale))
        assert describe("urban100", scale)[2] == source
    assert published_lr("urban100") == [(4, "bicubic")]


def test_of_two_layouts_the_first_gives_hr_at_every_scale(root: Path) -> None:
    put(root / "Set5/HR/a.png", photo(25, 25))
    put(root / "Set5/GTmod12/a.png", photo(24, 24, 1))
    put(root / "Set5/LRbicx2/a.png", small(2, 1))
    put(root / "Set5/LR_bicubic/X4/ax4.png", imresize(photo(25, 25)[:24, :24], 1 / 4))
    assert describe("set5", 2)[2] == "bicubic"  # LRbicx2 belongs to GTmod12
    assert describe("set5", 4)[2] == "published LR_bicubic/X4"
    assert np.array_equal(load_pairs("set5", 2)[0].hr(), photo(25, 25)[:24, :24])


def test_layouts_are_told_by_the_folders_their_readers_know() -> None:
    assert str(SELFEXSR) == "image_SRF_K/NAME_SRF_K_HR.* + image_SRF_K/NAME_SRF_K_LR.*"
    assert str(Layout(None, "X{scale}", "{stem}x{scale}")) == "XK/NAMExK.*"
    assert str(Layout(".")) == "NAME.*"


# --- what a set does not have ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scale", "file"), [
    ("div2k_test", 4, "DIV2K/DIV2K_test_LR_bicubic/X4/0901x4.png"),
    ("pirm_test", 4, "PIRM/PIRM_Test_set/LR/201.png"),
    ("pirm_selfval", 4, "PIRM/selfval_LR_x4/28.png"),
    ("div2k_samples", 4, "DIV2K/valid_LR_X4_samples/0829x4-crop.png"),
    ("dped_iphone_full", 1, "DPED/iphone/test_data/full_size_test_images/0.png"),
])  # fmt: skip
def test_a_set_of_lr_files_has_no_hr_and_says_so(
    root: Path, name: str, scale: int, file: str
) -> None:
    put(root / file, small(1))
    (pair,) = load_pairs(name, scale)
    assert not pair.has_hr and pair.hr_path is None
    assert np.array_equal(pair.lr(), small(1))
    assert describe(name, scale)[:2] == (1, DATASETS[name].official)
    assert len(fingerprint(name, scale)) == 16
    for ask in (pair.hr, pair.hr_size):
        with pytest.raises(BenchError, match="no HR file for it, so only metrics without a ref"):
            ask()
    with pytest.raises(BenchError, match="no HR files that LR could be made from"):
        load_originals(name, scale, "low_light")
    with pytest.raises(BenchError, match="no HR files that LR could be made from"):
        load_pairs(name, scale, "jpeg_lanczos")


def test_photographs_without_hr_are_enhanced_as_they_are(root: Path) -> None:
    put(root / "DPED/iphone/test_data/full_size_test_images/0.png", small(1))
    (pair,) = load_pairs("dped_iphone_full", 1, "none")
    assert not pair.has_hr and np.array_equal(pair.lr(), small(1))
    put(root / "PIRM/PIRM_Test_set/LR/201.png", small(1))
    with pytest.raises(BenchError, match="no HR files that LR could be made from"):
        load_pairs("pirm_test", 1, "none")


def test_lr_files_of_another_scale_cannot_be_made_without_hr(root: Path) -> None:
    put(root / "PIRM/PIRM_Test_set/LR/201.png", small(1))
    put(root / "DIV2K/DIV2K_test_LR_bicubic/X4/0901x4.png", small(1))
    with pytest.raises(BenchError, match="no LR files of scale 2, and no HR files"):
        load_pairs("pirm_test", 2)
    with pytest.raises(BenchError, match=r"no folder .*DIV2K_test_LR_bicubic.X2; .*cannot be made"):
        load_pairs("div2k_test", 2)


@pytest.mark.parametrize(("name", "only"), [
    ("lol", 1), ("dped_iphone", 1), ("dped_blackberry_full", 1), ("sid_sony", 2), ("sid_fuji", 3),
])  # fmt: skip
def test_a_set_of_one_scale_refuses_another(name: str, only: int) -> None:
    with pytest.raises(BenchError, match=rf"{name}: exists at scale {only} alone, got 4"):
        load_pairs(name, 4)


def test_photographed_lr_files_that_are_absent_are_not_made(root: Path) -> None:
    put(root / "LOL/eval15/high/1.png", photo(24, 24))
    with pytest.raises(BenchError, match=r"lol: no folder .*eval15.low; .*cannot be made"):
        load_pairs("lol", 1)
    assert load_pairs("lol", 1, "low_light")[0].lr_path is None


def test_bicubic_at_scale_one_would_be_hr_itself(set5: Path) -> None:
    with pytest.raises(BenchError, match=r"at scale 1 bicubic changes nothing.* none, "):
        load_pairs("set5", 1)
    assert np.array_equal(load_pairs("set5", 1, "none")[0].lr(), photo())
    with pytest.raises(BenchError, match="'none' leaves the size as it is: scale 1, got 2"):
        load_pairs("set5", 2, "none")
    with pytest.raises(BenchError, match="scale 0"):
        load_pairs("set5", 0)


def test_the_unknown_track_is_published_and_never_made(root: Path) -> None:
    assert "unknown" in LR_SOURCES
    put(root / "DIV2K/DIV2K_valid_HR/0801.png", photo(24, 24))
    with pytest.raises(BenchError, match=r"no folder .*LR_unknown.X4; .*cannot be made.*https://"):
        load_pairs("div2k_val", 4, "unknown")
    put(root / "DIV2K/DIV2K_valid_LR_unknown/X4/0801x4.png", small(4, 1))
    assert np.array_equal(load_pairs("div2k_val", 4, "unknown")[0].lr(), small(4, 1))
    assert np.array_equal(load_pairs("div2k_val", 4)[0].lr(), small(4))
    assert fingerprint("div2k_val", 4) != fingerprint("div2k_val", 4, "unknown")
    assert published_lr("div2k_val") == [(4, "unknown")]
    with pytest.raises(BenchError, match=r"set5: has no LR files of the unknown track.*div2k_val"):
        load_pairs("set5", 4, "unknown")


def test_originals_are_had_whatever_lies_in_the_lr_folder(set5: Path) -> None:
    (set5 / "LR_x4/a.png").rename(set5 / "LR_x4/z.png")
    assert [p.lr_path for p in load_originals("set5", 4)] == [None, None]


def test_all_problems_are_told_at_once(set5: Path) -> None:
    put(set5 / "HR/b.webp", photo())
    put(set5 / "LR_x4/c.png", small(4))
    put(set5 / "LR_x4/b.bmp", small(4))
    found = find_pairs("set5", 4)
    assert [p.stem for p in found.pairs] == ["a", "b"]
    assert len(found.problems) == 3
    with pytest.raises(BenchError) as error:
        load_pairs("set5", 4)
    assert all(line in str(error.value) for line in found.problems)


# --- names of files -------------------------------------------------------------------------------


def test_suffixes_in_capitals_and_thumbnails_of_file_managers(set5: Path) -> None:
    (set5 / "HR/a.png").rename(set5 / "HR/a.PNG")
    for name in ("Thumbs.db", ".DS_Store", "._b.png", "notes.txt"):
        (set5 / "HR" / name).write_bytes(b"x")
    (set5 / "HR/more.png").mkdir()
    assert [p.stem for p in load_pairs("set5", 4)] == ["a", "b"]
    put(set5 / "HR/a.png", photo())
    with pytest.raises(BenchError, match=r"a\.png: has the same stem as a\.PNG"):
        load_pairs("set5", 4)


def test_a_name_composed_in_two_ways_is_one_name(set5: Path) -> None:
    (set5 / "HR/a.png").rename(set5 / "HR/caf\u00e9.png")
    (set5 / "LR_x4/a.png").rename(set5 / "LR_x4/cafe\u0301.png")
    assert [p.stem for p in load_pairs("set5", 4)] == ["b", "caf\u00e9"]


def test_stems_are_sorted_as_text(root: Path) -> None:
    for stem in ("9", "10", "a", "a-b", "B", "2"):
        put(root / f"T91/{stem}.png", photo())
    assert [p.stem for p in load_pairs("t91", 2)] == ["10", "2", "9", "B", "a", "a-b"]
    assert list(image_files(root / "T91")) == ["10", "2", "9", "B", "a", "a-b"]


def test_links_are_followed_and_a_dangling_one_is_named(
    set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "linked"))
    assert len(load_pairs("set5", 4)) == 2
    (set5 / "HR/a.png").unlink()
    (set5 / "HR/a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(BenchError, match=r"HR/a\.png: no such file"):
        load_pairs("set5", 4)


def test_a_folder_that_cannot_be_listed_is_named(
    set5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BenchError, match=r"HR: cannot be listed: permission denied"):
        load_pairs("set5", 4)


def test_files_one_folder_too_deep_are_hinted_at(root: Path) -> None:
    put(root / "DIV2K/DIV2K_valid_HR/DIV2K_valid_HR/0801.png", photo())
    with pytest.raises(BenchError, match="Folders in it are not searched: DIV2K_valid_HR"):
        load_pairs("div2k_val", 4)


def test_names_that_do_not_have_the_layouts_form_are_named(root: Path) -> None:
    put(root / "DIV2K/DIV2K_valid_HR/0801.png", photo(24, 24))
    put(root / "DIV2K/DIV2K_valid_LR_bicubic/X4/0801.png", small(4))
    with pytest.raises(BenchError, match=r"X4: no image is named NAMEx4"):
        load_pairs("div2k_val", 4)
    put(root / "DIV2K/DIV2K_valid_LR_bicubic/X4/0801x4.png", small(4))
    with pytest.raises(BenchError, match=r"X4/0801\.png: no HR file for it"):
        load_pairs("div2k_val", 4)
    put(root / "DIV2K/DIV2K_test_LR_bicubic/X4/0901x4.png", small(4))
    put(root / "DIV2K/DIV2K_test_LR_bicubic/X4/0902.png", small(4))
    with pytest.raises(BenchError, match=r"0902\.png: not named as the others"):
        load_pairs("div2k_test", 4)


def test_loading_pairs_decodes_no_pixels(set5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(PIL.Image.Image, "convert", refuse)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert [p.hr_size() for p in load_pairs("set5", 4)] == [(12, 16), (12, 16)]


# --- facts ----------------------------------------------------------------------------------------


def test_official_counts_are_those_of_the_sets_authors() -> None:
    assert {name: entry.official for name, entry in DATASETS.items() if entry.official} == {
        "set5": 5, "set14": 14, "bsd100": 100, "urban100": 100,
        "div2k_train": 800, "div2k_val": 100, "div2k_test": 100, "div2k_crops": 30,
        "photos_train": 11, "photos_val": 2, "photos_test": 4,
        "pirm_val": 100, "pirm_test": 100, "pirm_selfval": 100, "ost300": 300,
        "dped_iphone_full": 29, "dped_blackberry_full": 29, "dped_sony_full": 29,
        # pairs in the published lists; 12 + 14 + 10 of them are of three misaligned scenes
        "sid_sony": 598 - 36, "sid_sony_all": 598, "sid_sony_train": 1865,
        "sid_fuji": 524, "sid_fuji_train": 1655,
        "lol": 15, "lol_train": 485, "t91": 91, "ava": 255530,
    }  # fmt: skip


def test_every_set_has_a_source_and_a_licence() -> None:
    for entry in DATASETS.values():
        assert entry.licence and entry.title
        assert entry.home.startswith("http") or entry.files


def test_known_traps_are_told() -> None:
    told = {name: " ".join(DATASETS[name].traps) for name in DATASETS}
    assert "image_SRF_2" in told["urban100"] and "bridge" in told["set14"]
    assert all("white" in told[f"dped_{phone}"] for phone in ("iphone", "blackberry", "sony"))
    assert all(scene in told["sid_sony"] for scene in ("10034", "10045", "10172"))
    assert dataset("sid_sony_all").exclude == ()


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
        "import sys, bench.data.sets, bench.measure.metrics; "
        "print('torch' in sys.modules, 'PIL' in sys.modules)"
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
    assert describe("lol", 1) == (15, 15, "published eval15/low")
    assert describe("dped_iphone", 1)[0] == 400
    assert describe("dped_blackberry_samples", 1)[0] == describe("dped_sony_samples", 1)[0] == 4
    assert [p.has_hr for p in load_pairs("pirm_selfval", 4)] == [False] * 3
    assert describe("ost300", 4) == (3, 300, "bicubic")


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_real_pairs_fit_and_set14_has_one_gray_file(scale: int) -> None:
    pairs = [p for name in ("set5", "set14", "bsd100", "urban100") for p in load_pairs(name, scale)]
    assert len(pairs) == 149
    shapes = [(p.hr().shape, p.lr().shape) for p in load_pairs("set14", scale)]
    assert all(h == (scale * low[0], scale * low[1], *low[2:]) for h, low in shapes)
    assert sum(len(h) == 2 for h, _ in shapes) == 1


def test_sets_that_papers_score_in_a_way_of_their_own_name_it() -> None:
    own = {"dped_iphone": "dped-patch@1", "dped_sony_samples": "dped-patch@1",
           "dped_iphone_full": "full@1", "sid_sony_all": "sid-srgb@1", "lol": "full@1",
           "./dped_mine": "full@1"}  # fmt: skip
    assert {name: usual_protocol(name, "enhancement") for name in own} == own
    assert usual_protocol("set14", "super-resolution") == "sr-y@1"
    assert {entry.protocol for entry in DATASETS.values()} <= {"", *PROTOCOLS}
