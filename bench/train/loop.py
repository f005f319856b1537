"""The one training loop: precision, memory format, schedule, checkpoints."""

import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError, Diverged, unknown
from bench.method.batch import Batch, Batches
from bench.method.contract import Method, Stage
from bench.train.pixels import Source

POINTS = 100  # of each loss curve
EXPLODED = 100.0  # times the first points of the curve
History = list[tuple[int, dict[str, float]]]
Curves = dict[str, NDArray[np.float32]]
"""Loss -> its value at each update, `(steps,)`; NaN where a step did not compute it."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands. `losses` are means since the last Progress."""

    stage: str
    step: int
    steps: int
    losses: dict[str, float]
    steps_per_second: float


@dataclass(frozen=True)
class Plan:
    """A stage with everything filled in, and the key that all of it makes."""

    stage: Stage
    owner: Method
    key: str
    dataset: str
    scale: int
    degradation: str
    steps: int
    patch: int
    batch: int
    learning_rate: float
    halve_at: tuple[int, ...]
    seed: int
    precision: str
    device: str
    batches: Batches | None = None
    """The stage's own; None: patches."""
    sources: tuple[Source, ...] = ()
    """The training set of the patches, at each scale."""
    target: str = ""
    """Key of what is learned instead of the originals; "": nothing is."""


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
    plan: Plan, batches: Batches, device: torch.device, path: Path
) -> Generator[Progress, None, tuple[History, Curves, float]]:
    """Makes all updates of a stage; returns the points of its loss curve, the losses of every
    update, and the seconds it took.

    An update depends on weights, optimizer state, seed and step alone, so a training that goes on
    from a checkpoint ends bit by bit where an uninterrupted one does.
    """
    owner, stage = plan.owner, plan.stage
    owner.train()
    owner.requires_grad_(True)
    optimizers = make_optimizers(plan)
    history: History = []
    curves: Curves = {}
    step, seconds = _resume(path, owner, optimizers, history, curves, device)
    every = max(1, plan.steps // POINTS)
    saved_at, save_cost = time.monotonic(), 0.0
    while step < plan.steps:
        began = time.monotonic()
        found: dict[str, list[tuple[int, Tensor]]] = {}
        for _ in range(every - step % every):
            _set_learning_rate(optimizers, plan, step)
            torch.manual_seed(_seed_of(plan.seed, step))
            batch = batches.batch(step)
            for name, value in update(owner, stage, batch, optimizers, plan).items():
                found.setdefault(name, []).append((step, value))
            step += 1
            if step == plan.steps:
                break
        taken = step - (history[-1][0] if history else 0)
        point = {name: _keep(curves, name, plan.steps, pairs) for name, pairs in found.items()}
        history.append((step, point))
        seconds += time.monotonic() - began
        check_losses(plan, history)
        yield Progress(stage.name, step, plan.steps, point, taken / (time.monotonic() - began))
        if time.monotonic() - saved_at > max(2.0, 50 * save_cost):  # at most 2 % of the time
            began = time.monotonic()
            _write_checkpoint(path, owner, optimizers, history, curves, step, seconds)
            saved_at, save_cost = time.monotonic(), time.monotonic() - began
    return history, curves, seconds


def _keep(curves: Curves, name: str, steps: int, pairs: list[tuple[int, Tensor]]) -> float:
    """Puts a loss's values since the last point into its curve; returns their mean."""
    curve = curves.setdefault(name, np.full(steps, np.nan, np.float32))
    values = torch.stack([value for _, value in pairs]).cpu().numpy()  # waits for a GPU only here
    curve[[step for step, _ in pairs]] = values
    return float(values.mean(dtype=np.float64))


def make_optimizers(plan: Plan) -> dict[str, torch.optim.Adam]:
    """Returns an Adam for each named loss of the stage."""
    return {
        name: torch.optim.Adam(list(parameters), lr=plan.learning_rate, fused=True)
        for name, parameters in plan.owner.optimizers(plan.stage).items()
    }


def _seed_of(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**63


def _set_learning_rate(
    optimizers: Mapping[str, torch.optim.Optimizer], plan: Plan, step: int
) -> None:
    rate = plan.learning_rate * 0.5 ** sum(step >= at for at in plan.halve_at)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate


def update(
    owner: Method,
    stage: Stage,
    batch: Batch,
    optimizers: Mapping[str, torch.optim.Optimizer],
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
            optimizer.step()


def check_losses(plan: Plan, history: History) -> None:
    """Raises Diverged when a loss is not finite, or far above where it began."""
    step, point = history[-1]
    trained = plan.owner.optimizers(plan.stage)
    for name, value in point.items():
        where = f"stage {plan.stage.name}: {name} at step {step}"
        hint = f"The learning rate is {plan.learning_rate:g}."
        if not math.isfinite(value):
            raise Diverged(f"{where} is {value}. {hint}")
        early = [abs(losses[name]) for _, losses in history[:-1][:5] if name in losses]
        first = max(early, default=abs(value))
        # below 1, where a critic's loss may begin at nothing, only infinity counts
        if name in trained and abs(value) > EXPLODED * max(first, 1.0):
            raise Diverged(f"{where} is {value:.4g}, at the beginning {first:.4g}. {hint}")


def _write_checkpoint(
    path: Path,
    owner: Method,
    optimizers: Mapping[str, torch.optim.Optimizer],
    history: History,
    curves: Curves,
    step: int,
    seconds: float,
) -> None:
    state = {
        "weights": owner.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "history": history,
        "curves": {name: torch.from_numpy(curve) for name, curve in curves.items()},
        "step": step,
        "seconds": seconds,
    }
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:  # given a path, torch does not say when the disk is full
        torch.save(state, file)
    temporary.replace(path)


def _resume(
    path: Path,
    owner: Method,
    optimizers: Mapping[str, torch.optim.Optimizer],
    history: History,
    curves: Curves,
    device: torch.device,
) -> tuple[int, float]:
    """Loads the last checkpoint if there is one; returns the step and the seconds spent so far."""
    if not path.is_file():
        return 0, 0.0
    state = torch.load(path, map_location=device, weights_only=True)
    owner.load_state_dict(state["weights"])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    history.extend((step, point) for step, point in state["history"])
    curves.update((name, curve.cpu().numpy()) for name, curve in state["curves"].items())
    return state["step"], state["seconds"]
