"""The training loop: known updates, blocks, exact resume, divergence, precision."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.roots import home
from bench.errors import BenchError, Diverged
from bench.method import Batch, Group, Losses, Method, Rate, Recipe, Stage, to_tensor
from bench.method.precision import ieee_fp32
from bench.records.store import Store
from bench.train import checkpoint
from bench.train import loop as train
from bench.train.batches import Patches
from bench.train.curves import check_point
from bench.train.loop import Note, Progress, choose_device, choose_precision, run_steps
from bench.train.pixels import TrainingPixels, find_source, open_pixels
from bench.train.plan import Plan

CPU = torch.device("cpu")


def plan_of(owner: Method, steps: int, **changes: Any) -> Plan:
    own = {name: changes.pop(name) for name in list(changes) if name in Recipe.model_fields}
    usual = Recipe(steps=steps, patch=8, batch=2, learning_rate=0.1, precision="fp32")
    plan = Plan(
        Stage("fit"), owner, "key", dataset="set5", scale=2, degradation="bicubic",
        recipe=Recipe(**own).over(usual).filled(), seed=0, device="cpu",
    )  # fmt: skip
    return replace(plan, **changes)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life for each update."""
    monkeypatch.setattr(train, "BLOCK", 0.0)


@pytest.fixture
def patches(small_sets: Path) -> TrainingPixels:
    return open_pixels([find_source("set5", 2, "bicubic")], Store(home() / "store"))


def start(plan: Plan, patches: TrainingPixels, folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    device = torch.device(plan.device)
    batches = Patches(patches, batch=plan.batch, patch=plan.patch, seed=plan.seed, device=device)
    return run_steps(plan, batches, folder / "checkpoint.pth")


def finish(plan: Plan, patches: TrainingPixels, folder: Path) -> list[Progress]:
    return list(start(plan, patches, folder))


def results(training: Any) -> tuple[list[Any], Any]:
    """Everything that a training yields, and what it returns."""
    events = []
    while True:
        try:
            events.append(next(training))
        except StopIteration as end:
            return events, end.value


class Scalar(Method):
    """One number p, minimised as it is: its slope is 1, so Adam takes it down by the rate."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(5.0))
        self.slope = slope
        self.batches: list[Batch] = []

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        self.batches.append(batch)
        return {"loss": self.slope * self.p}


def test_the_first_step_of_adam_is_the_learning_rate(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    for slope in (1.0, -300.0):
        owner = Scalar(slope)
        finish(plan_of(owner, 1), patches, tmp_path)
        assert owner.p.item() == pytest.approx(5 - math.copysign(0.1, slope), abs=1e-6)


def test_the_learning_rate_is_halved_at_the_steps_given(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    # a constant slope makes each of Adam's steps the rate itself: 0.1 + 0.1 + 0.05 + 0.025
    owner = Scalar()
    finish(plan_of(owner, 4, rate=Rate(halve=(2, 3))), patches, tmp_path)
    assert owner.p.item() == pytest.approx(5 - 0.275, abs=1e-5)


def test_progress_tells_the_mean_loss_since_the_last(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    # p = 5, 4.99, 4.98, ...
    points = finish(plan_of(Scalar(), 250, learning_rate=0.01), patches, tmp_path)
    assert {(p.stage, p.steps) for p in points} == {("fit", 250)}
    steps = [0, *(p.step for p in points)]
    assert steps[1] == 1 and steps[-1] == 250
    for point, before in zip(points, steps, strict=False):
        mean = 5 - 0.01 * (before + point.step - 1) / 2
        assert point.losses["loss"] == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize("block", [0.0, 0.01, 2.0])
def test_the_curve_has_points_over_equal_steps_whatever_the_blocks(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: float
) -> None:
    # 250 steps make 125 points, each the mean of two
    monkeypatch.setattr(train, "BLOCK", block)
    plan = plan_of(Scalar(), 250, learning_rate=0.01)
    _, (history, *_) = results(start(plan, patches, tmp_path))
    assert [step for step, _ in history] == list(range(2, 251, 2))
    means = [5 - 0.01 * (2 * i + 0.5) for i in range(125)]
    assert [losses["loss"] for _, losses in history] == pytest.approx(means, abs=1e-3)


def test_a_block_ends_at_each_quarter(patches: TrainingPixels, tmp_path: Path) -> None:
    # where a pruner looks, whatever the machine
    points = finish(plan_of(Scalar(), 10, learning_rate=0.01), patches, tmp_path)
    assert {3, 5, 8, 10} <= {point.step for point in points}


class Slow(Method):
    """Each update takes its time by the clock of the test."""

    def __init__(self, clock: "Clock", seconds: float = 0.1, nan_at: int = -1) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(5.0))
        self.clock, self.seconds, self.nan_at = clock, seconds, nan_at

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        self.clock.now += self.seconds
        return {"loss": self.p * (math.nan if batch.step == self.nan_at else 1.0)}


def test_a_million_updates_show_life_every_two_seconds(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    training = start(plan_of(Slow(clock), 1_000_000, learning_rate=1e-6), patches, tmp_path)
    assert next(training).step == 1
    at = []
    for _ in range(5):
        progress = next(training)
        at.append(clock.now)
        assert progress.steps_per_second == pytest.approx(10, rel=0.05)
    assert np.diff(at) == pytest.approx(2, abs=0.2)
    assert (tmp_path / "checkpoint.pth").exists(), "a kill costs seconds"
    training.close()


def test_a_pace_that_drops_does_not_make_a_block_long(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    owner = Slow(clock, seconds=0.0)
    training = start(plan_of(owner, 1_000_000, learning_rate=1e-6), patches, tmp_path)
    assert next(training).step == 1  # at a pace of a thousandth, 1,000 updates would fit
    owner.seconds, before = 0.1, clock.now
    assert next(training).step == 1 + 20
    assert clock.now - before == pytest.approx(2, abs=0.2)


def test_a_nan_in_a_million_updates_is_found_within_its_block(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    owner = Slow(clock, nan_at=30)
    with pytest.raises(Diverged, match=r"^stage fit: loss at step 31 is nan\."):
        finish(plan_of(owner, 1_000_000, learning_rate=1e-6), patches, tmp_path)
    assert clock.now < 3.1 + 2.2


class Sometimes(Scalar):
    """Logs another loss at every third update only."""

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        rare = {"rare": torch.tensor(10.0 + batch.step)} if batch.step % 3 == 0 else {}
        return {"loss": self.p * 1.0, **rare}


def test_every_update_s_losses_are_kept(patches: TrainingPixels, tmp_path: Path) -> None:
    plan = plan_of(Sometimes(), 250, learning_rate=0.01)
    _, (history, curves, *_) = results(start(plan, patches, tmp_path))
    assert curves["loss"] == pytest.approx(5 - 0.01 * np.arange(250), abs=1e-3)
    assert np.flatnonzero(np.isfinite(curves["rare"])).tolist() == list(range(0, 250, 3))
    assert curves["rare"][249] == 259
    # points of two updates each: the first has rare at step 0, the second at 3, the third none
    assert [losses.get("rare") for _, losses in history[:4]] == [10, 13, None, 16]


def test_patches_are_channels_last_and_set_by_seed_and_step(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    owners = [Scalar(), Scalar(), Scalar()]
    for owner, seed in zip(owners, (0, 0, 1), strict=True):
        finish(plan_of(owner, 2, seed=seed), patches, tmp_path / str(seed))
    for batch in owners[0].batches:
        for image in (batch.lr, batch.hr, batch.target):
            assert image.is_contiguous(memory_format=torch.channels_last)
            assert image.dtype == torch.float32
    one, same, other = ([batch.hr for batch in owner.batches] for owner in owners)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    assert not torch.equal(one[0], one[1]) and not torch.equal(one[0], other[0])


def test_a_method_may_look_at_its_numbers_after_every_50th_update(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    class Watching(Scalar):
        def watch(self, stage: Stage, step: int) -> None:
            if step == 99:
                raise Diverged(f"{stage.name}: seen {len(self.batches)} updates")
            assert (step, len(self.batches)) == (49, 50)

    with pytest.raises(Diverged, match=r"^fit: seen 100 updates The learning rate is"):
        finish(plan_of(Watching(), 130, learning_rate=0.01), patches, tmp_path)


# --- two optimizers -------------------------------------------------------------------------------


class Rivals(Method):
    """A GAN of two numbers. The generator's loss has a slope for the discriminator too."""

    def __init__(self) -> None:
        super().__init__()
        self.d, self.g = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
        self.seen: list[tuple[float, float]] = []

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
        return {"d": [self.d], "g": [self.g]}

    def training_step(self, batch: Batch, stage: Stage) -> Iterator[tuple[str, Tensor]]:
        self.seen.append((self.d.item(), self.g.item()))
        yield "d", self.d * self.g.detach()
        self.seen.append((self.d.item(), self.g.item()))
        yield "g", -self.d * self.g
        self.seen.append((self.d.item(), self.g.item()))
        yield "logged", self.g - self.d


def test_each_loss_steps_its_own_optimizer_before_the_next_is_computed(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    rivals = Rivals()
    (progress,) = finish(plan_of(rivals, 1), patches, tmp_path)
    # slope of d: g = 3 > 0, so d falls; slope of g: -d < 0, so g rises
    expected = [(2, 3), (1.9, 3), (1.9, 3.1)]
    assert np.allclose(rivals.seen, expected, atol=1e-6)
    assert progress.losses == pytest.approx({"d": 6, "g": -5.7, "logged": 1.2}, abs=1e-5)


def test_the_generators_loss_leaves_no_slope_in_the_discriminator(
    patches: TrainingPixels, tmp_path: Path
) -> None:
    rivals = Rivals()
    finish(plan_of(rivals, 1), patches, tmp_path)
    assert rivals.d.grad is not None and rivals.d.grad.item() == pytest.approx(3)
    assert rivals.g.grad is not None and rivals.g.grad.item() == pytest.approx(-1.9, abs=1e-6)


def test_parameters_that_no_optimizer_names_stay(patches: TrainingPixels, tmp_path: Path) -> None:
    class Half(Rivals):
        def optimizers(self, stage: Stage) -> Mapping[str, Sequence[nn.Parameter]]:
            return {"g": [self.g]}

    half = Half()
    finish(plan_of(half, 3), patches, tmp_path)
    assert half.d.item() == 2 and half.d.grad is None
    assert half.g.item() == pytest.approx(3.3, abs=1e-5)


# --- resume ---------------------------------------------------------------------------------------


class Net(Method):
    """Dropout and batch norm: what a resume forgets first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(4, 12, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.layers(lr)
        return sr


def make_net() -> Net:
    torch.manual_seed(1)
    return Net()


class Clock:
    """Stands still but for a thousandth at each look, and for what the test adds."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


class Halves(Net):
    """The last layer learns at a tenth of the rate."""

    def optimizers(self, stage: Stage) -> Mapping[str, Sequence[Group]]:
        first, last = self.layers[:4], self.layers[4:]
        return {
            "loss": [
                {"params": list(first.parameters()), "rate": 1.0},
                {"params": list(last.parameters()), "rate": 0.1},
            ]
        }


RECIPES: list[dict[str, Any]] = [
    {},
    {"rate": Rate(halve=(6,))},
    {"rate": Rate(at={5: 0.1}, warmup=3)},
    {"rate": Rate(cosine=0.01)},
    {"rate": Rate(exponential=0.9, every=2)},
    {"optimizer": "adamw", "weight_decay": 0.1, "betas": (0.5, 0.9)},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 1e-3},
    {"clip": 0.01},
    {"average": 0.9},
    {"average": 0.9, "clip": 0.1, "optimizer": "sgd", "momentum": 0.9, "rate": Rate(warmup=8)},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("cls", [Net, Halves])
@pytest.mark.usefixtures("every_step")
def test_a_training_that_goes_on_ends_bit_by_bit_where_an_uninterrupted_one_does(
    patches: TrainingPixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: dict[str, Any],
    cls: type[Net],
) -> None:
    clock, broken = Clock(), tmp_path / "broken"
    torch.manual_seed(1)
    net = cls()
    uninterrupted = copy.deepcopy(net)
    _, (history, curves, *_) = results(
        start(plan_of(uninterrupted, 12, **recipe), patches, tmp_path / "whole")
    )
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    for first in (1, 3):
        training = start(plan_of(net, 12, **recipe), patches, broken)
        assert [next(training).step, next(training).step] == [first, first + 1]
        clock.now += 100  # a checkpoint of the second step is due
        assert next(training).step == first + 2  # made again after the break
        training.close()
        net = cls()  # other weights: the checkpoint must replace them
    events, again = results(start(plan_of(net, 12, **recipe), patches, broken))
    assert [event.step for event in events] == list(range(5, 13))
    for name, value in uninterrupted.state_dict().items():
        assert torch.equal(value, net.state_dict()[name]), name
    assert again[0] == history
    assert np.array_equal(again[1]["loss"], curves["loss"]) and np.isfinite(curves["loss"]).all()


@pytest.mark.usefixtures("every_step")
def test_a_finished_checkpoint_is_not_trained_on(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, clock = Scalar(), Clock()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    for _ in start(plan_of(owner, 3), patches, tmp_path):
        clock.now += 100
    again = Scalar()
    assert finish(plan_of(again, 3), patches, tmp_path) == []
    assert again.p.item() == owner.p.item() == pytest.approx(4.7, abs=1e-5)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """One bit of a weight is another one."""
    at = data.index(torch.tensor(4.8).numpy().tobytes()[1:])
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"not a checkpoint"])
@pytest.mark.usefixtures("every_step")
def test_a_broken_checkpoint_is_set_aside_and_the_stage_begins_anew(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    clock, file = Clock(), tmp_path / "checkpoint.pth"
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    for number in (1, 2):
        file.unlink(missing_ok=True)
        training = start(plan_of(Scalar(), 9), patches, tmp_path)
        assert [next(training).step, next(training).step] == [1, 2]
        clock.now += 100
        next(training)
        training.close()
        damaged = damage(file.read_bytes())
        file.write_bytes(damaged)
        owner = Scalar()
        note, *events = start(plan_of(owner, 9), patches, tmp_path)
        aside = tmp_path / f"checkpoint.broken-{number}.pth"
        assert isinstance(note, Note) and str(aside) in note.text and "begins anew" in note.text
        assert aside.read_bytes() == damaged
        assert [event.step for event in events] == list(range(1, 10))
        assert owner.p.item() == pytest.approx(4.1, abs=1e-5)


def test_a_checkpoint_is_on_the_disk_before_the_last_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is forced there under its other name, then renamed, then the folder is."""
    seen: list[Any] = []
    real = checkpoint.os.fsync

    def fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").resolve().name
        seen.append((name, (tmp_path / "checkpoint.pth").exists()))
        real(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    checkpoint.write_checkpoint(tmp_path / "checkpoint.pth", {"step": 1})
    assert seen == [("checkpoint.tmp", False), (tmp_path.name, True)]


def test_saving_takes_at_most_a_fiftieth_of_the_time(
    patches: TrainingPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, saves = Clock(), []

    def write(*arguments: Any) -> None:
        saves.append(clock.now)
        clock.now += 1.0

    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(train, "write_checkpoint", write)
    finish(plan_of(Slow(clock, seconds=1.0), 300), patches, tmp_path)
    assert 5 <= len(saves) <= 7  # 300 s: the first after 2 s, then every 50 s at least
    assert min(np.diff(saves)) >= 50


# --- divergence -----------------------------------------------------------------------------------


class Bad(Scalar):
    """Its loss goes wrong at the third step."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        return {"fine": self.p * 0 + 1, "loss": self.p * (self.factor if batch.step == 2 else 1)}


@pytest.mark.parametrize(
    ("factor", "what"),
    [(math.nan, "is nan"), (math.inf, "is inf"), (1000.0, r"is 4800, at the beginning 5")],
)
@pytest.mark.parametrize("block", [0.0, 2.0])
def test_a_loss_gone_wrong_names_stage_step_and_learning_rate(
    patches: TrainingPixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
    what: str,
    block: float,
) -> None:
    monkeypatch.setattr(train, "BLOCK", block)
    with pytest.raises(Diverged, match=rf"^stage fit: loss at step 3 {what}.*rate is 0\.1\.$"):
        finish(plan_of(Bad(factor), 9), patches, tmp_path)


def test_a_minimised_loss_may_grow_a_hundredfold_from_its_first_points_or_from_one() -> None:
    check_point([(1, {"loss": 5.0}), (2, {"loss": -499.0})], ["loss"], "fit")
    with pytest.raises(Diverged):
        check_point([(1, {"loss": 5.0}), (2, {"loss": -501.0})], ["loss"], "fit")
    check_point([(1, {"loss": 0.0}), (2, {"loss": 99.0})], ["loss"], "fit")  # as a critic's may
    seen = [(1, {"loss": 1.0, "seen": 1.0}), (2, {"loss": 1.0, "seen": 1e9})]
    check_point(seen, ["loss"], "fit")


# --- device and precision -------------------------------------------------------------------------


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_only_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: str
) -> None:
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return native or including_emulation

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose_precision("auto", CPU) == precision
    assert choose_precision("auto", torch.device("cuda")) == precision
    assert asked == [False]
    for given in ("fp32", "bf16"):
        assert choose_precision(given, CPU) == given


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_precision_decides_what_convolutions_compute_in(
    patches: TrainingPixels, tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    seen = []

    class Spy(Net):
        def forward(self, lr: Tensor) -> Tensor:
            sr = super().forward(lr)
            seen.append(sr.dtype)
            return sr

    owner = Spy()
    finish(plan_of(owner, 1, precision=precision), patches, tmp_path)
    assert seen == [dtype]
    assert {p.dtype for p in owner.parameters()} == {torch.float32}, "weights stay fp32"


def gpu_fp32() -> set[str]:
    """What a GPU would multiply fp32 numbers as."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    return {backend.fp32_precision for backend in backends}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fp32_is_ieee_s_while_it_is_trained_in(
    patches: TrainingPixels, tmp_path: Path, precision: str
) -> None:
    seen, before = [], gpu_fp32()

    class Spy(Scalar):
        def training_step(self, batch: Batch, stage: Stage) -> Losses:
            seen.append(gpu_fp32())
            return super().training_step(batch, stage)

    for _ in start(plan_of(Spy(), 2, precision=precision), patches, tmp_path):
        assert gpu_fp32() == before, "what others do in between is theirs"
    assert "tf32" in before and seen == 2 * [{"ieee"} if precision == "fp32" else before]
    with ieee_fp32():
        assert gpu_fp32() == {"ieee"}
    assert gpu_fp32() == before


def test_devices_that_are_not_here_or_unknown_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(BenchError, match="no CUDA GPU here"):
        choose_device("cuda")
    with pytest.raises(BenchError, match=r"unknown device 'cdua'\. Did you mean 'cuda'"):
        choose_device("cdua")


def test_an_image_becomes_a_tensor_of_three_channels_in_0_to_1() -> None:
    gray = np.array([[0, 51], [102, 255], [255, 0]], np.uint8)
    tensor = to_tensor(gray, CPU)
    assert tensor.shape == (1, 3, 3, 2)
    assert torch.allclose(tensor[0], torch.tensor([[0, 0.2], [0.4, 1], [1, 0]]).expand(3, 3, 2))
    assert torch.equal(to_tensor(np.repeat(gray[..., None], 3, axis=2), CPU), tensor)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU")
def test_a_gpu_follows_the_loss_curve_of_the_cpu(patches: TrainingPixels, tmp_path: Path) -> None:
    curves = []
    for device in ("cpu", "cuda"):
        owner = make_net()
        owner.layers[3] = nn.Identity()  # dropout draws other numbers on a GPU
        owner.to(device, memory_format=torch.channels_last)
        plan = plan_of(owner, 20, device=device, learning_rate=1e-2)
        points = finish(plan, patches, tmp_path / device)
        curves.append([point.losses["loss"] for point in points])
        assert {p.device.type for p in owner.parameters()} == {device}
    assert curves[1] == pytest.approx(curves[0], rel=0.02)
    assert curves[0][-1] < 0.8 * curves[0][0]
