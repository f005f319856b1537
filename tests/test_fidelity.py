"""PSNR, SSIM, RMSE: published values, official values, an independent implementation."""

import itertools
import math
import tracemalloc
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import structural_similarity as skimage_ssim

from bench.data.degrade import imresize_float
from bench.data.images import read_image
from bench.data.pairs import load_pairs
from bench.data.pixels import Image, as_rgb, gray, luma, quantise
from bench.measure.metrics import Unscorable
from bench.measure.metrics.fidelity import difference, ms_ssim, psnr, psnr_y, rmse, ssim, ssim_y
from bench.measure.metrics.ssim import multi_scale_similarity, structural_similarity
from bench.measure.protocol import PROTOCOLS, protocol

BICUBIC = [
    ("set5", 2, "sr-y@1", 33.68, 0.9305),
    ("set5", 3, "sr-y@1", 30.41, 0.8690),
    ("set5", 4, "sr-y@1", 28.43, 0.8113),
    ("set14", 2, "sr-y@1", 30.24, None),
    ("set14", 3, "sr-y@1", 27.54, None),
    ("set14", 4, "sr-y@1", 26.00, None),
    ("set14", 2, "sr-y-rgb@1", 30.33, None),
    ("set14", 3, "sr-y-rgb@1", 27.63, None),
    ("set14", 4, "sr-y-rgb@1", 26.09, None),
    ("bsd100", 4, "sr-y@1", 25.963, 0.6682),
]


@cache
def enlarged(name: str, scale: int) -> list[tuple[Image, Image]]:
    """(SR, HR) of a set's pictures."""
    return [
        (quantise(imresize_float(as_rgb(pair.lr()).astype(np.float64) / 255, scale)), pair.hr())
        for pair in load_pairs(name, scale)
    ]


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
@pytest.mark.parametrize(("name", "scale", "rules", "decibel", "similarity"), BICUBIC)
def test_bicubic_scores_what_papers_print(
    name: str, scale: int, rules: str, decibel: float, similarity: float | None
) -> None:
    scores = []
    for sr, hr in enlarged(name, scale):
        quality = ssim_y(sr, hr, protocol(rules), scale) if similarity else 0
        scores.append((psnr_y(sr, hr, protocol(rules), scale), quality))
    mean_psnr, mean_ssim = np.mean(scores, axis=0)
    assert mean_psnr == pytest.approx(decibel, abs=0.01)
    if similarity:
        assert mean_ssim == pytest.approx(similarity, abs=0.0005)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "decibel", "similarity", "similarity_y"),
    [("I04", 20.9872, 0.9978, 0.9989), ("I06", 27.0139, 0.9989, 0.9995)],
)
def test_official_values_on_tid2013(
    reference_root: Path, name: str, decibel: float, similarity: float, similarity_y: float
) -> None:
    sr = read_image(reference_root / f"tid2013/distorted/{name}.bmp")
    hr = read_image(reference_root / f"tid2013/reference/{name}.bmp")
    assert psnr(sr, hr, protocol("full@1"), 1) == pytest.approx(decibel, abs=5e-5)
    planes = (np.floor(gray(image) + 0.5) for image in (sr, hr))
    assert structural_similarity(*planes) == pytest.approx(similarity, abs=5e-5)
    assert ssim_y(sr, hr, protocol("full@1"), 1) == pytest.approx(similarity_y, abs=5e-5)


def images(height: int = 61, width: int = 83) -> tuple[Image, Image]:
    rng = np.random.default_rng(0)
    hr = np.kron(rng.integers(0, 256, (height // 7 + 1, width // 7 + 1, 3)), np.ones((7, 7, 1)))
    hr = hr[:height, :width].astype(np.uint8)
    return np.clip(hr + rng.normal(0, 12, hr.shape), 0, 255).astype(np.uint8), hr


@pytest.mark.parametrize("size", [(61, 83), (11, 11), (180, 19)])
def test_ssim_equals_scikit_image_where_the_window_fits(size: tuple[int, int]) -> None:
    sr, hr = images(*size)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, whole = skimage_ssim(luma(sr), luma(hr), data_range=255, full=True, **settings)
    ours = ssim_y(sr, hr, protocol("full@1"), 1)
    assert ours == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-10)
    channels = [
        skimage_ssim(sr[..., c], hr[..., c], data_range=255, full=True, **settings)[1]
        for c in range(3)
    ]
    expected = np.mean([c[5:-5, 5:-5].mean() for c in channels])
    assert ssim(sr, hr, protocol("full@1"), 1) == pytest.approx(expected, abs=1e-10)


def test_ssim_of_a_large_picture_needs_little_more_memory_than_its_planes() -> None:
    first, second = np.random.default_rng(0).uniform(0, 255, (2, 1500, 1000))
    tracemalloc.start()
    structural_similarity(first, second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < first.nbytes / 2


def test_pictures_that_have_changed_since_they_were_scored_are_scored_anew() -> None:
    sr, hr = images()
    before = psnr_y(sr, hr, protocol("full@1"), 1)
    sr[20:40] = 255 - sr[20:40]
    changed = psnr_y(sr, hr, protocol("full@1"), 1)
    assert changed < before - 1
    assert changed == psnr_y(sr.copy(), hr.copy(), protocol("full@1"), 1)
    hr[:] = sr
    assert psnr_y(sr, hr, protocol("full@1"), 1) == math.inf
    assert ssim_y(sr, hr, protocol("full@1"), 1) == 1


def test_a_pair_is_scored_anew_under_another_protocol() -> None:
    sr, hr = images()
    both = [psnr_y(sr, hr, protocol(name), 4) for name in ("full@1", "sr-y@1")]
    inner = psnr_y(sr[4:-4, 4:-4], hr[4:-4, 4:-4], protocol("full@1"), 1)
    assert both[1] == inner != both[0]


def test_ssim_of_flat_images_is_its_luminance_term() -> None:
    first, second = np.full((11, 11), 100.0), np.full((11, 11), 50.0)
    hand = (2 * 100 * 50 + 2.55**2) / (100**2 + 50**2 + 2.55**2)
    assert structural_similarity(first, second) == pytest.approx(hand, abs=1e-9)


def naive_multi_scale(first: np.ndarray, second: np.ndarray, shrink: bool) -> float:
    """MS-SSIM of planes (H, W), written as the paper says it: a window at a time."""
    first, second, factors = first.astype(float), second.astype(float), []
    for _ in range(5):
        side = min(11, *first.shape) if shrink else 11
        x = np.arange(side) - (side - 1) / 2
        taps = np.exp(-(x**2) / (2 * (1.5 * side / 11) ** 2))
        window = np.outer(taps, taps) / taps.sum() ** 2
        luminance, structure = [], []
        for i in range(first.shape[0] - side + 1):
            for j in range(first.shape[1] - side + 1):
                a, b = (p[i : i + side, j : j + side] for p in (first, second))
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
                cab = (window * a * b).sum() - ma * mb
                structure.append((2 * cab + 58.5225) / (va + vb + 58.5225))
                luminance.append((2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025) * structure[-1])
        factors.append((np.mean(luminance), np.mean(structure)))
        halves = []
        for plane in (first, second):
            plane = np.pad(plane, [(0, n % 2) for n in plane.shape], mode="edge")
            halves.append((plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2]
                           + plane[1::2, 1::2]) / 4)  # fmt: skip
        first, second = halves
    exponents = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    terms = [s for _, s in factors[:-1]] + [factors[-1][0]]
    return float(np.prod(np.power(terms, exponents)))


@pytest.mark.parametrize(("size", "shrink"), [((177, 180), False), ((61, 50), True)])
def test_ms_ssim_is_the_paper_s_formula(size: tuple[int, int], shrink: bool) -> None:
    rng = np.random.default_rng(1)
    first = imresize_float(rng.uniform(0, 255, (-(-size[0] // 4), -(-size[1] // 4))), 4)
    first = first[: size[0], : size[1]]
    second = first + rng.normal(0, 9, size)
    ours = multi_scale_similarity(first, second, shrink=shrink)
    assert ours == pytest.approx(naive_multi_scale(first, second, shrink), abs=1e-10)
    assert 0.5 < ours < 0.999


def test_ms_ssim_of_several_channels_takes_the_mean_at_each_scale() -> None:
    rng = np.random.default_rng(2)
    hr = np.repeat(rng.integers(0, 256, (180, 180, 1), dtype=np.uint8), 3, axis=2)
    sr = hr // 2 + 40
    one = multi_scale_similarity(sr[..., 0].astype(float), hr[..., 0].astype(float))
    assert ms_ssim(sr, hr, protocol("full@1"), 1) == pytest.approx(one, abs=1e-12)
    assert ms_ssim(hr, hr, protocol("dped-patch@1"), 1) == pytest.approx(1, abs=1e-12)


def test_ms_ssim_refuses_small_and_anticorrelated_images() -> None:
    rng = np.random.default_rng(3)
    small = rng.uniform(0, 255, (175, 300))
    with pytest.raises(Unscorable, match="176 pixels a side, got 300x175"):
        multi_scale_similarity(small, small)
    noise = rng.uniform(0, 255, (176, 176))
    with pytest.raises(Unscorable, match="scale 1 is anticorrelated"):
        multi_scale_similarity(noise, 255 - noise)


def test_the_difference_of_rts_is_a_percentage_of_the_full_range() -> None:
    hr = np.full((9, 9, 3), 100, np.uint8)
    sr = hr.copy()
    sr[0, :, 0] += 51  # 51 levels in 9 of 243 samples
    value = difference(sr, hr, protocol("full@1"), 1)
    assert value == pytest.approx(100 * 51 * 9 / (243 * 255), abs=1e-12)


def test_one_level_everywhere_is_48_13_db() -> None:
    hr = np.full((9, 9, 3), 100, np.uint8)
    assert psnr(hr + np.uint8(1), hr, protocol("full@1"), 1) == pytest.approx(48.1308, abs=5e-5)
    assert rmse(hr + np.uint8(1), hr, protocol("full@1"), 1) == 1


def test_equal_images_have_infinite_psnr_and_ssim_one() -> None:
    _, hr = images()
    for name in ("sr-y@1", "full@1"):
        assert psnr(hr, hr, protocol(name), 2) == math.inf
        assert psnr_y(hr, hr, protocol(name), 2) == math.inf
        assert ssim_y(hr, hr, protocol(name), 2) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_equal_gray_pictures_are_equal_in_files_of_any_kind(name: str) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    for sr, hr in itertools.product((plane, as_rgb(plane)), repeat=2):
        for measure in (psnr, psnr_y):
            assert measure(sr, hr, PROTOCOLS[name], 2) == math.inf
        for measure in (ssim, ssim_y):
            assert measure(sr, hr, PROTOCOLS[name], 2) == 1
        for measure in (rmse, difference):
            assert measure(sr, hr, PROTOCOLS[name], 2) == 0


def test_ssim_is_1_for_equal_pictures_and_the_same_in_either_order() -> None:
    sr, hr = (np.moveaxis(image, -1, 0).astype(np.float64) for image in images(200, 230))
    hr[:, :100] = 199  # flat
    for measure in (structural_similarity, multi_scale_similarity):
        assert measure(hr, hr) == 1
        assert measure(sr, hr) == measure(hr, sr) < 1


def test_images_of_two_sizes_are_our_mistake() -> None:
    sr, hr = images()
    with pytest.raises(ValueError, match="size"):
        psnr(sr[:-1], hr, protocol("full@1"), 1)
    with pytest.raises(ValueError, match="size"):
        psnr(sr, None, protocol("full@1"), 1)


def test_ssim_of_less_than_its_window_is_unscorable() -> None:
    sr, hr = images(14, 40)
    with pytest.raises(Unscorable, match="11 pixels"):
        ssim_y(sr, hr, protocol("sr-y@1"), 2)
