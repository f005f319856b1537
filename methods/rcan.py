"""RCAN: very deep, by groups of residual blocks whose channels are weighed by attention."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from bench.method import Method, Stage
from methods.networks.layouts import renamed
from methods.networks.rcan import RCANetwork, layouts

Count = Annotated[int, Field(ge=1)]


class RCAN(Method):
    """RCAN as its authors train it: L1, patches of 48 LR pixels, batch 16, 1e-4 halved every
    200,000 updates.

    Their files are RCAN_BIX2.pt to RCAN_BIX8.pt, linked from github.com/yulunzhang/RCAN without a
    checksum, so they are given as a file: `weights: weights/rcan/RCAN_BIX4.pt`. BasicSR's names are
    understood too.
    """

    paper: ClassVar[str] = (
        "Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention "
        "Networks, ECCV 2018, arXiv:1807.02758"
    )
    tiny = {"groups": 1, "blocks": 1, "channels": 8, "reduction": 1}
    halo = None  # attention sees the mean of the whole picture

    def __init__(
        self,
        *,
        scale: int = 4,
        groups: Count = 10,
        blocks: Count = 20,
        channels: Count = 64,
        reduction: Count = 16,
    ) -> None:
        super().__init__()
        self.groups, self.blocks = groups, blocks
        self.network = RCANetwork(scale, groups, blocks, channels, reduction)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for RGB `(N, 3, H, W)`."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, with the L1 loss that every method has unless it says otherwise."""
        return (Stage("rcan"),)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the authors' files, and BasicSR's."""
        return renamed(super().read_weights(file), layouts(self.groups, self.blocks))
