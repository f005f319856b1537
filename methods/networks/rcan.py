"""RCAN: residual groups, in which each channel is weighed by the whole picture's mean of it."""

import torch
from torch import Tensor, nn

from methods.networks.edsr import MEAN, conv3x3, upsampler
from methods.networks.layouts import MEAN_SHIFT, Rules


class RCANetwork(nn.Module):
    """Zhang et al., Image Super-Resolution Using Very Deep RCAN, ECCV 2018, arXiv:1807.02758.

    `(N, 3, H, W)` -> `(N, 3, scale*H, scale*W)`, both RGB in [0, 1]; inside 0 to 255, DIV2K's mean
    taken off. 10 groups of 20 blocks, 64 channels, reduction 16: 15,592,355 parameters at x4.
    Tensors bear the authors' names.
    """

    mean: Tensor

    def __init__(
        self, scale: int = 4, groups: int = 10, blocks: int = 20, channels: int = 64,
        reduction: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Sequential(conv3x3(3, channels))
        self.body = nn.Sequential(
            *(_Group(channels, blocks, reduction) for _ in range(groups)),
            conv3x3(channels, channels),
        )
        self.tail = nn.Sequential(upsampler(scale, channels), conv3x3(channels, 3))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head((lr - self.mean) * 255)
        sr: Tensor = self.tail(x + self.body(x)).float() / 255 + self.mean
        return sr


class _Group(nn.Module):
    """Blocks, a convolution, and a skip over them."""

    def __init__(self, channels: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(_Block(channels, reduction) for _ in range(blocks)), conv3x3(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class _Block(nn.Module):
    """RCAB: x + attention(conv(relu(conv(x))))."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(channels, channels),
            nn.ReLU(inplace=True),
            conv3x3(channels, channels),
            _Attention(channels, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class _Attention(nn.Module):
    """Channels times a gate between 0 and 1, which sees their means."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.conv_du(x.mean(dim=(2, 3), keepdim=True))
        return x * gate.sigmoid()


def layouts(groups: int, blocks: int) -> Rules:
    """Returns rules from the authors' names and from BasicSR's to ours, of so many parts."""
    block = r"body\.(\d+)\.residual_group\.(\d+)\.rcab\."
    return (
        MEAN_SHIFT,
        (r"(?:tail\.0|upsample)\.2\.(\w+)", r"tail.0.1.\1"),  # pixel shuffle has a number there
        (r"upsample\.0\.(\w+)", r"tail.0.0.\1"),
        (r"conv_first\.(\w+)", r"head.0.\1"),
        (block + r"([02])\.(\w+)", r"body.\1.body.\2.body.\3.\4"),
        (block + r"3\.attention\.1\.(\w+)", r"body.\1.body.\2.body.3.conv_du.0.\3"),
        (block + r"3\.attention\.3\.(\w+)", r"body.\1.body.\2.body.3.conv_du.2.\3"),
        (r"body\.(\d+)\.conv\.(\w+)", rf"body.\1.body.{blocks}.\2"),
        (r"conv_after_body\.(\w+)", rf"body.{groups}.\1"),
        (r"conv_last\.(\w+)", r"tail.1.\1"),
    )
