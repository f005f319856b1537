"""NIMA on AVA: the file of votes, batches of labelled pictures, marks against votes, assessors.

The set is made of the packaged photographs, graded by known distortions, in AVA's layout.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ava import FIRST, ids, line_of, make_ava
from scipy import stats  # type: ignore[import-untyped]  # ships no types

from bench.api import prepare_method
from bench.data import readers as reading
from bench.data.benchmark import open_benchmark
from bench.data.pairs import VotedPair, fingerprint, load_pairs
from bench.data.readers import Readers, read_resized
from bench.data.roots import home
from bench.data.votes import part_of, read_votes
from bench.errors import BenchError, Unscorable
from bench.look.check import load_study
from bench.measure import opinion
from bench.method import Recipe, Request
from bench.method.assessing import Marker
from bench.method.weights import fitting_state
from bench.records.cell import Cell, load_losses, write_cell
from bench.records.place import Place
from bench.records.store import Store
from bench.report.render import render
from bench.study.fields import Study, TaskSection, TrainSection
from bench.sweep.job import Done, Job
from bench.sweep.trial import run_trial
from bench.train import loop
from bench.train.loop import Progress
from bench.train.planning import plan_stages
from bench.train.stages import train_stages
from methods.metrics.nima import Trial, find_assessor
from methods.metrics.nima_networks import load_assessor
from methods.nima_ava import NIMAonAVA, Pictures
from methods.nima_sr import EDSR

MISSING, TRUNCATED = ids("train")[3], ids("train")[7]
SHORT, UNLOVED = ids("train")[11], ids("train")[13]
BROKEN_VAL = ids("val")[2]
TINY = {"width": 0.1, "resize": 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with a whole AVA of 60 photographs."""
    root = tmp_path_factory.mktemp("sets")
    make_ava(root)
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in a home of its own, with what goes wrong with downloads; no weights are here."""
    folder = spoilt(shutil.copytree(made / "AVA", tmp_path / "data/AVA"))
    monkeypatch.setenv("BENCH_DATA", str(folder.parent))
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return folder


def spoilt(folder: Path) -> Path:
    """One photograph is missing, two are cut short, a line has 14 columns, one no votes."""
    (folder / f"images/{MISSING}.jpg").unlink()
    for stem in (TRUNCATED, BROKEN_VAL):
        file = folder / f"images/{stem}.jpg"
        file.write_bytes(file.read_bytes()[:-300])
    lines = (folder / "AVA.txt").read_text().splitlines()
    lines[SHORT - FIRST] = lines[SHORT - FIRST].rpartition(" ")[0]
    lines[UNLOVED - FIRST] = line_of(UNLOVED - FIRST, [0] * 10)
    (folder / "AVA.txt").write_text("\n".join(lines) + "\n")
    return folder


# --- the file of votes ----------------------------------------------------------------------------


def test_lines_that_do_not_count_are_named(tmp_path: Path) -> None:
    file = tmp_path / "AVA.txt"
    good = "1 953 0 1 5 17 38 36 15 6 5 1 1 22 1396"
    file.write_text(
        f"{good}\n2 954 0 1 5 17 38 36 15 6 5 1 1 22\n3 955 {'0 ' * 10}1 22 1396\n\n{good}\n"
        "5 956 0 1 5 -17 38 36 15 6 5 1 1 22 1396\nnonsense\n"
    )
    votes = read_votes(file)
    assert votes.of == {"953": (0, 1, 5, 17, 38, 36, 15, 6, 5, 1)}
    assert votes.refused == [
        ("954", "AVA.txt, line 2: 14 columns, not 15."),
        ("955", "AVA.txt, line 3: no votes."),
        ("953", "AVA.txt, line 5: 953 again, as in line 1."),
        ("956", "AVA.txt, line 6: '-17' is no whole number from 0."),
        ("", "AVA.txt, line 7: 1 columns, not 15."),
    ]
    file.write_text("a page\n")
    with pytest.raises(BenchError, match="no line of it counts"):
        read_votes(file)


def test_one_photograph_in_five_is_for_validation_whatever_else_is_there(place: Path) -> None:
    parts = [part_of(str(i)) for i in range(20_000)]
    assert abs(parts.count("val") / len(parts) - 0.2) < 0.01
    train, val = (load_pairs(f"ava_{part}", 1, "none") for part in ("train", "val"))
    gone = {MISSING, SHORT, UNLOVED}
    assert [p.stem for p in train] == [str(i) for i in ids("train") if i not in gone]
    assert [p.stem for p in val] == [str(i) for i in ids("val")]
    assert all(isinstance(p, VotedPair) and 195 <= sum(p.votes) <= 205 for p in [*train, *val])


def test_what_is_lacking_is_named_and_makes_the_set_a_partial_one(place: Path) -> None:
    benchmark = open_benchmark("ava_train", 1, "none")
    assert list(benchmark.skipped) == [
        f"AVA.txt, line {SHORT - FIRST + 1}: 14 columns, not 15.",
        f"AVA.txt, line {UNLOVED - FIRST + 1}: no votes.",
        f"{MISSING}: no picture of it in images.",
    ]
    assert benchmark.partial and benchmark.official == len(benchmark.pairs) + 1
    whole = open_benchmark("ava_val", 1, "none")
    assert not whole.skipped and not whole.partial
    (place / "AVA.txt").unlink()
    with pytest.raises(BenchError, match=r"ava_train: no AVA\.txt in .*AVA\. Get it from https"):
        open_benchmark("ava_train", 1, "none")


def test_votes_are_part_of_the_fingerprint(place: Path) -> None:
    before = fingerprint("ava_val", 1, "none")
    text, index = (place / "AVA.txt").read_text(), ids("val")[0] - FIRST
    line = text.splitlines()[index]
    (place / "AVA.txt").write_text(text.replace(line, line_of(index, [1] * 10)))
    assert fingerprint("ava_val", 1, "none") != before


# --- marks against votes --------------------------------------------------------------------------


def test_correlations_are_those_of_scipy_and_distances_as_worked_by_hand() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.dirichlet(np.ones(10), 40) for _ in range(2))
    one[1] = one[0]  # equal marks share their rank
    marks = [opinion.mean_marks(shares) for shares in (one, other)]
    assert opinion.lcc(one, other).mean() == pytest.approx(stats.pearsonr(*marks).statistic)
    assert opinion.srcc(one, other).mean() == pytest.approx(stats.spearmanr(*marks).statistic)
    only = np.eye(10)  # all votes for one mark
    assert opinion.emd(only[[0, 4]], only[[1, 4]]) == pytest.approx([0.1**0.5, 0])
    assert opinion.emd1(only[[0, 0]], only[[1, 9]]) == pytest.approx([0.1, 0.9])
    # marks 5 and 6 against 5, 6 and 8: only above 5 is good
    assert opinion.accuracy(only[[4, 5, 4]], only[[4, 7, 5]]).tolist() == [100, 100, 0]
    with pytest.raises(Unscorable, match="all mean marks are equal"):
        opinion.lcc(only[[0, 0]], only[[1, 2]])


# --- batches of labelled pictures -----------------------------------------------------------------


def request(**changes: Any) -> Request:
    values = {
        "dataset": "ava_train", "scale": 1, "degradation": "none", "batch": 8, "patch": 48,
        "seed": 0, "device": torch.device("cpu"), "keep": lambda content, write: Path(),
    }  # fmt: skip
    return Request(**{**values, **changes})


def pictures(**changes: Any) -> Pictures:
    """Read in this process: starting others takes a second."""
    found = Pictures(request(**changes), 64)
    found.readers = Readers(0)
    return found


def test_a_batch_is_a_function_of_its_step(place: Path) -> None:
    straight, jumping = pictures(), pictures()
    batches = [straight.batch(step) for step in range(8)]
    for step in (5, 2, 7):
        again = jumping.batch(step)
        assert torch.equal(again.lr, batches[step].lr)
        assert again.labels is not None and torch.equal(again.labels, batches[step].labels)
    assert not torch.equal(pictures(seed=1).batch(0).lr, batches[0].lr)
    prints = {pictures(**c).fingerprint for c in ({}, {"seed": 1}, {"patch": 32}, {"batch": 4})}
    assert len(prints) == 4


def test_processes_read_what_this_one_does(place: Path) -> None:
    apart = Pictures(request(batch=40), 64)
    apart.readers = Readers(2)
    try:
        assert torch.equal(apart.batch(1).lr, pictures(batch=40).batch(1).lr)
    finally:
        apart.readers.close()


def test_parts_come_from_the_resized_pictures_with_their_votes(place: Path) -> None:
    """An epoch shows every photograph; each part is found again in its picture, as it is or
    turned over."""
    found = pictures()
    shares = {pair.stem: np.array(pair.votes) / sum(pair.votes) for pair in voted("ava_train")}
    steps = -(-len(found.paths) // 8)
    assert {i for step in range(steps) for i in found._which(step)} == set(range(len(found.paths)))
    batch, turned = found.batch(0), set()
    assert batch.lr.shape == (8, 3, 48, 48) and batch.labels is not None
    for image, label, index in zip(batch.lr, batch.labels, found._which(0), strict=True):
        path = found.paths[index]
        if path.stem == str(TRUNCATED):
            continue
        assert label.numpy() == pytest.approx(shares[path.stem], abs=1e-6)
        part = (255 * image).round().byte().permute(1, 2, 0).numpy()
        whole = read_resized(path, 64)
        assert not isinstance(whole, str)
        windows = np.lib.stride_tricks.sliding_window_view(whole, (48, 48, 3))[:, :, 0]
        as_it_is, over = ((windows == p).all((2, 3, 4)).any() for p in (part, part[:, ::-1]))
        assert as_it_is or over
        turned.add(bool(over))
    assert turned == {True, False}


def voted(name: str) -> list[VotedPair]:
    return [pair for pair in load_pairs(name, 1, "none") if isinstance(pair, VotedPair)]


def test_few_pictures_wait_and_none_are_read_before_they_are_needed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    measure = reading.read_resized
    monkeypatch.setattr(
        reading, "read_resized", lambda path, side: read.append(path) or measure(path, side)
    )
    found = pictures(batch=4)
    assert not read, "planning decodes nothing"
    found.batch(0)
    assert len(read) == 12, "this batch and two ahead"
    found.batch(1)
    assert len(read) == 16 and len(found.asked) == 2


def test_a_broken_picture_is_replaced_and_told_also_by_a_training_that_goes_on(place: Path) -> None:
    steps = -(-len(pictures().paths) // 8)
    straight, later = pictures(), pictures()
    for step in range(steps):
        batch = straight.batch(step)
        assert torch.isfinite(batch.lr).all() and len(batch.lr) == 8
    later.batch(steps - 1)
    assert straight.told() == later.told()
    told = straight.told()
    assert told["photographs"] == str(len(straight.paths) - 1)
    for part in ("4 left out", f"{TRUNCATED}.jpg: not a readable", f"{MISSING}: no picture"):
        assert part in str(told["of those listed"])


def test_what_does_not_go_together_is_one_message(place: Path) -> None:
    with pytest.raises(BenchError, match="patch 65 does not fit into pictures resized to 64"):
        pictures(patch=65)
    with pytest.raises(BenchError, match=r"photos_val has no votes\. Sets that have: ava_train"):
        pictures(dataset="photos_val")
    for file in (place / "images").iterdir():
        file.write_bytes(b"\xff\xd8\xff\xe0 cut short")
    with pytest.raises(BenchError, match="none of the photographs can be read"):
        pictures().batch(0)


# --- a study --------------------------------------------------------------------------------------

STUDY = """\
# Does our own trunk learn made votes?
name: tiny_ava
task: {kind: assessment, scale: 1, degradation: none}
train: {dataset: ava_train, patch: 48, batch: 8, steps: 150, learning_rate: 3e-3}
methods:
  compact: {use: methods.nima_ava.NIMAonAVA, trunk: compact, resize: 64}
select: {dataset: ava_val, minimize: [emd], allow_reported: true}
evaluate: {datasets: [ava_val], metrics: [emd, emd1, lcc, srcc, accuracy]}
"""
TASK = TaskSection(kind="assessment", scale=1, degradation="none")
TRAIN = TrainSection(
    dataset="ava_train", patch=48, batch=8, steps=60, learning_rate=3e-3, precision="fp32",
    device="cpu",
)  # fmt: skip


def written(folder: Path, *edits: tuple[str, str]) -> Path:
    text = STUDY
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "tiny_ava.yaml").write_text(text)
    return folder / "tiny_ava.yaml"


def swept(study: Study) -> Cell:
    """The record of the study's one trial, laid where a sweep lays it."""
    where = Place(home(), study.name)
    job = Job(study=study, method="compact", trial=None, seed=0, store=home() / "store")
    (*_, done) = run_trial(job)
    assert isinstance(done, Done) and done.cell.state == "complete", done.cell.reason
    where.cells.mkdir(parents=True)
    where.study_file.write_text(study.model_dump_json())
    write_cell(where.cells, done.cell)
    return done.cell


def test_a_study_trains_measures_and_reports_and_its_trial_is_an_assessor(
    place: Path, tmp_path: Path
) -> None:
    study = load_study(written(tmp_path))
    cell = swept(study)
    benchmark = open_benchmark("ava_val", 1, "none")
    trial = load_assessor(find_assessor("tiny_ava/compact-s0"))
    assert isinstance(trial, NIMAonAVA)

    # the numbers again, picture by picture, from the assessor that the sweep has left
    able = [p for p in voted("ava_val") if p.stem != str(BROKEN_VAL)]
    given = np.array([p.votes for p in able]) / [[sum(p.votes)] for p in able]
    marks = [m for m in Marker(trial).marks([p.hr_path for p in able if p.hr_path])]
    predicted = np.array(marks)
    values = {m: [s.value for s in cell.scores if s.metric == m] for m in study.evaluate.metrics}
    means = {m: np.nanmean(v) for m, v in values.items()}
    gap = (predicted - given).cumsum(1)
    assert means["emd"] == pytest.approx(np.sqrt((gap**2).mean(1)).mean(), abs=1e-5)
    scores = [shares @ np.arange(1, 11) for shares in (predicted, given)]
    assert means["srcc"] == pytest.approx(stats.spearmanr(*scores).statistic, abs=1e-5)
    assert cell.objectives == {"emd": pytest.approx(means["emd"])}
    assert {s.protocol for s in cell.scores} == {"votes@1"}
    (why,) = {s.why for s in cell.scores if s.image == str(BROKEN_VAL)}
    assert "not a readable image" in why and len(values["emd"]) == len(benchmark.pairs)

    # what has been learned: at last it does better than the votes' average would
    losses = load_losses(cell.stages[0].key)["loss"]
    taught = np.array([p.votes for p in voted("ava_train")]) / 200
    average = np.tile(taught.mean(0), (len(taught), 1))
    assert losses[-30:].mean() < opinion.emd(average, taught).mean() < losses[:10].mean()

    report = render(study, [cell], tmp_path / "none", tmp_path / "report", formats=["md"])
    text = report["table.md"].read_text()
    assert "trained from scratch: the paper begins with weights of ImageNet" in text
    assert f"ava_val: 1 left out: {place / 'images' / str(BROKEN_VAL)}.jpg: not a read" in text
    assert "4 left out: " in text and f"{MISSING}: no picture of it in images" in text

    image = torch.rand(1, 3, 48, 48, requires_grad=True)
    trial.score(image).sum().backward()
    assert image.grad is not None and image.grad.any()
    found = find_assessor("tiny_ava/compact-s0")
    assert isinstance(found, Trial) and re.fullmatch(
        r"tiny_ava/compact-s0 [0-9a-f]{16}", found.identity()
    )
    with pytest.raises(BenchError, match="tiny_ava/compact-s0 gives marks, not images"):
        prepare_method("tiny_ava/compact-s0", {}, None)


class Killed(Exception):
    """Stands for a kill."""


def test_a_training_that_goes_on_ends_bit_by_bit_where_an_uninterrupted_one_does(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methods.nima_ava.Readers", lambda workers: Readers(0))
    section = TRAIN.model_copy(update={"steps": 12})
    whole, broken, again = (NIMAonAVA(**TINY) for _ in range(3))
    records: list[Any] = []
    list(train_stages(whole, TASK, section, 0, Store(tmp_path / "one"), records))
    ticks: Iterator[int] = iter(range(10**6))
    monkeypatch.setattr(loop.time, "monotonic", lambda: 3.0 * next(ticks))  # a checkpoint each time
    other, later = Store(tmp_path / "other"), []
    with pytest.raises(Killed):
        for event in train_stages(broken, TASK, section, 0, other, []):
            if isinstance(event, Progress) and event.step >= 5:
                raise Killed
    list(train_stages(again, TASK, section, 0, other, later))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert records[0].examined == later[0].examined
    assert records[0].losses == later[0].losses


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[emd, emd1, lcc",
            "[emd, psnr, lcc",
            "psnr scores pictures, and an assessment gives mark",
        ),
        ("datasets: [ava_val]", "datasets: [photos_val]", "'photos_val' has no votes. Sets that"),
        ("dataset: ava_train", "dataset: photos_train", "'photos_train' has no votes"),
        ("select:", "  reference: {}\nselect:", "an assessment has no row of pictures"),
        ("resize: 64", "width: 0", "parameter 'width': input should be greater than 0"),
        ("trunk: compact", "trunk: resnet", "parameter 'trunk': input should be 'compact'"),
    ],
)
def test_mistakes_in_a_study_are_said_at_once(
    place: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        load_study(written(tmp_path, (old, new)))


def test_marks_are_not_asked_of_what_restores(place: Path, tmp_path: Path) -> None:
    edit = ("{kind: assessment, scale: 1, degradation: none}", "{kind: enhancement, scale: 1}")
    with pytest.raises(BenchError) as caught:
        load_study(written(tmp_path, edit))
    assert "NIMAonAVA is for assessment, the task is enhancement" in str(caught.value)
    assert "emd compares marks with votes" in str(caught.value)


# --- weights of ImageNet --------------------------------------------------------------------------


@pytest.mark.parametrize("trunk", ["mnasnet", "mobilenet_v2", "vgg16"])
def test_a_training_begins_with_torchvisions_file_but_for_the_last_layer(
    trunk: Any, tmp_path: Path
) -> None:
    from torchvision import models

    networks = {
        "mnasnet": lambda: models.MNASNet(0.1),
        "mobilenet_v2": lambda: models.MobileNetV2(width_mult=0.1),
    }
    if trunk in networks:
        theirs = networks[trunk]().state_dict()
    else:  # torchvision's VGG16 has one width alone, of 138 million parameters
        theirs = dict(NIMAonAVA(trunk=trunk, width=0.1).trunk.state_dict(prefix="features."))
        theirs |= {"classifier.0.bias": torch.zeros(5), "classifier.6.bias": torch.zeros(1000)}
    torch.save(theirs, tmp_path / "imagenet.pth")
    method = NIMAonAVA(trunk=trunk, width=0.1)
    state = fitting_state(method, tmp_path / "imagenet.pth", begin=True)
    first = next(iter(theirs))
    assert torch.equal(state[f"trunk.{first.split('.', 1)[1]}"], theirs[first])
    assert torch.equal(state["head.weight"], method.head.weight)
    with pytest.raises(BenchError, match="not the weights of NIMAonAVA"):
        fitting_state(method, tmp_path / "imagenet.pth")


def test_weights_that_are_not_here_are_said_with_their_address(place: Path, tmp_path: Path) -> None:
    edit = ("trunk: compact, resize: 64", "begins_from: published:mnasnet_imagenet")
    with pytest.raises(BenchError) as caught:
        load_study(written(tmp_path, edit))
    for part in (
        "methods.compact.begins_from: published weights 'mnasnet_imagenet' are not on this machine",
        "https://download.pytorch.org/models/mnasnet1.0_top1_73.512-f206786ef8.pth",
        "bench fetch mnasnet_imagenet",
    ):
        assert part in str(caught.value)


def test_the_studys_recipe_is_the_papers(place: Path) -> None:
    """Batch 128, 25 epochs, Adam at 1e-4 that decays, parts of 192 of 256: planned, not trained."""
    train = TRAIN.model_copy(
        update={"patch": 192, "batch": 128, "steps": None, "epochs": 25, "learning_rate": 1e-4}
    )
    (plan,) = plan_stages(NIMAonAVA(), TASK, train, 0)
    assert plan.steps == 25 and plan.recipe.optimizer == "adam", "one batch holds this whole set"
    assert NIMAonAVA().side == 256
    assert plan.recipe.only({"patch", "batch"}) == Recipe(patch=192, batch=128)


# --- who rewards ----------------------------------------------------------------------------------


def test_a_reward_comes_from_the_assessor_that_is_named_and_reports_say_whose(place: Path) -> None:
    method = EDSR(blocks=1, channels=4, assessor="nima@photos")
    assert any("nima@photos" in text for text in method.remarks)
    (stage,) = method.stages()
    assert stage.depends is not None
    assert str(stage.depends["assessor"]).startswith("nima@photos v1 ")
    for gone in ("gone/trial-s0", "./gone.pth"):
        restoring = EDSR(blocks=1, channels=4, assessor=gone)  # what it has learned still restores
        assert any(gone in text for text in restoring.remarks)
        with pytest.raises(BenchError, match="gone"):
            restoring.stages()
