"""A training set in the store: decoded once, shared by studies, scales and equal files; raw files
and batches of a method's own, trained through the real stages."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from kit import write_sid

from bench.data import pairs, raw
from bench.data.degrade import imresize
from bench.data.images import write_image
from bench.data.pairs import load_pairs
from bench.data.roots import home
from bench.errors import BenchError
from bench.method import Batch, Method
from bench.records.cell import TrainedStage
from bench.records.store import Store
from bench.study.fields import TaskSection, TrainSection
from bench.train import loop
from bench.train.batches import Patches
from bench.train.loop import Progress
from bench.train.pixels import find_source, open_pixels, stored_sides
from bench.train.stages import plan_stages, train_stages

MakeModule = Callable[..., ModuleType]

TASK = TaskSection(kind="super-resolution", scale=2)
TRAIN = TrainSection(dataset="set5", patch=12, batch=2, steps=3, precision="fp32", device="cpu")


def the_store() -> Store:
    return Store(home() / "store")


def entries() -> set[str]:
    folder = the_store().root / "pixels"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the image files that are decoded."""
    names: list[str] = []
    read = pairs.read_image

    def watched(path: Path) -> np.ndarray:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(pairs, "read_image", watched)
    return names


def opened(scale: int = 2, degradation: str = "bicubic", dataset: str = "set5"):
    return open_pixels([find_source(dataset, scale, degradation)], the_store())


def train(
    method: Method, train: TrainSection = TRAIN, task: TaskSection = TASK
) -> list[TrainedStage]:
    trained: list[TrainedStage] = []
    for _ in train_stages(method.eval(), task, train, 0, the_store(), trained):
        pass
    return trained


# --- decoded once ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_sets")
def test_the_store_has_the_pixels_that_the_pairs_have() -> None:
    pixels = opened(3)
    for i, pair in enumerate(load_pairs("set5", 3)):
        height, width = pair.hr_size()
        assert np.array_equal(pixels.hr.image(i)[:height, :width], pair.hr())
        assert np.array_equal(pixels.lr[3].image(i), pair.lr())


@pytest.mark.usefixtures("small_sets")
def test_a_second_study_on_the_set_decodes_nothing(
    decoded: list[str], make_module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = make_module(RECORDING).Recording
    assert not train(cls())[0].reused
    # once for HR, once for the LR that is made of it
    assert sorted(decoded) == ["baby.png", "baby.png", "bird.png", "bird.png"]
    monkeypatch.setattr(pairs, "header_problem", None)  # nor is any header read
    longer = TRAIN.model_copy(update={"steps": 5, "patch": 8})
    assert not train(cls(), longer)[0].reused
    assert len(decoded) == 4


@pytest.mark.usefixtures("small_sets")
def test_originals_are_stored_once_for_all_scales_and_degradations(decoded: list[str]) -> None:
    opened(2), opened(4), opened(2, "blur_noise"), opened(1, "none")
    assert len(entries()) == 1 + 3, "HR, and three kinds of LR; at scale 1 LR is HR"
    assert len(decoded) == 2 + 3 * 2


def test_equal_files_are_stored_once_and_others_apart(small_sets: Path) -> None:
    folder = small_sets / "Set5/HR"
    (folder / "copy.png").write_bytes((folder / "baby.png").read_bytes())
    pixels = opened()
    assert pixels.hr.stems.tolist() == ["baby", "bird", "copy"]
    assert len(pixels.hr.pixels) == 32 * 40 + 36 * 28
    assert np.array_equal(pixels.hr.image(2), pixels.hr.image(0))
    before = entries()
    write_image(folder / "copy.png", np.zeros((32, 40, 3), np.uint8))
    assert not opened().hr.image(2).any() and len(entries() - before) == 2


def test_gray_files_get_three_equal_channels(small_sets: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    write_image(small_sets / "Set5/HR/gray.png", gray)
    pixels = opened()
    assert np.array_equal(pixels.hr.image(2), np.repeat(gray[..., None], 3, axis=2))
    assert np.array_equal(pixels.lr[2].image(2)[..., 1], imresize(gray, 0.5))


def test_what_is_wrong_with_files_is_said_before_they_are_decoded(small_sets: Path) -> None:
    (small_sets / "Set5/HR/cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(BenchError, match=r"cut\.png: not a readable image"):
        opened()
    assert entries() == set()


@pytest.mark.usefixtures("small_sets")
def test_sides_are_known_without_opening_a_file(decoded: list[str]) -> None:
    source = find_source("set5", 3, "bicubic")
    assert stored_sides(source, the_store()) is None
    opened(3)
    assert stored_sides(source, the_store()) == {"baby": 30, "bird": 27}


# --- several scales -------------------------------------------------------------------------------

RECORDING = '''
"""A convolution that keeps the batches it saw."""

from torch import nn
from torch.nn import functional as F

from bench.method import Method, Stage


class Recording(Method):
    paper = "none"
    STAGE = {}

    def __init__(self, *, scale: int = 2):
        super().__init__()
        self.layer = nn.Conv2d(self.channels, 3, 1)
        self.seen = []

    def forward(self, lr, scale=2):
        return F.interpolate(self.layer(lr), scale_factor=float(scale))

    def stages(self):
        return [Stage("fit", **self.STAGE)]

    def training_step(self, batch, stage):
        self.seen.append(batch)
        return {"loss": F.l1_loss(self(batch.lr, batch.scale), batch.target)}


class Several(Recording):
    STAGE = {"scales": (2, 3, 4), "augment": "flips"}


class Packed(Recording):
    channels = 4
'''


@pytest.mark.usefixtures("small_sets")
def test_one_stage_trains_at_several_scales(make_module: MakeModule) -> None:
    module = make_module(RECORDING)
    method = module.Several()
    train(method, TRAIN.model_copy(update={"steps": 30}))
    assert {batch.scale for batch in method.seen} == {2, 3, 4}
    assert {tuple(batch.hr.shape) for batch in method.seen} == {(2, 3, 12, 12)}
    assert len(entries()) == 1 + 3
    with pytest.raises(BenchError, match="patch 10 is not a multiple of the scale, 3"):
        train(module.Several(), TRAIN.model_copy(update={"patch": 10}))


@pytest.mark.usefixtures("small_sets")
def test_scales_and_orientations_belong_to_the_stages_key(make_module: MakeModule) -> None:
    cls = make_module(RECORDING).Recording
    keys = set()
    for stage in ({}, {"scales": (2, 4)}, {"scales": (2, 3, 4)}, {"augment": "none"}):
        cls.STAGE = stage
        keys.add(plan_stages(cls(), TASK, TRAIN, 0)[0].key)
    assert len(keys) == 4


def test_scales_of_different_images_are_refused(small_sets: Path) -> None:
    small, large = small_sets / "Set5/LR_x2", small_sets / "Set5/HR"
    for stem in ("baby", "bird"):
        write_image(small / f"{stem}.png", imresize(pairs.read_image(large / f"{stem}.png"), 0.5))
    two, three = find_source("set5", 2, "bicubic"), find_source("set5", 3, "bicubic")
    assert open_pixels([two, three], the_store()).lr.keys() == {2, 3}
    other = find_source("set14", 3, "bicubic")
    with pytest.raises(BenchError, match="set14: has other images at scale 3 than at 2"):
        open_pixels([two, other], the_store())


# --- raw files ------------------------------------------------------------------------------------


def test_raw_files_are_trained_on_packed_and_in_sixteen_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_module: MakeModule
) -> None:
    write_sid(tmp_path / "SID", "Sony_train_list.txt")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    developed: list[str] = []
    develop = raw.develop

    def watched(path: Path, camera: raw.Camera) -> np.ndarray:
        developed.append(path.name)
        return develop(path, camera)

    monkeypatch.setattr(raw, "develop", watched)
    method = make_module(RECORDING).Packed()
    train(method, TRAIN.model_copy(update={"dataset": "sid_sony_train"}))
    long = ["10003_00_10s.ARW", "10011_00_30s.ARW", "10034_00_10s.ARW"]
    assert developed == long, "each for three short exposures"
    assert method.seen[0].lr.shape == (2, 4, 6, 6) and method.seen[0].hr.shape == (2, 3, 12, 12)

    pixels = opened(2, dataset="sid_sony_train")
    pairs = load_pairs("sid_sony_train", 2)
    assert len(pairs) == 9 == len(pixels.hr) and len(pixels.hr.pixels) == 3 * 31 * 40
    for i, pair in enumerate(pairs):
        assert np.abs(pixels.lr[2].image(i) / 65535 - pair.lr()).max() <= 0.5 / 65535 + 1e-7
        assert np.array_equal((pixels.hr.image(i)[:30].astype(int) + 128) // 257, pair.hr())
    assert (pixels.hr.pixels % 257 != 0).any(), "more than 8 bits"


# --- batches of one's own -------------------------------------------------------------------------

LABELLED = '''
"""A paper that learns opinions: pictures of a folder, and a file of marks beside them."""

import json

import numpy as np
import torch
from torch import nn

from bench.data.mapped import read_mapped, write_mapped
from bench.method import Batch, Method, Request, Stage


class Marked:
    """Crops of pictures with the marks of their pictures."""

    def __init__(self, request: Request):
        self.request, self.pairs = request, request.pairs()
        self.marks = json.loads(MARKS)
        self.fingerprint = json.dumps([self.marks, request.seed, request.batch, request.patch])
        self.images = None

    def batch(self, step):
        if self.images is None:
            content = {"stems": [pair.stem for pair in self.pairs]}
            self.images = read_mapped(self.request.keep(content, self.write))
        rng = np.random.default_rng([self.request.seed, step])
        which = rng.integers(len(self.images), size=self.request.batch)
        side = self.request.patch
        crops = np.stack([self.images.image(i)[:side, :side] for i in which])
        image = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
        labels = torch.tensor([self.marks[str(self.images.stems[i])] for i in which])
        return Batch(image, image, image, step, labels)

    def write(self, folder):
        stems = [pair.stem for pair in self.pairs]
        write_mapped(folder, (pair.hr() for pair in self.pairs), stems)


MARKS = '{"baby": 2.5, "bird": 7.5}'


class Opinion(Method):
    paper = "none"

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 3)
        self.seen = []

    def forward(self, image):
        return self.layer(image).mean(dim=(1, 2, 3))

    def stages(self):
        return [Stage("marks", batches=Marked, degradation="none")]

    def training_step(self, batch, stage):
        self.seen.append(batch.labels.tolist())
        return {"loss": (self(batch.lr) - batch.labels).square().mean()}
'''


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.usefixtures("small_sets")
def test_a_method_brings_labelled_batches_and_is_resumed_exactly(
    make_module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = make_module(LABELLED).Opinion
    section = TRAIN.model_copy(update={"steps": 200})
    whole = cls()
    (record,) = train(whole, section)
    assert not record.reused and record.target == ""
    assert {mark for marks in whole.seen for mark in marks} == {2.5, 7.5} and len(whole.seen) == 200

    ticks: Iterator[int] = iter(range(10**6))
    monkeypatch.setattr(loop.time, "monotonic", lambda: 3.0 * next(ticks))  # a checkpoint each time
    elsewhere, broken, again = Store(home() / "other"), cls(), cls()
    with pytest.raises(Killed):
        for event in train_stages(broken.eval(), TASK, section, 0, elsewhere, []):
            if isinstance(event, Progress) and event.step >= 50:
                raise Killed
    list(train_stages(again.eval(), TASK, section, 0, elsewhere, []))
    assert 0 < len(again.seen) < 200 and again.seen == whole.seen[-len(again.seen) :]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.usefixtures("small_sets")
def test_own_batches_decide_the_stages_key(make_module: MakeModule) -> None:
    module = make_module(LABELLED)
    before = plan_stages(module.Opinion(), TASK, TRAIN, 0)[0].key
    assert plan_stages(module.Opinion(), TASK, TRAIN, 0)[0].key == before
    module.MARKS = '{"baby": 2.5, "bird": 8.0}'
    assert plan_stages(module.Opinion(), TASK, TRAIN, 0)[0].key != before
    assert not entries(), "planning decodes nothing"


@pytest.mark.usefixtures("small_sets")
def test_patches_and_own_batches_are_both_of_the_seam(make_module: MakeModule) -> None:
    patches = Patches(opened(), batch=2, patch=8, seed=0, device=torch.device("cpu"))
    (plan,) = plan_stages(make_module(LABELLED).Opinion(), TASK, TRAIN, 0)
    assert plan.batches is not None
    for batches in (patches, plan.batches):
        assert isinstance(batches.batch(3), Batch) and batches.batch(3).step == 3
        assert isinstance(batches.fingerprint, str)
    with pytest.raises(BenchError, match="stage 'marks': brings its own batches"):
        module = make_module(LABELLED.replace("batches=Marked", "batches=Marked, scales=(2,)"))
        plan_stages(module.Opinion(), TASK, TRAIN, 0)
