"""What stands in MLflow: numbers as they are, nothing twice, every run ended."""

import json
import math
import re
from pathlib import Path

import kit
import PIL.Image
import pytest
from kit import commands, runs
from mlflow import MlflowClient
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from bench.errors import BenchError
from bench.records.cell import Cell, Score, UsedDataset
from bench.study.fields import Study
from bench.sweep.tracking import ERRORS, Tracking

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


def test_an_infinite_score_is_capped_and_a_missing_one_left_out(tracking: Tracking, home: Path):
    run = tracking.start("m", {}, {})
    scores = [score(math.inf), score(30.0, "psnr_y"), score(math.nan, "niqe")]
    tracking.finish(cell_of(run, scores=scores, objectives={"psnr": math.inf}), [])
    (found,) = runs(home)
    assert found.metrics["set5/psnr"] == [(0, 100.0)]
    assert found.metrics["objective/psnr"] == [(0, 100.0)]
    assert found.metrics["set5/psnr_y"] == [(0, 30.0)]
    assert "set5/niqe" not in found.metrics
    table = json.loads((home / "artifacts" / run / "artifacts/per_image.json").read_text())
    assert table["data"][2][3:] == ["niqe", "sr-y@1", "nan"]


def test_losses_that_are_not_finite_are_no_points_of_a_curve(tracking: Tracking, home: Path):
    run = tracking.start("m", {}, {})
    tracking.history(run, [(1, {"loss": 2.0}), (2, {"loss": math.inf}), (3, {"loss": math.nan})])
    assert runs(home)[0].metrics == {"loss": [(1, 2.0)]}


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


def test_a_study_has_one_run_of_its_own_however_often_it_is_swept(tracking: Tracking, home: Path):
    tracking.close_study("FINISHED", {"cells_complete": 1.0}, [], {})
    (first,) = runs(home, kind="study")
    assert first.status == "FINISHED"
    again = Tracking(home, STUDY)
    again.open_study("name: tiny", {"bench.commit": "def"})
    (second,) = runs(home, kind="study")
    assert (second.id, second.status) == (first.id, "RUNNING")
    assert second.tags["bench.commit"] == "def"
    run = again.start("m", {}, {})
    assert "mlflow.parentRunId" not in runs(home)[0].tags  # else the page folds it away
    assert again.runs({}) == {run: ("RUNNING", False)}
    again.kill(run, "driver lost")
    assert again.runs({}) == {run: ("KILLED", False)}
    assert (runs(home)[0].status, runs(home)[0].tags["bench.reason"]) == ("KILLED", "driver lost")


def test_of_a_reports_folder_its_own_files_become_artifacts(
    tracking: Tracking, home: Path, tmp_path: Path
):
    for name in ("table.md", "figures/curves-a.png", "thesis.tex"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(name)
    report = {name: tmp_path / "out" / name for name in ("table.md", "figures/curves-a.png")}
    tracking.close_study("FINISHED", {}, [], report)
    kept = {
        p.relative_to(p.parents[1]).as_posix() for p in home.rglob("report/**/*") if p.is_file()
    }
    assert kept == {"report/table.md", "figures/curves-a.png"}


def test_an_archived_study_is_out_of_the_way_and_has_ended(tracking: Tracking, home: Path):
    tracking.start("m", {}, {})
    tracking.archive_study()
    assert runs(home) == runs(home, kind="study") == []
    for kind in ("archived trial", "archived study"):
        assert [run.status for run in runs(home, kind=kind)] == ["KILLED"]


def test_runs_of_another_study_are_not_seen(tracking: Tracking, home: Path):
    tracking.start("m", {}, {})
    other = Tracking(home, STUDY.model_copy(update={"name": "other"}))
    assert other.runs({}) == {}


def test_the_sets_of_a_study_are_named_with_their_fingerprints(tracking: Tracking, home: Path):
    used = UsedDataset(fingerprint="0123456789abcdef", count=5, official=5, source="bicubic")
    for _ in range(2):
        tracking.close_study("FINISHED", {}, [cell_of("", datasets={"set5": used})], {})
    rows = kit._rows(home / "mlflow.db", "select name, digest from datasets")
    assert len(kit._rows(home / "mlflow.db", "select input_uuid from inputs")) == 1
    assert rows == [("set5", "0123456789abcdef")]


def test_what_a_clouds_package_raises_is_an_outage(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
):
    class NoCredentials(Exception):
        """Neither MLflow's nor the system's."""

    def store(*a: object, **k: object) -> None:
        raise NoCredentials("Unable to locate credentials.")

    run = tracking.start("m", {}, {})
    monkeypatch.setattr(LocalArtifactRepository, "log_artifacts", store)
    with pytest.raises(ERRORS, match="its artifact store: Unable to locate credentials"):
        tracking.finish(cell_of(run), [])


# --- the page -----------------------------------------------------------------------------------


def experiments(home: Path) -> dict[str, dict[str, str]]:
    """The tags of each experiment that is not deleted, by name."""
    rows = kit._rows(
        home / "mlflow.db",
        "select e.name, t.key, t.value from experiments e join experiment_tags t "
        "on t.experiment_id = e.experiment_id where e.lifecycle_stage = 'active'",
    )
    return {name: {k: v for n, k, v in rows if n == name} for name, _, _ in rows}


def test_a_study_is_an_experiment_that_shows_its_table_and_its_swept_parameters(home: Path):
    changes = {
        "methods": {"m": {"use": "methods.nima_sr.EDSR", "gamma": {"grid": [0, 0.5]}}},
        "evaluate": {"datasets": ["set5", "set14"], "metrics": ["psnr", "nima"]},
        "select": {"dataset": "photos_val", "maximize": ["psnr"]},
        "header": "Does it?",
    }
    study = STUDY.model_validate(STUDY.model_dump() | changes)
    tracking = Tracking(home, study)
    tracking.open_study("name: tiny", {})
    png = home / "strip.png"
    PIL.Image.new("RGB", (8, 8)).save(png)
    run = tracking.start("m", {"gamma": 0}, {})
    used = UsedDataset(fingerprint="f", count=5, official=5, source="bicubic")
    cell = cell_of(run, assessors={"nima": "nima@photos"}, datasets={"set5": used})
    tracking.finish(cell, [], (), {"set5/a": png})
    tracking.close_study("FINISHED", {}, [cell], {})

    tags = experiments(home)["tiny"]
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.note.content"] == "Does it?"
    state = json.loads(json.loads(tags["mlflow.sharedViewState.bench"])["state"])
    scores = ["set5/psnr", "set5/nima_photos", "set14/psnr", "set14/nima_photos"]
    assert state["selectedColumns"] == [
        "tags.`bench.method`", "params.`gamma`", *(f"metrics.`{name}`" for name in scores)
    ]  # fmt: skip
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`set5/psnr`", False)
    assert {c["yaxis"]["key"] for c in state["compareRunCharts"] if "yaxis" in c} == set(scores)
    assert [c["imageKeys"] for c in state["compareRunCharts"] if "imageKeys" in c] == [["set5/a"]]


def test_a_sample_picture_is_logged_once_as_mlflow_itself_does_it(
    tracking: Tracking, home: Path, monkeypatch: pytest.MonkeyPatch
):
    png = home / "strip.png"
    PIL.Image.effect_mandelbrot((480, 160), (-2, -1, 1, 1), 50).convert("RGB").save(png)
    theirs, ours = (tracking.start(name, {}, {}) for name in ("theirs", "ours"))
    for key in ("set5/a", "set5/b _"):
        tracking._client.log_image(theirs, PIL.Image.open(png), key=key, step=0)
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Tracking, "history", interrupted)  # once the files are there
        tracking.finish(cell_of(ours), [], (), {"set5/a": png, "set5/b ä": png})
    for _ in range(2):
        tracking.finish(cell_of(ours), [], (), {"set5/a": png, "set5/b ä": png})

    assert {run.tags["mlflow.loggedImages"] for run in runs(home)} == {"True"}
    assert images(home, ours).keys() == images(home, theirs).keys()
    for name, picture in images(home, ours).items():
        with PIL.Image.open(picture) as mine, PIL.Image.open(images(home, theirs)[name]) as other:
            assert (mine.format, mine.mode, mine.size) == (other.format, other.mode, other.size)
        assert picture.suffix != ".png" or picture.read_bytes() == png.read_bytes()


def interrupted(*arguments: object) -> None:
    raise InterruptedError


def images(home: Path, run: str) -> dict[str, Path]:
    """A run's pictures by what their names begin and end with; in between stand time and number."""
    number = r"\+timestamp\+\d{13}\+[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    files = list((home / "artifacts" / run / "artifacts/images").iterdir())
    found = {re.sub(number, "", file.name): file for file in files}
    assert len(found) == len(files)
    return found


@pytest.mark.parametrize("lifecycle", ["active", "deleted"])
def test_an_experiment_of_somebody_else_keeps_its_name_and_its_runs(home: Path, lifecycle: str):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    other = client.create_experiment("tiny")
    theirs = client.create_run(other, tags={"bench.kind": "trial", "bench.study": "tiny"})
    if lifecycle == "deleted":
        client.delete_experiment(other)
    said: list[str] = []
    tracking = Tracking(home, STUDY, said.append)
    name = f"tiny ({(home / 'id').read_text()[:6]})"
    assert said == [f"MLflow has an experiment tiny already: this one is {name}"]
    assert tracking.runs({}) == {}
    tracking.archive_study()
    assert client.get_run(theirs.info.run_id).data.tags["bench.kind"] == "trial"
    assert Tracking(home, STUDY, said.append).runs({}) == {}
    assert len(said) == 1 and name in experiments(home)


def test_an_experiment_that_was_renamed_is_found(tracking: Tracking, home: Path):
    run = tracking.start("m", {}, {})
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    client.rename_experiment(client.get_run(run).info.experiment_id, "mine")
    assert Tracking(home, STUDY).runs({}).keys() == {run}
    assert experiments(home).keys() == {"mine"}


# --- the database -------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database " * 500)
    with pytest.raises(BenchError, match=r"mlflow\.db"):
        Tracking(tmp_path, STUDY)
