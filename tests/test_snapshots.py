"""Snapshots of a training: which weights they are, after a kill too; measured, shown, refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from kit import write_study

from bench.errors import BenchError
from bench.look.check import load_study
from bench.records.cell import Cell, OnTheWay, TrainedStage
from bench.records.place import Place
from bench.records.store import Store
from bench.report.progress import make_progress, progress_section
from bench.report.render import render
from bench.report.rows import Row
from bench.sweep.job import Done, Job
from bench.sweep.trial import run_trial
from bench.train.snapshots import Snapshots, name_of

TRAIN = "{dataset: set5, patch: 16, batch: 2, steps: %d, precision: fp32, device: cpu%s}"
NET = "net: {use: methods.srcnn.SRCNN, width: 4}"


def study_file(folder: Path, steps: int = 8, more: str = ", snapshots: 4", **changes: str) -> Path:
    budget = changes.pop("budget", "")
    return write_study(folder, NET, train=TRAIN % (steps, more), budget=budget, **changes)


def ran(file: Path, home: Path, seed: int = 0) -> Cell:
    job = Job(study=load_study(file), method="net", trial=None, seed=seed, store=home / "store")
    *_, done = run_trial(job)
    assert isinstance(done, Done) and done.cell.state == "complete", done
    return done.cell


def weights(home: Path, stage: TrainedStage, name: str = "weights.pth") -> dict[str, torch.Tensor]:
    entry = Store(home / "store").entry("stages", stage.key)
    found: dict[str, torch.Tensor] = torch.load(entry / name, weights_only=True)
    return found


def test_a_snapshot_is_what_a_shorter_training_ends_with(
    small_sets: Path, tmp_path: Path, bench_home: Path
) -> None:
    """Weights, and their objective, after 2 and 4 of 8 updates: those of trainings of 2 and 4."""
    long = ran(study_file(tmp_path), bench_home)
    (stage,) = long.stages
    assert stage.snapshots == [2, 4, 6]
    measured = {step: value for step, name, value in long.on_the_way if name == "psnr_y"}
    assert list(measured) == [2, 4, 6]
    for steps in (2, 4):
        short = ran(study_file(tmp_path, steps, ""), bench_home)
        there = weights(bench_home, stage, name_of(steps))
        for name, value in weights(bench_home, short.stages[0]).items():
            assert torch.equal(value, there[name])
        assert measured[steps] == short.objectives["psnr_y"]
    whole = ran(study_file(tmp_path, 8, ""), bench_home)
    assert whole.on_the_way == [] and whole.stages[0].key != stage.key
    assert whole.objectives == long.objectives and whole.scores == long.scores


def test_measuring_again_measures_the_snapshots_too(
    small_sets: Path, tmp_path: Path, bench_home: Path
) -> None:
    file = study_file(tmp_path)
    first = ran(file, bench_home)
    job = Job(study=load_study(file), method="net", trial=None, seed=0,
              store=bench_home / "store", stages=first.stages)  # fmt: skip
    *_, done = run_trial(job)
    assert isinstance(done, Done) and done.cell.stages[0].reused
    assert done.cell.on_the_way == first.on_the_way
    assert done.cell.scores == first.scores


def test_an_interrupted_training_writes_again_what_came_after_its_checkpoint(
    tmp_path: Path,
) -> None:
    method = torch.nn.Linear(1, 1)
    kept = Snapshots(method, [2, 4], tmp_path)  # type: ignore[arg-type]

    def update(step: int) -> None:
        kept.keep(step)
        torch.nn.init.constant_(method.weight, step + 1)

    for step in (0, 1, 2, 3, 4, 5):
        update(step)
    torch.nn.init.constant_(method.weight, 3)  # back to a checkpoint of 3 updates
    for step in (3, 4, 5):
        update(step)
    (tmp_path / "entry").mkdir()
    kept.copy_to(tmp_path / "entry")
    found = [torch.load(tmp_path / "entry" / name_of(n))["weight"].item() for n in (2, 4)]
    assert found == [2, 4]


def test_without_snapshots_a_study_is_what_it_was(small_sets: Path, tmp_path: Path) -> None:
    """No record is voided by a field that says nothing."""
    study = load_study(study_file(tmp_path, more=""))
    parts = study.model_dump(mode="json", include={"task", "train", "select"})
    assert [parts["train"].pop(name) for name in ("snapshots", "updates")] == [None, None]
    budget = study.budget.model_dump(mode="json", exclude={"trials"})
    row = study.methods["net"].model_dump(mode="json")
    assert (row.pop("ensemble"), row.pop("command")) == (False, None)
    before = hashlib.sha256(repr((parts, budget, row)).encode()).hexdigest()[:16]
    assert study.search_digest("net") == before
    assert load_study(study_file(tmp_path)).search_digest("net") != before


@pytest.mark.parametrize(
    ("more", "select", "told"),
    [
        (", snapshots: 4", "", "train.snapshots: are measured on the selection set"),
        (", snapshots: 4, average: 0.9", None, "snapshots are of the weights themselves"),
        (", snapshots: 1", None, "train.snapshots: input should be greater than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused(
    small_sets: Path, tmp_path: Path, more: str, select: str | None, told: str
) -> None:
    changes = {} if select is None else {"select": select}
    with pytest.raises(BenchError, match=told):
        load_study(study_file(tmp_path, more=more, **changes))


# --- in the report --------------------------------------------------------------------------------


def followed(seed: int, *points: OnTheWay, end: float) -> Cell:
    stage = TrainedStage(name="s", key=f"k{seed}", steps=6, parameters=1, seconds=0.0, reused=False,
                         precision="fp32", device="cpu", losses={"loss": 1.0})  # fmt: skip
    return Cell(study="tiny", method="net", use="methods.srcnn.SRCNN", trial=None, seed=seed,
                attempt=0, state="complete", parameters={}, objectives={"psnr_y": end},
                on_the_way=list(points), stages=[stage], fingerprint="f")  # fmt: skip


def test_lines_end_with_the_objective_and_several_scales_are_their_mean(
    small_sets: Path, tmp_path: Path
) -> None:
    study = load_study(study_file(tmp_path, budget="{seeds: [0, 1]}"))
    points = [OnTheWay(3, "psnr_y", value) for value in (20.0, 24.0)]  # two scales
    cells = (followed(0, *points, end=25.0), followed(1, OnTheWay(3, "psnr_y", 26.0), end=27.0))
    losses = {"k0": {"loss": np.arange(6, dtype=np.float32)}}
    progress = make_progress(study, [Row("net", "net", cells)], lambda key: losses.get(key, {}))
    assert progress is not None
    loss, psnr = progress.panels
    assert psnr.lines == {"net": [(3, [22.0, 26.0]), (6, [25.0, 27.0])]}
    assert loss.lines == {"net": [(n + 1, [float(n)]) for n in range(6)]}
    (section,) = progress_section(study, [Row("net", "net", cells)])
    assert section.header == ("row", "objective", "3", "6")
    assert section.rows == (("net", "psnr_y", "24.00", "26.00"),)


def test_the_report_draws_them(small_sets: Path, tmp_path: Path, bench_home: Path) -> None:
    file = study_file(tmp_path)
    study, cell = load_study(file), ran(file, bench_home)
    written = render(study, [cell], Place(bench_home, "tiny").pictures, tmp_path / "out")
    assert written["figures/on-the-way.png"].stat().st_size > 5000
    text = (tmp_path / "out/table.md").read_text()
    assert "On the way: objectives on set14 after so many updates" in text
    assert "![on-the-way](figures/on-the-way.png)" in text
