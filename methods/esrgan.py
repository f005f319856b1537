"""ESRGAN: RRDBNet, first trained with L1, then against a relativistic discriminator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from bench.data.catalog import Task
from bench.data.weights import Weights
from bench.method import Method, Recipe, Stage
from methods.networks.layouts import renamed
from methods.networks.rrdbnet import AUTHORS, RRDBNetwork

PAPER = "Wang et al., ESRGAN, ECCVW 2018, arXiv:1809.00219"
Count = Annotated[int, Field(ge=1)]
Scale = Literal[1, 2, 4, 8]

_LICENCE = "Apache-2.0, with the authors' code"
_KAIR = "https://github.com/cszn/KAIR/releases/download/v1.0/ESRGAN.pth"
_OFFICIAL = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.1"
_PAGE = "https://github.com/xinntao/ESRGAN"
_ZOO = "https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md"

PUBLISHED: Mapping[str, Weights] = {
    "esrgan": Weights(
        "esrgan/RRDB_ESRGAN_x4.pth",
        _KAIR,
        "65fece06e1ccb48853242aa972bdf00ad07a7dd8938d2dcbdf4221b59f6372ce",
        _LICENCE,
    ),
    "rrdb_psnr": Weights(
        "esrgan/RRDB_PSNR_x4.pth",
        _PAGE,
        "f372b59f22929e1bc83fa58d78215c96f976de3b2eaeee736da1b348913da6cc",
        _LICENCE,
        page=True,
    ),
    "esrgan_basicsr": Weights(
        "esrgan/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
        f"{_OFFICIAL}/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
        "ff704c30",
        _LICENCE,
    ),
    "rrdb_psnr_basicsr": Weights(
        "esrgan/ESRGAN_PSNR_SRx4_DF2K_official-150ff491.pth", _ZOO, "150ff491", _LICENCE, page=True
    ),
}
"""The authors' generators at x4, in the layout of their code and in BasicSR's. The checksums of the
first two are those that independent copies agree in; the others stand in the files' names."""


class RRDBNet(Method):
    """The generator by itself, trained with L1: "PSNR-oriented" in section 4.1.

    The authors' recipe: patches of 128 HR pixels, batch 16, 2e-4 halved every 200,000 of a million
    updates. steps: updates, for a study whose methods differ in it. Scales other than 4 have fewer
    or more enlargements of two; BasicSR's x2 and x1 are other networks.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "super-resolution"
    tasks = ("super-resolution", "low-light", "enhancement", "deblurring")
    tiny: ClassVar[Mapping[str, Any]] = {"blocks": 1, "channels": 8, "growth": 4}
    published = PUBLISHED

    def __init__(
        self,
        *,
        scale: Scale = 4,
        blocks: Count = 23,
        channels: Count = 64,
        growth: Count = 32,
        steps: Count | None = None,
    ) -> None:
        super().__init__()
        self.network = RRDBNetwork(scale, blocks, channels, growth, type(self).channels)
        self.halo, self.steps = self.network.halo, steps

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for `(N, C, H, W)` in [0, 1]."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, the same whether it is trained for itself or as a generator."""
        return (Stage("rrdb", Recipe(steps=self.steps), trains=self),)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the authors' files; BasicSR's names are the network's own."""
        return renamed(super().read_weights(file), AUTHORS)
