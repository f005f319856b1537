"""Why a score differs: pairs whose score under each convention is known by hand or from others."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage
from skimage.metrics import structural_similarity as skimage_ssim

from bench.data.degrade import imresize
from bench.data.images import read_image, write_image
from bench.data.pixels import Image, as_rgb, gray, luma
from bench.errors import BenchError
from bench.measure.explain import Explanation, explain, rounds_to
from bench.measure.explain.answer import text
from bench.measure.metrics import METRICS
from bench.measure.metrics.fidelity import psnr, psnr_y, ssim, ssim_y
from bench.measure.protocol import PROTOCOLS

SWING = 20 * math.log10(255 / 219)
Y, FULL, RGB2GRAY = "Y studio swing", "Y full range", "Y full range, rounded"


def levels(height: int, width: int, seed: int = 0) -> Image:
    """A picture with structure, between 20 and 220: small offsets do not clip."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    return (20 + imresize(coarse, 4)[:height, :width] / 255 * 200).astype(np.uint8)


def degraded(hr: Image) -> Image:
    noise = np.random.default_rng(1).normal(0, 9, hr.shape)
    return np.clip(hr + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def explained(tmp_path: Path) -> Callable[..., Explanation]:
    """Writes both images and explains them."""

    def run(sr: Image, hr: Image, metric: str = "psnr", **options: Any) -> Explanation:
        write_image(tmp_path / "sr.png", sr)
        write_image(tmp_path / "hr.png", hr)
        return explain(tmp_path / "sr.png", tmp_path / "hr.png", metric, **options)

    return run


def value(found: Explanation, channel: str, border: int = 0, variant: str = "") -> float:
    """The one score of a channel that begins so, without what stands in brackets."""
    (only,) = (
        c.value
        for c in found.conventions
        if c.channel.partition(" (")[0] == channel
        and c.border == border
        and c.variant.startswith(variant)
        and bool(variant) == bool(c.variant)
        and c.shift == (0, 0)
    )
    return only


# --- known by hand --------------------------------------------------------------------------------


@pytest.mark.parametrize("border", [0, 4, 10])
def test_on_gray_content_studio_swing_lies_1_32_db_above_all_others(
    explained: Callable[..., Explanation], border: int
) -> None:
    hr = as_rgb(levels(50, 60)[..., 0])
    found = explained(hr + np.uint8(9), hr)
    hand = 20 * math.log10(255 / 9)
    for channel in ("RGB", FULL, RGB2GRAY):
        assert value(found, channel, border) == pytest.approx(hand, abs=1e-9)
    assert value(found, "RGB", border, "mean") == pytest.approx(hand, abs=1e-9)
    assert value(found, Y, border) - hand == pytest.approx(SWING, abs=1e-9)
    assert math.isclose(SWING, 1.32, abs_tol=0.005)


def test_the_gap_of_1_32_db_holds_on_every_picture(explained: Callable[..., Explanation]) -> None:
    hr = levels(50, 60)
    sr = degraded(hr)
    found = explained(sr, hr)
    assert value(found, Y) - value(found, FULL) == pytest.approx(SWING, abs=0.001)
    difference = (sr.astype(float) - hr) @ [0.299, 0.587, 0.114]  # the Y of YIQ
    yiq = 10 * math.log10(255**2 / np.square(difference).mean())
    assert value(found, FULL) == pytest.approx(yiq, abs=0.001)


def test_errors_of_three_channels_are_pooled_or_averaged_in_db(
    explained: Callable[..., Explanation],
) -> None:
    hr = levels(40, 40)
    found = explained(hr + np.array([1, 2, 8], np.uint8), hr)
    pooled = 10 * math.log10(255**2 / ((1 + 4 + 64) / 3))
    assert value(found, "RGB") == pytest.approx(pooled, abs=1e-9)
    apart = 20 * math.log10(255) - 20 / 3 * math.log10(1 * 2 * 8)
    assert value(found, "RGB", variant="mean") == pytest.approx(apart, abs=1e-9)


def test_rounding_of_y_is_told_apart_for_one_image_and_for_both(
    explained: Callable[..., Explanation],
) -> None:
    flat = np.full((40, 40, 3), 100, np.uint8)
    found = explained(flat, flat)
    exact = 16 + 219 * 100 / 255
    assert value(found, Y) == value(found, f"{Y}, rounded") == math.inf
    hand = 20 * math.log10(255 / (round(exact) - exact))
    assert value(found, f"{Y}, IMAGE's rounded") == pytest.approx(hand, abs=1e-6)


def test_errors_near_the_edge_count_by_the_border(explained: Callable[..., Explanation]) -> None:
    hr = levels(60, 50)
    outermost, ring = hr.copy(), hr.copy()
    outermost[:2] += np.uint8(30)
    ring[:, 5] += np.uint8(30)
    found = explained(outermost, hr, scale=2)
    assert [value(found, "RGB", b) for b in (2, 4, 8)] == [math.inf] * 3
    whole = 10 * math.log10(255**2 / (30**2 * 2 / 60))
    assert value(found, "RGB", 0) == pytest.approx(whole, abs=1e-9)
    found = explained(ring, hr, scale=2)
    assert value(found, Y, 2) < 40 and value(found, Y, 8) == math.inf


def test_borders_are_none_the_scale_scale_plus_6_and_pirms_4(
    explained: Callable[..., Explanation],
) -> None:
    hr = levels(40, 40)
    for scale, borders in ((1, {0, 1, 4, 7}), (2, {0, 2, 4, 8}), (4, {0, 4, 10})):
        found = explained(hr, hr, scale=scale)
        assert {c.border for c in found.conventions} == borders


@pytest.mark.parametrize("single", [False, True], ids=["IMAGE is RGB", "IMAGE is gray"])
def test_a_gray_reference_is_its_own_gray_or_rgb(
    explained: Callable[..., Explanation], single: bool
) -> None:
    hr = levels(50, 60)[..., 0]
    sr = hr + np.uint8(9)
    found = explained(sr if single else as_rgb(sr), hr)
    hand = 20 * math.log10(255 / 9)
    assert value(found, "gray as it is", 4) == pytest.approx(hand, abs=1e-9)
    assert value(found, "gray as RGB", 4) == pytest.approx(hand, abs=1e-9)
    as_y = value(found, f"gray as RGB, {Y}", 4)
    assert as_y - hand == pytest.approx(SWING, abs=1e-9)
    assert found.gray_file and "single-channel" in text(found)
    assert {(c.gray, "as it is" in c.channel) for c in found.conventions} == {
        ("native", True),
        ("rgb", False),
    }
    colour = explained(levels(50, 60), levels(50, 60))
    assert {c.gray for c in colour.conventions} == {None}


def test_a_gray_reference_equals_its_copy_in_rgb(explained: Callable[..., Explanation]) -> None:
    hr = levels(50, 60)[..., 0]
    found = explained(as_rgb(hr), hr)
    assert value(found, "gray as it is") == value(found, "gray as it is, rounded") == math.inf


# --- known from others ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("gray_file", [False, True])
@pytest.mark.parametrize(("metric", "rgb", "y"), [("psnr", psnr, psnr_y), ("ssim", ssim, ssim_y)])
def test_what_a_protocol_is_said_to_print_is_its_score(
    explained: Callable[..., Explanation],
    metric: str,
    rgb: Callable[..., float],
    y: Callable[..., float],
    gray_file: bool,
    scale: int,
) -> None:
    hr = levels(61, 50)
    sr = degraded(hr)
    hr = hr[..., 0] if gray_file else hr
    found = explained(sr, hr, metric, scale=scale)
    measures = dict.fromkeys(("sr-y@1", "sr-y-round@1", "pirm@1"), y)
    measures |= dict.fromkeys(("sr-rgb@1", "div2k@1", "full@1", "gray@1"), rgb)
    measures |= {"sr-y-rgb@1": y} if gray_file else {}
    printed = {
        used.rpartition(" = ")[2]: c.value
        for c in found.conventions
        for used in c.used_by
        if "@" in used
    }
    assert printed == {
        name: pytest.approx(measure(sr, hr, PROTOCOLS[name], scale), abs=1e-6)
        for name, measure in measures.items()
    }


@pytest.mark.parametrize("border", [0, 4, 10])
def test_ssim_of_skimage_is_skimages(explained: Callable[..., Explanation], border: int) -> None:
    hr = levels(61, 83)
    sr = degraded(hr)
    found = explained(sr, hr, "ssim")
    inner = np.s_[border : 61 - border, border : 83 - border]
    y, full = (luma(sr)[inner], luma(hr)[inner]), (gray(sr)[inner], gray(hr)[inner])
    rounded = [np.floor(plane + 0.5) for plane in full]
    for label, settings in (
        ("skimage default", {}),
        ("skimage Gaussian", {"gaussian_weights": True, "sigma": 1.5}),
    ):
        expected = skimage_ssim(sr[inner], hr[inner], channel_axis=2, data_range=255, **settings)
        assert value(found, "RGB", border, label) == pytest.approx(expected, abs=1e-9)
        expected = skimage_ssim(*y, data_range=255, **settings)
        assert value(found, Y, border, label) == pytest.approx(expected, abs=1e-9)
        expected = skimage_ssim(*rounded, data_range=255, **settings)
        assert value(found, RGB2GRAY, border, label) == pytest.approx(expected, abs=1e-9)


def similarity_by_scipy(first: np.ndarray, second: np.ndarray, mode: str) -> np.ndarray:
    """The map of SSIM with windows round every pixel."""

    def mean(plane: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(plane, 1.5, truncate=3.5, mode=mode)

    mean1, mean2 = mean(first), mean(second)
    variances = mean(first**2) - mean1**2 + mean(second**2) - mean2**2
    covariance = mean(first * second) - mean1 * mean2
    c1, c2 = 2.55**2, 7.65**2
    luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


@pytest.mark.parametrize("border", [0, 4, 10])
@pytest.mark.parametrize(("label", "mode"), [("zero-padded", "constant"), ("edge-pad", "nearest")])
def test_padded_ssim_is_scipys(
    explained: Callable[..., Explanation], label: str, mode: str, border: int
) -> None:
    hr = levels(61, 83)
    sr = degraded(hr)
    found = explained(sr, hr, "ssim")
    inner = np.s_[border : 61 - border, border : 83 - border]
    expected = similarity_by_scipy(luma(sr)[inner], luma(hr)[inner], mode).mean()
    assert value(found, Y, border, label) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("side", "factor"), [(130, 1), (401, 2), (640, 3), (897, 4)])
def test_ssim_m_shrinks_by_the_rounded_side_over_256(
    explained: Callable[..., Explanation], side: int, factor: int
) -> None:
    hr = levels(side, side + 6)
    sr = degraded(hr)
    found = explained(sr, hr, "ssim")
    # MATLAB centres an even box one pixel further than scipy
    small = [
        ndimage.uniform_filter(luma(image), factor, mode="reflect", origin=factor % 2 - 1)
        for image in (sr, hr)
    ]
    shrunk = similarity_by_scipy(*(plane[::factor, ::factor] for plane in small), mode="nearest")
    expected = shrunk[5:-5, 5:-5].mean()
    assert value(found, Y, 0, "ssim.m") == pytest.approx(expected, abs=1e-9)


def test_first_channel_alone_is_blue(explained: Callable[..., Explanation]) -> None:
    hr = levels(40, 50)
    sr = hr.copy()
    sr[..., :2] = degraded(hr)[..., :2]
    found = explained(sr, hr, "ssim")
    assert value(found, "blue alone", 4) == pytest.approx(1, abs=1e-12)
    assert value(found, "RGB", 4) < 0.99


@pytest.mark.parametrize("scale", [2, 4])
def test_niqe_of_each_protocol_is_its_score(
    explained: Callable[..., Explanation], scale: int
) -> None:
    sr = degraded(levels(220, 310))
    found = explained(sr, sr, "niqe", scale=scale)
    score = METRICS["niqe"].load("cpu")
    for c in found.conventions:
        for used in c.used_by:
            if "@" in used:
                name = used.rpartition(" = ")[2]
                expected = score(sr, None, PROTOCOLS[name], scale)
                assert c.value == pytest.approx(expected, rel=1e-9), name
    assert value(found, Y) != value(found, f"{Y}, rounded")
    assert found.reference is None and not found.alignments
    assert "of IMAGE alone" in text(found)


@pytest.mark.data
def test_bicubic_baboon_is_found_as_the_papers_print_it(data_root: Path, tmp_path: Path) -> None:
    """22.44 dB stands below the bicubic baboon in ESRGAN's figure."""
    lr = read_image(data_root / "Set14/LR_x4/img_001.png")
    write_image(tmp_path / "baboon.png", imresize(lr, 4))
    reference = data_root / "Set14/HR/img_001.png"
    found = explain(tmp_path / "baboon.png", reference, paper="22.44")
    assert found.matches()[0].used_by == ("SRCNN, VDSR, EDSR, RCAN tables = sr-y@1",)
    assert all(c.channel.startswith(Y) and c.border == 4 for c in found.matches())
    assert all(alignment.aligned for alignment in found.alignments)
    assert value(found, "RGB", 4) < 20.5


@pytest.mark.data
def test_the_gray_bridge_of_set14_is_worth_1_32_db(data_root: Path, tmp_path: Path) -> None:
    lr = read_image(data_root / "Set14/LR_x4/img_003.png")
    write_image(tmp_path / "bridge.png", as_rgb(imresize(lr, 4)))
    found = explain(tmp_path / "bridge.png", data_root / "Set14/HR/img_003.png")
    native, as_y = value(found, "gray as it is", 4), value(found, f"gray as RGB, {Y}", 4)
    assert as_y - native == pytest.approx(SWING, abs=1e-9)


# --- shifts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, -1), (2, 1), (-2, 2), (-1, -2)])
def test_a_shifted_copy_is_found_where_it_lies(
    explained: Callable[..., Explanation], metric: str, dx: int, dy: int
) -> None:
    whole = levels(80, 90)
    hr, sr = whole[5:-5, 5:-5], whole[5 + dy : 75 + dy, 5 + dx : 85 + dx]
    found = explained(sr, hr, metric)
    assert [a.shift for a in found.alignments] == [(dx, dy)] * 2
    assert not any(a.aligned for a in found.alignments)
    (y, rgb) = (c for c in found.conventions if c.shift == (dx, dy))
    best = math.inf if metric == "psnr" else pytest.approx(1, abs=1e-12)
    assert y.value == best and rgb.value == best
    said = " ".join(text(found).split())
    assert f"best when moved by ({dx or 0:+d}".replace("+0", "0") in said
    assert "there they are equal: the two are not aligned" in said


@pytest.mark.parametrize(("scale", "border"), [(1, 4), (2, 2), (4, 4)])
def test_a_shift_is_scored_on_the_same_part_of_the_reference(
    explained: Callable[..., Explanation], scale: int, border: int
) -> None:
    hr = levels(40, 50)
    sr = degraded(hr)
    found = explained(sr, hr, scale=scale)
    moved = {
        c.shift: c.value for c in found.conventions if c.channel == "RGB" and c.shift != (0, 0)
    }
    assert len(moved) == 24
    inner = np.s_[border : 40 - border, border : 50 - border]
    rolled = np.roll(sr, (-2, 1), axis=(0, 1))  # one to the right, two up
    error = np.square(rolled[inner].astype(float) - hr[inner]).mean()
    assert moved[1, -2] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-5)


def test_what_lies_in_place_is_aligned(explained: Callable[..., Explanation]) -> None:
    hr = levels(60, 70)
    for sr in (hr, degraded(hr), np.full_like(hr, 128)):
        found = explained(sr, hr)
        assert all(a.aligned and a.shift == (0, 0) and a.gain == 0 for a in found.alignments)
        assert "Aligned:" in text(found)


@pytest.mark.parametrize(("right", "down"), [(0.5, 0), (0, -0.5), (1.5, 1.5)])
def test_half_a_pixel_is_noticed(
    explained: Callable[..., Explanation], right: float, down: float
) -> None:
    """As between resizing that aligns centres and one that aligns corners."""
    rng = np.random.default_rng(0)
    wide = ndimage.gaussian_filter(rng.normal(0, 300, (120, 130)), 2) + 128
    hr = np.clip(wide, 0, 255)
    sr = ndimage.shift(hr, (-down, -right), order=1)[10:-10, 10:-10]
    found = explained(
        *(as_rgb((plane + 0.5).astype(np.uint8)) for plane in (sr, hr[10:-10, 10:-10]))
    )
    for alignment in found.alignments:
        assert alignment.between == pytest.approx((right, down), abs=0.15)
        assert not alignment.aligned
    assert "the two are not aligned" in " ".join(text(found).split())


# --- the number of a paper ------------------------------------------------------------------------


def test_decimals_decide_what_matches() -> None:
    assert rounds_to(26.2849, "26.28") and not rounds_to(26.2851, "26.28")
    assert rounds_to(26.3499, "26.3") and not rounds_to(26.3499, "26.30")
    assert rounds_to(0.69844, ".6984") and not rounds_to(0.69844, ".6985")
    assert rounds_to(26.49, "26") and not rounds_to(math.inf, "26")
    assert not rounds_to(math.nan, "26")
    assert rounds_to(26.285, "26.28") and rounds_to(26.285, "26.29")


def test_all_conventions_with_the_number_are_listed_the_used_ones_first(
    explained: Callable[..., Explanation],
) -> None:
    hr = as_rgb(levels(50, 60)[..., 0])
    sr = hr + np.uint8(9)  # 29.0459 dB in RGB, 30.3678 in studio Y
    found = explained(sr, hr, paper="29.05")
    names = [c.channel.partition(" (")[0] for c in found.matches()]
    assert set(names) == {"RGB", FULL, RGB2GRAY}
    used = [bool(c.used_by) for c in found.matches()]
    assert used == sorted(used, reverse=True)
    assert "29.05 matches 12 of 69 conventions" in text(found)
    assert "This image cannot tell them apart" in text(found)
    assert {c.channel for c in explained(sr, hr, paper="30.37").matches()} >= {
        "Y studio swing (BT.601, 16-235)"
    }
    for paper, count in (("29.0", 12), ("29.046", 12), ("29.04", 0), ("29.045", 0)):
        assert len(explained(sr, hr, paper=paper).matches()) == count


def test_where_none_matches_the_nearest_three_are_told(
    explained: Callable[..., Explanation],
) -> None:
    hr = as_rgb(levels(50, 60)[..., 0])
    found = explained(hr + np.uint8(9), hr, paper="29.20")
    assert not found.matches()
    assert [c.value for c in found.nearest()] == [pytest.approx(29.0459, abs=1e-4)] * 3
    assert "29.20 matches none of" in text(found)
    assert "29.0460  -0.1540  RGB, border 0" in text(found)


def test_a_gap_of_1_32_db_to_the_paper_is_told(explained: Callable[..., Explanation]) -> None:
    hr = as_rgb(levels(50, 60)[..., 0])
    said = text(explained(hr + np.uint8(9), hr, paper="31.69"))  # swing counted twice
    assert "31.69 lies 1.32 dB above Y studio swing" in said
    said = text(explained(hr + np.uint8(9), hr, paper="31.60"))
    assert "31.60 matches none" in said and "31.60 lies" not in said


# --- for people and programs ----------------------------------------------------------------------


@pytest.mark.parametrize("gray_file", [False, True])
@pytest.mark.parametrize("metric", ["psnr", "ssim"])
@pytest.mark.parametrize("paper", [None, "match", "miss"])
def test_the_answer_fits_a_terminal(
    explained: Callable[..., Explanation], metric: str, gray_file: bool, paper: str | None
) -> None:
    hr = levels(60, 70)
    sr = np.roll(degraded(hr), 1, axis=1)
    hr = hr[..., 0] if gray_file else hr
    number = {"match": "1" if metric == "ssim" else "15", "miss": ".0001", None: None}[paper]
    number = "99.99" if metric == "psnr" and paper == "miss" else number
    said = text(explained(sr, hr, metric, scale=3, paper=number)).splitlines()
    assert max(map(len, said)) <= 100 and len(said) <= 52
    assert not any(line != line.rstrip() for line in said)


def test_equal_images_are_infinite_and_say_so(explained: Callable[..., Explanation]) -> None:
    hr = levels(40, 50)
    found = explained(hr, hr)
    assert "inf (equal)" in text(found)
    assert {c.why for c in found.conventions if c.value == math.inf} == {"the two are equal"}


def test_what_is_too_small_is_a_dash_with_the_reason_once(
    explained: Callable[..., Explanation],
) -> None:
    hr = levels(14, 40)
    said = text(explained(hr, hr, "ssim", scale=2))
    assert said.count("SSIM needs 11 pixels a side; a border of 2 leaves 36x10") == 1
    assert "1.0000" in said and "Too small to look for shifts" in said
    said = text(explained(hr, hr, "psnr", scale=4))
    assert said.count("40x14 pixels leave nothing without a border of 10") == 1


def test_json_holds_every_convention_and_what_matches(
    explained: Callable[..., Explanation],
) -> None:
    hr = as_rgb(levels(50, 60)[..., 0])
    found = explained(hr + np.uint8(9), hr, paper="29.05")
    plain = json.loads(json.dumps(found.as_json()))
    assert len(plain["conventions"]) == len(found.conventions) == 69
    assert len(plain["matches"]) == 12 and len(plain["nearest"]) == 3
    assert plain["image"].endswith("sr.png") and plain["size"] == [50, 60]
    assert set(plain["conventions"][0]) == {
        "channel", "variant", "border", "gray", "shift", "value", "why", "used_by",
    }  # fmt: skip
    assert {tuple(a["shift"]) for a in plain["alignments"]} == {(0, 0)}


# --- sizes and mistakes ---------------------------------------------------------------------------


def test_a_reference_before_mod_crop_is_cropped_and_this_is_said(
    explained: Callable[..., Explanation],
) -> None:
    hr = levels(51, 63)
    sr = degraded(hr)[:48, :60]
    found, expected = explained(sr, hr), explained(sr, hr[:48, :60])
    assert [c.value for c in found.conventions] == [c.value for c in expected.conventions]
    assert "cropped from 63x51 at the right and bottom" in text(found)
    assert "cropped" not in text(expected)


SIZES = [
    ((48, 60), (52, 60), 4, "60x48 pixels, but .* has 60x52"),
    ((48, 60), (48, 59), 4, "60x48 pixels, but .* has 59x48"),
    ((12, 15), (48, 60), 4, "15x12 pixels, but .* has 60x48.*up to 3 pixels smaller, at scale 4"),
    ((48, 60), (49, 60), 1, "of the same size, at scale 1"),
    ((48, 60), (60, 48), 4, "60x48 pixels, but .* has 48x60"),
]


@pytest.mark.parametrize(("size", "reference_size", "scale", "message"), SIZES)
def test_sizes_that_do_not_belong_together_are_both_named(
    explained: Callable[..., Explanation],
    size: tuple[int, int],
    reference_size: tuple[int, int],
    scale: int,
    message: str,
) -> None:
    with pytest.raises(BenchError, match=message):
        explained(levels(*size), levels(*reference_size), scale=scale)


def test_a_gray_image_of_a_colour_reference_is_refused(
    explained: Callable[..., Explanation],
) -> None:
    hr = levels(30, 30)
    with pytest.raises(BenchError, match=r"sr\.png: has a single channel, but .*hr\.png is RGB"):
        explained(hr[..., 0], hr)


OPTIONS = [
    ({"metric": "psnr_y"}, "unknown metric 'psnr_y'. Did you mean 'psnr'. Known: niqe, psnr, ssim"),
    ({"metric": "lpips"}, "unknown metric 'lpips'"),
    ({"scale": 0}, "scale 0: a scale is 1 or more"),
    ({"paper": "abc"}, "--paper: got 'abc'. Give the number as it is printed"),
    ({"paper": "26,28"}, "--paper: got '26,28'"),
    ({"paper": "26.28 dB"}, "--paper: got '26.28 dB'"),
    ({"paper": ""}, "--paper: got ''"),
    ({"paper": "nan"}, "--paper: got 'nan'"),
    ({"paper": "-26.28"}, "--paper: got '-26.28'"),
    ({"paper": ".6984"}, "--paper: .6984 is no PSNR .* Did you mean '--metric ssim'"),
    ({"paper": "26.28", "metric": "ssim"}, "26.28 is no SSIM .* Did you mean '--metric psnr'"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_a_mistaken_option_is_told(
    explained: Callable[..., Explanation], options: dict[str, Any], message: str
) -> None:
    hr = levels(30, 30)
    with pytest.raises(BenchError, match=message):
        explained(hr, hr, **options)


def broken(path: Path, how: str) -> None:
    rgb = Pillow.fromarray(levels(30, 30))
    if how == "text":
        path.write_text("no picture")
    elif how == "cut":
        rgb.save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif how == "alpha":
        rgb.convert("RGBA").save(path)
    elif how == "16 bits":
        Pillow.fromarray(np.zeros((30, 30), np.uint16)).save(path)


FILES = [
    ("missing", "no such file"),
    ("text", "not a readable image"),
    ("cut", "not a readable image"),
    ("alpha", "has an alpha channel"),
    ("16 bits", "more than 8 bits"),
]


@pytest.mark.parametrize("which", ["image.png", "reference.png"])
@pytest.mark.parametrize(("how", "message"), FILES)
def test_a_file_that_cannot_be_compared_is_named(
    tmp_path: Path, which: str, how: str, message: str
) -> None:
    for name in ("image.png", "reference.png"):
        write_image(tmp_path / name, levels(30, 30))
    (tmp_path / which).unlink()
    broken(tmp_path / which, how)
    with pytest.raises(BenchError, match=f"{which}: .*{message}"):
        explain(tmp_path / "image.png", tmp_path / "reference.png")


def test_psnr_without_a_reference_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "sr.png", levels(30, 30))
    with pytest.raises(BenchError, match="psnr compares it with a REFERENCE"):
        explain(tmp_path / "sr.png", None)


def test_an_image_smaller_than_the_window_is_refused(
    explained: Callable[..., Explanation],
) -> None:
    with pytest.raises(BenchError, match=r"sr\.png: SSIM needs 11 pixels a side; .* leaves 30x10"):
        explained(levels(10, 30), levels(10, 30), "ssim")


def test_an_image_without_blocks_for_niqe_is_refused(
    explained: Callable[..., Explanation],
) -> None:
    with pytest.raises(BenchError, match=r"sr\.png: NIQE needs two blocks of 96x96 pixels"):
        explained(levels(100, 150), levels(100, 150), "niqe")
    said = text(explained(levels(100, 200), levels(100, 200), "niqe"))  # for border 0 alone
    assert said.count("NIQE needs two blocks") == 2
