"""The two networks of ResCNN-GAN, in Keras' conventions; the second is also its generator."""

from typing import Literal

import torch
from torch import Tensor, nn

from methods.networks.edsr import MEAN, conv3x3, upsampler


class SimpleCNN(nn.Module):
    """Shah et al., Super Resolution/Image DeBlurring using GAN, figure 1: simple_cnn.

    `(N, 3, H, W)` -> `(N, 3, scale*H, scale*W)`, both RGB in [0, 1]; the original's range is 0 to
    255. 335,875 parameters at x4, the paper's scale. No activation follows the first two
    convolutions: so it is in the authors' code.
    """

    mean: Tensor

    def __init__(self, scale: int = 4, channels: int = 64) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.layers = nn.Sequential(
            conv3x3(3, channels),
            conv3x3(channels, channels),
            *_enlarge(scale, channels),
            conv3x3(channels, 3),
        )
        self.halo = 4  # LR pixels: one a convolution, less once the image is larger
        glorot_(self)

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.layers(2 * (lr - self.mean)).float()  # (X - mean) / 127.5
        return sr / 2 + self.mean


class ResCNN(nn.Module):
    """Shah et al., figure 3: 16 residual blocks with batch norm, and a skip over all of them.

    `(N, 3, H, W)` -> `(N, 3, scale*H, scale*W)`, both RGB in [0, 1]; the original's range is 0 to
    255. 1,520,259 parameters at x4, the paper's scale, and 4,224 moving statistics.

    tail: "tanh" as in the authors' code, 127.5 (tanh(y) + 1); "linear" as in the paper's text,
    255 y.
    """

    def __init__(
        self,
        scale: int = 4,
        blocks: int = 16,
        channels: int = 64,
        tail: Literal["tanh", "linear"] = "tanh",
    ) -> None:
        super().__init__()
        self.head = nn.Sequential(conv3x3(3, channels), nn.ReLU())
        self.body = nn.Sequential(
            *(_Block(channels) for _ in range(blocks)),
            conv3x3(channels, channels),
            batch_norm(channels),
        )
        self.tail = nn.Sequential(*_enlarge(scale, channels), nn.Conv2d(channels, 3, 1))
        self.squash = tail == "tanh"
        self.halo = 2 * blocks + 4  # LR pixels: one a convolution
        glorot_(self)

    def forward(self, lr: Tensor) -> Tensor:
        features = self.head(lr)
        sr: Tensor = self.tail(features + self.body(features)).float()
        return (torch.tanh(sr) + 1) / 2 if self.squash else sr


class _Block(nn.Module):
    """x + BN(conv(relu(BN(conv(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv3x3(channels, channels),
            batch_norm(channels),
            nn.ReLU(inplace=True),
            conv3x3(channels, channels),
            batch_norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.layers(x)
        return x + residual


def _enlarge(scale: int, channels: int) -> list[nn.Module]:
    """Convolutions with pixel shuffle, each followed by ReLU."""
    steps = upsampler(scale, channels)
    return [layer for convolution in steps for layer in (convolution, nn.ReLU(inplace=True))]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Returns Keras' BatchNormalization: its momentum 0.99 is the old share, torch's the new."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def glorot_(network: nn.Module) -> None:
    """Gives convolutions and dense layers Keras' first weights: Glorot-uniform, biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
