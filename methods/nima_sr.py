"""NIMA-SR: super-resolution that is rewarded for a predicted opinion score.

Sections 3 and 4 of the paper: EDSR, trained with L = L2 + gamma (10 - NIMA).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from bench.method import Batch, Method, Stage
from methods.metrics.nima import chosen
from methods.metrics.nima_networks import load_nima
from methods.networks.edsr import EDSRNetwork
from methods.nima import NIMA


class EDSR(Method):
    """EDSR with the hybrid loss. gamma = 0 is plain EDSR, trained with L2.

    blocks, channels: size of the network; 16 and 64 make the baseline of the EDSR paper.
    gamma: weight of the reward; the paper's best is 0.4 for super-resolution, 0.1 for deblurring.
    """

    paper = (
        "Sunnak et al., Neural Image Enhancement and Assessment, Simon Fraser University; "
        "network: Lim et al., EDSR, CVPRW 2017, arXiv:1707.02921"
    )
    tiny = {"blocks": 1, "channels": 8}

    def __init__(
        self,
        *,
        scale: int = 2,
        blocks: Annotated[int, Field(ge=1)] = 16,
        channels: Annotated[int, Field(ge=1)] = 64,
        gamma: Annotated[float, Field(ge=0)] = 0.4,
    ) -> None:
        super().__init__()
        self.network = EDSRNetwork(scale, blocks, channels)
        self.gamma = gamma
        self.halo = self.network.halo
        if gamma > 0:
            name = chosen(differentiable=True).name
            self.remarks = (f"{type(self).__name__} is rewarded for the marks of {name}.",)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` in about [0, 1] for RGB `(N, 3, H, W)`."""
        sr: Tensor = self.network(lr)
        return sr

    @cached_property
    def nima(self) -> NIMA:
        """The assessor, frozen: read when first asked for, no part of what is trained or stored."""
        return load_nima(chosen(differentiable=True)).to(memory_format=torch.channels_last)

    def stages(self) -> Sequence[Stage]:
        """One; which assessor rewards it is part of what decides it."""
        if self.gamma == 0:
            return (Stage("sr"),)
        assessor = chosen(differentiable=True).identity()
        return (Stage("sr", depends={**self.hyperparameters, "assessor": assessor}),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """L2 + gamma (10 - NIMA(SR)), L2 on the scale 0 to 255.

        The paper does not state the scale. On [0, 1] the reward would outweigh L2 five
        thousandfold; on EDSR's own 0 to 255 it is about 7 % of the loss at gamma 0.4.
        """
        sr = self(batch.lr)
        l2 = F.mse_loss(255 * sr, 255 * batch.target)
        if self.gamma == 0:
            return {"loss": l2, "l2": l2}
        score = self.nima.to(sr.device).score(sr.clamp(0, 1)).mean()
        return {"loss": l2 + self.gamma * (10 - score), "l2": l2, "nima": score}
