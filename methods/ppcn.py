"""PPCN: two small networks, of which the smaller learns from the larger's attention.

All numbers are from the authors' code. Trained on aligned patches of
100x100 pixels, 50 at a time, 20,000 updates; as DPED, but for the content loss.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.method import Batch, Method, Rate, Recipe, Stage
from methods.dped import GrayDiscriminator, colour, initialise, photograph, texture, told_apart
from methods.losses.contextual import contextual
from methods.losses.pixels import total_variation
from methods.networks.features import Features, content_network

PAPER = "Hui et al., Perception-Preserving Convolutional Networks for Image Enhancement, ECCVW 2018"
Count = Annotated[int, Field(ge=1)]
Patch = Annotated[int, Field(ge=32)]
Weight = Annotated[float, Field(ge=0)]
Seen = tuple[Tensor, Tensor, Tensor]
"""A picture, and two maps `(N, 1, H, W)` of what the network attends to."""

CONTENT, SIMILARITY, CONTEXT = 10.0, 25.0, 4.0
"""Weight of the content loss, and in it of 1 - SSIM and of the contextual loss."""
COLOUR, TEXTURE, SMOOTHNESS = 1.0, 1.0, 2000.0
TRANSFER = 75.0
"""Weight of the teacher's attention."""
SCHEDULE = Rate(at={10_000: 0.1})
LAYERS = ((64, 9, 4), (128, 5, 2), (192, 3, 1), (192, 3, 1), (256, 3, 2), (256, 3, 1))
"""Of the discriminator: channels, kernel, stride."""


class Teacher(Method):
    """The larger network, 21,843 parameters.

    width: of the discriminator's first layer. features: what the contextual loss compares, VGG19's
    conv4_2 "published" or "random", or "alexnet".
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "enhancement"
    tiny = {"width": 8, "features": "random", "patch": 32}
    halo = None  # contrast and instance norm are the whole picture's

    def __init__(
        self,
        *,
        width: Count = 64,
        features: Features = "published",
        patch: Patch = 100,
        learning_rate: Annotated[float, Field(gt=0)] = 5e-4,
        steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.network = TeacherNetwork()
        self.discriminator = GrayDiscriminator(LAYERS, patch, width)
        self.judge = Judge(features)
        self.remarks = self.judge.remarks
        self.recipe = Recipe(steps=steps, patch=patch, learning_rate=learning_rate, rate=SCHEDULE)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        picture: Tensor = self.network(lr)[0]
        return picture

    def stages(self) -> Sequence[Stage]:
        """One, the same whether it is trained for itself or as a teacher."""
        return (Stage("teacher", self.recipe, trains=self),)

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        """One for each network."""
        return both(self.network, self.discriminator)

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        """A step of the network, then one of the discriminator on the same patches."""
        sr = self(batch.lr)
        yield from steps_of(self.judge(sr, batch.target), sr, batch, self.discriminator)


class Student(Method):
    """The smaller network, 2,715 parameters, whose two attention maps become the teacher's.

    transfer: weight of that loss; 0 trains without a teacher. teacher_steps: updates of the
    teacher. The others are those of Teacher, and serve both.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "enhancement"
    tiny = Teacher.tiny
    halo = None  # contrast and instance norm are the whole picture's

    def __init__(
        self,
        *,
        width: Count = 64,
        features: Features = "published",
        transfer: Weight = TRANSFER,
        patch: Patch = 100,
        learning_rate: Annotated[float, Field(gt=0)] = 5e-4,
        steps: Count | None = None,
        teacher_steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.network = StudentNetwork()
        self.discriminator = GrayDiscriminator(LAYERS, patch, width)
        self.teacher = Teacher(
            width=width, features=features, patch=patch, learning_rate=learning_rate,
            steps=teacher_steps,
        )  # fmt: skip
        self.judge, self.remarks = self.teacher.judge, self.teacher.remarks
        self.transfer = transfer
        self.recipe = Recipe(steps=steps, patch=patch, learning_rate=learning_rate, rate=SCHEDULE)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        picture: Tensor = self.network(lr)[0]
        return picture

    def stages(self) -> Sequence[Stage]:
        """The teacher's, then its own."""
        before = self.teacher.stages() if self.transfer else ()
        return (*before, Stage("student", self.recipe))

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        """One for each network; the teacher has learned."""
        return both(self.network, self.discriminator)

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        """As the teacher's, with what the teacher attends to."""
        sr, *maps = self.network(batch.lr)
        losses = self.judge(sr, batch.target)
        if self.transfer:
            with torch.no_grad():
                _, *wanted = self.teacher.network(batch.lr)
            losses["transfer"] = self.transfer * attention(maps, wanted)
        yield from steps_of(losses, sr, batch, self.discriminator)


class TeacherNetwork(nn.Module):
    """A 7x7 convolution in two, a residual block and a dilated one, both gathered by a 1x1 one."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.head = head(channels)
        self.plain, self.dilated = (_residual(channels, dilation) for dilation in (1, 2))
        self.gather = nn.Conv2d(2 * channels, channels, 1)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        initialise(self)

    def forward(self, lr: Tensor) -> Seen:
        first = self.head(contrasted(lr))
        near = first + self.plain(first)
        far = near + self.dilated(near)
        last = F.leaky_relu(self.gather(torch.cat([near, far], dim=1)), 0.05)
        return photograph(self.tail(last)), first.mean(1, True), last.mean(1, True)


class StudentNetwork(nn.Module):
    """A 7x7 convolution in two, then another, dilated, in a residual block."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.head = head(channels)
        self.dilated = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, (1, 7), padding=(0, 6), dilation=2),
            _norm(2 * channels),
            nn.LeakyReLU(0.05),
            nn.Conv2d(2 * channels, channels, (7, 1), padding=(6, 0), dilation=2),
            _norm(channels),
            nn.LeakyReLU(0.05),
        )
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        initialise(self)

    def forward(self, lr: Tensor) -> Seen:
        first = self.head(contrasted(lr))
        last = first + self.dilated(first)
        return photograph(self.tail(last)), first.mean(1, True), last.mean(1, True)


def head(channels: int) -> nn.Sequential:
    """A row of seven, then a column of seven."""
    return nn.Sequential(
        nn.Conv2d(3, channels, (1, 7), padding=(0, 3)),
        nn.LeakyReLU(0.05),
        nn.Conv2d(channels, channels, (7, 1), padding=(3, 0)),
        nn.LeakyReLU(0.05),
    )


def _residual(channels: int, dilation: int) -> nn.Sequential:
    wide, d = 2 * channels, dilation
    return nn.Sequential(
        nn.Conv2d(channels, wide, 3, padding=d, dilation=d),
        _norm(wide),
        nn.LeakyReLU(0.05),
        nn.Conv2d(wide, channels, 3, padding=d, dilation=d),
        _norm(channels),
    )


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, eps=1e-3, affine=True)


def contrasted(image: Tensor) -> Tensor:
    """Returns an image `(N, 3, H, W)` with 1.2 times the contrast of each channel around its mean.

    >>> contrasted(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)).flatten().tolist()
    [-0.10000002384185791, 1.100000023841858]
    """
    mean = image.mean(dim=(2, 3), keepdim=True)
    return 1.2 * (image - mean) + mean


class Judge(nn.Module):
    """The losses that need no discriminator, weighted."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.network, self.layer, self.remarks = content_network("conv4_2", features, "caffe")

    def forward(self, sr: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Returns them by name, of pictures `(N, 3, H, W)` in about [0, 1]."""
        with torch.no_grad():
            wanted = self.network(target)[self.layer]
        seen = self.network(sr)[self.layer]
        return {
            "similarity": CONTENT * SIMILARITY * (1 - similarity(sr, target)),
            "context": CONTENT * CONTEXT * contextual(seen, wanted),
            "colour": COLOUR * colour(sr, target),
            "smoothness": SMOOTHNESS * total_variation(sr),
        }


def similarity(sr: Tensor, target: Tensor) -> Tensor:
    """Returns the mean SSIM, at most 1, of pictures `(N, C, H, W)` in [0, 1], at least 11 pixels a
    side: Wang et al., TIP 2004, a Gaussian window of 11 pixels and 1.5, each channel for itself."""
    sr, target = sr.float(), target.float()
    offsets = torch.arange(-5, 6, dtype=sr.dtype, device=sr.device)
    taps = torch.exp(-(offsets**2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    row = taps.repeat(sr.shape[1], 1, 1, 1)

    def mean(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # variances are small differences
            across = F.conv2d(x, row, groups=len(row))
            return F.conv2d(across, row.transpose(2, 3), groups=len(row))

    c1, c2 = 0.01**2, 0.03**2
    a, b = mean(sr), mean(target)
    spread = mean(sr.square()) - a.square() + mean(target.square()) - b.square()
    both_spread = mean(sr * target) - a * b
    light = (2 * a * b + c1) / (a.square() + b.square() + c1)
    return (light * (2 * both_spread + c2) / (spread + c2)).mean()


def attention(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Returns half the squared distance of attention maps `(N, 1, H, W)` brought to length 1, a
    sum over the maps and a mean over N: 0 to 2 each."""
    pairs = zip(maps, wanted, strict=True)
    unit = [[F.normalize(m.float().flatten(1), dim=1) for m in pair] for pair in pairs]
    return torch.stack([(a - b).square().sum() / (2 * len(a)) for a, b in unit]).sum()


def both(network: nn.Module, discriminator: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Returns what the two losses of `steps_of` update."""
    return {
        "generator": list(network.parameters()),
        "discriminator": list(discriminator.parameters()),
    }


def steps_of(
    losses: dict[str, Tensor], sr: Tensor, batch: Batch, discriminator: nn.Module
) -> Iterator[tuple[str, Tensor]]:
    """Yields the network's loss with the discriminator's opinion in it, then the discriminator's,
    then each part."""
    losses["texture"] = TEXTURE * texture(discriminator(sr))
    yield "generator", torch.stack([*losses.values()]).sum()
    yield "discriminator", told_apart(discriminator(batch.target), discriminator(sr.detach()))
    yield from losses.items()
