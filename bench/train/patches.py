"""Training patches: images decoded once, then cropped and turned, a function of seed and step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.pixels import Image, as_rgb
from bench.data.sets import Pair
from bench.errors import BenchError
from bench.method.contract import Batch

Pixels = NDArray[np.unsignedinteger[Any]]
"""(H, W, channels) or (pixels, channels), uint8 or uint16."""

_SHARE = 0.25  # of a GPU's free memory that decoded images may take


def _eight_bit_lr(pair: Pair) -> Image:
    image = pair.lr()
    if image.dtype != np.uint8:
        raise BenchError(f"{pair.lr_path}: raw files can be measured, but not yet trained on.")
    return np.asarray(image, np.uint8)


class Patches:
    """All images of a training set, 8 bits a sample, gray ones with three equal channels."""

    def __init__(self, pairs: Sequence[Pair], targets: Pixels | None = None) -> None:
        """Decodes the pairs. targets: what a stage learns to produce instead of HR, (pixels, 3),
        that of each pair behind the one before, row by row; it may be mapped from a file. Raises
        BenchError for a file that is broken."""
        lr = [as_rgb(_eight_bit_lr(pair)) for pair in pairs]
        hr = [as_rgb(pair.hr()) for pair in pairs]
        self._names = [pair.stem for pair in pairs]
        self._areas = np.cumsum([image.shape[0] * image.shape[1] for image in lr])
        self._lr, self._hr = (_Images(_sizes(images), _joined(images)) for images in (lr, hr))
        self._target = None if targets is None else _Images(self._hr.sizes, targets)
        if targets is not None and len(targets) != self._hr.ends[-1]:
            raise ValueError(f"targets have {len(targets)} pixels, HR has {self._hr.ends[-1]}")
        self._device = torch.device("cpu")

    def batch(
        self, step: int, size: int, patch: int, scale: int, *, seed: int, device: torch.device
    ) -> Batch:
        """Returns `size` random crops of patch x patch HR pixels, set by seed and step alone.

        A crop's image is drawn by area, then its place among all whole LR pixels; it is flipped and
        turned into one of the 8 orientations. LR, HR and target share all of it. Values in [0, 1],
        fp32, channels_last. Raises BenchError if the patch does not fit.
        """
        if patch % scale:
            raise BenchError(f"patch {patch} is not a multiple of the scale, {scale}.")
        side = patch // scale
        self._check_fits(side, scale)
        if device != self._device:
            self._move(device)
        rng = np.random.default_rng([seed, step])
        image = np.searchsorted(self._areas, rng.integers(self._areas[-1], size=size), side="right")
        # places an LR crop can begin at: (rows, columns) for each drawn image
        corner = rng.integers(self._lr.sizes[image] - side + 1)
        turn = rng.integers(2, size=(3, size)).astype(bool)
        lr = self._lr.crops(image, corner, side, turn, device)
        hr = self._hr.crops(image, corner * scale, patch, turn, device)
        if self._target is None:
            return Batch(lr, hr, hr, step)
        return Batch(lr, hr, self._target.crops(image, corner * scale, patch, turn, device), step)

    def _check_fits(self, side: int, scale: int) -> None:
        small = np.flatnonzero(self._lr.sizes.min(axis=1) < side)
        if len(small):
            names = ", ".join(self._names[i] for i in small)
            raise BenchError(
                f"patch {side * scale} does not fit into the training images {names}. Train with a "
                f"patch of at most {int(self._lr.sizes.min()) * scale}, or without these images."
            )

    def _move(self, device: torch.device) -> None:
        """Keeps the images on the GPU if they take little of its memory, otherwise on the host."""
        images = [self._lr, self._hr, *([self._target] if self._target else [])]
        needed = sum(i.pixels.nbytes for i in images)
        fits = device.type == "cuda" and needed < _SHARE * torch.cuda.mem_get_info(device)[0]
        for kept in images:
            kept.pixels = kept.pixels.to(device if fits else "cpu")
        self._device = device


def _sizes(images: Sequence[Pixels]) -> NDArray[np.int64]:
    return np.array([image.shape[:2] for image in images])


def _joined(images: Sequence[Pixels]) -> Pixels:
    return np.concatenate([image.reshape(-1, image.shape[2]) for image in images])


class _Images:
    """Images one behind the other as (pixels, channels), so that all crops are one gather."""

    def __init__(self, sizes: NDArray[np.int64], joined: Pixels) -> None:
        """sizes: (images, 2), height and width."""
        self.sizes = sizes
        self.ends = np.cumsum(self.sizes.prod(axis=1))
        self.full = np.iinfo(joined.dtype).max
        # torch gathers no uint16: the same bits go as int16 and are taken for unsigned afterwards
        self.wide = joined.dtype == np.uint16
        self.pixels = torch.from_numpy(joined.view(np.int16) if self.wide else joined)

    def crops(
        self,
        image: NDArray[np.intp],
        corner: NDArray[np.int64],
        side: int,
        turn: NDArray[np.bool_],
        device: torch.device,
    ) -> Tensor:
        """(N, C, side, side) in [0, 1]: of each image the square at its corner, turned.

        turn (3, N): upside down, left to right, transposed. The pixel at (i, j) of a turned crop
        lies at start + i * down + j * right, so turning costs nothing.
        """
        width = self.sizes[image, 1]
        start = self.ends[image] - self.sizes[image].prod(axis=1)
        start = start + corner[:, 0] * width + corner[:, 1]
        down, right = np.where(turn[0], -width, width), np.where(turn[1], -1, 1)
        start = start - (side - 1) * (np.minimum(down, 0) + np.minimum(right, 0))
        down, right = np.where(turn[2], right, down), np.where(turn[2], down, right)
        place = self.pixels.device
        base, down_, right_ = torch.from_numpy(np.stack([start, down, right])).to(place)[..., None]
        steps = torch.arange(side, device=place)
        index = (base + down_ * steps)[:, :, None] + (right_ * steps)[:, None, :]
        crops = self.pixels.index_select(0, index.view(-1))
        if place.type != device.type:  # "cuda" and "cuda:0" are one place
            crops = crops.pin_memory().to(device, non_blocking=True)
        if self.wide:
            crops = crops.int().bitwise_and_(0xFFFF)
        crops = crops.view(len(image), side, side, -1).permute(0, 3, 1, 2)
        return crops.float().div_(self.full)
