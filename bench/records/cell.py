"""What is kept of a finished trial: a Cell per method, parameters and seed; and their frame."""

import hashlib
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bench.data.files import whole
from bench.data.roots import home
from bench.errors import BenchError, unknown
from bench.records.place import Place
from bench.records.speed import Speed
from bench.study.fields import Study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


LAST_UPDATES = 250
"""Over which a training's final losses are averaged, as in ResCNN-GAN's table I."""


class Score(NamedTuple):
    """One metric on one image. A value that cannot be computed is NaN."""

    dataset: str
    scale: int
    image: str
    metric: str
    protocol: str
    value: float
    why: str = ""
    """The reason for NaN."""
    note: str = ""
    """What a reader of the value must be told."""


class OnTheWay(NamedTuple):
    """An objective in the middle of the training of a method's last stage."""

    step: int
    """Updates made in that stage."""
    metric: str
    value: float
    """Mean over the images of the selection set and the scales that the method serves."""


class TrainedStage(BaseModel):
    """How a stage of a trial came about."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    name: str
    key: str
    steps: int
    parameters: int
    """Trainable numbers that the stage updated."""
    seconds: float
    """Spent training it, also when that was in another trial."""
    reused: bool
    """Taken from the store: trained earlier or by another trial."""
    curves: str = ""
    """In a trial's record: the run in MLflow that has its loss curves."""
    precision: str
    device: str
    updates: str = ""
    """How they were launched on a GPU: captured, or why not; "": one operation after the other."""
    scale: int = 0
    """That it was trained for; 0: it serves all scales of its method."""
    target: str = ""
    """Key of what it learned instead of the originals; "": of nothing."""
    pixels: list[str] = []
    """Keys of the decoded images that it was trained on."""
    losses: dict[str, float] = {}
    """Each loss that an optimizer minimised, mean of its last LAST_UPDATES values."""
    examined: dict[str, float | str] = {}
    """What the stage's own examination found."""
    snapshots: list[int] = []
    """Updates after which its weights were kept, the end apart."""


class UsedDataset(BaseModel):
    """A set that a trial was measured on."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    count: int
    official: int
    """Images in the whole set; count < official is a partial set."""
    source: str
    """Where LR comes from, such as "published LR_x2" or "bicubic"."""


class Cell(BaseModel):
    """The record of one trial under one seed, written once, when it has ended."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    study: str
    method: str
    """The study's name for it."""
    use: str
    """Dotted path of the class."""
    trial: int | None
    """Key of the trial among those of its method; None: a method without ranges."""
    seed: int
    attempt: int
    state: Literal["complete", "failed", "pruned"]
    reason: str = ""
    """Why it failed or was pruned; the first line tells, the rest is the traceback."""
    parameters: dict[str, Any]
    """All hyper-parameters of the method."""
    swept: dict[str, Any] = {}
    """Those of them that the sampler chose."""
    objectives: dict[str, float] = {}
    """Mean of each objective's metric over the selection set."""
    on_the_way: list[OnTheWay] = []
    """The same at the snapshots of the training; of trainings at several scales, one after the
    other."""
    scores: list[Score] = []
    unavailable: dict[str, str] = {}
    """Metric -> why it was not computed. Single images say so in their scores."""
    missing: dict[str, str] = {}
    """Dataset -> how to get it."""
    skipped: dict[str, str] = {}
    """Benchmark -> why the method was not measured on it."""
    ensemble: float = 0.0
    """Times as long as one pass that a picture took by the self-ensemble; 0: one pass it was."""
    datasets: dict[str, UsedDataset] = {}
    """Benchmark -> what was found there. A benchmark is named as `Study.key` does."""
    assessors: dict[str, str] = {}
    """Metric -> the exact name of the trained thing behind it, such as nima -> nima@photos."""
    examined: dict[str, dict[str, float | str]] = {}
    """That name -> what its examination found."""
    stages: list[TrainedStage] = []
    made: list[str] = []
    """Keys, in the store, of the pictures that a command has made."""
    efficiency: list[Speed] = []
    """What a picture costs, one for each scale; of the table's rows alone, under the first seed."""
    remarks: list[str] = []
    """What the method says a reader of its numbers must know."""
    fingerprint: str
    """Hash of all that determined this cell; another one today means that the cell is stale."""
    decided_by: dict[str, str] = {}
    """The parts of that, each by a hash, to name what has changed since."""
    kept: list[str] = []
    """What had changed since, when the user chose to keep the record as it is."""
    run_id: str = ""
    """Its run in MLflow; "" while MLflow does not answer."""
    replaces: str = ""
    """Run of the record that stood in its place before."""
    started: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    memory: int = 0
    """Most that the worker had resident, in bytes; 0: not measured."""
    environment: dict[str, str] = {}
    """git commit, dirty flag, versions, device."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_first_edition(cls, data: Any) -> Any:
        """Reads reasons and notes of single images that stood under "metric on dataset/image"."""
        if not isinstance(data, dict) or "notes" not in data:
            return data
        why, notes = data.get("unavailable", {}), data["notes"]
        scores = [
            (*s[:6], why.get(k, ""), notes.get(k, ""))
            for s in data.get("scores", [])
            for k in [f"{s[3]} on {s[0]}/{s[2]}"]
        ]
        whole = {k: v for k, v in data.get("unavailable", {}).items() if " on " not in k}
        return {k: v for k, v in data.items() if k != "notes"} | {
            "scores": scores,
            "unavailable": whole,
        }

    @property
    def label(self) -> str:
        """ "edsr_nima t003": the method, and the trial where there are several."""
        return self.method if self.trial is None else f"{self.method} t{self.trial:03d}"

    def exact(self, metric: str) -> str:
        """Returns a metric's name, or that of the home-made assessor behind it: nima@photos."""
        return self.assessors.get(metric, metric)

    @property
    def file_name(self) -> str:
        """ "edsr_nima-t003-s0": also the name of its folder of pictures."""
        return self.name_file(self.method, self.trial, self.seed)

    @staticmethod
    def name_file(method: str, trial: int | None, seed: int) -> str:
        """Returns the file name, without suffix, of the cell that a job will give."""
        middle = "" if trial is None else f"-t{trial:03d}"
        return f"{method}{middle}-s{seed}"


def label_of(dataset: str) -> str:
    """Returns what stands for a data set in names of files and of metrics.

    The set's name; of a folder its last part and a hash, so that two folders do not meet.

    >>> label_of("set5"), label_of("set5 x2"), label_of("set14[:5] x2"), label_of("/data/my photos")
    ('set5', 'set5_x2', 'set14-0-5_x2', 'my_photos-cf32f4')
    """
    if part := re.fullmatch(r"(\w+)(?:\[(\d*):(\d*)\])?(?: (x\d+))?", dataset):
        name, begin, end, scale = part.groups()
        name += "" if begin is None else f"-{begin or 0}-{end or 'end'}"
        return f"{name}_{scale}" if scale else name
    last = re.sub(r"[^\w-]", "_", Path(dataset).expanduser().absolute().name)
    name = dataset.encode(errors="surrogateescape")
    return f"{last}-{hashlib.blake2b(name, digest_size=3).hexdigest()}"


def at_scale(study: Study, cells: Iterable[Cell], scale: int) -> tuple[Study, list[Cell]]:
    """Returns a study of several scales, and its records, as if it had one of them alone."""
    if len(study.task.scales) == 1:
        return study, list(cells)
    keys = {study.key(name, scale): name for name in study.evaluate.datasets}
    one = study.model_copy(update={"task": study.task.at(scale)})
    return one, [
        cell.model_copy(
            update={
                "scores": [score for score in cell.scores if score.scale == scale],
                "stages": [stage for stage in cell.stages if stage.scale in (0, scale)],
                "datasets": {keys[k]: used for k, used in cell.datasets.items() if k in keys},
                "skipped": {keys[k]: why for k, why in cell.skipped.items() if k in keys},
            }
        )
        for cell in cells
    ]


def write_cell(folder: Path, cell: Cell) -> Path:
    """Writes the record so that it is there whole or not at all; returns its path."""
    path = folder / f"{cell.file_name}.json"
    with whole(path, sync=True) as file:
        file.write(cell.model_dump_json().encode())
    return path


def load_cells(folder: Path) -> list[Cell]:
    """Returns all cells in a folder, by method, trial and seed.

    Raises BenchError for broken files.
    """
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"{folder}: is no folder, and records belong there. Move it away.")
    cells, broken = [], []
    for path in folder.glob("*.json"):
        try:
            cells.append(Cell.model_validate_json(path.read_bytes()))
        except (ValueError, OSError) as error:
            broken.append(f"{path}: not a record of this version of bench ({_why(error)}).")
    if broken:
        more = [f"{len(broken) - 3} more records in {folder}"] if len(broken) > 3 else []
        advice = "Move that away and sweep again: finished stages are kept, and measured anew."
        raise BenchError("\n".join([*sorted(broken)[:3], *more, advice]))
    return sorted(cells, key=lambda c: (c.method, -1 if c.trial is None else c.trial, c.seed))


SCORE_COLUMNS = ("study", "method", "trial", "seed", *Score._fields[:6])
"""dataset, scale, image, metric, protocol and value at the end."""


def score_rows(cells: Iterable[Cell]) -> list[tuple[Any, ...]]:
    """Returns SCORE_COLUMNS of each image and metric; `trial` is -1 without ranges."""
    return [
        (c.study, c.method, -1 if c.trial is None else c.trial, c.seed, *score[:6])
        for c in cells
        for score in c.scores
    ]


def scores_frame(cells: list[Cell]) -> "pd.DataFrame":
    """Returns the tidy frame, one row for each image and metric, with the columns SCORE_COLUMNS."""
    import pandas as pd

    return pd.DataFrame(score_rows(cells), columns=SCORE_COLUMNS)


def load_records(name: str) -> tuple[Study, list[Cell], Path]:
    """Returns a swept study, its cells and the folder of its pictures.

    Raises BenchError with the known names if nothing of that name has been swept here.
    """
    place = Place(home(), name)
    if not (place.study_file.exists() or place.cells.is_dir()):
        known = [p.parent.name for p in (home() / "studies").glob("*/study.json")]
        raise BenchError(f"no records in {home()}: {unknown('study', name, known)} Sweep it first.")
    study = load_study_file(place)
    cells = [cell for cell in load_cells(place.cells) if belongs(study, cell)]
    return study, cells, place.pictures


def load_study_file(place: Place) -> Study:
    """Returns a study as it was last swept. Raises BenchError for a broken file."""
    try:
        return Study.model_validate_json(place.study_file.read_bytes())
    except (ValueError, OSError) as error:
        raise BenchError(
            f"{place.study_file}: not a study as this version of bench keeps it ({_why(error)}). "
            "Move it away and sweep the study's own file again, which writes it anew: the records "
            "are not touched."
        ) from None


def _why(error: ValueError | OSError) -> str:
    """Why a file cannot be read, short: "fingerprint: field required"."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg'].lower()}" if place else first["msg"]


def belongs(study: Study, cell: Cell) -> bool:
    """Whether a cell is of the study as it is now: of a method, seed and kind that it still has."""
    section = study.methods.get(cell.method)
    return (
        section is not None
        and cell.seed in study.budget.seeds
        and (cell.trial is not None) == section.swept
    )


def load_scores(name: str) -> "pd.DataFrame":
    """Returns the scores of a swept study: study, method, trial, seed, dataset, scale, image,
    metric, protocol, value; one row for each image and metric."""
    return scores_frame(load_records(name)[1])


def load_losses(key: str) -> "dict[str, NDArray[np.float32]]":
    """Returns each loss of a stored stage at each of its updates, `(steps,)`, by name; NaN where an
    update did not compute it, nothing for a stage of another version of bench or a broken file."""
    import numpy as np

    path = home() / "store" / "stages" / key / "losses.npz"
    if not zipfile.is_zipfile(path):  # nor is one that is not there
        return {}
    with np.load(path) as file:
        return dict(file)


def best_cells(study: Study, cells: list[Cell]) -> dict[str, Cell]:
    """Returns the cell that is best in each objective."""
    best = {}
    for name in study.select.objectives if study.select else ():
        able = [cell for cell in cells if name in cell.objectives]
        pick = max if study.select and name in study.select.maximize else min
        if able:
            best[name] = pick(able, key=lambda cell: cell.objectives[name])
    return best
