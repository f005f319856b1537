"""Training patches: aligned, turned together, and a pure function of seed and step."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from bench.data.pixels import Image
from bench.errors import BenchError
from bench.method import Batch
from bench.train.patches import Patches

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Drawn:
    """A pair whose HR is LR with every pixel repeated, so that alignment can be seen."""

    stem: str
    image: Image
    scale: int

    def lr(self) -> Image:
        return self.image

    def hr(self) -> Image:
        return self.image.repeat(self.scale, axis=0).repeat(self.scale, axis=1)


def drawn(*sizes: tuple[int, int], scale: int = 2) -> list[Drawn]:
    rng = np.random.default_rng(0)
    return [
        Drawn(f"image{i}", rng.integers(0, 256, (h, w, 3), dtype=np.uint8), scale)
        for i, (h, w) in enumerate(sizes)
    ]


def make(pairs: list[Drawn], targets: list[np.ndarray] | None = None) -> Patches:
    pixels = None if targets is None else np.concatenate([t.reshape(-1, 3) for t in targets])
    return Patches(pairs, pixels)  # type: ignore[arg-type]  # stands for bench.data.sets.Pair


def draw(patches: Patches, step: int = 0, size: int = 16, seed: int = 0, scale: int = 2) -> Batch:
    return patches.batch(step, size, 8 * scale, scale, seed=seed, device=CPU)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_lr_and_hr_are_the_same_place_turned_the_same_way(scale: int) -> None:
    patches = make(drawn((20, 31), (9, 12), scale=scale))
    for step in range(5):
        batch = draw(patches, step, scale=scale)
        repeated = batch.lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert torch.equal(repeated, batch.hr)


def test_values_layout_and_shape_are_what_training_wants() -> None:
    pairs = drawn((20, 31))
    batch = draw(make(pairs), step=7)
    assert batch.lr.shape == (16, 3, 8, 8) and batch.hr.shape == (16, 3, 16, 16)
    assert batch.hr.dtype == torch.float32 and batch.step == 7
    assert batch.target is batch.hr
    for tensor in (batch.lr, batch.hr):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    levels = batch.lr * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert levels.round().unique().numel() > 200 and levels.max() <= 255


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, second = make(drawn((20, 31), (25, 12))), make(drawn((20, 31), (25, 12)))
    draw(first, 0)
    draw(first, 1)
    assert torch.equal(draw(first, 5, seed=3).hr, draw(second, 5, seed=3).hr)
    assert not torch.equal(draw(first, 5).hr, draw(first, 6).hr)
    assert not torch.equal(draw(first, 5, seed=3).hr, draw(first, 5, seed=4).hr)


def test_all_eight_orientations_are_drawn_equally_often() -> None:
    patches = make(drawn((8, 8)))  # only one place, so batches differ by orientation alone
    crops = torch.cat([draw(patches, step).lr for step in range(50)])
    original = torch.from_numpy(drawn((8, 8))[0].image).permute(2, 0, 1) / 255
    turned = [
        torch.rot90(image, k, (1, 2)) for image in (original, original.flip(2)) for k in range(4)
    ]
    counts = [sum(torch.equal(crop, image) for crop in crops) for image in turned]
    assert sum(counts) == 800
    assert all(60 < count < 140 for count in counts)


def test_images_are_drawn_by_area() -> None:
    flat = [np.full((h, 20, 3), v, np.uint8) for h, v in ((10, 0), (30, 255))]
    patches = make([Drawn(str(i), image, 2) for i, image in enumerate(flat)])
    white = torch.cat([draw(patches, step).lr[:, 0, 0, 0] for step in range(100)])
    assert white.mean().item() == pytest.approx(0.75, abs=0.03)


def test_every_place_can_be_drawn() -> None:
    image = np.zeros((9, 10, 3), np.uint8)
    image[..., 0] = np.arange(9)[:, None]
    image[..., 1] = np.arange(10)
    patches = make([Drawn("a", image, 2)])
    lr = torch.cat([draw(patches, step).lr for step in range(20)]) * 255
    corners = {(int(c[0].min().round()), int(c[1].min().round())) for c in lr}
    assert corners == {(y, x) for y in range(2) for x in range(3)}


def test_a_target_shares_the_crop_in_16_bits() -> None:
    pairs = drawn((20, 31), (25, 12))
    targets = [65535 - pair.hr().astype(np.uint16) * 257 for pair in pairs]
    batch = draw(make(pairs, targets), 3)
    assert torch.allclose(batch.target, 1 - batch.hr, atol=1e-6)
    dim = [np.full(pair.hr().shape, 32769, np.uint16) for pair in pairs]
    assert draw(make(pairs, dim)).target.unique().item() == pytest.approx(32769 / 65535)


def test_targets_of_another_size_are_our_mistake() -> None:
    pairs = drawn((20, 31))
    with pytest.raises(ValueError, match="targets have 620 pixels, HR has 2480"):
        make(pairs, [pairs[0].lr()])


def test_a_gray_image_gets_three_equal_channels() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    batch = draw(make([Drawn("gray", gray, 2)]))
    assert torch.equal(batch.hr[:, 0], batch.hr[:, 2])


def test_an_image_smaller_than_the_patch_is_named() -> None:
    with pytest.raises(BenchError, match="patch 16 does not fit into the training images image1"):
        draw(make(drawn((20, 31), (20, 7))))


def test_a_patch_that_the_scale_does_not_divide_is_refused() -> None:
    with pytest.raises(BenchError, match="patch 16 is not a multiple of the scale, 3"):
        make(drawn((20, 31), scale=3)).batch(0, 4, 16, 3, seed=0, device=CPU)
