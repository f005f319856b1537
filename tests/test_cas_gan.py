"""CAS-GAN: the exaggerated target by hand and against independent implementations; its training."""

import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from kit import sensor, write_dng
from scipy import ndimage
from skimage import data as skimage_data
from torch import Tensor

from bench.cli import cli
from bench.data.images import read_image, write_image
from bench.data.pairs import load_pairs
from bench.data.raw import CAMERAS
from bench.errors import BenchError
from bench.method import Batch, Method, Rate, Recipe, build_method
from bench.method.restoring import restore
from bench.method.weights import load_weights
from bench.records.cell import TrainedStage
from bench.records.store import Store
from bench.study.fields import TaskSection, TrainSection
from bench.train.batches import opened_batches
from bench.train.optimizers import make_optimizers
from bench.train.plan import Plan
from bench.train.planning import plan_stages
from bench.train.stages import train_stages
from bench.train.updates import update
from methods.cas_gan import (
    CASGAN,
    LLCGAN,
    Exaggerate,
    HighPass,
    LowLightCASGAN,
    Overshoot,
    SharpenedESRGAN,
    immerkaer,
    local_variance,
    median_deviation,
    noise_energy,
    soft_map,
)
from methods.esrgan import ESRGAN, RRDBNet
from methods.filters import planes
from methods.filters.canny import canny
from methods.filters.planes import extended, gaussian, luma
from methods.sid import SID, SIDFromRGB


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


# --- section 2.2: the losses ----------------------------------------------------------------------

SMALL = ESRGAN.tiny


def make(cls: type[Method] = CASGAN, seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    tiny = RRDBNet.tiny if issubclass(cls, RRDBNet) else SMALL
    return build_method(cls, {**tiny, **changes}, 4)


def batch_of(seed: int = 1) -> Batch:
    hr, target = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(torch.nn.functional.avg_pool2d(hr, 4), hr, target, 0)


def plan_of(method: Method) -> Plan:
    *_, stage = method.stages()
    recipe = Recipe(steps=1, batch=2, precision="fp32").over(stage.recipe)
    return Plan(
        stage, method, "key", dataset="", scale=4, degradation="bicubic", recipe=recipe.filled(),
        seed=0, device="cpu",
    )  # fmt: skip


def one_update(method: Method) -> dict[str, Tensor]:
    plan = plan_of(method)
    method.train()
    return update(method, plan.stage, batch_of(), make_optimizers(plan), plan)


def test_the_discriminator_sees_high_frequencies_alone() -> None:
    """Against scipy's Gaussian of the same reach; a constant and a slope are nothing to it."""
    image = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    found = HighPass(2.0)(image)[0, 1].numpy()
    plane = image[0, 1].double().numpy()
    blurred = ndimage.gaussian_filter(plane, 2.0, mode="nearest", radius=5)
    assert np.allclose(found, plane - blurred, atol=1e-6)
    slope = (torch.arange(24.0) / 24).expand(1, 3, 20, 24)
    assert HighPass(2.0)(slope)[..., 5:-5].abs().max() < 1e-6
    with torch.autocast("cpu", torch.bfloat16):
        assert np.allclose(HighPass(2.0)(image)[0, 1].numpy(), plane - blurred, atol=1e-6)


@pytest.mark.parametrize("relativistic", [False, True])
def test_adversarial_losses_of_known_logits_are_worked_by_hand(relativistic: bool) -> None:
    method = make(relativistic=relativistic)
    real, fake = torch.tensor([[3.0], [1.0]]), torch.tensor([[-2.0], [0.0]])

    def minus_log(probability_of: float) -> float:
        return math.log(1 + math.exp(-probability_of))

    if relativistic:  # against the means, 2 and -1
        of_real, of_fake = (3 + 1, 1 + 1), (-2 - 2, 0 - 2)
        fooled = sum(map(minus_log, (*(-x for x in of_real), *of_fake))) / 4
        told = sum(map(minus_log, (*of_real, *(-x for x in of_fake)))) / 4
    else:
        fooled = sum(map(minus_log, (-2, 0))) / 2
        told = sum(map(minus_log, (3, 1, 2, 0))) / 4
    assert float(method.fooled(real, fake)) == pytest.approx(fooled)
    assert float(method.told_apart(real, fake)) == pytest.approx(told)


def test_equation_5_weighs_the_losses_as_printed() -> None:
    for cls, alpha, beta in ((CASGAN, 1e-3, 3e-2), (ESRGAN, 5e-3, 1e-2)):
        losses = {name: float(value) for name, value in one_update(make(cls)).items()}
        expected = losses["content"] + alpha * losses["adversarial"] + beta * losses["pixel"]
        assert losses["generator"] == pytest.approx(expected, rel=1e-6), cls


def test_content_and_pixel_losses_are_means_of_absolute_differences_to_the_target() -> None:
    method, batch = make(), batch_of()
    with torch.no_grad():
        sr = method(batch.lr)
        one, other = (method.features(image)["relu5"] for image in (sr, batch.target))
    losses = one_update(method)
    assert float(losses["pixel"]) == pytest.approx(float((sr - batch.target).abs().mean()))
    assert float(losses["content"]) == pytest.approx(float((one - other).abs().mean()), rel=1e-5)


def test_vggs_features_are_those_before_the_last_relu() -> None:
    method = make(features="random")
    assert method.layer == "conv5_4" and method.features(batch_of().hr)["conv5_4"].min() < 0
    assert "untrained" in method.remarks[0]


@pytest.mark.parametrize("relativistic", [False, True])
def test_one_forward_pass_serves_both_steps(relativistic: bool) -> None:
    """Against the authors' order of things: the generator's losses, then the discriminator's, each
    computed anew, none of the weights having moved in between."""
    heavy = {"adversarial": 100.0, "relativistic": relativistic}  # or it drowns in the content's
    method, other = make(**heavy), make(**heavy)
    one_update(method)
    other.train()
    batch = batch_of()
    sr = other(batch.lr)
    logits = [other.discriminator(HighPass(2.0)(image)) for image in (batch.target, sr)]
    loss_g = other.content(sr, batch.target) + 3e-2 * (sr - batch.target).abs().mean()
    loss_g = loss_g + 100 * other.fooled(logits[0].detach(), logits[1])
    logits = [other.discriminator(HighPass(2.0)(image)) for image in (batch.target, sr.detach())]
    loss_d = other.told_apart(*logits)
    for part, loss in (("generator", loss_g), ("discriminator", loss_d)):
        values = dict(getattr(other, part).named_parameters())
        gradients = torch.autograd.grad(loss, list(values.values()), retain_graph=True)
        expected = dict(zip(values, gradients, strict=True))
        made = {n: v.grad for n, v in getattr(method, part).named_parameters()}
        if relativistic and part == "discriminator":
            assert made.pop("judge.2.bias") is None
            assert expected.pop("judge.2.bias").abs().max() < 1e-6, "a shift of all logits is none"
        one, two = (torch.cat([g.flatten() for g in x.values()]).double() for x in (made, expected))
        assert float(one @ two / (one.norm() * two.norm())) > 1 - 1e-5, part
        assert float(one.norm()) == pytest.approx(float(two.norm()), rel=1e-3)


# --- stages ---------------------------------------------------------------------------------------

TASK = TaskSection(kind="super-resolution", scale=4)
TRAIN = TrainSection(dataset="set5", patch=32, batch=2, steps=2, learning_rate=1e-3)


@pytest.fixture
def crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set5 of two photographs of 48 pixels."""
    root = tmp_path / "data"
    for seed, name in enumerate(("astronaut", "coffee")):
        crop = getattr(skimage_data, name)()[100:148, 150:198]
        write_image(root / "Set5" / "HR" / f"{seed}.png", crop)
    monkeypatch.setenv("BENCH_DATA", str(root))


def trained(method: Method, store: Path) -> list[TrainedStage]:
    stages: list[TrainedStage] = []
    for _ in train_stages(method, TASK, TRAIN, 0, Store(store), stages):
        pass
    return stages


@pytest.mark.usefixtures("crops")
def test_a_sweep_of_alpha_and_beta_has_one_target_and_one_generator() -> None:
    sweep = [
        make(), make(adversarial=1e-2), make(pixel=1.0), make(relativistic=True),
        make(high_pass=0.0), make(learning_rate=1e-5),
    ]  # fmt: skip
    plans = [plan_stages(method, TASK, TRAIN, 0) for method in sweep]
    assert len({gan.target for _, gan in plans}) == 1 and plans[0][1].target
    assert len({before.key for before, _ in plans}) == 1
    assert len({gan.key for _, gan in plans}) == len(sweep)
    others = [make(noise="mad"), make(amount=2.0), make(softness=3.0)]
    targets = {plan_stages(method, TASK, TRAIN, 0)[1].target for method in others}
    assert len(targets | {plans[0][1].target}) == 4
    assert plan_stages(make(exaggerated=False), TASK, TRAIN, 0)[1].target == ""


@pytest.mark.usefixtures("crops")
def test_all_gans_and_the_plain_network_share_the_generators_first_training(tmp_path: Path) -> None:
    methods = [make(RRDBNet), make(ESRGAN), make(SharpenedESRGAN), make(CASGAN)]
    reused = [[stage.reused for stage in trained(method, tmp_path)] for method in methods]
    assert reused == [[False], [True, False], [True, True], [True, False]]
    lr = batch_of().lr[:, :, :8, :8]
    sharpen = Exaggerate(part="sharpened")
    with torch.no_grad():
        expected = sharpen(methods[1](lr).clamp(0, 1))
        assert torch.allclose(methods[2](lr), expected, atol=1e-6)


@pytest.mark.usefixtures("crops")
def test_the_stages_learn_the_cas_image_of_the_whole_pictures(tmp_path: Path) -> None:
    for cls in (Overshoot, CASGAN):
        method = make(cls)
        (*_, plan) = plan_stages(method, TASK, TRAIN, 0)
        with opened_batches(plan, torch.device("cpu"), Store(tmp_path)) as batches:
            batch = batches.batch(0)
            cas = [
                method.exaggerate(torch.from_numpy(pair.hr()).permute(2, 0, 1)[None] / 255)
                for pair in load_pairs("set5", 4)
            ]
        assert batch.target.shape == batch.hr.shape and not torch.equal(batch.target, batch.hr)
        for crop in batch.target:
            assert min(_distance(crop, image.clamp(0, 1)) for image in cas) < 1e-4, cls


def _distance(crop: Tensor, image: Tensor) -> float:
    """Of a crop to the nearest one in an image, in any of 8 orientations."""
    windows = image[0].unfold(1, 32, 4).unfold(2, 32, 4).permute(1, 2, 0, 3, 4)
    best = math.inf
    for turned in (crop, crop.transpose(1, 2)):
        for flips in ((), (1,), (2,), (1, 2)):
            off = (windows - turned.flip(flips)).abs().amax(dim=(2, 3, 4))
            best = min(best, float(off.min()))
    return best


def test_recipes_are_the_papers() -> None:
    (_, stage) = make(steps=7).stages()
    assert stage.recipe.rate == Rate(halve=200_000)
    assert (stage.recipe.learning_rate, stage.recipe.steps) == (1e-4, 7)
    (_, stage) = make(ESRGAN).stages()
    assert stage.recipe.rate == Rate(halve=(50_000, 100_000, 200_000, 300_000))
    (stage,) = make(pretrain_steps=0).stages()
    assert stage.name == "cas_gan"


def test_a_generators_file_begins_a_gan_and_restores_by_it(tmp_path: Path) -> None:
    """In the authors' layout, as published; the discriminator keeps the seed's weights."""
    generator, method = make(RRDBNet, seed=3), make(pretrain_steps=0)
    state = {
        re.sub(r"^network\.", "", name).replace("conv_up", "upconv"): value
        for name, value in generator.state_dict().items()
    }
    state = {
        name.replace("conv_hr", "HRconv").replace("conv_body", "trunk_conv"): value
        for name, value in state.items()
    }
    state = {
        re.sub(r"^body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2", name): value
        for name, value in state.items()
    }
    torch.save(state, tmp_path / "published.pth")
    before = {k: v.clone() for k, v in method.discriminator.state_dict().items()}
    load_weights(method, tmp_path / "published.pth")
    lr = batch_of().lr
    assert torch.equal(method(lr), generator(lr))
    for name, value in method.discriminator.state_dict().items():
        assert torch.equal(value, before[name]), name
    whole = make(ESRGAN, seed=4)
    torch.save(whole.state_dict(), tmp_path / "trained.pth")
    for cls in (ESRGAN, SharpenedESRGAN):
        again = make(cls)
        load_weights(again, tmp_path / "trained.pth")
        own = again.esrgan if cls is SharpenedESRGAN else again
        assert torch.equal(own(lr), whole(lr))


# --- low light ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [LLCGAN, LowLightCASGAN])
def test_the_low_light_networks_go_from_packed_raw_to_srgb_of_twice_the_size(
    cls: type[Method],
) -> None:
    torch.manual_seed(0)
    method: Any = build_method(cls, dict(SMALL), 2)
    assert method.generator.network.conv_first.in_channels == cls.channels == 4
    ups = [name for name, _ in method.generator.network.named_children() if "conv_up" in name]
    assert ups == ["conv_up1"]
    assert method(torch.rand(1, 4, 8, 9)).shape == (1, 3, 16, 18)


@pytest.mark.parametrize("cls", [ESRGAN, CASGAN, SIDFromRGB])
def test_simulated_low_light_keeps_the_size(cls: type[Method]) -> None:
    method = build_method(cls, {} if cls is SIDFromRGB else dict(SMALL), 1)
    assert method.does("low-light")
    assert restore(method, torch.rand(1, 3, 17, 20)).shape == (1, 3, 17, 20)


@pytest.mark.parametrize("cls", [SID, LLCGAN, LowLightCASGAN])
def test_see_in_the_dark_is_trained_on_raw_files(
    cls: type[Method], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the long exposure, or its CAS image, from one pair of files."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    names = "Sony/short/00001_00_0.1s.ARW", "Sony/long/00001_00_10s.ARW"
    for seed, name in enumerate(names):
        values = sensor(64, 72, seed=seed) * (1 + 3 * seed)
        write_dng(tmp_path / "SID" / name, values, CAMERAS["sony"].pattern, 512)
    (tmp_path / "SID/Sony_train_list.txt").write_text(f"./{names[0]} ./{names[1]} ISO200 F9\n")
    method = build_method(cls, dict(cls.tiny), 2)
    train = TrainSection(dataset="sid_sony_train", patch=32, batch=2, steps=1, learning_rate=1e-3)
    stages: list[TrainedStage] = []
    task = TaskSection(kind="low-light", scale=2)
    for _ in train_stages(method, task, train, 0, Store(tmp_path / "store"), stages):
        pass
    assert [stage.name for stage in stages] == {
        SID: ["sid"], LLCGAN: ["rrdb", "esrgan"], LowLightCASGAN: ["rrdb", "cas_gan"]
    }[cls]  # fmt: skip
    assert bool(stages[-1].target) == (cls is LowLightCASGAN)
