"""The papers' methods: sizes, losses and kernels worked out apart from them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.degrade import imresize_float
from bench.method import Batch, Method, load_method
from bench.study.fields import TaskSection, TrainSection
from bench.train.planning import plan_stages
from methods.classical import Bicubic
from methods.networks.edsr import EDSRNetwork
from methods.nima import NIMA
from methods.nima_sr import EDSR
from methods.srcnn import SRCNN


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- bicubic --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_matlabs_imresize(scale: int) -> None:
    image = np.random.default_rng(0).random((7, 9, 3))
    lr = torch.from_numpy(image).permute(2, 0, 1)[None]
    sr = Bicubic(scale=scale)(lr)
    assert sr.dtype == torch.float64
    assert np.allclose(sr[0].permute(1, 2, 0), imresize_float(image, scale), atol=1e-12)


def test_bicubic_weighs_its_four_neighbours_as_keys_kernel_does() -> None:
    # at x2 an output lies a quarter of a pixel off: Keys' kernel at 1.25, 0.25, 0.75 and 1.75
    inner = [1.5 * x**3 - 2.5 * x**2 + 1 for x in (0.25, 0.75)]
    outer = [-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 for x in (1.25, 1.75)]
    line = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    line[..., 4] = 1
    got = Bicubic(scale=2)(line)[0, 0, 8, 5:13]
    weights = [outer[1], outer[0], inner[1], inner[0]]
    assert np.allclose(got, [*weights, *weights[::-1]], atol=1e-12)
    assert weights == [-0.0234375, -0.0703125, 0.2265625, 0.8671875]


# --- EDSR -----------------------------------------------------------------------------------------


def convolution(inputs: int, outputs: int, side: int = 3) -> int:
    return inputs * outputs * side**2 + outputs


@pytest.mark.parametrize(("scale", "parameters"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_the_baseline_has_the_parameters_of_the_published_edsr(scale: int, parameters: int) -> None:
    assert count(load_method("methods.nima_sr.EDSR", scale=scale, gamma=0)) == parameters
    enlarge = {2: [4], 3: [9], 4: [4, 4]}[scale]
    by_hand = convolution(3, 64) + 33 * convolution(64, 64) + convolution(64, 3)
    assert by_hand + sum(convolution(64, 64 * factor) for factor in enlarge) == parameters


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_edsr_computes_what_its_paper_draws(scale: int) -> None:
    """Its residual blocks and its enlargement, written out in plain torch with the same weights."""
    torch.manual_seed(0)
    network = EDSRNetwork(scale, blocks=2, channels=4).double()
    lr = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    head, first, second, third, fourth, body, *enlarge, last = layers

    def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, layer.weight, layer.bias, padding=1)

    mean = torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.float64).view(1, 3, 1, 1)
    x = features = conv(head, 255 * (lr - mean))
    x = x + conv(second, conv(first, x).relu())
    x = x + conv(fourth, conv(third, x).relu())
    x = features + conv(body, x)
    for layer in enlarge:
        x = F.pixel_shuffle(conv(layer, x), math.isqrt(layer.out_channels // 4))
    expected = conv(last, x) / 255 + mean
    assert torch.allclose(network(lr).double(), expected, atol=1e-5)


# --- NIMA-SR --------------------------------------------------------------------------------------


class Fixed(NIMA):
    """An assessor that gives every image the mark 7, or 7 less ten times its mean error to 0.5."""

    def score(self, image: Tensor) -> Tensor:
        return 7 - 10 * (image - 0.5).abs().mean((1, 2, 3))


def hybrid(gamma: float, sr: float, target: float) -> dict[str, float]:
    """The losses where every restored value is `sr` and every original `target`."""
    method = EDSR(scale=2, blocks=1, channels=2, gamma=gamma)
    method.forward = lambda lr: torch.full((2, 3, 8, 8), sr)  # type: ignore[method-assign]
    vars(method)["nima"] = Fixed()
    hr = torch.full((2, 3, 8, 8), target)
    batch = Batch(torch.zeros(2, 3, 4, 4), hr, hr, 0)
    losses = method.training_step(batch, method.stages()[-1])
    return {name: loss.item() for name, loss in losses.items()}


def test_without_reward_the_loss_is_the_squared_error_in_levels() -> None:
    assert hybrid(0, sr=0.6, target=0.5) == pytest.approx({"loss": 650.25, "l2": 650.25}, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.4, 1.0])
def test_the_reward_is_gamma_times_what_the_mark_lacks_of_ten(gamma: float) -> None:
    # the mark is 7 - 10 * 0.1 = 6
    losses = hybrid(gamma, sr=0.6, target=0.5)
    assert losses["l2"] == pytest.approx(650.25, rel=1e-5)
    assert losses["nima"] == pytest.approx(6, rel=1e-5)
    assert losses["loss"] == pytest.approx(650.25 + gamma * (10 - 6), rel=1e-6)


def test_the_assessor_sees_a_picture_and_not_what_lies_beyond_white() -> None:
    losses = hybrid(1.0, sr=1.5, target=1.0)
    assert losses["nima"] == pytest.approx(7 - 10 * 0.5)
    assert losses["l2"] == pytest.approx(127.5**2)


def test_the_target_and_not_the_original_is_learned() -> None:
    method = EDSR(scale=2, blocks=1, channels=2, gamma=0)
    method.forward = lambda lr: torch.full((1, 3, 8, 8), 0.5)  # type: ignore[method-assign]
    target, hr = torch.full((1, 3, 8, 8), 0.7), torch.full((1, 3, 8, 8), 0.5)
    batch = Batch(torch.zeros(1, 3, 4, 4), hr, target, 0)
    loss = method.training_step(batch, method.stages()[-1])["loss"]
    assert loss.item() == pytest.approx(51**2, rel=1e-5)


def test_the_reward_reaches_the_network_and_leaves_the_assessor_alone() -> None:
    torch.manual_seed(0)
    method = EDSR(scale=2, blocks=1, channels=2, gamma=1.0).train()
    hr = torch.rand(2, 3, 32, 32)
    batch = Batch(torch.rand(2, 3, 16, 16), hr, hr, 0)
    before = {name: value.clone() for name, value in method.nima.state_dict().items()}
    stage = method.stages()[-1]
    losses = method.training_step(batch, stage)
    reward = losses["loss"] - losses["l2"]
    (parameters,) = method.optimizers(stage).values()
    gradients = torch.autograd.grad(reward, list(parameters))
    assert all(gradient.any() for gradient in gradients)
    for name, value in method.nima.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} moved: batch norm was not in eval mode"


def planned(method: Method, **changes: Any) -> list[Any]:
    task = TaskSection(kind="super-resolution", scale=changes.pop("scale", 2))
    train = TrainSection(dataset="photos_train", steps=3, **changes)
    return plan_stages(method, task, train, seed=changes.get("seed", 0))


def test_the_assessor_is_no_part_of_what_is_trained_stored_or_copied() -> None:
    method = EDSR(gamma=0.4, blocks=1, channels=2)
    plain = EDSR(gamma=0, blocks=1, channels=2)
    assert method.nima is method.nima
    assert method.state_dict().keys() == plain.state_dict().keys()
    assert count(method) == count(plain)


def test_another_assessor_means_another_stage_unless_it_has_no_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def keys() -> list[str]:
        methods = [EDSR(gamma=gamma, blocks=1, channels=2) for gamma in (0.0, 0.4)]
        return [planned(method)[0].key for method in methods]

    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    plain, rewarded = keys()
    assert keys() == [plain, rewarded]
    (tmp_path / "nima").mkdir()
    (tmp_path / "nima/mnasnet_ava.pth").write_bytes(b"other weights")
    after = keys()
    assert after[0] == plain and after[1] != rewarded


def test_the_report_names_the_assessor_of_the_loss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert EDSR(gamma=0, blocks=1, channels=2).remarks == ()
    (remark,) = EDSR(gamma=0.4, blocks=1, channels=2).remarks
    assert "nima@photos" in remark


# --- SRCNN ----------------------------------------------------------------------------------------


def test_srcnn_has_its_9_5_5_filters() -> None:
    by_hand = convolution(3, 64, 9) + convolution(64, 32, 5) + convolution(32, 3, 5)
    assert count(SRCNN()) == by_hand == 69_251


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_srcnn_starts_from_matlabs_bicubic(scale: int) -> None:
    """Filters that pass the middle on leave the enlarged image itself."""
    method = SRCNN(scale=scale, width=8)
    for layer in (method.extract, method.map, method.reconstruct):
        side = layer.kernel_size[0] // 2
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            for channel in range(3):
                layer.weight[channel, channel, side, side] = 1
    lr = 0.3 + 0.4 * torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    inside = np.s_[..., 2 * scale : -2 * scale, 2 * scale : -2 * scale]
    with torch.no_grad():
        assert torch.allclose(method(lr)[inside], Bicubic(scale=scale)(lr)[inside], atol=1e-5)
