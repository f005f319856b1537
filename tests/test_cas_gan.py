"""CAS-GAN: the exaggerated target by hand and against independent implementations; its training."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data as skimage_data
from torch import Tensor

from bench.cli import cli
from bench.data.images import read_image, write_image
from bench.errors import BenchError
from bench.method import build_method
from methods.cas_gan import (
    Exaggerate,
    immerkaer,
    local_variance,
    median_deviation,
    noise_energy,
    soft_map,
)
from methods.filters import planes
from methods.filters.canny import canny
from methods.filters.planes import extended, gaussian, luma


def photograph(name: str = "astronaut", top: int = 0, side: int = 200) -> Tensor:
    """Part of a packaged photograph, `(1, 3, side, side)` in [0, 1]."""
    image = getattr(skimage_data, name)()[top : top + side, top : top + side]
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- section 2.1: edges ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee"])
def test_edges_are_those_of_opencv(name: str) -> None:
    image = getattr(skimage_data, name)()
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = canny(torch.from_numpy(gray).float()[None, None], 0, 50, 100)[0, 0].numpy()
    expected = cv2.Canny(gray, 50, 100, L2gradient=True) > 0
    inside = np.s_[2:-2, 2:-2]  # outside the picture it takes every gradient for 0
    assert 0.05 < expected.mean() < 0.2
    assert np.array_equal(found[inside], expected[inside])


def lines() -> Tensor:
    """Two vertical steps of 20 levels, which are weak; the first has a strong end of 40."""
    y = torch.zeros(1, 1, 40, 40)
    y[..., :, 10:20] = 20
    y[..., :6, 10:20] = 40
    y[..., 12:, 30:] = 20
    return y


def test_a_weak_line_needs_a_strong_part() -> None:
    edges = canny(lines(), 0, 60, 120)[0, 0]
    assert edges[8:, 9].all() and edges[8:, 19].all(), "linked to the strong ends"
    assert not edges[:, 25:].any(), "weak all along"
    assert not canny(lines(), 0, 60, 1000).any()


def test_lines_do_not_run_from_one_picture_into_the_next() -> None:
    weak, strong = lines().flip(3), lines()
    weak[..., :6, :] = weak[..., 8:9, :]
    both = canny(torch.cat([strong, weak, strong]), 0, 60, 120)
    assert torch.equal(both[:1], canny(strong, 0, 60, 120)) and not both[1].any()
    assert torch.equal(both[2], both[0])


def test_the_map_is_1_at_edges_and_falls_with_the_distance() -> None:
    """Against scipy's exact Euclidean distances."""
    y = 255 * luma(photograph())
    edges = canny(y, 1.4, 50, 100)
    softness = 2.5
    found = soft_map(extended(edges.float(), 10).short(), softness)[0, 0].numpy()
    distance = ndimage.distance_transform_edt(~edges[0, 0].numpy())
    near = distance <= 10
    expected = np.exp(-(distance**2) / (2 * softness**2))
    assert np.allclose(found[near], expected[near], atol=1e-6)
    assert (found[edges[0, 0].numpy()] == 1).all()
    assert found[~near].max() < 4e-4


def test_equation_1_as_written_would_not_reach_1() -> None:
    """Convolved with a Gaussian of sum 1, a line of edges gives 1 / (sqrt(2 pi) sigma)."""
    taps = gaussian(2.0)
    assert max(taps) == pytest.approx(1 / (math.sqrt(2 * math.pi) * 2), rel=0.01)


# --- noise ----------------------------------------------------------------------------------------


def test_immerkaers_estimate_of_one_bright_pixel_by_hand() -> None:
    y = torch.zeros(1, 1, 5, 5)
    y[..., 2, 2] = 9
    response = 9 * (1 + 2 + 1 + 2 + 4 + 2 + 1 + 2 + 1)  # absolute, over the mask's nine places
    expected = math.sqrt(math.pi / 2) * response / (6 * 3 * 3)
    assert float(immerkaer(y)) == pytest.approx(expected)


def test_the_median_of_diagonal_details_by_hand() -> None:
    y = torch.tensor([[1.0, 2, 0, 0], [3, 7, 0, 8], [0, 0, 5, 5], [0, 1, 5, 5]])[None, None]
    # (1 - 2 - 3 + 7) / 2, (0 - 0 - 0 + 8) / 2, (0 - 0 - 0 + 1) / 2, 0
    details = sorted([1.5, 4, 0.5, 0])
    assert float(median_deviation(y)) == pytest.approx(details[1] / 0.6745)


@pytest.mark.parametrize("estimator", ["immerkaer", "mad", "local_variance"])
def test_the_noise_of_a_flat_picture_is_that_which_was_added(estimator: Any) -> None:
    y = 128 + 5 * white(2, 1, 300, 200)
    y[1] = 128 + 2 * white(1, 300, 200)
    found = noise_energy(y, estimator).flatten().tolist()
    assert found == pytest.approx([25, 4], rel=0.04)


def test_a_slope_is_noise_to_the_local_variance_alone() -> None:
    y = (torch.arange(60.0) * 2).expand(1, 1, 60, 60)
    assert float(noise_energy(y, "immerkaer")) == float(noise_energy(y, "mad")) == 0
    # of -3 to 3 times 2; less at the border, where the picture goes on flat
    assert 0.9 * 16 < float(noise_energy(y, "local_variance", 7)) < 16


def test_local_variance_is_that_of_the_square() -> None:
    y = 255 * luma(photograph(side=40))
    found = local_variance(extended(y, 3), 7)[0, 0].numpy()
    plane = np.pad(y[0, 0].double().numpy(), 3, mode="edge")
    squares = np.lib.stride_tricks.sliding_window_view(plane, (7, 7))
    assert np.allclose(found, squares.var(axis=(2, 3)), rtol=1e-3, atol=1e-2)


# --- equation 2 -----------------------------------------------------------------------------------


def test_equation_2_at_a_step_is_worked_by_hand() -> None:
    """A step from 100 to 140 between two columns of twelve, windows of 3 x 3."""
    y = torch.full((1, 1, 9, 12), 100.0)
    y[..., 6:] = 140
    outer = math.exp(-2) / (1 + 2 * math.exp(-2))  # the Gaussian of half a pixel, one pixel away
    clean, sharp = 100 + 40 * outer, 100 - 1.5 * 40 * outer
    variance = 40**2 * (1 / 3) * (2 / 3)  # one column of three is on the other side
    noise = 2 / 12 * variance  # two of twelve columns see the step
    method = Exaggerate(
        amount=1.5, radius=0.5, smooth=0.5, edge_blur=0, window=3, noise="local_variance"
    )
    row = method.cas(y)[0, 0, 4].tolist()
    # the first of two columns of equal gradient is the edge: M is 1, and exp(-1/8) at the other
    left, right = noise / variance, noise / (variance * math.exp(-1 / 8))
    assert row[5] == pytest.approx(sharp + left * (clean - sharp), abs=1e-3)
    assert row[6] == pytest.approx(240 - (sharp + right * (clean - sharp)), abs=1e-3)
    assert row[:5] == [100] * 5 and row[7:] == [140] * 5


def reference(y: np.ndarray, method: Exaggerate) -> np.ndarray:
    """Equation 2 with scipy's filters and distances, and OpenCV's edges."""

    def blurred(sigma: float) -> np.ndarray:
        taps = gaussian(sigma)
        once = ndimage.correlate1d(y, taps, axis=0, mode="nearest")
        return ndimage.correlate1d(once, taps, axis=1, mode="nearest")

    edges = cv2.Canny(y.astype(np.uint8), method.low, method.high, L2gradient=True) > 0
    distance = ndimage.distance_transform_edt(~edges)
    soft = np.exp(-(distance**2) / (2 * method.softness**2))
    mean = ndimage.uniform_filter(y, method.window, mode="nearest")
    variance = ndimage.uniform_filter(y**2, method.window, mode="nearest") - mean**2
    mask = np.outer([1, -2, 1], [1, -2, 1])
    height, width = y.shape
    response = np.abs(ndimage.convolve(y, mask)[1:-1, 1:-1]).sum()
    noise = (math.sqrt(math.pi / 2) * response / (6 * (height - 2) * (width - 2))) ** 2
    sharp = np.clip(y + method.amount * (y - blurred(method.radius)), 0, 255)
    share = noise / np.maximum(noise, variance * soft)
    return sharp - share * (sharp - blurred(method.smooth))


def test_equation_2_agrees_with_an_implementation_in_scipy() -> None:
    gray = cv2.cvtColor(skimage_data.coffee(), cv2.COLOR_RGB2GRAY)[:150, :170]
    method = Exaggerate(amount=2.0, radius=1.3, smooth=0.8, edge_blur=0, softness=3.0, window=5)
    found = method.cas(torch.from_numpy(gray).float()[None, None])[0, 0].numpy()
    expected = reference(gray.astype(np.float64), method)
    inside = np.s_[14:-14, 14:-14]  # OpenCV's edges differ in the outermost pixel
    assert np.abs(found - expected)[inside].max() < 0.05
    assert np.abs(expected - gray).max() > 30


def test_smooth_areas_are_low_passed_and_edges_sharpened() -> None:
    y = 255 * luma(photograph("chelsea", top=60))
    method = Exaggerate(noise="mad")
    cas, sharp, clean = method.cas(y), method.sharpened(y), method.smoothed(y)
    edges = method.edges(y)
    away = edges < 1e-20
    assert away.float().mean() > 0.05
    assert torch.allclose(cas[away], clean[away], atol=1e-4)
    strong = (edges == 1) & (local_variance(extended(y, 3), 7) > 400)
    noise = float(noise_energy(y, "mad"))
    assert strong.sum() > 500
    off = (cas - sharp)[strong].abs() / (clean - sharp)[strong].abs().clamp(min=1e-6)
    assert off.max() <= noise / 400 * 1.01 + 1e-3


def test_chroma_is_untouched() -> None:
    image = 0.25 + photograph() / 2  # nothing of it ends at black or white
    cas = Exaggerate()(image)
    assert cas.min() > 0 and cas.max() < 1
    change = cas - image
    assert change.abs().max() > 0.1
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-6)
    before, after = (
        cv2.cvtColor(x[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2YCrCb) for x in (image, cas)
    )
    assert np.allclose(before[..., 1:], after[..., 1:], atol=1e-5)


def test_a_flat_picture_stays_as_it_is() -> None:
    image = torch.full((1, 3, 20, 30), 0.3)
    assert torch.allclose(Exaggerate()(image), image, atol=1e-5)


def test_strips_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photograph(side=130)
    whole = Exaggerate()(image)
    monkeypatch.setattr(planes, "ROWS", 7)
    assert torch.allclose(Exaggerate()(image), whole, atol=1e-5)


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    images = torch.cat([photograph(), photograph("chelsea"), photograph("coffee")])
    method = Exaggerate()
    together = method(images)
    for i in range(3):
        assert torch.equal(together[i : i + 1], method(images[i : i + 1]))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"window": 8}, "middle of an odd number"), ({"low": 101}, "low 101 is above high 100")],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(BenchError, match=why):
        build_method(Exaggerate, wrong, 1)


def test_bench_restore_shows_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = skimage_data.astronaut()[:64, 100:180]
    write_image(tmp_path / "face.png", image)
    shown = tmp_path / "shown"
    command = ["restore", "methods.cas_gan.Exaggerate", str(tmp_path / "face.png")]
    status = cli([*command, "--out", str(shown), "--param", "amount=3"], standalone_mode=False)
    assert not status, capsys.readouterr().err
    (file,) = shown.glob("*.png")
    expected = Exaggerate(amount=3.0)(
        torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    ).clamp(0, 1)
    found = torch.from_numpy(read_image(file)).permute(2, 0, 1)[None] / 255
    assert (found - expected).abs().max() <= 0.5 / 255 + 1e-5
