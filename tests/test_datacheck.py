"""Whole sets: every malformed file is named, nothing sound is; LR files are made and written."""

import dataclasses
import json
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from bench.data import datacheck
from bench.data.datacheck import check_set, check_text, degrade_set
from bench.data.degrade import DEGRADATIONS, imresize
from bench.data.images import image_files, read_image, write_image
from bench.data.pairs import load_originals, load_pairs
from bench.errors import BenchError


def photo(height: int = 24, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(path: Path, image: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path, **options)


@pytest.fixture
def set5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound Set5 of three images with LR x4, where BENCH_DATA points."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for seed, stem in enumerate(("a", "b", "c")):
        put(tmp_path / f"Set5/HR/{stem}.png", photo(seed=seed))
        put(tmp_path / f"Set5/LR_x4/{stem}.png", imresize(photo(seed=seed), 1 / 4))
    return tmp_path / "Set5"


def test_a_sound_set_has_no_problem(set5: Path) -> None:
    checked = check_set("set5")
    assert checked.problems == checked.notes == () and checked.missing is None
    assert (checked.here, checked.official, checked.count) == (3, 5, "3/5 images, PARTIAL")
    assert checked.folder == str(set5) and checked.layout == "HR/NAME.* + LR_xK/NAME.*"
    assert [row[:2] for row in checked.lr] == [
        ("x2", "made from HR by bicubic"), ("x3", "made from HR by bicubic"),
        ("x4", "published LR_x4, 3 files"),
    ]  # fmt: skip
    assert len({mark for _, _, mark in checked.lr}) == 3
    assert [row[0] for row in check_set("set5", scale=3).lr] == ["x3"]
    assert json.loads(json.dumps(dataclasses.asdict(checked)))["here"] == 3
    text = check_text(checked)
    for words in ("3/5 images, PARTIAL", str(set5), "LR_x4", "https://", checked.lr[2][2]):
        assert words in text
    assert "PROBLEM" not in text


def test_a_missing_set_says_where_from_and_how_it_would_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    text = check_text(check_set("urban100"))
    for words in ("urban100: Urban100, MISSING", str(tmp_path), "https://", "image_SRF_2",
                  "Urban100/GTmod12/NAME.* + LRbicxK/NAME.*"):  # fmt: skip
        assert words in text
    text = check_text(check_set("sid_fuji"))
    assert "SID/Fuji_test_list.txt + Fuji/short/NAME.* + Fuji/long/NAME.*" in text
    with pytest.raises(BenchError, match="Did you mean 'set14'"):
        check_set("set41")


# --- files that are not what they seem ------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def png(
    width: int, height: int, depth: int, colour: int, pixels: bytes, more: bytes = b""
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + more + data + chunk(b"IEND", b"")


def saved(path: Path, image: PIL.Image.Image, **options: object) -> bytes:
    image.save(path, **options)
    return path.read_bytes()


def cut(suffix: str) -> Callable[[Path], bytes]:
    return lambda path: saved(path.with_suffix(suffix), PIL.Image.fromarray(photo()))[:-200]


def flipped(path: Path) -> bytes:
    data = bytearray(saved(path, PIL.Image.fromarray(photo())))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def turned(path: Path) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 8
    return saved(path, PIL.Image.fromarray(photo()), exif=exif)


def frames(path: Path) -> bytes:
    others = [PIL.Image.fromarray(photo(seed=n)) for n in (1, 2)]
    return saved(path, PIL.Image.fromarray(photo()), save_all=True, append_images=others)


def converted(mode: str) -> Callable[[Path], bytes]:
    return lambda path: saved(path, PIL.Image.fromarray(photo()).convert(mode))


def deep(compression: str | None) -> Callable[[Path], bytes]:
    """RGB of 16 bits, which Pillow reads but does not write."""

    def make(path: Path) -> bytes:
        import tifffile

        pixels = photo().astype(np.uint16) * 257
        tifffile.imwrite(path, pixels, photometric="rgb", compression=compression)
        return path.read_bytes()

    return make


RGB = PIL.Image.fromarray(photo())
MALFORMED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty.png": (lambda _: b"", "not a readable image: empty"),
    "signature.png": (lambda _: b"\x89PNG\r\n\x1a\n", "not a readable image"),
    "page.png": (lambda _: b"<html>404 Not Found</html>", "not a readable image: a web page"),
    "pointer.png": (lambda _: b"version https://git-lfs.github.com/spec", "a Git LFS pointer"),
    "zeros.jpg": (lambda _: bytes(2000), "not a readable image"),
    "cut.png": (cut(".png"), "not a readable image"),
    "cut.jpg": (cut(".jpg"), "not a readable image"),
    "cut.webp": (cut(".webp"), "not a readable image"),
    "cut.bmp": (cut(".bmp"), "not a readable image"),
    "cut.tif": (cut(".tif"), "not a readable image"),
    "flipped.png": (flipped, "not a readable image"),
    "short.png": (lambda _: png(9, 9, 8, 2, bytes(100)), "not a readable image"),
    "nothing.png": (lambda _: png(0, 0, 8, 2, b""), "not a readable image"),
    "bomb.png": (lambda _: png(60000, 60000, 8, 2, b""), "too large to be a photograph"),
    "gray16.png": (lambda _: png(1, 1, 16, 0, bytes(3)), "more than 8 bits"),
    "rgb16.png": (lambda _: png(1, 1, 16, 2, bytes(7)), "more than 8 bits"),
    "gray16.tif": (lambda p: saved(p, PIL.Image.fromarray(photo()[..., 0].astype(np.uint16))),
                   "more than 8 bits"),
    "rgb16.tif": (deep(None), "more than 8 bits"),
    "rgb16_deflate.tif": (deep("zlib"), "more than 8 bits"),
    "int32.tif": (converted("I"), "more than 8 bits"),
    "float.tif": (converted("F"), "more than 8 bits"),
    "rgba.png": (converted("RGBA"), "alpha channel"),
    "rgba.webp": (lambda p: saved(p, PIL.Image.fromarray(np.dstack([photo(), photo()[..., 0]]))),
                  "alpha channel"),
    "la.png": (converted("LA"), "alpha channel"),
    "palette_alpha.png": (lambda p: saved(p, RGB.quantize(4), transparency=0), "alpha channel"),
    "key.png": (lambda _: png(1, 1, 8, 2, bytes(4), chunk(b"tRNS", bytes(6))), "alpha channel"),
    "gray_key.png": (lambda _: png(1, 1, 8, 0, bytes(2), chunk(b"tRNS", bytes(2))),
                     "alpha channel"),
    "cmyk.jpg": (converted("CMYK"), "colour mode CMYK"),
    "cmyk.tif": (converted("CMYK"), "colour mode CMYK"),
    "lab.tif": (converted("LAB"), "colour mode LAB"),
    "turned.jpg": (turned, "marked as rotated"),
    "turned.png": (turned, "marked as rotated"),
    "turned.tif": (turned, "marked as rotated"),
    "turned.webp": (turned, "marked as rotated"),
    "frames.tif": (frames, "has 3 frames"),
    "frames.png": (frames, "has 3 frames"),
    "frames.webp": (frames, "has 3 frames"),
}  # fmt: skip
"""File name -> its bytes, and what it is refused for."""


def test_every_malformed_file_is_refused_by_name(tmp_path: Path) -> None:
    for name, (make, words) in MALFORMED.items():
        path = tmp_path / name
        path.write_bytes(make(path))
        with pytest.raises(BenchError, match=f"{name}: .*{words}"):
            read_image(path)


def test_check_finds_every_malformed_file_in_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, (name, (make, _)) in enumerate(MALFORMED.items()):
        scrap = tmp_path / f"scrap{Path(name).suffix}"
        (folder / f"{number}_{name}").write_bytes(make(scrap))
    put(folder / "good.png", photo())
    (folder / "dangling.png").symlink_to(tmp_path / "gone.png")
    checked = check_set(str(folder), scale=2, workers=3)
    for number, (name, (_, words)) in enumerate(MALFORMED.items()):
        assert any(f"{number}_{name}: " in text and words in text for text in checked.problems)
    assert any("dangling.png: no such file" in text for text in checked.problems)
    assert not any("good.png" in text for text in checked.problems)
    assert len(checked.problems) == len(MALFORMED) + 1 and checked.here == len(MALFORMED) + 2
    assert check_text(checked).count("PROBLEM") == len(checked.problems)


def test_check_finds_every_wrong_pair_in_one_run(set5: Path) -> None:
    put(set5 / "HR/orphan.png", photo(seed=10))
    put(set5 / "LR_x4/lonely.png", photo(6, 6, 11))
    put(set5 / "HR/a.webp", photo(), lossless=True)
    put(set5 / "LR_x4/b.bmp", photo(6, 6, 12))
    for seed, (stem, shape) in enumerate(
        {"tall": (6, 7), "wide": (7, 6), "same": (24, 24)}.items()
    ):
        put(set5 / f"HR/{stem}.png", photo(seed=20 + seed))
        put(set5 / f"LR_x4/{stem}.png", photo(*shape, seed=30 + seed))
    put(set5 / "HR/copy.png", photo(seed=2))
    put(set5 / "LR_x4/copy.png", photo(6, 6, 13))
    put(set5 / "HR/other.png", photo(seed=40))
    put(set5 / "LR_x4/other.png", imresize(photo(), 1 / 4))
    put(set5 / "HR/tiny.png", photo(2, 9))
    put(set5 / "LR_x4/tiny.png", photo(1, 1))
    checked = check_set("set5", scale=4)
    for words in (
        "HR/orphan.png: no LR file orphan.*", "LR_x4/lonely.png: no HR file",
        "a.webp: has the same stem as a.png", "b.png: has the same stem as b.bmp",
        "tall.png: 7x6 is not a x4 LR", "wide.png: 6x7 is not a x4 LR",
        "same.png: 24x24 is not a x4 LR", "copy.png: the same pixels as c.png",
        "other.png: the same pixels as a.png", "tiny.png: 1x1 is not a x4 LR",
        "9 images, but the whole set has 5",
    ):  # fmt: skip
        assert any(words in text for text in checked.problems), words
    assert len(checked.problems) == 11
    assert checked.lr[0][2] == ""  # no fingerprint of what cannot be loaded
    assert any("smaller than one LR pixel" in t for t in check_set("set5", scale=3).problems)


def test_an_empty_set_and_a_scale_it_does_not_have_are_problems(set5: Path, tmp_path: Path) -> None:
    for path in (set5 / "HR").iterdir():
        path.unlink()
    assert "HR: has no image files" in check_set("set5").problems[0]
    put(tmp_path / "LOL/eval15/high/1.png", photo())
    put(tmp_path / "LOL/eval15/low/1.png", photo(seed=1))
    assert "exists at scale 1 alone" in check_set("lol", scale=4).problems[0]
    assert check_set("lol").problems == () and check_set("lol").lr[0][0] == "x1"
    (tmp_path / "LOL/eval15/low/1.png").unlink()
    assert "low: has no image files" in check_set("lol").problems[0]
    (tmp_path / "LOL/eval15/low").rmdir()
    assert "eval15/low; these LR files cannot be made" in check_set("lol").problems[0]
    (tmp_path / "DIV2K/DIV2K_test_LR_bicubic/Xfour").mkdir(parents=True)
    assert "cannot be made" in check_set("div2k_test").problems[0]


# --- what is sound, and good to know --------------------------------------------------------------


def test_gray_palette_and_lossy_files_are_noted(set5: Path) -> None:
    put(set5 / "HR/a.png", photo()[..., 0])
    put(set5 / "LR_x4/a.png", imresize(photo()[..., 0], 1 / 4))
    PIL.Image.fromarray(photo(seed=1)).quantize(16).save(set5 / "HR/b.png")
    (set5 / "HR/c.png").unlink()
    put(set5 / "HR/c.jpg", photo(seed=2), quality=95)
    checked = check_set("set5")
    assert checked.problems == ()
    assert checked.notes == (
        "JPEG files: 1.", "single channel: HR/a.png, LR_x4/a.png.", "palette: HR/b.png.",
    )  # fmt: skip


def test_white_pairs_are_named_and_are_no_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    patches, white = tmp_path / "DPED/iphone/test_data/patches", np.full((9, 9, 3), 255, np.uint8)
    for name, (hr, lr) in {
        "0": (photo(9, 9), photo(9, 9, 1)), "103": (white, white), "177": (white, white),
        "5": (white, white // 2), "6": (photo(9, 9, 2), photo(9, 9, 2)),
    }.items():  # fmt: skip
        put(patches / f"canon/{name}.png", hr)
        put(patches / f"iphone/{name}.png", lr)
    checked = check_set("dped_iphone")
    assert checked.count == "5 images, of how many is not stated"
    assert len(checked.problems) == 1 and "6.png: the same pixels as its HR" in checked.problems[0]
    assert checked.notes == (
        "one colour, in LR as in HR, so that PSNR can be infinite: 103, 177.",
    )  # fmt: skip
    assert "white in both" in check_text(checked)


def test_what_lies_there_and_is_not_used_is_noted(set5: Path, tmp_path: Path) -> None:
    put(set5 / "GTmod12/a.png", photo())
    put(set5 / "HR/old/a.png", photo())
    (set5 / "HR/readme.txt").write_text("notes")
    (set5 / "HR/Thumbs.db").write_bytes(b"x")
    (set5 / "HR/.DS_Store").write_bytes(b"x")
    notes = check_set("set5").notes
    assert notes[0] == f"also here, not used: {set5}/GTmod12/NAME.* + LRbicxK/NAME.*."
    assert notes[1] == f"{set5}/HR: not read: Thumbs.db, old, readme.txt."
    put(tmp_path / "BSD100/HR/a.png", photo())
    put(tmp_path / "B100/HR/a.png", photo())
    assert check_set("bsd100").notes == (f"also here, not used: {tmp_path}/B100.",)


def test_others_results_in_selfexsrs_folder_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    folder = tmp_path / "Urban100/image_SRF_4"
    put(folder / "img_001_SRF_4_HR.png", photo())
    put(folder / "img_001_SRF_4_LR.png", imresize(photo(), 1 / 4))
    put(folder / "img_001_SRF_4_A+.png", photo(seed=1))
    checked = check_set("urban100")
    assert checked.problems == () and checked.count == "1/100 images, PARTIAL"
    assert checked.notes == (f"{folder}: 1 images of other names, not of the set.",)
    assert [row[:2] for row in checked.lr] == [
        ("x2", "made from HR by bicubic"), ("x3", "made from HR by bicubic"),
        ("x4", "published image_SRF_4, 1 files"),
    ]  # fmt: skip


def test_both_tracks_of_div2k_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    root = tmp_path / "DIV2K"
    put(root / "DIV2K_valid_HR/0801.png", photo(48, 48))
    for folder, name, scale in (("bicubic/X2", "x2", 2), ("x8", "x8", 8), ("unknown/X4", "x4", 4)):
        put(
            root / f"DIV2K_valid_LR_{folder}/0801{name}.png", photo(48 // scale, 48 // scale, scale)
        )
    assert [row[:2] for row in check_set("div2k_val").lr] == [
        ("x2", "published DIV2K_valid_LR_bicubic/X2, 1 files"),
        ("x3", "made from HR by bicubic"), ("x4", "made from HR by bicubic"),
        ("x8", "published DIV2K_valid_LR_x8, 1 files"),
        ("x4 unknown", "published DIV2K_valid_LR_unknown/X4, 1 files"),
    ]  # fmt: skip
    assert [row[0] for row in check_set("div2k_val", scale=4).lr] == ["x4", "x4 unknown"]


def test_lr_files_alone_and_packaged_photographs_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    put(tmp_path / "PIRM/PIRM_Test_set/LR/201.png", photo())
    checked = check_set("pirm_test")
    assert checked.problems == () and checked.count == "1/100 images, PARTIAL"
    assert [row[:2] for row in checked.lr] == [("x4", "published PIRM_Test_set/LR, 1 files")]
    checked = check_set("photos_val")
    assert checked.problems == () and checked.count == "2/2 images"
    assert checked.folder == "installed packages"


def test_no_more_images_are_in_memory_than_threads(
    set5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3, 20):
        put(set5 / f"HR/{seed}.png", photo(seed=seed))
        put(set5 / f"LR_x4/{seed}.png", imresize(photo(seed=seed), 1 / 4))
    busy, most, lock = 0, 0, threading.Lock()
    real = datacheck._read_file

    def counted(*args: object) -> object:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        try:
            file = real(*args)
            assert not any(isinstance(value, np.ndarray) for value in file)
            return file
        finally:
            with lock:
                busy -= 1

    monkeypatch.setattr(datacheck, "_read_file", counted)
    check_set("set5", workers=2)
    assert 1 <= most <= 2


# --- degrade --------------------------------------------------------------------------------------


def test_lr_files_are_written_under_the_same_stems(tmp_path: Path) -> None:
    put(tmp_path / "mine/b.jpg", photo(25, 30), quality=95)
    put(tmp_path / "mine/a.png", photo(24, 27, 1)[..., 0])
    done = degrade_set(str(tmp_path / "mine"), 3, tmp_path / "mine/LR_x3")
    assert done == (tmp_path / "mine/LR_x3", 2, 0)
    files = image_files(tmp_path / "mine/LR_x3")
    assert [path.name for path in files.values()] == ["a.png", "b.png"]
    assert np.array_equal(read_image(files["a"]), imresize(photo(24, 27, 1)[..., 0], 1 / 3))
    hr = read_image(tmp_path / "mine/b.jpg")[:24, :30]
    assert np.array_equal(read_image(files["b"]), imresize(hr, 1 / 3))
    pairs = load_pairs(str(tmp_path / "mine"), 3)
    assert all(pair.lr_path is not None for pair in pairs)  # found as published from now on


@pytest.mark.parametrize("degradation", sorted(set(DEGRADATIONS) - {"none"}))
def test_each_degradation_is_written_as_methods_get_it(
    set5: Path, tmp_path: Path, degradation: str
) -> None:
    degrade_set("set5", 2, tmp_path / "out", degradation)
    for pair in load_originals("set5", 2, degradation):
        assert np.array_equal(read_image(tmp_path / f"out/{pair.stem}.png"), pair.lr())


def test_equal_files_are_kept_and_others_never_replaced(set5: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert degrade_set("set5", 4, out)[1:] == (3, 0)
    before = (out / "b.png").stat().st_mtime_ns
    (out / "c.png").unlink()
    assert degrade_set("set5", 4, out)[1:] == (1, 2)
    assert (out / "b.png").stat().st_mtime_ns == before
    write_image(out / "b.png", photo(6, 6, 9))
    (out / "a.png").write_bytes(b"broken")
    (out / "c.png").unlink()
    with pytest.raises(BenchError) as error:
        degrade_set("set5", 4, out)
    assert "a.png: there already" in str(error.value) and "b.png: there already" in str(error.value)
    assert not (out / "c.png").exists()  # refused before the first is written
    assert np.array_equal(read_image(out / "b.png"), photo(6, 6, 9))


def test_what_cannot_be_degraded_is_refused(
    set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(set5 / "HR", target_is_directory=True)
    for out in (set5 / "HR", tmp_path / "link", set5 / "LR_x4/../HR"):
        with pytest.raises(BenchError, match="holds the HR files of set5"):
            degrade_set("set5", 4, out)
    with pytest.raises(BenchError, match="Did you mean 'bicubic'"):
        degrade_set("set5", 4, tmp_path / "out", "bicubik")
    with pytest.raises(BenchError, match="unknown degradation 'unknown'"):
        degrade_set("set5", 4, tmp_path / "out", "unknown")
    with pytest.raises(BenchError, match="at scale 1 bicubic changes nothing"):
        degrade_set("set5", 1, tmp_path / "out")
    put(tmp_path / "PIRM/PIRM_Test_set/LR/201.png", photo())
    with pytest.raises(BenchError, match="no HR files that LR could be made from"):
        degrade_set("pirm_test", 4, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchError, match="file: cannot be written to"):
        degrade_set("set5", 4, tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_leaves_whole_files_and_can_go_on(
    set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, out = datacheck.write_image, tmp_path / "out"

    def fail(path: Path, image: np.ndarray) -> None:
        if path.stem == "b":
            raise OSError(28, "No space left on device")
        real(path, image)

    monkeypatch.setattr(datacheck, "write_image", fail)
    with pytest.raises(BenchError, match="out: cannot be written to: No space left on device"):
        degrade_set("set5", 4, out)
    assert [path.name for path in out.iterdir()] == ["a.png"]
    monkeypatch.undo()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert degrade_set("set5", 4, out)[1:] == (2, 1)


PUBLISHED = [("Set5", k) for k in (2, 3, 4)] + [("Set14", k) for k in (2, 3, 4)]
PUBLISHED += [("BSD100", 4), ("Urban100", 4)]


@pytest.mark.data
@pytest.mark.parametrize(("folder", "scale"), PUBLISHED)
def test_published_lr_files_are_reproduced_sample_for_sample(
    data_root: Path, tmp_path: Path, folder: str, scale: int
) -> None:
    done = degrade_set(folder.lower(), scale, tmp_path / "lr")
    published = image_files(data_root / folder / f"LR_x{scale}")
    assert done.written == len(published)
    differing = sum(
        int((read_image(tmp_path / f"lr/{stem}.png") != read_image(path)).sum())
        for stem, path in published.items()
    )
    assert differing == 0


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
def test_real_sets_are_sound() -> None:
    for name, count in {
        "set5": "5/5 images", "set14": "14/14 images", "urban100": "30/100 images, PARTIAL",
        "lol": "15/15 images", "ost300": "3/300 images, PARTIAL",
        "pirm_selfval": "3/100 images, PARTIAL", "dped_iphone_full": "1/29 images, PARTIAL",
        "dped_sony_samples": "4 images, of how many is not stated",
    }.items():  # fmt: skip
        checked = check_set(name)
        assert (checked.count, checked.problems) == (count, ())
    assert "HR/img_003.png" in check_set("set14", scale=2).notes[0]  # bridge


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
def test_white_patches_of_dped_are_found() -> None:
    checked = check_set("dped_iphone")
    assert checked.here == 400 and checked.problems == ()
    assert any(note.endswith("infinite: 103, 177, 221, 308.") for note in checked.notes)
