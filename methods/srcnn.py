"""SRCNN: three convolutions on the enlarged image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.method import Method, Stage


class SRCNN(Method):
    """Patch extraction 9x9, non-linear mapping 5x5, reconstruction 5x5 (section 3.1), in RGB.

    69,251 parameters in RGB; the paper's 57,281 are for Y alone.
    """

    paper = "Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016"
    tiny = {"width": 4}

    def __init__(self, *, scale: int = 2, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.extract = nn.Conv2d(3, width, 9, padding=4)
        self.map = nn.Conv2d(width, width // 2, 5, padding=2)
        self.reconstruct = nn.Conv2d(width // 2, 3, 5, padding=2)
        self.halo = 8 // scale + 4  # radius 4 + 2 + 2 after enlargement, and the kernel's

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        # With antialias torch takes Keys' a = -0.5, MATLAB's kernel; without, -0.75.
        size = [self.scale * side for side in lr.shape[-2:]]
        x = F.interpolate(lr, size, mode="bicubic", antialias=True)
        x = torch.relu(self.extract(x))
        x = torch.relu(self.map(x))
        sr: Tensor = self.reconstruct(x)
        return sr

    def stages(self) -> tuple[Stage, ...]:
        """One stage with the L1 loss that every method has unless it says otherwise."""
        return (Stage("sr"),)
