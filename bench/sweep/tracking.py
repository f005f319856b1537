"""The only door to MLflow. One process writes; a run is the record of one trial's attempt."""

import contextlib
import json
import logging
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from bench.errors import BenchError
from bench.records.cell import Cell
from bench.study.fields import Study
from bench.sweep.address import Address, innermost, tracking_address, without_password
from bench.sweep.home import FORMER, artifacts_uri, follow_home, home_id, trial_runs
from bench.sweep.logged import begun, ended_as, means, name_of, tags, write_files
from bench.sweep.view import experiment_tags, page

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # a server that is gone must not stop the sweep: by default each call tries for four minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow.entities import (  # noqa: E402 - after the switches above
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.artifact.artifact_repository_registry import (  # noqa: E402
    get_artifact_repository,
)
from mlflow.tracking import MlflowClient  # noqa: E402
from mlflow.utils.search_utils import SearchUtils  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.WARNING)  # no lines about making its tables
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # errors are raised, too
ERRORS = (MlflowException, SQLAlchemyError, OSError)
"""What MLflow raises when it, its database or its server fails; OSError also for connections."""
Points = Sequence[tuple[int, Mapping[str, float]]]
BATCH = 900  # numbers in one transaction; MLflow takes 1,000 things with the tags


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow answers and will not have this one thing, such as a run that was deleted."""
    refusals = (
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_DOES_NOT_EXIST",
    )
    return isinstance(error, MlflowException) and error.error_code in refusals


class State(NamedTuple):
    """What MLflow says of a trial's run."""

    status: str
    deleted: bool
    """By a person, on MLflow's page; it can be restored."""


class Tracking:
    """The experiment of one study: a run of its own, and one for each attempt at a trial."""

    def __init__(self, home: Path, study: Study, note: Callable[[str], None] = print) -> None:
        """Raises BenchError if MLflow cannot be reached, or has a database of another version."""
        home.mkdir(parents=True, exist_ok=True)
        self._home, self._study, self._note = home, study, note
        self._run = ""
        self._blank: dict[str, Run] = {}
        """Runs that were made here and in which no result has been logged."""
        self.address = tracking_address(home)
        self._client = _client(self.address, home, note)
        with _opening(self.address), self.address.alone():
            self._experiment = self._take_experiment()
            if self.address.file == home / "mlflow.db":
                self._leave_former_runs()

    @property
    def open(self) -> bool:
        """Whether the study's run is open."""
        return bool(self._run)

    # --- the study ------------------------------------------------------------------------------

    def _take_experiment(self) -> str:
        """Returns the id of the study's experiment: restored if it was deleted, else made."""
        found = _experiments(self._client, self._home, self._study.name)
        if not found:
            return self._create_experiment()
        (experiment, *_) = found
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
            self._note(f"MLflow: the experiment {experiment.name} had been deleted: restored")
        return str(experiment.experiment_id)

    def _create_experiment(self) -> str:
        name, mine = self._study.name, home_id(self._home)
        if self._client.get_experiment_by_name(name):  # of somebody else, or of another home
            name = f"{name} ({mine[:6]})"
            self._note(f"MLflow has an experiment {self._study.name} already: this one is {name}")
        location = None if self.address.of_a_server else artifacts_uri(self._home)
        created = experiment_tags(self._study, (), (), _now()) | {"bench.home": mine}
        return str(self._client.create_experiment(name, location, created))

    def _leave_former_runs(self) -> None:
        """Takes the runs that earlier versions kept in one experiment out of what a study has."""
        former = self._client.get_experiment_by_name(FORMER)
        if former is not None and former.lifecycle_stage == "active":
            self._put_aside("superseded", former.experiment_id)

    def open_study(self, yaml: str, tags: Mapping[str, str]) -> None:
        """Takes or makes the study's run and sets it RUNNING. It is open when all is done."""
        self._experiment = self._take_experiment()
        run = self._take_run()
        own = {**tags, "bench.kind": "study", "bench.study": self._study.name}
        own["mlflow.note.content"] = self._study.header
        try:
            self._client.update_run(run, status="RUNNING")
            self._client.log_batch(run, tags=[RunTag(*tag) for tag in own.items()])
            with _storing():
                self._client.log_text(run, yaml, "study.yaml")
        except BaseException:
            with contextlib.suppress(*ERRORS):  # what went wrong first is what counts
                self._client.set_terminated(run, "KILLED")
            raise
        self._run = run

    def _take_run(self) -> str:
        found = self._search("study", view=ViewType.ALL)
        if not found:
            own = {"bench.kind": "study", "bench.study": self._study.name}
            name = self._study.name
            return str(
                self._client.create_run(self._experiment, tags=own, run_name=name).info.run_id
            )
        info = found[0].info
        if info.lifecycle_stage == "deleted":
            self._client.restore_run(info.run_id)
            self._note("MLflow: the study's run had been deleted: restored")
        return str(info.run_id)

    def close_study(
        self,
        status: str,
        summary: Mapping[str, float],
        cells: Sequence[Cell],
        report: Mapping[str, Path],
    ) -> None:
        """Ends the study's run. cells: its records. report: its files, by their place in it."""
        shown = experiment_tags(self._study, cells, self._picture_keys(cells), _now())
        for name, value in shown.items():
            self._client.set_experiment_tag(self._experiment, name, value)
        if measured := next((cell for cell in cells if cell.datasets), None):
            self._log_datasets(measured)
        self.history(self._run, [(0, summary)])
        with _storing():
            for name, file in report.items():
                folder = f"{PurePath('report', name).parent}"
                self._client.log_artifact(self._run, str(file), folder)
        self._client.set_terminated(self._run, status)

    def _picture_keys(self, cells: Sequence[Cell]) -> list[str]:
        """Returns the keys of a run's sample pictures, from the names of their files."""
        run = next((cell.run_id for cell in cells if cell.run_id and cell.datasets), "")
        if not run:
            return []
        with _storing():
            files = [Path(file.path).name for file in self._client.list_artifacts(run, "images")]
        keys = {name.partition("+step+")[0] for name in files if name.endswith(".webp")}
        return sorted(key.replace("~", "/") for key in keys)

    def _log_datasets(self, cell: Cell) -> None:
        inputs = [
            DatasetInput(
                Dataset(name, used.fingerprint[:36], "bench", json.dumps({"lr": used.source})),
                [InputTag("mlflow.data.context", "eval")],
            )
            for name, used in cell.datasets.items()
        ]
        self._client.log_inputs(self._run, datasets=inputs)

    def archive_study(self) -> None:
        """Takes the study's runs out of what later sweeps see; they stay in MLflow."""
        self._put_aside("archived", self._experiment)

    def _put_aside(self, word: str, experiment: str) -> None:
        for kind in ("study", "trial"):
            for run in self._search(kind, experiment=experiment):
                if run.info.status == "RUNNING":  # a killed driver left it
                    self.kill(run.info.run_id, "driver lost")
                self._client.set_tag(run.info.run_id, "bench.kind", f"{word} {kind}")

    # --- each trial -----------------------------------------------------------------------------

    def start(
        self,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        began: int | None = None,
    ) -> str:
        """Makes the run of an attempt, RUNNING; returns its id. began: ms since 1970, else now."""
        all_tags = {**tags, "bench.kind": "trial", "bench.study": self._study.name}
        run = self._client.create_run(self._experiment, began, all_tags, run_name=name)
        params = [Param(key, str(value)[:6000]) for key, value in parameters.items()]
        for begin in range(0, len(params), 100):
            self._client.log_batch(run.info.run_id, params=params[begin : begin + 100])
        self._blank[run.info.run_id] = run
        return str(run.info.run_id)

    def history(self, run: str, points: Points, tags: Mapping[str, str] | None = None) -> None:
        """Logs curves: at each step, metrics by name. What is not finite is left out.

        tags: of the run; they go with the last of the points, in one transaction.
        """
        now = _now()
        metrics = [
            Metric(name_of(name), float(value), now, step)
            for step, values in points
            for name, value in values.items()
            if math.isfinite(value)
        ]
        *full, last = [metrics[at : at + BATCH] for at in range(0, len(metrics), BATCH)] or [[]]
        for batch in full:
            self._client.log_batch(run, metrics=batch)
        if last or tags:
            more = [RunTag(*tag) for tag in (tags or {}).items()]
            self._client.log_batch(run, metrics=last, tags=more)

    def finish(
        self,
        cell: Cell,
        points: Points,
        weights: Sequence[Path] = (),
        pictures: Mapping[str, Path] | None = None,
    ) -> str:
        """Logs a cell's curves and results and ends its run. Safe to repeat after a kill.

        weights: a file for each of the cell's stages; they are named, not copied. pictures: sample
        pictures by name, such as "set5/baby". Returns the run's status.
        """
        run, pictures = cell.run_id, pictures or {}
        known = self._blank.pop(run, None) or self._client.get_run(run)
        if known.info.status != "RUNNING":
            return str(known.info.status)
        self._log_files(known, cell, weights, pictures)
        curves = self._not_logged(run, points, set(known.data.metrics))
        new = {k: v for k, v in means(cell).items() if name_of(k) not in known.data.metrics}
        self.history(run, [*curves, (0, new)], tags(cell, weights, pictures))
        self._supersede(cell.replaces)
        began = begun(cell)
        ended = began and began + round(1000 * cell.seconds)
        self._client.set_terminated(run, ended_as(cell), ended)
        return ended_as(cell)

    def _log_files(
        self, run: Run, cell: Cell, weights: Sequence[Path], pictures: Mapping[str, Path]
    ) -> None:
        """Logs all files of a run at once, without asking MLflow what is there."""
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), run.info.start_time, cell, weights, pictures)
            where, server = run.info.artifact_uri, self._client.tracking_uri
            with _storing():
                store = get_artifact_repository(where, tracking_uri=server)
                store.log_artifacts(folder)  # type: ignore[no-untyped-call]

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
        names = {name_of(name) for _, values in points for name in values} & known
        last = {
            name: max(m.step for m in self._client.get_metric_history(run, name)) for name in names
        }
        return [
            (step, {n: v for n, v in values.items() if step > last.get(name_of(n), -1)})
            for step, values in points
        ]

    def kill(self, run: str, reason: str) -> None:
        """Ends a run that has no result."""
        self._blank.pop(run, None)
        lost = [RunTag("bench.reason", reason), RunTag("bench.state", "lost")]
        self._client.log_batch(run, tags=lost)
        self._client.set_terminated(run, "KILLED")

    def runs(self, ended: Mapping[str, str]) -> dict[str, State]:
        """Returns this study's trial runs by id, deleted ones too.

        ended: those that records name, and the status of each if it is as it was left. A server may
        answer with these and with those that are not so, for that is quick.
        """
        if not self.address.of_a_server:
            found = trial_runs(self.address, self._experiment)
            return {run: State(status, stage == "deleted") for run, status, stage in found}
        odd = [
            *self._search("trial", status="RUNNING"),
            *self._search("trial", view=ViewType.DELETED_ONLY),
        ]
        others = {run: State(status, False) for run, status in ended.items()}
        for run in odd:
            others.pop(run.info.run_id, None)
        if self._there_are(Counter(state.status for state in others.values())):
            return others | _states(odd)
        return _states(self._search("trial", view=ViewType.ALL))

    def _there_are(self, counts: Mapping[str, int]) -> bool:
        """Whether a server has as many runs of each status: asks for the last of them alone.

        All of 10,000 runs took 70 s, for it sends whatever each has logged; this takes 0.3 s.
        """
        try:
            return all(
                self._client.search_runs(
                    [self._experiment],
                    self._query("trial", status),
                    max_results=1,
                    page_token=SearchUtils.create_page_token(n - 1),  # type: ignore[no-untyped-call]
                )
                for status, n in counts.items()
            )
        except MlflowException as error:
            if not is_refusal(error):
                raise
            return False  # its pages begin otherwise

    def restore(self, run: str) -> None:
        """Takes back a run that was deleted."""
        self._client.restore_run(run)

    def _query(self, kind: str, status: str = "") -> str:
        query = f"tags.`bench.study` = '{self._study.name}' and tags.`bench.kind` = '{kind}'"
        return query + (f" and attributes.status = '{status}'" if status else "")

    def _search(
        self,
        kind: str,
        experiment: str = "",
        view: int = ViewType.ACTIVE_ONLY,
        status: str = "",
    ) -> list[Run]:
        query = self._query(kind, status)
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [experiment or self._experiment], query, view, page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs


def pages(home: Path, note: Callable[[str], None]) -> dict[str, str]:
    """Returns where MLflow's page shows each study of a home: what stands after its address."""
    address = tracking_address(home)
    client = _client(address, home, note)
    with _opening(address):
        return {e.tags["bench.study"]: page(e.experiment_id) for e in _experiments(client, home)}


def _client(address: Address, home: Path, note: Callable[[str], None]) -> MlflowClient:
    address.check()
    url = address.text
    if address.of_a_server:
        url, user, password = without_password(address)
        if user:  # MLflow prints its address in every error, and takes these from here
            os.environ["MLFLOW_TRACKING_USERNAME"] = user
            os.environ["MLFLOW_TRACKING_PASSWORD"] = password
    with _opening(address), address.alone():
        if before := follow_home(address, home):
            note(f"{home}: moved here from {before}; MLflow now has its files here")
        return MlflowClient(tracking_uri=url)


@contextlib.contextmanager
def _opening(address: Address) -> Iterator[None]:
    """Raises BenchError where MLflow fails at the first words."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        if not isinstance(error, MlflowException) and "database" not in str(error):
            raise
        line = address.redact(str(error).splitlines()[0])
        upgrade = (
            "If the database is of another MLflow version, back it up and run `mlflow db upgrade"
        )
        raise BenchError(
            f"MLflow cannot open {address.shown}: {line}"
            + ("" if address.of_a_server else f" {upgrade} {address.shown}`.")
        ) from None


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """Makes what an artifact store raises MLflow's: each cloud's package has errors of its own."""
    try:
        yield
    except ERRORS:
        raise
    except Exception as error:
        raise MlflowException(f"its artifact store: {innermost(error)}") from error


def _experiments(client: MlflowClient, home: Path, study: str = "") -> list[Experiment]:
    """Returns the experiments of a home, deleted ones too; of one study if it is named."""
    query = f"tags.`bench.home` = '{home_id(home)}'"
    query += f" and tags.`bench.study` = '{study}'" if study else ""
    found: list[Experiment] = []
    token = None
    while True:
        page = client.search_experiments(ViewType.ALL, filter_string=query, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _states(runs: Iterable[Run]) -> dict[str, State]:
    return {
        run.info.run_id: State(run.info.status, run.info.lifecycle_stage == "deleted")
        for run in runs
    }


def _now() -> int:
    return int(time.time() * 1000)
