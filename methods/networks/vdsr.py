"""VDSR: many plain convolutions learn what the enlarged image lacks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.networks.edsr import conv3x3


class VDSRNetwork(nn.Module):
    """Kim et al., Accurate Image SR Using Very Deep Convolutional Networks, CVPR 2016, section 3.

    `(N, colours, H, W)` -> `(N, colours, scale*H, scale*W)`, both in [0, 1]. 20
    layers of 64 channels: 668,227 parameters in RGB; the paper's network sees Y alone, 665,921.
    """

    def __init__(self, scale: int, layers: int = 20, channels: int = 64, colours: int = 3) -> None:
        super().__init__()
        self.scale = scale
        widths = [colours, *[channels] * (layers - 1), colours]
        self.layers = nn.ModuleList(map(conv3x3, widths, widths[1:]))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                # He et al., as in section 5.2: torch's own would shrink the signal at every layer.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.halo = layers // scale + 3  # LR pixels: one HR pixel a layer, and the kernel's

    def forward(self, lr: Tensor) -> Tensor:
        # With antialias torch takes Keys' a = -0.5, MATLAB's kernel; without, -0.75.
        size = [self.scale * side for side in lr.shape[-2:]]
        enlarged = F.interpolate(lr, size, mode="bicubic", antialias=True)
        residual = enlarged
        for layer in self.layers[:-1]:
            residual = torch.relu_(layer(residual))
        sr: Tensor = enlarged + self.layers[-1](residual)
        return sr
