"""Ways to score: numbers worked by hand."""

import math

import numpy as np
import pytest
import torch

from bench.data.pixels import as_rgb, exact_gray, gray, luma, quantise, shave, whole_levels
from bench.errors import BenchError
from bench.measure.metrics import METRICS, Unscorable, metric
from bench.measure.metrics.fidelity import psnr, psnr_y
from bench.measure.protocol import PROTOCOLS, default_protocol, protocol


def test_luma_of_the_primaries_is_bt601_in_studio_swing() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]], np.uint8)
    assert np.allclose(luma(rgb), [[81.481, 144.553, 40.966, 16 + 219 * 128 / 255]])


def test_gray_of_equal_channels_is_their_value() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    assert np.allclose(gray(as_rgb(ramp)), ramp, atol=1e-12)


def test_exact_gray_of_equal_channels_is_their_value_to_the_last_bit() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(exact_gray(as_rgb(ramp)), ramp)
    colour = np.array([[[1, 10, 100]]], np.uint8)
    assert exact_gray(colour) == 0.298936 + 5.87043 + 11.4021  # as written, six digits


def test_a_half_is_rounded_up_whatever_its_sum_has_lost() -> None:
    levels = np.arange(256)
    # all colours whose Y is a half: 65481 R + 128553 G + 24966 B = 255000 n + 127500
    total = 65481 * levels[:, None, None] + 128553 * levels[:, None] + 24966 * levels
    colours = np.argwhere(total % 255000 == 127500)
    wanted = 16 + total[tuple(colours.T)] // 255000 + 1
    assert [0, 204, 68] in colours.tolist()  # 102.8424 + 6.6576 + 16 = 125.5
    assert np.array_equal(whole_levels(luma(colours[None].astype(np.uint8)))[0], wanted)
    assert whole_levels(np.array([2.4999, 2.5, 3.4999])).tolist() == [2, 3, 3]


def test_studio_swing_scores_1_32_db_above_full_swing() -> None:
    rng = np.random.default_rng(0)
    hr = as_rgb(rng.integers(0, 200, (30, 40), dtype=np.uint8))
    sr = hr + np.uint8(9)
    gap = psnr_y(sr, hr, protocol("full@1"), 1) - psnr(sr, hr, protocol("full@1"), 1)
    assert gap == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)
    assert gap == pytest.approx(1.32, abs=0.005)


def test_a_gray_file_is_scored_on_its_own_gray_or_as_rgb() -> None:
    hr = np.random.default_rng(0).integers(0, 200, (30, 40), dtype=np.uint8)
    sr = as_rgb(hr + np.uint8(9))
    native = psnr_y(sr, hr, protocol("sr-y@1"), 2)
    assert native == pytest.approx(20 * math.log10(255 / 9))
    converted = psnr_y(sr, hr, protocol("sr-y-rgb@1"), 2)
    assert converted - native == pytest.approx(20 * math.log10(255 / 219))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_colour_file_scores_the_same_y_under_every_gray_rule(name: str) -> None:
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 200, (30, 40, 3), dtype=np.uint8)
    offset = 9 * 219 / 255  # 7.73 levels of Y
    score = psnr_y(hr + np.uint8(9), hr, PROTOCOLS[name], 2)
    if PROTOCOLS[name].rounded:  # each pixel differs by 7 or 8 whole levels
        assert 20 * math.log10(255 / 8) < score < 20 * math.log10(255 / 7)
    else:
        assert score == pytest.approx(20 * math.log10(255 / offset))


def test_what_psnr_compares_and_what_border_it_leaves_out_is_the_protocol_s() -> None:
    hr = np.full((40, 40, 3), 100, np.uint8)
    inner = hr.copy()
    inner[8:-8, 8:-8, 1] += 10  # green only: 10 * 128.553 / 255 = 5.04 levels of Y
    outer = hr.copy()
    outer[3], outer[:, 3] = 0, 0  # within the outermost four pixels
    borders = {"sr-y@1": 2, "sr-rgb@1": 2, "div2k@1": 8, "pirm@1": 4, "full@1": 0,
               "dped-patch@1": 0, "sid-srgb@1": 0, "gray@1": 0}  # fmt: skip
    for name, border in borders.items():
        rules = protocol(name)
        assert rules.border(2) == border
        assert (psnr(outer, hr, rules, 2) == math.inf) == (border >= 4)
        side = 40 - 2 * border
        error = {"rgb": 10 / math.sqrt(3), "y": 5.0, "gray": 6.0}[rules.channel]
        wanted = 20 * math.log10(255 / (error * 24 / side))
        if rules.channel == "rgb" or rules.rounded:
            assert psnr(inner, hr, rules, 2) == pytest.approx(wanted, abs=1e-9)


def test_a_metric_of_pyiqa_is_named_with_its_prefix() -> None:
    with pytest.raises(BenchError, match=r"'piqe'.*pyiqa has a 'piqe': write pyiqa:piqe"):
        metric("piqe")
    with pytest.raises(BenchError, match="Did you mean 'ssim_y'"):
        metric("ssimy")


def test_a_set_s_score_is_the_mean_or_the_root_of_the_mean_square() -> None:
    assert protocol("sr-y@1").pool("rmse", [1, 7]) == 4
    assert protocol("pirm@1").pool("rmse", [1, 7]) == 5
    assert protocol("pirm@1").pool("niqe", [1, 7]) == 4
    assert math.isnan(protocol("pirm@1").pool("rmse", []))
    assert math.isnan(protocol("sr-y@1").pool("psnr", [1, math.nan]))
    assert protocol("sr-y@1").pool("psnr", [1, math.inf]) == math.inf


def test_the_border_of_the_scale_does_not_count() -> None:
    hr = np.zeros((20, 20, 3), np.uint8)
    sr = hr.copy()
    sr[:3] = sr[-3:] = sr[:, :3] = sr[:, -3:] = 255
    assert psnr(sr, hr, protocol("sr-y@1"), 3) == math.inf
    assert psnr(sr, hr, protocol("sr-y@1"), 2) < 20
    assert psnr(sr, hr, protocol("full@1"), 3) < 20


def test_quantise_clamps_and_rounds_half_up() -> None:
    values = np.array([[-0.5, 0.0, 0.5 / 255, 1.49 / 255, 1.5 / 255, 1.0, 1.7]])
    assert quantise(values).tolist() == [[0, 0, 1, 1, 2, 255, 255]]


def test_quantise_gives_every_8_bit_image_back() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    assert np.array_equal(quantise(tensor), image)
    assert np.array_equal(quantise(tensor[None]), image)


def test_quantise_refuses_what_is_not_finite() -> None:
    with pytest.raises(Unscorable, match="not finite"):
        quantise(torch.tensor([math.nan]).expand(3, 4, 4))


def test_a_border_that_leaves_nothing_is_unscorable() -> None:
    with pytest.raises(Unscorable, match="8x9"):
        shave(np.zeros((9, 8, 3), np.uint8), 4)


def test_super_resolution_is_scored_on_y_and_the_rest_whole() -> None:
    assert default_protocol("super-resolution") == "sr-y@1"
    assert {default_protocol(t) for t in ("enhancement", "low-light", "deblurring")} == {"full@1"}


def test_every_protocol_and_metric_stands_under_its_own_name() -> None:
    assert all(PROTOCOLS[name].name == name for name in PROTOCOLS)
    assert all(METRICS[name].name == name for name in METRICS)


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="Did you mean 'psnr_y'"):
        metric("psnr_yy")
    with pytest.raises(BenchError, match="Did you mean 'sr-y@1'"):
        protocol("sr-y@2")
