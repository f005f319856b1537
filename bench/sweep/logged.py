"""What MLflow is told of a cell: its numbers and tags by name, its tables and its pictures."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.measure.protocol import PROTOCOLS
from bench.records.cell import Cell, label_of
from bench.records.place import Place
from bench.study.fields import Study

INFINITE_PSNR = 100.0  # MLflow turns inf into 1.8e308; the records keep inf


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


def tags(cell: Cell, weights: Sequence[Path]) -> dict[str, str]:
    """A finished cell's tags."""
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
    if cell.reason:
        found["bench.reason"] = cell.reason.splitlines()[0][:500]
    return found


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
