"""What a recipe says of the step: optimizers, the learning rate's course, clip, average."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.method.contract import Group, groups_of
from bench.method.recipe import Recipe
from bench.train.plan import Plan

Optimizers = Mapping[str, torch.optim.Optimizer]


def make_optimizers(plan: Plan) -> Optimizers:
    """Returns an optimizer for each named loss of the stage."""
    groups = groups_of(plan.owner, plan.stage)
    by_loss = rates(groups, plan.recipe)
    return {name: _make(groups[name], rate, plan.recipe) for name, rate in by_loss.items()}


def rates(losses: Mapping[str, Any], recipe: Recipe) -> dict[str, float]:
    """Returns the learning rate of each loss that is minimised. Raises BenchError if one lacks."""
    given = recipe.learning_rate
    assert given is not None
    if isinstance(given, float):
        return dict.fromkeys(losses, given)
    if lacking := sorted(set(losses) - set(given)):
        nearest = unknown("loss", lacking[0], given)
        raise BenchError(f"learning_rate: gives no rate for a loss: {nearest}")
    return {name: given[name] for name in losses}


# as in bench.errors at first, for it is in the training loop's digest: to write its words anew
# would make every recorded trial stale
def unknown(kind: str, got: object, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(str(got), names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {got!r}.{guess} Known: {', '.join(names) or 'none'}."


def _make(groups: Sequence[Group], rate: float, recipe: Recipe) -> torch.optim.Optimizer:
    assert recipe.weight_decay is not None
    scaled: list[dict[str, Any]] = [
        {"params": group["params"], "lr": rate * group["rate"], "initial_lr": rate * group["rate"]}
        for group in groups
    ]
    if recipe.optimizer == "sgd":
        assert recipe.momentum is not None
        return torch.optim.SGD(
            scaled, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
        )
    assert recipe.betas is not None
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(scaled, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)


def set_learning_rates(optimizers: Optimizers, recipe: Recipe, step: int) -> None:
    """Gives every group the rate of an update. recipe: filled, its schedule counted in steps."""
    if recipe.rate is None:
        return
    assert recipe.steps is not None
    factor = recipe.rate.factor(step, recipe.steps)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            rate = group["initial_lr"] * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # where a captured update reads it
            else:
                group["lr"] = rate


class Average:
    """The moving average of what is trained: the weights after the first update, and from then on
    a <- decay a + (1 - decay) w, as torch.optim.swa_utils.AveragedModel makes it."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Takes in the weights after an update; step: updates made before it."""
        if step == 0:
            torch._foreach_copy_(self.values, self.parameters)
        else:
            torch._foreach_lerp_(self.values, self.parameters, 1 - self.decay)

    def load(self, values: Sequence[Tensor]) -> None:
        """Goes on from the values of a checkpoint."""
        torch._foreach_copy_(self.values, list(values))

    @torch.no_grad()
    def put(self) -> None:
        """Puts the average in the place of the weights for good."""
        torch._foreach_copy_(self.parameters, self.values)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Has the average in the place of the weights for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for i, parameter in enumerate(self.parameters):
            parameter.data, self.values[i] = self.values[i], parameter.data
