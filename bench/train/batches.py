"""Training patches: cropped and turned from mapped images, a function of seed and step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import sets
from bench.data.mapped import Mapped
from bench.errors import BenchError
from bench.method.batch import Augment, Batch, Batches, Request
from bench.method.contract import Stage
from bench.method.recipe import Recipe
from bench.records.store import Store, content_key
from bench.train.pixels import Source, TrainingPixels, keep, open_pixels
from bench.train.plan import Plan
from bench.train.targets import opened_targets

_SHARE = 0.25  # of a GPU's free memory that images may take


class Patches:
    """Random crops of a training set's images: the `Batches` of every stage that brings no own."""

    def __init__(
        self,
        pixels: TrainingPixels,
        *,
        batch: int,
        patch: int,
        seed: int,
        device: torch.device,
        augment: Augment = "turns",
        targets: Mapped | None = None,
    ) -> None:
        """batch: crops in each batch, of patch x patch HR pixels, all of one scale of `pixels`.

        targets: what a stage learns to produce instead of HR, for the same images. Raises
        BenchError if the patch does not fit.
        """
        if targets is not None and not np.array_equal(targets.offset, pixels.hr.offset):
            raise ValueError(f"targets of {len(targets)} images, HR has {len(pixels.hr)}")
        for scale, lr in pixels.lr.items():
            _check_fits(lr, patch, scale)
        self._size, self._patch, self._seed, self._device = batch, patch, seed, device
        self._augment = augment
        self._scales = sorted(pixels.lr)
        self._areas = {s: np.cumsum(lr.height * lr.width) for s, lr in pixels.lr.items()}
        self._lr = {scale: _Images(lr) for scale, lr in pixels.lr.items()}
        self._hr = _Images(pixels.hr)
        self._target = None if targets is None else _Images(targets)
        self._move(pixels.key)
        self.fingerprint = content_key(
            {
                "pixels": pixels.key,
                "batch": batch,
                "patch": patch,
                "seed": seed,
                "augment": augment,
            }
        )

    def batch(self, step: int) -> Batch:
        """Returns random crops, set by seed and step alone. Values in [0, 1], fp32, channels_last.

        The scale is drawn, if there are several; then a crop's image by its area in LR pixels, its
        place among all whole LR pixels, and one of the orientations of `augment`. LR, HR and target
        share all of it.
        """
        return self.at(self.places(step), step)

    def places(self, step: int) -> "Places":
        """Draws a batch; of the pixels nothing is read."""
        rng = np.random.default_rng([self._seed, step])
        # one scale takes nothing from the generator
        which = rng.integers(len(self._scales)) if len(self._scales) > 1 else 0
        scale = self._scales[which]
        lr, areas = self._lr[scale], self._areas[scale]
        side = self._patch // scale
        image = np.searchsorted(areas, rng.integers(areas[-1], size=self._size), side="right")
        # places an LR crop can begin at: (rows, columns) for each drawn image
        corner = rng.integers(lr.sizes[image] - side + 1)
        turn = rng.integers(2, size=(3, self._size)).astype(bool)
        turn[{"turns": 3, "flips": 2, "none": 0}[self._augment] :] = False
        starts = [lr.places(image, corner, side, turn)]
        for images in (self._hr, self._target):
            if images is not None:
                starts.append(images.places(image, corner * scale, self._patch, turn))
        return Places(scale, torch.from_numpy(np.stack(starts)))

    def at(self, places: "Places", step: int) -> Batch:
        """Cuts a batch out."""
        lr, side = self._lr[places.scale], self._patch // places.scale
        small = lr.crops(places.starts[0], side, self._device)
        hr = self._hr.crops(places.starts[1], self._patch, self._device)
        if self._target is None:
            return Batch(small, hr, hr, step)
        return Batch(
            small, hr, self._target.crops(places.starts[2], self._patch, self._device), step
        )

    @property
    def on_card(self) -> bool:
        """Whether all images lie on the training device, a GPU."""
        images = [*self._lr.values(), self._hr, *([self._target] if self._target else [])]
        return all(kept.pixels.device.type == "cuda" for kept in images)

    def _move(self, key: str) -> None:
        """Takes the images to the GPU if they need little of its memory; else they stay mapped."""
        if self._device.type != "cuda":
            return
        images = {f"{key} LR x{scale}": lr for scale, lr in self._lr.items()}
        images[f"{key} HR"] = self._hr
        if not images.keys() <= _CARD.keys():
            _CARD.clear()
            free, _ = torch.cuda.mem_get_info(self._device)
            if sum(i.pixels.nbytes for i in images.values()) > _SHARE * free:
                return
            _CARD.update({n: i.pixels.to(self._device) for n, i in images.items()})
        for name, kept in images.items():
            kept.pixels = _CARD[name]
        free, _ = torch.cuda.mem_get_info(self._device)
        if self._target and self._target.pixels.nbytes < _SHARE * free:
            self._target.pixels = self._target.pixels.to(self._device)


_CARD: dict[str, Tensor] = {}
"""The images of this process's last training on a GPU, for the next trial's are mostly the same."""


class Places(NamedTuple):
    """Where the crops of a batch lie."""

    scale: int
    starts: Tensor
    """`(2 or 3, 3, N)` of LR, HR and what is learned: each crop's first pixel, its step to the next
    row and its step to the next column."""


def _check_fits(lr: Mapped, patch: int, scale: int) -> None:
    """Raises BenchError for a patch that LR images of the scale have no room for."""
    if patch % scale:
        raise BenchError(f"patch {patch} is not a multiple of the scale, {scale}.")
    sides = np.minimum(lr.height, lr.width)
    small = np.flatnonzero(sides < patch // scale)
    if len(small):
        raise BenchError(
            f"patch {patch} does not fit into the training images {_named(lr.stems[small])}. Train "
            f"with a patch of at most {int(sides.min()) * scale}, or without these images."
        )


def _named(stems: Sequence[str] | NDArray[np.str_], most: int = 20) -> str:
    more = f" and {len(stems) - most} more" if len(stems) > most else ""
    return ", ".join(stems[:most]) + more


class _Images:
    """Mapped images as one tensor (pixels, channels), so that all crops are one gather."""

    def __init__(self, images: Mapped) -> None:
        self.offset = images.offset
        self.sizes = np.stack([images.height, images.width], axis=1)
        self.full = np.iinfo(images.pixels.dtype).max
        # torch gathers no uint16: the same bits go as int16 and are taken for unsigned afterwards
        self.wide = images.pixels.dtype == np.uint16
        self.pixels = torch.from_numpy(images.pixels.view(np.int16) if self.wide else images.pixels)

    def places(
        self,
        image: NDArray[np.intp],
        corner: NDArray[np.int64],
        side: int,
        turn: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """(3, N): of each image the square at its corner, turned, as a start and two steps.

        turn (3, N): upside down, left to right, transposed. A crop is read off the flat file by a
        start and two steps, so turning costs nothing. Of the square a b / c d in rows of length w:

            as it is      start a, down w, right  1        a b / c d
            left to right start b, down w, right -1        b a / d c
            transposed    start a, down 1, right  w        a c / b d
        """
        width = self.sizes[image, 1]
        start = self.offset[image] + corner[:, 0] * width + corner[:, 1]
        down, right = np.where(turn[0], -width, width), np.where(turn[1], -1, 1)
        start = start - (side - 1) * (np.minimum(down, 0) + np.minimum(right, 0))
        down, right = np.where(turn[2], right, down), np.where(turn[2], down, right)
        return np.stack([start, down, right])

    def crops(self, places: Tensor, side: int, device: torch.device) -> Tensor:
        """(N, C, side, side) in [0, 1], cut out where `places` says."""
        place = self.pixels.device
        first, rows, columns = places.to(place)[..., None]
        steps = torch.arange(side, device=place)
        index = (first + rows * steps)[:, :, None] + (columns * steps)[:, None, :]
        crops = self.pixels.index_select(0, index.view(-1))
        if place.type != device.type:  # "cuda" and "cuda:0" are one place
            crops = crops.pin_memory().to(device, non_blocking=True)
        if self.wide:
            crops = crops.int().bitwise_and_(0xFFFF)
        crops = crops.view(places.shape[1], side, side, -1).permute(0, 3, 1, 2)
        return crops.float().div_(self.full)


# --- what a stage is trained on -------------------------------------------------------------------


def sources_of(
    stage: Stage, filled: Mapping[str, Any], find: Callable[[str, int, str], Source]
) -> tuple[Source, ...]:
    """The training set at each scale of the stage. Raises BenchError if it is not here."""
    name = filled["dataset"]
    if why := sets.missing(name):
        raise BenchError(f"training set {name!r} is not on this machine: {why}")
    scales = stage.scales or (filled["scale"],)
    return tuple(find(name, scale, filled["degradation"]) for scale in scales)


def own_batches(
    stage: Stage, filled: Mapping[str, Any], recipe: Recipe, device: torch.device, store: Store
) -> Batches | None:
    """What a stage brings itself; None: it is trained on patches."""
    if stage.batches is None:
        return None
    if stage.target or stage.scales:
        raise BenchError(
            "brings its own batches, so target and scales are theirs to decide. Leave both out."
        )

    def kept(content: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
        return keep(store, content_key(content), write)

    assert recipe.batch is not None and recipe.patch is not None
    names = ("dataset", "scale", "degradation", "seed")
    return stage.batches(
        Request(
            **{name: filled[name] for name in names},
            batch=recipe.batch,
            patch=recipe.patch,
            device=device,
            keep=kept,
        )
    )


@contextmanager
def opened_batches(plan: Plan, device: torch.device, store: Store) -> Iterator[Batches]:
    """Yields the stage's own batches, or patches of its images and of what it learns of them."""
    if plan.batches:
        yield plan.batches
        return
    pixels = open_pixels(plan.sources, store)
    targets: AbstractContextManager[Mapped | None] = nullcontext()
    if plan.target:
        plan.owner.eval()
        stride = plan.owner.stride
        targets = opened_targets(store, plan.target, plan.stage, pixels.hr, device, stride)
    with targets as learned:
        yield Patches(
            pixels,
            batch=plan.batch,
            patch=plan.patch,
            seed=plan.seed,
            device=device,
            augment=plan.stage.augment,
            targets=learned,
        )
