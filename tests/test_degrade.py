"""HR to LR: against a naive loop and other libraries; published LR files in test_datacheck.py."""

import io
import math
from fractions import Fraction

import numpy as np
import PIL.Image
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bench.data.degrade import (
    DEGRADATIONS,
    blur,
    down_up,
    find_degradation,
    imresize,
    imresize_float,
    jpeg,
    noise,
    resize_weights,
    tone,
)
from bench.data.filters import filter_valid, gaussian_taps
from bench.data.pixels import Image


def random_image(height: int, width: int, channels: int | None = 3) -> Image:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def keys(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def naive_rows(image: np.ndarray, scale: float) -> np.ndarray:
    """Resizes the first axis of (H, W), rounded to 8 bits, pixel by pixel with 1-based MATLAB
    coordinates."""
    squeeze, size = min(scale, 1), len(image)
    rows = []
    for x in range(1, math.ceil(size * scale) + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        near = range(math.floor(u - 2 / squeeze) - 1, math.ceil(u + 2 / squeeze) + 2)
        weights = np.array([keys(squeeze * (u - i)) for i in near])
        inside = [min(max(i, 1), size) - 1 for i in near]
        rows.append((weights / weights.sum()) @ image[inside].astype(float))
    return np.floor(np.clip(rows, 0, 255) + 0.5)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.7, 2.0, 3.0])
def test_imresize_equals_a_naive_loop(scale: float) -> None:
    image = random_image(19, 23, None)
    expected = naive_rows(naive_rows(image, scale).T, scale).T
    assert np.array_equal(imresize(image, scale), expected)


def test_weights_of_shrinking_by_two_are_those_worked_out_by_hand() -> None:
    indices, weights = resize_weights(32, 0.5)
    hand = [Fraction(n, 256) for n in (-3, -9, 29, 111, 111, 29, -9, -3)]
    assert weights[5].tolist() == [float(f) for f in hand]
    assert indices[5].tolist() == list(range(7, 15))  # output 5 lies between inputs 10 and 11


def test_shrinking_agrees_with_torch_inside_the_image() -> None:
    image = np.random.default_rng(0).random((64, 72))
    tensor = torch.from_numpy(image)[None, None]
    theirs = torch.nn.functional.interpolate(
        tensor, scale_factor=0.25, mode="bicubic", antialias=True, recompute_scale_factor=True
    )
    ours = imresize_float(image, 0.25)
    # their border is renormalised where MATLAB's is mirrored
    assert np.abs(ours - theirs[0, 0].numpy())[2:-2, 2:-2].max() < 1e-6


def test_output_size_is_rounded_up() -> None:
    assert imresize(random_image(10, 11), 1 / 3).shape == (4, 4, 3)
    assert imresize(random_image(255, 21), 1 / 3).shape == (85, 7, 3)


def test_scale_one_gives_an_equal_copy() -> None:
    image = random_image(5, 7)
    same = imresize(image, 1)
    assert np.array_equal(same, image) and same is not image


def test_linear_shrinking_by_two_has_the_weights_of_a_stretched_triangle() -> None:
    _, weights = resize_weights(40, 0.5, "linear")
    assert np.allclose(weights[10], [1 / 8, 3 / 8, 3 / 8, 1 / 8])
    ramp = np.tile(np.arange(0, 80, 2, dtype=np.uint8), (8, 1))
    assert imresize(ramp, 0.5, "linear")[0, 1:-1].tolist() == list(range(5, 75, 4))


@pytest.mark.parametrize("kernel", ["linear", "cubic", "lanczos3"])
def test_a_flat_image_stays_flat(kernel: str) -> None:
    assert (imresize(np.full((20, 20, 3), 77, np.uint8), 0.5, kernel) == 77).all()


def test_filter_equals_a_two_dimensional_sum() -> None:
    image, taps = np.random.default_rng(1).random((2, 40, 37)), gaussian_taps(7, 1.6)
    windows = np.lib.stride_tricks.sliding_window_view(image, (7, 7), axis=(1, 2))
    expected = (windows * np.outer(taps, taps)).sum(axis=(-1, -2))
    assert np.allclose(filter_valid(image, taps), expected, atol=1e-12)


def test_blur_of_a_point_is_its_kernel() -> None:
    point = np.zeros((15, 15, 3), np.uint8)
    point[7, 7] = 255
    kernel = np.outer(gaussian_taps(7, 1.6), gaussian_taps(7, 1.6))
    assert np.array_equal(blur(point, 1.6)[4:11, 4:11, 1], np.floor(255 * kernel + 0.5))
    assert blur(point[..., 0], 1.6).shape == (15, 15)


def test_noise_has_its_sigma_and_repeats_with_its_seed() -> None:
    gray = np.full((200, 200), 128, np.uint8)
    noisy = noise(gray, 5, np.random.default_rng(3))
    assert abs(noisy.astype(float).std() - 5) < 0.1
    assert np.array_equal(noisy, noise(gray, 5, np.random.default_rng(3)))


def test_jpeg_is_pillows_at_420() -> None:
    image = random_image(33, 47)
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format="JPEG", quality=75, subsampling=2)
    assert np.array_equal(jpeg(image, 75), np.array(PIL.Image.open(file)))
    assert jpeg(image[..., 0], 75).shape == (33, 47)


def test_down_up_keeps_a_size_that_the_scale_does_not_divide() -> None:
    assert down_up(random_image(23, 30), 4).shape == (23, 30, 3)


def test_tone_of_known_values() -> None:
    values = np.array([[0, 51, 255]], np.uint8)  # 0, 0.2, 1
    assert tone(values, gamma=2).tolist() == [[0, 10, 255]]  # 0.04 * 255 = 10.2
    assert tone(values, contrast=0.5).tolist() == [[64, 89, 191]]  # 63.75, 89.25, 191.25


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_degradation_is_pure_and_gives_the_size_of_its_scale(name: str) -> None:
    hr, scale = random_image(24, 36), 1 if name == "none" else 2
    before = hr.copy()
    lr = DEGRADATIONS[name](hr, scale, 7)
    assert (lr.shape, lr.dtype) == ((24 // scale, 36 // scale, 3), np.uint8)
    assert np.array_equal(lr, DEGRADATIONS[name](hr, scale, 7))
    assert np.array_equal(hr, before)
    assert DEGRADATIONS[name](hr[..., 0], scale, 7).ndim == 2


@pytest.mark.parametrize("name", ["low_light", "blur_noise"])
def test_a_random_degradation_follows_its_seed(name: str) -> None:
    hr = random_image(24, 36)
    assert not np.array_equal(DEGRADATIONS[name](hr, 2, 1), DEGRADATIONS[name](hr, 2, 2))


def test_the_stand_in_for_the_unknown_track_blurs_and_adds_three_levels_of_noise() -> None:
    flat = np.full((400, 400), 128, np.uint8)
    made = DEGRADATIONS["blur_noise"](flat, 4, 1).astype(float)
    assert abs(made.mean() - 128) < 0.1
    # rounding adds a twelfth to the variance
    assert abs(made.std() - math.sqrt(9 + 1 / 12)) < 0.1
    # a sine of period P is left at exp(-2 (pi sigma / P)^2): sigma 2, P 16 give 0.735, and the
    # noise of 3 levels averages out over the rows
    wave = 128 + 100 * np.sin(2 * np.pi * np.arange(640) / 16)
    rows = np.repeat(np.floor(wave + 0.5).astype(np.uint8)[None], 640, axis=0)
    blurred, sharp = (
        DEGRADATIONS[n](rows, 4, 1)[4:-4].mean(axis=0) for n in ("blur_noise", "bicubic")
    )
    assert blurred[8:-8].std() / sharp[8:-8].std() == pytest.approx(0.735, abs=0.01)


def test_a_blur_may_carry_its_sigma() -> None:
    """Against SciPy's Gaussian, cut off at three pixels as a kernel of 7x7 is."""
    hr = np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    small = imresize(hr, 0.5).astype(float)
    for name, sigma in (("bicubic_blur", 1.6), ("bicubic_blur@0.8", 0.8), ("bicubic_blur@3", 3)):
        blurred = find_degradation(name)
        assert blurred is not None
        expected = gaussian_filter(small, sigma, mode="nearest", radius=3, axes=(0, 1))
        assert np.abs(blurred(hr, 2, 0) - expected).max() <= 0.5 + 1e-6
    for wrong in ("bicubic_blur@0", "bicubic_blur@3.1", "bicubic_blur@", "bicubic@1.2"):
        assert find_degradation(wrong) is None, wrong
