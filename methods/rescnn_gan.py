"""ResCNN-GAN: a plain network, a residual one, and the residual one as the generator of a GAN.

Sections III.B and IV.A of the paper, with what it leaves open taken from the authors' notebooks.
Trained on crops of 96 HR and 24 LR pixels, batch 16, Adam. The paper flips and turns them by four
angles: the 8 orientations of `bench.train.batches`. Losses are on the scale 0 to 255, so that they
can be compared with the paper's curves (CNN: MAE near 13, ResCNN: MSE near 270).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import Diverged
from bench.method import Batch, Method, Recipe, Stage
from methods.networks import rescnn
from methods.networks.alexnet import SMALLEST
from methods.networks.discriminators import ResCNNDiscriminator, SRGANDiscriminator
from methods.networks.features import Features, content_network

PAPER = (
    "Shah, Sandanshi and Meshram, Super Resolution/Image DeBlurring using GAN, 2019, "
    "github.com/ssandanshi/Super-Resolution-GAN"
)
Count = Annotated[int, Field(ge=1)]
Tail = Literal["tanh", "linear"]

WINDOW = 500
"""Updates in a row for which a state must last before a training is given up: a twentieth of the
paper's 10,000. In 600 updates of a small GAN neither state below came up once: the discriminator's
loss stayed above 1, the contrast above 0.9."""
CERTAIN = 1e-3
"""Discriminator loss: it gives every patch its label with a probability of about 0.9995. Table I
prints means near 0.1, so a loss that is merely small is no collapse."""
FLAT = 0.1
"""Contrast of SR as a share of HR's. An image of one colour has 0, the bicubic one about 0.95."""


class CNN(Method):
    """simple_cnn, figure 1: five convolutions, trained with the mean absolute error.

    steps: updates, for a study whose methods differ in it; the paper's curve has 7,700.
    """

    paper: ClassVar[str] = PAPER
    tiny = {"channels": 8}

    def __init__(self, *, scale: int = 4, channels: Count = 64, steps: Count | None = None) -> None:
        super().__init__()
        self.network = rescnn.SimpleCNN(scale, channels)
        self.halo = self.network.halo
        self.steps = steps

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for RGB `(N, 3, H, W)`."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One."""
        return (Stage("cnn", Recipe(steps=self.steps)),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """MAE, and PSNR for figure 5."""
        sr = self(batch.lr)
        return {"loss": F.l1_loss(255 * sr, 255 * batch.target), "psnr": psnr(sr, batch.target)}


class ResCNN(Method):
    """Figure 3: residual blocks with batch norm, trained with the mean squared error.

    Batch norm takes a batch's statistics in training and the moving ones in restoring. A small
    ResCNN that restores with each picture's own makes Set14 20 levels too bright, and loses 6.9 dB;
    the authors' pictures are 8 to 22 levels too bright, probably by such a mismatch.

    tail: "tanh" as in the authors' code, "linear" as in the text. steps: updates, for a study whose
    methods differ in it; the paper's curve has 100,000.
    """

    paper: ClassVar[str] = PAPER
    tiny = {"blocks": 1, "channels": 8}

    def __init__(
        self,
        *,
        scale: int = 4,
        blocks: Count = 16,
        channels: Count = 64,
        tail: Tail = "tanh",
        steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.network = rescnn.ResCNN(scale, blocks, channels, tail)
        self.halo = self.network.halo
        self.steps = steps

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in [0, 1] for RGB `(N, 3, H, W)`; about so with a
        linear tail."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, the same whether it is trained for itself or as a generator."""
        return (Stage("rescnn", Recipe(steps=self.steps), trains=self),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """MSE, and PSNR for figure 6."""
        sr = self(batch.lr)
        return {"loss": F.mse_loss(255 * sr, 255 * batch.target), "psnr": psnr(sr, batch.target)}


class GAN(Method):
    """Section III.B.3: ResCNN goes on against a discriminator and VGG19's features.

    blocks, channels, tail, pretrain_steps: of the generator, a ResCNN. discriminator: the paper's,
    or that of SRGAN; width: its channels in the first layer. hidden, slope: of the paper's one
    (table I): units of the dense layer, 0 for none; slope of LeakyReLU, 0 for ReLU. features: of
    VGG19, "published" or "random", or of "alexnet". adversarial: weight in equation 1. patch: HR
    pixels. learning_rate: table I chooses 1e-3, the authors' notebooks have 1e-4.
    """

    paper: ClassVar[str] = PAPER
    tiny = {
        "blocks": 1, "channels": 8, "width": 4, "hidden": 8, "features": "random", "patch": 32,
    }  # fmt: skip

    certain: Tensor
    flat: Tensor

    def __init__(
        self,
        *,
        scale: int = 4,
        blocks: Count = 16,
        channels: Count = 64,
        tail: Tail = "tanh",
        discriminator: Literal["paper", "srgan"] = "paper",
        width: Count = 64,
        hidden: Annotated[int, Field(ge=0)] = 1024,
        slope: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        features: Features = "published",
        adversarial: Annotated[float, Field(ge=0)] = 1e-3,
        patch: Annotated[int, Field(ge=16)] = 96,
        learning_rate: Annotated[float, Field(gt=0)] = 1e-4,
        steps: Count | None = None,
        pretrain_steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.generator = ResCNN(
            scale=scale, blocks=blocks, channels=channels, tail=tail, steps=pretrain_steps
        )
        self.discriminator: nn.Module
        if discriminator == "paper":
            self.discriminator = ResCNNDiscriminator(patch, width, hidden, slope)
        elif (hidden, slope) == (1024, 0.2):
            self.discriminator = SRGANDiscriminator(patch, width)
        else:
            raise ValueError(
                f"hidden {hidden} and slope {slope:g} are the paper's discriminator's; SRGAN's has "
                "its own. Leave them out, or write discriminator: paper."
            )
        self.features, self.layer, self.remarks = content_network("relu5_4", features, "caffe")
        if features == "alexnet" and patch < SMALLEST:
            raise ValueError(f"patch {patch}: AlexNet's features need {SMALLEST} pixels a side.")
        # buffers, so that a training that goes on from a checkpoint counts on
        self.register_buffer("certain", torch.tensor(0))
        self.register_buffer("flat", torch.tensor(0))
        self.halo = self.generator.halo
        self.adversarial, self.patch = adversarial, patch
        self.learning_rate, self.steps = learning_rate, steps

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR as the generator does."""
        sr: Tensor = self.generator(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """The generator's, which knows nothing of the GAN's parameters; then both networks'."""
        own = Recipe(steps=self.steps, patch=self.patch, learning_rate=self.learning_rate)
        return (*self.generator.stages(), Stage("gan", own))

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        """One for each network; VGG19 has nothing to train."""
        return {
            "discriminator": list(self.discriminator.parameters()),
            "perceptual": list(self.generator.parameters()),
        }

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        """A step of the discriminator and one of the generator, from the same forward pass.

        Originals and restored patches go through the discriminator apart, each with the batch
        statistics of its own. As in the authors' code, the generator is told what the discriminator
        thought before that made its step.
        """
        sr = self.generator(batch.lr)
        seen = sr.detach().requires_grad_()
        real, fake = self.discriminator(batch.target), self.discriminator(seen)
        adversarial = cross_entropy(fake, 1)
        # taken now, for the step of the discriminator changes the weights that it needs
        (slope,) = torch.autograd.grad(adversarial, seen, retain_graph=True)

        discriminator = cross_entropy(real, 1) + cross_entropy(fake, 0)
        yield "discriminator", discriminator
        yield "gradient_discriminator", gradient_norm(self.discriminator)

        content = self.content(sr, batch.target)
        adversarial = adversarial.detach() + linear(sr, slope)
        yield "perceptual", content + self.adversarial * adversarial  # equation 1
        yield "gradient_generator", gradient_norm(self.generator)

        with torch.no_grad():
            yield "content", content
            yield "adversarial", adversarial
            yield "psnr", psnr(sr, batch.target)
            yield "accuracy_real", (real > 0).float().mean()
            yield "accuracy_fake", (fake < 0).float().mean()
            # 0: it cannot tell them apart; 1: it always can
            yield "balance", real.sigmoid().mean() - fake.sigmoid().mean()
            contrast = sr.std() / batch.target.std().clamp(min=1e-6)
            yield "contrast", contrast
            self.certain.copy_((self.certain + 1) * (discriminator < CERTAIN))
            self.flat.copy_((self.flat + 1) * (contrast < FLAT))

    def content(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Equation 2: MSE of VGG19's block5_conv4 after its ReLU, features divided by 12.75.

        The difference that the equation means lacks its minus sign; the divisor is the code's.
        """
        with torch.no_grad():
            wanted = self.features(hr)[self.layer]
        return F.mse_loss(self.features(sr)[self.layer] / 12.75, wanted / 12.75)

    def watch(self, stage: Stage, step: int) -> None:
        """Raises Diverged when the discriminator has won for good, or SR has lost its contrast."""
        where = f"stage {stage.name}: at step {step + 1}"
        if self.flat >= WINDOW:
            raise Diverged(
                f"{where} the generator has collapsed: for {int(self.flat)} updates its patches "
                f"had less than {FLAT:.0%} of the originals' contrast."
            )
        if self.certain >= WINDOW:
            raise Diverged(
                f"{where} the discriminator has won: for {int(self.certain)} updates it has told "
                f"every patch from its original, with a loss below {CERTAIN:g}, and the generator "
                "has not answered."
            )


def cross_entropy(logits: Tensor, label: int) -> Tensor:
    """Returns the mean binary cross-entropy of logits with a label, 1 original, 0 restored.

    With label 1 for restored patches it is -log D(G(LR)): equation 3, which lacks its minus sign.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(label)))


def linear(x: Tensor, slope: Tensor) -> Tensor:
    """Returns 0 as a function of x that has the given slope, both of the same shape."""
    value = (x * slope).sum()
    return value - value.detach()


def psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Returns the mean PSNR of patches `(N, 3, H, W)` in dB: RGB in [0, 1], SR clamped, no border.

    At most 100, for two equal patches have none.
    """
    squared = (sr.detach().clamp(0, 1) - hr).square().mean(dim=(1, 2, 3))
    return -10 * squared.clamp(min=1e-10).log10().mean()


def gradient_norm(network: nn.Module) -> Tensor:
    """Returns the Euclidean norm of the gradient that the network's last step was made with."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    return norm
