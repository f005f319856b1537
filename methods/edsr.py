"""EDSR with its own loss, and its authors' weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from bench.data.weights import Weights
from bench.method import Method, Stage
from methods.networks.edsr import EDSRNetwork, layouts
from methods.networks.layouts import renamed

_HOME = "https://cv.snu.ac.kr/research/EDSR/models"
_BASICSR = "https://github.com/XPixelGroup/BasicSR/releases/download/V1.1"
_LICENCE = "MIT, with the authors' code"


def _authors(size: str, scale: int, sha256: str) -> Weights:
    file = f"{size}_x{scale}-{sha256}.pt"
    return Weights(f"edsr/{file}", f"{_HOME}/{file}", sha256, _LICENCE)


def _basicsr(size: str, scale: int, sha256: str) -> Weights:
    network = {"L": "f256b32", "M": "f64b16"}[size]
    file = f"EDSR_{size}x{scale}_{network}_DIV2K_official-{sha256}.pth"
    licence = f"{_LICENCE}; converted by BasicSR (Apache-2.0)"
    return Weights(f"edsr/{file}", f"{_BASICSR}/{file}", sha256, licence)


class EDSR(Method):
    """Trained with L1: patches of 48 LR pixels, batch 16, 1e-4 halved every 200,000 updates.

    blocks, channels, residual_scale: 16, 64 and 1 are the baseline; 32, 256 and 0.1 the large one,
    edsr_large, which loads with these parameters alone. The files' checksums are the eight digits
    that their publishers put into the names.
    """

    paper: ClassVar[str] = (
        "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, "
        "CVPRW 2017, arXiv:1707.02921"
    )
    tiny = {"blocks": 1, "channels": 8}
    published = {
        f"{name}_x{scale}": make(size, scale, sha256)
        for name, make, size, digests in (
            ("edsr_baseline", _authors, "edsr_baseline", ("1bc95232", "abf2a44e", "6b446fab")),
            ("edsr_large", _authors, "edsr", ("0edfb8a3", "ea3ef2c6", "4f62e9ef")),
            ("edsr_baseline_basicsr", _basicsr, "M", ("3ba7b086", "6908f88a", "0c287733")),
            ("edsr_large_basicsr", _basicsr, "L", ("be38e77d", "3660f70d", "76ee1c8f")),
        )
        for scale, sha256 in zip((2, 3, 4), digests, strict=True)
    }

    def __init__(
        self,
        *,
        scale: int = 2,
        blocks: Annotated[int, Field(ge=1)] = 16,
        channels: Annotated[int, Field(ge=1)] = 64,
        residual_scale: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.scale, self.blocks = scale, blocks
        self.network = EDSRNetwork(scale, blocks, channels, residual_scale)
        self.halo = self.network.halo

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for RGB `(N, 3, H, W)`."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, with the L1 loss that every method has unless it says otherwise."""
        return (Stage("edsr"),)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the authors' files, and BasicSR's."""
        return renamed(super().read_weights(file), layouts(self.scale, self.blocks))
