"""What stands in MLflow: numbers as they are, nothing twice, every run ended."""

import math
from pathlib import Path

import kit
import pytest
from kit import commands, runs

from bench.errors import BenchError
from bench.records.cell import Cell, Score, UsedDataset
from bench.study.fields import Study
from bench.sweep.tracking import Tracking

# MLflow's own way with SQLAlchemy 2.1, when its tables are first mapped
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

STUDY = Study.model_validate(
    {
        "name": "tiny",
        "task": {"kind": "super-resolution", "scale": 2},
        "methods": {"m": {"use": "methods.classical.Bicubic"}},
        "evaluate": {"datasets": ["set5"], "metrics": ["psnr"]},
    }
)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return commands().blank(tmp_path_factory.mktemp("blank") / "home")


@pytest.fixture
def home(blank: Path, tmp_path: Path) -> Path:
    """A home with an empty database."""
    (tmp_path / "mlflow.db").write_bytes((blank / "mlflow.db").read_bytes())
    return tmp_path


@pytest.fixture
def tracking(home: Path) -> Tracking:
    opened = Tracking(home, STUDY)
    opened.open_study("name: tiny", {"bench.commit": "abc"})
    return opened


def cell_of(run: str, **values: object) -> Cell:
    return Cell.model_validate(
        {
            "study": "tiny",
            "method": "m",
            "use": "methods.classical.Bicubic",
            "trial": None,
            "seed": 0,
            "attempt": 0,
            "state": "complete",
            "parameters": {},
            "fingerprint": "f",
            "run_id": run,
            **values,
        }
    )


def score(value: float, metric: str = "psnr", image: str = "a") -> Score:
    return Score("set5", 2, image, metric, "sr-y@1", value)


def test_an_infinite_score_is_capped_and_a_missing_one_is_not_logged(
    tracking: Tracking, home: Path
):
    run = tracking.start("m", {}, {})
    scores = [score(math.inf), score(30.0, "psnr_y"), score(math.nan, "niqe")]
    tracking.finish(cell_of(run, scores=scores, objectives={"psnr": math.inf}), [])
    (found,) = runs(home)
    assert found.metrics["set5/psnr"] == [(0, 100.0)]
    assert found.metrics["objective/psnr"] == [(0, 100.0)]
    assert found.metrics["set5/psnr_y"] == [(0, 30.0)]
    assert "set5/niqe" not in found.metrics


def test_a_sets_value_is_the_mean_over_its_images(tracking: Tracking, home: Path):
    run = tracking.start("m", {}, {})
    cell = cell_of(run, scores=[score(20.0, image="a"), score(31.0, image="b")])
    tracking.finish(cell, [])
    assert runs(home)[0].metrics["set5/psnr"] == [(0, 25.5)]


def test_finishing_again_completes_what_a_kill_left_half_and_doubles_nothing(
    tracking: Tracking, home: Path
):
    curve = [(step, {"train/fit/loss": 1.0 / step, "train/fit/other": 2.0}) for step in (1, 2, 3)]
    run = tracking.start("m", {}, {})
    tracking.history(run, curve[:2])  # killed here
    tracking.history(run, [(0, {"set5/psnr": 30.0})])
    cell = cell_of(run, scores=[score(30.0), score(0.9, "ssim")])
    for _ in range(2):
        Tracking(home, STUDY).finish(cell, curve)
    (found,) = runs(home)
    assert found.status == "FINISHED"
    assert found.metrics["train/fit/loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert found.metrics["train/fit/other"] == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert found.metrics["set5/psnr"] == [(0, 30.0)]
    assert found.metrics["set5/ssim"] == [(0, 0.9)]


def test_a_failed_trial_is_failed_and_a_pruned_one_finished_with_a_tag(
    tracking: Tracking, home: Path
):
    for state in ("failed", "pruned"):
        run = tracking.start(state, {}, {})
        tracking.finish(cell_of(run, state=state, reason="why\nand where"), [])
    shown = {run.name: (run.status, run.tags["bench.state"]) for run in runs(home)}
    assert shown == {"failed": ("FAILED", "failed"), "pruned": ("FINISHED", "pruned")}
    assert {run.tags["bench.reason"] for run in runs(home)} == {"why"}


def test_names_that_mlflow_refuses_are_made_fit(tracking: Tracking, home: Path):
    run = tracking.start("m", {}, {})
    tracking.history(run, [(1, {"train/fit/PSNR↑ (k@1)": 2.0, "pyiqa:niqe": 3.0})])
    assert runs(home)[0].metrics == {"train/fit/PSNR_ _k_1_": [(1, 2.0)], "pyiqa:niqe": [(1, 3.0)]}


def test_more_parameters_and_points_than_a_batch_takes(tracking: Tracking, home: Path):
    parameters = {f"p{i:03d}": i for i in range(230)} | {"long": "x" * 7000}
    run = tracking.start("m", parameters, {})
    tracking.history(run, [(step, {"loss": float(step)}) for step in range(2500)])
    (found,) = runs(home)
    assert found.params == {k: str(v)[:6000] for k, v in parameters.items()}
    assert found.metrics["loss"] == [(step, float(step)) for step in range(2500)]


def test_a_study_has_one_parent_run_however_often_it_is_swept(tracking: Tracking, home: Path):
    tracking.close_study("FINISHED", {"cells_complete": 1.0}, None, None)
    (first,) = runs(home, kind="study")
    assert first.status == "FINISHED"
    again = Tracking(home, STUDY)
    again.open_study("name: tiny", {"bench.commit": "def"})
    (second,) = runs(home, kind="study")
    assert (second.id, second.status) == (first.id, "RUNNING")
    assert second.tags["bench.commit"] == "def"
    run = again.start("m", {}, {})
    assert runs(home)[0].tags["mlflow.parentRunId"] == first.id
    assert again.running() == [run]
    again.kill(run, "driver lost")
    assert again.running() == []
    assert (runs(home)[0].status, runs(home)[0].tags["bench.reason"]) == ("KILLED", "driver lost")


def test_an_archived_study_is_out_of_the_way_and_has_ended(tracking: Tracking, home: Path):
    tracking.start("m", {}, {})
    tracking.archive_study()
    assert runs(home) == runs(home, kind="study") == []
    for kind in ("archived trial", "archived study"):
        assert [run.status for run in runs(home, kind=kind)] == ["KILLED"]


def test_runs_of_another_study_are_not_seen(tracking: Tracking, home: Path):
    tracking.start("m", {}, {})
    other = Tracking(home, STUDY.model_copy(update={"name": "other"}))
    assert other.running() == []


def test_the_sets_of_a_study_are_named_with_their_fingerprints(tracking: Tracking, home: Path):
    used = UsedDataset(fingerprint="0123456789abcdef", count=5, official=5, source="bicubic")
    for _ in range(2):
        tracking.close_study("FINISHED", {}, cell_of("", datasets={"set5": used}), None)
    rows = kit._rows(home / "mlflow.db", "select name, digest from datasets")
    assert len(kit._rows(home / "mlflow.db", "select input_uuid from inputs")) == 1
    assert rows == [("set5", "0123456789abcdef")]


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database " * 500)
    with pytest.raises(BenchError, match=r"mlflow\.db"):
        Tracking(tmp_path, STUDY)
