"""Training patches: aligned, turned together, and a pure function of seed and step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from kit import mapped

from bench.data.pixels import Samples
from bench.errors import BenchError
from bench.train.batches import Patches
from bench.train.pixels import TrainingPixels

CPU = torch.device("cpu")


def drawn(*sizes: tuple[int, int]) -> list[Samples]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


def enlarged(image: Samples, scale: int) -> Samples:
    """HR that is LR with every pixel repeated, so that alignment can be seen."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def make(
    images: Sequence[Samples],
    targets: Sequence[Samples] | None = None,
    scale: int = 2,
    **changes: Any,
) -> Patches:
    hr = mapped([enlarged(image, scale) for image in images])
    pixels = TrainingPixels({scale: mapped(images)}, hr, "key")
    options = {"batch": 16, "patch": 8 * scale, "seed": 0, "device": CPU, **changes}
    return Patches(pixels, targets=mapped(targets) if targets else None, **options)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_lr_and_hr_are_the_same_place_turned_the_same_way(scale: int) -> None:
    patches = make(drawn((20, 31), (9, 12)), scale=scale)
    for step in range(5):
        batch = patches.batch(step)
        assert batch.scale == scale
        repeated = batch.lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert torch.equal(repeated, batch.hr)


def test_values_layout_and_shape_are_what_training_wants() -> None:
    pairs = drawn((20, 31))
    batch = make(pairs).batch(7)
    assert batch.lr.shape == (16, 3, 8, 8) and batch.hr.shape == (16, 3, 16, 16)
    assert batch.hr.dtype == torch.float32 and batch.step == 7
    assert batch.target is batch.hr
    for tensor in (batch.lr, batch.hr):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    levels = batch.lr * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert levels.round().unique().numel() > 200 and levels.max() <= 255


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, second = (make(drawn((20, 31), (25, 12)), seed=3) for _ in range(2))
    first.batch(0)
    first.batch(1)
    assert torch.equal(first.batch(5).hr, second.batch(5).hr)
    assert not torch.equal(first.batch(5).hr, first.batch(6).hr)
    other = make(drawn((20, 31), (25, 12)), seed=4)
    assert not torch.equal(first.batch(5).hr, other.batch(5).hr)
    assert first.fingerprint == second.fingerprint != other.fingerprint


@pytest.mark.parametrize(("augment", "allowed"), [("turns", 8), ("flips", 4), ("none", 1)])
def test_the_orientations_are_drawn_equally_often(augment: str, allowed: int) -> None:
    # only one place, so batches differ by orientation alone
    patches = make(drawn((8, 8)), augment=augment)
    crops = torch.cat([patches.batch(step).lr for step in range(50)])
    original = torch.from_numpy(drawn((8, 8))[0]).permute(2, 0, 1) / 255
    flipped = [original, original.flip(2), original.flip(1), original.flip(1, 2)]
    turned = [*flipped, *(image.transpose(1, 2) for image in flipped)]
    counts = [sum(torch.equal(crop, image) for crop in crops) for image in turned]
    assert sum(counts[:allowed]) == 800 == sum(counts)
    assert all(0.6 < count * allowed / 800 < 1.4 for count in counts[:allowed])


def test_each_batch_is_of_one_of_several_scales() -> None:
    """HR is one set of images; each scale has LR of its own."""
    hr = drawn((24, 36), (36, 24))
    lr = {s: mapped([image[::s, ::s] for image in hr]) for s in (1, 2, 3)}
    pixels = TrainingPixels(lr, mapped(hr), "key")
    patches = Patches(pixels, batch=4, patch=12, seed=0, device=CPU, augment="none")
    batches = [patches.batch(step) for step in range(60)]
    for batch in batches:
        assert batch.hr.shape == (4, 3, 12, 12)
        assert torch.equal(batch.lr, batch.hr[..., :: batch.scale, :: batch.scale])
    counts = [sum(batch.scale == scale for batch in batches) for scale in (1, 2, 3)]
    assert sum(counts) == 60 and min(counts) >= 10


def test_images_are_drawn_by_area() -> None:
    flat = [np.full((h, 20, 3), v, np.uint8) for h, v in ((10, 0), (30, 255))]
    patches = make(flat)
    white = torch.cat([patches.batch(step).lr[:, 0, 0, 0] for step in range(100)])
    assert white.mean().item() == pytest.approx(0.75, abs=0.03)


def test_every_place_can_be_drawn() -> None:
    image = np.zeros((9, 10, 3), np.uint8)
    image[..., 0] = np.arange(9)[:, None]
    image[..., 1] = np.arange(10)
    patches = make([image])
    lr = torch.cat([patches.batch(step).lr for step in range(20)]) * 255
    corners = {(int(c[0].min().round()), int(c[1].min().round())) for c in lr}
    assert corners == {(y, x) for y in range(2) for x in range(3)}


def test_a_target_shares_the_crop_in_16_bits() -> None:
    pairs = drawn((20, 31), (25, 12))
    hr = [enlarged(image, 2) for image in pairs]
    batch = make(pairs, [65535 - image.astype(np.uint16) * 257 for image in hr]).batch(3)
    assert torch.allclose(batch.target, 1 - batch.hr, atol=1e-6)
    dim = [np.full(image.shape, 32769, np.uint16) for image in hr]
    assert make(pairs, dim).batch(0).target.unique().item() == pytest.approx(32769 / 65535)


def test_sixteen_bits_and_four_channels_go_in_as_eight_and_three_do() -> None:
    """A packed raw file: LR of 4 channels, every level its own value; HR twice as large."""
    rng = np.random.default_rng(0)
    lr = rng.integers(0, 65536, (9, 11, 4), dtype=np.uint16)
    hr = rng.integers(0, 65536, (18, 22, 3), dtype=np.uint16)
    pixels = TrainingPixels({2: mapped([lr])}, mapped([hr]), "key")
    batch = Patches(pixels, batch=3, patch=16, seed=0, device=CPU, augment="none").batch(0)
    assert batch.lr.shape == (3, 4, 8, 8) and batch.hr.shape == (3, 3, 16, 16)
    windows = torch.from_numpy(lr.astype(np.float32) / np.float32(65535)).unfold(0, 8, 1)
    places = windows.unfold(1, 8, 1).reshape(-1, 4, 8, 8)
    assert all(any(torch.equal(crop, place) for place in places) for crop in batch.lr)


def test_targets_of_another_size_are_our_mistake() -> None:
    pairs = drawn((20, 31))
    with pytest.raises(ValueError, match="targets of 2 images, HR has 1"):
        make(pairs, [*pairs, *pairs])


def test_an_image_smaller_than_the_patch_is_named() -> None:
    with pytest.raises(BenchError, match="patch 16 does not fit into the training images image1"):
        make(drawn((20, 31), (20, 7)))


def test_a_patch_that_the_scale_does_not_divide_is_refused() -> None:
    with pytest.raises(BenchError, match="patch 16 is not a multiple of the scale, 3"):
        make(drawn((20, 31)), scale=3, patch=16)
