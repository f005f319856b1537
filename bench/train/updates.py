"""One update: a method's training step, and the step of each optimizer that has a loss in it."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from bench.method.batch import Batch, Batches
from bench.method.contract import Method, Stage
from bench.train.optimizers import Average, Optimizers, set_learning_rates
from bench.train.plan import Plan


class Updates(Protocol):
    """Makes the updates of a stage, each a function of its number, of weights and of optimizers."""

    words: str
    """How they are launched, as a record has it; "": one operation after the other."""

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Makes one; returns its losses. On a GPU it may not have been made yet."""
        ...


class Eager:
    """Updates launched one operation after the other."""

    words = ""

    def __init__(
        self, plan: Plan, batches: Batches, optimizers: Optimizers, average: Average | None
    ) -> None:
        self.plan, self.batches = plan, batches
        self.optimizers, self.average = optimizers, average

    def __call__(self, step: int) -> dict[str, Tensor]:
        self.begin(step)
        return self.make(self.batches.batch(step), step)

    def begin(self, step: int) -> None:
        """Sets the learning rate and the seed of an update."""
        set_learning_rates(self.optimizers, self.plan.recipe, step)
        seed = _seed_of(self.plan.seed, step)
        # torch.manual_seed takes 0.1 ms for the cards that nobody has
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(seed)

    def make(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Makes an update of a batch."""
        losses = update(self.plan.owner, self.plan.stage, batch, self.optimizers, self.plan)
        if self.average:
            self.average.add(step)
        return losses


def _seed_of(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**63


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
