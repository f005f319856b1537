"""LPIPS against the package lpips on the same random backbone: its real weights are large."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from bench.data.images import read_image
from bench.data.weights import why_not
from bench.measure.metrics import Scorer, Unscorable, lpips
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


@pytest.mark.parametrize("net", FILES)
def test_without_its_backbone_it_says_where_to_get_it(
    net: Net, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    why = lpips.unavailable(net)
    assert why is not None and FILES[net] in why and "https://download.pytorch.org" in why


@pytest.mark.parametrize("net", FILES)
def test_another_file_in_the_backbones_place_is_refused(
    net: Net, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub/checkpoints" / FILES[net]
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


@pytest.fixture
def alexnet(weights_root: Path) -> Scorer:
    if why := why_not("alexnet"):
        pytest.skip(why)
    return lpips.scorer("cpu", "alex")


@pytest.mark.data
@pytest.mark.parametrize(("name", "official"), [("I04", 0.2572), ("I06", 0.0508)])
def test_lpips_is_the_authors_value(
    alexnet: Scorer, reference_root: Path, name: str, official: float
) -> None:
    pair = (
        read_image(reference_root / f"tid2013/{s}/{name}.bmp") for s in ("distorted", "reference")
    )
    assert alexnet(*pair, protocol("full@1"), 1) == pytest.approx(official, abs=1e-4)
