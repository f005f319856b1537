"""A method goes through its stages; each is trained once for equal content, then shared."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data import sets
from bench.data.degrade import find_degradation
from bench.data.sets import Pair
from bench.errors import BenchError, Diverged
from bench.method.contract import Method, Stage
from bench.method.precision import ieee_fp32
from bench.method.recipe import Recipe, lay, layers
from bench.records.cell import LAST_UPDATES, TrainedStage
from bench.records.digest import code_digest
from bench.records.store import Store, content_key
from bench.study.fields import TaskSection, TrainSection
from bench.study.recipe import RecipeSection
from bench.train.curves import History
from bench.train.loop import Note as Note
from bench.train.loop import Progress, choose_device, choose_precision, run_steps
from bench.train.optimizers import rates
from bench.train.patches import Patches
from bench.train.plan import Plan
from bench.train.targets import read_targets, write_targets

Trained = Iterator[Progress | Note]


def plan_stages(
    method: Method,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    row: RecipeSection | None = None,
) -> list[Plan]:
    """Returns a method's stages in order, each with its key in the store.

    row: the recipe that a study has for this method alone. Raises BenchError where a stage leaves
    something to a study that does not say it.
    """
    plans: list[Plan] = []
    keys: list[str] = []
    for stage in method.stages():
        try:
            plan = _plan(method, stage, task, train, row, seed, keys)
        except BenchError as error:
            name = f"{type(method).__name__}, stage {stage.name!r}"
            raise BenchError(f"{name}: {error}") from None
        keys.append(plan.key)
        plans.append(plan)
    return plans


def _plan(
    method: Method,
    stage: Stage,
    task: TaskSection,
    train: TrainSection | None,
    row: RecipeSection | None,
    seed: int,
    before: list[str],
) -> Plan:
    owner = stage.trains or method
    degradation = stage.degradation or task.degradation
    scale = 1 if degradation == "none" else owner.hyperparameters.get("scale", task.scale)
    dataset = stage.dataset or (train.dataset if train else "")
    recipe = lay(layers(stage.recipe, train, row, stage.seed is not None)).filled()
    if not dataset or (recipe.steps is None and recipe.epochs is None):
        raise BenchError(
            "has to be trained, and nothing says on what or how long. Give a study with "
            "train: {dataset: ..., steps: ...}, or weights with --weights FILE."
        )
    if why := sets.missing(dataset):
        raise BenchError(f"training set {dataset!r} is not on this machine: {why}")
    rates(owner.optimizers(stage), recipe)
    device = choose_device(train.device if train else "auto")
    filled: dict[str, Any] = {
        "dataset": dataset,
        "scale": scale,
        "degradation": degradation,
        "seed": seed if stage.seed is None else stage.seed,
        "device": device.type,
    }
    recipe = _in_steps(recipe, dataset, scale, degradation).model_copy(
        update={"precision": choose_precision(recipe.precision or "auto", device)}
    )
    determines = {
        **filled,
        **recipe.model_dump(mode="json", exclude_none=True),
        "before": before,
        "name": stage.name,
        "target": stage.target is not None,
        "depends": dict(owner.hyperparameters if stage.depends is None else stage.depends),
        "method": f"{type(owner).__module__}.{type(owner).__qualname__}",
        "source": method_digest(type(owner)),
        "loop": loop_digest(),
        "pixels": pixels_digest(degradation),
        "data": sets.fingerprint(dataset, scale, degradation),
    }
    try:
        key = content_key(determines)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"depends must hold plain numbers, words, lists and mappings ({error})."
        ) from None
    return Plan(stage, owner, key, recipe=recipe, **filled)


def _in_steps(recipe: Recipe, dataset: str, scale: int, degradation: str) -> Recipe:
    """The same with nothing counted in epochs: as many updates as it takes to see each image."""
    if recipe.epochs is None and not (recipe.rate and recipe.rate.counts_epochs):
        return recipe
    assert recipe.batch is not None
    epoch = -(-len(sets.load_pairs(dataset, scale, degradation)) // recipe.batch)
    steps = recipe.steps if recipe.epochs is None else recipe.epochs * epoch
    rate = recipe.rate and recipe.rate.in_steps(epoch)
    return recipe.model_copy(update={"steps": steps, "epochs": None, "rate": rate})


@cache
def loop_digest() -> str:
    """Returns a hash of the harness's own code that decides what weights a training gives."""
    begins = (_initialise, Method.optimizers, Method.training_step)
    return code_digest(run_steps, Patches, write_targets, *begins)


@cache
def pixels_digest(degradation: str) -> str:
    """Returns a hash of the code that reads pictures and makes LR from HR."""
    made_by = find_degradation(degradation)
    return code_digest(Pair, *([made_by] if made_by else []))


def method_digest(cls: type[Method]) -> str:
    """Returns a hash of the code that a method is made of."""
    return code_digest(cls)


def train_stages(
    method: Method,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    store: Store,
    trained: list[TrainedStage],
    row: RecipeSection | None = None,
) -> Trained:
    """Brings a method through its stages; yields progress, appends to `trained` what was done.

    row: the recipe that a study has for this method alone. Afterwards the method is in eval mode on
    the training device. Raises Diverged, BenchError.
    """
    device = choose_device(train.device if train else "auto")
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    plans = plan_stages(method, task, train, seed, row)
    _initialise(method, plans, seed)
    for plan in plans:
        notes: list[str] = []
        reused = store.has("stages", plan.key)
        if not reused:
            with store.lock("stages", plan.key, notes.append):
                reused = store.has("stages", plan.key)  # another process may have been first
                if not reused:
                    yield Note(f"stage {plan.stage.name} ({plan.key}): training {plan.steps} steps")
                    try:
                        yield from _train_and_store(plan, device, store)
                    except Diverged as error:
                        raise Diverged(f"{error}{_kept(trained)}") from error
        yield from (Note(f"waited for stage {plan.stage.name} of process {pid}") for pid in notes)
        trained.append(_load_stage(plan, store, device, reused))
    method.eval()


def _kept(trained: list[TrainedStage]) -> str:
    """What a training that goes wrong late has not lost."""
    names = ", ".join(stage.name for stage in trained)
    return f" Finished and kept: {names}; a trial that ends there is sound." if names else ""


def _load_stage(plan: Plan, store: Store, device: torch.device, reused: bool) -> TrainedStage:
    entry = store.entry("stages", plan.key)
    load_weights_of(plan.owner, entry, device)
    record = TrainedStage.model_validate_json((entry / "stage.json").read_text())
    return record.model_copy(update={"reused": reused})


def load_stages(
    method: Method,
    stages: Sequence[TrainedStage],
    store: Store,
    device: torch.device,
    trained: list[TrainedStage],
) -> Trained:
    """Brings a method to the end of stages that were trained earlier, by their keys.

    Raises BenchError for one that is not in the store any more.
    """
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for stage, record in zip(method.stages(), stages, strict=True):
        entry = store.entry("stages", record.key)
        if not entry.is_dir():
            raise BenchError(
                f"stage {record.name}: its weights ({record.key}) are not in the store any more. "
                "Train them again with --fresh."
            )
        yield Note(f"stage {record.name} ({record.key}): from the store")
        load_weights_of(stage.trains or method, entry, device)
        trained.append(record.model_copy(update={"reused": True}))
    method.eval()


def load_weights_of(owner: Method, entry: Path, device: torch.device) -> None:
    """Puts a stored stage's weights into the method, or part of one, that it trained."""
    state = torch.load(entry / "weights.pth", map_location=device, weights_only=True)
    owner.load_state_dict(state)
    owner.eval()  # so that a part just trained and one from the store do the same


def stage_history(store: Store, key: str) -> History:
    """Returns the loss curve of a stored stage as (step, losses)."""
    rows = json.loads((store.entry("stages", key) / "history.json").read_text())
    return [(step, losses) for step, losses in rows]


def _train_and_store(plan: Plan, device: torch.device, store: Store) -> Trained:
    checkpoint = store.scratch("stages", plan.key) / "checkpoint.pth"
    with ieee_fp32():
        patches = _patches(plan, device, store)
    history, curves, seconds = yield from run_steps(plan, patches, device, checkpoint)
    optimizers = plan.owner.optimizers(plan.stage)
    record = TrainedStage(
        name=plan.stage.name,
        key=plan.key,
        steps=plan.steps,
        parameters=sum(p.numel() for p in set(plan.trained())),
        seconds=seconds,
        reused=False,
        precision=plan.precision,
        device=plan.device,
        losses={
            name: float(np.nanmean(curves[name][-LAST_UPDATES:]))
            for name in optimizers
            if name in curves and not np.isnan(curves[name][-LAST_UPDATES:]).all()
        },
        examined=_examine(plan),
    )

    def write(folder: Path) -> None:
        # given a path, torch writes by itself and does not say when the disk is full
        with open(folder / "weights.pth", "wb") as file:
            torch.save(plan.owner.state_dict(), file)
        (folder / "stage.json").write_text(record.model_dump_json())
        (folder / "history.json").write_text(json.dumps(history))
        with open(folder / "losses.npz", "wb") as file:
            np.savez_compressed(file, **curves)  # type: ignore[arg-type]

    store.commit("stages", plan.key, write)


def _initialise(method: Method, plans: list[Plan], seed: int) -> None:
    """Gives the method, then each part that has stages of its own, the weights of their seeds.

    A part's weights so depend on nothing but itself: whichever method trains it first, the stage
    that its key names is the same.
    """
    owners: dict[Method, int] = {method: seed}
    for plan in plans:
        owners.setdefault(plan.owner, plan.seed)
    for owner, its_seed in owners.items():
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(its_seed)
            fresh = type(owner)(**owner.hyperparameters)
        owner.load_state_dict(fresh.state_dict())


@ieee_fp32()
def _examine(plan: Plan) -> dict[str, float | str]:
    plan.owner.eval()
    return dict(plan.stage.examine()) if plan.stage.examine else {}


def _patches(plan: Plan, device: torch.device, store: Store) -> Patches:
    """The stage's training images, decoded once, and what it learns to make of them."""
    pairs = sets.load_pairs(plan.dataset, plan.scale, plan.degradation)
    if plan.stage.target is None:
        return Patches(pairs)

    def write(folder: Path) -> None:
        plan.owner.eval()
        write_targets(plan.stage, pairs, folder, device)

    if not store.has("targets", plan.key):
        store.commit("targets", plan.key, write)
    return Patches(pairs, read_targets(store.entry("targets", plan.key)))
