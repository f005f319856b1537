"""smooth_noise and edge_sharpness on pictures made blurred, sharp and noisy by known amounts."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage import data as skimage_data

from bench.data.pixels import Image
from bench.errors import Unscorable
from bench.measure.metrics import cleanness, metric
from bench.measure.metrics.cleanness import edge_sharpness, smooth_noise
from bench.measure.protocol import protocol

FULL = protocol("full@1")


def noisy(image: Image, sigma: float, seed: int = 0) -> Image:
    """The same noise in all channels, so that gray has it too."""
    drawn = np.random.default_rng(seed).normal(0, sigma, image.shape[:2])[..., None]
    return np.clip(image + drawn, 0, 255).round().astype(np.uint8)


def blurred(image: Image, sigma: float) -> Image:
    values = ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="nearest")
    return values.round().astype(np.uint8)


def sharpened(image: Image, amount: float) -> Image:
    values = image.astype(np.float64)
    detail = values - ndimage.gaussian_filter(values, (1, 1, 0), mode="nearest")
    return np.clip(values + amount * detail, 0, 255).round().astype(np.uint8)


def scores(sr: Image, hr: Image) -> tuple[float, float]:
    return smooth_noise(sr, hr, FULL, 1), edge_sharpness(sr, hr, FULL, 1)


def gray_image(plane: np.ndarray) -> Image:
    return np.repeat(plane.round().astype(np.uint8)[..., None], 3, axis=2)


def edge(sigma: float, angle: float = 0.0, side: int = 240) -> Image:
    """A step from 60 to 190 in the middle, blurred to a Gaussian profile; flat far from it."""
    y, x = np.mgrid[:side, :side] - side / 2 + 0.25
    across = x * math.cos(angle) + y * math.sin(angle)
    profile = 0.5 * (1 + np.vectorize(math.erf)(across / (sigma * math.sqrt(2))))
    return gray_image(60 + 130 * profile)


@pytest.mark.parametrize("sigma", [1.0, 4.0, 10.0])
def test_white_noise_on_a_flat_picture_is_measured_as_it_was_added(sigma: float) -> None:
    hr = np.full((200, 220, 3), 120, np.uint8)
    rounding = 1 / 12
    expected = math.sqrt(sigma**2 + rounding)
    assert smooth_noise(noisy(hr, sigma), hr, FULL, 1) == pytest.approx(expected, rel=0.02)
    assert smooth_noise(hr, hr, FULL, 1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 2.0])
@pytest.mark.parametrize("blur", [1.0, 2.0])
def test_a_blurred_edge_is_as_steep_as_its_width_says(angle: float, blur: float) -> None:
    """A Gaussian profile rises by erf(d / (sqrt(2) sigma)) of the step within d on each side of its
    middle; a pixel along an axis goes |cos| or |sin| of the angle across the edge."""
    own = 1.5
    wide = math.hypot(own, blur)
    steps = abs(math.cos(angle)), abs(math.sin(angle))
    rises = [
        sum(step * math.erf(step / (math.sqrt(2) * sigma)) for step in steps)
        for sigma in (wide, own)
    ]
    found = edge_sharpness(edge(wide, angle), edge(own, angle), FULL, 1)
    assert found == pytest.approx(rises[0] / rises[1], rel=0.02)


def test_contrast_is_sharpness_in_proportion() -> None:
    hr = edge(1.5, 0.3)
    half = gray_image(60 + (hr[..., 0].astype(np.float64) - 60) / 2)
    assert edge_sharpness(half, hr, FULL, 1) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_on_photographs_each_moves_the_right_way_and_not_the_other(name: str) -> None:
    hr = getattr(skimage_data, name)()[:300, :400]
    noise, sharp = scores(hr, hr)
    assert sharp == 1
    levels = [scores(noisy(hr, sigma), hr) for sigma in (3, 6, 12)]
    for sigma, (dirty, still) in zip((3, 6, 12), levels, strict=True):
        assert dirty == pytest.approx(math.hypot(noise, sigma), rel=0.05)
        assert still == pytest.approx(1, abs=0.02), "noise is no sharpness"
    one, two = (scores(blurred(hr, sigma), hr) for sigma in (0.7, 1.5))
    assert 1 > one[1] > two[1] > 0.2
    assert two[0] < one[0] < noise, "the original's own noise is blurred away too"
    one, two = (scores(sharpened(hr, amount), hr) for amount in (0.5, 1.5))
    assert 1.1 < one[1] < two[1]
    assert noise < one[0] < two[0], "sharpening magnifies noise, as the paper says"


def test_sharpening_a_clean_picture_leaves_it_clean() -> None:
    hr = edge(1.5, 0.3)
    noise, sharp = scores(sharpened(hr, 2.0), hr)
    assert sharp > 1.25 and noise < 0.35  # of rounding


def test_what_happens_away_from_edges_is_no_sharpness_and_at_edges_no_noise() -> None:
    hr = edge(1.5)
    dirty = noisy(hr, 20)
    near = np.abs(np.arange(240) - 120) < 6
    at_edge, elsewhere = hr.copy(), dirty.copy()
    at_edge[:, near] = dirty[:, near]
    elsewhere[:, near] = hr[:, near]
    assert smooth_noise(at_edge, hr, FULL, 1) < smooth_noise(elsewhere, hr, FULL, 1) / 20
    assert edge_sharpness(elsewhere, hr, FULL, 1) == 1


def test_a_picture_without_smooth_areas_or_edges_is_not_scored() -> None:
    rough = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    with pytest.raises(Unscorable, match="smooth"):
        smooth_noise(rough, rough, FULL, 1)
    flat = np.full((80, 90, 3), 7, np.uint8)
    with pytest.raises(Unscorable, match="edges"):
        edge_sharpness(flat, flat, FULL, 1)
    with pytest.raises(Unscorable, match="16x80"):
        smooth_noise(flat[:, :16], flat[:, :16], FULL, 1)


def test_the_protocols_border_is_left_out() -> None:
    hr = np.full((100, 100, 3), 120, np.uint8)
    spoilt = hr.copy()
    spoilt[:4] = 255
    assert smooth_noise(spoilt, hr, protocol("sr-y@1"), 4) == pytest.approx(0, abs=1e-9)
    assert smooth_noise(spoilt, hr, FULL, 1) > 1


def test_they_are_metrics_of_their_own_names() -> None:
    assert (metric("smooth_noise").direction, metric("edge_sharpness").direction) == (
        "lower", "higher",
    )  # fmt: skip
    hr = skimage_data.astronaut()[:200, :200]
    for name, function in (("smooth_noise", smooth_noise), ("edge_sharpness", edge_sharpness)):
        scorer = metric(name).load("cpu")
        assert scorer(hr, hr, FULL, 1) == function(hr, hr, FULL, 1)


def test_ties_and_thresholds_are_not_decided_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ramp of just SMOOTH levels a pixel, and steps whose gradient has two equal peaks."""
    hr = np.tile(np.clip(2 * np.arange(160), 0, 200).astype(np.uint8), (220, 1))
    hr[110:] = np.where(np.arange(160) // 32 % 2, 180, 20)
    sr = np.roll(hr // 2, 1, axis=1) + hr // 2
    wanted, drawn, exact = scores(sr, hr), np.random.default_rng(0), cleanness.filter_valid

    def otherwise(image: Any, taps: Any) -> Any:
        filtered = exact(image, taps)
        return filtered * (1 + drawn.uniform(-1e-15, 1e-15, filtered.shape))

    monkeypatch.setattr(cleanness, "filter_valid", otherwise)
    assert scores(sr, hr) == pytest.approx(wanted, rel=1e-9, abs=0)
