"""DPED: a phone's pictures into those of a better camera."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.data.catalog import Task
from bench.data.weights import Weights
from bench.method import Method

_HOME = "https://github.com/aiff22/DPED"
_LICENCE = "licence of the repository; converted from the authors' checkpoint"


class DPED(Method):
    """The generator, section 3.2: four residual blocks with instance norm, 401,475 parameters.

    It restores, with the authors' weights, one set for each phone. It cannot be trained here: its
    colour, texture, content and total variation losses (equations 2 to 6) are not written down yet.
    """

    paper = "Ignatov et al., DSLR-Quality Photos on Mobile Devices with DCNs, ICCV 2017"
    task: ClassVar[Task] = "enhancement"
    tiny = {"channels": 8}
    published = {
        f"dped_{phone}": Weights(f"dped/{phone}.safetensors", _HOME, sha256, _LICENCE, page=True)
        for phone, sha256 in (
            ("iphone", "17477eda18567cec0383cc7c22eafb806ee7013a11b9c42cde3ad3fb011872b2"),
            ("blackberry", "3780555cb92402b3d3b3cef1a7051efcdac2e9d42d44a5c2f582d16164fd7404"),
            ("sony", "496a12c8ae49e145b78431548251a434909cf8e1407db462f2057a7e60de1246"),
        )
    }
    halo = None  # instance normalisation sees the whole image

    def __init__(self, *, channels: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 9, padding=4)
        for i in range(2, 12):
            self.add_module(f"conv{i}", nn.Conv2d(channels, channels, 3, padding=1))
        for i in range(2, 10):
            self.add_module(f"norm{i}", nn.InstanceNorm2d(channels, eps=1e-3, affine=True))
        self.conv12 = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        x = torch.relu(self.conv1(lr))
        for i in (2, 4, 6, 8):
            x = x + self._normalised(self._normalised(x, i), i + 1)
        x = torch.relu(self.get_submodule("conv10")(x))
        x = torch.relu(self.get_submodule("conv11")(x))
        return photograph(self.conv12(x))

    def _normalised(self, x: Tensor, i: int) -> Tensor:
        x = self.get_submodule(f"conv{i}")(x)
        return torch.relu(self.get_submodule(f"norm{i}")(x))


def photograph(x: Tensor) -> Tensor:
    """Returns any values brought into [-0.08, 1.08], as the last layer of the authors' code does.

    >>> photograph(torch.zeros(1)).item()
    0.5
    """
    return 0.58 * torch.tanh(x) + 0.5
