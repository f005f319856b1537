"""PRaD: the generator, what the discriminator sees, and one update after the other.

Losses have tests of their own, and every method those of the contract.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import BenchError
from bench.measure.speed import parameters_used
from bench.method import Batch, Recipe, build_method
from bench.method.restoring import restore
from bench.train.optimizers import Optimizers, make_optimizers
from bench.train.plan import Plan
from bench.train.updates import update
from methods.losses.adversarial import fooled, told_apart
from methods.networks.discriminators import DPEDDiscriminator
from methods.prad import PRESETS, Decoder, Generator, PRaD, reach, rescaled

TINY = PRaD.tiny


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def make(**values: Any) -> PRaD:
    torch.manual_seed(0)
    method = build_method(PRaD, {**TINY, **values}, 1)
    assert isinstance(method, PRaD)
    return method


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- the generator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "counts"),
    [
        # whole, without refinement, without CFA, without both
        ((16, 32, 64), (190_259, 167_123, 153_395, 130_259)),
        ((24, 48, 96), (427_083, 375_099, 344_139, 292_155)),
        ((32, 64, 128), (758_371, 666_019, 610_915, 518_563)),
        ((32, 64, 128, 256), (3_303_139, 2_915_619, 2_528_995, 2_141_475)),
    ],
)
def test_parameters(widths: tuple[int, ...], counts: tuple[int, ...]) -> None:
    with torch.device("meta"):
        found = [
            count(Generator(widths, cfa, refinement))
            for cfa, refinement in ((True, True), (True, False), (False, True), (False, False))
        ]
    assert tuple(found) == counts


def test_presets_are_their_widths() -> None:
    assert PRESETS == {
        "light": (16, 32, 64), "base": (32, 64, 128), "large": (32, 64, 128, 256),
    }  # fmt: skip
    with torch.device("meta"):
        base = make(widths="base")
        assert count(base.generator) == 758_371
        assert count(make(widths=[32, 64, 128]).generator) == 758_371
        large = make(widths="large")
    assert (base.stride, large.stride) == (4, 8)


@pytest.mark.parametrize(
    ("name", "parameters"), [("gridnet", 2_246_586), ("resnet20", 695_875), ("resnet32", 1_139_011)]
)
def test_a_large_network_takes_the_generators_place(name: str, parameters: int) -> None:
    """Table 2: it is trained with the same losses, against the same discriminator."""
    with torch.device("meta"):
        method, own = make(generator=name), make()
        assert count(method.generator) == parameters
        assert (method.halo is None) == (name == "gridnet")
        assert count(method) - parameters == count(own) - count(own.generator)
    if name == "resnet20":
        method = make(generator=name, patch=32)
        assert set(one_update(method)) == {"discriminator", "generator", *method.weights}


def test_a_discriminator_is_no_part_of_what_a_picture_costs() -> None:
    light = make(widths="light")
    assert count(light) > 200_000 and parameters_used(light) == 190_259
    assert parameters_used(make(widths="light", normalisation="weight")) == 190_259 + 464


def test_shallow_features_need_no_other_parameters() -> None:
    with torch.device("meta"):
        assert count(Generator((16, 32, 64), depth="shallow")) == 190_259


def test_norms_add_what_they_are_made_of() -> None:
    """Two numbers a channel of the 14 convolutions but the last, or a length for each."""
    channels = 2 * (16 + 32 + 64) + 5 * (16 + 32)
    with torch.device("meta"):
        plain, *normalised = (
            count(Generator((16, 32, 64), normalisation=name))
            for name in ("none", "batch", "instance", "weight")
        )
    assert [number - plain for number in normalised] == [2 * channels, 2 * channels, channels]


@pytest.mark.parametrize("name", ["none", "batch", "instance", "weight"])
def test_every_norm_restores_pictures_of_any_size(name: str) -> None:
    method = make(normalisation=name, discriminator="none")
    made = restore(method, picture(1, 3, 17, 22))
    assert made.shape == (1, 3, 17, 22)
    assert float(made.min()) >= -0.08 and float(made.max()) <= 1.08
    assert (method.halo is None) == (name == "instance"), "which sees the whole picture"


def test_weight_norm_changes_nothing_until_it_is_trained() -> None:
    torch.manual_seed(0)
    plain = Generator((4, 6))
    torch.manual_seed(0)
    normalised = Generator((4, 6), normalisation="weight")
    x = picture(1, 3, 8, 8)
    assert torch.allclose(plain(x), normalised(x), atol=1e-6)


@pytest.mark.parametrize("widths", [(2, 2), (2, 3, 2)])
def test_the_halo_is_how_far_a_pixel_sees(widths: tuple[int, ...]) -> None:
    """No farther, and not less than three quarters as far: more would only cost time."""
    torch.manual_seed(0)
    network = Generator(widths).double().eval()
    halo, stride = reach(len(widths)), 2 ** (len(widths) - 1)
    side = 2 * (halo + 2 * stride) // stride * stride
    farthest = 0
    for place in range(stride):
        lr = picture(1, 3, side, side).double().requires_grad_()
        middle = side // 2 + place
        network(lr)[..., middle, middle].sum().backward()
        assert lr.grad is not None
        rows = lr.grad.abs().sum((0, 1, 3)).nonzero()
        farthest = max(farthest, int((rows - middle).abs().max()))
    assert 0.75 * halo <= farthest <= halo


def test_a_decoders_features_are_every_scale_at_its_own() -> None:
    """4x4 pixels at the whole size, 2x2 and 1x1 below it, brought to 2x2."""
    whole = torch.arange(16.0).view(1, 1, 4, 4)
    middle = torch.tensor([[1.0, 2], [3, 4]]).view(1, 1, 2, 2)
    deep = torch.full((1, 1, 1, 1), 7.0)
    assert rescaled(whole, 0.5).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert rescaled(middle, 1) is middle
    assert rescaled(deep, 2).flatten().tolist() == [7, 7, 7, 7]
    seen: list[Tensor] = []
    decoder = Decoder(1, (1, 1, 1), cfa=True, refinement=False, normalisation="none")
    decoder.fuse.register_forward_hook(lambda layer, inputs, made: seen.append(inputs[0]))
    decoder(deep, [whole, middle, deep])
    expected = [2.5, 4.5, 10.5, 12.5, 1, 2, 3, 4, 7, 7, 7, 7]
    assert seen[0][0, 1:].flatten().tolist() == expected


def test_without_cfa_the_other_scales_are_not_seen() -> None:
    scales = [picture(1, 3, 8, 8), picture(1, 5, 4, 4), picture(1, 7, 2, 2)]
    others = [scales[0] + 1, scales[1], scales[2]]
    x = picture(1, 7, 2, 2, seed=1)
    for cfa in (True, False):
        decoder = Decoder(1, (3, 5, 7), cfa, refinement=True, normalisation="none")
        assert torch.equal(decoder(x, scales), decoder(x, others)) is not cfa


def test_equations_2_to_4_of_two_scales_written_out() -> None:
    torch.manual_seed(0)
    network = Generator((4, 6))
    x = picture(1, 3, 8, 8)
    weights = dict(network.named_parameters())

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def c(name: str, x: Tensor) -> Tensor:
        return F.leaky_relu(conv(f"{name}.0", x), 0.2)

    first = c("deep.0", c("shallow.0", x))
    second = c("deep.1", c("shallow.1", F.avg_pool2d(first, 2)))
    larger = F.interpolate(second, scale_factor=2, mode="bilinear")
    up = c("decoder.0.up", larger)
    r = up + conv("decoder.0.refine.residual.1", c("decoder.0.refine.residual.0", up))
    y = c("decoder.0.last", c("decoder.0.fuse", torch.cat([r, first, larger], 1)))
    expected = 0.58 * torch.tanh(conv("output", y)) + 0.5
    assert torch.allclose(network(x), expected, atol=1e-6)


# --- the discriminator ----------------------------------------------------------------------------


def test_the_discriminators_layers_are_dpeds() -> None:
    """7,361,122 parameters in DPED's code: one colour, two outputs; ours has one, and PRaD's takes
    70 channels."""
    with torch.device("meta"):
        dped = DPEDDiscriminator(1, norm=lambda c: nn.InstanceNorm2d(c, affine=True))
        triplets = DPEDDiscriminator(70)
    assert count(dped) + 1024 + 1 == 7_361_122
    assert count(triplets) == count(dped) + 69 * 48 * 11 * 11
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in triplets.modules()) == 4


@pytest.mark.parametrize(("sees", "channels"), [("triplet", 70), ("pair", 6), ("image", 3)])
def test_what_the_discriminator_sees(sees: str, channels: int) -> None:
    method = make(discriminator=sees)
    lr, image = picture(2, 3, 32, 32), picture(2, 3, 32, 32, seed=1)
    maps = method.features(image)
    shown = method.seen(lr, image, maps)
    assert shown.shape == (2, channels, 32, 32)
    parts = {"triplet": [lr, image], "pair": [lr, image], "image": [image]}[sees]
    assert torch.equal(shown[:, : 3 * len(parts)], torch.cat(parts, 1))
    if sees == "triplet":
        enlarged = F.interpolate(maps["relu1"], (32, 32), mode="bilinear")
        assert torch.equal(shown[:, 6:], enlarged)


def test_vggs_features_are_at_full_size() -> None:
    method = make(features="random", patch=32)
    image = picture(1, 3, 32, 32)
    maps = method.features(image)
    assert {name: each.shape[1:] for name, each in maps.items()} == {
        "relu1_2": (64, 32, 32), "conv4_2": (512, 4, 4), "relu5_4": (512, 2, 2),
    }  # fmt: skip
    assert torch.equal(method.seen(image, image, maps)[:, 6:], maps["relu1_2"])


# --- equation 19 and algorithm 1 ------------------------------------------------------------------


def test_weights_are_those_of_equation_19() -> None:
    with torch.device("meta"):
        assert make().weights == {
            "content": 1, "adversarial": 0.4, "texture": 0.4, "colour": 0.1, "contextual": 0.4,
            "total_variation": 400,
        }  # fmt: skip


def prepared(method: PRaD, learning_rate: float = 1e-3) -> tuple[Batch, Optimizers, Plan]:
    (stage,) = method.stages()
    recipe = Recipe(
        steps=1, batch=4, patch=32, learning_rate=learning_rate, precision="fp32"
    ).filled()
    plan = Plan(
        stage, method, "key", dataset="", scale=1, degradation="", recipe=recipe, seed=0,
        device="cpu",
    )  # fmt: skip
    method.train()
    lr, hr = picture(4, 3, 32, 32), picture(4, 3, 32, 32, seed=1)
    return Batch(lr, hr, hr, step=0), make_optimizers(plan), plan


def one_update(method: PRaD) -> Mapping[str, Tensor]:
    batch, optimizers, plan = prepared(method)
    return update(method, plan.stage, batch, optimizers, plan)


def test_the_total_is_the_weighed_sum() -> None:
    method = make(content=2.0, contextual=0.3)
    losses = dict(one_update(method))
    total, _ = losses.pop("generator"), losses.pop("discriminator")
    assert set(losses) == set(method.weights)
    expected = sum(method.weights[name] * float(loss) for name, loss in losses.items())
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_a_loss_without_weight_is_not_computed() -> None:
    losses = one_update(make(texture=0, contextual=0, total_variation=0))
    assert set(losses) == {"discriminator", "generator", "content", "colour", "adversarial"}
    for none in ({"discriminator": "none"}, {"adversarial": 0}):
        method = make(**none)
        assert method.discriminator is None
        assert "adversarial" not in one_update(method)


def test_the_generator_answers_to_the_discriminator_that_has_made_its_step() -> None:
    """Algorithm 1: first the discriminator's update on triplets, then the generator's."""
    method = make()
    batch, optimizers, plan = prepared(method)
    judge = method.discriminator
    assert judge is not None
    steps = iter(method.training_step(batch, plan.stage))

    def logits() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            enhanced = method(batch.lr)
            real = method.seen(batch.lr, batch.hr, method.features(batch.hr))
            return judge(real), judge(method.seen(batch.lr, enhanced, method.features(enhanced)))

    name, loss = next(steps)
    assert name == "discriminator"
    assert float(loss.detach()) == pytest.approx(float(told_apart(*logits())), rel=1e-4)
    loss.backward()
    assert all(p.grad is None for p in method.generator.parameters())
    unmoved = fooled(*logits())
    optimizers["discriminator"].step()
    name, _ = next(steps)
    rest = dict(steps)
    assert name == "generator"
    assert float(rest["adversarial"]) == pytest.approx(float(fooled(*logits())), rel=1e-4)
    assert float(unmoved) != pytest.approx(float(rest["adversarial"]), rel=1e-2)


@pytest.mark.parametrize("sees", ["triplet", "pair", "image"])
def test_the_adversarial_loss_reaches_the_generator(sees: str) -> None:
    method = make(discriminator=sees)
    batch, _, plan = prepared(method)
    steps = iter(method.training_step(batch, plan.stage))
    next(steps)
    before = [parameter.detach().clone() for parameter in method.generator.parameters()]
    assert before and next(steps)[0] == "generator"
    judge = method.discriminator
    assert judge is not None
    enhanced = method(batch.lr)
    real = method.seen(batch.lr, batch.hr, method.features(batch.hr))
    fake = method.seen(batch.lr, enhanced, method.features(enhanced))
    (slope,) = torch.autograd.grad(fooled(judge(real), judge(fake)), enhanced)
    assert slope.abs().max() > 0


def test_texture_is_local_contrast_and_gradient() -> None:
    """Another brightness is no other texture; another picture is."""
    method = make()
    image = picture(1, 3, 32, 32)
    assert float(method.texture(image, image)) == 0
    assert float(method.texture(0.9 * image, image)) < float(method.texture(1 - image, image)) / 5


def test_a_small_generator_learns_a_photographs_brightness() -> None:
    """40 updates by colour alone: closer to a picture twice as bright than the input is."""
    off = dict.fromkeys(("content", "texture", "contextual", "total_variation"), 0)
    method = make(**off, discriminator="none")
    _, optimizers, plan = prepared(method, learning_rate=1e-2)
    smooth = F.interpolate(picture(4, 3, 4, 4), size=(32, 32), mode="bilinear")
    batch = Batch(smooth / 2, smooth, smooth, step=0)
    for _ in range(40):
        update(method, plan.stage, batch, optimizers, plan)
    method.eval()
    assert F.mse_loss(restore(method, batch.lr), smooth) < F.mse_loss(batch.lr, smooth) / 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"patch": 30}, "patch 30: must be a multiple of 4"),
        ({"patch": 28}, "AlexNet's features need 31"),
        ({"widths": "small"}, "widths"),
        ({"widths": []}, "widths"),
        ({"normalisation": "layer"}, "normalisation"),
        (dict.fromkeys(("content", "texture", "colour", "contextual", "total_variation"), 0),
         "every loss but the adversarial one"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(BenchError, match=why):
        make(**wrong)


def test_a_report_says_whose_features_they_are() -> None:
    assert "AlexNet" in " ".join(make().remarks)
    assert "untrained" in " ".join(make(features="random").remarks)
