"""The one training loop: precision, memory format, blocks, checkpoints."""

import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError, Diverged, unknown
from bench.method.batch import Batches
from bench.method.precision import ieee_fp32
from bench.method.recipe import Recipe
from bench.train.checkpoint import State, read_checkpoint, write_checkpoint
from bench.train.curves import (
    Curves,
    History,
    add_points,
    check_finite,
    check_point,
    keep_losses,
)
from bench.train.ending import end_if_asked
from bench.train.graphs import Captured
from bench.train.optimizers import Average, make_optimizers
from bench.train.plan import Plan
from bench.train.updates import Eager, Updates

FEW = 100
"""Updates for which it does not pay to capture one: proving it takes half a dozen."""
BLOCK = 2.0
"""Seconds between two signs of life. A GPU is waited for, losses are looked at, and a checkpoint
may be written only then."""
WATCH = 50
"""Updates after which a method may look at its own numbers: to look waits for a GPU."""
MARKS = 4
"""A block also ends at each quarter of a training, so that a pruner always looks at the same."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands. `losses` are means since the last Progress."""

    stage: str
    step: int
    steps: int
    losses: dict[str, float]
    steps_per_second: float


@dataclass(frozen=True)
class Note:
    """Something worth a line of text, such as a stage that begins."""

    text: str


def choose_device(name: str = "auto") -> torch.device:
    """Returns the device; auto is cuda where there is one. Raises BenchError for one not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise BenchError(unknown("device", name, ["auto", "cpu", "cuda", "cuda:0"]))
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BenchError(
            f"device {name!r}: torch finds no CUDA GPU here. Write device: cpu or auto."
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Returns "bf16" or "fp32"; auto is bf16 where the device multiplies bf16 natively."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if native() else "fp32"


def choose_updates(name: str, device: torch.device, steps: int) -> str:
    """Returns "captured" or "eager"; auto captures on a GPU all but trainings that end at once.

    Raises BenchError for captured updates without a GPU.
    """
    if name == "captured" and device.type != "cuda":
        raise BenchError(f"updates are captured on a GPU alone; this trains on the {device.type}.")
    if name == "auto":
        return "captured" if device.type == "cuda" and steps >= FEW else "eager"
    return name


class Run(NamedTuple):
    """What a training has left behind besides weights."""

    history: History
    """The points of its loss curve."""
    curves: Curves
    """The losses of every update."""
    seconds: float
    updates: str
    """How they were launched; "": one operation after the other."""


def run_steps(
    plan: Plan,
    batches: Batches,
    path: Path,
    keep: Callable[[int], None] = lambda step: None,
) -> Generator[Progress | Note, None, Run]:
    """Makes all updates of a stage. keep: told the number of each before it is made.

    An update depends on weights, optimizer state, seed and step alone, so a training that goes on
    from the checkpoint at `path` ends bit by bit where an uninterrupted one does. At each Progress,
    and at the end, the method has the average of its weights if the recipe asks for one.
    """
    training = _Training(plan, batches, keep)
    state, note = read_checkpoint(path)
    if note:
        yield Note(f"stage {plan.stage.name}: {note}. It begins anew.")
    if state is not None:
        training.load(state)
    average, history = training.average, History()
    add_points(history, training.curves, plan.steps, training.step)
    saved_at, save_cost, words = time.monotonic(), 0.0, training.updates.words
    while training.step < plan.steps:
        with ieee_fp32() if plan.precision == "fp32" else nullcontext():
            progress = training.block(history)
        if words != (words := training.updates.words):
            yield Note(f"stage {plan.stage.name}: {words}")
        with average.in_place() if average else nullcontext():
            yield progress
        end_if_asked(path, training.state)
        if time.monotonic() - saved_at > max(BLOCK, 50 * save_cost):  # at most 2 % of the time
            began = time.monotonic()
            write_checkpoint(path, training.state())
            saved_at, save_cost = time.monotonic(), time.monotonic() - began
    if average:
        average.put()
    return Run(history, training.curves, training.seconds, training.updates.words)


class _Training:
    """A stage under way: all that a checkpoint holds."""

    def __init__(self, plan: Plan, batches: Batches, keep: Callable[[int], None]) -> None:
        self.plan, self.keep = plan, keep
        plan.owner.train()
        plan.owner.requires_grad_(True)
        self.optimizers = make_optimizers(plan)
        decay = plan.recipe.average
        self.average = Average(plan.trained(), decay) if decay else None
        launched = Captured if plan.captured else Eager
        self.updates: Updates = launched(plan, batches, self.optimizers, self.average)
        self.curves: Curves = {}
        self.step, self.seconds, self.pace = 0, 0.0, 0.0

    def block(self, history: History) -> Progress:
        """Makes as many updates as fit into BLOCK seconds, one in the first block.

        Raises Diverged for losses that are not finite or have exploded.
        """
        plan, first, began = self.plan, self.step, time.monotonic()
        losses: dict[str, list[tuple[int, Tensor]]] = {}
        try:
            # counted ahead, because a GPU may be far behind the clock of the CPU
            for _ in range(self._updates()):
                for name, value in self._update().items():
                    losses.setdefault(name, []).append((self.step, value))
                self.step += 1
                if time.monotonic() - began > BLOCK:
                    break
            means, broken = keep_losses(self.curves, plan.steps, losses)
            until = self.step if broken is None else broken[0]
            for _ in range(add_points(history, self.curves, plan.steps, until)):
                check_point(history, self.optimizers, plan.stage.name)
            check_finite(broken, plan.stage.name)
        except Diverged as error:
            raise Diverged(f"{error} The learning rate is {_rate_text(plan.recipe)}.") from error
        spent = time.monotonic() - began
        self.seconds += spent
        self.pace = spent / (self.step - first)
        return Progress(plan.stage.name, self.step, plan.steps, means, 1 / max(self.pace, 1e-9))

    def _updates(self) -> int:
        """How many updates the next block has, at the pace of the last one."""
        steps = self.plan.steps
        mark = -(-steps * (self.step * MARKS // steps + 1) // MARKS)  # rounded up
        fitting = max(1, int(BLOCK / self.pace)) if self.pace else 1
        return min(mark - self.step, fitting)

    def _update(self) -> dict[str, Tensor]:
        plan, step = self.plan, self.step
        self.keep(step)
        losses = self.updates(step)
        if (step + 1) % WATCH == 0:
            plan.owner.watch(plan.stage, step)
        return losses

    def state(self) -> State:
        """Returns what a checkpoint holds."""
        return {
            "weights": self.plan.owner.state_dict(),
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
            "average": self.average.values if self.average else [],
            "curves": {n: torch.from_numpy(curve[: self.step]) for n, curve in self.curves.items()},
            "step": self.step,
            "seconds": self.seconds,
            **({"updates": self.updates.words} if self.plan.captured else {}),
        }

    def load(self, state: State) -> None:
        """Goes on from a checkpoint."""
        self.plan.owner.load_state_dict(state["weights"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.average:
            self.average.load(state["average"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.updates.words = state.get("updates", "")
        for name, curve in state["curves"].items():
            self.curves[name] = np.full(self.plan.steps, np.nan, np.float32)
            self.curves[name][: self.step] = curve.numpy()


def _rate_text(recipe: Recipe) -> str:
    rate = recipe.learning_rate
    if isinstance(rate, dict):
        return ", ".join(f"{value:g} for {name}" for name, value in rate.items())
    return f"{rate:g}"
