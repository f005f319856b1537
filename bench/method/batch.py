"""What a stage is trained on: a batch for each step, and how a paper brings batches of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from bench.data.pairs import Pair, load_pairs

Augment = Literal["turns", "flips", "none"]
"""Orientations of a patch: all 8; left to right and upside down alone, where a transposed picture
would not be one (text, skies); or as it is."""


@dataclass(frozen=True)
class Batch:
    """Training patches on the training device, values in [0, 1].

    lr: `(N, C, h, w)` degraded input. hr: `(N, 3, scale*h, scale*w)` the original.
    target: what the stage learns to produce, same shape as hr; hr itself unless the stage has a
    `target`. step: number of updates already made in this stage. labels: `(N, ...)`, whatever the
    stage's own `batches` put there; of patches None.
    """

    lr: Tensor
    hr: Tensor
    target: Tensor
    step: int
    labels: Tensor | None = None

    @property
    def scale(self) -> int:
        """So many times hr is as large as lr; where a stage has several scales, it changes."""
        return self.hr.shape[-1] // self.lr.shape[-1]


class Batches(Protocol):
    """A sequence of batches."""

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides the batches; part of the stage's key."""

    def batch(self, step: int) -> Batch:
        """Returns the batch of an update: a function of `step` alone, whatever was asked for
        before, or a training that goes on after a kill would not end where it should."""


@dataclass(frozen=True)
class Request:
    """What a stage's own batches are asked for: its settings, filled in from the study.

    Batches are made whenever a stage is planned, also by `bench check`: what takes long belongs
    into the first `batch`, or under `keep`.
    """

    dataset: str
    scale: int
    degradation: str
    batch: int
    patch: int
    """HR pixels."""
    seed: int
    device: torch.device
    keep: Callable[[Mapping[str, Any], Callable[[Path], None]], Path]
    """(what decides the content, function that fills a folder) -> that folder in the store, filled
    once for all processes; for `bench.data.mapped.write_mapped`, read by `read_mapped`."""

    def pairs(self) -> list[Pair]:
        """Returns the training set's pairs. Raises BenchError as `load_pairs`."""
        return load_pairs(self.dataset, self.scale, self.degradation)
