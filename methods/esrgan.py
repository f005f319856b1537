"""ESRGAN: RRDBNet, first trained with L1, then against a relativistic discriminator."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.data.weights import Weights
from bench.method import Batch, Method, Rate, Recipe, Stage
from bench.method.weights import by_names_of
from methods.networks.discriminators import ESRGANDiscriminator
from methods.networks.features import Features, content_network
from methods.networks.layouts import renamed
from methods.networks.rrdbnet import AUTHORS, RRDBNetwork
from methods.rescnn_gan import cross_entropy, linear

PAPER = "Wang et al., ESRGAN, ECCVW 2018, arXiv:1809.00219"
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Patch = Annotated[int, Field(ge=32)]
Scale = Literal[1, 2, 4, 8]

_LICENCE = "Apache-2.0, with the authors' code"
_KAIR = "https://github.com/cszn/KAIR/releases/download/v1.0/ESRGAN.pth"
_OFFICIAL = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.1"
_PAGE = "https://github.com/xinntao/ESRGAN"
_ZOO = "https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md"

PUBLISHED: Mapping[str, Weights] = {
    "esrgan": Weights(
        "esrgan/RRDB_ESRGAN_x4.pth",
        _KAIR,
        "65fece06e1ccb48853242aa972bdf00ad07a7dd8938d2dcbdf4221b59f6372ce",
        _LICENCE,
    ),
    "rrdb_psnr": Weights(
        "esrgan/RRDB_PSNR_x4.pth",
        _PAGE,
        "f372b59f22929e1bc83fa58d78215c96f976de3b2eaeee736da1b348913da6cc",
        _LICENCE,
        page=True,
    ),
    "esrgan_basicsr": Weights(
        "esrgan/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
        f"{_OFFICIAL}/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
        "ff704c30",
        _LICENCE,
    ),
    "rrdb_psnr_basicsr": Weights(
        "esrgan/ESRGAN_PSNR_SRx4_DF2K_official-150ff491.pth", _ZOO, "150ff491", _LICENCE, page=True
    ),
}
"""The authors' generators at x4, in the layout of their code and in BasicSR's. The checksums of the
first two are those that independent copies agree in; the others stand in the files' names."""


class RRDBNet(Method):
    """The generator by itself, trained with L1: "PSNR-oriented" in section 4.1.

    The authors' recipe: patches of 128 HR pixels, batch 16, 2e-4 halved every 200,000 of a million
    updates. steps: updates, for a study whose methods differ in it. Scales other than 4 have fewer
    or more enlargements of two; BasicSR's x2 and x1 are other networks.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "super-resolution"
    tasks: ClassVar[tuple[Task, ...]] = (
        "super-resolution", "low-light", "enhancement", "deblurring",
    )  # fmt: skip
    tiny: ClassVar[Mapping[str, Any]] = {"blocks": 1, "channels": 8, "growth": 4}
    published = PUBLISHED

    def __init__(
        self,
        *,
        scale: Scale = 4,
        blocks: Count = 23,
        channels: Count = 64,
        growth: Count = 32,
        steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.network = RRDBNetwork(scale, blocks, channels, growth, type(self).channels)
        self.halo, self.steps = self.network.halo, steps

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for `(N, C, H, W)` in [0, 1]."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, the same whether it is trained for itself or as a generator."""
        return (Stage("rrdb", Recipe(steps=self.steps), trains=self),)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the authors' files; BasicSR's names are the network's own."""
        return renamed(super().read_weights(file), AUTHORS)


class ESRGAN(Method):
    """Sections 3.1 to 3.3: RRDBNet goes on against a discriminator and VGG19's features.

    blocks, channels, growth, pretrain_steps: of the generator, an RRDBNet; 0 pre-training steps
    leave it out, as for a row that begins from published weights. width: channels of the
    discriminator's first layer. features: of VGG19 before the last ReLU, "published" or "random",
    or of "alexnet". adversarial, pixel: weights of the other losses beside the perceptual one.
    relativistic: the discriminator compares originals with restored patches (equation 1), or judges
    each for itself. patch: HR pixels.

    The recipe is the authors' in BasicSR but for the average of the weights, average: 0.999 there.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "super-resolution"
    tasks: ClassVar[tuple[Task, ...]] = RRDBNet.tasks
    tiny: ClassVar[Mapping[str, Any]] = {
        "blocks": 1, "channels": 8, "growth": 4, "width": 4, "features": "alexnet", "patch": 32,
    }  # fmt: skip
    published = PUBLISHED
    generators: ClassVar[type[RRDBNet]] = RRDBNet
    rate: ClassVar[Rate] = Rate(halve=(50_000, 100_000, 200_000, 300_000))

    def __init__(
        self,
        *,
        scale: Scale = 4,
        blocks: Count = 23,
        channels: Count = 64,
        growth: Count = 32,
        width: Count = 64,
        features: Features = "published",
        adversarial: Weight = 5e-3,
        pixel: Weight = 1e-2,
        relativistic: bool = True,
        patch: Patch = 128,
        learning_rate: Annotated[float, Field(gt=0)] = 1e-4,
        steps: Count | None = None,
        pretrain_steps: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__()
        if patch % 32:
            raise ValueError(f"patch {patch}: the discriminator halves it five times.")
        self.pretrained = pretrain_steps != 0
        self.generator = type(self).generators(
            scale=scale, blocks=blocks, channels=channels, growth=growth,
            steps=pretrain_steps or None,
        )  # fmt: skip
        self.discriminator = ESRGANDiscriminator(patch, width)
        self.features, self.layer, self.remarks = content_network("conv5_4", features)
        self.halo = self.generator.halo
        self.adversarial, self.pixel, self.relativistic = adversarial, pixel, relativistic
        self.recipe = Recipe(
            steps=steps, patch=patch, learning_rate=learning_rate, betas=(0.9, 0.99),
            rate=type(self).rate,
        )  # fmt: skip

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR as the generator does."""
        sr: Tensor = self.generator(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """The generator's, which knows nothing of the GAN's parameters; then both networks'."""
        before = self.generator.stages() if self.pretrained else ()
        return (*before, Stage("esrgan", self.recipe))

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        """One for each network; VGG19 has nothing to train. The last bias of a relativistic
        discriminator cancels out, so its gradient would be nothing but rounding."""
        *others, bias = self.discriminator.parameters()
        return {
            "generator": list(self.generator.parameters()),
            "discriminator": others if self.relativistic else [*others, bias],
        }

    def seen(self, image: Tensor) -> Tensor:
        """Returns what the discriminator sees of an image `(N, 3, H, W)`: all of it."""
        return image

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        """A step of the generator and one of the discriminator, from the same forward pass.

        The generator is told what the discriminator thinks before this step, as in the authors'
        code, which computes it anew for each of the two.
        """
        sr = self.generator(batch.lr)
        shown = sr.detach().requires_grad_()
        real = self.discriminator(self.seen(batch.target))
        fake = self.discriminator(self.seen(shown))
        adversarial = self.fooled(real, fake)
        (slope,) = torch.autograd.grad(adversarial, shown, retain_graph=True)
        discriminator = self.told_apart(real, fake)

        content, pixel = self.content(sr, batch.target), F.l1_loss(sr, batch.target)
        reward = adversarial.detach() + linear(sr, slope)
        yield "generator", content + self.adversarial * reward + self.pixel * pixel
        yield "discriminator", discriminator

        with torch.no_grad():
            yield "content", content
            yield "pixel", pixel
            yield "adversarial", adversarial
            # 0: it cannot tell them apart; 1: it always can
            yield "balance", real.sigmoid().mean() - fake.sigmoid().mean()

    def fooled(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the generator's adversarial loss of logits `(N, 1)`: equation 2, halved as in the
        authors' code; without relativism -log D."""
        if not self.relativistic:
            return cross_entropy(fake, 1)
        pairs = (real.detach() - fake.mean(), 0), (fake - real.detach().mean(), 1)
        return torch.stack([cross_entropy(*pair) for pair in pairs]).mean()

    def told_apart(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the discriminator's loss: equation 1, halved; without relativism both labels'."""
        if not self.relativistic:
            return (cross_entropy(real, 1) + cross_entropy(fake, 0)) / 2
        pairs = (real - fake.mean(), 1), (fake - real.mean(), 0)
        return torch.stack([cross_entropy(*pair) for pair in pairs]).mean()

    def content(self, sr: Tensor, target: Tensor) -> Tensor:
        """Returns the mean absolute difference of the features."""
        with torch.no_grad():
            wanted = self.features(target)[self.layer]
        return F.l1_loss(self.features(sr)[self.layer], wanted)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also a generator's alone, published or trained; the discriminator stays as it is."""
        state = super().read_weights(file)
        if any(name.startswith("generator.") for name in state):
            return state
        own = by_names_of(self.generator.state_dict(), renamed(state, AUTHORS), file)
        kept = {n: v for n, v in self.state_dict().items() if not n.startswith("generator.")}
        return kept | {f"generator.{name}": value for name, value in own.items()}
