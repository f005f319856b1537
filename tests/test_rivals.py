"""The rivals of PRaD: their counts and losses, and the classical ones against dense solutions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.signal import convolve2d
from scipy.stats import norm
from skimage.metrics import structural_similarity

from bench.errors import BenchError
from bench.method import Batch, Method
from bench.method.weights import load_weights
from methods import bimef, dped, neural_art, ppcn, retinex
from methods.bimef import BIMEF
from methods.dped import DPED
from methods.filters.gradients import gradient, solved
from methods.gridnet import GridNet
from methods.networks.discriminators import DPED_LAYERS
from methods.neural_art import NeuralArt
from methods.ppcn import Student, Teacher
from methods.resnet import ResNet
from methods.retinex import RobustRetinex

Plane = NDArray[np.float64]


def count(method: torch.nn.Module) -> int:
    return sum(p.numel() for p in method.parameters())


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (lambda: ResNet(), 695_875),
        (lambda: ResNet(blocks=14), 1_139_011),
        (lambda: GridNet(), 2_246_586),
        (lambda: GridNet(widths=(16, 32, 64, 128, 256)), 13_157_770),
        (lambda: DPED().generator, 401_475),
        (lambda: DPED().discriminator, 7_361_122),
        (lambda: Teacher(features="random").network, 21_843),
        (lambda: Student(features="random").network, 2_715),
    ],
)
def test_networks_have_the_parameters_that_papers_count(method, parameters: int) -> None:
    with torch.device("meta"):
        assert count(method()) == parameters


def test_a_gridnet_without_norm_sees_the_brightness_of_the_whole_picture() -> None:
    """Instance norm in front of the first convolution would take it away."""
    torch.manual_seed(0)
    network = GridNet(**GridNet.tiny).eval()
    dark = torch.rand(1, 3, 16, 16) / 4
    assert (network(dark) - network(dark + 0.5)).abs().max() > 0.05


# --- DPED and PPCN --------------------------------------------------------------------------------


def test_the_colour_loss_of_dped_is_that_of_its_kernel() -> None:
    """Built as its code builds it: the root of an outer product of steps of the normal
    distribution, normalised; convolved by SciPy."""
    edges = np.linspace(-3 - 1 / 6, 3 + 1 / 6, 22)
    steps = np.diff(norm.cdf(edges))
    kernel = np.sqrt(np.outer(steps, steps))
    kernel /= kernel.sum()
    a, b = np.random.default_rng(0).uniform(size=(2, 3, 24, 30))
    planes = [convolve2d(x - y, kernel, mode="same") for x, y in zip(a, b, strict=True)]
    wanted = sum((plane**2).sum() for plane in planes) / 2
    got = dped.colour(*(torch.from_numpy(x)[None] for x in (a, b)))
    assert got.item() == pytest.approx(wanted, rel=1e-6)


def test_an_undecided_discriminator_costs_log_2_a_patch() -> None:
    """And one that is sure of what was made stops at 1e-10, as in the code."""
    unsure, sure = torch.zeros(4, 2), torch.tensor([[-50.0, 50.0]])
    assert dped.texture(unsure).item() == pytest.approx(-4 * np.log(2))
    assert dped.told_apart(unsure, unsure).item() == pytest.approx(4 * np.log(2))
    assert dped.texture(sure).item() == pytest.approx(np.log(1e-10), rel=1e-6)
    assert dped.told_apart(sure, -sure).item() == pytest.approx(0)


def test_the_discriminator_does_not_see_colour() -> None:
    judge = dped.GrayDiscriminator(DPED_LAYERS, 32, 6)
    image = torch.rand(2, 3, 32, 32)
    gray = (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(judge(image), judge(gray.expand(-1, 3, -1, -1)), atol=1e-5)


def test_published_weights_are_the_generators_and_need_no_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the published layout: conv1.weight and so on, without a discriminator. VGG19 is
    asked for by a training alone."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source, method = DPED(channels=8, width=6), DPED(channels=8, width=6)
    names = {n.removeprefix("generator."): v for n, v in source.state_dict().items()}
    save_file({n: v + 0.01 for n, v in source.generator.state_dict().items()}, tmp_path / "g")
    assert {"conv1.weight", "norm9.bias", "conv12.bias"} <= set(names)
    judge = {n: v.clone() for n, v in method.discriminator.state_dict().items()}
    load_weights(method, (tmp_path / "g").rename(tmp_path / "g.safetensors"))
    for name, value in method.generator.state_dict().items():
        assert torch.equal(value, names[name] + 0.01)
    assert all(torch.equal(v, judge[n]) for n, v in method.discriminator.state_dict().items())
    with pytest.raises(BenchError, match=r"vgg19_caffe.*features: alexnet"):
        method.optimizers(method.stages()[0])


def test_the_similarity_of_ppcn_is_that_of_scikit_image() -> None:
    a, b = np.random.default_rng(0).uniform(size=(2, 3, 20, 24))
    wanted = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
        channel_axis=0,
    )  # fmt: skip
    got = ppcn.similarity(*(torch.from_numpy(x)[None] for x in (a, b)))
    assert got.item() == pytest.approx(wanted, abs=1e-5)


def test_attention_compares_where_not_how_much() -> None:
    """By hand: equal up to a factor 0, elsewhere altogether (1 + 1) / 2, opposite 2."""
    one, other = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    assert ppcn.attention([one], [5 * one]).item() == 0
    assert ppcn.attention([one], [other]).item() == pytest.approx(1)
    assert ppcn.attention([one, one], [other, -one]).item() == pytest.approx(3)


def test_a_student_learns_from_a_teacher_unless_told_not_to() -> None:
    tiny = dict(Student.tiny)
    student = Student(**tiny)
    assert [stage.name for stage in student.stages()] == ["teacher", "student"]
    assert [stage.name for stage in Student(**tiny, transfer=0).stages()] == ["student"]
    assert student.stages()[0].trains is student.teacher
    torch.manual_seed(0)
    batch = Batch(*(torch.rand(2, 3, 32, 32) for _ in range(2)), torch.rand(2, 3, 32, 32), 0)
    told = dict(student.training_step(batch, student.stages()[1]))
    student.teacher.network.load_state_dict(Teacher(**tiny).network.state_dict())
    again = dict(student.training_step(batch, student.stages()[1]))
    assert told["transfer"] != again["transfer"] and told["colour"] == again["colour"]


# --- Neural Art -----------------------------------------------------------------------------------


def test_a_gram_matrix_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels, two positions
    assert neural_art.gram(maps).tolist() == [[2.5, 5.5], [5.5, 12.5]]
    # differences 1.5, 5.5, 5.5, 11.5 from the unit matrix: 195 over 4 * 2^2
    assert neural_art.style_loss(maps, torch.eye(2)).item() == pytest.approx(195 / 16)


def test_neural_art_takes_on_the_style() -> None:
    """With untrained features, for VGG19's are not shipped."""
    method = NeuralArt(**NeuralArt.tiny | {"iterations": 12})
    image = torch.rand(1, 3, 16, 16) / 4
    style = neural_art._middle(method._style, (16, 16))

    def unlike(picture: torch.Tensor) -> float:
        with torch.no_grad():
            maps, wanted = method.network(picture), method.network(style)
        losses = [neural_art.style_loss(maps[n], neural_art.gram(wanted[n])) for n in wanted]
        return float(sum(losses))

    assert unlike(method(image)) < 0.8 * unlike(image)


def test_neural_art_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("BENCH_WEIGHTS", "TORCH_HOME", "BENCH_DATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(BenchError, match="'vgg19_caffe' are not on this machine"):
        NeuralArt(style="photos_val")
    with pytest.raises(BenchError, match="style's set dped_iphone_train: no folder"):
        NeuralArt(features="random")


# --- gradients ------------------------------------------------------------------------------------


def picture(height: int, width: int, seed: int = 0, most: float = 0.4) -> Plane:
    """A dark one with a bright corner and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    light = 0.1 + 0.5 * ((y > height // 2) & (x > width // 2))
    return (most * (light[..., None] + rng.uniform(0, 0.3, (height, width, 3)))).clip(0, 1)


@pytest.mark.parametrize("around", [True, False])
def test_differences_are_those_of_numpy(around: bool) -> None:
    plane = picture(4, 5)[..., 0]
    found = (gradient(4, 5, around=around) @ plane.ravel()).reshape(2, 4, 5)
    for slopes, axis in zip(found, (1, 0), strict=True):
        last = np.take(plane, [0 if around else -1], axis)
        assert np.allclose(slopes, np.diff(plane, axis=axis, append=last))


# --- BIMEF ----------------------------------------------------------------------------------------


def energy(s: Plane, t: Plane) -> float:
    """What the map minimises, pixel by pixel, in plain loops."""
    height, width = t.shape
    total = float(((s - t) ** 2).sum())

    def across(p: Plane, y: int, x: int) -> float:
        return p[y, (x + 1) % width] - p[y, x]

    def down(p: Plane, y: int, x: int) -> float:
        return p[(y + 1) % height, x] - p[y, x]

    for y in range(height):
        for x in range(width):
            row = sum(across(t, y, i) for i in range(max(0, x - 2), min(width, x + 3)))
            column = sum(down(t, i, x) for i in range(max(0, y - 2), min(height, y + 3)))
            w_h = 1 / (abs(row) * abs(across(t, y, x)) + 1e-3)
            w_v = 1 / (abs(column) * abs(down(t, y, x)) + 1e-3)
            total += 0.5 * (w_h * across(s, y, x) ** 2 + w_v * down(s, y, x) ** 2)
    return total


def minimum(quadratic, shape: tuple[int, int]) -> Plane:
    """Where a quadratic function of a plane is least: its coefficients read off, solved densely."""
    size = shape[0] * shape[1]
    units = np.eye(size).reshape(size, *shape)
    nothing = quadratic(np.zeros(shape))
    single = np.array([quadratic(u) for u in units])
    hessian = np.array([[quadratic(u + v) for v in units] for u in units])
    hessian += nothing - single[:, None] - single
    slope = single - nothing - np.diag(hessian) / 2
    return np.linalg.solve(hessian, -slope).reshape(shape)


def test_the_light_of_bimef_is_the_minimum_of_its_energy() -> None:
    plane = picture(5, 6)[..., 0]
    wanted = minimum(lambda s: energy(s, plane), plane.shape)
    assert np.abs(bimef.smoothed(plane) - wanted).max() < 1e-4


def test_the_exposure_of_bimef_is_that_of_most_entropy() -> None:
    """On a grid of 601 ratios none tells more of the dark pixels."""
    image = picture(50, 50, most=0.2)
    dark = np.ones((50, 50), bool)
    ratio = bimef.exposure_ratio(image, dark)
    gray = np.cbrt(image.prod(axis=2)).ravel()

    def bits(k: float) -> float:
        exposed = np.exp(1.1258 * (1 - k**-0.3293)) * gray ** (k**-0.3293)
        levels = np.bincount(np.uint8(np.floor(exposed.clip(0, 1) * 255 + 0.5)))
        shares = levels[levels > 0] / gray.size
        return -(shares * np.log2(shares)).sum()

    assert ratio is not None and 1.5 < ratio < 7
    assert bits(ratio) > max(map(bits, np.linspace(1, 7, 601))) - 0.05


def test_bimef_brightens_the_dark_and_leaves_the_bright() -> None:
    image = picture(40, 50)
    fused = bimef.fuse(image)
    assert fused.mean() > 1.5 * image.mean()
    bright = 1 - image / 4
    assert np.array_equal(bimef.fuse(bright), bright)  # no pixel is dark
    # where the light is 1 the weight is all the picture's: equation of the fusion by hand
    light = bimef.illumination(image)[..., None]
    ratio = bimef.exposure_ratio(image, light[..., 0] < 0.5)
    assert ratio is not None
    longer = bimef.exposed(image, ratio) - 0.01
    assert np.allclose(fused, image * np.sqrt(light) + longer * (1 - np.sqrt(light)))


def test_resizing_halves_a_ramp_where_its_pixels_lie() -> None:
    ramp = np.arange(16.0)[None].repeat(8, axis=0)
    half = bimef.resized(ramp, 4, 8)
    assert half.shape == (4, 8)
    assert np.allclose(half[:, 2:6], np.arange(4.5, 12, 2))


# --- robust Retinex -------------------------------------------------------------------------------


def gradient_of(shape: tuple[int, int]) -> Plane:
    """Forward differences of a plane, across then down, 0 at the far border; as a dense matrix."""
    height, width = shape
    rows = []
    for dy, dx in ((0, 1), (1, 0)):
        for y in range(height):
            for x in range(width):
                row = np.zeros(shape)
                if y + dy < height and x + dx < width:
                    row[y + dy, x + dx], row[y, x] = 1, -1
                rows.append(row.ravel())
    return np.array(rows)


def test_a_round_of_retinex_solves_its_two_systems() -> None:
    rng = np.random.default_rng(1)
    shape = (5, 6)
    value, light, other = (rng.uniform(0.05, 1, shape) for _ in range(3))
    wanted = rng.normal(0, 0.1, 60)
    dense = gradient_of(shape)
    slope_of = gradient(*shape, around=False)

    def squares(r: Plane, light: Plane, weight: float) -> float:
        smooth = ((dense @ r.ravel() - wanted) ** 2).sum()
        return float(((r * light - value) ** 2).sum() + weight * smooth)

    found = retinex.new_reflectance(value, light, wanted, 0.01, slope_of, other)
    assert np.abs(found - minimum(lambda r: squares(r, light, 0.01), shape)).max() < 2e-4
    found = retinex.new_light(value, light, wanted, 2.0, slope_of, other)
    assert np.abs(found - minimum(lambda r: squares(r, light, 1.0), shape)).max() < 2e-4


def test_reflectance_times_light_and_noise_are_the_picture() -> None:
    value = picture(24, 30).max(axis=2)
    parts = RobustRetinex().parts(value)
    again = parts.reflectance * parts.light + parts.noise
    assert np.sqrt(np.square(again - value).mean()) < 0.01
    steps = [np.abs(np.diff(plane)).sum() for plane in (parts.light, value)]
    assert steps[0] < 0.7 * steps[1], "the light is smoother than the picture"


def test_faint_gradients_are_dropped_and_weak_ones_amplified() -> None:
    """By hand: 0.02 is below 10 levels; 0.1 becomes 0.1 (1 + 5 exp(-2.55)); 1 hardly changes."""
    details = RobustRetinex().details(np.array([0.02, 0.1, -0.1, 1.0]))
    assert np.allclose(details, [0, 0.1390, -0.1390, 1.0], atol=5e-5)


def test_retinex_brightens_and_keeps_hue_and_saturation() -> None:
    image = picture(24, 30)
    image[3, 3] = 0
    bright = RobustRetinex().brightened(image)
    assert bright.mean() > 1.5 * image.mean()
    lit = image.max(axis=2) > 0
    chroma = [p[lit] / p[lit].max(axis=1, keepdims=True) for p in (image, bright)]
    assert np.allclose(*chroma)
    assert np.ptp(bright[3, 3]) == 0 and bright[3, 3, 0] > 0
    black = np.zeros((8, 8, 3))
    assert np.abs(RobustRetinex().brightened(black)).max() == 0


@pytest.mark.parametrize("cls", [BIMEF, RobustRetinex])
def test_a_classical_rival_restores_tensors(cls: type[Method]) -> None:
    image = torch.from_numpy(picture(20, 24)).permute(2, 0, 1)[None].float()
    made = cls()(image)
    assert made.shape == image.shape and made.dtype == torch.float32
    assert made.mean() > 1.3 * image.mean()


def test_conjugate_gradients_reach_the_solution_from_anywhere() -> None:
    """By hand: a row of two, around, has differences b - a and a - b; (1 + 2w) and -2w."""
    slope_of = gradient(1, 2, around=True)
    for guess in (np.zeros((1, 2)), np.array([[5.0, -9.0]])):
        found = solved(np.ones((1, 2)), slope_of, 1.0, np.array([[1.0, 2.0]]), guess)
        assert np.allclose(found, [[7 / 5, 8 / 5]], atol=1e-4)
