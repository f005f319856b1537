"""VIQET: the numbers of its native back end, facts worked by hand, and what cannot be scored."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.fft

from bench.data.images import read_image
from bench.errors import Unscorable
from bench.measure.metrics import METRICS, viqet
from bench.measure.metrics import viqet_features as features
from bench.measure.metrics import viqet_filters as filters
from bench.measure.protocol import Noted, protocol

FULL = protocol("full@1")
CLASSIFIER = "flat_region_svm.npz"

COLUMNS = {
    "Resolution": "resolution",
    "EdgeAcutance": "edge_acutance",
    "NoiseSignatureIndex": "noise_signature",
    "FlatRegionIndex": "flat_region",
    "TextureAcutance": "texture_acutance",
    "Saturation": "saturation",
    "ColorWarmth": "color_warmth",
    "Illumination": "illumination",
    "DynamicRange": "dynamic_range",
    "OverExposed": "over_exposed",
    "UnderExposed": "under_exposed",
}
INPUTS = {
    "raw_noise3_0": "N",
    "raw_finalnoise": "noise_floor",
    "raw_dynrange": "KL",
    "raw_sharp4": "sobel_sum",
    "raw_details": "edge_count",
    "raw_noise3_1": "noise_hf",
    **{f"raw_sharp5_{k}": f"EA_{k}" for k in range(1, 10)},
    **{f"raw_gm_{k}": f"GM_{k}" for k in range(1, 25)},
}
REFERENCES = [
    *(f"Set5_{number:03}.png" for number in range(1, 6)),
    *(f"Set14_{number:03}.png" for number in range(1, 15)),
]
"""The images of Set5 and Set14, cropped from the top left to multiples of 4."""


@pytest.fixture
def viqet_root(data_root: Path) -> Path:
    """What the native back end gave, and its classifier of flat blocks."""
    folder = Path(os.environ.get("BENCH_VIQET") or data_root.parent / "viqet")
    if not (folder / "reference.csv").is_file() or not (folder / CLASSIFIER).is_file():
        pytest.skip(f"no reference.csv and {CLASSIFIER} in {folder} (BENCH_VIQET)")
    return folder


@pytest.fixture
def no_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$BENCH_WEIGHTS, without the classifier of flat blocks."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def with_classifier(no_classifier: Path, viqet_root: Path) -> Path:
    (no_classifier / "viqet").mkdir(parents=True)
    (no_classifier / "viqet" / CLASSIFIER).symlink_to(viqet_root / CLASSIFIER)
    return viqet_root


def plain(level: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def regressors() -> list[dict[str, str]]:
    lines = (features.TABLES / "viqet_v115.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if line[0] != "#"))


# --- against the native back end ------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", REFERENCES)
def test_every_number_is_the_native_back_ends(
    name: str, data_root: Path, with_classifier: Path
) -> None:
    with (with_classifier / "reference.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["file"] == name)
    folder, number = name.split("_")
    image = read_image(data_root / folder / "HR" / f"img_{number}")
    height, width = (side // 4 * 4 for side in image.shape[:2])
    got = viqet.measure(image[:height, :width])

    official = {ours: float(row[theirs]) for theirs, ours in COLUMNS.items()}
    assert got.displayed == pytest.approx(official, rel=1e-4, nan_ok=True)
    assert list(got.displayed) == list(viqet.FEATURES) == list(COLUMNS.values())
    # where a pixel is equally near to two temperatures the tool's last bit decides
    assert got.displayed["color_warmth"] == pytest.approx(official["color_warmth"], rel=1e-11)
    inputs = {ours: float(row[theirs]) for theirs, ours in INPUTS.items()}
    assert {name: got.inputs[name] for name in inputs} == pytest.approx(inputs, rel=1e-4)
    assert got.mos["general"] == pytest.approx(float(row["MOS_v115_general"]), abs=1e-4)
    assert got.mos["night"] == pytest.approx(float(row["MOS_v115_night"]), abs=1e-4)
    ranges = {entry["input"]: entry for entry in regressors()}
    for model, outside in got.outside.items():
        beyond = {
            name
            for name, value in inputs.items()
            if not float(ranges[name][f"{model}_min"]) * (1 - 1e-6)
            <= math.log1p(value)
            <= float(ranges[name][f"{model}_max"]) * (1 + 1e-6)
        }
        assert beyond == set(outside) & set(inputs)


# --- worked by hand -------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "raw"), [(128, -0.74), (0, -1.36)])
def test_a_constant_picture_has_no_noise_no_edges_and_the_lowest_mos(
    level: int, raw: float, no_classifier: Path
) -> None:
    got = viqet.measure(plain(level))
    for name in ("noise_signature", "edge_acutance", "saturation", "illumination", "dynamic_range"):
        assert got.displayed[name] == 0
    for name in ("N", "noise_hf", "noise_floor", "edge_count", "sobel_sum", "EA_1", "EA_9"):
        assert got.inputs[name] == pytest.approx(0, abs=1e-12)
    assert got.displayed["resolution"] == 60 * 80 / 1e6
    assert got.mos == {"general": 1.0, "night": 1.0}
    intercept, *rows = regressors()
    limitless = float(intercept["general"]) + sum(
        float(row["general"]) * math.log1p(got.inputs[row["input"]]) for row in rows
    )
    assert limitless == pytest.approx(raw, abs=0.005)  # the native back end's


def test_a_white_and_a_black_picture_are_exposed_all_over(no_classifier: Path) -> None:
    for level, name in ((255, "over_exposed"), (0, "under_exposed")):
        got = viqet.measure(plain(level))
        assert got.displayed[name] == 100
        assert got.displayed["over_exposed"] + got.displayed["under_exposed"] == 100
        assert got.mos["general"] == 1.0


def test_a_pure_colour_is_saturated_and_gray_is_not(no_classifier: Path) -> None:
    red = plain(0)
    red[..., 0] = 255
    assert viqet.measure(red).displayed["saturation"] == pytest.approx(255 * 100 / 75)
    single = texture(40, 30)[..., 0]
    gray = viqet.measure(single)
    assert gray.displayed["saturation"] == 0
    assert gray.mos == viqet.measure(np.repeat(single[..., None], 3, axis=2)).mos


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((768, 512), (1800, 1200)),
        ((512, 768), (800, 1200)),
        ((1921, 1200), (1920, 1199)),
        ((3000, 1000), (1920, 640)),
        ((1, 1), (1200, 1200)),
        ((800, 40), (1920, 96)),
    ],
)
def test_a_picture_is_fitted_into_the_screen(
    size: tuple[int, int], working: tuple[int, int]
) -> None:
    assert viqet.working_size(*size) == working


def test_contrast_and_exposure_of_two_blocks() -> None:
    gray = np.full((7, 14), 100, np.uint8)
    gray[3, 9] = 200
    contrast, exposure = features.light(gray)
    assert contrast == pytest.approx((0 + 100 / 300) / 2)
    assert exposure == pytest.approx((100 + 100 / 49) / 2)  # of one block, divided by two


def test_blocks_at_the_edge_are_smaller() -> None:
    gray = np.full((9, 7), 100, np.uint8)
    gray[7:] = [50] * 7, [150] * 7
    contrast, exposure = features.light(gray)
    assert contrast == pytest.approx((0 + 100 / 200) / 2)
    assert exposure == pytest.approx(100 / 2)


def test_divergence_of_known_histograms() -> None:
    assert features.divergence(np.tile(np.uint8([3, 90]), (4, 4))) == pytest.approx(math.log(128))
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert features.divergence(every) == pytest.approx(math.log(256 / 255))  # 255 does not count
    assert features.divergence(np.full((4, 4), 255, np.uint8)) == 0


@pytest.mark.parametrize(
    ("rgb", "xy"),
    [
        ((128, 128, 128), (122, 128)),  # 0.950456 and 1 times 128
        ((255, 0, 0), (46, 18)),  # what blue has: 0.180423 and 0.072169 times 255
        ((0, 0, 255), (105, 54)),  # what red has: 0.412453 and 0.212671
    ],
)
def test_colour_temperature_takes_red_for_blue(
    rgb: tuple[int, int, int], xy: tuple[int, int]
) -> None:
    table = np.loadtxt(features.TABLES / "planck.csv", delimiter=",", skiprows=3)
    distance = np.hypot(*(table[:, 1:] - np.array(xy) / 256).T)
    working = np.full((40, 60, 3), rgb, np.uint8)
    assert features.colour_temperature(working) == table[np.argmin(distance), 0]


def test_clipped_areas_of_a_half_white_picture() -> None:
    gray = np.zeros((160, 160), np.uint8)
    gray[:, :80] = 255
    # windows of 20 pixels, from 10 to the left to 9 to the right
    assert features.clipped_areas(gray) == (100 * 71 / 160, 100 * 70 / 160)


def test_the_banks_have_the_sizes_of_the_tools_files() -> None:
    assert [len(taps) for taps in filters.bank_a()] == [49, 25, 17, 15, 11, 11, 9, 9, 7]
    assert [len(scale[0]) for scale in filters.bank_b()] == [45, 25, 13, 7]
    for along, rising, across, falling in filters.bank_b():
        assert np.array_equal(along, across.T) and np.array_equal(rising, falling[:, ::-1])
        assert abs(along.sum()) < 1e-4 and abs(rising.sum()) < 1e-4
        assert along[len(along) // 2, 0] == float(f"{along[len(along) // 2, 0]:.5g}")
    # half of the complex filter's energy is in its real part
    assert np.linalg.norm(filters.bank_b()[0][0]) == pytest.approx(math.sqrt(0.5), rel=0.01)


def test_zigzag_and_dct_are_jpegs() -> None:
    start = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3)]
    assert filters.zigzag(36)[:7].tolist() == [36 * row + column for row, column in start]
    assert sorted(filters.zigzag(36)) == list(range(36 * 36))
    expected = scipy.fft.dct(np.eye(80), norm="ortho", axis=0)
    assert filters.dct_matrix(80) == pytest.approx(expected, abs=1e-14)


def test_deviations_in_windows_are_numpys() -> None:
    plane = texture(9, 8)[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(plane, (3, 3))
    assert filters.window_deviations(plane, 3) == pytest.approx(windows.std(axis=(2, 3), ddof=1))
    assert not filters.window_deviations(np.full((30, 30), 77, np.uint8), 20).any()


def test_equal_numbers_do_not_deviate() -> None:
    equal = np.full((61, 61), 0.1) * 3
    assert equal.std(ddof=1) > 0  # what rounding makes of it
    assert filters.sample_deviation(equal) == 0
    both = np.stack([equal, np.arange(3721.0).reshape(61, 61)])
    assert filters.sample_deviation(both, axis=(1, 2)) == pytest.approx(
        [0, math.sqrt(3721 * 3722 / 12)]
    )
    stripes = np.tile(np.uint8([90, 120]), (80, 40))  # every window has the same deviation
    activity, spread = filters._activity(stripes)
    assert activity == pytest.approx(15 * math.sqrt(400 / 399)) and spread == 0


@pytest.mark.parametrize("hue", [7, 30, 111])
def test_a_single_hue_has_no_colour_variation(hue: int) -> None:
    colours = texture(30, 30)
    assert features._colour_variation(colours, np.full((30, 30), hue, np.uint8)) == 0


def test_flat_blocks_are_told_by_what_is_there_and_not_by_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gray = np.zeros((240, 320), np.uint8)
    gray[100:150, 100:150] = texture(50, 50)[..., 0]
    gray[:, 220:] = 60
    features_of = features.block_features(gray, 30)
    rng, exact = np.random.default_rng(0), cv2.filter2D

    def noisy(*arguments: Any, **options: Any) -> Any:
        response = exact(*arguments, **options)
        return response + rng.uniform(-1e-13, 1e-13, response.shape)

    monkeypatch.setattr(cv2, "filter2D", noisy)
    assert features.block_features(gray, 30) == pytest.approx(features_of, rel=1e-9, abs=1e-9)


def test_flat_areas_are_left_out_of_the_noise_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    working = plain(253, 1200, 100)
    working[400:500, 30:60] = texture(100, 30)
    working[800, 50, 0] += 1  # the least that a window can hold
    floor = filters.noise_floor(working, 100)
    rng, blur = np.random.default_rng(0), cv2.GaussianBlur

    def noisy(*arguments: Any, **options: Any) -> Any:
        blurred = blur(*arguments, **options)
        return blurred * (1 + rng.uniform(-2e-15, 2e-15, blurred.shape))

    monkeypatch.setattr(cv2, "GaussianBlur", noisy)
    assert filters.noise_floor(working, 100) == pytest.approx(floor, rel=0.01)


def test_shapes_of_laplace_and_gauss() -> None:
    # G(1/s) G(3/s) / G(2/s)^2 is 2 for s = 1 and pi/2 for s = 2
    shapes = features._shape(np.array([2, math.pi / 2, 0, 1e9]))
    assert shapes == pytest.approx([1, 2, 11, 11], abs=0.0011)
    assert features._fit(np.array([1 / 2, 2 / math.pi]))[0] == pytest.approx([1, 2], abs=0.0006)


def test_r7_takes_the_fifth_band_for_the_sixth() -> None:
    gm = [1.0, 2, 4, 6, 8, 10] * 4  # the middle bands have the mean 5
    ratios = features.band_ratios(gm)
    assert ratios == pytest.approx([1 / 8.5, 5 / 11] * 3 + [1 / 7.5, 5 / 11])


def test_pairwise_coupling_stops_before_the_answer() -> None:
    assert features._coupled(0.5) == 0.5
    for p in (0.1, 0.4, 0.95):
        assert 1e-4 < abs(features._coupled(p) - (1 - p)) < 0.0025


def test_the_largest_laplacian_is_round_a_hole() -> None:
    gray = np.full((5, 5), 255, np.uint8)
    gray[2, 2] = 0
    assert filters.largest_laplacian(gray) == 4 * 255
    assert filters.largest_laplacian(255 - gray) == 255


def test_the_rough_responses_are_near_the_exact_ones() -> None:
    gray = texture(170, 250)[..., 0]
    rough = list(filters._rough_responses(gray))
    for row, column in ((0, 0), (1, 2)):
        inside = np.s_[80 * row : 80 * row + 80, 80 * column : 80 * column + 80]
        for near, exact in zip(rough, filters._exact_responses(gray, row, column), strict=True):
            assert near[inside] == pytest.approx(exact, abs=0.01)  # levels


def exact_keys(gray: np.ndarray) -> np.ndarray:
    activity, spread = filters._activity(gray)
    structure = [
        filters._structure(filters._exact_responses(gray, row, column)).item()
        for row, column in np.ndindex(activity.shape)
    ]
    return (activity * spread * filters._level_ratio(gray)).ravel() * structure


def test_the_flattest_blocks_are_those_by_exact_numbers() -> None:
    gray = texture(410, 650)[..., 0]
    flattest = filters._flattest(gray, *filters._activity(gray))
    assert flattest.tolist() == [np.argmin(exact_keys(gray))]


@pytest.mark.parametrize("darker", [0, 1])
def test_exact_numbers_decide_between_blocks_that_are_nearly_alike(
    darker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gray = np.full((80, 240), 128, np.uint8)
    gray[25:55, 185:215] = texture(30, 30)[..., 0]  # too far from the margin to be felt beyond
    for block in (0, 1):
        gray[30:50, 80 * block + 30 : 80 * block + 50] = texture(20, 20, seed=1)[..., 0]
    gray[40, 80 * darker + 40] -= 1
    asked = []
    exact = filters._exact_responses
    monkeypatch.setattr(
        filters, "_exact_responses", lambda *place: asked.append(place[1:]) or exact(*place)
    )
    flattest = filters._flattest(gray, *filters._activity(gray))
    assert asked == [(0, 0), (0, 1)]
    assert flattest.tolist() == [np.argmin(exact_keys(gray))]


# --- what cannot be scored, and what is said of it ------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (40, 30), (4, 900), (1, 3000), (3000, 1)])
def test_no_shape_is_too_odd(shape: tuple[int, int], no_classifier: Path) -> None:
    got = viqet.measure(texture(*shape))
    assert list(got.displayed) == list(viqet.FEATURES)
    assert got.displayed["resolution"] == shape[0] * shape[1] / 1e6
    assert math.isnan(got.mos["general"]) == (max(shape) > 18 * min(shape))


@pytest.mark.parametrize("shape", [(40, 800), (800, 40)])
def test_a_long_picture_has_features_but_no_noise_and_no_mos(
    shape: tuple[int, int], no_classifier: Path
) -> None:
    image = texture(*shape)
    for part in ("mos", "night", "noise_signature"):
        with pytest.raises(Unscorable, match="no complete block of 80x80"):
            viqet.scorer(part)(image, None, FULL, 1)
    for part in set(viqet.FEATURES) - {"noise_signature", "flat_region"}:
        value = viqet.scorer(part)(image, None, FULL, 1)
        assert isinstance(value, float) and math.isfinite(value)


def test_without_the_classifier_only_the_flat_regions_are_unscorable(no_classifier: Path) -> None:
    image = texture(40, 30)
    with pytest.raises(Unscorable, match=r"viqet/flat_region_svm\.npz below .*weights"):
        viqet.scorer("flat_region")(image, None, FULL, 1)
    for part in ("mos", "night", *viqet.FEATURES):
        assert (viqet.unavailable(part) is None) == (part != "flat_region")
        if part != "flat_region":
            viqet.scorer(part)(image, None, FULL, 1)


@pytest.mark.data
def test_the_classifier_may_lie_beside_the_weights(no_classifier: Path, viqet_root: Path) -> None:
    (no_classifier.parent / "viqet").symlink_to(viqet_root)
    assert viqet.unavailable("flat_region") is None


@pytest.mark.data
def test_a_picture_without_flat_blocks_says_so(with_classifier: Path) -> None:
    assert viqet.unavailable("flat_region") is None
    with pytest.raises(Unscorable, match="no flat block"):
        viqet.scorer("flat_region")(texture(40, 30), None, FULL, 1)


def test_a_picture_unlike_the_training_set_is_noted(no_classifier: Path) -> None:
    scored = viqet.scorer("mos")(plain(128), None, FULL, 1)
    assert scored == Noted(1.0, viqet.OUTSIDE)
    assert "edge_count" not in viqet.measure(plain(128)).outside["general"]  # its least is 0
    assert "edge_count" in viqet.measure(plain(128)).outside["night"]


def test_no_border_is_left_out(no_classifier: Path) -> None:
    image = texture(40, 30)
    values = {viqet.scorer("mos")(image, None, protocol(p), 4) for p in ("full@1", "sr-y@1")}
    assert len(values) == 1


def test_an_image_is_measured_once(no_classifier: Path) -> None:
    first = viqet.measure(plain(7))
    assert viqet.measure(plain(7)) is first
    assert viqet.measure(plain(7, 80, 60)) is not first  # as many bytes, another shape


# --- what it stands on ----------------------------------------------------------------------------


def test_the_tables_name_their_source() -> None:
    for name in ("viqet_v115.csv", "planck.csv"):
        first, second = (features.TABLES / name).read_text().splitlines()[:2]
        assert first.startswith("# ") and "VIQET-Desktop" in first + second


def test_the_tables_hold_61_inputs_and_the_planckian_locus() -> None:
    intercept, *rows = regressors()
    assert (intercept["general"], intercept["night"]) == ("4.76525", "-1.98713")
    assert len(rows) == 61
    for row in rows:
        for model in viqet.MODELS:
            assert float(row[f"{model}_min"]) <= float(row[f"{model}_max"])
    table = np.loadtxt(features.TABLES / "planck.csv", delimiter=",", skiprows=3)
    assert table[:, 0].tolist() == list(range(1000, 40001, 100))
    (daylight,) = table[table[:, 0] == 6500, 1:]
    assert daylight == pytest.approx([0.3135, 0.3236], abs=0.004)  # of the CIE 1931 observer


def test_the_metrics_of_the_package_are_those_of_this_file() -> None:
    named = {name.removeprefix("viqet.") for name in METRICS if name.startswith("viqet.")}
    assert named == set(viqet.FEATURES)


def test_importing_it_does_not_load_opencv() -> None:
    script = "import sys, bench.measure.metrics.viqet; sys.exit('cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
