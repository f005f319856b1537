"""NIMA-SR: super-resolution that is rewarded for a predicted opinion score.

Sections 3 and 4 of the paper: EDSR and MDSR, trained with L = L2 + gamma (10 - NIMA).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.method import Batch, Method, Stage
from methods import edsr, mdsr
from methods.metrics.nima import find_assessor, name_of
from methods.metrics.nima_networks import load_assessor
from methods.networks.mdsr import PUBLISHED

_PAPER = "Sunnak et al., Neural Image Enhancement and Assessment, Simon Fraser University; network:"
Blocks = Annotated[int, Field(ge=1)]
Gamma = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=0)]


class _Rewarded(Method):
    """The hybrid loss. gamma = 0 leaves L2 alone.

    gamma: weight of the reward; the paper's best is 0.4 for super-resolution, 0.1 for de-blurring.
    value_range: white in L2, which the paper does not state. On [0, 1] the reward would outweigh L2
    five thousandfold; on EDSR's own 0 to 255 it is about 7 % of the loss at gamma 0.4.
    nima_side: pixels a side to which NIMA has SR resized, such as 224; 0: it sees the patch as it
    is, which the paper's fully convolutional NIMA can (section 2.2).
    assessor: which NIMA: nima, the best that is here; or as `find_assessor` says.
    """

    gamma: float
    value_range: float
    nima_side: int
    assessor: str

    def reward(self, gamma: float, value_range: float, nima_side: int, assessor: str) -> None:
        self.gamma, self.value_range = gamma, value_range
        self.nima_side, self.assessor = nima_side, assessor
        if gamma > 0:
            seen = f"resized to {nima_side} pixels a side" if nima_side else "as they are"
            self.remarks = (
                f"{type(self).__name__} is rewarded for the marks that "
                f"{name_of(assessor)} gives to its patches, {seen}; L2 is of values "
                f"from 0 to {value_range:g}.",
            )

    @cached_property
    def nima(self) -> nn.Module:
        """The assessor, frozen: read when first asked for, no part of what is trained or stored."""
        assessor = load_assessor(find_assessor(self.assessor))
        return assessor.to(memory_format=torch.channels_last)

    def stages(self) -> Sequence[Stage]:
        """One; which assessor rewards it is part of what decides it."""
        (stage,) = super().stages()
        depends = None
        if self.gamma > 0:
            assessor = find_assessor(self.assessor).identity()
            depends = {**self.hyperparameters, "assessor": assessor}
        return (replace(stage, name="sr", depends=depends),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """L2 + gamma (10 - NIMA(SR)), section 2.3.1."""
        sr = self.at(batch.scale)(batch.lr)
        l2 = F.mse_loss(self.value_range * sr, self.value_range * batch.target)
        if self.gamma == 0:
            return {"loss": l2, "l2": l2}
        seen = sr.clamp(0, 1)
        if self.nima_side:
            size = (self.nima_side, self.nima_side)
            seen = F.interpolate(seen, size, mode="bilinear", antialias=True)
        marks: Tensor = self.nima.to(sr.device).score(seen)  # type: ignore[operator]  # any assessor
        score = marks.mean()
        return {"loss": l2 + self.gamma * (10 - score), "l2": l2, "nima": score}


class EDSR(_Rewarded, edsr.EDSR):
    """EDSR with the hybrid loss. gamma = 0 is plain EDSR, trained with L2.

    blocks, channels: 16 and 64 make the baseline of the EDSR paper. The others: see `_Rewarded`.
    """

    paper = f"{_PAPER} {edsr.EDSR.paper}"

    def __init__(
        self,
        *,
        scale: int = 2,
        blocks: Blocks = 16,
        channels: Blocks = 64,
        residual_scale: Positive = 1.0,
        gamma: Gamma = 0.4,
        value_range: Positive = 255.0,
        nima_side: Side = 0,
        assessor: str = "nima",
    ) -> None:
        super().__init__(
            scale=scale, blocks=blocks, channels=channels, residual_scale=residual_scale
        )
        self.reward(gamma, value_range, nima_side, assessor)


class MDSR(_Rewarded, mdsr.MDSR):
    """MDSR with the same loss, at the scale of each batch."""

    paper = f"{_PAPER} {mdsr.MDSR.paper}"

    def __init__(
        self,
        *,
        scales: Annotated[tuple[mdsr.Scale, ...], Field(min_length=1)] = PUBLISHED,
        blocks: Blocks = 16,
        channels: Blocks = 64,
        residual_scale: Positive = 1.0,
        gamma: Gamma = 0.4,
        value_range: Positive = 255.0,
        nima_side: Side = 0,
        assessor: str = "nima",
    ) -> None:
        super().__init__(
            scales=scales, blocks=blocks, channels=channels, residual_scale=residual_scale
        )
        self.reward(gamma, value_range, nima_side, assessor)
