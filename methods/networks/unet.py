"""The U-Net of See-in-the-Dark: five levels, no normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.networks.edsr import conv3x3

STRIDE = 16
"""Sizes must be multiples of it: four poolings."""


class UNetwork(nn.Module):
    """Chen et al., Learning to See in the Dark, CVPR 2018, arXiv:1805.01934, figure 3.

    `(N, inputs, H, W)` -> `(N, 3, scale*H, scale*W)`, H and W multiples of 16; the paper's are
    packed raw of four channels and sRGB of twice the size, in [0, 1]. Width 32: 7,760,268
    parameters; transposed convolutions without bias, as the authors' code has them.
    """

    def __init__(self, inputs: int = 4, scale: int = 2, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(5)]
        self.scale = scale
        before = inputs
        for level, own in enumerate(widths, 1):
            self._pair(level, before, own)
            before = own
        for level, own in enumerate(reversed(widths[:-1]), 6):
            self.add_module(f"up{level}", nn.ConvTranspose2d(2 * own, own, 2, 2, bias=False))
            self._pair(level, 2 * own, own)
        self.conv10 = nn.Conv2d(width, 3 * scale**2, 1)

    def _pair(self, level: int, inputs: int, outputs: int) -> None:
        self.add_module(f"conv{level}_1", conv3x3(inputs, outputs))
        self.add_module(f"conv{level}_2", conv3x3(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        left = []
        for level in range(1, 6):
            x = self._level(x, level)
            if level < 5:
                left.append(x)
                x = F.max_pool2d(x, 2)
        for level in range(6, 10):
            x = torch.cat([self.get_submodule(f"up{level}")(x), left.pop()], dim=1)
            x = self._level(x, level)
        picture: Tensor = F.pixel_shuffle(self.conv10(x).float(), self.scale)
        return picture

    def _level(self, x: Tensor, level: int) -> Tensor:
        for n in (1, 2):
            x = F.leaky_relu(self.get_submodule(f"conv{level}_{n}")(x), 0.2)
        return x
