"""Zero-DCE: a curve for each pixel of a dark picture, applied eight times."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.data.catalog import Task
from bench.data.weights import Weights
from bench.method import Method


class ZeroDCE(Method):
    """DCE-Net, section 3.2: seven 3x3 convolutions with symmetric skips, 79,416 parameters.

    It restores, with the authors' weights. It cannot be trained here: its four losses without a
    reference (section 3.3) and its set of multiple exposures are not written down yet.
    """

    paper = "Guo et al., Zero-Reference Deep Curve Estimation for Low-Light Enhancement, CVPR 2020"
    task: ClassVar[Task] = "low-light"
    tiny = {"channels": 8}
    published = {
        "zero_dce": Weights(
            "low_light/zero_dce.pth",
            "https://raw.githubusercontent.com/Li-Chongyi/Zero-DCE/master/Zero-DCE_code/"
            "snapshots/Epoch99.pth",
            "a4395acb874f320375d9704997cef874eaaaaa26a1777ceb29a92b70f74c3612",
            "CC BY-NC",
        )
    }
    halo = 7  # seven convolutions of radius 1

    def __init__(self, *, channels: int = 32) -> None:
        super().__init__()
        self.e_conv1 = nn.Conv2d(3, channels, 3, padding=1)
        self.e_conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.e_conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.e_conv4 = nn.Conv2d(channels, channels, 3, padding=1)
        self.e_conv5 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.e_conv6 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.e_conv7 = nn.Conv2d(2 * channels, 24, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the bright picture `(N, 3, H, W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        x1 = torch.relu(self.e_conv1(lr))
        x2 = torch.relu(self.e_conv2(x1))
        x3 = torch.relu(self.e_conv3(x2))
        x4 = torch.relu(self.e_conv4(x3))
        x5 = torch.relu(self.e_conv5(torch.cat([x3, x4], 1)))
        x6 = torch.relu(self.e_conv6(torch.cat([x2, x5], 1)))
        curves = torch.tanh(self.e_conv7(torch.cat([x1, x6], 1)))
        x = lr
        for alpha in curves.chunk(8, dim=1):  # equation 4, written the authors' way round
            x = x + alpha * (x.square() - x)
        return x
