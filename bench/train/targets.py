"""What a stage learns to produce instead of the originals: made once, kept as one file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.sets import Pair
from bench.method.contract import Stage, to_tensor
from bench.method.tiles import WHOLE, in_tiles

FILE = "targets.u16"
"""(pixels, 3): all images one behind the other, row by row. 8 bits would drown small changes."""


@torch.no_grad()
def write_targets(stage: Stage, pairs: Sequence[Pair], folder: Path, device: torch.device) -> None:
    """Writes each image's target, in the order of the pairs.

    Small images of one size go through the stage's target together, large ones in tiles if it has
    a `target_halo`: memory is bounded by one batch, whatever the size of the set. Raises ValueError
    for a target that is not of its image's size.
    """
    assert stage.target is not None
    with open(folder / FILE, "wb") as file:
        for hr in _batches(pairs, device):
            made = in_tiles(stage.target, hr, stage.target_halo)
            if made.shape != hr.shape:
                sizes = tuple(hr.shape), tuple(made.shape)
                raise ValueError(f"stage {stage.name}: target of {sizes[0]} is {sizes[1]}")
            pixels = (made.clamp(0, 1) * 65535).round().permute(0, 2, 3, 1)
            file.write(pixels.cpu().numpy().astype(np.uint16).tobytes())


def read_targets(folder: Path) -> NDArray[np.uint16]:
    """Returns the pixels `(pixels, 3)`, mapped from the file: read as they are used, and shared
    with other processes."""
    # copied where written to, which nobody does; of a read-only map torch would warn
    return np.memmap(folder / FILE, np.uint16, mode="c").reshape(-1, 3)


def _batches(pairs: Sequence[Pair], device: torch.device) -> Iterator[Tensor]:
    """The images `(N, 3, H, W)`, as many neighbours of one size as make WHOLE x WHOLE pixels."""
    images: list[Tensor] = []
    for pair in pairs:
        image = to_tensor(pair.hr(), device)
        pixels = (len(images) + 1) * image[0, 0].numel()
        if images and (image.shape != images[0].shape or pixels > WHOLE * WHOLE):
            yield _stacked(images)
            images = []
        images.append(image)
    if images:
        yield _stacked(images)


def _stacked(images: list[Tensor]) -> Tensor:
    return torch.cat(images).contiguous(memory_format=torch.channels_last)
