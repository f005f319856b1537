"""NIQE and LPIPS: official values, and what cannot be scored."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.images import read_image
from bench.metrics import METRICS, Scorer, Unscorable, lpips
from bench.protocol import protocol


@pytest.fixture
def niqe(weights_root: Path) -> Scorer:
    assert weights_root
    return METRICS["niqe"].load("cpu", None)


@pytest.mark.data
@pytest.mark.parametrize(("name", "official"), [("I04", 3.65492152), ("I06", 3.23547744)])
def test_niqe_is_the_authors_matlab_value(
    niqe: Scorer, reference_root: Path, name: str, official: float
) -> None:
    image = read_image(reference_root / f"tid2013/distorted/{name}.bmp")
    assert niqe(image, None, protocol("full@1"), 1) == pytest.approx(official, rel=1e-4)


@pytest.mark.data
def test_niqe_of_baboon_is_basicsrs_matlab_value(niqe: Scorer, data_root: Path) -> None:
    image = read_image(data_root / "Set14/HR/img_001.png")
    value = niqe(image, None, protocol("sr-y@1"), 0)  # its Y, without a border
    assert value == pytest.approx(5.72957, abs=2e-5)


@pytest.mark.data
def test_small_and_flat_images_are_unscorable(niqe: Scorer) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (99, 300, 3), dtype=np.uint8)
    with pytest.raises(Unscorable, match="two blocks of 96x96"):
        niqe(small, None, protocol("sr-y@1"), 2)
    with pytest.raises(Unscorable, match="texture"):
        niqe(np.full((200, 200, 3), 9, np.uint8), None, protocol("full@1"), 1)


@pytest.mark.data
def test_a_flat_sky_leaves_the_other_blocks_to_score(niqe: Scorer) -> None:
    image = np.random.default_rng(0).integers(0, 256, (288, 192, 3), dtype=np.uint8)
    image[:120] = 200
    assert np.isfinite(niqe(image, None, protocol("full@1"), 1))


def test_without_its_parameters_niqe_says_where_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    why = METRICS["niqe"].unavailable()
    assert why is not None and "niqe_pris_params.npz" in why and "https://" in why


def test_lpips_without_its_backbone_says_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    why = METRICS["lpips"].unavailable()
    assert why is not None and "alexnet-owt-7be5be79.pth" in why


@pytest.mark.filterwarnings("ignore::UserWarning")  # torchvision on lpips's old arguments
def test_lpips_puts_the_backbone_where_the_package_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torchvision
    from lpips import LPIPS

    torch.manual_seed(0)
    alexnet = torchvision.models.alexnet()
    torch.save(alexnet.state_dict(), tmp_path / "alexnet.pth")
    monkeypatch.setattr(lpips, "find", lambda *_: tmp_path / "alexnet.pth")
    score = METRICS["lpips"].load("cpu", None)

    package = LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    features = dict(alexnet.features.named_parameters())
    for number, layer in enumerate(("0", "3", "6", "8", "10"), start=1):
        part = getattr(package.net, f"slice{number}")
        getattr(part, layer).load_state_dict(
            {kind: features[f"{layer}.{kind}"] for kind in ("weight", "bias")}
        )
    rng = np.random.default_rng(0)
    sr, hr = rng.integers(0, 256, (2, 64, 70, 3), dtype=np.uint8)
    first, second = (
        torch.from_numpy(image).permute(2, 0, 1)[None] / 255 * 2 - 1 for image in (sr, hr)
    )
    expected = package(first, second).item()
    assert score(sr, hr, protocol("sr-y@1"), 4) == pytest.approx(expected, rel=1e-5)
    assert score(hr, hr, protocol("full@1"), 1) == 0
    with pytest.raises(Unscorable, match="31 pixels"):
        score(sr[:30], hr[:30], protocol("full@1"), 1)
