"""MDSR without a loss: one body for several scales, each with its own entrance and exit."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.networks.edsr import MEAN, ResidualBlock, conv3x3, upsampler
from methods.networks.layouts import MEAN_SHIFT, Rules

PUBLISHED = (2, 3, 4)
"""Scales of the authors' files, in their order."""


class MDSRNetwork(nn.Module):
    """Lim et al., Enhanced Deep Residual Networks, CVPRW 2017, section 3.3; arXiv 1707.02921.

    `(N, 3, H, W)` -> `(N, 3, scale*H, scale*W)`, both RGB in [0, 1]. 16 blocks of 64 channels for
    x2, x3 and x4 are the baseline, 3,227,203 parameters; 80 blocks are MDSR, 7,953,987. Like EDSR
    it works on the scale 0 to 255.
    """

    mean: Tensor

    def __init__(
        self, scales: Sequence[int], blocks: int, channels: int, residual_scale: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = conv3x3(3, channels)
        self.before = nn.ModuleDict(
            {f"x{s}": nn.Sequential(_Wide(channels), _Wide(channels)) for s in scales}
        )
        self.body = nn.Sequential(
            *(ResidualBlock(channels, residual_scale) for _ in range(blocks)),
            conv3x3(channels, channels),
        )
        self.upsample = nn.ModuleDict({f"x{s}": upsampler(s, channels) for s in scales})
        self.tail = conv3x3(channels, 3)
        self.halo = 2 * blocks + 13  # LR pixels: EDSR's, and 8 for four 5x5 convolutions

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        features = self.before[f"x{scale}"](self.head((lr - self.mean) * 255))
        features = features + self.body(features)
        sr: Tensor = self.tail(self.upsample[f"x{scale}"](features)).float()
        return sr / 255 + self.mean


class _Wide(ResidualBlock):
    """A residual block of two 5x5 convolutions: what a scale's pixels have of their own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.head = nn.Conv2d(channels, channels, 5, padding=2)
        self.tail = nn.Conv2d(channels, channels, 5, padding=2)


def layouts(scales: Sequence[int], wanted: Sequence[int]) -> Rules:
    """Returns rules from the names of EDSR-PyTorch to those of MDSRNetwork.

    scales: those of the file, in its order. What belongs to a scale that is not wanted is left out.
    """
    unwanted = "|".join(str(k) for k, scale in enumerate(scales) if scale not in wanted)
    by_scale = [
        rule
        for k, s in enumerate(scales)
        for rule in (
            (rf"pre_process\.{k}\.(\d)\.body\.0\.(\w+)", rf"before.x{s}.\1.head.\2"),
            (rf"pre_process\.{k}\.(\d)\.body\.2\.(\w+)", rf"before.x{s}.\1.tail.\2"),
            (rf"upsample\.{k}\.0\.(\w+)", rf"upsample.x{s}.0.\1"),
            (rf"upsample\.{k}\.2\.(\w+)", rf"upsample.x{s}.1.\1"),  # pixel shuffle has a number
        )
    ]
    return (
        MEAN_SHIFT,
        *([(rf"(?:pre_process|upsample)\.(?:{unwanted})\..+", "")] if unwanted else []),
        *by_scale,
        (r"(head|tail)\.0\.(\w+)", r"\1.\2"),
        (r"body\.(\d+)\.body\.0\.(\w+)", r"body.\1.head.\2"),
        (r"body\.(\d+)\.body\.2\.(\w+)", r"body.\1.tail.\2"),
    )
