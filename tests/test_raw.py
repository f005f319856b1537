"""SID's raw files: packing and ratio against the published definitions, reading on DNG files that
the tests write, the lists of pairs."""

from pathlib import Path

import numpy as np
import pytest
from kit import sensor, write_dng, write_sid

from bench.data import raw, sets
from bench.data.benchmark import open_benchmark
from bench.data.datacheck import check_set, check_text
from bench.data.pairs import fingerprint, load_pairs
from bench.data.raw import CAMERAS, exposure_ratio, pack_bayer, pack_xtrans
from bench.errors import BenchError

SONY, FUJI = CAMERAS["sony"], CAMERAS["fuji"]
COLOURS = "RGB"


# --- packing --------------------------------------------------------------------------------------


def test_bayer_is_packed_clockwise_from_the_upper_left() -> None:
    mosaic = np.array([[100, 200, 101, 201], [400, 300, 401, 301]], np.uint16)
    packed = pack_bayer(mosaic, 0, 1000)
    assert packed.shape == (1, 2, 4) and packed.dtype == np.float32
    assert packed[0, 0] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert packed[0, 1] == pytest.approx([0.101, 0.201, 0.301, 0.401])


def test_black_is_zero_white_is_one_and_below_black_is_zero() -> None:
    mosaic = np.array([[512, 16383], [500, 0]], np.uint16)
    assert pack_bayer(mosaic, 512, 16383).tolist() == [[[0.0, 1.0, 0.0, 0.0]]]


def test_an_odd_row_or_column_is_left_out() -> None:
    assert np.array_equal(pack_bayer(sensor(7, 9), 512, 16383),
                          pack_bayer(sensor(7, 9)[:6, :8], 512, 16383))  # fmt: skip
    assert pack_xtrans(sensor(17, 13), 512, 16383).shape == (4, 4, 9)


def test_each_xtrans_channel_holds_one_colour_and_every_pixel_is_packed_once() -> None:
    colours = np.array([[COLOURS.index(c) for c in row] for row in FUJI.pattern], np.uint16)
    packed = pack_xtrans(np.tile(colours, (2, 3)), 0, 1)
    assert packed.shape == (4, 6, 9)
    assert [set(packed[..., c].ravel().tolist()) for c in range(9)] == [
        {0.0}, {1.0}, {2.0}, {0.0}, {2.0}, {1.0}, {1.0}, {1.0}, {1.0}
    ]  # fmt: skip
    numbered = np.arange(12 * 18, dtype=np.uint16).reshape(12, 18)
    assert sorted(pack_xtrans(numbered, 0, 1).ravel().tolist()) == list(range(12 * 18))


def test_a_packed_xtrans_pixel_comes_from_its_own_three_by_three() -> None:
    rows, columns = np.mgrid[0:12, 0:12] // 3
    for index, side in ((rows, 0), (columns, 1)):
        packed = pack_xtrans(index.astype(np.uint16), 0, 1)
        expected = np.arange(4).reshape((4, 1, 1) if side == 0 else (1, 4, 1))
        # red or blue of the next 3x3 stand in for those that this one has not: one column away
        assert (np.abs(packed - expected) <= 1).all()
        assert (packed[..., 5:] == expected).all()


def test_xtrans_places_that_the_published_definition_names() -> None:
    numbered = np.arange(36, dtype=np.uint16).reshape(6, 6)
    packed = pack_xtrans(numbered, 0, 1)
    at = {(y, x): 6 * y + x for y in range(6) for x in range(6)}
    assert packed[1, 0, 0] == at[3, 1] and packed[0, 1, 1] == at[0, 5]
    assert packed[1, 1, 2] == at[3, 4] and packed[0, 1, 3] == at[2, 5]
    assert packed[1, 0, 4] == at[4, 2] and packed[1, 1, 8] == at[5, 4]


# --- exposure -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("short", "long", "ratio"), [
    ("10003_00_0.04s.ARW", "10003_00_10s.ARW", 250),
    ("10003_00_0.1s.ARW", "10003_00_10s.ARW", 100),
    ("10074_00_0.1s.ARW", "10074_00_30s.ARW", 300),
    ("10019_00_0.033s.RAF", "10019_00_10s.RAF", 300),  # 303, capped
])  # fmt: skip
def test_exposure_ratio_of_published_names(short: str, long: str, ratio: float) -> None:
    assert exposure_ratio(short, long) == pytest.approx(ratio)


@pytest.mark.parametrize("name", ["10003_00.ARW", "10003_00_s.ARW", "a_b_1s.ARW", "1_0_0s.ARW"])
def test_a_name_without_exposure_time_is_refused(name: str) -> None:
    with pytest.raises(BenchError, match=f"{name}: no exposure time"):
        exposure_ratio(name, "10003_00_10s.ARW")


# --- files ----------------------------------------------------------------------------------------


def test_a_sony_file_is_packed_amplified_and_clipped(tmp_path: Path) -> None:
    short, long = tmp_path / "10003_00_0.1s.ARW", tmp_path / "10003_00_10s.ARW"
    write_dng(short, sensor(24, 28), SONY.pattern, 512)
    packed = raw.read_short(short, long, SONY)
    expected = np.minimum(pack_bayer(sensor(24, 28), 512, 16383) * np.float32(100), 1)
    assert packed.dtype == np.float32 and packed.shape == (12, 14, 4)
    assert np.array_equal(packed, expected) and packed.min() == 0 and packed.max() == 1
    assert raw.packed_size(short, SONY) == (12, 14)


def test_a_fuji_file_is_packed_from_its_own_pattern(tmp_path: Path) -> None:
    path = tmp_path / "10019_00_0.1s.RAF"
    write_dng(path, sensor(25, 38, 1024), FUJI.pattern, 1024)
    packed = raw.read_short(path, tmp_path / "10019_00_1s.RAF", FUJI)
    assert packed.shape == (8, 12, 9)
    levels = pack_xtrans(sensor(25, 38, 1024), 1024, 16383)
    assert np.array_equal(packed, np.minimum(levels * np.float32(10), 1))


@pytest.mark.parametrize(("camera", "size"), [("sony", (30, 40)), ("fuji", (522, 516))])
def test_development_is_librawss_rounded_to_eight_bits(
    tmp_path: Path, camera: str, size: tuple[int, int]
) -> None:
    import rawpy

    sort = CAMERAS[camera]
    path = tmp_path / "10003_00_10s.ARW"
    write_dng(path, sensor(*size, sort.black) * 4, sort.pattern, sort.black)
    picture = raw.read_long(path, sort)
    with rawpy.imread(str(path)) as file:
        theirs = file.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16)
    assert picture.shape == (*size, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, np.floor(theirs / 65535 * 255 + 0.5))
    picture[:] = 0  # a copy, though the last one is kept
    assert raw.read_long(path, sort).any()


def test_development_of_a_flat_gray_sensor_is_the_bt709_curve(tmp_path: Path) -> None:
    """LibRaw's default gamma (2.222, slope 4.5), unit white balance and colour matrix."""
    path = tmp_path / "00001_00_10s.ARW"
    write_dng(path, np.full((40, 40), 512 + 4000, np.uint16), SONY.pattern, 512)
    value = 4000 / (16383 - 512)
    level = 255 * (1.099 * value**0.45 - 0.099)
    assert np.abs(raw.read_long(path, SONY)[8:-8, 8:-8, 1].mean() - level) < 1


@pytest.mark.parametrize(("spoil", "words"), [
    ("cut", "not a readable raw file"), ("empty", "not a readable raw file"),
    ("text", "not a readable raw file"), ("absent", "not a readable raw file"),
    ("turned", "is marked as rotated"), ("xtrans", "Is it a file of this set"),
    ("shifted", "colours are GR/BG, the set's camera has RG/GB"), ("swapped", "colours are BG/GR"),
])  # fmt: skip
def test_a_file_that_cannot_be_what_it_should_is_refused_by_name(
    tmp_path: Path, spoil: str, words: str
) -> None:
    path = tmp_path / "10003_00_0.1s.ARW"
    pattern = {"shifted": ("GR", "BG"), "xtrans": FUJI.pattern, "swapped": ("BG", "GR")}
    write_dng(path, sensor(36, 48), pattern.get(spoil, SONY.pattern), 512,
              turned=6 if spoil == "turned" else 1)  # fmt: skip
    if spoil in ("cut", "empty", "text"):
        data = {"cut": path.read_bytes()[:-900], "empty": b"", "text": b"<html>404</html>"}
        path.write_bytes(data[spoil])
    if spoil == "absent":
        path.unlink()
    for read in (raw.read_mosaic, raw.read_long):
        with pytest.raises(BenchError, match=rf"10003_00_0\.1s\.ARW: .*{words}"):
            read(path, SONY)


# --- the sets -------------------------------------------------------------------------------------


@pytest.fixture
def sid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SID's official tree: two good Sony scenes and a misaligned one, one scene not downloaded."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return write_sid(tmp_path / "SID", "Sony_test_list.txt")


def test_the_list_makes_the_pairs(sid: Path) -> None:
    pairs = load_pairs("sid_sony", 2)
    assert [p.stem for p in pairs] == [
        "10003_00_0.04s", "10003_00_0.1s", "10003_01_0.1s",
        "10011_00_0.04s", "10011_00_0.1s", "10011_01_0.1s",
    ]  # fmt: skip
    assert [p.hr_path.name for p in pairs if p.hr_path][2:4] == [
        "10003_00_10s.ARW",
        "10011_00_30s.ARW",
    ]
    for name, here, official in (("sid_sony", 6, 562), ("sid_sony_all", 9, 598)):
        opened = open_benchmark(name, 2)
        assert (len(opened.pairs), opened.official) == (here, official)
        assert opened.source == "published Sony/short"


def test_a_pair_is_packed_input_and_developed_reference(sid: Path) -> None:
    pair = load_pairs("sid_sony", 2)[1]
    lr, hr = pair.lr(), pair.hr()
    assert lr.shape == (15, 20, 4) and lr.dtype == np.float32 and 0 <= lr.min() < lr.max() <= 1
    assert hr.shape == (30, 40, 3) and hr.dtype == np.uint8 and pair.hr_size() == (30, 40)
    assert pair.hr_path is not None
    assert np.array_equal(hr, raw.read_long(pair.hr_path, SONY)[:30])
    hr[:] = 0  # writable
    assert len(fingerprint("sid_sony", 2)) == 16
    made = load_pairs("sid_sony", 2, "jpeg_lanczos")[0]
    assert made.lr().shape == (15, 20, 3)


def test_fuji_pairs_are_cut_to_whole_patterns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    short, long = "Fuji/short/10019_00_0.1s.RAF", "Fuji/long/10019_00_1s.RAF"
    for name in (short, long):
        write_dng(tmp_path / name, sensor(525, 518, 1024) * 2, FUJI.pattern, 1024)
    (tmp_path / "Fuji_test_list.txt").write_text(f"./{short} ./{long} ISO640 F7.1\r\n\r\n")
    (pair,) = load_pairs("sid_fuji", 3)
    assert pair.lr().shape == (174, 172, 9) and pair.hr().shape == (522, 516, 3)


def test_check_tells_counts_what_is_left_out_and_other_black_levels(sid: Path) -> None:
    stranger = sid / "Sony/short/10003_00_0.1s.ARW"
    write_dng(stranger, sensor(31, 40, seed=9), SONY.pattern, 500)
    checked = check_set("sid_sony")
    assert checked.problems == () and checked.count == "6/562 images, PARTIAL"
    assert checked.lr[0][:2] == ("x2", "published Sony/short, 6 files")
    assert checked.notes == (
        "3 pairs of the scenes 10034, 10045, 10172 are left out.",
        "1 files state black level 500; as published 512 is subtracted.",
    )
    assert "misaligned" in check_text(checked)
    assert check_set("sid_sony_all").here == 9


def test_check_collects_what_is_wrong_with_raw_files(sid: Path) -> None:
    cut = sid / "Sony/short/10003_00_0.04s.ARW"
    cut.write_bytes(cut.read_bytes()[:-900])
    write_dng(sid / "Sony/short/10003_01_0.1s.ARW", sensor(30, 40), ("GR", "BG"), 512)
    (sid / "Sony/long/10011_00_30s.ARW").unlink()
    with (sid / "Sony_test_list.txt").open("a") as file:
        file.write("./Sony/short/10003_00_0.1s.ARW\n")
        file.write("./Sony/short/10003_00_0.1s.ARW ./Sony/long/10003_00_10s.ARW ISO200 F9\n")
    text = "\n".join(check_set("sid_sony").problems)
    for words in (
        "10003_00_0.04s.ARW: not a readable raw file", "colours are GR/BG",
        "10011_00_0.04s.ARW: no long exposure", "list.txt:13: wanted two files",
        "list.txt:14: 10003_00_0.1s is listed twice",
    ):  # fmt: skip
        assert words in text
    with pytest.raises(BenchError, match=r"list\.txt:13"):
        load_pairs("sid_sony", 2)


def test_exposures_of_two_sizes_are_refused(sid: Path) -> None:
    write_dng(sid / "Sony/long/10003_00_10s.ARW", sensor(31, 42), SONY.pattern, 512)
    with pytest.raises(
        BenchError, match=r"10003_00_0\.04s\.ARW: not of the size of .*10003_00_10s"
    ):
        load_pairs("sid_sony", 2)[0].hr()
    assert any("not of the size" in text for text in check_set("sid_sony").problems)


def test_what_sid_lacks_is_told(sid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BenchError, match=r"no file SID.Fuji_test_list\.txt.*https://github.com/cchen"
    ):
        load_pairs("sid_fuji", 3)
    (sid / "Sony_train_list.txt").write_text("./Sony/short/a.ARW ./Sony/long/b.ARW ISO1 F1\n")
    with pytest.raises(BenchError, match="none of the files that it lists is here"):
        load_pairs("sid_sony_train", 2)
    (sid / "Sony_train_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="not a readable list"):
        load_pairs("sid_sony_train", 2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install rawpy" in (sets.missing("sid_sony") or "")


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
def test_lol_stands_in_for_raw_low_light() -> None:
    """PSNR of the untouched dark input: what a low-light method has to beat."""
    values = []
    for pair in load_pairs("lol", 1):
        hr, lr = pair.hr().astype(np.float64), pair.lr().astype(np.float64)
        values.append(10 * np.log10(255**2 / ((hr - lr) ** 2).mean()))
    assert len(values) == 15 and np.mean(values) == pytest.approx(7.773, abs=5e-4)
