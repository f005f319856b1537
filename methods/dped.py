"""DPED: a phone's pictures into those of a better camera.

Section 3 of the paper, with what it leaves open, and its weights, from the authors' code. Trained
on aligned patches of 100x100 pixels, 50 at a time, 20,000 updates. What the code sums is summed
here: over the pixels of the colour loss, over the batch of the texture loss. So a batch of another
size weighs the losses otherwise.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.data.weights import Weights
from bench.method import Batch, Method, Recipe, Stage
from bench.method.weights import by_names_of
from methods.filters.planes import luma
from methods.losses.pixels import total_variation
from methods.networks.discriminators import DPED_LAYERS, DPEDDiscriminator
from methods.networks.features import Features, content_network

Count = Annotated[int, Field(ge=1)]
Patch = Annotated[int, Field(ge=32)]

_HOME = "https://github.com/aiff22/DPED"
_LICENCE = "licence of the repository; converted from the authors' checkpoint"

CONTENT, COLOUR, TEXTURE, SMOOTHNESS = 10.0, 0.5, 1.0, 2000.0
"""Weights of the losses, of the code; the text prints others."""


class DPED(Method):
    """The generator, with the authors' weights for each of three phones; or trained anew.

    channels: of the generator; width: of the discriminator's first layer. features: what the
    content loss compares, VGG19's relu5_4 "published" or "random", or "alexnet"; the generator
    restores without them. The paper says batch norm where the code has instance norm.
    """

    paper = "Ignatov et al., DSLR-Quality Photos on Mobile Devices with DCNs, ICCV 2017"
    task: ClassVar[Task] = "enhancement"
    tiny = {"channels": 8, "width": 6, "features": "random", "patch": 32}
    published = {
        f"dped_{phone}": Weights(f"dped/{phone}.safetensors", _HOME, sha256, _LICENCE, page=True)
        for phone, sha256 in (
            ("iphone", "17477eda18567cec0383cc7c22eafb806ee7013a11b9c42cde3ad3fb011872b2"),
            ("blackberry", "3780555cb92402b3d3b3cef1a7051efcdac2e9d42d44a5c2f582d16164fd7404"),
            ("sony", "496a12c8ae49e145b78431548251a434909cf8e1407db462f2057a7e60de1246"),
        )
    }
    halo = None  # instance normalisation sees the whole image

    def __init__(
        self,
        *,
        channels: Count = 64,
        width: Count = 48,
        features: Features = "published",
        patch: Patch = 100,
        learning_rate: Annotated[float, Field(gt=0)] = 5e-4,
        steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.generator = Generator(channels)
        self.discriminator = GrayDiscriminator(DPED_LAYERS, patch, width)
        self.features = features
        self.remarks = () if features == "published" else content_network("relu5_4", features)[2]
        self.recipe = Recipe(steps=steps, patch=patch, learning_rate=learning_rate)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        picture: Tensor = self.generator(lr)
        return picture

    def stages(self) -> Sequence[Stage]:
        """One, for both networks."""
        return (Stage("dped", self.recipe),)

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        """One for each network. Raises BenchError where the features' weights are not here."""
        assert self._judge
        return {
            "generator": list(self.generator.parameters()),
            "discriminator": list(self.discriminator.parameters()),
        }

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        """A step of the generator, then one of the discriminator on the same patches."""
        sr = self(batch.lr)
        losses = {
            "content": self.content(sr, batch.target),
            "colour": colour(sr, batch.target),
            "texture": texture(self.discriminator(sr)),
            "smoothness": total_variation(sr),
        }
        weights = (CONTENT, COLOUR, TEXTURE, SMOOTHNESS)
        parts = [weight * loss for weight, loss in zip(weights, losses.values(), strict=True)]
        yield "generator", torch.stack(parts).sum()
        real, fake = self.discriminator(batch.target), self.discriminator(sr.detach())
        yield "discriminator", told_apart(real, fake)
        yield from losses.items()

    def content(self, sr: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of VGG19's relu5_4, as in the code, where the text has a norm."""
        network, layer = self._judge
        network.to(sr.device)
        with torch.no_grad():
            wanted = network(target)[layer]
        return F.mse_loss(network(sr)[layer], wanted)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also a generator's alone, such as the published ones; the discriminator stays."""
        state = super().read_weights(file)
        if any(name.startswith("generator.") for name in state):
            return state
        own = by_names_of(self.generator.state_dict(), state, file)
        kept = {n: v for n, v in self.state_dict().items() if not n.startswith("generator.")}
        return kept | {f"generator.{name}": value for name, value in own.items()}

    @cached_property
    def _judge(self) -> tuple[nn.Module, str]:
        """Made when a training asks for it, for restoring needs none; so no part of the method."""
        return content_network("relu5_4", self.features, "caffe")[:2]


class Generator(nn.Module):
    """Section 3.2: four residual blocks with instance norm, 401,475 parameters."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 9, padding=4)
        for i in range(2, 12):
            self.add_module(f"conv{i}", nn.Conv2d(channels, channels, 3, padding=1))
        for i in range(2, 10):
            self.add_module(f"norm{i}", nn.InstanceNorm2d(channels, eps=1e-3, affine=True))
        self.conv12 = nn.Conv2d(channels, 3, 9, padding=4)
        initialise(self)

    def forward(self, lr: Tensor) -> Tensor:
        x = torch.relu(self.conv1(lr))
        for i in (2, 4, 6, 8):
            x = x + self._normalised(self._normalised(x, i), i + 1)
        x = torch.relu(self.get_submodule("conv10")(x))
        x = torch.relu(self.get_submodule("conv11")(x))
        return photograph(self.conv12(x))

    def _normalised(self, x: Tensor, i: int) -> Tensor:
        x = self.get_submodule(f"conv{i}")(x)
        return torch.relu(self.get_submodule(f"norm{i}")(x))


class GrayDiscriminator(DPEDDiscriminator):
    """Section 3.2: of pictures `(N, 3, size, size)` in [0, 1] it sees the gray alone; returns
    logits `(N, 2)`: made, original.

    layers: (channels, kernel, stride), the channels for a first layer of its own width.
    """

    def __init__(self, layers: Sequence[tuple[int, int, int]], size: int, width: int) -> None:
        norm = partial(nn.InstanceNorm2d, eps=1e-3, affine=True)
        super().__init__(1, size, width, norm, layers, outputs=2)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(luma(image))


def colour(sr: Tensor, target: Tensor) -> Tensor:
    """Returns half the sum of squared differences of blurred pictures, a mean over N.

    A blur is linear, so the difference is blurred. Of 100x100 pixels that differ by 0.1 everywhere
    it is about 133.
    """
    return blurred(sr - target).square().sum() / (2 * len(sr))


def blurred(image: Tensor) -> Tensor:
    """Returns an image `(N, 3, H, W)` under the code's kernel of 21x21 pixels; zeros around it.

    Its taps are the roots of those of a Gaussian of 3 pixels, so it is one of 4.2.
    """
    edges = torch.linspace(-3 - 1 / 6, 3 + 1 / 6, 22, dtype=torch.float64)
    taps = torch.special.ndtr(edges).diff().sqrt()
    row = (taps / taps.sum()).to(image).repeat(image.shape[1], 1, 1, 1)
    with torch.autocast(image.device.type, enabled=False):
        across = F.conv2d(image, row, padding=(0, 10), groups=len(row))
        return F.conv2d(across, row.transpose(2, 3), padding=(10, 0), groups=len(row))


def texture(logits: Tensor) -> Tensor:
    """Returns the generator's adversarial loss of logits `(N, 2)`, a sum over N: log of the
    probability of being made, at least log 1e-10, as the code has it.

    The text has the other usual form, -log of the probability of being an original.
    """
    return logits.log_softmax(dim=1)[:, 0].clamp(min=math.log(1e-10)).sum()


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """Returns the discriminator's loss of logits `(N, 2)` of originals and of made pictures.

    Each patch is shown as both, where the authors draw one of the two: the same sum on average.
    """
    known = torch.arange(2 * len(real), device=real.device) < len(real)
    return F.cross_entropy(torch.cat([real, fake]), known.long(), reduction="sum") / 2


def photograph(x: Tensor) -> Tensor:
    """Returns any values brought into [-0.08, 1.08], as the last layer of the authors' code does.

    >>> photograph(torch.zeros(1)).item()
    0.5
    """
    return 0.58 * torch.tanh(x.float()) + 0.5  # bfloat16 has no more than 8 bits there


def initialise(network: nn.Module) -> None:
    """Draws weights as the authors' code: a normal distribution of 0.01, cut at twice that, and
    biases of 0.01."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
            nn.init.constant_(module.bias, 0.01)
