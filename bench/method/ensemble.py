"""The geometric self-ensemble: a picture restored in its eight orientations, and their mean."""

import time

import torch
from torch import Tensor

from bench.data.pixels import Input
from bench.method.contract import Method
from bench.method.restoring import bands_of

ORIENTATIONS = [(f, t) for t in (False, True) for f in ((), (2,), (3,), (2, 3))]
"""Axes that are flipped, and whether the picture is transposed afterwards."""


class SelfEnsemble(Method):
    """What a method makes of the eight orientations of LR, turned back, on the average.

    Timofte et al., Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR 2016;
    "+" in the tables of EDSR and its heirs. The mean is taken before anything is rounded.
    """

    paper = "Timofte et al., Seven Ways to Improve Example-Based Single Image SR, CVPR 2016"

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        for name in ("task", "channels", "stride", "halo", "hyperparameters"):
            setattr(self, name, getattr(method, name))

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for `lr (N, C, H, W)` in [0, 1]."""
        total: Tensor | float = 0.0
        for flipped, transposed in ORIENTATIONS:
            turned = lr.flip(flipped)
            turned = turned.mT if transposed else turned
            made = self.method(turned.contiguous(memory_format=torch.channels_last)).float()
            total = total + (made.mT if transposed else made).flip(flipped)
        assert isinstance(total, Tensor)
        return total / len(ORIENTATIONS)


def ensemble_cost(method: Method, lr: Input) -> float:
    """Returns how many times as long a picture takes as in one pass, measured.

    On a CPU in its own seconds, which other processes do not lengthen.
    """
    on_gpu = any(p.is_cuda for p in method.parameters())
    clock = time.perf_counter if on_gpu else time.process_time
    seconds = []
    for restores in (method, method, SelfEnsemble(method)):  # the first time warms up
        began = clock()
        list(bands_of(restores, lr))
        seconds.append(clock() - began)
    return seconds[2] / max(seconds[1], 1e-9)
