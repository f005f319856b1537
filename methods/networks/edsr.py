"""EDSR without its papers' losses: residual blocks without batch norm, enlargement at the end."""

import torch
from torch import Tensor, nn

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
        residual: Tensor = self.tail(torch.relu(self.head(x)))
        return x + self.residual_scale * residual


def upsampler(scale: int, channels: int) -> nn.Sequential:
    """Returns convolutions with pixel shuffle, `(N, c, H, W)` -> `(N, c, scale*H, scale*W)`.

    Scales that are powers of two go in steps of two, as in EDSR-PyTorch; others in one.
    """
    steps = [2] * (scale.bit_length() - 1) if scale & (scale - 1) == 0 else [scale]
    layers: list[nn.Module] = []
    for step in steps:
        layers += [conv3x3(channels, channels * step**2), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


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

    def forward(self, lr: Tensor) -> Tensor:
        features = self.head((lr - self.mean) * 255)
        features = features + self.body(features)
        sr: Tensor = self.tail(features).float() / 255 + self.mean
        return sr
