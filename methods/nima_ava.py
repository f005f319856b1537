"""NIMA on AVA: learns the votes of people, section 2.2.1 of NIMA-SR.

What the paper states stands in studies/nima_ava.yaml: batch 128, Adam at 1e-4 with exponential
decay, whose rate it leaves out, 25 epochs; pictures resized to 256x256, random parts of 192x192.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from bench.data.pairs import VotedPair, find_pairs, fingerprint_of, pair_digests, sound
from bench.data.readers import Asked, Read, Readers, read_resized
from bench.data.votes import left_out
from bench.data.weights import WEIGHTS, Weights
from bench.errors import BenchError
from bench.method import Batch, Losses, Request, Stage
from bench.method.checkpoints import read_state
from methods.networks.nima import our_name
from methods.nima import NIMA, Trunk, Width, emd

AHEAD = 3  # batches that are read before they are asked for
CLASSES = 1000  # of ImageNet, in the heads of published files

_TORCHVISION = "https://download.pytorch.org/models"
_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet"


class NIMAonAVA(NIMA):
    """NIMA whose trunk ends in average pooling and one layer of ten outputs, trained on votes.

    trunk: the paper's MnasNet; MobileNetV2 and VGG16, with which it and NIMA compare, of VGG16 the
    convolutions alone; or our `compact`. width: multiplies the channels of the three. resize: side
    of the pictures before a part of them, the recipe's `patch`, is cut out; in validation they are
    seen whole at this size.

    `begins_from: published:mnasnet_imagenet` has the trunk begin with ImageNet's weights.
    """

    task = "assessment"
    tiny: ClassVar[Mapping[str, Any]] = {"width": 0.1}
    published: ClassVar[Mapping[str, Weights]] = {
        "mnasnet_imagenet": Weights(
            "mnasnet/mnasnet1.0_top1_73.512-f206786ef8.pth",
            f"{_TORCHVISION}/mnasnet1.0_top1_73.512-f206786ef8.pth",
            "f206786ef8",
            _LICENCE,
        ),
        "mobilenet_v2_imagenet": Weights(
            "mobilenet_v2/mobilenet_v2-b0353104.pth",
            f"{_TORCHVISION}/mobilenet_v2-b0353104.pth",
            "b0353104",
            _LICENCE,
        ),
        "vgg16": WEIGHTS["vgg16"],
    }

    def __init__(
        self,
        *,
        trunk: Trunk = "mnasnet",
        width: Width = 1.0,
        resize: Annotated[int, Field(ge=32)] = 256,
    ) -> None:
        super().__init__(trunk=trunk, width=width)
        self.side = resize
        self.pictures: Pictures | None = None

    @property
    def remarks(self) -> Sequence[str]:  # type: ignore[override]  # what a row says comes later
        """Whether it begins with ImageNet's weights, as the paper's does."""
        if self.begins_from:
            return (f"training begins with {self.begins_from}.",)
        return ("trained from scratch: the paper begins with weights of ImageNet.",)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also understands the names of torchvision and of nima.pytorch."""
        return {our_name(name): value for name, value in read_state(file).items()}

    def read_start(self, file: Path) -> Mapping[str, Tensor]:
        """A file of ImageNet's 1000 classes gives the trunk; the last layer stays the seed's."""
        found = self.read_weights(file)
        if not any(len(v) == CLASSES for name, v in found.items() if name.endswith(".bias")):
            return found
        trunk = {name: value for name, value in found.items() if name.startswith("trunk.")}
        return {**trunk, **{f"head.{k}": v for k, v in self.head.state_dict().items()}}

    def stages(self) -> tuple[Stage, ...]:
        """One, on labelled pictures."""
        return (Stage("nima", batches=self._pictures, examine=self.trained_on),)

    def _pictures(self, request: Request) -> "Pictures":
        self.pictures = Pictures(request, self.hyperparameters["resize"])
        return self.pictures

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        """Returns the EMD, l = 2, between predicted and given votes; its root is each sample's.

        nima.pytorch takes the root of the batch's mean instead, which is another loss.
        """
        assert batch.labels is not None
        return {"loss": emd(self(batch.lr), batch.labels).mean()}

    def trained_on(self) -> dict[str, float | str]:
        """Returns how many photographs it was trained on, and which could not be used."""
        return self.pictures.told() if self.pictures else {}


class Pictures:
    """Random parts of resized photographs with the shares of their votes, epoch by epoch.

    Several processes read a few batches ahead. A photograph that is no picture is replaced by the
    next one that is, and remembered.
    """

    def __init__(self, request: Request, side: int) -> None:
        found = find_pairs(request.dataset, request.scale, request.degradation)
        pairs = [pair for pair in sound(found) if isinstance(pair, VotedPair)]
        if not pairs:
            raise BenchError(f"{request.dataset} has no votes. Sets that have: ava_train, ava_val.")
        if request.patch > side:
            raise BenchError(f"patch {request.patch} does not fit into pictures resized to {side}.")
        self.request, self.side, self.skipped = request, side, found.skipped
        files = fingerprint_of(pairs, pair_digests(pairs))
        self.fingerprint = repr((files, side, request.batch, request.patch, request.seed))
        self.paths = [pair.hr_path for pair in pairs if pair.hr_path]
        votes = np.array([pair.votes for pair in pairs], np.float32)
        self.shares: NDArray[np.float32] = votes / votes.sum(1, keepdims=True)
        self.readers = Readers(torch.get_num_threads())
        self.asked: dict[int, Asked] = {}
        self.broken: dict[int, str] = {}
        self.seen = np.zeros(len(pairs), bool)
        self.steps = 0

    def batch(self, step: int) -> Batch:
        """Returns the batch of an update: images in [0, 1] as lr, shares of votes as labels.

        An epoch shows every photograph once, and fills its last batch from its beginning; order,
        parts and flips follow from seed and step.
        """
        for later in range(step, step + AHEAD):
            if later not in self.asked:
                paths = [self.paths[i] for i in self._which(later)]
                self.asked[later] = self.readers.ask(paths, self.side)
        self.asked = {at: asked for at, asked in self.asked.items() if at >= step}
        which = self._which(step)
        read = self.asked.pop(step).pictures()
        self.seen[which] = True
        self.steps = step + 1
        sound = [self._sound(i, picture) for i, picture in zip(which, read, strict=True)]
        image = self._parts([picture for _, picture in sound], step)
        labels = torch.from_numpy(self.shares[[i for i, _ in sound]]).to(self.request.device)
        return Batch(image, image, image, step, labels)

    def _which(self, step: int) -> NDArray[np.intp]:
        """The photographs of a batch."""
        count, size = len(self.paths), self.request.batch
        epoch, place = divmod(step, -(-count // size))
        order = _order(self.request.seed, epoch, count)
        return order[np.arange(place * size, (place + 1) * size) % count]

    def _sound(self, index: int, picture: Read) -> tuple[int, NDArray[np.uint8]]:
        """The photograph, or else the next one that is a picture."""
        for _ in self.paths:
            if not isinstance(picture, str):
                return index, picture
            self.broken[index] = picture
            index = (index + 1) % len(self.paths)
            picture = read_resized(self.paths[index], self.side)
        raise BenchError(f"none of the photographs can be read. {self.broken[index]}")

    def _parts(self, pictures: list[NDArray[np.uint8]], step: int) -> Tensor:
        """(N, 3, patch, patch) in [0, 1]: a part of each picture, half of them turned over."""
        part, count = self.request.patch, len(pictures)
        rng = np.random.default_rng([self.request.seed, step, 1])
        corners = rng.integers(self.side - part + 1, size=(count, 2))
        turned = rng.integers(2, size=count).astype(bool)
        parts = [p[y : y + part, x : x + part] for p, (y, x) in zip(pictures, corners, strict=True)]
        parts = [p[:, ::-1] if turn else p for p, turn in zip(parts, turned, strict=True)]
        image = torch.from_numpy(np.stack(parts)).to(self.request.device)
        return image.permute(0, 3, 1, 2).float().div_(255)

    def told(self) -> dict[str, float | str]:
        """Returns what the training asked for: photographs, and those that could not be used.

        What another process has seen before a training went on is read again, so that it tells the
        same as one that was never interrupted.
        """
        epoch = -(-len(self.paths) // self.request.batch)
        asked = {int(i) for step in range(min(self.steps, epoch)) for i in self._which(step)}
        again = sorted(i for i in asked if not self.seen[i])
        found = self.readers.read([self.paths[i] for i in again], self.side)
        self.broken |= {i: why for i, why in zip(again, found, strict=True) if isinstance(why, str)}
        self.readers.close()
        broken = sorted(asked & self.broken.keys())
        lines = [*self.skipped, *(self.broken[i] for i in broken)]
        told: dict[str, float | str] = {"photographs": f"{len(asked) - len(broken):,}"}
        return told | ({"of those listed": left_out(lines)} if lines else {})


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, epoch]).permutation(count)
