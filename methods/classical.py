"""Methods without training: the baselines of every table."""

import numpy as np
import torch
from torch import Tensor

from bench.degrade import imresize_float
from bench.method import Method


class Bicubic(Method):
    """Bicubic enlargement as MATLAB's imresize does it: Keys' kernel, a = -0.5."""

    paper = "Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981"
    halo = 4

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        """Returns `(N, 3, scale*H, scale*W)`; overshoots [0, 1] by up to a tenth at edges."""
        images = lr.permute(0, 2, 3, 1).cpu().numpy().astype(np.float64)
        enlarged = [imresize_float(image, self.scale) for image in images]
        return torch.from_numpy(np.stack(enlarged)).permute(0, 3, 1, 2).to(lr)
