"""What a method's stages are trained under: everything filled in, and the keys that makes."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from bench.data.pairs import list_pairs
from bench.data.roots import home
from bench.errors import BenchError
from bench.method.contract import Method, Stage
from bench.method.recipe import Recipe, lay, layers
from bench.records.digest import code_digest
from bench.records.store import Store, content_key
from bench.study.fields import TaskSection, TrainSection
from bench.study.recipe import RecipeSection
from bench.train.batches import Patches, own_batches, sources_of
from bench.train.graphs import Captured
from bench.train.loop import choose_device, choose_precision, choose_updates, run_steps
from bench.train.optimizers import rates
from bench.train.pixels import Source, find_source, pixels_digest
from bench.train.plan import Plan
from bench.train.snapshots import snapshots_of
from bench.train.targets import write_targets


def plan_stages(
    method: Method,
    task: TaskSection,
    train: TrainSection | None,
    seed: int,
    row: RecipeSection | None = None,
    *,
    store: Store | None = None,
    begins_from: str = "",
) -> list[Plan]:
    """Returns a method's stages in order, each with its key in the store.

    row: the recipe that a study has for this method alone. store: where a stage's own batches keep
    their pixels; None: that of the home folder. begins_from: digest of the weights that the method
    begins with; "": those of the seed. Raises BenchError where a stage leaves something to a study
    that does not say it.
    """
    store = store or Store(home() / "store")
    find = cache(find_source)  # stages of one set look at its files once
    plans: list[Plan] = []
    keys = [f"weights {begins_from}"] if begins_from else []
    for stage in method.stages():
        try:
            plan = _plan(method, stage, task, train, row, seed, keys, store, find)
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
    store: Store,
    find: Callable[[str, int, str], Source],
) -> Plan:
    owner = stage.trains or method
    recipe = lay(layers(stage.recipe, train, row, stage.seed is not None)).filled()
    filled = _filled(stage, owner, task, train, seed)
    if not filled["dataset"] or (recipe.steps is None and recipe.epochs is None):
        raise BenchError(
            "has to be trained, and nothing says on what or how long. Give a study with "
            "train: {dataset: ..., steps: ...}, or weights with --weights FILE."
        )
    rates(owner.optimizers(stage), recipe)
    device = choose_device(train.device if train else "auto")
    sources = () if stage.batches else sources_of(stage, filled, find)
    precision = choose_precision(recipe.precision or "auto", device)
    recipe = _in_steps(recipe, filled).model_copy(update={"precision": precision})
    updates = choose_updates(recipe.updates or "auto", device, recipe.steps or 0)
    # of eager ones, which there have always been, no key says anything
    recipe = recipe.model_copy(update={"updates": updates if updates == "captured" else None})
    batches = own_batches(stage, filled, recipe, device, store)
    determines = {
        **filled,
        **recipe.model_dump(mode="json", exclude_none=True),
        "before": list(before),
        "name": stage.name,
        "target": stage.target is not None,
        "begins_from": stage.begins_from is not None,
        "depends": dict(owner.hyperparameters if stage.depends is None else stage.depends),
        "method": f"{type(owner).__module__}.{type(owner).__qualname__}",
        "source": method_digest(type(owner)),
        "loop": loop_digest(),
        "pixels": [] if batches else pixels_digest(filled["degradation"]),
        "data": batches.fingerprint if batches else [source.fingerprint for source in sources],
        "augment": stage.augment,
        **({"graphs": code_digest(Captured)} if updates == "captured" else {}),
        **({"snapshots": kept} if (kept := snapshots_of(train, stage)) else {}),
    }
    key = _key_of(determines, "depends")
    target = _target_key(stage, determines, sources)
    return Plan(
        stage, owner, key, recipe=recipe, batches=batches, sources=sources, target=target, **filled
    )


def _filled(
    stage: Stage, owner: Method, task: TaskSection, train: TrainSection | None, seed: int
) -> dict[str, Any]:
    """What a stage is trained on, as itself or the study says."""
    degradation = stage.degradation or task.degradation
    one = 1 if degradation == "none" else owner.hyperparameters.get("scale", task.scales[0])
    device = choose_device(train.device if train else "auto")
    return {
        "dataset": stage.dataset or (train.dataset if train else ""),
        "scale": one,
        "degradation": degradation,
        "seed": seed if stage.seed is None else stage.seed,
        "device": device.type,
    }


def _target_key(stage: Stage, determines: Mapping[str, Any], sources: tuple[Source, ...]) -> str:
    """The key of what a stage learns instead of the originals; "" if it learns them."""
    if stage.target is None or not sources:
        return ""
    if stage.target_depends is not None:
        own: dict[str, Any] = {"depends": dict(stage.target_depends)}
    else:
        own = {name: determines[name] for name in ("name", "depends", "before")}
    parts = {name: determines[name] for name in ("method", "source", "device")}
    code = code_digest(write_targets)
    return _key_of({"hr": sources[0].hr_key, "code": code, **parts, **own}, "target_depends")


def _key_of(parts: Mapping[str, Any], word: str) -> str:
    try:
        return content_key(parts)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"{word} must hold plain numbers, words, lists and mappings ({error})."
        ) from None


def _in_steps(recipe: Recipe, filled: Mapping[str, Any]) -> Recipe:
    """The same with nothing counted in epochs: as many updates as it takes to see each image."""
    if recipe.epochs is None and not (recipe.rate and recipe.rate.counts_epochs):
        return recipe
    assert recipe.batch is not None
    pairs = list_pairs(filled["dataset"], filled["scale"], filled["degradation"])
    epoch = -(-len(pairs) // recipe.batch)
    steps = recipe.steps if recipe.epochs is None else recipe.epochs * epoch
    rate = recipe.rate and recipe.rate.in_steps(epoch)
    return recipe.model_copy(update={"steps": steps, "epochs": None, "rate": rate})


def initialise(method: Method, plans: list[Plan], seed: int) -> None:
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


@cache
def loop_digest() -> str:
    """Returns a hash of the harness's own code that decides what weights a training gives."""
    contract = (Method.optimizers, Method.training_step)
    return code_digest(run_steps, Patches, initialise, *contract)


def method_digest(cls: type[Method]) -> str:
    """Returns a hash of the code that a method is made of."""
    return code_digest(cls)
