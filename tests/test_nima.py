"""NIMA against hand-worked distances, Pillow's JPEG, and photographs it never saw."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from torch import Tensor

from bench.method import Batch
from bench.metrics.distortions import DISTORTIONS, compress, distort
from bench.metrics.nima import NIMA, emd, rank_correlations, scorer, spearman, taught_marks
from bench.patches import Patches
from bench.sets import load_pairs


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
    measure = scorer(assessor, "cpu")
    gray = photographs.camera()[:120, :130]
    assert measure(gray, None, None, 2) == measure(np.stack([gray] * 3, 2), None, None, 2)


def test_bands_of_a_large_image_score_as_the_whole(
    assessor: NIMA, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photographs.chelsea()[:281, :203]
    whole = assessor.score(_tensor(image)[None]).item()
    assert scorer(assessor, "cpu")(image, None, None, 1) == pytest.approx(whole, abs=1e-5)
    monkeypatch.setattr("bench.metrics.nima.BAND", 203 * 64)
    assert scorer(assessor, "cpu")(image, None, None, 1) == pytest.approx(whole, abs=1e-5)


def test_spearman_shares_the_rank_of_ties() -> None:
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / sqrt(4.5 * 5).
    values = np.array([1, 5, 5, 9]), np.array([1, 2, 3, 4])
    assert spearman(*values) == pytest.approx(4.5 / 22.5**0.5)
    assert spearman(np.array([2, 2, 2]), np.array([1, 2, 3])) == 0


def test_short_training_ranks_distortions_of_unseen_photographs() -> None:
    """A quarter of the stage's steps, smaller patches: tone, learned last, is not yet asked for."""
    torch.manual_seed(0)
    patches = Patches(load_pairs("photos_train", 1, "none"))
    assessor = NIMA().train()
    (stage,) = assessor.stages()
    optimizer = torch.optim.Adam(assessor.parameters(), 1e-3)
    for step in range(280):
        batch = patches.batch(step, 10, 64, 1, seed=0, device=torch.device("cpu"))
        loss = dict(assessor.training_step(batch, stage))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = [_tensor(pair.hr()[:256, 100:356]) for pair in load_pairs("photos_test", 1, "none")]
    found = rank_correlations(assessor, unseen)
    assert min(found[kind] for kind in ("blur", "noise", "jpeg", "down_up")) >= 0.6, found
