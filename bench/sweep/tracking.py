"""The only door to MLflow. One process writes; a run is the record of one trial's attempt."""

import contextlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.measure.protocol import PROTOCOLS
from bench.records.cell import Cell, label_of
from bench.study.fields import Study

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    # a server that is gone must not stop the sweep: by default each call tries for four minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow.entities import (  # noqa: E402 - after the switches above
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.WARNING)  # no lines about making its tables
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # errors are raised, too
EXPERIMENT = "bench"
ERRORS = (MlflowException, SQLAlchemyError, OSError)
"""What MLflow raises when it, its database or its server fails; OSError also for connections."""
Points = Sequence[tuple[int, Mapping[str, float]]]
INFINITE_PSNR = 100.0  # MLflow turns inf into 1.8e308; the records keep inf


def tracking_uri(home: Path) -> str:
    """Returns $MLFLOW_TRACKING_URI, else the SQLite file in `home`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow answers and will not have this one thing, such as a run that was deleted."""
    refusals = (
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_DOES_NOT_EXIST",
    )
    return isinstance(error, MlflowException) and error.error_code in refusals


class Tracking:
    """The runs of one study: a parent, and below it one run for each attempt at a trial."""

    def __init__(self, home: Path, study: Study) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._study = study
        uri = tracking_uri(home)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = (
                found.experiment_id
                if found
                else self._client.create_experiment(
                    EXPERIMENT, artifact_location=(home / "artifacts").as_uri()
                )
            )
        except Exception as error:
            if not isinstance(error, MlflowException) and "database" not in str(error):
                raise
            raise BenchError(
                f"MLflow cannot open {uri}: {str(error).splitlines()[0]} If the database is of "
                f"another MLflow version, back it up and run `mlflow db upgrade {uri}`."
            ) from None
        self._parent = ""

    @property
    def open(self) -> bool:
        """Whether the study's run is open."""
        return bool(self._parent)

    def open_study(self, yaml: str, tags: Mapping[str, str]) -> None:
        """Takes or makes the parent run and sets it RUNNING. It is open when all is done."""
        tags = {**tags, "bench.kind": "study", "bench.study": self._study.name}
        parents = self._search("study")
        parent = parents[0].info.run_id if parents else self._create_parent(tags)
        try:
            self._client.update_run(parent, status="RUNNING")
            for key, value in tags.items():
                self._client.set_tag(parent, key, value)
            self._client.log_text(parent, yaml, "study.yaml")
        except BaseException:
            with contextlib.suppress(*ERRORS):  # what went wrong first is what counts
                self._client.set_terminated(parent, "KILLED")
            raise
        self._parent = parent

    def _create_parent(self, tags: Mapping[str, str]) -> str:
        tags = {**tags, "mlflow.note.content": self._study.header}
        run = self._client.create_run(self._experiment, tags=tags, run_name=self._study.name)
        return str(run.info.run_id)

    def close_study(
        self, status: str, summary: Mapping[str, float], measured: Cell | None, folder: Path | None
    ) -> None:
        """Ends the parent run. measured: a cell that names the sets that the study is measured on.
        folder: holds the report."""
        if measured is not None:
            self._log_datasets(measured)
        self._log(self._parent, summary, step=0)
        if folder is not None and folder.is_dir():
            self._client.log_artifacts(self._parent, str(folder), "report")
        self._client.set_terminated(self._parent, status)

    def _log_datasets(self, cell: Cell) -> None:
        inputs = [
            DatasetInput(
                Dataset(name, used.fingerprint[:36], "bench", json.dumps({"lr": used.source})),
                [InputTag("mlflow.data.context", "eval")],
            )
            for name, used in cell.datasets.items()
        ]
        self._client.log_inputs(self._parent, datasets=inputs)

    def start(self, name: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Makes the run of an attempt, RUNNING; returns its id."""
        all_tags = {
            **tags,
            "bench.kind": "trial",
            "bench.study": self._study.name,
            "mlflow.parentRunId": self._parent,
        }
        run = self._client.create_run(self._experiment, tags=all_tags, run_name=name)
        params = [Param(key, str(value)[:6000]) for key, value in parameters.items()]
        for begin in range(0, len(params), 100):
            self._client.log_batch(run.info.run_id, params=params[begin : begin + 100])
        return str(run.info.run_id)

    def history(self, run: str, points: Points) -> None:
        """Logs curves: at each step, metrics by name."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(_name_of(name), _finite(value), now, step)
            for step, values in points
            for name, value in values.items()
            if not math.isnan(value)  # MLflow would show it as a value; the record says why
        ]
        for begin in range(0, len(metrics), 1000):
            self._client.log_batch(run, metrics=metrics[begin : begin + 1000])

    def finish(
        self,
        cell: Cell,
        points: Points,
        weights: Sequence[Path] = (),
        samples: Path | None = None,
    ) -> str:
        """Logs a cell's curves and results and ends its run. Safe to repeat after a kill.

        weights: a file for each of the cell's stages; they are named, not copied. samples: a folder
        of sample pictures. Returns the run's status.
        """
        run = cell.run_id
        known = self._client.get_run(run)
        if known.info.status != "RUNNING":
            return str(known.info.status)
        self.history(run, self._not_logged(run, points, set(known.data.metrics)))
        means = _means(cell)
        self._log(run, {k: v for k, v in means.items() if _name_of(k) not in known.data.metrics})
        self._client.log_dict(run, _per_image(cell), "per_image.json")
        self._client.log_dict(run, _model(cell, weights), "model/config.json")
        if samples is not None and samples.is_dir():
            self._client.log_artifacts(run, str(samples), "strips")
        if cell.reason:
            self._client.log_text(run, cell.reason, "reason.txt")
        tags = [RunTag(name, text) for name, text in _tags(cell, weights).items()]
        self._client.log_batch(run, tags=tags)
        self._supersede(cell.replaces)
        ended = "FAILED" if cell.state == "failed" else "FINISHED"  # MLflow has no PRUNED
        self._client.set_terminated(run, ended)
        return ended

    def _supersede(self, run: str) -> None:
        """Takes a run whose trial has been measured anew out of what a study's runs are."""
        try:
            if run:
                self._client.set_tag(run, "bench.kind", "superseded trial")
        except MlflowException as error:
            if not is_refusal(error):  # else a person has deleted it
                raise

    def _not_logged(self, run: str, points: Points, known: set[str]) -> Points:
        """Drops what a killed driver had logged: MLflow appends a step that is logged again."""
        names = {_name_of(name) for _, values in points for name in values} & known
        last = {
            name: max(m.step for m in self._client.get_metric_history(run, name)) for name in names
        }
        return [
            (step, {n: v for n, v in values.items() if step > last.get(_name_of(n), -1)})
            for step, values in points
        ]

    def archive_study(self) -> None:
        """Takes the study's runs out of what later sweeps see; they stay in MLflow."""
        for kind in ("study", "trial"):
            for run in self._search(kind):
                if run.info.status == "RUNNING":  # a killed driver left it
                    self.kill(run.info.run_id, "driver lost")
                self._client.set_tag(run.info.run_id, "bench.kind", f"archived {kind}")

    def kill(self, run: str, reason: str) -> None:
        """Ends a run that has no result."""
        self._client.set_tag(run, "bench.reason", reason)
        self._client.set_tag(run, "bench.state", "lost")
        self._client.set_terminated(run, "KILLED")

    def running(self) -> list[str]:
        """Returns the ids of this study's trial runs that are RUNNING."""
        return [r.info.run_id for r in self._search("trial", "attributes.status = 'RUNNING'")]

    def _search(self, kind: str, also: str = "") -> list[Run]:
        query = f"tags.`bench.study` = '{self._study.name}' and tags.`bench.kind` = '{kind}'"
        query += f" and {also}" if also else ""
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], query, page_token=token)
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _log(self, run: str, values: Mapping[str, float], step: int = 0) -> None:
        self.history(run, [(step, values)])


def _name_of(name: str) -> str:
    """MLflow allows letters, digits and / _ - . : and blanks in a metric's name."""
    return re.sub(r"[^\w/.:\- ]", "_", name)


def _finite(value: float) -> float:
    return INFINITE_PSNR if value == math.inf else float(value)


def _per_image(cell: Cell) -> dict[str, Any]:
    """The table that MLflow shows: columns and rows."""
    columns = ["dataset", "scale", "image", "metric", "protocol", "value"]
    rows = [[*s[:5], s.value if math.isfinite(s.value) else str(s.value)] for s in cell.scores]
    return {"columns": columns, "data": rows}


def _means(cell: Cell) -> dict[str, float]:
    """A cell's numbers by the names that they have in MLflow: objectives, then each set's."""
    means = {f"objective/{cell.exact(name)}": v for name, v in cell.objectives.items()}
    groups: dict[tuple[str, str, str], list[float]] = {}
    for score in cell.scores:
        group = (score.dataset, score.metric, score.protocol)
        groups.setdefault(group, []).append(score.value)
    for (dataset, metric, protocol), values in groups.items():
        name = f"{label_of(dataset)}/{cell.exact(metric)}"
        means[name] = PROTOCOLS[protocol].pool(metric, values)
    return {**means, "seconds": cell.seconds}


def _model(cell: Cell, weights: Sequence[Path]) -> dict[str, Any]:
    """What rebuilds a cell's method: class, parameters, and where each stage's weights lie."""
    model = cell.model_dump(mode="json", include={"use", "parameters", "stages", "environment"})
    for stage, file in zip(model["stages"], weights, strict=False):
        stage["path"] = str(file)
        stage["bytes"] = file.stat().st_size if file.exists() else None
    return model


def _tags(cell: Cell, weights: Sequence[Path]) -> dict[str, str]:
    tags = {"bench.state": cell.state, "bench.fingerprint": cell.fingerprint}
    # the UI then shows the file as a table
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "per_image.json", "type": "table"}])
    tags |= {f"bench.{key}": value for key, value in cell.environment.items()}
    tags |= {"mlflow.source.git.commit": cell.environment.get("commit", "unknown")}
    for name, used in cell.datasets.items():
        tags[f"bench.dataset.{label_of(name)}"] = used.fingerprint
    for stage in cell.stages:
        tags[_name_of(f"bench.stage.{stage.name}")] = stage.key
        if stage.curves not in ("", cell.run_id):
            tags[_name_of(f"bench.curves.{stage.name}")] = stage.curves
    if weights:
        tags["bench.weights"] = str(weights[-1])
    if cell.reason:
        tags["bench.reason"] = cell.reason.splitlines()[0][:500]
    return tags
