"""Mistakes that were found by using bench, each of them first seen failing here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from bench.data.images import read_image
from bench.errors import BenchError
from bench.look.check import load_study
from bench.method.loading import build_method, find_method
from bench.records import digest
from bench.records.cell import Cell, TrainedStage, UsedDataset
from bench.report.provenance import caution
from bench.report.rows import choose_rows
from bench.study.fields import Study, TaskSection, TrainSection
from bench.sweep.identity import git_state
from bench.train.planning import method_digest as source_digest
from bench.train.planning import plan_stages

NET = """
from bench.method import Method, Stage
from torch import nn
{line}


class Net(Method):
    paper = "none"
    task = "low-light"

    def __init__(self, *, part: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.inner = Net() if part else None

    def forward(self, lr):
        return self.conv(lr)

    def stages(self):
        return (Stage("pre", trains=self.inner),) if self.inner else (Stage("only"),)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's own that `find_method` can import."""
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "net.py").write_text(NET.format(line="from .gain import GAIN"))
    (folder / "gain.py").write_text("GAIN = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [n for n in sys.modules if n.startswith("own_package")]:
        del sys.modules[name]
    digest.forget_code()
    return folder


def test_a_relative_import_belongs_to_the_source_of_a_method(package: Path) -> None:
    net = (package / "net.py").read_text()
    (package / "net.py").write_text(net.replace("self.conv(lr)", "GAIN * self.conv(lr)"))
    cls = find_method("own_package.net.Net")
    before = source_digest(cls)
    (package / "gain.py").write_text("GAIN = 0.1\n")
    digest.forget_code()
    assert source_digest(cls) != before


def test_a_part_without_scale_learns_the_task_of_the_study(package: Path) -> None:
    whole = build_method(find_method("own_package.net.Net"), {"part": True})
    task = TaskSection(kind="low-light", scale=1, degradation="low_light")
    (plan,) = plan_stages(whole, task, TrainSection(dataset="photos_val", steps=1), 0)
    assert (plan.scale, plan.degradation) == (1, "low_light")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = = 1\n", "broken.py:1: SyntaxError"),
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError"),
        ("raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
    ],
)
def test_a_module_that_cannot_be_imported_says_where(package: Path, source: str, told: str) -> None:
    (package / "broken.py").write_text(source)
    with pytest.raises(BenchError, match="cannot be imported") as caught:
        find_method("own_package.broken.Net")
    assert told in str(caught.value) and "broken.py:1" in str(caught.value)


def test_a_scale_other_than_the_asked_one_is_refused() -> None:
    with pytest.raises(BenchError, match="'scale': 3 where 2 is asked for"):
        build_method(find_method("methods.classical.Bicubic"), {"scale": 3}, scale=2)


def test_the_commit_is_of_the_file_that_is_asked_about(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "kept.py").write_text("")
    (tmp_path / "loose.py").write_text("")
    subprocess.run([*git, "add", "kept.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert git_state(tmp_path / "kept.py") == {"commit": head.stdout.strip(), "tree": "dirty"}
    assert git_state(tmp_path / "loose.py") == {"commit": "unknown", "tree": "unknown"}


STUDY = """
name: own
task: {kind: super-resolution, scale: 2}
train: {dataset: photos_val, patch: 16, steps: 1}
methods: {bicubic: {use: methods.classical.Bicubic}}
evaluate: {datasets: [photos_test], metrics: [psnr_y]}
"""


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["train.steps=true"], ["train.steps: a true or false"]),
        (["train.learning_rate=.inf"], ["train.learning_rate:"]),
        (["budget.seeds=[99999999999999999999]"], ["budget.seeds.0:"]),
        (["task.kind=enhancement", "task.scale=1"], ["at scale 1 bicubic changes nothing"]),
        (
            ["train.steps=x", "train.dataset=photo_val", "evaluate.metrics=psnr_y",
             "evaluate.datasets=[photo_test]"],
            ["train.steps", "unknown dataset 'photo_val'", "evaluate.metrics: needs a list",
             "unknown dataset 'photo_test'"],
        ),
        (
            ["task.scale=x", "task.degradation=bicubik", "methods.bicubic.sharp=1"],
            ["task.scale", "unknown degradation 'bicubik'", "unknown parameter 'sharp'"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_one_field_does_not_hide_the_others(
    tmp_path: Path, overrides: list[str], told: list[str]
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(STUDY)
    with pytest.raises(BenchError) as caught:
        load_study(file, overrides)
    for part in told:
        assert part in str(caught.value)


def test_an_objective_of_a_metric_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        STUDY.replace("[psnr_y]", "[psnr_y, 'pyiqa:musiq']")
        + "select: {dataset: photos_val, maximize: ['pyiqa:musiq']}\n"
    )
    with pytest.raises(BenchError, match="objective 'pyiqa:musiq' cannot be computed"):
        load_study(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: &a [*a]\n", "contains itself"), ("? [x]\n: 1\n", "a key must be a word")],
)
def test_odd_yaml_is_one_message(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(BenchError, match=told):
        load_study(file)


def test_a_picture_of_several_frames_is_refused(tmp_path: Path) -> None:
    frames = [PIL.Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (0, 255)]
    frames[0].save(tmp_path / "two.png", save_all=True, append_images=frames[1:])
    with pytest.raises(BenchError, match=r"two\.png: has 2 frames"):
        read_image(tmp_path / "two.png")


def test_trials_with_equal_parameters_are_one_row() -> None:
    study = Study.model_validate(
        {
            "name": "own",
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {"m": {"use": "a.B", "mode": {"choice": ["soft", "hard"]}}},
            "select": {"dataset": "photos_val", "maximize": ["psnr_y", "ssim_y"]},
            "evaluate": {"datasets": ["photos_test"], "metrics": ["psnr_y", "ssim_y"]},
        }
    )
    cells = [
        Cell(study="own", method="m", use="a.B", trial=t, seed=0, attempt=0, state="complete",
             parameters={}, swept={"mode": mode}, objectives={"psnr_y": 30.0, "ssim_y": 0.9},
             fingerprint="x")
        for t, mode in enumerate(["soft", "soft", "hard"])
    ]  # fmt: skip
    rows, _ = choose_rows(study, cells)
    assert [row.cells[0].trial for row in rows] == [0, 2]


def test_a_figure_alone_says_that_its_run_was_tiny() -> None:
    study = Study.model_validate(
        {
            "name": "own",
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {"m": {"use": "a.B"}},
            "evaluate": {"datasets": ["urban100"], "metrics": ["psnr_y"]},
        }
    )
    stage = TrainedStage(name="sr", key="k", steps=60, parameters=1, seconds=1.0, reused=False,
                         precision="fp32", device="cpu")  # fmt: skip
    used = UsedDataset(fingerprint="f", count=30, official=100, source="bicubic")
    cell = Cell(study="own", method="m", use="a.B", trial=None, seed=0, attempt=0,
                state="complete", parameters={}, stages=[stage], datasets={"urban100": used},
                fingerprint="x")  # fmt: skip
    rows, _ = choose_rows(study, [cell])
    told = caution([cell], rows, study.evaluate.datasets)
    assert told == "; tiny run; partial set urban100, 30/100 images"
    assert caution([cell], rows, ()) == "; tiny run"
    many = [stage.model_copy(update={"key": str(n), "steps": 6000}) for n in range(3)]
    long = [cell.model_copy(update={"stages": many})]
    assert caution(long, choose_rows(study, long)[0], ()) == "; tiny run", "18,000 in short stages"
