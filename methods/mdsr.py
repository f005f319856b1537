"""MDSR: one network for several scales, with its own loss and its authors' weights."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from bench.data.weights import Weights
from bench.errors import BenchError
from bench.method import Batch, Method, Stage
from methods.networks.layouts import renamed
from methods.networks.mdsr import PUBLISHED, MDSRNetwork, layouts

_HOME = "https://cv.snu.ac.kr/research/EDSR/models"
_LICENCE = "MIT, with the authors' code"
Scale = Annotated[int, Field(ge=1, le=8)]


class MDSR(Method):
    """Trained with L1, each batch of a scale that is drawn anew (section 3.3); the rest as EDSR.

    scales: those that it serves; a study gives its own. blocks, channels: 16 and 64 are the
    baseline; 80 and 64 are MDSR, with a residual scale of 1. Of a file with more scales those that
    are served are taken. Of itself it restores at the first scale; `at` gives the others.
    """

    paper = (
        "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, "
        "CVPRW 2017, arXiv:1707.02921"
    )
    tiny = {"blocks": 1, "channels": 8, "scales": (2,)}
    published = {
        name: Weights(f"mdsr/{file}-{sha256}.pt", f"{_HOME}/{file}-{sha256}.pt", sha256, _LICENCE)
        for name, file, sha256 in (
            ("mdsr_baseline", "mdsr_baseline", "a00cab12"),
            ("mdsr_large", "mdsr", "4a78bedf"),
        )
    }

    def __init__(
        self,
        *,
        scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = PUBLISHED,
        blocks: Annotated[int, Field(ge=1)] = 16,
        channels: Annotated[int, Field(ge=1)] = 64,
        residual_scale: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.scales, self.scale = tuple(scales), scales[0]
        self.network = MDSRNetwork(scales, blocks, channels, residual_scale)
        self.halo = self.network.halo

    def at(self, scale: int) -> "MDSR":
        """Returns the same network, restoring at another of its scales. Raises BenchError."""
        if scale not in self.scales:
            served = ", ".join(map(str, self.scales))
            raise BenchError(f"{type(self).__name__} serves the scales {served}, not {scale}.")
        view = copy.copy(self)
        view.scale = scale
        return view

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for RGB `(N, 3, H, W)`."""
        sr: Tensor = self.network(lr, self.scale)
        return sr

    def stages(self) -> Sequence[Stage]:
        """One, at all scales."""
        return (Stage("mdsr", scales=self.scales),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """L1, at the scale of the batch."""
        return {"loss": F.l1_loss(self.at(batch.scale)(batch.lr), batch.target)}

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the authors' files."""
        state = super().read_weights(file)
        count = len({name.split(".")[1] for name in state if name.startswith("pre_process.")})
        scales = self.scales if count == len(self.scales) else PUBLISHED
        return renamed(state, layouts(scales, self.scales))
