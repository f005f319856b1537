"""Targets of a stage: made in bounded batches and tiles, stored as one file, mapped when read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.method import Stage
from bench.train.targets import read_targets, write_targets

CPU = torch.device("cpu")


@dataclass
class Drawn:
    """Stands for bench.data.sets.Pair."""

    image: np.ndarray

    def hr(self) -> np.ndarray:
        return self.image


def drawn(*sizes: tuple[int, int]) -> list[Drawn]:
    rng = np.random.default_rng(0)
    return [Drawn(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def write(stage: Stage, pairs: list[Drawn], folder: Path) -> np.ndarray:
    write_targets(stage, pairs, folder, CPU)  # type: ignore[arg-type]
    return read_targets(folder)


def blur(image: Tensor) -> Tensor:
    """Reaches one pixel."""
    taps = torch.full((3, 1, 3, 3), 1 / 9)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), taps, groups=3)


def test_small_images_of_one_size_go_together_and_keep_their_order(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def negative(hr: Tensor) -> Tensor:
        seen.append(tuple(hr.shape))
        return 1 - hr

    pairs = drawn((200, 200), (200, 200), (200, 200), (200, 200), (200, 200), (10, 30), (200, 200))
    stored = write(Stage("n", target=negative), pairs, tmp_path)
    # four of 200x200 make 400x400 pixels, which is a batch
    assert seen == [(4, 3, 200, 200), (1, 3, 200, 200), (1, 3, 10, 30), (1, 3, 200, 200)]
    expected = np.concatenate([pair.image.reshape(-1, 3) for pair in pairs]).astype(int)
    assert np.array_equal(stored, 257 * (255 - expected))


def test_a_large_image_is_made_in_tiles_that_show_no_seams(tmp_path: Path) -> None:
    widest: list[int] = []

    def watched(hr: Tensor) -> Tensor:
        widest.append(max(hr.shape[-2:]))
        return blur(hr)

    (pair,) = pairs = drawn((300, 700))
    stored = write(Stage("b", target=watched, target_halo=1), pairs, tmp_path)
    assert max(widest) == 258 and len(widest) == 6
    tensor = torch.from_numpy(pair.image).permute(2, 0, 1)[None] / 255
    whole = blur(tensor)[0].permute(1, 2, 0).reshape(-1, 3)
    assert np.abs(stored / 65535 - whole.numpy()).max() < 1e-5

    widest.clear()
    write(Stage("b", target=watched), pairs, tmp_path)
    assert widest == [700], "without a halo the target must see the whole image"


def test_targets_are_mapped_not_read(tmp_path: Path) -> None:
    stored = write(Stage("same", target=lambda hr: hr), drawn((8, 8)), tmp_path)
    assert isinstance(stored, np.memmap)


def test_a_target_of_another_size_is_refused(tmp_path: Path) -> None:
    stage = Stage("cut", target=lambda hr: hr[..., 1:])
    with pytest.raises(ValueError, match=r"stage cut: target of .*8, 9.* is .*8, 8"):
        write(stage, drawn((8, 9)), tmp_path)
