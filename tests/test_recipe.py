"""Recipes: schedules, optimizers, clip and average against torch's own, and how layers lie."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.data.roots import home
from bench.errors import BenchError
from bench.method import Batch, Group, Method, Rate, Recipe, Stage
from bench.method.recipe import lay, layers, recipe_of
from bench.records.store import Store
from bench.study.fields import TrainSection
from bench.study.recipe import RecipeSection
from bench.train import loop
from bench.train.batches import Patches
from bench.train.loop import run_steps
from bench.train.pixels import find_source, open_pixels
from bench.train.plan import Plan

STEPS, EPOCH, WARMUP = 40, 7, 6
CPU = torch.device("cpu")
Sgd = torch.optim.SGD


def warm(optimizer: Sgd) -> LinearLR:
    """1 / 6, 2 / 6, ... 1 at the sixth step."""
    return LinearLR(optimizer, start_factor=1 / WARMUP, total_iters=WARMUP - 1)


SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[Sgd], LRScheduler | ChainedScheduler]]] = {
    "times a factor from a step on": (
        {"at": {10: 0.1, 25: 0.1}}, lambda o: MultiStepLR(o, [10, 25], 0.1)
    ),
    "halved at steps": ({"halve": [13, 17, 18]}, lambda o: MultiStepLR(o, [13, 17, 18], 0.5)),
    "halved again and again": ({"halve": 9}, lambda o: StepLR(o, 9, 0.5)),
    "cosine": ({"cosine": 0.01}, lambda o: CosineAnnealingLR(o, STEPS, eta_min=0.01)),
    "exponential in steps": ({"exponential": 0.9, "every": 4}, lambda o: StepLR(o, 4, 0.9)),
    "exponential in two epochs": (
        {"exponential": 0.9, "every": "2 epochs"}, lambda o: StepLR(o, 2 * EPOCH, 0.9)
    ),
    "warm-up": ({"warmup": WARMUP}, warm),
    "warm-up and steps": (
        {"at": {10: 0.1}, "warmup": WARMUP},
        lambda o: ChainedScheduler([warm(o), MultiStepLR(o, [10], 0.1)]),
    ),
    "warm-up, then cosine": (
        {"cosine": 0.01, "warmup": WARMUP},
        lambda o: SequentialLR(
            o, [warm(o), CosineAnnealingLR(o, STEPS - WARMUP, eta_min=0.01)], [WARMUP]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_is_that_of_torch_s_scheduler(name: str) -> None:
    given, make = SCHEDULES[name]
    optimizer = Sgd([nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*epoch parameter.*")  # SequentialLR's own
        scheduler, expected = make(optimizer), []
        for _ in range(STEPS):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    rate = Recipe(rate=given).rate  # type: ignore[arg-type]
    assert rate is not None
    assert [rate.factor(step, STEPS, EPOCH) for step in range(STEPS)] == pytest.approx(expected)


def test_a_rate_per_epoch_is_torch_s_exponential_one() -> None:
    optimizer = Sgd([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rate = ExponentialLR(optimizer, 0.95), Rate(exponential=0.95)
    for epoch in range(5):
        for step in range(epoch * EPOCH, (epoch + 1) * EPOCH):
            expected = pytest.approx(optimizer.param_groups[0]["lr"])
            assert rate.factor(step, STEPS, EPOCH) == expected
            assert rate.in_steps(EPOCH).factor(step, STEPS) == expected
        optimizer.step()
        scheduler.step()


def test_a_rate_of_which_nothing_is_said_is_constant() -> None:
    assert {Rate().factor(step, STEPS) for step in range(STEPS)} == {1.0}


# --- layers ---------------------------------------------------------------------------------------


def test_a_recipe_lies_over_another_field_by_field() -> None:
    below = Recipe(steps=9, batch=4, clip=1.0)
    assert Recipe(batch=8, average=0.9).over(below) == Recipe(
        steps=9, batch=8, clip=1.0, average=0.9
    )
    assert Recipe().over(below) == below and below.over(Recipe()) == below


def test_steps_take_the_place_of_epochs_and_epochs_of_steps() -> None:
    assert Recipe(steps=9).over(Recipe(epochs=2)) == Recipe(steps=9)
    assert Recipe(epochs=2).over(Recipe(steps=9, batch=4)) == Recipe(epochs=2, batch=4)


def test_another_optimizer_leaves_what_it_does_not_have() -> None:
    below = Recipe(optimizer="sgd", momentum=0.9, weight_decay=0.1)
    assert Recipe(optimizer="adamw").over(below) == Recipe(optimizer="adamw", weight_decay=0.1)
    with pytest.raises(BenchError, match=r"betas: sgd has no betas \(adam, adamw only\)"):
        Recipe(betas=(0.5, 0.9)).over(below)


def test_row_over_stage_over_study() -> None:
    study = TrainSection(dataset="x", steps=9, batch=4, patch=8, halve_at=(5,))
    row = RecipeSection(steps=3)
    whole = lay(layers(Recipe(steps=7, batch=2), study, row, shared=False))
    assert whole == Recipe(steps=3, batch=2, patch=8, rate=Rate(halve=(5,)))
    assert whole.overridden(recipe_of(study)) == {"steps", "batch"}
    assert whole.overridden(Recipe(steps=7, batch=2)) == {"steps"}
    assert whole.overridden(recipe_of(row)) == set()


def test_a_stage_of_every_study_outranks_the_row_and_takes_no_schedule() -> None:
    study = TrainSection(dataset="x", steps=9, batch=4, halve_at=(5,), clip=1.0)
    row = RecipeSection(steps=3, batch=1, average=0.9)
    assert lay(layers(Recipe(batch=2), study, row, shared=True)) == Recipe(steps=3, batch=2)


def test_defaults_are_those_of_torch() -> None:
    whole = Recipe(steps=1).filled()
    assert (whole.optimizer, whole.betas, whole.weight_decay) == ("adam", (0.9, 0.999), 0)
    assert (whole.clip, whole.average, whole.rate) == (None, None, None)
    assert Recipe(optimizer="adamw").filled().weight_decay == 0.01
    assert Recipe(optimizer="sgd").filled().momentum == 0


def test_what_changes_nothing_can_be_said_against_a_study() -> None:
    study = Recipe(steps=1, clip=1.0, average=0.9, rate=Rate(halve=3))
    off = Recipe(clip=0, average=0, rate="constant").over(study)  # type: ignore[arg-type]
    assert off.filled() == Recipe(steps=1).filled()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"steps": 0}, "steps: Input should be greater than or equal to 1, got 0"),
        ({"steps": 1, "epochs": 2}, "epochs: steps and epochs exclude each other, got 2"),
        ({"clip": -1}, "clip: Input should be greater than or equal to 0, got -1"),
        ({"average": 1.0}, "average: Input should be less than 1, got 1.0"),
        ({"optimizer": "sgd", "betas": (0, 0)}, "betas: sgd has no betas"),
        ({"rate": {"halve": 2, "cosine": 0}}, "rate: halve and cosine exclude each other"),
        ({"rate": {"every": 2}}, "rate: every belongs to exponential"),
        ({"rate": {"exponential": 0.9, "every": "2 weeks"}}, "rate.every: needs a number of steps"),
        ({"rate": {"halve": [2, 0]}}, "rate.halve: needs a number of steps"),
        ({"learning_rate": {"loss": -1}}, "learning_rate: needs a number greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(said: Mapping[str, Any], message: str) -> None:
    with pytest.raises(BenchError) as caught:
        Recipe(**said)
    assert f"recipe: {message}" in str(caught.value) and "\n" not in str(caught.value)


# --- against torch --------------------------------------------------------------------------------


class Net(Method):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Sequential(nn.Conv2d(4, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.last(torch.relu(self.first(lr)))
        return sr


class Grouped(Net):
    """Two losses: the last layer's own, and a tenth of the rate for the first one's bias."""

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter] | Sequence[Group]]:
        weight, bias = self.first.weight, self.first.bias
        assert bias is not None
        return {
            "first": [{"params": [weight], "rate": 1.0}, {"params": [bias], "rate": 0.1}],
            "last": list(self.last.parameters()),
        }

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        yield "first", (self(batch.lr) - batch.target).abs().mean()
        yield "last", (self(batch.lr) - batch.target).square().mean()


@pytest.fixture
def patches(small_sets: Path, monkeypatch: pytest.MonkeyPatch) -> Patches:
    monkeypatch.setattr(loop, "BLOCK", 0.0)  # a sign of life for each update
    pixels = open_pixels([find_source("set5", 2, "bicubic")], Store(home() / "store"))
    return Patches(pixels, batch=2, patch=8, seed=0, device=CPU)


def plan_of(owner: Method, recipe: Recipe) -> Plan:
    usual = Recipe(steps=STEPS, patch=8, batch=2, learning_rate=0.01, precision="fp32")
    return Plan(Stage("fit"), owner, "key", "set5", 2, "bicubic", recipe.over(usual).filled(), 0,
                "cpu")  # fmt: skip


def start(owner: Method, recipe: Recipe, patches: Patches, folder: Path) -> Any:
    return run_steps(plan_of(owner, recipe), patches, folder / "checkpoint.pth")


def make(cls: type[Method] = Net) -> Any:
    torch.manual_seed(0)
    return cls()


def batches(patches: Patches) -> list[Batch]:
    return [patches.batch(step) for step in range(STEPS)]


OPTIMIZERS: dict[str, tuple[Recipe, Callable[[Any], torch.optim.Optimizer]]] = {
    "adam": (
        Recipe(optimizer="adam", betas=(0.5, 0.9), weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 0.01, (0.5, 0.9), weight_decay=0.1),
    ),
    "adamw": (Recipe(optimizer="adamw"), lambda p: torch.optim.AdamW(p, 0.01)),
    "sgd": (
        Recipe(optimizer="sgd", momentum=0.9, weight_decay=0.1),
        lambda p: Sgd(p, 0.01, 0.9, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_training_is_that_of_a_loop_written_with_torch_alone(
    patches: Patches, tmp_path: Path, name: str, clip: float
) -> None:
    recipe, optimizer_of = OPTIMIZERS[name]
    net, other = make(), make()
    scheduled = Recipe(clip=clip, rate=Rate(halve=(3, 20))).over(recipe)
    list(start(net, scheduled, patches, tmp_path))
    optimizer = optimizer_of(other.parameters())
    scheduler = MultiStepLR(optimizer, [3, 20], 0.5)
    for batch in batches(patches):
        optimizer.zero_grad()
        nn.functional.l1_loss(other(batch.lr), batch.hr).backward()
        if clip:
            norm = nn.utils.clip_grad_norm_(other.parameters(), clip)
            assert norm > clip, "or there is nothing to clip"
        optimizer.step()
        scheduler.step()
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_losses_and_groups_have_rates_of_their_own(patches: Patches, tmp_path: Path) -> None:
    # Adam's first step is the rate itself, whatever the gradient
    net = make(Grouped)
    before = copy.deepcopy(net)
    recipe = Recipe(steps=1, learning_rate={"first": 0.01, "last": 0.2})
    list(start(net, recipe, patches, tmp_path))
    moved = {
        name: (value - dict(before.named_parameters())[name]).abs().max().item()
        for name, value in net.named_parameters()
    }
    assert moved == pytest.approx(
        {"first.weight": 0.01, "first.bias": 0.001, "last.0.weight": 0.2, "last.0.bias": 0.2},
        rel=1e-3,
    )


def test_the_average_is_that_of_torch(patches: Patches, tmp_path: Path) -> None:
    """At each sign of life, and at the end, when it is stored and measured."""
    net, twin = make(), make()
    theirs = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    training = start(net, Recipe(average=0.9), patches, tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    for _, _ in zip(training, start(twin, Recipe(), patches, tmp_path), strict=True):
        theirs.update_parameters(twin)
        for mine, other in zip(net.parameters(), theirs.module.parameters(), strict=True):
            assert torch.equal(mine, other)
    for mine, other in zip(net.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert not torch.equal(net.first.weight, twin.first.weight)
