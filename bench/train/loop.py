"""The one training loop: precision, memory format, blocks, checkpoints."""

import time
from collections.abc import Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError, Diverged, unknown
from bench.method.batch import Batch, Batches
from bench.method.contract import Method, Stage
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
from bench.train.optimizers import (
    Average,
    Optimizers,
    make_optimizers,
    set_learning_rates,
)
from bench.train.plan import Plan

BLOCK = 2.0
"""Seconds between two signs of life. A GPU is waited for, losses are looked at, and a checkpoint
may be written only then."""
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


def run_steps(
    plan: Plan, batches: Batches, path: Path
) -> Generator[Progress | Note, None, tuple[History, Curves, float]]:
    """Makes all updates of a stage; returns the points of its loss curve, the losses of every
    update, and the seconds it took.

    An update depends on weights, optimizer state, seed and step alone, so a training that goes on
    from the checkpoint at `path` ends bit by bit where an uninterrupted one does. At each Progress,
    and at the end, the method has the average of its weights if the recipe asks for one.
    """
    training = _Training(plan, batches)
    state, note = read_checkpoint(path)
    if note:
        yield Note(f"stage {plan.stage.name}: {note}. It begins anew.")
    if state is not None:
        training.load(state)
    average, history = training.average, History()
    add_points(history, training.curves, plan.steps, training.step)
    saved_at, save_cost = time.monotonic(), 0.0
    while training.step < plan.steps:
        with ieee_fp32() if plan.precision == "fp32" else nullcontext():
            progress = training.block(history)
        with average.in_place() if average else nullcontext():
            yield progress
        end_if_asked(path, training.state)
        if time.monotonic() - saved_at > max(BLOCK, 50 * save_cost):  # at most 2 % of the time
            began = time.monotonic()
            write_checkpoint(path, training.state())
            saved_at, save_cost = time.monotonic(), time.monotonic() - began
    if average:
        average.put()
    return history, training.curves, training.seconds


class _Training:
    """A stage under way: all that a checkpoint holds."""

    def __init__(self, plan: Plan, batches: Batches) -> None:
        self.plan, self.batches = plan, batches
        plan.owner.train()
        plan.owner.requires_grad_(True)
        self.optimizers = make_optimizers(plan)
        decay = plan.recipe.average
        self.average = Average(plan.trained(), decay) if decay else None
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
        set_learning_rates(self.optimizers, plan.recipe, step)
        torch.manual_seed(_seed_of(plan.seed, step))
        losses = update(plan.owner, plan.stage, self.batches.batch(step), self.optimizers, plan)
        if self.average:
            self.average.add(step)
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
        }

    def load(self, state: State) -> None:
        """Goes on from a checkpoint."""
        self.plan.owner.load_state_dict(state["weights"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.average:
            self.average.load(state["average"])
        self.step, self.seconds = state["step"], state["seconds"]
        for name, curve in state["curves"].items():
            self.curves[name] = np.full(self.plan.steps, np.nan, np.float32)
            self.curves[name][: self.step] = curve.numpy()


def _seed_of(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**63


def _rate_text(recipe: Recipe) -> str:
    rate = recipe.learning_rate
    if isinstance(rate, dict):
        return ", ".join(f"{value:g} for {name}" for name, value in rate.items())
    return f"{rate:g}"


def update(
    owner: Method,
    stage: Stage,
    batch: Batch,
    optimizers: Optimizers,
    plan: Plan,
) -> dict[str, Tensor]:
    """Runs one training step and makes the step of each optimizer that has a loss in it."""
    device_type = batch.lr.device.type
    bf16 = plan.precision == "bf16"
    with torch.autocast(device_type, torch.bfloat16, enabled=bf16):
        step = owner.training_step(batch, stage)
        named = iter(step.items() if isinstance(step, Mapping) else step)
    losses: dict[str, Tensor] = {}
    while True:
        with torch.autocast(device_type, torch.bfloat16, enabled=bf16):
            name, loss = next(named, ("", None))
        if loss is None:
            return losses
        losses[name] = loss.detach().float()
        if optimizer := optimizers.get(name):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            optimizer.zero_grad(set_to_none=True)
            # `inputs` keeps a generator's loss from leaving gradients in the discriminator.
            torch.autograd.backward(loss, inputs=parameters)
            if plan.recipe.clip:
                torch.nn.utils.clip_grad_norm_(parameters, plan.recipe.clip)
            optimizer.step()
