"""What every method must keep, checked for each one that is found; a new one is checked for free.

For a method of your own, in a file anywhere: `check_method(YourMethod)`.
"""

import inspect
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from bench.data.catalog import Task
from bench.errors import BenchError
from bench.method import (
    Batch,
    Method,
    Recipe,
    Stage,
    build_method,
    find_method,
    groups_of,
    known_methods,
)
from bench.method.restoring import restore
from bench.train.optimizers import make_optimizers
from bench.train.plan import Plan
from bench.train.updates import update

SIZES = [(16, 16), (17, 23), (24, 13)]


def known(*, assessing: bool = False) -> list[type[Method]]:
    """The methods that restore, or those that give marks."""
    found = [find_method(path) for path in known_methods()]
    return [cls for cls in found if (cls.task == "assessment") is assessing]


def scales(cls: type[Method]) -> list[int]:
    """2 for super-resolution, 1 for all else; also the constructor's own choice."""
    parameters = inspect.signature(cls.__init__).parameters
    if cls.takes_scales():
        return [2]  # at which it restores of itself
    if "scale" not in parameters:
        return [1]
    chosen = {2 if cls.task == "super-resolution" else 1, parameters["scale"].default}
    return sorted(scale for scale in chosen if isinstance(scale, int))


def build(cls: type[Method], scale: int, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return build_method(cls, cls.tiny, scale)


def picture(height: int, width: int, count: int = 1, seed: int = 0, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, height, width, generator=generator)
    return images.contiguous(memory_format=torch.channels_last)


def run(method: Method, lr: Tensor) -> Tensor:
    """As `evaluate` restores it: sizes that `stride` does not divide are filled up."""
    return restore(method, lr)


def check_facts(cls: type[Method], scale: int) -> None:
    """A citation and a task are stated, and the constructor takes only typed keywords."""
    assert cls.paper.strip(), "paper: the citation"
    assert cls.task in (*get_args(Task), "assessment")
    method = build(cls, scale)
    assert method.hyperparameters.items() >= dict(cls.tiny).items()
    assert not method.training, "ready to restore"
    takes = dict(inspect.signature(cls.__init__).parameters)
    takes.pop("self")
    for name, parameter in takes.items():
        inherited = cls.__init__ is nn.Module.__init__  # nothing to choose, so nothing written
        assert inherited or parameter.kind is parameter.KEYWORD_ONLY, f"{name}: keyword only"
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}: has no type"


def check_unknown_hyperparameters_are_refused(cls: type[Method], scale: int) -> None:
    with pytest.raises(BenchError, match="unknown parameter 'no_such_parameter'"):
        build_method(cls, {**cls.tiny, "no_such_parameter": 1}, scale)
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if parameter.annotation in (int, float):
            with pytest.raises(BenchError, match=f"parameter '{name}'.*'many'"):
                build_method(cls, {**cls.tiny, name: "many"}, scale)


def check_shapes_and_range(cls: type[Method], scale: int) -> None:
    """Even and odd sizes; float32, finite, and of the scale 0 to 1, not 0 to 255."""
    method = build(cls, scale)
    for height, width in SIZES:
        sr = run(method, picture(height, width, channels=cls.channels))
        assert sr.shape == (1, 3, scale * height, scale * width)
        assert sr.dtype == torch.float32
        assert torch.isfinite(sr).all()
        assert sr.abs().max() < 20


def check_determinism(cls: type[Method], scale: int) -> None:
    """The same input twice, and the same seed in two networks; the input stays as it was."""
    one, other = build(cls, scale, seed=3), build(cls, scale, seed=3)
    lr = picture(17, 23, channels=cls.channels)
    kept = lr.clone()
    sr = run(one, lr)
    assert torch.equal(sr, run(one, lr))
    assert torch.equal(sr, run(other, lr))
    assert torch.equal(lr, kept)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def check_saving_and_loading(cls: type[Method], scale: int) -> None:
    """The state dict holds all that decides the output, and nothing but tensors."""
    one, other = build(cls, scale, seed=1), build(cls, scale, seed=2)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    lr = picture(16, 16, channels=cls.channels)
    assert torch.equal(run(one, lr), run(other, lr))


def check_batches(cls: type[Method], scale: int) -> None:
    """What becomes of an image does not depend on the others in its batch."""
    method = build(cls, scale)
    lr = picture(14, 18, count=3, channels=cls.channels)
    together = run(method, lr)
    for i in range(3):
        assert torch.allclose(run(method, lr[i : i + 1]), together[i : i + 1], atol=1e-5)


def check_tiles(cls: type[Method], scale: int) -> None:
    """`halo` covers the receptive field, or is None."""
    method = build(cls, scale)
    if method.halo is None:
        return
    lr = picture(40, 56, channels=cls.channels)
    tiled = restore(method, lr, tile=16, whole=16)
    assert (tiled - restore(method, lr)).abs().max() < 1e-5, "halo is too small"


def check_meta_device(cls: type[Method], scale: int) -> None:
    """A study is checked without memory for weights."""
    with torch.device("meta"):
        method = build_method(cls, cls.tiny, scale)
    assert all(parameter.is_meta for parameter in method.parameters())
    assert [stage.name for stage in method.stages()] == [
        stage.name for stage in build(cls, scale).stages()
    ]


def check_stages(cls: type[Method], scale: int) -> None:
    method = build(cls, scale)
    stages = list(method.stages())
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names) and all(names)
    for stage in stages:
        json.dumps(dict(stage.depends or {}), allow_nan=False)
        owner = stage.trains or method
        assert owner is method or owner in set(method.modules()), "a part is a module of its method"
        named = groups_of(owner, stage)
        groups = [list(group["params"]) for parts in named.values() for group in parts]
        assert groups and all(groups), f"{stage.name}: nothing to train"
        assert all(group["rate"] > 0 for parts in named.values() for group in parts)
        ids = [id(parameter) for group in groups for parameter in group]
        assert len(set(ids)) == len(ids), f"{stage.name}: two optimizers share a parameter"
        assert set(ids) <= {id(parameter) for parameter in owner.parameters()}


def check_training(cls: type[Method], scale: int) -> None:
    """One update, made as the loop makes it, reaches every parameter that an optimizer names."""
    method = build(cls, scale)
    for stage in method.stages():
        owner = stage.trains or method
        plan = plan_of(owner, stage, scale)
        owner.train()
        optimizers = make_optimizers(plan)
        before = {id(p): p.detach().clone() for p in method.parameters()}
        losses = update(owner, stage, batch_of(plan), optimizers, plan)
        assert set(optimizers) <= set(losses), f"{stage.name}: a loss for each optimizer"
        for name, loss in losses.items():
            assert loss.ndim == 0 and torch.isfinite(loss), f"{stage.name}: {name}"
        labels = {id(parameter): name for name, parameter in method.named_parameters()}
        named = {id(parameter) for parameter in plan.trained()}
        for parameter in method.parameters():
            moved = not torch.equal(parameter, before[id(parameter)])
            label = f"{stage.name}: {labels[id(parameter)]}"
            if id(parameter) in named:
                assert parameter.grad is not None, f"{label}: no gradient"
                assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), label
                assert moved, f"{label}: has not moved"
            else:
                assert not moved, f"{label}: moved although no optimizer names it"


def plan_of(owner: Method, stage: Stage, scale: int) -> Plan:
    own = owner.hyperparameters.get("scale", 1 if stage.trains is not None else scale)
    given = Recipe(steps=1, patch=max(16, owner.stride) * own, batch=4, learning_rate=1e-3)
    patch = Recipe(patch=stage.recipe.patch)
    recipe = patch.over(given).over(Recipe(precision="fp32")).filled()
    return Plan(
        stage, owner, "key", dataset="", scale=own, degradation="", recipe=recipe, seed=0,
        device="cpu",
    )  # fmt: skip


def batch_of(plan: Plan) -> Batch:
    small = plan.patch // plan.scale
    hr = picture(plan.patch, plan.patch, plan.batch, seed=1)
    target = hr
    if plan.stage.target is not None:
        plan.owner.eval()
        with torch.no_grad():
            target = torch.cat([plan.stage.target(image[None]) for image in hr])
        assert target.shape == hr.shape and torch.isfinite(target).all()
        plan.owner.train()
    lr = picture(small, small, plan.batch, channels=plan.owner.channels)
    labels = None
    if plan.stage.batches is not None:  # of what gives marks: shares of votes
        labels = torch.rand(plan.batch, 10, generator=torch.Generator().manual_seed(2)).softmax(1)
    return Batch(lr, hr, target, step=0, labels=labels)


CHECKS: list[Callable[[type[Method], int], None]] = [
    check_facts,
    check_unknown_hyperparameters_are_refused,
    check_shapes_and_range,
    check_determinism,
    check_saving_and_loading,
    check_batches,
    check_tiles,
    check_meta_device,
    check_stages,
    check_training,
]


def check_method(cls: type[Method]) -> None:
    """Runs every check of the contract on a method, at each scale it serves."""
    for scale in scales(cls):
        for check in CHECKS:
            check(cls, scale)


@pytest.mark.parametrize("cls", known(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_method_keeps_the_contract(
    cls: type[Method], check: Callable[[type[Method], int], None]
) -> None:
    for scale in scales(cls):
        check(cls, scale)


@pytest.mark.parametrize("cls", known(assessing=True), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    "check",
    [
        check_facts,
        check_unknown_hyperparameters_are_refused,
        check_saving_and_loading,
        check_batches,
        check_meta_device,
        check_stages,
        check_training,
    ],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_what_gives_marks_keeps_the_rest_of_the_contract(
    cls: type[Method], check: Callable[[type[Method], int], None]
) -> None:
    check(cls, 1)


def test_every_file_of_the_package_is_searched() -> None:
    paths = known_methods()
    assert "methods.classical.Bicubic" in paths and "methods.nima_sr.EDSR" in paths
    files = {
        f"methods.{path.stem}" for path in (Path(__file__).parents[1] / "methods").glob("*.py")
    }
    assert files - {"methods.__init__"} == {path.rpartition(".")[0] for path in paths}


# --- the checks themselves find what is wrong -----------------------------------------------------


class Good(Method):
    """Keeps the contract; each of the following breaks it in one way."""

    paper = "none"
    halo = 2

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.layer = nn.Conv2d(3, 3 * scale**2, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.layer(lr), self.scale)

    def stages(self) -> list[Stage]:
        return [Stage("sr")]


class Packed(Method):
    """Takes packed raw files, of sizes that 4 divides: a U-Net in small."""

    paper = "none"
    channels = 4
    stride = 4
    halo = 7

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Conv2d(4, 8, 4, stride=4)
        self.up = nn.ConvTranspose2d(8, 3, 4 * scale, stride=4 * scale)

    def forward(self, lr: Tensor) -> Tensor:
        assert lr.shape[-2] % 4 == lr.shape[-1] % 4 == 0
        return self.up(self.down(lr))

    def stages(self) -> list[Stage]:
        return [Stage("raw")]


class Uncited(Good):
    paper = ""


class Loose(Good):
    def __init__(self, scale=2) -> None:  # type: ignore[no-untyped-def]
        super().__init__(scale=scale)


class Cropping(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr)[..., :-1]


class Levels(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) * 255


class Random(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) + torch.rand(1)


class Greedy(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr.sub_(0.5))


class Forgetful(Good):
    def __init__(self, *, scale: int = 2) -> None:
        super().__init__(scale=scale)
        self.shift = torch.rand(1)

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) + self.shift


class Sociable(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr - lr.mean())


class Nearsighted(Good):
    halo = 0


class Twins(Good):
    def stages(self) -> list[Stage]:
        return [Stage("sr"), Stage("sr")]


class Unreached(Good):
    def __init__(self, *, scale: int = 2) -> None:
        super().__init__(scale=scale)
        self.unused = nn.Linear(1, 1)


class Unsaid(Packed):
    stride = 1


class Colour(Packed):
    channels = 3


class Undecided(Good):
    def training_step(self, batch: Batch, stage: Stage) -> dict[str, Tensor]:
        return {"other": super().training_step(batch, stage)["loss"]}  # type: ignore[index]


@pytest.mark.parametrize("cls", [Good, Packed])
def test_a_method_that_keeps_the_contract_passes(cls: type[Method]) -> None:
    check_method(cls)


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        (Uncited, check_facts),
        (Loose, check_facts),
        (Cropping, check_shapes_and_range),
        (Levels, check_shapes_and_range),
        (Random, check_determinism),
        (Greedy, check_determinism),
        (Forgetful, check_saving_and_loading),
        (Sociable, check_batches),
        (Nearsighted, check_tiles),
        (Twins, check_stages),
        (Unreached, check_training),
        (Undecided, check_training),
        (Unsaid, check_shapes_and_range),
        (Colour, check_shapes_and_range),
    ],
    ids=lambda value: value.__name__,
)
def test_a_method_that_breaks_the_contract_is_caught(
    cls: type[Method], check: Callable[[type[Method], int], None]
) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        check(cls, 2)
    for other in CHECKS[:2]:
        if other is not check:
            other(cls, 2)
