"""ResCNN-GAN: its losses by hand, the alternation, what stages share, resume, collapse, errors."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.roots import home
from bench.errors import BenchError, Diverged
from bench.look.check import load_study
from bench.method import Batch, Method, Recipe, Stage, build_method
from bench.records.cell import TrainedStage
from bench.records.store import Store
from bench.study.fields import TaskSection, TrainSection
from bench.train import loop as train
from bench.train.batches import Patches
from bench.train.loop import run_steps
from bench.train.optimizers import make_optimizers
from bench.train.pixels import find_source, open_pixels
from bench.train.plan import Plan
from bench.train.stages import plan_stages, train_stages
from bench.train.updates import update
from methods import rescnn_gan
from methods.networks.discriminators import ResCNNDiscriminator, SRGANDiscriminator
from methods.rescnn_gan import CNN, GAN, WINDOW, ResCNN, cross_entropy, linear, psnr

CPU = torch.device("cpu")
TASK = TaskSection(kind="super-resolution", scale=4, degradation="blur_noise")
TRAIN = TrainSection(dataset="set5", patch=16, batch=2, steps=2, learning_rate=1e-3)
SMALL: Mapping[str, Any] = {**GAN.tiny, "patch": 16}


def make(cls: type[Method] = GAN, seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    tiny = SMALL if cls is GAN else cls.tiny
    return build_method(cls, {**tiny, **changes}, 4)


def images(count: int, side: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def batch_of(step: int = 0) -> Batch:
    hr = images(2, 16, seed=1)
    return Batch(images(2, 4), hr, hr, step)


def plan_of(method: Method, steps: int = 1, **changes: Any) -> Plan:
    *_, stage = method.stages()
    recipe = Recipe(steps=steps, patch=16, batch=2, learning_rate=1e-3, precision="fp32")
    plan = Plan(
        stage, method, "key", dataset="set5", scale=4, degradation="blur_noise",
        recipe=recipe.filled(), seed=0, device="cpu",
    )  # fmt: skip
    return replace(plan, **changes)


def patches_of(dataset: str, scale: int, degradation: str) -> Patches:
    pixels = open_pixels([find_source(dataset, scale, degradation)], Store(home() / "store"))
    return Patches(pixels, batch=2, patch=16, seed=0, device=CPU)


def one_update(method: Method, step: int = 0) -> dict[str, Tensor]:
    plan = plan_of(method)
    method.train()
    return update(method, plan.stage, batch_of(step), make_optimizers(plan), plan)


def trained(method: Method, store: Path, section: TrainSection = TRAIN) -> list[TrainedStage]:
    stages: list[TrainedStage] = []
    for _ in train_stages(method, TASK, section, 0, Store(store), stages):
        pass
    return stages


# --- losses ---------------------------------------------------------------------------------------


class Plus(nn.Module):
    """Enlarges by repeating, and is off by a known amount."""

    halo = 0

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = nn.Parameter(torch.tensor(error))

    def forward(self, lr: Tensor) -> Tensor:
        return lr.repeat_interleave(4, 2).repeat_interleave(4, 3) + self.error


def test_losses_are_those_of_the_paper_on_its_scale() -> None:
    lr = 0.2 + 0.6 * images(2, 4)
    hr = Plus(0.0)(lr).detach()
    batch = Batch(lr, hr, hr, 0)
    for cls, loss in ((CNN, 255 * 0.02), (ResCNN, (255 * 0.02) ** 2)):
        method = make(cls)
        method.network = Plus(0.02)
        found = method.training_step(batch, Stage("fit"))
        assert found["loss"].item() == pytest.approx(loss, rel=1e-4)
        assert float(found["psnr"]) == pytest.approx(-20 * math.log10(0.02), abs=1e-3)


def test_psnr_is_each_patch_s_own_of_clamped_values() -> None:
    hr = torch.zeros(2, 3, 4, 4)
    sr = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), -5.0)])
    assert float(psnr(sr, hr)) == pytest.approx((20 + 100) / 2)  # the second is black, as HR is


def test_cross_entropy_of_a_logit_is_worked_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0)], [0.0]])  # probabilities 3/4 and 1/2
    assert float(cross_entropy(logits, 1)) == pytest.approx(-math.log(3 / 4 * 1 / 2) / 2)
    assert float(cross_entropy(logits, 0)) == pytest.approx(-math.log(1 / 4 * 1 / 2) / 2)


def test_a_linear_term_is_nothing_but_a_slope() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    term = linear(x, torch.tensor([5.0, -7.0]))
    term.backward()
    assert term.item() == 0 and x.grad is not None and x.grad.tolist() == [5, -7]


def test_content_compares_relu5_4_of_bgr_levels_divided_by_12_75() -> None:
    method = make()
    x = 255 * torch.stack([images(2, 16), images(2, 16, seed=1)]).flip(2)
    x = (x - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)).flatten(0, 1)
    layers = [layer for layer in method.features.features if hasattr(layer, "weight")]
    for number, layer in enumerate(layers, start=1):
        x = torch.relu(torch.conv2d(x, layer.weight, layer.bias, padding=1))
        if number in (2, 4, 8, 12):  # blocks of 2, 2, 4, 4 and 4 convolutions
            x = torch.nn.functional.max_pool2d(x, 2)
    assert len(layers) == 16 and x.shape == (4, 512, 1, 1)
    first, second = (x / 12.75).chunk(2)
    expected = ((first - second) ** 2).mean()
    got = method.content(images(2, 16), images(2, 16, seed=1))
    assert float(got) == pytest.approx(float(expected), rel=1e-4)


def test_the_perceptual_loss_is_content_and_a_thousandth_of_the_adversarial_one() -> None:
    losses = {name: float(value) for name, value in one_update(make()).items()}
    assert losses["perceptual"] == pytest.approx(
        losses["content"] + 1e-3 * losses["adversarial"], rel=1e-6
    )


# --- the alternation ------------------------------------------------------------------------------


def test_both_steps_come_from_one_forward_pass() -> None:
    """Against two gradients taken from one graph, none of the weights having moved."""
    weight = 1e5  # as it is, the discriminator's share would drown in the rounding of the content's
    method, other = make(adversarial=weight), make(adversarial=weight)
    losses = one_update(method)

    other.train()
    batch = batch_of()
    sr = other.generator(batch.lr)
    real, fake = other.discriminator(batch.hr), other.discriminator(sr)
    bce = nn.functional.binary_cross_entropy_with_logits
    loss_g = other.content(sr, batch.hr) + weight * bce(fake, torch.ones(2, 1))
    loss_d = bce(real, torch.ones(2, 1)) + bce(fake, torch.zeros(2, 1))
    for part, loss in (("generator", loss_g), ("discriminator", loss_d)):
        parameters = list(getattr(other, part).parameters())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        made = [value.grad for value in getattr(method, part).parameters()]
        assert cosine(made, gradients) > 1 - 1e-6, part
        assert losses[f"gradient_{part}"].item() == pytest.approx(
            math.sqrt(sum(float(value.square().sum()) for value in gradients)), rel=1e-3
        )
    # the moving statistics have seen each of the two batches once
    for name, value in other.named_buffers():
        if "running" in name or "num_batches" in name:
            assert torch.allclose(dict(method.named_buffers())[name], value, atol=1e-6), name


def cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    first, second = (torch.cat([x.flatten() for x in values]).double() for values in (one, other))
    return float(first @ second / (first.norm() * second.norm()))


def test_an_update_moves_both_networks_and_tells_how_they_stand() -> None:
    method = make()
    before = {name: value.clone() for name, value in method.named_parameters()}
    losses = {name: float(value) for name, value in one_update(method).items()}
    assert all(not torch.equal(value, before[name]) for name, value in method.named_parameters())
    assert set(losses) == {
        "discriminator", "perceptual", "content", "adversarial", "psnr", "accuracy_real",
        "accuracy_fake", "balance", "contrast", "gradient_discriminator", "gradient_generator",
    }  # fmt: skip
    assert 0 <= losses["accuracy_real"] <= 1 and -1 <= losses["balance"] <= 1
    assert losses["gradient_generator"] > 0 and losses["gradient_discriminator"] > 0


def test_a_discriminator_that_is_sure_has_full_balance() -> None:
    losses = one_update(rigged(make()))
    assert float(losses["accuracy_real"]) == float(losses["accuracy_fake"]) == 1
    assert float(losses["balance"]) == pytest.approx(1, abs=1e-3)
    assert float(losses["adversarial"]) > 7  # -log of a probability below 0.001


# --- stages ---------------------------------------------------------------------------------------


def test_sweeping_the_gan_trains_its_generator_once(small_sets: Path, tmp_path: Path) -> None:
    sweep = [make(ResCNN), make(), make(learning_rate=1e-3), make(hidden=0), make(slope=0.0)]
    reused = [[stage.reused for stage in trained(method, tmp_path)] for method in sweep]
    assert reused == [[False], *4 * [[True, False]]]
    longer = make(pretrain_steps=3)
    assert [stage.reused for stage in trained(longer, tmp_path)] == [False, False]


def test_steps_rate_and_patch_of_the_stages(small_sets: Path) -> None:
    method = make(learning_rate=1e-2, steps=7, pretrain_steps=5, patch=32)
    first, second = plan_stages(method, TASK, TRAIN, 0)
    assert (first.steps, first.recipe.learning_rate, first.patch) == (5, 1e-3, 16)
    assert (second.steps, second.recipe.learning_rate, second.patch) == (7, 1e-2, 32)
    (plan,) = plan_stages(make(CNN, steps=9), TASK, TRAIN, 0)
    assert (plan.steps, plan.recipe.learning_rate) == (9, 1e-3)


def test_the_gan_begins_with_the_trained_generator(small_sets: Path, tmp_path: Path) -> None:
    alone, method = make(ResCNN), make(learning_rate=1e-12)
    trained(alone, tmp_path)
    trained(method, tmp_path)
    for name, value in alone.named_parameters():
        assert torch.allclose(value, dict(method.generator.named_parameters())[name], atol=1e-9)


def test_the_same_seed_gives_the_same_bits(small_sets: Path, tmp_path: Path) -> None:
    one, other = make(seed=1), make(seed=2)
    for n, method in enumerate((one, other)):
        trained(method, tmp_path / str(n))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_gan_that_goes_on_ends_bit_by_bit_where_an_uninterrupted_one_does(
    small_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    late = [0.0]
    monkeypatch.setattr(
        train, "time", SimpleNamespace(monotonic=lambda: late[0] + 1e-3 * next(clock))
    )
    monkeypatch.setattr(train, "BLOCK", 0.0)  # a sign of life for each update
    monkeypatch.setattr(rescnn_gan, "FLAT", 10.0)  # so that there is something to count
    patches = patches_of("set5", 4, "blur_noise")

    def start(method: Method, name: str) -> Any:
        (tmp_path / name).mkdir(exist_ok=True)
        return run_steps(plan_of(method, 6), patches, tmp_path / name / "checkpoint.pth")

    whole = make()
    points = list(start(whole, "whole"))
    method = make()
    training = start(method, "broken")
    next(training)
    assert next(training).step == 2
    late[0] += 100  # a checkpoint of step 2 is due, and what follows is made again
    assert next(training).step == 3
    training.close()
    method = make(seed=5)  # other weights: the checkpoint must replace them
    rest = list(start(method, "broken"))
    assert [point.step for point in rest] == [3, 4, 5, 6]
    assert [point.losses for point in rest] == [point.losses for point in points[2:]]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, method.state_dict()[name]), name
    assert int(method.flat) == 6


def test_restoring_uses_the_moving_statistics() -> None:
    method = make()
    lr = images(1, 8)
    restored = method(lr)
    statistics = [b for name, b in method.named_buffers() if name.endswith("running_mean")]
    for buffer in statistics:
        buffer.add_(0.5)
    assert not torch.equal(method(lr), restored)
    method.train()
    first = method(lr)
    for buffer in statistics:
        buffer.add_(0.5)
    assert torch.equal(method(lr), first), "training takes the batch's own"


# --- health ---------------------------------------------------------------------------------------


class Sure(nn.Module):
    """Knows originals by a brightness that no restored patch has here."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1000.0))

    def forward(self, image: Tensor) -> Tensor:
        bright = image.mean(dim=(1, 2, 3), keepdim=True)[..., 0, 0] - 0.25
        return bright.clamp(-0.01, 0.01) * self.gain


def rigged(method: GAN) -> GAN:
    """A generator of dark patches, and a discriminator that sees it."""
    method.discriminator = Sure()
    method.generator.network = Plus(0.0)  # type: ignore[assignment]
    method.generator.forward = lambda lr: 0.1 * method.generator.network(lr)  # type: ignore[method-assign]
    return method


def flat(method: GAN) -> GAN:
    """A generator that makes gray of everything."""
    method.generator.forward = lambda lr: (  # type: ignore[method-assign]
        0.5 + 0 * method.generator.network(lr)
    )
    return method


@pytest.mark.parametrize(
    ("make_sick", "why"),
    [(rigged, "the discriminator has won"), (flat, "the generator has collapsed")],
)
def test_a_collapse_ends_the_training_with_its_reason(make_sick: Any, why: str) -> None:
    method = make_sick(make())
    method.certain.fill_(WINDOW - 2)
    method.flat.fill_(WINDOW - 2 if make_sick is flat else 0)
    one_update(method, step=48)
    method.watch(method.stages()[-1], 48)
    one_update(method, step=49)
    with pytest.raises(Diverged, match=rf"^stage gan: at step 50 {why}: for {WINDOW} updates"):
        method.watch(method.stages()[-1], 49)


def test_a_state_must_last_to_be_a_collapse() -> None:
    method = make()
    method.certain.fill_(WINDOW)
    method.flat.fill_(WINDOW)
    one_update(method, step=49)  # sound: both counts begin anew
    assert int(method.certain) == int(method.flat) == 0


def test_a_generator_gone_wrong_is_divergence(small_sets: Path, tmp_path: Path) -> None:
    method = make()
    patches = patches_of("set5", 4, "blur_noise")
    with torch.no_grad():
        next(method.generator.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match=r"^stage gan: .* at step 1 is nan\. The learning rate"):
        list(run_steps(plan_of(method), patches, tmp_path / "checkpoint.pth"))


# --- what a study may ask for ---------------------------------------------------------------------


def test_published_features_that_are_not_here_name_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(BenchError, match="bench fetch vgg19_caffe") as error:
        make(features="published")
    assert "Or write features: random" in str(error.value)
    with torch.device("meta"), pytest.raises(BenchError, match="vgg19_caffe"):
        make(features="published")  # as `bench check` finds it


def test_random_features_are_remarked() -> None:
    (remark,) = make().remarks
    assert remark.startswith("untrained features")


def test_alexnet_s_features_are_remarked_and_need_no_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    method = make(features="alexnet", patch=32)
    assert method.remarks == ("content loss on AlexNet's features (ImageNet-trained), not VGG19's",)
    one, other = images(2, 32), images(2, 32, seed=1)
    maps = [method.features(image)["relu5"] / 12.75 for image in (one, other)]
    assert maps[0].shape == (2, 256, 1, 1)
    assert torch.equal(method.content(one, other), ((maps[0] - maps[1]) ** 2).mean())
    with pytest.raises(BenchError, match="AlexNet's features need 31 pixels"):
        make(features="alexnet")


def test_the_discriminator_is_the_paper_s_or_srgan_s() -> None:
    full = make(patch=96, width=64, hidden=1024).discriminator
    assert isinstance(full, ResCNNDiscriminator)
    assert sum(p.numel() for p in full.parameters()) == 50_240_961
    other = make(discriminator="srgan", hidden=1024).discriminator
    assert isinstance(other, SRGANDiscriminator)
    for changed in ({"hidden": 0}, {"hidden": 1024, "slope": 0.0}):
        with pytest.raises(BenchError, match=r"hidden .* and slope .* are the paper's"):
            make(discriminator="srgan", **changed)


def test_table_1_s_parameters_reach_the_discriminator() -> None:
    judge = make(hidden=0, slope=0.0).discriminator
    assert len(judge.judge) == 1
    leaks = {m.negative_slope for m in judge.modules() if isinstance(m, nn.LeakyReLU)}
    assert leaks == {0.0}


@pytest.mark.parametrize("side", [16, 33, 96, 100])
def test_a_patch_of_any_size_fits_its_discriminator(side: int) -> None:
    for kind in ("paper", "srgan"):
        hidden = {"hidden": 1024} if kind == "srgan" else {}
        judge = make(discriminator=kind, patch=side, **hidden).discriminator
        assert judge(images(2, side)).shape == (2, 1)


def test_a_patch_that_the_scale_does_not_divide_is_refused(
    small_sets: Path, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match="patch 18 is not a multiple of the scale, 4"):
        trained(make(patch=18), tmp_path)


def test_tails_end_in_tanh_or_run_on() -> None:
    lr = images(1, 8)
    bounded, open_ended = make(ResCNN), make(ResCNN, tail="linear")
    open_ended.load_state_dict(bounded.state_dict())
    assert np.allclose(
        bounded(lr).detach(), (torch.tanh(open_ended(lr)).detach() + 1) / 2, atol=1e-6
    )


def test_a_patch_that_does_not_suit_the_gan_is_named_before_its_pre_training(
    small_sets: Path, tmp_path: Path
) -> None:
    study = tmp_path / "small.yaml"
    text = """\
name: small
task: {kind: super-resolution, scale: 4}
train: {dataset: set5, patch: 16, batch: 2, steps: 2}
methods:
  gan: {use: methods.rescnn_gan.GAN, features: random, blocks: 1, channels: 4, width: 2, patch: 16}
evaluate: {datasets: [set14], metrics: [psnr]}
"""
    study.write_text(text)
    load_study(study)
    for patch, words in ((18, "not a multiple of its scale, 4"), (400, "smallest training image")):
        found = f"stage 'gan' of gan trains on patches of {patch}.*{words}"
        with pytest.raises(BenchError, match=found):
            load_study(study, [f"methods.gan.patch={patch}"])
