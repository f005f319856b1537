"""The papers' networks: sizes, and what they compute, worked out apart from them."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.weights import WEIGHTS, Weights
from bench.errors import BenchError
from bench.measure.metrics.lpips import trunk
from bench.method.restoring import restore
from methods.classical import Bicubic
from methods.esrgan import RRDBNet
from methods.networks.alexnet import NAMES as alexnet_names
from methods.networks.alexnet import AlexNet
from methods.networks.discriminators import (
    ESRGANDiscriminator,
    ResCNNDiscriminator,
    SameConv2d,
    SRGANDiscriminator,
)
from methods.networks.edsr import EDSRNetwork
from methods.networks.rcan import RCANetwork
from methods.networks.rescnn import ResCNN, SimpleCNN, batch_norm
from methods.networks.residual import ResidualR
from methods.networks.rrdbnet import RRDBNetwork
from methods.networks.srresnet import SRResNetwork
from methods.networks.unet import UNetwork
from methods.networks.vdsr import VDSRNetwork
from methods.networks.vgg import NAMES, VGG19, layer_index
from methods.srcnn import SRCNN


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def statistics(module: nn.Module) -> int:
    """Moving means and variances; torch's count of batches is not among Keras' parameters."""
    return sum(b.numel() for name, b in module.named_buffers() if "running" in name)


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        # RTS, table 3: 41K, 114K, 225K
        (lambda: ResidualR(2, layers=1), 3 * 64 * 9 + 1 * 64 * 64 * 9 + 64 * 3 * 9 + 3 * 12 * 9),
        (lambda: ResidualR(2, layers=1), 40_644),
        (lambda: ResidualR(2, layers=3), 114_372),
        (lambda: ResidualR(2, layers=6), 224_964),
        # RTS, table 3: VDSR 666K, which is that of Y alone; SRResNet 1.5M, which is that of x4
        (lambda: VDSRNetwork(2, colours=1), 665_921),
        (lambda: VDSRNetwork(2), 668_227),
        (lambda: SRResNetwork(4), 1_549_462),
        (lambda: SRResNetwork(2), 1_401_749),
        # ResCNN-GAN, figure 1, and the summaries that Keras prints in the authors' notebooks
        (SimpleCNN, 335_875),
        (ResCNN, 1_520_259),
        (ResCNNDiscriminator, 50_240_961),
        # the layouts of their papers, added up by hand
        (SRGANDiscriminator, 23_565_505),
        (ESRGANDiscriminator, 14_499_401),
        # 16.7M, 15.6M, 1.5M and 43.1M of ESRGAN's, RCAN's and EDSR's pages, 7.76M of SID's file
        (RRDBNetwork, 16_697_987),
        (RCANetwork, 15_592_355),
        (lambda: RCANetwork(2), 15_444_643),
        (lambda: EDSRNetwork(4), 1_517_571),
        (lambda: EDSRNetwork(4, 32, 256), 43_089_923),
        (UNetwork, 7_760_268),
    ],
)
def test_parameters(build: Callable[[], nn.Module], parameters: int) -> None:
    with torch.device("meta"):
        assert count(build()) == parameters


def test_srcnns_count_in_rts_is_that_of_y_alone() -> None:
    """57K in table 3: two of three colours less in the first and in the last layer."""
    two_colours = 2 * 64 * 9**2 + 2 * 32 * 5**2 + 2
    assert count(SRCNN()) - two_colours == 57_281


@pytest.mark.parametrize(
    ("build", "total"), [(ResCNN, 1_524_483), (ResCNNDiscriminator, 50_253_505)]
)
def test_moving_statistics_make_up_kerass_total(build: Callable[[], nn.Module], total: int) -> None:
    with torch.device("meta"):
        network = build()
    assert count(network) + statistics(network) == total


NETWORKS: dict[str, Callable[[int], Any]] = {
    "residual": lambda scale: ResidualR(scale, layers=2, channels=4),
    "vdsr": lambda scale: VDSRNetwork(scale, layers=4, channels=4),
    "srresnet": lambda scale: SRResNetwork(scale, blocks=2, channels=4),
    "simple_cnn": lambda scale: SimpleCNN(scale, channels=4),
    "rescnn": lambda scale: ResCNN(scale, blocks=2, channels=4),
    "rescnn linear": lambda scale: ResCNN(scale, blocks=2, channels=4, tail="linear"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_odd_sizes_are_enlarged_by_the_scale(name: str, scale: int) -> None:
    network = NETWORKS[name](scale)
    for height, width in ((7, 10), (5, 5), (1, 3)):
        sr = network(picture(2, 3, height, width))
        assert sr.shape == (2, 3, scale * height, scale * width)
        assert sr.dtype == torch.float32


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_halo_is_how_far_a_pixel_sees(name: str, scale: int) -> None:
    """No farther, and within three pixels as far: more would only cost time."""
    torch.manual_seed(0)
    network = NETWORKS[name](scale).double().eval()
    middle = network.halo + 4
    lr = picture(1, 3, 2 * middle + 1, 2 * middle + 1).double().requires_grad_()
    sr = network(lr)[..., scale * middle : scale * (middle + 1), scale * middle :]
    weights = picture(1, 3, scale, scale, seed=1).double()
    (sr[..., :scale] * weights).sum().backward()
    assert lr.grad is not None
    rows = lr.grad.abs().sum((0, 1, 3)).nonzero()
    seen = int((rows - middle).abs().max())
    assert network.halo - 3 <= seen <= network.halo


SMALL: dict[str, Callable[[int], Any]] = {
    "rrdb": lambda scale: RRDBNetwork(scale, blocks=1, channels=4, growth=2),
    "rcan": lambda scale: RCANetwork(scale, groups=1, blocks=1, channels=4, reduction=2),
    "unet": lambda scale: UNetwork(3, scale, width=2),
}


@pytest.mark.parametrize("name", [*NETWORKS, *SMALL])
def test_a_picture_stays_float32_under_bfloat16(name: str) -> None:
    network = (NETWORKS | SMALL)[name](2).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert network(picture(1, 3, 16, 16)).dtype == torch.float32


# --- RTS ------------------------------------------------------------------------------------------


def centre(layer: nn.Module, weights: list[list[float]]) -> None:
    """Makes a 3x3 convolution one of single pixels, with `weights[output][input]`."""
    assert isinstance(layer, nn.Conv2d)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :, 1, 1] = torch.tensor(weights)


def test_residualr_is_what_figure_3_draws() -> None:
    """One channel through two residual layers, by hand, r g b the colours of a pixel."""
    network = ResidualR(2, layers=2, channels=1)
    centre(network.input, [[1, 0, 0]])  # relu(r) = r
    centre(network.layers[0], [[0.5]])  # r + relu(0.5 r) = 1.5 r
    centre(network.layers[1], [[-1]])  # 1.5 r + relu(-1.5 r) = 1.5 r
    centre(network.output, [[0], [2], [-4]])  # + 3 r on green, - 6 r on blue, no ReLU
    lr = picture(1, 3, 3, 5)
    r, g, b = lr[:, 0], lr[:, 1], lr[:, 2]
    expected = torch.stack((r, g + 3 * r, b - 6 * r), 1)
    assert torch.allclose(network.enhance(lr), expected)
    colours = torch.eye(3)
    shares = torch.tensor([1, 10, 100, 1000])  # of the four pixels, row by row
    centre(network.extend, (colours[:, None] * shares[:, None]).flatten(0, 1).tolist())
    sr = network(lr)
    for place, share in enumerate(shares):
        corner = sr[..., place // 2 :: 2, place % 2 :: 2]
        assert torch.allclose(corner, share * expected)


def test_residualrs_first_relu_cuts() -> None:
    network = ResidualR(2, layers=1, channels=1)
    centre(network.input, [[-1, -1, -1]])
    lr = picture(1, 3, 3, 5)
    assert torch.equal(network.enhance(lr), lr)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_residualr_without_a_residual_begins_as_bilinear_enlargement(scale: int) -> None:
    network = ResidualR(scale, layers=1, channels=2)
    nn.init.zeros_(network.output.weight)
    lr = picture(1, 3, 6, 7)
    expected = F.interpolate(lr, scale_factor=scale, mode="bilinear")
    inside = np.s_[..., scale:-scale, scale:-scale]
    assert torch.allclose(network(lr)[inside], expected[inside], atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(network(lr)[inside], expected[inside], atol=1e-6)


def test_residualr_has_no_bias() -> None:
    assert all(name.endswith("weight") for name, _ in ResidualR().named_parameters())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_vdsr_adds_to_matlabs_bicubic(scale: int) -> None:
    network = VDSRNetwork(scale, layers=3, channels=4)
    last = network.layers[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 0.25)
    lr = picture(1, 3, 12, 12)
    inside = np.s_[..., 2 * scale : -2 * scale, 2 * scale : -2 * scale]
    expected = Bicubic(scale=scale)(lr) + 0.25
    assert torch.allclose(network(lr)[inside], expected[inside], atol=1e-5)


def test_vdsr_begins_with_hes_weights() -> None:
    torch.manual_seed(0)
    network = VDSRNetwork(2)
    for layer in network.layers:
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        variance = layer.weight.var().item()
        assert variance == pytest.approx(2 / (9 * layer.in_channels), rel=0.15)
        assert not layer.bias.any()


def test_rrdbnets_dense_blocks_begin_with_a_tenth_of_hes_weights() -> None:
    torch.manual_seed(0)
    network = RRDBNetwork(blocks=1)
    inner = [m for m in network.body.modules() if isinstance(m, nn.Conv2d)]
    assert len(inner) == 15
    for layer in inner:
        variance = layer.weight.var().item()
        assert variance == pytest.approx(0.01 * 2 / (9 * layer.in_channels), rel=0.1)
        assert layer.bias is not None and not layer.bias.any()


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_rrdbnets_halo_is_how_far_a_pixel_sees(scale: int) -> None:
    torch.manual_seed(0)
    network = RRDBNetwork(scale, blocks=1, channels=4, growth=2).double()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0.1, 0.2)  # nothing cancels out
    middle = network.halo + 4
    lr = picture(1, 3, 2 * middle + 1, 2 * middle + 1).double().requires_grad_()
    sr = network(lr)[..., scale * middle : scale * (middle + 1), scale * middle :]
    sr[..., :scale].sum().backward()
    assert lr.grad is not None
    rows = lr.grad.abs().sum((0, 1, 3)).nonzero()
    assert network.halo - 3 <= int((rows - middle).abs().max()) <= network.halo


def test_tiles_of_a_deep_rrdbnet_make_the_same_picture() -> None:
    """With He's weights throughout, ten times those it begins with: a pixel sees 349 others."""
    torch.manual_seed(0)
    method = RRDBNet(scale=2, blocks=23, channels=4, growth=2).eval()
    for layer in method.network.body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    lr = picture(1, 3, 180, 180)
    whole = restore(method, lr)
    assert method.halo == 64
    tiled = restore(method, lr, tile=90, whole=90)
    assert (tiled - whole).abs().max() < 1e-4 * whole.std()
    method.halo = 4
    assert (restore(method, lr, tile=90, whole=90) - whole).abs().max() > 1e-3 * whole.std()


def settle(network: nn.Module) -> nn.Module:
    """Gives weights, slopes and statistics values that differ from one another; in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            if value.ndim > 1:
                drawn *= math.sqrt(2 / value[0].numel())  # keeps the signal's size
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return network.eval()


class Reference:
    """A network's layers, one after the other, for a forward pass written out in plain torch."""

    def __init__(self, network: nn.Module, epsilon: float = 1e-5) -> None:
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.PReLU, nn.Linear)
        self.layers = iter([m for m in network.modules() if isinstance(m, kinds)])
        self.epsilon = epsilon

    def conv(self, x: Tensor) -> Tensor:
        layer: Any = next(self.layers)
        return F.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)

    def norm(self, x: Tensor) -> Tensor:
        layer: Any = next(self.layers)
        shift, scale = layer.running_mean, (layer.running_var + self.epsilon).sqrt()
        normed = (x - shift.view(-1, 1, 1)) / scale.view(-1, 1, 1)
        return normed * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)

    def prelu(self, x: Tensor) -> Tensor:
        layer: Any = next(self.layers)
        assert layer.weight.numel() == 1
        return torch.where(x > 0, x, layer.weight * x)

    def dense(self, x: Tensor) -> Tensor:
        layer: Any = next(self.layers)
        return x @ layer.weight.T + layer.bias


def test_srresnet_computes_what_its_paper_draws() -> None:
    network = settle(SRResNetwork(4, blocks=2, channels=3).double())
    lr = picture(1, 3, 5, 6).double()
    by = Reference(network)
    x = head = by.prelu(by.conv(lr))
    for _ in range(2):
        x = x + by.norm(by.conv(by.prelu(by.norm(by.conv(x)))))
    x = head + by.norm(by.conv(x))
    for _ in range(2):
        x = by.prelu(F.pixel_shuffle(by.conv(x), 2))
    expected = by.conv(x)  # in [-1, 1]
    assert torch.allclose(2 * network(lr).double() - 1, expected, rtol=1e-5, atol=1e-5)


# --- ResCNN-GAN -----------------------------------------------------------------------------------


def test_simple_cnn_computes_what_its_code_does() -> None:
    """On 0 to 255: ((x - 255 m) / 127.5), two linear layers, twice conv-shuffle-ReLU, and back."""
    network = settle(SimpleCNN(channels=3).double())
    lr = picture(1, 3, 5, 6).double()
    by = Reference(network)
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.float64).view(3, 1, 1)
    x = by.conv(by.conv((255 * lr - mean) / 127.5))
    for _ in range(2):
        x = F.pixel_shuffle(by.conv(x), 2).relu()
    expected = 127.5 * by.conv(x) + mean
    assert torch.allclose(255 * network(lr).double(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("tail", ["tanh", "linear"])
def test_rescnn_computes_what_figure_3_draws(tail: Any) -> None:
    """`tail`: the code's 127.5 (tanh(y) + 1), the text's 255 y."""
    network = settle(ResCNN(blocks=2, channels=3, tail=tail).double())
    lr = picture(1, 3, 5, 6).double()
    by = Reference(network, epsilon=1e-3)
    x = head = by.conv(lr).relu()
    for _ in range(2):
        x = x + by.norm(by.conv(by.norm(by.conv(x)).relu()))
    x = head + by.norm(by.conv(x))
    for _ in range(2):
        x = F.pixel_shuffle(by.conv(x), 2).relu()
    y = by.conv(x)
    assert (y.abs() < 2).any() and y.std() > 0.1, "not all of it beyond what tanh tells apart"
    expected = 127.5 * (y.tanh() + 1) if tail == "tanh" else 255 * y
    assert torch.allclose(255 * network(lr).double(), expected, rtol=1e-5, atol=1e-3)


def test_batch_norm_keeps_99_hundredths_of_the_old_mean_as_keras_does() -> None:
    norm = batch_norm(1).train()
    x = torch.tensor([8.0, 12.0]).view(2, 1, 1, 1)  # mean 10, variance 4, unbiased 8
    y = norm(x)
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(0.99 * 0 + 0.01 * 10)
    assert norm.running_var.item() == pytest.approx(0.99 * 1 + 0.01 * 8)
    assert y.flatten().tolist() == pytest.approx([-2 / 4.001**0.5, 2 / 4.001**0.5])


@pytest.mark.parametrize(
    "build",
    [lambda: SimpleCNN(channels=16), lambda: ResCNN(blocks=1), lambda: ResCNNDiscriminator(32, 4)],
)
def test_kerass_first_weights_are_glorots(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    for layer in build().modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            field = math.prod(layer.weight.shape[2:])
            bound = math.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
            largest = layer.weight.abs().max().item()
            assert 0.9 * bound < largest <= bound
            assert layer.bias is not None and not layer.bias.any()


# --- discriminators -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        # weights 1 2 4 8, stride 2; 3 pixels as 0 abc 00, 4 as 0 abcd 0
        ([3.0, 5.0, 7.0], [2 * 3 + 4 * 5 + 8 * 7, 5 + 2 * 7]),
        ([3.0, 5.0, 7.0, 9.0], [2 * 3 + 4 * 5 + 8 * 7, 5 + 2 * 7 + 4 * 9]),
        ([3.0], [2 * 3]),  # padded by 1 and 2
    ],
)
def test_same_padding_puts_the_odd_zero_last(pixels: list[float], expected: list[float]) -> None:
    layer = SameConv2d(1, 1, 4, 2)
    taps = torch.tensor([1.0, 2.0, 4.0, 8.0])
    with torch.no_grad():
        layer.weight[0, 0] = torch.outer(taps, torch.tensor([0.0, 1.0, 0.0, 0.0]))
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        column = torch.tensor(pixels).view(1, 1, -1, 1)
        assert layer(column).flatten().tolist() == expected  # down
        layer.weight.copy_(layer.weight.transpose(2, 3).clone())
        assert layer(column.transpose(2, 3)).flatten().tolist() == expected  # across


def sides(network: nn.Module, size: int) -> list[int]:
    """The side of the image, and of each smaller map that a convolution makes of it."""
    found = [size]

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        assert output.shape[2] == output.shape[3]
        if output.shape[2] != found[-1]:
            found.append(output.shape[2])

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    assert network.eval()(picture(2, 3, size, size)).shape == (2, 1)
    return found


def test_rescnns_discriminator_shrinks_96_pixels_to_2() -> None:
    assert sides(ResCNNDiscriminator(96, width=2), 96) == [96, 48, 24, 12, 6, 3, 2]


def test_the_other_discriminators_shrink_to_6_and_to_4_pixels() -> None:
    assert sides(SRGANDiscriminator(96, width=2), 96) == [96, 48, 24, 12, 6]
    assert sides(ESRGANDiscriminator(128, width=2), 128) == [128, 64, 32, 16, 8, 4]


@pytest.mark.parametrize("size", [24, 50, 64, 65, 100])
def test_discriminators_serve_the_size_they_are_made_for(size: int) -> None:
    sides(ResCNNDiscriminator(size, width=1, hidden=2), size)
    sides(SRGANDiscriminator(size, width=1), size)
    if size >= 32:
        sides(ESRGANDiscriminator(size, width=1), size)


@pytest.mark.parametrize(("hidden", "slope"), [(5, 0.2), (0, 0.2), (5, 0.0)])
def test_rescnns_discriminator_computes_what_figure_4_draws(hidden: int, slope: float) -> None:
    """The skip joins what blocks 7 and 10 give before their activation. At sides without odd zeros
    torch's own padding of 1 is TensorFlow's."""
    network = settle(ResCNNDiscriminator(64, width=1, hidden=hidden, slope=slope).double())
    image = picture(2, 3, 64, 64).double() * torch.tensor([1, 0.2]).view(2, 1, 1, 1)
    by = Reference(network, epsilon=1e-3)

    def halved(x: Tensor) -> Tensor:
        layer: Any = next(by.layers)
        return F.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)

    def active(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, slope * x)

    x = active(halved(255 * image / 127.5 - 1))
    for _ in range(5):
        x = active(by.norm(halved(x)))
    x = active(by.norm(by.conv(x)))
    seventh = by.norm(by.conv(x))
    x = active(by.norm(by.conv(seventh)))
    x = active(by.norm(by.conv(x)))
    tenth = by.norm(by.conv(x))
    x = active(seventh + tenth).flatten(1)
    if hidden:
        x = active(by.dense(x))
    expected = by.dense(x)
    assert next(by.layers, None) is None, "a layer that the figure does not show"
    assert abs(expected[0] - expected[1]) > 0.01 * abs(expected[0]), "it looks at the image"
    assert torch.allclose(network(image).double(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "shift", "scale"), [(SRGANDiscriminator, -1, 2), (ESRGANDiscriminator, 0, 1)]
)
def test_vgg_style_discriminators_compute_what_their_papers_draw(
    build: Callable[..., nn.Module], shift: float, scale: float
) -> None:
    """Pairs of convolutions, the second of stride 2; no batch norm after the first of all."""
    network = settle(build(64, width=4).double())
    image = picture(2, 3, 64, 64).double() * torch.tensor([1, 0.2]).view(2, 1, 1, 1)
    by = Reference(network)
    x = scale * image + shift
    for pair in range(4 if build is SRGANDiscriminator else 5):
        x = by.conv(x)
        x = F.leaky_relu(x if pair == 0 else by.norm(x), 0.2)
        layer: Any = next(by.layers)
        assert (layer.bias is None) == (build is ESRGANDiscriminator)
        x = F.leaky_relu(by.norm(F.conv2d(x, layer.weight, layer.bias, 2, 1)), 0.2)
    expected = by.dense(F.leaky_relu(by.dense(x.flatten(1)), 0.2))
    assert next(by.layers, None) is None
    assert abs(expected[0] - expected[1]) > 0.01 * abs(expected[0]), "it looks at the image"
    assert torch.allclose(network(image).double(), expected, rtol=1e-5, atol=1e-5)


# --- VGG19 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> nn.Sequential:
    """The convolutions of torchvision's VGG19, with random weights."""
    from torchvision.models import vgg19  # type: ignore[import-untyped]  # ships no types

    with torch.device("meta"):
        features: nn.Sequential = vgg19(weights=None).features
    features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(7)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.normal_(layer.bias, std=0.1, generator=generator)  # type: ignore[arg-type]
    return features


def take(network: VGG19, published: nn.Sequential) -> VGG19:
    """The same weights, by the names that torchvision's file gives them."""
    state = {f"features.{name}": value for name, value in published.state_dict().items()}
    for name, value in network.named_buffers():
        if name.startswith("features."):
            value.copy_(state[name])
    return network


def maps_of(published: nn.Sequential, x: Tensor) -> list[Tensor]:
    maps = []
    with torch.no_grad():
        for layer in published:
            x = layer(x)
            maps.append(x.clone())  # the next ReLU works in place
    return maps


ASKED = ["conv1_1", "relu1_1", "conv2_2", "pool3", "relu4_2", "conv5_4", "block5_conv4", "pool5"]
PLACES = [0, 1, 7, 18, 22, 34, 35, 36]


@pytest.mark.parametrize("normalisation", ["torchvision", "caffe"])
def test_features_are_those_of_torchvisions_network(
    published: nn.Sequential, normalisation: Any
) -> None:
    network = VGG19(ASKED, features="random", normalisation=normalisation)
    take(network, published)
    image = picture(2, 3, 35, 48)
    if normalisation == "torchvision":
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        x = (image - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    else:
        blue, green, red = 255 * image[:, 2], 255 * image[:, 1], 255 * image[:, 0]
        x = torch.stack((blue - 103.939, green - 116.779, red - 123.68), 1)
    expected = maps_of(published, x)
    got = network(image)
    assert list(got) == ASKED
    for name, place in zip(ASKED, PLACES, strict=True):
        assert torch.equal(got[name], expected[place]), name


def test_names_stand_for_torchvisions_layers(published: nn.Sequential) -> None:
    kinds = {"conv": nn.Conv2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    assert len(NAMES) == len(published) == 37
    for name, layer in zip(NAMES, published, strict=True):
        assert isinstance(layer, kinds[name[:4]]), name
    assert [layer_index(name) for name in ASKED] == PLACES
    assert layer_index("conv5_4") == 34  # ESRGAN's, in BasicSR
    # Keras' VGG19 counts its input and no ReLU: layer 20 is block5_conv4, layer 21 block5_pool
    keras = [name for name in NAMES if not name.startswith("conv")]
    assert keras[20 - 1] == "relu5_4" and keras[21 - 1] == "pool5"
    assert layer_index("block5_pool") == 36


def test_an_unknown_layer_is_told_with_the_nearest() -> None:
    with pytest.raises(BenchError, match=r"'conv5_5'\. Did you mean 'conv\d_\d'"):
        VGG19(["conv5_5"], features="random")
    with pytest.raises(BenchError, match="unknown layer"):
        layer_index("block5_conv5")


def test_nothing_is_built_behind_the_last_layer_asked_for() -> None:
    network = VGG19(["relu2_1", "conv1_2"], features="random")
    assert len(network.features) == layer_index("relu2_1") + 1


def test_nothing_can_thaw_it() -> None:
    """The training loop calls train() and requires_grad_() on whatever holds the network."""
    holder = nn.ModuleList([VGG19(["relu2_2"], features="random"), nn.Conv2d(3, 3, 1)])
    holder.train().requires_grad_(True)
    assert count(holder) == 12
    assert set(holder.state_dict()) == {"1.weight", "1.bias"}
    assert not any(value.requires_grad for value in holder[0].buffers())


def test_gradients_reach_the_image(published: nn.Sequential) -> None:
    """And are right, though some ReLUs work in place: along a direction, as finite differences."""
    network = take(VGG19(["conv1_2", "relu2_1"], features="random"), published).double()
    image = picture(1, 3, 8, 8).double().requires_grad_()

    def loss(image: Tensor) -> Tensor:
        return torch.stack([(value**2).sum() for value in network(image).values()]).sum()

    (gradient,) = torch.autograd.grad(loss(image), image)
    step = 1e-6 * picture(1, 3, 8, 8, seed=1).double()
    with torch.no_grad():
        difference = loss(image + step) - loss(image - step)
    assert difference.item() == pytest.approx(2 * (gradient * step).sum().item(), rel=1e-4)


def test_random_features_are_those_of_their_seed() -> None:
    image = picture(1, 3, 8, 8)
    one, same, other = (
        VGG19(["conv2_1"], features="random", seed=seed)(image)["conv2_1"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def publish(
    published: nn.Sequential, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Puts a file like torchvision's, of 2017's format, where `name` is looked for."""
    state = {f"features.{key}": value for key, value in published[:3].state_dict().items()}
    state["classifier.0.weight"] = torch.zeros(2, 2)
    path = folder / f"{name}.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = Weights(path.name, "https://example.org/vgg19", sha256, "BSD")
    monkeypatch.setitem(WEIGHTS, name, entry)
    monkeypatch.setenv("BENCH_WEIGHTS", str(folder))


@pytest.mark.parametrize(
    ("name", "normalisation"), [("vgg19", "torchvision"), ("vgg19_caffe", "caffe")]
)
def test_each_normalisation_loads_the_weights_trained_with_it(
    name: str,
    normalisation: Any,
    published: nn.Sequential,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(published, name, tmp_path, monkeypatch)
    network = VGG19(["conv1_2"], normalisation=normalisation)
    for index in (0, 2):
        first: Any = network.features[index]
        other: Any = published[index]
        assert torch.equal(first.weight, other.weight) and torch.equal(first.bias, other.bias)
    with torch.device("meta"):
        assert VGG19(["conv1_2"], normalisation=normalisation).mean.is_meta


def test_published_features_that_are_not_here_say_where_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BenchError, match=r"vgg19-dcbb9e9d\.pth.*random"):
        VGG19(["conv1_1"])
    with torch.device("meta"), pytest.raises(BenchError, match="vgg19"):
        VGG19(["conv1_1"])


# --- AlexNet --------------------------------------------------------------------------------------


def test_alexnets_features_are_those_of_torchvisions_network() -> None:
    from torchvision.models import alexnet

    with torch.device("meta"):
        features = alexnet(weights=None).features
    features.to_empty(device="cpu")
    weights = trunk("alex")
    state = {name.removeprefix("features."): value for name, value in weights.items()}
    features.load_state_dict(state)
    image = picture(2, 3, 70, 80)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    expected = maps_of(features, (image - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
    got = AlexNet(alexnet_names)(image)
    assert list(got) == list(alexnet_names) and len(alexnet_names) == len(features)
    for name, maps in zip(alexnet_names, expected, strict=True):
        assert torch.equal(got[name], maps), name


def test_alexnet_is_built_to_its_last_layer_and_cannot_be_thawed() -> None:
    holder = nn.ModuleList([AlexNet(["relu2"])])
    holder.train().requires_grad_(True)
    assert len(holder[0].features) == 5
    assert not list(holder.parameters()) and not holder.state_dict()
    with pytest.raises(BenchError, match=r"unknown layer of AlexNet 'relu6'\. Did you mean 'relu"):
        AlexNet(["relu6"])
    with torch.device("meta"):
        assert all(value.is_meta for value in AlexNet(["relu5"]).buffers())
