"""EDSR without its papers' losses: residual blocks without batch norm, enlargement at the end."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.networks.layouts import MEAN_SHIFT, Rules

MEAN = (0.4488, 0.4371, 0.4040)
"""RGB mean of DIV2K, from EDSR-PyTorch."""


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Returns a 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualBlock(nn.Module):
    """x + s * conv(relu(conv(x))): He's block without batch norm and without the last ReLU."""

    def __init__(self, channels: int, residual_scale: float = 1.0) -> None:
        super().__init__()
        self.head = conv3x3(channels, channels)
        self.tail = conv3x3(channels, channels)
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.tail(torch.relu_(self.head(x)))
        return x + residual if self.residual_scale == 1 else x + self.residual_scale * residual


class ShuffleConv(nn.Conv2d):
    """A 3x3 convolution and pixel shuffle: `(N, C, H, W)` -> `(N, outputs, step*H, step*W)`.

    The same parameters and the same result as Conv2d and PixelShuffle. Shuffling moves single
    numbers; with the filters put into the order (row, column, channel) first, it moves whole
    pixels of a channels-last tensor, which takes a quarter of the time (measured, bf16, CPU).
    """

    def __init__(self, inputs: int, outputs: int, step: int) -> None:
        super().__init__(inputs, outputs * step**2, 3, padding=1)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        step, outputs = self.step, self.out_channels // self.step**2
        assert self.bias is not None
        weight = self.weight.view(outputs, step**2, -1, 3, 3).transpose(0, 1).flatten(0, 1)
        bias = self.bias.view(outputs, step**2).t().flatten()
        x = F.conv2d(x, weight, bias, padding=1).permute(0, 2, 3, 1)
        x = x.reshape(n, height, width, step, step, outputs).transpose(2, 3)
        return x.reshape(n, step * height, step * width, outputs).permute(0, 3, 1, 2)


def upsampler(scale: int, channels: int) -> nn.Sequential:
    """Returns convolutions with pixel shuffle, `(N, c, H, W)` -> `(N, c, scale*H, scale*W)`.

    Scales that are powers of two go in steps of two, as in EDSR-PyTorch; others in one.
    """
    steps = [2] * (scale.bit_length() - 1) if scale & (scale - 1) == 0 else [scale]
    return nn.Sequential(*(ShuffleConv(channels, channels, step) for step in steps))


class EDSRNetwork(nn.Module):
    """Lim et al., Enhanced Deep Residual Networks, CVPRW 2017; arXiv 1707.02921.

    `(N, 3, H, W)` -> `(N, 3, scale*H, scale*W)`, both RGB in [0, 1]. The baseline is 16 blocks of
    64 channels: 1,369,859 parameters at x2, 1,517,571 at x4. It works on the scale 0 to 255, as
    the authors' code does by default.
    """

    mean: Tensor

    def __init__(
        self, scale: int, blocks: int = 16, channels: int = 64, residual_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = conv3x3(3, channels)
        self.body = nn.Sequential(
            *(ResidualBlock(channels, residual_scale) for _ in range(blocks)),
            conv3x3(channels, channels),
        )
        self.tail = nn.Sequential(*upsampler(scale, channels), conv3x3(channels, 3))
        self.halo = 2 * blocks + 5  # LR pixels: one a convolution, less once the image is larger

    def forward(self, lr: Tensor) -> Tensor:
        features = self.head((lr - self.mean) * 255)
        features = features + self.body(features)
        sr: Tensor = self.tail(features).float() / 255 + self.mean
        return sr


def layouts(scale: int, blocks: int) -> Rules:
    """Returns rules from the names of EDSR-PyTorch and of BasicSR to those of EDSRNetwork."""
    last = len(upsampler(scale, 1))
    return (
        MEAN_SHIFT,
        (r"(?:head\.0|conv_first)\.(\w+)", r"head.\1"),
        (r"body\.(\d+)\.(?:body\.0|conv1)\.(\w+)", r"body.\1.head.\2"),
        (r"body\.(\d+)\.(?:body\.2|conv2)\.(\w+)", r"body.\1.tail.\2"),
        (r"conv_after_body\.(\w+)", rf"body.{blocks}.\1"),
        (r"(?:tail\.0|upsample)\.0\.(\w+)", r"tail.0.\1"),
        (r"(?:tail\.0|upsample)\.2\.(\w+)", r"tail.1.\1"),  # pixel shuffle has a number there
        (r"conv_last\.(\w+)", rf"tail.{last}.\1"),
        (r"tail\.1\.(weight|bias)", rf"tail.{last}.\1"),
    )
