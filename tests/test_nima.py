"""NIMA against hand-worked distances, Pillow's JPEG, and photographs it never saw."""

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from torch import Tensor

from bench.api import prepare_method
from bench.data.roots import paths_from
from bench.errors import BenchError
from bench.measure.metrics import metric, pyiqa
from bench.measure.protocol import protocol
from bench.method import Batch
from bench.study.fields import TrainSection
from methods.data.distortions import DISTORTIONS, compress, distort
from methods.data.make_nima_photos import RECIPE, SEED, make
from methods.metrics.nima import PHOTOS, Weights, chosen, find_assessor
from methods.metrics.nima_networks import (
    load_assessor,
    load_checkpoint,
    load_nima,
    score_whole,
)
from methods.networks.trunks import TRUNKS
from methods.nima import NIMA, emd, spearman, taught_marks


def _tensor(pixels: np.ndarray) -> Tensor:
    colour = np.stack([pixels] * 3, 2) if pixels.ndim == 2 else pixels
    return torch.from_numpy(colour.copy()).permute(2, 0, 1).float() / 255


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


@pytest.fixture(scope="module")
def astronaut() -> Tensor:
    return _tensor(photographs.astronaut()[:200, 100:340])


@pytest.fixture
def assessor() -> NIMA:
    torch.manual_seed(0)
    return NIMA().eval()


def test_emd_of_one_mark_apart_is_the_root_of_a_tenth() -> None:
    # All votes on mark 3 against all on mark 4: the CDFs differ by 1 in one of ten bins.
    p, q = torch.eye(10)[2:3], torch.eye(10)[3:4]
    assert emd(p, q).item() == pytest.approx(0.1**0.5)
    assert emd(p, q, l=1).item() == pytest.approx(0.1)


def test_emd_of_half_the_votes_is_per_sample() -> None:
    # Half of the votes move from mark 1 to mark 10: the CDFs differ by 1/2 in nine bins.
    p, q = torch.eye(10)[:1], (torch.eye(10)[:1] + torch.eye(10)[9:]) / 2
    both = emd(torch.cat((p, p)), torch.cat((q, p)))
    assert both.tolist() == pytest.approx([(0.25 * 9 / 10) ** 0.5, 0.0], abs=2e-6)


def test_emd_of_equal_distributions_has_a_finite_gradient() -> None:
    p = torch.full((1, 10), 0.1, requires_grad=True)
    emd(p, torch.full((1, 10), 0.1)).sum().backward()
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()


def test_mnasnet_trunk_has_the_papers_parameter_count() -> None:
    assert sum(p.numel() for p in NIMA(trunk="mnasnet").parameters()) == 3_115_122


@pytest.mark.parametrize("trunk", ["compact", "mnasnet"])
@pytest.mark.parametrize("size", [(48, 48), (67, 101)])
def test_distribution_sums_to_one_and_the_gradient_reaches_the_image(
    trunk: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    assessor = NIMA(trunk=trunk).eval().requires_grad_(False)
    image = torch.rand(2, 3, *size, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert assessor(image).sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
        score = assessor.score(image)
    assert ((score >= 1) & (score <= 10)).all()
    score.sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert (image.grad.abs().amax((1, 2, 3)) > 0).all()


def test_taught_marks_fall_from_eight_to_two() -> None:
    marks = taught_marks(torch.tensor([0.0, 0.5, 1.0]))
    assert marks.sum(1).tolist() == pytest.approx([1, 1, 1])
    # The bins end at 1 and 10, so the cut tails move the outer means inwards.
    means = (marks * torch.arange(1, 11)).sum(1)
    assert means.tolist() == pytest.approx([8, 5, 2], abs=0.4)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_distortion_is_the_identity_at_0_and_grows(kind: str, astronaut: Tensor) -> None:
    pair = astronaut[None].expand(2, -1, -1, -1)
    levels = [
        DISTORTIONS[kind](pair, torch.full((2,), level), torch.Generator().manual_seed(0))
        for level in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert (levels[0] - pair).abs().max() < 2e-6
    assert all(level.min() >= 0 and level.max() <= 1 for level in levels)
    for member in range(2):
        fidelity = [_psnr(level[member], astronaut) for level in levels[1:]]
        assert fidelity == sorted(fidelity, reverse=True)


def test_severities_of_a_batch_are_independent(astronaut: Tensor) -> None:
    severity = torch.tensor([0.0, 0.3, 0.9])
    batch = astronaut[None].expand(3, -1, -1, -1)
    for kind in ("blur", "jpeg", "down_up"):
        together = DISTORTIONS[kind](batch, severity, torch.Generator())
        for one, value in zip(together, severity, strict=True):
            alone = DISTORTIONS[kind](astronaut[None], value[None], torch.Generator())[0]
            assert _psnr(one, alone) > 60


@pytest.mark.parametrize("quality", [8, 30, 50, 90])
def test_jpeg_agrees_with_pillow(quality: int) -> None:
    pixels = photographs.astronaut()[:203, 100:337]  # no multiple of 8
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    ours = compress(_tensor(pixels)[None], torch.tensor([float(quality)]))[0]
    assert _psnr(ours, _tensor(np.asarray(Image.open(file)))) > 44


def test_kinds_take_turns_along_the_batch(astronaut: Tensor) -> None:
    batch = astronaut[None, :, :64, :64].expand(7, -1, -1, -1)
    severity = torch.full((7,), 0.5)
    kinds = [*DISTORTIONS, *DISTORTIONS]
    out = distort(batch, severity, torch.Generator().manual_seed(0), first=3)
    for index in (0, 2, 5):  # down_up, blur, down_up
        alone = DISTORTIONS[kinds[(3 + index) % 5]](batch[:1], severity[:1], torch.Generator())
        assert torch.allclose(out[index], alone[0], atol=1e-5)


def test_training_step_is_a_function_of_seed_and_step(assessor: NIMA) -> None:
    (stage,) = assessor.stages()
    hr = torch.rand(10, 3, 48, 48, generator=torch.Generator().manual_seed(0))

    def loss(step: int) -> float:
        losses = dict(assessor.training_step(Batch(hr, hr, hr, step), stage))
        return losses["loss"].item()

    assert loss(3) == loss(3)
    assert loss(3) != loss(4)


def test_gray_images_score_like_three_equal_channels(assessor: NIMA) -> None:
    measure = score_whole(assessor)
    gray = photographs.camera()[:120, :130]
    assert measure(gray, None, None, 2) == measure(np.stack([gray] * 3, 2), None, None, 2)


def test_bands_of_a_large_image_score_as_the_whole(
    assessor: NIMA, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photographs.chelsea()[:281, :203]
    whole = assessor.score(_tensor(image)[None]).item()
    assert score_whole(assessor)(image, None, None, 1) == pytest.approx(whole, abs=1e-5)
    monkeypatch.setattr("methods.metrics.nima_networks.BAND", 203 * 64)
    assert score_whole(assessor)(image, None, None, 1) == pytest.approx(whole, abs=1e-5)


def test_spearman_shares_the_rank_of_ties() -> None:
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / sqrt(4.5 * 5).
    values = np.array([1, 5, 5, 9]), np.array([1, 2, 3, 4])
    assert spearman(*values) == pytest.approx(4.5 / 22.5**0.5)
    assert spearman(np.array([2, 2, 2]), np.array([1, 2, 3])) == 0


def test_a_short_training_ranks_distortions_and_leaves_weights_with_notes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A fraction of the recipe's updates and pixels: tone, learned last, is not yet asked for."""
    monkeypatch.setattr("methods.nima.UNSEEN", ("photos_val",))
    file = make(tmp_path, RECIPE.model_copy(update={"steps": 120, "patch": 64, "batch": 10}))
    notes = json.loads(file.with_suffix(".json").read_text())
    assert notes["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert notes["recipe"]["steps"] == 120
    found = notes["examination"]
    assert min(found[kind] for kind in ("blur", "noise", "jpeg", "down_up")) >= 0.6, found
    load_nima(Weights("nima@photos", file))


# --- nima@photos, as it ships ---------------------------------------------------------------------

EXAMINATION = "mean rank correlation with severity on 6 unseen photographs"


@pytest.fixture(scope="module")
def notes() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PHOTOS.with_suffix(".json").read_text())
    return found


def test_the_file_is_the_one_that_its_notes_describe_and_small(notes: dict[str, Any]) -> None:
    content = PHOTOS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == notes["sha256"]
    assert len(content) + PHOTOS.with_suffix(".json").stat().st_size <= 600_000
    recipe = dict(notes["recipe"])
    assert recipe.pop("seed") == SEED
    assert TrainSection(**recipe) == RECIPE, "the recipe is what `make` follows"


def test_the_examination_is_what_the_weights_give(notes: dict[str, Any], place: Path) -> None:
    assert load_nima(chosen()).examine() == pytest.approx(notes["examination"], abs=1e-3)
    assert notes["examination"][EXAMINATION] > 0.95


def test_the_metric_names_what_ships(notes: dict[str, Any], place: Path) -> None:
    facts = metric("nima")
    assert facts.label() == "nima@photos"
    assert facts.identity() == f"nima@photos v1 {notes['sha256'][:16]}"
    assert facts.examination() == notes["examination"]
    assert facts.unavailable() is None


def test_what_gives_marks_restores_nothing() -> None:
    with pytest.raises(BenchError, match="gives marks, not images"):
        prepare_method("methods.nima.NIMA", {}, None)


def test_blur_costs_marks(place: Path) -> None:
    image = photographs.chelsea()
    blurred = np.asarray(Image.fromarray(image).resize((113, 75)).resize(image.shape[1::-1]))
    score, rules = metric("nima").load("cpu"), protocol("sr-y@1")
    assert float(score(image, None, rules, 2)) > float(score(blurred, None, rules, 2)) + 1


def test_the_assessor_is_frozen_and_comes_where_new_tensors_are_only_described() -> None:
    with torch.device("meta"):
        assessor = load_nima(Weights("nima@photos", PHOTOS))
    assert not assessor.training
    assert all(not p.requires_grad and p.device.type == "cpu" for p in assessor.parameters())


# --- trained on AVA -------------------------------------------------------------------------------


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the user's checkpoint belongs; there is none, nor pyiqa's."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "weights/nima"
    folder.mkdir(parents=True)
    return folder / "mnasnet_ava.pth"


@pytest.fixture(scope="module")
def mnasnet() -> torch.nn.Module:
    """torchvision's network with ten outputs, far enough from the start to tell images apart."""
    from torchvision.models import mnasnet1_0

    torch.manual_seed(0)
    network = mnasnet1_0(num_classes=10)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches, here one
    with torch.no_grad():
        network(torch.randn(8, 3, 224, 224))
        network.classifier[1].weight *= 0.2
    return network.eval()


def _names_of_nima(key: str) -> str:
    return re.sub(r"^layers\.", "trunk.", key).replace("classifier.1.", "head.")


def _names_of_nima_pytorch(key: str) -> str:
    return re.sub(r"^layers\.", "base_model.0.", key).replace("classifier.1.", "head.2.")


@pytest.mark.parametrize("rename", [str, _names_of_nima, _names_of_nima_pytorch])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_is_understood_however_it_was_saved(
    mnasnet: torch.nn.Module, place: Path, rename: Callable[[str], str], wrapped: bool
) -> None:
    state = {rename(key): value for key, value in mnasnet.state_dict().items()}
    if wrapped:
        names = {f"module.{k}": v for k, v in state.items() if "num_batches" not in k}
        state = {"state_dict": names, "epoch": 25}
    torch.save(state, place)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    with torch.no_grad():
        expected = mnasnet((image - mean) / std).softmax(1)
        assert torch.allclose(load_checkpoint(place)(image), expected, atol=1e-5)


def test_avas_assessor_sees_the_whole_picture_at_224(mnasnet: torch.nn.Module, place: Path) -> None:
    """Pillow's own resizing, as nima.pytorch evaluates, but for its rounding to whole levels."""
    torch.save(mnasnet.state_dict(), place)
    assert chosen().name == metric("nima").label() == "nima@ava-mnasnet"
    measure = metric("nima").load("cpu")
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    scores = []
    for pixels in (photographs.chelsea(), photographs.astronaut()[:300], photographs.camera()):
        planes = (_tensor(pixels) * 255).numpy()
        small = np.stack([Image.fromarray(p).resize((224, 224), Image.BILINEAR) for p in planes])
        with torch.no_grad():
            marks = mnasnet((torch.from_numpy(small)[None] / 255 - mean) / std).softmax(1)[0]
        scores.append(measure(pixels, None, protocol("sr-y@1"), 4))
        assert scores[-1] == pytest.approx(float(marks @ torch.arange(1.0, 11)), abs=1e-3)
    assert max(scores) - min(scores) > 0.1


def test_the_identity_of_avas_assessor_is_its_file(mnasnet: torch.nn.Module, place: Path) -> None:
    assert chosen().name == "nima@photos"
    torch.save(mnasnet.state_dict(), place)
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    assert metric("nima").identity() == f"nima@ava-mnasnet {digest[:16]}"
    assert metric("nima").examination() == {}


def test_the_users_checkpoint_comes_before_pyiqas(mnasnet: torch.nn.Module, place: Path) -> None:
    theirs = pyiqa.cache_folder() / "NIMA_InceptionV2_ava-b0c77c00.pth"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"weights")
    assert chosen() == Weights("nima@ava-pyiqa", theirs)
    assert chosen(differentiable=True).name == "nima@photos"
    place.write_bytes(b"weights")
    assert chosen() == chosen(differentiable=True) == Weights("nima@ava-mnasnet", place)


def test_a_checkpoint_that_does_not_fit_is_refused_with_the_first_name(
    mnasnet: torch.nn.Module, place: Path
) -> None:
    state = mnasnet.state_dict()
    cases = {
        "'trunk.0.weight' is lacking": {k: v for k, v in state.items() if k != "layers.0.weight"},
        "'extra.0.weight' is no part of it": {"extra.0.weight": torch.zeros(1), **state},
        r"'head.weight' is \(1000, 1280\), not \(10, 1280\)": {
            **state, "classifier.1.weight": torch.zeros(1000, 1280)
        },
        "'head.bias' is .'not a tensor',.": {**state, "classifier.1.bias": 3},
    }  # fmt: skip
    for message, wrong in cases.items():
        torch.save(wrong, place)
        with pytest.raises(BenchError, match=message):
            load_checkpoint(place)
    torch.save([1, 2], place)
    with pytest.raises(BenchError, match="holds a list"):
        load_checkpoint(place)
    place.write_bytes(b"not a checkpoint")
    with pytest.raises(BenchError, match=r"mnasnet_ava\.pth: not a state dict that torch can read"):
        load_checkpoint(place)


# --- which assessor a loss asks for ---------------------------------------------------------------


def test_assessors_go_by_name_and_by_path(mnasnet: torch.nn.Module, place: Path) -> None:
    assert find_assessor("nima") == find_assessor("nima@photos") == chosen()
    torch.save(mnasnet.state_dict(), place)
    assert (
        find_assessor("nima").name == find_assessor("nima@ava-mnasnet").name == "nima@ava-mnasnet"
    )
    assert find_assessor("nima@photos").name == "nima@photos"
    with paths_from(str(place.parent)):
        own = find_assessor("./mnasnet_ava.pth")
    assert isinstance(own, Weights) and own.path == place and own.name == "./mnasnet_ava.pth"
    assert isinstance(load_assessor(own), NIMA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nima@foto", "unknown assessor 'nima@foto'. Did you mean 'nima@photos'?"),
        ("nima@ava-mnasnet", "nima/mnasnet_ava.pth. Put your checkpoint there."),
        ("pyiqa:nima", "assessor pyiqa:nima: "),
        ("./gone.pth", "gone.pth: no such file."),
    ],
)
def test_an_assessor_that_is_not_here_is_one_message(place: Path, text: str, message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        find_assessor(text)


def test_pyiqas_network_gives_a_loss_marks_and_gradients(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Published(torch.nn.Module):
        """As pyiqa's: the mean mark of each picture, `(N, 1)`."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.layer(image.mean((2, 3)))

    monkeypatch.setattr(pyiqa, "unavailable", lambda name: None)
    built = SimpleNamespace(net=Published())
    monkeypatch.setattr(pyiqa, "_build_offline", lambda name, device: built)
    theirs = load_assessor(Weights("nima@ava-pyiqa", place))
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    theirs.score(image).mean().backward()
    assert theirs.score(image).shape == (2,) and image.grad is not None and image.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in theirs.parameters())


@pytest.mark.parametrize("trunk", ["mnasnet", "mobilenet_v2", "vgg16"])
def test_trunks_are_torchvisions_networks(trunk: str) -> None:
    """On the same weights the same features, so that ImageNet's weights are what they were."""
    from torchvision import models

    theirs = {
        "mnasnet": lambda: models.mnasnet1_0().layers,
        "mobilenet_v2": lambda: models.mobilenet_v2().features,
        "vgg16": lambda: models.vgg16().features,
    }[trunk]().eval()
    ours, channels = TRUNKS[trunk](1.0)
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 70, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = ours.eval()(image)
        assert torch.equal(features, theirs(image)) and features.shape[1] == channels


@pytest.mark.parametrize(
    ("trunk", "of_trunk", "of_head"),
    [("mnasnet", 3_102_312, 12_810), ("mobilenet_v2", 2_223_872, 12_810),
     ("vgg16", 14_714_688, 5_130)],
)  # fmt: skip
def test_parameters_of_trunk_and_head(trunk: Any, of_trunk: int, of_head: int) -> None:
    with torch.device("meta"):
        nima = NIMA(trunk=trunk)
    assert sum(p.numel() for p in nima.trunk.parameters()) == of_trunk
    assert sum(p.numel() for p in nima.head.parameters()) == of_head
