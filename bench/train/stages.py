"""A method goes through its stages; each is trained once for equal content, then shared."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.errors import BenchError, Diverged
from bench.method.contract import Method
from bench.method.precision import ieee_fp32
from bench.records.cell import LAST_UPDATES, TrainedStage
from bench.records.store import Store
from bench.study.fields import TaskSection, TrainSection
from bench.study.recipe import RecipeSection
from bench.train.batches import opened_batches
from bench.train.curves import History
from bench.train.loop import Note, Progress, choose_device, run_steps
from bench.train.plan import Plan
from bench.train.planning import initialise, plan_stages
from bench.train.snapshots import Snapshots, name_of, snapshots_of, steps_of

Trained = Iterator[Progress | Note]


class Start:
    """Weights that a training begins with instead of those of its seed."""

    def __init__(self, digest: str, load: Callable[[Method], None]) -> None:
        self.digest, self.load = digest, load


def train_stages(
    method: Method,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    store: Store,
    trained: list[TrainedStage],
    row: RecipeSection | None = None,
    start: Start | None = None,
) -> Trained:
    """Brings a method through its stages; yields progress, appends to `trained` what was done.

    row: the recipe that a study has for this method alone. start: what it begins with. Afterwards
    the method is in eval mode on the training device. Raises Diverged, BenchError.
    """
    device = choose_device(train.device if train else "auto")
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    begins_from = start.digest if start else ""
    plans = plan_stages(method, task, train, seed, row, store=store, begins_from=begins_from)
    initialise(method, plans, seed)
    scale = 0 if method.takes_scales() else task.scales[0]
    if start is not None:
        start.load(method)
    for plan in plans:
        holders: list[str] = []
        reused = store.has("stages", plan.key)
        if not reused:
            with store.lock("stages", plan.key, holders.append):
                reused = store.has("stages", plan.key)  # another process may have been first
                if not reused:
                    if store.entry("stages", plan.key).is_dir():
                        yield Note(f"stage {plan.stage.name} ({plan.key}): damaged in the store")
                    yield Note(f"stage {plan.stage.name} ({plan.key}): training {plan.steps} steps")
                    try:
                        kept = steps_of(plan.steps, snapshots_of(train, plan.stage) or 1)
                        yield from _train_and_store(plan, device, store, kept)
                    except Diverged as error:
                        raise Diverged(f"{error}{_kept(trained)}") from error
                    except FileNotFoundError:  # of its scratch, which goes with a commit
                        if not store.has("stages", plan.key):
                            raise
                        # another machine, whose locks are not seen here, was first
        yield from (Note(f"waited for stage {plan.stage.name} of process {p}") for p in holders)
        record = _load_stage(plan, store, device, reused)
        trained.append(record.model_copy(update={"scale": scale}))
    method.eval()


def _kept(trained: list[TrainedStage]) -> str:
    """What a training that goes wrong late has not lost."""
    names = ", ".join(stage.name for stage in trained)
    return f" Finished and kept: {names}; a trial that ends there is sound." if names else ""


def _load_stage(plan: Plan, store: Store, device: torch.device, reused: bool) -> TrainedStage:
    entry = store.entry("stages", plan.key)
    load_weights_of(plan.owner, entry, device)
    record = TrainedStage.model_validate_json((entry / "stage.json").read_bytes())
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


def load_weights_of(
    owner: Method, entry: Path, device: torch.device, name: str = "weights.pth"
) -> None:
    """Puts a stored stage's weights, or a snapshot's, into the method, or part of one, that it
    trained."""
    state = torch.load(entry / name, map_location=device, weights_only=True)
    owner.load_state_dict(state)
    owner.eval()  # so that a part just trained and one from the store do the same


def on_the_way(
    method: Method, record: TrainedStage, store: Store, device: torch.device
) -> Iterator[int]:
    """Yields the update of each snapshot of a method's last stage, with its weights in the method;
    afterwards those of the end are back."""
    owner, entry = method.stages()[-1].trains or method, store.entry("stages", record.key)
    for step in record.snapshots:
        load_weights_of(owner, entry, device, name_of(step))
        yield step
    if record.snapshots:
        load_weights_of(owner, entry, device)


def stage_history(store: Store, key: str) -> History:
    """Returns the loss curve of a stored stage as (step, losses)."""
    rows = json.loads((store.entry("stages", key) / "history.json").read_bytes())
    return [(step, losses) for step, losses in rows]


def _train_and_store(
    plan: Plan, device: torch.device, store: Store, kept: Sequence[int]
) -> Trained:
    scratch = store.scratch("stages", plan.key)
    if plan.stage.begins_from is not None:
        plan.owner.load_state_dict(plan.stage.begins_from.state_dict())
    if not all(source.is_in(store) for source in plan.sources):
        yield Note(f"decoding the images of {plan.dataset}, once for all trainings")
    with opened_batches(plan, device, store) as batches:
        snapshots = Snapshots(plan.owner, kept, scratch)
        run = yield from run_steps(plan, batches, scratch / "checkpoint.pth", snapshots.keep)
    optimizers = plan.owner.optimizers(plan.stage)
    record = TrainedStage(
        name=plan.stage.name,
        key=plan.key,
        steps=plan.steps,
        parameters=sum(p.numel() for p in set(plan.trained())),
        seconds=run.seconds,
        reused=False,
        target=plan.target,
        pixels=sorted({key for source in plan.sources for key in (source.hr_key, source.lr_key)}),
        precision=plan.precision,
        device=plan.device,
        updates=run.updates,
        losses={
            name: float(np.nanmean(run.curves[name][-LAST_UPDATES:]))
            for name in optimizers
            if name in run.curves and not np.isnan(run.curves[name][-LAST_UPDATES:]).all()
        },
        examined=_examine(plan),
        snapshots=list(kept),
    )

    def write(folder: Path) -> None:
        # given a path, torch writes by itself and does not say when the disk is full
        with open(folder / "weights.pth", "wb") as file:
            torch.save(plan.owner.state_dict(), file)
        snapshots.copy_to(folder)
        (folder / "stage.json").write_text(record.model_dump_json(), encoding="utf-8")
        (folder / "history.json").write_text(json.dumps(run.history), encoding="utf-8")
        with open(folder / "losses.npz", "wb") as file:
            np.savez_compressed(file, **run.curves)  # type: ignore[arg-type]

    store.commit("stages", plan.key, write)


@ieee_fp32()
def _examine(plan: Plan) -> dict[str, float | str]:
    plan.owner.eval()
    return dict(plan.stage.examine()) if plan.stage.examine else {}
