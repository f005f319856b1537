"""PRaD: a generator whose decoder sees every scale of its encoder, against a discriminator that
judges triplets.

Sections III.B to III.D of the paper. Its tables are lost, and with them the number of scales, the
widths, the refinement, the output, the discriminator's layers, the features' layers, and how it was
trained: what stands here for those is the field's usual choice, or DPED's, and said to be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from bench.data.catalog import Task
from bench.method import Batch, Method, Recipe, Stage
from methods.dped import photograph
from methods.gridnet import GridNet
from methods.losses.adversarial import fooled, told_apart
from methods.losses.contextual import contextual
from methods.losses.perceptual import content
from methods.losses.pixels import colour, gradient, local_contrast, total_variation
from methods.networks.alexnet import SMALLEST, AlexNet
from methods.networks.discriminators import DPEDDiscriminator
from methods.networks.features import Features
from methods.networks.vgg import VGG19
from methods.resnet import ResNet

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Preset = Literal["light", "base", "large"]
Widths = Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)]
Normalisation = Literal["none", "batch", "instance", "weight"]
Replacement = Literal["gridnet", "resnet20", "resnet32"]

PRESETS: Mapping[str, tuple[int, ...]] = {
    "light": (16, 32, 64),
    "base": (32, 64, 128),
    "large": (32, 64, 128, 256),
}
"""190,259, 758,371 and 3,303,139 parameters. The paper says a tenth of GridNet's, which are 2.2 or
13.2 millions."""

RIVALS: Mapping[Replacement, Callable[[], Method]] = {
    "gridnet": GridNet,
    "resnet20": partial(ResNet, blocks=8),
    "resnet32": partial(ResNet, blocks=14),
}
"""Section IV.A.2: "we replace the enhancement network with GridNet, ResNet-20, and ResNet-32"."""


# --- section III.B: multi-level connected generator -----------------------------------------------


class Generator(nn.Module):
    """Figure 2: RGB `(N, 3, H, W)` in [0, 1] -> the same size in [-0.08, 1.08].

    H and W: multiples of 2^(levels - 1). widths: channels at each resolution, the whole one first.
    cfa, refinement: without them the decoder gets the features of its own scale alone, as a U-Net
    does, and R is left out. depth: which of an encoder's two convolutions is aggregated. The last
    layer is DPED's.
    """

    def __init__(
        self,
        widths: Sequence[int],
        cfa: bool = True,
        refinement: bool = True,
        normalisation: Normalisation = "none",
        depth: Literal["shallow", "deep"] = "deep",
    ) -> None:
        super().__init__()
        self.depth = depth
        befores = (3, *widths[:-1])
        self.shallow = nn.ModuleList(
            active(before, own, normalisation) for before, own in zip(befores, widths, strict=True)
        )
        self.deep = nn.ModuleList(active(own, own, normalisation) for own in widths)
        self.decoder = nn.ModuleList(
            Decoder(level, widths, cfa, refinement, normalisation)
            for level in reversed(range(len(widths) - 1))
        )
        self.output = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        scales: list[Tensor] = []
        for first, second in zip(self.shallow, self.deep, strict=True):
            x = F.avg_pool2d(x, 2) if scales else x  # equation 2
            shallow = first(x)
            x = second(shallow)
            scales.append(x if self.depth == "deep" else shallow)
        for decode in self.decoder:
            x = decode(x, scales)
        return photograph(self.output(x).float())


class Decoder(nn.Module):
    """Equations 3 and 4 at one level: y_n = C(CFA_n(Up(y_n+1))), with CFA_n(u) = C(Concat(R(u),
    F_n)), F_n the encoder's features of all scales brought to this one."""

    def __init__(
        self,
        level: int,
        widths: Sequence[int],
        cfa: bool,
        refinement: bool,
        normalisation: Normalisation,
    ) -> None:
        super().__init__()
        own = widths[level]
        self.level, self.cfa = level, cfa
        self.up = active(widths[level + 1], own, normalisation)
        self.refine = Refinement(own, normalisation) if refinement else nn.Identity()
        features = sum(widths) if cfa else own
        self.fuse = active(own + features, own, normalisation)
        self.last = active(own, own, normalisation)

    def forward(self, x: Tensor, scales: Sequence[Tensor]) -> Tensor:
        x = self.up(F.interpolate(x, scale_factor=2, mode="bilinear"))
        chosen = enumerate(scales) if self.cfa else [(self.level, scales[self.level])]
        features = [rescaled(maps, 2.0 ** (level - self.level)) for level, maps in chosen]
        y: Tensor = self.last(self.fuse(torch.cat([self.refine(x), *features], dim=1)))
        return y


class Refinement(nn.Module):
    """R: a residual block of two convolutions."""

    def __init__(self, channels: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            active(channels, channels, normalisation),
            convolution(channels, channels, normalisation),
        )

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = x + self.residual(x)
        return refined


def rescaled(maps: Tensor, factor: float) -> Tensor:
    """Returns maps enlarged bilinearly, or averaged over squares."""
    if factor < 1:
        return F.avg_pool2d(maps, round(1 / factor))
    return F.interpolate(maps, scale_factor=factor, mode="bilinear") if factor > 1 else maps


def active(inputs: int, outputs: int, normalisation: Normalisation) -> nn.Sequential:
    """Returns C: a convolution, its norm, and LeakyReLU 0.2."""
    return nn.Sequential(convolution(inputs, outputs, normalisation), nn.LeakyReLU(0.2))


def convolution(inputs: int, outputs: int, normalisation: Normalisation) -> nn.Module:
    """Returns a 3x3 convolution with one of section IV.B.5's norms; the paper's model has none."""
    plain = nn.Conv2d(inputs, outputs, 3, padding=1)
    if normalisation == "batch":
        return nn.Sequential(plain, nn.BatchNorm2d(outputs))
    if normalisation == "instance":
        return nn.Sequential(plain, nn.InstanceNorm2d(outputs, affine=True))
    return weight_norm(plain) if normalisation == "weight" else plain


def reach(levels: int) -> int:
    """Returns how many pixels the generator sees on each side, at most.

    Of the encoder's convolutions two a level and a pooling, of the decoder's an enlargement and
    five; the last one; each counts as many pixels as its level's are wide.
    """
    sides = [1 << level for level in range(levels)]
    down = 2 * sum(sides) + sum(sides[:-1])
    return down + sum(2 * side + 5 * side for side in sides[:-1]) + 1


# --- section III.C: what a loss compares ----------------------------------------------------------

LAYERS: Mapping[Features, tuple[str, str, str]] = {
    "published": ("relu1_2", "conv4_2", "relu5_4"),
    "random": ("relu1_2", "conv4_2", "relu5_4"),
    "alexnet": ("relu1", "relu2", "relu5"),
}
"""Of what the discriminator sees, 64 channels; of the texture and the contextual loss, about 12x12
positions of 100x100 pixels; of the content loss. The paper's are lost: the first is VGG19's last
at full size, the second the contextual loss' authors', the third DPED's. AlexNet's are alike in
depth and size, but for the first, which has a quarter of the side and is enlarged."""


def feature_network(features: Features) -> tuple[nn.Module, tuple[str, ...]]:
    """Returns a network that makes the maps of LAYERS, and what a report must say of it."""
    layers = LAYERS[features]
    if features == "alexnet":
        return AlexNet(layers), (
            "content, texture and contextual losses and the discriminator's features are on "
            "AlexNet's (ImageNet-trained), not VGG19's",
        )
    network = VGG19(layers, features)
    if features == "random":
        return network, ("untrained features: the losses compare what a random VGG19 sees",)
    return network, ()


# --- sections III.C and III.D ---------------------------------------------------------------------


class PRaD(Method):
    """The generator, trained against the pair-wise relativistic discriminator.

    generator: "prad", or what table 2 puts in its place; then the next five say nothing.
    widths: channels at each resolution, or "light" (16, 32, 64), "base" (32, 64, 128), "large" (32,
    64, 128, 256). cfa, refinement, normalisation, depth: see Generator.
    discriminator: sees "triplet", the input, the enhanced picture or the target, and the features
    of that; "pair", without the features; "image", the picture alone, as a plain relativistic
    discriminator (the paper's "w/o VGG content" may be either); or there is "none", as there is for
    an adversarial weight of 0.
    discriminator_width: channels of its first layer; its layers are DPED's with batch norm.
    features: of VGG19, "published" or "random", or of "alexnet".
    content, adversarial, texture, colour, contextual, total_variation: weights of equation 19; a
    loss of weight 0 is not computed. All are means, so `colour: 3000` is 0.1 times the sum that
    equation 9 prints, of 100x100 pixels in three colours.
    patch: pixels a side in training, a multiple of the generator's stride.

    How it was trained is lost. DPED's and PPCN's: Adam, 5e-4, a tenth of it after 10,000 of 20,000
    updates, batch 50.
    """

    paper: ClassVar[str] = (
        "Zhang et al., Perceptual Image Enhancement by Relativistic Discriminant Learning With "
        "Cross-Scale Aggregated Representation, IEEE Access 7, 2019"
    )
    task: ClassVar[Task] = "enhancement"
    tiny: ClassVar[Mapping[str, Any]] = {
        "widths": (4, 6, 8), "discriminator_width": 4, "features": "alexnet", "patch": 32,
    }  # fmt: skip

    def __init__(
        self,
        *,
        generator: Literal["prad"] | Replacement = "prad",
        widths: Preset | Widths = "light",
        cfa: bool = True,
        refinement: bool = True,
        normalisation: Normalisation = "none",
        depth: Literal["shallow", "deep"] = "deep",
        discriminator: Literal["triplet", "pair", "image", "none"] = "triplet",
        discriminator_width: Count = 48,
        features: Features = "published",
        content: Weight = 1.0,
        adversarial: Weight = 0.4,
        texture: Weight = 0.4,
        colour: Weight = 0.1,
        contextual: Weight = 0.4,
        total_variation: Weight = 400.0,
        patch: Count = 100,
    ) -> None:
        super().__init__()
        self.generator: nn.Module
        if generator == "prad":
            channels = PRESETS[widths] if isinstance(widths, str) else widths
            self.stride = 2 ** (len(channels) - 1)
            self.halo = None if normalisation == "instance" else reach(len(channels))
            self.generator = Generator(channels, cfa, refinement, normalisation, depth)
        else:
            self.generator = rival = RIVALS[generator]()
            self.halo = rival.halo
        self.weights = {
            "content": content, "texture": texture, "colour": colour, "contextual": contextual,
            "total_variation": total_variation, "adversarial": adversarial,
        }  # fmt: skip
        self.patch, self.sees = patch, discriminator
        self._check(features)
        self.features, self.remarks = feature_network(features)
        self.layers = LAYERS[features]
        self.discriminator: DPEDDiscriminator | None = None
        if discriminator != "none" and adversarial:
            inputs = {"triplet": 6 + 64, "pair": 6, "image": 3}[discriminator]
            hidden = max(1, round(1024 * discriminator_width / 48))
            self.discriminator = DPEDDiscriminator(
                inputs, patch, discriminator_width, hidden=hidden
            )

    def _check(self, features: Features) -> None:
        if self.patch % self.stride:
            raise ValueError(f"patch {self.patch}: must be a multiple of {self.stride}.")
        if features == "alexnet" and self.patch < SMALLEST:
            raise ValueError(f"patch {self.patch}: AlexNet's features need {SMALLEST} a side.")
        if not any(weight for name, weight in self.weights.items() if name != "adversarial"):
            raise ValueError("every loss but the adversarial one has weight 0.")

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        enhanced: Tensor = self.generator(lr)
        return enhanced

    def stages(self) -> Sequence[Stage]:
        """One."""
        return (Stage("prad", Recipe(patch=self.patch)),)

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        """One for each network. The discriminator's last bias cancels out in equation 6."""
        trained = {"generator": list(self.generator.parameters())}
        if self.discriminator is not None:
            *others, _ = self.discriminator.parameters()
            trained["discriminator"] = others
        return trained

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        """Algorithm 1: a step of the discriminator, and one of the generator against what it has
        become."""
        enhanced = self(batch.lr)
        maps = self.features(enhanced)
        with torch.no_grad():
            wanted = self.features(batch.target)
        losses = self.losses(enhanced, batch.target, maps, wanted)
        if self.discriminator is not None:
            real = self.seen(batch.lr, batch.target, wanted)
            fake = self.seen(batch.lr, enhanced, maps)
            yield (
                "discriminator",
                told_apart(self.discriminator(real), self.discriminator(fake.detach())),
            )
            losses["adversarial"] = fooled(self.discriminator(real), self.discriminator(fake))
        weighed = [self.weights[name] * loss for name, loss in losses.items()]
        yield "generator", torch.stack(weighed).sum()
        for name, loss in losses.items():
            yield name, loss.detach()

    def seen(self, lr: Tensor, image: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        """Returns equation 5: what the discriminator sees of an image, joined in channels."""
        if self.sees == "image":
            return image
        if self.sees == "pair":
            return torch.cat([lr, image], dim=1)
        content = F.interpolate(maps[self.layers[0]].float(), image.shape[-2:], mode="bilinear")
        return torch.cat([lr, image, content], dim=1)

    def losses(
        self,
        enhanced: Tensor,
        target: Tensor,
        maps: Mapping[str, Tensor],
        wanted: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Returns the terms of equation 19 that have a weight, but for the adversarial one."""
        _, middle, deep = self.layers
        terms: dict[str, Callable[[], Tensor]] = {
            "content": lambda: content(maps[deep], wanted[deep]),
            "texture": lambda: self.texture(enhanced, target),
            "colour": lambda: colour(enhanced, target),
            "contextual": lambda: contextual(maps[middle], wanted[middle]),
            "total_variation": lambda: total_variation(enhanced),
        }
        return {name: term() for name, term in terms.items() if self.weights[name]}

    def texture(self, enhanced: Tensor, target: Tensor) -> Tensor:
        """Returns equation 15: the features of locally normalised pictures, and their gradients."""
        middle = self.layers[1]
        with torch.no_grad():
            wanted = self.features(local_contrast(target))[middle]
        normalised = self.features(local_contrast(enhanced))[middle]
        return content(normalised, wanted) + gradient(enhanced, target)
