"""The rivals of PRaD: their counts, and the classical ones against small systems solved densely."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.method import Method
from methods import bimef, retinex
from methods.bimef import BIMEF
from methods.filters.gradients import differences, solved
from methods.gridnet import GridNet
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
    for matrix, axis in zip(differences(4, 5, around=around), (1, 0), strict=True):
        last = np.take(plane, [0 if around else -1], axis)
        wanted = np.diff(plane, axis=axis, append=last)
        assert np.allclose((matrix @ plane.ravel()).reshape(4, 5), wanted)


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
    from scipy import sparse

    rng = np.random.default_rng(1)
    shape = (5, 6)
    value, light, other = (rng.uniform(0.05, 1, shape) for _ in range(3))
    wanted = rng.normal(0, 0.1, 60)
    dense = gradient_of(shape)
    gradient = sparse.vstack(differences(*shape, around=False), format="csr")

    def squares(r: Plane, light: Plane, weight: float) -> float:
        smooth = ((dense @ r.ravel() - wanted) ** 2).sum()
        return float(((r * light - value) ** 2).sum() + weight * smooth)

    found = retinex.new_reflectance(value, light, wanted, 0.01, gradient, other)
    assert np.abs(found - minimum(lambda r: squares(r, light, 0.01), shape)).max() < 2e-4
    found = retinex.new_light(value, light, wanted, 2.0, gradient, other)
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
    from scipy import sparse

    matrix = sparse.csr_array(np.array([[4.0, 1.0], [1.0, 3.0]]))
    for guess in (np.zeros((1, 2)), np.array([[5.0, -9.0]])):
        assert np.allclose(
            solved(matrix, np.array([[1.0, 2.0]]), guess), [[1 / 11, 7 / 11]], atol=1e-4
        )
