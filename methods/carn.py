"""CARN-M: grouped residual blocks, cascaded twice, on the small image."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.weights import Weights
from bench.method import Method, Stage

Layer = Callable[[Tensor], Tensor]


class CARN_M(Method):
    """The mobile variant, section 3.3: groups of 4, and the residual blocks of a cascade share
    their weights. One body for x2, x3 and x4, each with an enlargement of its own.

    Parts bear the names of the authors' file, so that it loads as it is. Trained with L1, at one
    scale; section 4.2 draws one of the three for each batch. The paper's recipe, for a study:
    patches of 64 LR pixels, batch 64, 600,000 updates from 1e-4, halved at 400,000.
    """

    paper = "Ahn et al., Fast, Accurate, and Lightweight Super-Resolution with CARN, ECCV 2018"
    tiny = {"channels": 8}
    published = {
        "carn_m": Weights(
            "carn_m/carn_m.pth",
            "https://raw.githubusercontent.com/nmhkahn/CARN-pytorch/master/checkpoint/carn_m.pth",
            "d48a759a84509351facb6b7c6d5bd6edec98b98519b8c464ee4ab44d2ba964ff",
            "MIT",
        )
    }
    halo = 21  # radius: entry 1, three blocks of three times two convolutions 18, tail 2

    def __init__(self, *, scale: Literal[2, 3, 4] = 2, channels: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.sub_mean, self.add_mean = _Shift(-1), _Shift(1)
        self.entry = nn.Conv2d(3, channels, 3, padding=1)
        self.b1, self.b2, self.b3 = (_Cascade(channels) for _ in range(3))
        self.c1, self.c2, self.c3 = (_Fuse(channels, inputs) for inputs in (2, 3, 4))
        self.upsample = nn.ModuleDict(
            {f"up{factor}": _Enlarge(channels, factor) for factor in (2, 3, 4)}
        )
        self.exit = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        x = self.entry(self.sub_mean(lr))
        x = _cascade(x, [self.b1, self.b2, self.b3], [self.c1, self.c2, self.c3])
        sr: Tensor = self.add_mean(self.exit(self.upsample[f"up{self.scale}"](x)))
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, with the L1 loss that every method has unless it says otherwise."""
        return (Stage("carn_m"),)

    def optimizers(self, stage: Stage) -> dict[str, Sequence[nn.Parameter]]:
        """All but the shifts of the mean, and the enlargements to other scales."""
        others = [part for name, part in self.upsample.items() if name != f"up{self.scale}"]
        fixed = {
            id(p) for part in (self.sub_mean, self.add_mean, *others) for p in part.parameters()
        }
        return {"loss": [p for p in self.parameters() if id(p) not in fixed]}


class _Shift(nn.Module):
    """Takes DIV2K's mean colour off (-1), or adds it (1)."""

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.shifter = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.shifter.weight)
        shift = [sign * mean for mean in (0.4488, 0.4371, 0.4040)]
        self.shifter.bias = nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor) -> Tensor:
        shifted: Tensor = self.shifter(x)
        return shifted


class _Residual(nn.Module):
    """Two grouped 3x3 convolutions and a 1x1 one, figure 4 (b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=4), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=4), nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + x)


class _Cascade(nn.Module):
    """One residual block, applied three times with the same weights, in a cascade of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.b1 = _Residual(channels)
        self.c1, self.c2, self.c3 = (_Fuse(channels, inputs) for inputs in (2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return _cascade(x, [self.b1] * 3, [self.c1, self.c2, self.c3])


def _cascade(x: Tensor, blocks: Sequence[Layer], fusions: Sequence[Layer]) -> Tensor:
    """Each block sees what the fusion of all before it has left of them."""
    seen = x
    for block, fuse in zip(blocks, fusions, strict=True):
        seen = torch.cat([seen, block(x)], dim=1)
        x = fuse(seen)
    return x


class _Fuse(nn.Module):
    """A 1x1 convolution of what has been gathered."""

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels * inputs, channels, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.body(x)
        return fused


class _Enlarge(nn.Module):
    """Sub-pixel convolution; x4 is x2 twice."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        steps = (2, 2) if scale == 4 else (scale,)
        layers: list[nn.Module] = []
        for step in steps:
            layers.append(nn.Conv2d(channels, channels * step**2, 3, padding=1, groups=4))
            layers += [nn.ReLU(), nn.PixelShuffle(step)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = self.body(x)
        return enlarged
