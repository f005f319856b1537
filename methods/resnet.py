"""ResNet-20 and ResNet-32: DPED's generator, deeper and without norm; large rivals of PRaD."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.data.catalog import Task
from bench.method import Method, Stage
from methods.dped import photograph

Count = Annotated[int, Field(ge=1)]


class ResNet(Method):
    """8 residual blocks are ResNet-20, 695,875 parameters; 14 are ResNet-32, 1,139,011.

    PRaD's table 2 names both and describes neither. Read here as DPED's layout, in which these
    numbers of blocks give 20 and 32 convolutions: a 9x9 one, two 3x3 a block, two more 3x3, a 9x9
    one. By itself it is trained with L1.
    """

    paper = "He et al., Deep Residual Learning, CVPR 2016; compared with in PRaD, table 2"
    task: ClassVar[Task] = "enhancement"
    tiny = {"blocks": 1, "channels": 8}

    def __init__(self, *, blocks: Count = 8, channels: Count = 64) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, channels, 9, padding=4)
        self.blocks = nn.ModuleList(
            nn.Sequential(*_active(channels), *_active(channels)) for _ in range(blocks)
        )
        self.plain = nn.Sequential(*_active(channels), *_active(channels))
        self.tail = nn.Conv2d(channels, 3, 9, padding=4)
        self.halo = 2 * blocks + 10  # a pixel each 3x3 convolution, four each 9x9 one

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        x = torch.relu(self.head(lr))
        for block in self.blocks:
            x = x + block(x)
        return photograph(self.tail(self.plain(x)))

    def stages(self) -> Sequence[Stage]:
        """One, with the L1 loss that every method has unless it says otherwise."""
        return (Stage("resnet"),)


def _active(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()
