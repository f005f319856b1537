"""A method goes through its stages; each is trained once for equal content, then shared."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import BenchError, Diverged
from bench.method.contract import Method, Stage, source_digest
from bench.records.cell import LAST_UPDATES, TrainedStage
from bench.records.store import Store, content_key, home
from bench.study.fields import TaskSection, TrainSection
from bench.train.batches import opened_batches, own_batches, sources_of
from bench.train.loop import (
    History,
    Plan,
    Progress,
    choose_device,
    choose_precision,
    run_steps,
)
from bench.train.pixels import Source, find_source


@dataclass(frozen=True)
class Note:
    """Something worth a line of text, such as a stage that begins."""

    text: str


Trained = Iterator[Progress | Note]


def plan_stages(
    method: Method,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    store: Store | None = None,
) -> list[Plan]:
    """Returns a method's stages in order, each with its key in the store.

    store: where a stage's own batches keep their pixels; None: that of the home folder. Raises
    BenchError where a stage leaves something to a study that has no `train` section.
    """
    store = store or Store(home() / "store")
    find = cache(find_source)  # stages of one set look at its files once
    plans: list[Plan] = []
    keys: list[str] = []
    for stage in method.stages():
        plan = _plan(method, stage, task, train, seed, keys, store, find)
        keys.append(plan.key)
        plans.append(plan)
    return plans


def _plan(
    method: Method,
    stage: Stage,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    before: list[str],
    store: Store,
    find: Callable[[str, int, str], Source],
) -> Plan:
    owner = stage.trains or method
    degradation = stage.degradation or task.degradation
    scale = 1 if degradation == "none" else owner.hyperparameters.get("scale", task.scale)
    train = train or _train_of_stage(method, stage)
    device = choose_device(train.device)
    filled: dict[str, Any] = {
        "dataset": stage.dataset or train.dataset,
        "scale": scale,
        "degradation": degradation,
        "steps": train.steps if stage.steps is None else stage.steps,
        "patch": stage.patch or train.patch,
        "batch": stage.batch or train.batch,
        "learning_rate": stage.learning_rate or train.learning_rate,
        "halve_at": () if stage.learning_rate else train.halve_at,
        "seed": seed if stage.seed is None else stage.seed,
        "precision": choose_precision(
            "auto" if stage.seed is not None else train.precision, device
        ),
        "device": device.type,
    }
    batches = own_batches(stage, filled, device, store)
    sources = () if batches else sources_of(stage, filled, find)
    parts = {
        "method": f"{type(owner).__module__}.{type(owner).__qualname__}",
        "source": source_digest(type(owner)),
        "recipe": recipe_digest(),
        "name": stage.name,
        "depends": dict(owner.hyperparameters if stage.depends is None else stage.depends),
        "before": before,
    }
    target = _target_key(owner, stage, sources, device, parts)
    determines = {
        **filled,
        **parts,
        "halve_at": list(filled["halve_at"]),
        "target": target,
        "data": batches.fingerprint if batches else [source.fingerprint for source in sources],
        "augment": stage.augment,
    }
    key = _key_of(determines, owner, stage, "depends")
    return Plan(stage, owner, key, **filled, batches=batches, sources=sources, target=target)


def _target_key(
    owner: Method,
    stage: Stage,
    sources: Sequence[Source],
    device: torch.device,
    parts: Mapping[str, Any],
) -> str:
    """What makes a stage's target; "" if it has none."""
    if stage.target is None:
        return ""
    made_of = {**parts, "hr": sources[0].hr_key, "device": device.type}
    if stage.target_depends is not None:
        made_of |= {"depends": dict(stage.target_depends), "before": [], "name": ""}
    return _key_of(made_of, owner, stage, "target_depends")


def _key_of(parts: Mapping[str, Any], owner: Method, stage: Stage, word: str) -> str:
    try:
        return content_key(parts)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"{type(owner).__name__}, stage {stage.name!r}: {word} must hold plain numbers, "
            f"words, lists and mappings ({error})."
        ) from None


def _train_of_stage(method: Method, stage: Stage) -> TrainSection:
    """Settings for a stage that fills in everything itself, without a train section."""
    if stage.steps is None or stage.dataset is None:
        raise BenchError(
            f"{type(method).__name__} has to be trained (stage {stage.name!r}), and no train "
            "section says on what. Give a study with train:, or weights with --weights FILE."
        )
    return TrainSection(dataset=stage.dataset, steps=max(stage.steps, 1))


@cache
def recipe_digest() -> str:
    """Returns a hash of the harness's own code that decides what a training gives."""
    names = ("train/loop.py", "method/contract.py", "method/batch.py", "train/batches.py",
             "train/pixels.py", "train/targets.py", "method/tiles.py", "data/mapped.py",
             "data/degrade.py", "data/images.py", "data/sets.py", "data/raw.py",
             "data/filters.py")  # fmt: skip
    digest = hashlib.sha256()
    for name in names:
        digest.update((Path(__file__).parents[1] / name).read_bytes())
    return digest.hexdigest()[:16]


def train_stages(
    method: Method,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    store: Store,
    trained: list[TrainedStage],
) -> Trained:
    """Brings a method through its stages; yields progress, appends to `trained` what was done.

    Afterwards the method is in eval mode on the training device. Raises Diverged, BenchError.
    """
    device = choose_device(train.device if train else "auto")
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    plans = plan_stages(method, task, train, seed, store)
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
    state = torch.load(entry / "weights.pth", map_location=device, weights_only=True)
    plan.owner.load_state_dict(state)
    plan.owner.eval()  # so that a part just trained and one from the store do the same
    record = TrainedStage.model_validate_json((entry / "stage.json").read_text())
    return record.model_copy(update={"reused": reused})


def stage_history(store: Store, key: str) -> History:
    """Returns the loss curve of a stored stage as (step, losses)."""
    rows = json.loads((store.entry("stages", key) / "history.json").read_text())
    return [(step, losses) for step, losses in rows]


def _train_and_store(plan: Plan, device: torch.device, store: Store) -> Trained:
    checkpoint = store.scratch("stages", plan.key) / "checkpoint.pth"
    if not all(source.is_in(store) for source in plan.sources):
        yield Note(f"decoding the images of {plan.dataset}, once for all trainings")
    with opened_batches(plan, device, store) as batches:
        history, curves, seconds = yield from run_steps(plan, batches, device, checkpoint)
    optimizers = plan.owner.optimizers(plan.stage)
    parameters = {p for group in optimizers.values() for p in group}
    record = TrainedStage(
        name=plan.stage.name,
        key=plan.key,
        steps=plan.steps,
        parameters=sum(p.numel() for p in parameters),
        seconds=seconds,
        reused=False,
        target=plan.target,
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


def _examine(plan: Plan) -> dict[str, float | str]:
    plan.owner.eval()
    return dict(plan.stage.examine()) if plan.stage.examine else {}
