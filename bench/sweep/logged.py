"""What MLflow is told of a cell: its numbers and tags by name, its tables and its pictures."""

import json
import math
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageOps

from bench.measure.protocol import PROTOCOLS
from bench.records.cell import Cell, label_of
from bench.records.place import Place
from bench.study.fields import Study

INFINITE_PSNR = 100.0  # MLflow turns inf into 1.8e308; the records keep inf
THUMBNAIL = 256  # the longer side of what MLflow's page shows of a picture


def name_of(name: str) -> str:
    """MLflow allows letters, digits and / _ - . : and blanks in a metric's name."""
    return re.sub(r"[^\w/.:\- ]", "_", name)


def means(cell: Cell) -> dict[str, float]:
    """A cell's numbers by the names that they have in MLflow: objectives, then each set's."""
    found = {f"objective/{cell.exact(name)}": v for name, v in cell.objectives.items()}
    groups: dict[tuple[str, str, str], list[float]] = {}
    for score in cell.scores:
        group = (score.dataset, score.metric, score.protocol)
        groups.setdefault(group, []).append(score.value)
    for (dataset, metric, protocol), values in groups.items():
        found[_score(dataset, cell.exact(metric))] = PROTOCOLS[protocol].pool(metric, values)
    capped = {name_of(k): INFINITE_PSNR if v == math.inf else v for k, v in found.items()}
    return {**capped, "seconds": cell.seconds}


def _score(dataset: str, metric: str) -> str:
    return f"{label_of(dataset)}/{metric}"


def score_names(study: Study, cells: Iterable[Cell]) -> list[str]:
    """Returns the metrics in MLflow that are the table's columns, in the table's order."""
    exact = {m: name for cell in cells for m, name in cell.assessors.items()}
    return [
        name_of(_score(dataset, exact.get(metric, metric)))
        for dataset in study.benchmark_keys()
        for metric in study.evaluate.metrics
    ]


def per_image(cell: Cell) -> dict[str, Any]:
    """The table that MLflow shows: columns and rows."""
    columns = ["dataset", "scale", "image", "metric", "protocol", "value"]
    rows = [[*s[:5], s.value if math.isfinite(s.value) else str(s.value)] for s in cell.scores]
    return {"columns": columns, "data": rows}


def model(cell: Cell, weights: Sequence[Path]) -> dict[str, Any]:
    """What rebuilds a cell's method: class, parameters, and where each stage's weights lie.

    weights: a file for each of the cell's stages.
    """
    found = cell.model_dump(mode="json", include={"use", "parameters", "stages", "environment"})
    for stage, file in zip(found["stages"], weights, strict=False):
        stage["path"] = str(file)
        stage["bytes"] = file.stat().st_size if file.exists() else None
    return found


def tags(cell: Cell, weights: Sequence[Path], samples: Mapping[str, Path]) -> dict[str, str]:
    """A finished cell's tags. samples: its sample pictures by name."""
    found = {"bench.state": cell.state, "bench.fingerprint": cell.fingerprint}
    # the UI then shows the file as a table
    found["mlflow.loggedArtifacts"] = json.dumps([{"path": "per_image.json", "type": "table"}])
    found |= {f"bench.{key}": value for key, value in cell.environment.items()}
    found |= {"mlflow.source.git.commit": cell.environment.get("commit", "unknown")}
    for name, used in cell.datasets.items():
        found[f"bench.dataset.{label_of(name)}"] = used.fingerprint
    for stage in cell.stages:
        found[name_of(f"bench.stage.{stage.name}")] = stage.key
        if stage.curves not in ("", cell.run_id):
            found[name_of(f"bench.curves.{stage.name}")] = stage.curves
    if weights:
        found["bench.weights"] = str(weights[-1])
    if samples:
        found["mlflow.loggedImages"] = "True"  # the UI then looks for them
    if cell.reason:
        found["bench.reason"] = cell.reason.splitlines()[0][:500]
    return found


def write_files(
    folder: Path, begun: int, cell: Cell, weights: Sequence[Path], samples: Mapping[str, Path]
) -> None:
    """Writes what is to lie among the artifacts of a cell's run into an empty folder.

    begun: of the run, in ms since 1970. The names depend on the run alone, so files that are logged
    again after a kill take the place of the first ones.
    """
    (folder / "model").mkdir()
    for name, text in (
        ("model/config.json", json.dumps(model(cell, weights), indent=2)),
        ("per_image.json", json.dumps(per_image(cell))),
        ("reason.txt", cell.reason),
    ):
        if text:
            (folder / name).write_text(text, encoding="utf-8")
    if samples:
        (folder / "images").mkdir()
    for name, file in samples.items():
        key = re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", name)
        number = uuid.uuid5(uuid.NAMESPACE_URL, f"{cell.run_id}/{key}")
        stem = f"{key.replace('/', '~')}+step+0+timestamp+{begun}+{number}"
        _write_picture(file, folder / "images" / stem)


def _write_picture(png: Path, stem: Path) -> None:
    """Writes a picture and a thumbnail of it as MLflow's `log_image` does, which would decode and
    encode the picture itself as well."""
    shutil.copyfile(png, f"{stem}.png")
    with PIL.Image.open(png) as picture:
        small = PIL.ImageOps.contain(picture, (THUMBNAIL, THUMBNAIL))
    small.save(f"{stem}+compressed.webp")


def pictures(place: Place, cell: Cell) -> dict[str, Path]:
    """Returns a cell's sample pictures by name, such as "set5/baby".

    They wait in the study's folder until its run is finished; those of a run that is gone from
    MLflow still lie among its artifacts.
    """
    waiting = place.samples / cell.file_name
    if waiting.is_dir():
        return _named(waiting)
    left = place.home / "artifacts" / (cell.replaces or "none") / "artifacts"
    return _named(left / "strips") | {
        file.name.partition("+step+")[0].replace("~", "/"): file
        for file in sorted((left / "images").glob("*+step+*.png"))
    }


def _named(folder: Path) -> dict[str, Path]:
    files = sorted(folder.glob("*/*.png"))
    return {f"{file.parent.name}/{file.stem}": file for file in files}


def ended_as(cell: Cell) -> str:
    """Returns how a cell's run ends. MLflow has no word for a trial that was pruned."""
    return "FAILED" if cell.state == "failed" else "FINISHED"


def begun(cell: Cell) -> int | None:
    """Returns when a cell's trial began, in ms since 1970; None for a record that does not say."""
    return round(datetime.fromisoformat(cell.started).timestamp() * 1000) if cell.started else None
