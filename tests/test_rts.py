"""RTS: stages that are trained once, targets that the network made itself, Lanczos down."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from conftest import smooth
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.degrade import find_degradation, imresize, imresize_float
from bench.data.images import write_image
from bench.data.pairs import load_pairs
from bench.data.pixels import quantise
from bench.errors import BenchError, Diverged
from bench.look.check import load_study
from bench.measure.metrics.fidelity import difference
from bench.measure.protocol import protocol
from bench.method import Batch, Stage, load_method, to_tensor
from bench.method.restoring import restore
from bench.records.cell import TrainedStage
from bench.records.store import Store
from bench.study.fields import TaskSection, TrainSection
from bench.train.stages import plan_stages, train_stages
from methods.classical import Original, UnsharpMask
from methods.rts import RTS, Degraded, Network, Upscaler, lanczos_down

CPU = torch.device("cpu")
TASK = TaskSection(kind="enhancement", scale=1, degradation="none")
TRAIN = TrainSection(dataset="bsd100", patch=16, batch=2, steps=2, learning_rate=1e-3)


def keys(method: RTS, seed: int = 0, train: TrainSection = TRAIN) -> list[str]:
    return [plan.key for plan in plan_stages(method, TASK, train, seed)]


def trained(method: RTS, store: Path) -> list[TrainedStage]:
    stages: list[TrainedStage] = []
    for _ in train_stages(method, TASK, TRAIN, 0, Store(store), stages):
        pass
    return stages


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shrinking_is_matlab_s_lanczos_away_from_the_border(scale: int) -> None:
    image = np.random.default_rng(0).uniform(0, 1, (48, 72, 3))
    ours = lanczos_down(torch.from_numpy(image).permute(2, 0, 1)[None], scale)
    matlab = imresize_float(image, 1 / scale, "lanczos3")  # mirrors where ours repeats
    inner = np.s_[3:-3, 3:-3]
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - matlab)[inner].max() < 1e-12


def test_a_flat_picture_stays_flat_up_to_its_border() -> None:
    flat = torch.full((1, 3, 18, 22), 0.25)
    assert torch.allclose(lanczos_down(flat, 2), torch.full((1, 3, 9, 11), 0.25), atol=1e-6)


@pytest.mark.parametrize(("layers", "count"), [(1, 40_644), (3, 114_372), (6, 224_964)])
def test_the_networks_have_the_paper_s_size(layers: int, count: int) -> None:
    upscaler = Upscaler(network=f"residual{layers}")  # type: ignore[arg-type]
    assert sum(p.numel() for p in upscaler.parameters()) == count


@pytest.mark.parametrize("network", get_args(Network))
def test_every_network_enhances_in_tiles_without_seams(network: Network) -> None:
    torch.manual_seed(0)
    method = RTS(network=network, stages=1).eval()
    image = torch.rand(1, 3, 40, 96)
    tiled = restore(method, image, tile=48, whole=48)
    assert tiled.shape == image.shape
    assert (tiled - restore(method, image)).abs().max() < 1e-5


def test_a_stage_is_the_same_however_many_follow(small_sets: Path) -> None:
    one, two, three = (keys(RTS(network="residual1", stages=n)) for n in (1, 2, 3))
    assert three[:2] == two and two[:1] == one and len(set(three)) == 3


def test_what_decides_a_stage_changes_its_key(small_sets: Path) -> None:
    base = keys(RTS(network="residual1", stages=2))
    assert keys(RTS(network="residual1", stages=2), seed=1)[0] != base[0]
    assert keys(RTS(network="residual1", stages=2, quality=60))[0] != base[0]
    assert keys(RTS(network="residual3", stages=2))[0] != base[0]
    anew = keys(RTS(network="residual1", stages=2, warm_start=False))
    assert anew[0] == base[0] and anew[1] != base[1]  # the first stage has nothing to go on from


def test_three_sweeps_over_stages_train_each_stage_once(small_sets: Path, tmp_path: Path) -> None:
    reused = [
        [stage.reused for stage in trained(RTS(network="residual1", stages=n), tmp_path)]
        for n in (1, 2, 3)
    ]
    assert reused == [[False], [True, False], [True, True, False]]


def test_a_stage_learns_what_the_one_before_made_of_the_originals(
    small_sets: Path, tmp_path: Path
) -> None:
    method = RTS(network="residual1", stages=2)
    trained(method, tmp_path)
    hr = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    first, second = method.stages()
    assert first.target is None and second.target is not None
    with torch.no_grad():
        made = second.target(hr)
        by_hand = lanczos_down(method.networks[0](hr), 2)
        assert torch.equal(made, by_hand)
        assert torch.equal(method(hr), lanczos_down(method.networks[1](hr), 2))
    assert method(hr).shape == hr.shape


def test_a_warm_stage_begins_where_the_one_before_ended() -> None:
    method = RTS(network="residual1", stages=2)
    first, second = method.stages()
    assert first.begins_from is None and second.begins_from is method.networks[0]
    anew = RTS(network="residual1", stages=2, warm_start=False).stages()
    assert [stage.begins_from for stage in anew] == [None, None]


def test_each_stage_says_how_far_it_moved(small_sets: Path, tmp_path: Path) -> None:
    one, two = trained(RTS(network="residual1", stages=2), tmp_path)
    common = {"% from HR0", "k", "growth", "MOS", "rule"}
    assert set(one.examined) == common and set(two.examined) == common | {"% from HR1"}
    assert one.examined["% from HR0"] > 0  # type: ignore[operator]
    assert one.examined["growth"] == one.examined["k"]


class Sharpen(nn.Module):
    """Doubles the size, then adds `amount` of the detail that a shrunk copy has lost."""

    halo = 8

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))

    def forward(self, x: Tensor) -> Tensor:
        blurred = F.interpolate(lanczos_down(x, 2), x.shape[-2:], mode="bicubic", antialias=True)
        return (x + self.amount * (x - blurred)).repeat_interleave(2, 2).repeat_interleave(2, 3)


def chain(*amounts: float) -> RTS:
    """Stages that add known multiples of the detail: D undoes the repetition of pixels nearly."""
    method = RTS(network="residual1", stages=len(amounts))
    for network, amount in zip(method.networks, amounts, strict=True):
        network.network = Sharpen(amount)
        network.enhance = lambda image, network=network: network(image)[..., ::2, ::2]  # type: ignore[method-assign]
    return method


def test_the_examination_measures_the_contraction_of_the_paper_s_theory() -> None:
    k = 0.5  # HR_n - HR_0 = (k + k^2 + ... + k^n) detail, so each increment is k of the one before
    method = chain(0.5, 0.75, 0.875, 0.9375)
    found = [stage.examine() for stage in method.stages() if stage.examine]
    assert [f["k"] for f in found] == pytest.approx([0.5, 0.75, 0.875, 0.9375], abs=1e-5)
    assert [f["growth"] for f in found] == pytest.approx([k] * 4, abs=1e-4)
    ratios = [float(f["% from HR0"]) / float(found[0]["% from HR0"]) for f in found]
    assert ratios == pytest.approx([1, 1.5, 1.75, 1.875], abs=1e-4)
    steps = [float(f[f"% from HR{n}"]) / float(found[0]["% from HR0"]) for n, f in enumerate(found)]
    assert steps == pytest.approx([1, 0.5, 0.25, 0.125], abs=1e-4)


def test_the_rule_stops_where_the_difference_begins_to_grow_or_quality_falls() -> None:
    grows = [stage.examine()["rule"] for stage in chain(0.2, 0.3, 0.7).stages() if stage.examine]
    assert grows == ["go on", "go on", "stop at HR2: the difference grows"]
    falls = [stage.examine()["rule"] for stage in chain(0.3, 0.1).stages() if stage.examine]
    assert falls == ["go on", "stop at HR1: MOS falls"]


def test_degraded_is_jpeg_shrunk_and_enlarged_by_lanczos() -> None:
    picture = smooth(34, 45, 0)  # an odd width: the last column is repeated
    degrade = find_degradation("jpeg_lanczos:40")
    assert degrade is not None
    even = np.pad(picture, ((0, 0), (0, 1), (0, 0)), mode="edge")
    expected = imresize(degrade(even, 2, 0), 2, "lanczos3")[:, :45]
    shown = Degraded(quality=40)(to_tensor(picture, CPU))
    assert np.array_equal(quantise(shown), expected)


def test_lr_s_scaler_decides_which_stage_is_trained(small_sets: Path) -> None:
    lanczos, bilinear = (
        keys(RTS(network="residual1", stages=1, scaler=scaler))
        for scaler in ("lanczos", "bilinear")
    )
    assert lanczos != bilinear


def test_what_is_measured_retrains_nothing(small_sets: Path) -> None:
    """A stage's key is made of task, training and method; evaluation sets are in none of them."""
    base = keys(RTS(network="residual1", stages=2))
    assert keys(RTS(network="residual1", stages=2)) == base
    longer = TRAIN.model_copy(update={"steps": 3})
    assert not set(keys(RTS(network="residual1", stages=2), train=longer)) & set(base)


class Hopeless(Upscaler):
    """Its loss is not finite."""

    def training_step(self, batch: Batch, stage: Stage) -> dict[str, Tensor]:
        return {"loss": super().training_step(batch, stage)["loss"] * float("nan")}


class Breaks(RTS):
    """The third stage goes wrong."""

    def __init__(self, *, stages: int) -> None:
        super().__init__(network="residual1", stages=stages)
        if stages > 2:
            self.upscalers[2] = Hopeless(network="residual1")


def test_a_stage_that_diverges_leaves_the_good_ones(small_sets: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Diverged, match=r"stage sr3: loss at step 1 is nan.*kept: sr1, sr2; a trial"
    ):
        trained(Breaks(stages=4), tmp_path)
    again = trained(Breaks(stages=2), tmp_path)
    assert [stage.reused for stage in again] == [True, True]


@pytest.mark.parametrize("stages", [0, 21, 1.5, "many"])
def test_a_number_of_stages_that_makes_no_sense_is_refused(stages: object) -> None:
    with pytest.raises(BenchError, match="parameter 'stages'"):
        load_method("methods.rts.RTS", stages=stages)


def test_jpeg_quality_is_a_part_of_the_degradation_s_name() -> None:
    picture = smooth(32, 32, 0)
    coarse, usual, default = (
        find_degradation(name) for name in ("jpeg_lanczos:5", "jpeg_lanczos:75", "jpeg_lanczos")
    )
    assert coarse and usual and default
    assert np.array_equal(usual(picture, 2, 0), default(picture, 2, 0))
    assert not np.array_equal(coarse(picture, 2, 0), default(picture, 2, 0))
    for wrong in ("jpeg_lanczos:0", "jpeg_lanczos:101", "jpeg_lanczos:", "bicubic:3", "jpeg"):
        assert find_degradation(wrong) is None


def test_unsharp_masking_of_a_step_is_worked_by_hand() -> None:
    step = torch.zeros(1, 1, 1, 9)
    step[..., 5:] = 0.5
    image = (0.25 + step).expand(1, 3, 9, 9)
    offsets = torch.arange(-3.0, 4)
    taps = torch.exp(-(offsets**2) / 2)
    taps /= taps.sum()
    blurred_beside = 0.25 + 0.5 * taps[4:].sum()  # the column left of the step
    sharp = UnsharpMask(amount=0.4, radius=1)(image)
    assert float(sharp[0, 0, 4, 4]) == pytest.approx(
        float(0.25 + 0.4 * (0.25 - blurred_beside)), abs=1e-6
    )
    assert torch.allclose(sharp[..., 0], torch.tensor(0.25))  # far from the step nothing changes


def test_repeated_unsharp_masking_changes_a_picture_by_equal_steps() -> None:
    """RTS, figure 4: a straight line, where the steps of recurrent training shrink."""
    (pair, _) = load_pairs("photos_val", 1, "none")
    hr = np.asarray(pair.hr(), np.uint8)
    image = to_tensor(hr, CPU)
    made = [quantise(UnsharpMask(stages=n)(image)) for n in range(1, 9)]
    far = np.array([difference(sr, hr, protocol("full@1"), 1) for sr in made])
    steps = np.diff(far, prepend=0)
    assert np.abs(steps / steps.mean() - 1).max() < 0.25  # the first loses most to rounding
    n = np.arange(1, 9)
    line = n * (far @ n) / (n @ n)
    assert 1 - ((far - line) ** 2).sum() / ((far - far.mean()) ** 2).sum() > 0.99
    assert np.array_equal(quantise(Original()(image)), hr)


STUDY = """\
name: small
task: {kind: enhancement, scale: 1, degradation: none}
train: {dataset: bsd100, patch: 16, batch: 2, steps: 2}
methods:
  rts: {use: methods.rts.RTS, network: residual1, stages: {grid: [1, 2]}}
evaluate: {datasets: [set14], metrics: [difference]}
budget: {sampler: grid}
"""


def check(folder: Path, *overrides: str) -> None:
    (folder / "small.yaml").write_text(STUDY)
    load_study(folder / "small.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.patch=4000", "train.patch: 4000 does not fit into"),
        ("train.patch=17", "stage 'sr1' of rts trains on patches of 17, which is not a multiple"),
        ("methods.rts.stages={grid: [0, 1]}", "'stages': input should be greater than or equal"),
        ("methods.rts.stages=0", "methods.rts.stages: parameter 'stages'"),
        ("methods.rts.network=residual2", "parameter 'network'"),
        ("methods.rts.quality=0", "parameter 'quality'"),
        ("methods.rts.scaler=lanczos3", "parameter 'scaler'"),
        ("task.kind=super-resolution", "RTS is for enhancement"),
    ],
)
def test_mistakes_are_named_before_the_first_step(
    small_sets: Path, tmp_path: Path, override: str, words: str
) -> None:
    check(tmp_path)
    with pytest.raises(BenchError) as caught:
        check(tmp_path, override)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2, "two trials, one mistake"


def test_one_picture_is_enough_to_learn_from(small_sets: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "one/only.png", smooth(40, 36, 3))
    train = TRAIN.model_copy(update={"dataset": str(tmp_path / "one")})
    stages: list[TrainedStage] = []
    method = RTS(network="residual1", stages=2)
    for _ in train_stages(method, TASK, train, 0, Store(tmp_path / "store"), stages):
        pass
    assert [stage.name for stage in stages] == ["sr1", "sr2"]
