"""What a stage learns to produce instead of the originals: made once, shared, dropped after use."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data.mapped import Mapped, read_mapped, write_mapped
from bench.data.pixels import Samples
from bench.method.contract import Stage
from bench.method.precision import ieee_fp32
from bench.method.tiles import WHOLE, in_tiles
from bench.records.store import Store


@contextmanager
def opened_targets(
    store: Store, key: str, stage: Stage, hr: Mapped, device: torch.device, stride: int
) -> Iterator[Mapped]:
    """Yields a stage's targets, made if the store has none; meanwhile nobody drops them."""
    while True:
        with store.use("targets", key) as folder:
            if folder is not None:
                yield read_mapped(folder)
                return
        with store.lock("targets", key, lambda holder: None):
            if not store.has("targets", key):
                store.commit(
                    "targets", key, lambda folder: write_targets(stage, hr, folder, device, stride)
                )


def drop_targets(store: Store, keys: Iterable[str]) -> list[str]:
    """Removes targets, but for those that a training uses now; returns the keys of the removed.

    "" stands for none. A target that is wanted again is made again.
    """
    return [key for key in keys if key and store.drop("targets", key)]


@torch.no_grad()
@ieee_fp32()
def write_targets(
    stage: Stage, hr: Mapped, folder: Path, device: torch.device, stride: int = 1
) -> None:
    """Writes the target of each image, 16 bits: 8 would drown small changes.

    Small images of one size go through the stage's target together, large ones in tiles if it has
    a `target_halo`: memory is bounded by one batch, whatever the size of the set. stride: sizes
    that the target takes are multiples of it. Raises ValueError for a target that is not of its
    image's size.
    """
    assert stage.target is not None
    function = stage.target

    def made() -> Iterator[Samples]:
        for images in _batches(hr, device):
            targets = in_tiles(function, images, stage.target_halo, stride=stride)
            if targets.shape != images.shape:
                sizes = tuple(images.shape), tuple(targets.shape)
                raise ValueError(f"stage {stage.name}: target of {sizes[0]} is {sizes[1]}")
            levels = (targets.clamp(0, 1) * 65535).round().permute(0, 2, 3, 1)
            yield from levels.cpu().numpy().astype(np.uint16)

    firsts = hr.firsts()
    number = {int(hr.offset[first]): i for i, first in enumerate(firsts)}
    write_mapped(folder, made(), list(hr.stems), [number[int(offset)] for offset in hr.offset])


def _batches(hr: Mapped, device: torch.device) -> Iterator[Tensor]:
    """The images `(N, 3, H, W)`, as many neighbours of one size as make WHOLE x WHOLE pixels."""
    images: list[Samples] = []
    for first in hr.firsts():
        image = hr.image(first)
        pixels = (len(images) + 1) * image.shape[0] * image.shape[1]
        if images and (image.shape != images[0].shape or pixels > WHOLE * WHOLE):
            yield _stacked(images, device)
            images = []
        images.append(image)
    if images:
        yield _stacked(images, device)


def _stacked(images: list[Samples], device: torch.device) -> Tensor:
    """`(N, C, H, W)` in [0, 1], channels_last."""
    full = np.iinfo(images[0].dtype).max
    levels = torch.from_numpy(np.stack(images).astype(np.float32)).to(device)
    return levels.permute(0, 3, 1, 2).div_(full).contiguous(memory_format=torch.channels_last)
