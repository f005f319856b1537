"""Weights on the way: kept with the stage at evenly spaced updates, to be measured afterwards."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.method.contract import Method, Stage
from bench.study.fields import TrainSection


def snapshots_of(train: TrainSection | None, stage: Stage) -> int:
    """Returns how many snapshots a stage has, its end included. One with a fixed seed, which every
    study shares, has none."""
    return 0 if train is None or stage.seed is not None else train.snapshots or 0


def steps_of(steps: int, count: int) -> list[int]:
    """Returns the updates after which weights are kept; the last is the end, kept in any case.

    >>> steps_of(1000, 4), steps_of(3, 5)
    ([250, 500, 750], [1, 2])
    """
    return sorted({steps * k // count for k in range(1, count)} - {0, steps})


class Snapshots:
    """Weights that a training puts down on the way.

    It says the number of each update when all before it have been made, so the weights of that
    moment are those of a training of so many updates. One that is interrupted says again what it
    had said since its checkpoint, and nothing is missing.
    """

    def __init__(self, method: Method, steps: Sequence[int], folder: Path) -> None:
        """folder: where they lie until the stage is finished."""
        self._method, self._folder = method, folder
        self.files = {step: folder / name_of(step) for step in steps}

    def keep(self, step: int) -> None:
        """Puts the weights down if they are wanted before this update."""
        if step in self.files:
            unfinished = self._folder / "snapshot.tmp"
            with open(unfinished, "wb") as file:  # given a path, torch hides that a disk is full
                torch.save(self._method.state_dict(), file)
            os.replace(unfinished, self.files[step])

    def copy_to(self, folder: Path) -> None:
        """Puts them into the stage's entry in the store."""
        for path in self.files.values():
            shutil.copyfile(path, folder / path.name)


def name_of(step: int) -> str:
    """Returns the name of a snapshot's file in the stage's entry."""
    return f"snapshot-{step:08d}.pth"
