"""Updates captured on a GPU: what goes in, what is proved before, what cannot be captured.

Without a GPU a stand-in takes the graph's place: a function that makes the same operations on the
same addresses when it is called. It shows all but that CUDA records what torch launches; the last
tests show that where there is a GPU.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit import mapped
from test_contract import batch_of, build, known, scales
from test_contract import plan_of as contract_plan
from test_train import Net, Rivals, results
from torch import Tensor, nn

from bench.errors import BenchError
from bench.look.check import load_study
from bench.method import Batch, Losses, Method, Rate, Recipe, Stage
from bench.train import graphs, loop
from bench.train.batches import Patches
from bench.train.loop import Run, choose_updates, run_steps
from bench.train.optimizers import make_optimizers
from bench.train.pixels import TrainingPixels
from bench.train.plan import Plan
from bench.train.updates import update

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU here")


class Plain(Net):
    """Batch norm, and nothing asked of the host, where a CPU's dropout draws."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[3] = nn.Identity()


class Pair(Rivals):
    """Two networks of one number each, their losses in turn."""

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        level = batch.hr.mean()
        yield "d", self.d * self.g.detach() * level
        yield "g", (self.g - 2 * self.d).square() * level
        yield "logged", self.g - self.d


def made(owner: type[Method]) -> Method:
    torch.manual_seed(1)
    return owner()


def plan_of(owner: Method, device: torch.device = CPU, **said: Any) -> Plan:
    # rates that fp32 holds exactly, as a graph has them
    usual = {"steps": 12, "patch": 8, "batch": 2, "learning_rate": 2**-6, "precision": "fp32"}
    recipe = Recipe(**{**usual, **said}).filled()
    return Plan(Stage("fit"), owner, "key", "set", 2, "bicubic", recipe, 0, device.type)


def patches_of(*scales: int, device: torch.device = CPU) -> Patches:
    rng = np.random.default_rng(0)
    sizes = [(24, 36), (30, 18)]
    lr = {
        s: mapped([rng.integers(0, 256, (h // s, w // s, 3), dtype=np.uint8) for h, w in sizes])
        for s in scales
    }
    hr = mapped([rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes])
    return Patches(
        TrainingPixels(lr, hr, "key"), batch=2, patch=12 if 3 in scales else 8, seed=0,
        device=device,
    )  # fmt: skip


class OwnBatches:
    """With labels, as a stage may bring them."""

    fingerprint = "own"

    def batch(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        lr = torch.rand(2, 3, 4, 4, generator=generator)
        hr = torch.rand(2, 3, 8, 8, generator=generator)
        return Batch(lr, hr, hr, step, labels=torch.rand(2, 10, generator=generator))


def trained(plan: Plan, batches: Any, folder: Path) -> tuple[list[Any], Run]:
    folder.mkdir(exist_ok=True)
    events, run = results(run_steps(plan, batches, folder / "checkpoint.pth"))
    return events, run


def state_of(owner: Method) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in owner.state_dict().items()}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The stand-in; gets an item at each capture, counting its launches."""
    counts: list[int] = []

    def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        losses, number = run(), len(counts)
        counts.append(0)

        def launch() -> None:
            counts[number] += 1
            losses.copy_(run())

        return launch, losses

    monkeypatch.setattr(graphs, "capture", capture)
    return counts


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patches, "on_card", property(lambda patches: True))


RECIPES: list[dict[str, Any]] = [
    {},
    {"rate": Rate(halve=(5,))},
    {"average": 0.5},
    {"optimizer": "sgd", "momentum": 0.5},
    {"optimizer": "adamw", "clip": 0.125},
]


@pytest.mark.parametrize("said", RECIPES, ids=str)
@pytest.mark.parametrize("owner", [Plain, Pair])
def test_a_captured_training_gives_the_weights_of_a_launched_one(
    owner: type[Method], said: dict[str, Any], captures: list[int], on_card: None, tmp_path: Path
) -> None:
    one, other = made(owner), made(owner)
    _, launched = trained(plan_of(one, **said), patches_of(2), tmp_path / "launched")
    events, captured = trained(
        plan_of(other, updates="captured", **said), patches_of(2), tmp_path / "captured"
    )
    assert captured.updates == "captured" and launched.updates == ""
    assert captures == [2 + 12], "two to prove it, then every update"
    assert not [event for event in events if isinstance(event, loop.Note)]
    assert_same(state_of(one), state_of(other))
    for name, curve in launched.curves.items():
        assert np.array_equal(curve, captured.curves[name]), name


def test_batches_of_a_stage_s_own_are_put_where_the_graph_reads(
    captures: list[int], tmp_path: Path
) -> None:
    class Labelled(Plain):
        def training_step(self, batch: Batch, stage: Stage) -> Losses:
            assert batch.labels is not None
            return {"loss": (self(batch.lr) - batch.target).abs().mean() * batch.labels.sum()}

    one, other = made(Labelled), made(Labelled)
    trained(plan_of(one), OwnBatches(), tmp_path / "launched")
    _, run = trained(plan_of(other, updates="captured"), OwnBatches(), tmp_path / "captured")
    assert run.updates == "captured"
    assert_same(state_of(one), state_of(other))


def test_each_scale_has_a_graph_of_its_own(
    captures: list[int], on_card: None, tmp_path: Path
) -> None:
    class Scales(Plain):
        """A tail for each scale, of which the other has no gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.tails = nn.ModuleList(nn.Conv2d(3, 3 * s * s, 1) for s in (2, 3))

        def forward(self, lr: Tensor, scale: int = 2) -> Tensor:
            sr: Tensor = nn.functional.pixel_shuffle(self.tails[scale - 2](lr), scale)
            return sr

        def training_step(self, batch: Batch, stage: Stage) -> Losses:
            return {"loss": (self(batch.lr, batch.scale) - batch.hr).abs().mean()}

    one, other = made(Scales), made(Scales)
    trained(plan_of(one, patch=12), patches_of(2, 3), tmp_path / "launched")
    _, run = trained(
        plan_of(other, patch=12, updates="captured"), patches_of(2, 3), tmp_path / "captured"
    )
    assert run.updates == "captured" and sum(captures) == 2 * 2 + 12 and len(captures) == 2
    assert_same(state_of(one), state_of(other))


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_a_resumed_training_ends_with_the_same_bits(
    stop: int, captures: list[int], on_card: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 0.0)  # a checkpoint after each update
    said: dict[str, Any] = {"updates": "captured", "average": 0.5, "rate": Rate(halve=(6,))}
    whole, cut, resumed = made(Plain), made(Plain), made(Plain)
    trained(plan_of(whole, **said), patches_of(2), tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    file = tmp_path / "cut" / "checkpoint.pth"
    training = run_steps(plan_of(cut, **said), patches_of(2), file)
    for _ in range(stop + 1):
        next(training)
    training.close()
    _, run = results(run_steps(plan_of(resumed, **said), patches_of(2), file))
    assert run.updates == "captured"
    assert_same(state_of(whole), state_of(resumed))


# --- what cannot be captured ----------------------------------------------------------------------


class Asks(Plain):
    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        return {"loss": (self(batch.lr) - batch.hr).abs().mean() * (1 + batch.step)}


class Waits(Plain):
    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        loss = (self(batch.lr) - batch.hr).abs().mean()
        return {"loss": loss if float(loss.detach()) > 0.1 else 2 * loss}


class Draws(Plain):
    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        noise = torch.rand((), generator=torch.default_generator)
        return {"loss": (self(batch.lr) - batch.hr).abs().mean() * noise}


class Throws(Plain):
    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        return {"loss": (self(batch.lr) - batch.hr).abs().mean() * random.random()}


@pytest.mark.parametrize(
    ("owner", "why"),
    [
        (Asks, "the training step asks for the number of the update"),
        (Waits, "the training step asks the host (_local_scalar_dense)"),
        (Draws, "the training step draws random numbers on the host"),
        (Throws, "the training step draws random numbers on the host"),
    ],
)
def test_what_a_graph_would_answer_once_for_all_is_launched_and_said_once(
    owner: type[Method], why: str, captures: list[int], on_card: None, tmp_path: Path
) -> None:
    random.seed(0)
    one, other = made(owner), made(owner)
    trained(plan_of(one), patches_of(2), tmp_path / "launched")
    random.seed(0)
    events, run = trained(plan_of(other, updates="captured"), patches_of(2), tmp_path / "captured")
    assert captures == [] and run.updates == f"not captured: {why}"
    notes = [event.text for event in events if isinstance(event, loop.Note)]
    assert notes == [f"stage fit: not captured: {why}"]
    if owner is not Throws:  # the test of it has thrown once
        assert_same(state_of(one), state_of(other))


def wrong(kind: str) -> Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]:
    def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if kind == "refused":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        losses = run()
        return (lambda: None) if kind == "idle" else (lambda: [run(), run()].clear()), losses

    return capture


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("refused", "CUDA error: operation not permitted when stream is capturing"),
        ("idle", "two captured updates differ from two launched ones by 1 of what they change"),
        ("twice", "two captured updates differ from two launched ones by"),
    ],
)
def test_a_graph_that_does_something_else_is_found_and_changes_nothing(
    kind: str, why: str, on_card: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = made(Pair), made(Pair)
    said: dict[str, Any] = {"average": 0.5, "rate": Rate(halve=(6,))}
    trained(plan_of(one, **said), patches_of(2), tmp_path / "launched")
    monkeypatch.setattr(graphs, "capture", wrong(kind))
    plan = plan_of(other, updates="captured", **said)
    _, run = trained(plan, patches_of(2), tmp_path / "captured")
    assert run.updates.startswith(f"not captured: {why}")
    assert "\n" not in run.updates
    assert_same(state_of(one), state_of(other))


def test_a_training_that_went_on_eagerly_is_resumed_eagerly(
    captures: list[int], on_card: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 0.0)
    monkeypatch.setattr(graphs, "capture", wrong("refused"))
    owner, file = made(Plain), tmp_path / "checkpoint.pth"
    training = run_steps(plan_of(owner, updates="captured"), patches_of(2), file)
    for _ in range(5):
        next(training)
    training.close()
    monkeypatch.undo()
    again = made(Plain)
    _, run = results(run_steps(plan_of(again, updates="captured"), patches_of(2), file))
    assert run.updates.startswith("not captured: CUDA error")


# --- which are captured ---------------------------------------------------------------------------


def test_long_trainings_on_a_gpu_are_captured_and_none_on_a_cpu() -> None:
    gpu = torch.device("cuda")
    assert choose_updates("auto", gpu, 100) == choose_updates("captured", gpu, 1) == "captured"
    assert choose_updates("auto", gpu, 99) == choose_updates("eager", gpu, 10**6) == "eager"
    assert choose_updates("auto", CPU, 10**6) == "eager"
    with pytest.raises(BenchError, match="captured on a GPU alone; this trains on the cpu"):
        choose_updates("captured", CPU, 10**6)


def test_a_study_may_say_how_and_what_it_does_not_say_changes_no_record(
    small_sets: Path, tmp_path: Path
) -> None:
    text = (
        "name: s\ntask: {{kind: super-resolution, scale: 2}}\n"
        "train: {{dataset: set5, patch: 16, batch: 1, steps: 1{}}}\n"
        "methods: {{srcnn: {{use: methods.srcnn.SRCNN}}}}\n"
        "evaluate: {{datasets: [set14], metrics: [psnr_y]}}\n"
    )
    for name, more in (("plain", ""), ("eager", ", updates: eager"), ("odd", ", updates: graph")):
        (tmp_path / f"{name}.yaml").write_text(text.format(more))
    assert load_study(tmp_path / "eager.yaml").train.updates == "eager"  # type: ignore[union-attr]
    with pytest.raises(BenchError, match=r"unknown value 'graph'\. Known: auto, cap"):
        load_study(tmp_path / "odd.yaml")


def stages() -> Iterator[tuple[type[Method], int, Stage]]:
    for cls in known():
        for scale in scales(cls)[:1]:
            for stage in build(cls, scale).stages():
                yield cls, scale, stage


@pytest.mark.parametrize(
    ("cls", "scale", "name"), [(cls, scale, stage.name) for cls, scale, stage in stages()]
)
def test_the_updates_of_every_paper_ask_nothing_of_the_host(
    cls: type[Method], scale: int, name: str
) -> None:
    """Else a graph would have to wait. Of stages on patches alone."""
    method = build(cls, scale).train()
    (stage,) = (stage for stage in method.stages() if stage.name == name)
    owner = stage.trains or method
    if stage.batches is not None:
        pytest.skip("brings batches of its own")
    owner.train().requires_grad_(True)
    plan = contract_plan(owner, stage, scale)
    batch = graphs._Watched(**{**vars(batch_of(plan)), "step": 3})
    optimizers = make_optimizers(plan)
    update(owner, stage, batch, optimizers, plan)  # what is made once, at the first update
    before = graphs._host_randomness()
    batch.asked.clear()
    with graphs.Questions() as questions:
        update(owner, stage, batch, optimizers, plan)
    assert not questions.asked and not batch.asked
    assert graphs._host_randomness() == before


def test_questions_are_noticed() -> None:
    asked: Sequence[Callable[[], object]] = [
        lambda: float(torch.ones(1)), lambda: torch.tensor(1.0), lambda: torch.ones(2).nonzero(),
        lambda: torch.ones(2)[torch.ones(2) > 0], lambda: bool(torch.ones(1) > 0),
    ]  # fmt: skip
    for question in asked:
        with graphs.Questions() as questions:
            question()
        assert questions.asked, inspect.getsource(question)
    with graphs.Questions() as questions:
        (torch.ones(2) + torch.zeros(2)).sum()
    assert not questions.asked


# --- on a GPU -------------------------------------------------------------------------------------


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("said", RECIPES, ids=str)
@pytest.mark.parametrize("owner", [Plain, Pair])
def test_on_a_gpu_the_graph_makes_what_is_launched(
    owner: type[Method], said: dict[str, Any], tmp_path: Path
) -> None:
    gpu = torch.device("cuda")
    one, other = made(owner).to(gpu), made(owner).to(gpu)
    trained(plan_of(one, gpu, **said), patches_of(2, device=gpu), tmp_path / "launched")
    plan = plan_of(other, gpu, updates="captured", **said)
    _, run = trained(plan, patches_of(2, device=gpu), tmp_path / "captured")
    assert run.updates == "captured"
    for name, value in one.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], rtol=1e-3, atol=1e-4), name
