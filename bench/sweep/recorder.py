"""The recorder: takes up what is recorded, writes what a sweep learns, completes what was cut off.

Order of writing: the cell's record, then Optuna, then, while the next trials train, MLflow. So
whatever instant the process is killed at, the next start can complete what is missing from the
record, and no trial is lost or counted twice. Optuna comes before MLflow because what it is told
decides the next trial, and what MLflow is told decides nothing.
"""

import shutil
from collections import deque
from collections.abc import Callable, Collection, Container, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.data.files import whole
from bench.errors import BenchError
from bench.records.cell import (
    Cell,
    belongs,
    best_cells,
    load_cells,
    load_study_file,
    write_cell,
)
from bench.records.place import Place
from bench.records.store import Store, content_key
from bench.study.fields import Study
from bench.sweep.identity import (
    SETTINGS,
    Deciding,
    changes,
    environment,
    lost_stages,
    refusal,
    retrains,
)
from bench.sweep.job import Job
from bench.sweep.logged import begun, ended_as, pictures
from bench.sweep.outage import Outage, needed
from bench.sweep.owner import another_study
from bench.sweep.rows import seeds_of
from bench.sweep.sampler import Sampler
from bench.sweep.tracking import Points, Tracking
from bench.sweep.trial import REPORTS
from bench.train.stages import stage_history


class Recorder:
    """What is known of a study's trials: the only writer of records and of both databases."""

    def __init__(self, study: Study, place: Place, note: Callable[[str], None]) -> None:
        self.study = study
        self.place = place
        self.note = note
        self.store = Store(place.home / "store")
        self.tracking = Tracking(place.home, study, note)
        self.outage = Outage(note, self.tracking.address.redact)
        self._yaml = ""
        self.samplers = {
            name: Sampler(place.home, study, name)
            for name, section in study.methods.items()
            if section.ranges
        }
        self.cells: dict[str, Cell] = {}
        self.recorded: dict[str, set[int | None]] = {name: set() for name in study.methods}
        """Trials of each method that have records."""
        self.deciding = Deciding(study)
        self.seeds = {name: seeds_of(study, name) for name in study.methods}
        self.keeps = False
        """Whether recorded trials stay as they are, whatever has become of what made them."""
        self.again: list[Cell] = []
        """Failed before, and to be tried again."""
        self.curves: dict[str, str] = {}
        """Stage's key -> the run that has its loss curves."""
        self._unfinished: deque[tuple[Cell, Points]] = deque()
        """Recorded, with what a pruner was told; their runs are still open."""

    def current(self) -> list[Cell]:
        """Returns the cells that belong to the study as it is now."""
        return [cell for cell in self.cells.values() if belongs(self.study, cell)]

    def changes(self, cell: Cell) -> list[str]:
        """Returns what decides a cell today and has changed since it was recorded."""
        return changes(cell, self.deciding.parts(cell.method, cell.swept, cell.seed))

    # --- before the first trial -----------------------------------------------------------------

    def forget(self) -> None:
        """Puts the records aside and starts the search anew.

        The records go first: a new trial must never be completed by an old one's.
        """
        if self.place.cells.is_dir():
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
            self.place.cells.rename(self.place.root / f"cells-{stamp}")
        self.keep_pictures(())
        shutil.rmtree(self.place.samples, ignore_errors=True)
        with needed(self.tracking.address.redact):
            self.tracking.archive_study()
        for sampler in self.samplers.values():
            sampler.delete()

    def claim(self, keep: bool = False, retry_failed: bool = False) -> None:
        """Takes up what is recorded. Raises BenchError if it cannot stand beside new trials.

        keep: what other code, data or settings have trained is kept as it is, and marked.
        retry_failed: what failed is forgotten, so that it is tried again.
        """
        found = load_cells(self.place.cells)
        if found and not keep:
            self._refuse_another_study()
        self.keeps = keep
        for cell in found:
            if cell.method in self.study.methods:
                self.cells[cell.file_name] = cell
        self._claim_curves()
        stale = {
            cell.file_name: why
            for cell in self.current()
            if (why := list(filter(retrains, self.changes(cell))))
        }
        if keep:
            for name, why in stale.items():
                self._keep(self.cells[name], why)
            for method in {self.cells[n].method for n, why in stale.items() if SETTINGS in why}:
                if method in self.samplers:  # its ranges may be others: filled from the records
                    self.samplers[method].delete()
        elif swept := {
            name: why for name, why in stale.items() if self.cells[name].trial is not None
        }:
            raise BenchError(refusal(self.study, swept))
        if retry_failed:
            for cell in [c for c in self.current() if c.state == "failed"]:
                del self.cells[cell.file_name]
                self.again.append(cell)
        for cell in self.current():
            self.recorded[cell.method].add(cell.trial)

    def _refuse_another_study(self) -> None:
        """Raises BenchError if the records are those of another file with the same name."""
        try:
            recorded = load_study_file(self.place)
        except BenchError:
            if self.place.study_file.is_dir():
                raise
            return  # it is written anew when the sweep begins
        if why := another_study(self.study, recorded):
            raise BenchError(why)

    def lost(self, cell: Cell) -> list[str]:
        """Returns the stages of a recorded trial that have to be trained again, for somebody has
        taken them out of the store."""
        return [] if self.keeps else lost_stages(cell, self.store)

    def _claim_curves(self, gone: Container[str] = ()) -> None:
        """Takes up which run has the curves of each stage: none of those that are gone."""
        self.curves.clear()
        for cell in self.cells.values():
            if not cell.run_id or cell.run_id in gone:
                continue
            for stage in cell.stages:
                if stage.curves in ("", cell.run_id):  # an older record's run has those of all
                    self.curves[stage.key] = cell.run_id
                elif stage.curves not in gone:
                    self.curves.setdefault(stage.key, stage.curves)

    def _keep(self, cell: Cell, why: list[str]) -> None:
        """Records that a stale cell stays; what decides its scores is looked at as ever."""
        now = self.deciding.parts(cell.method, cell.swept, cell.seed)
        if cell.decided_by:
            before = cell.decided_by
            now = {k: v if retrains(k) else before.get(k, "") for k, v in now.items()}
        update = {
            "kept": list(dict.fromkeys([*cell.kept, *why])),
            "decided_by": now,
            "fingerprint": content_key(now),
        }
        self.cells[cell.file_name] = cell.model_copy(update=update)
        write_cell(self.place.cells, self.cells[cell.file_name])

    def open(self, yaml: str) -> None:
        """Makes the study's run. Raises BenchError if MLflow fails: nothing has begun yet."""
        with whole(self.place.study_file, sync=True) as file:
            file.write(self.study.model_dump_json(indent=1).encode())
        self._yaml = yaml or self.study.model_dump_json(indent=1)
        with needed(self.tracking.address.redact):
            self._open_study()

    def _open_study(self) -> None:
        tags = {f"bench.{key}": value for key, value in environment(self.study).items()}
        self.tracking.open_study(self._yaml, tags)

    def reconcile(self) -> None:
        """Completes what a killed driver had begun: first MLflow from the records, then Optuna."""
        self._complete_runs()
        self.settle()
        for name, sampler in self.samplers.items():
            self.restore_search(name)
            for cell in self.again:
                if cell.method == name and cell.trial is not None:
                    sampler.retry(cell.trial, cell.swept, cell.attempt)

    def _complete_runs(self) -> None:
        """Brings MLflow to where the records are. No trial may be under way."""
        by_run = {cell.run_id: cell for cell in self.cells.values()}
        ended = {run: ended_as(cell) for run, cell in by_run.items() if run}
        runs = self.outage.reach(self.tracking.runs, ended)
        if runs is None:
            return
        deleted = [run for run, state in runs.items() if state.deleted and run in by_run]
        for run in deleted:
            self.outage.reach(self.tracking.restore, run)
        for run, state in runs.items():
            if state.status == "RUNNING":
                if run in by_run:
                    self._finish_run(by_run[run], self._reports(by_run[run]))
                elif not state.deleted:
                    self.kill_run(run, "driver lost")
        if deleted:
            self.note(f"MLflow: runs of trials that had been deleted, restored: {len(deleted)}")
        self._put_back(runs)

    def _put_back(self, runs: Container[str]) -> None:
        """Makes the runs that records name, or wait for, and MLflow does not have."""
        lost = [cell for cell in self.cells.values() if cell.run_id not in runs]
        if gone := sum(bool(cell.run_id) for cell in lost):
            self.note(f"MLflow: runs of recorded trials that were not there, put back: {gone}")
        self._claim_curves(gone={cell.run_id for cell in lost})
        for cell in lost:
            if run := self.start_run(cell):
                self.record(cell, run)
                self.finish_runs()

    def settle(self) -> None:
        """Tells Optuna of each open trial that has records; the others wait for another attempt."""
        for name, sampler in self.samplers.items():
            for key in sampler.running():
                if not self.tell_if_complete(name, key):
                    sampler.requeue(key)

    def restore_search(self, method: str) -> None:
        """Makes Optuna's finished trials those of the records: they may have been measured anew,
        and the database may have lost them."""
        groups: dict[int, list[Cell]] = {}
        for cell in self.current():
            if cell.method == method and cell.trial is not None and cell.state == "complete":
                groups.setdefault(cell.trial, []).append(cell)
        whole = {k: group for k, group in groups.items() if len(group) == len(self.seeds[method])}
        self.samplers[method].restore(
            {key: (group[0].swept, _means(group)) for key, group in whole.items()}
        )

    # --- each trial -----------------------------------------------------------------------------

    def start_run(self, trial: Job | Cell, began: int | None = None) -> str:
        """Makes a trial's run in MLflow and returns its id; "" while MLflow does not answer.

        began: ms since 1970; a record says it itself.
        """
        parameters = {
            **self.study.methods[trial.method].fixed,
            **trial.swept,
            "seed": trial.seed,
            **self.study.model_dump(mode="json", include={"task", "train"}, exclude_none=True),
        }
        tags = {
            "bench.method": trial.method,
            "bench.key": "" if trial.trial is None else str(trial.trial),
            "bench.seed": str(trial.seed),
            "bench.attempt": str(trial.attempt),
        }
        name = trial.file_name + (f"-a{trial.attempt}" if trial.attempt else "")
        began = begun(trial) if isinstance(trial, Cell) else began
        return self.outage.reach(self.tracking.start, name, _flat(parameters), tags, began) or ""

    def kill_run(self, run: str, reason: str) -> None:
        """Ends a run that has no result."""
        if run:
            self.outage.reach(self.tracking.kill, run, reason)

    def sample(self, job: Job, path: str, png: bytes) -> None:
        """Keeps a sample picture until the trial's run is finished."""
        file = self.place.samples / job.file_name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)

    def record(self, cell: Cell, run: str) -> None:
        """Writes a trial's record; its run waits for `finish_runs`. run: "" if it has none yet."""
        written = self._write(cell.model_copy(update={"run_id": run or self.start_run(cell)}))
        self._unfinished.append((written, self._reports(written)))

    def finish_runs(self) -> None:
        """Finishes the runs of what was recorded. What a kill leaves, the next start does."""
        while self._unfinished:
            self._finish_run(*self._unfinished[0])
            self._unfinished.popleft()

    def amend(self, cell: Cell) -> None:
        """Writes a record again to which something was added that MLflow does not know."""
        write_cell(self.place.cells, cell)
        self.cells[cell.file_name] = cell

    def _write(self, cell: Cell) -> Cell:
        before = self.cells.get(cell.file_name)
        if before is not None:
            replaced = before.run_id if before.run_id != cell.run_id else ""
            cell = cell.model_copy(update={"replaces": replaced or before.replaces})
        cell = self._assign_curves(cell, before)
        write_cell(self.place.cells, cell)
        self.cells[cell.file_name] = cell
        if belongs(self.study, cell):
            self.recorded[cell.method].add(cell.trial)
        return cell

    def _assign_curves(self, cell: Cell, before: Cell | None) -> Cell:
        """Notes which run has the curves of each stage: that of the first record that names it.

        The record says so before anything is logged, so a kill neither loses nor doubles them.
        """
        for stage in before.stages if before else ():
            if self.curves.get(stage.key) == before.run_id:  # type: ignore[union-attr]
                del self.curves[stage.key]
        stages = []
        for stage in cell.stages:
            run = self.curves.setdefault(stage.key, cell.run_id) if cell.run_id else ""
            stages.append(stage.model_copy(update={"curves": run}))
        return cell.model_copy(update={"stages": stages})

    def _finish_run(self, cell: Cell, reports: Points) -> None:
        """Logs the loss curves, from the stages' records, and the results; ends the run."""
        if not cell.run_id:
            return
        points = [*reports]
        for stage in cell.stages:
            if stage.curves in ("", cell.run_id) and self.store.has("stages", stage.key):
                points += [
                    (step, {f"train/{stage.name}/{name}": value for name, value in losses.items()})
                    for step, losses in stage_history(self.store, stage.key)
                ]
        weights = [self.store.entry("stages", s.key) / "weights.pth" for s in cell.stages]
        shown = pictures(self.place, cell)
        if self.outage.reach(self.tracking.finish, cell, points, weights, shown):
            shutil.rmtree(self.place.samples / cell.file_name, ignore_errors=True)

    def _reports(self, cell: Cell) -> Points:
        """What a pruner was told of a trial while it trained, as Optuna keeps it."""
        if self.study.budget.pruner == "none" or self.study.select is None:
            return []
        if cell.trial is None or not belongs(self.study, cell):
            return []
        first = self.seeds[cell.method].index(cell.seed) * REPORTS
        name = f"report/{self.study.select.objectives[0]}"
        reports = self.samplers[cell.method].reports(cell.trial)
        return [(at, {name: v}) for at, v in reports.items() if first <= at < first + REPORTS]

    def tell_if_complete(self, method: str, key: int) -> bool:
        """Tells Optuna a trial whose seeds all have records; returns whether it had them."""
        names = [Cell.name_file(method, key, seed) for seed in self.seeds[method]]
        cells = [self.cells[name] for name in names if name in self.cells]
        sampler = self.samplers[method]
        if any(cell.state == "failed" for cell in cells):
            sampler.fail(key)
        elif any(cell.state == "pruned" for cell in cells):
            sampler.prune(key)
        elif len(cells) == len(names):
            sampler.tell(key, _means(cells))
        else:
            return False
        return True

    # --- after the last trial -------------------------------------------------------------------

    def close(self, status: str = "KILLED", report: Mapping[str, Path] | None = None) -> None:
        """Ends the study's run, and says what MLflow still lacks. No trial may be under way.

        Before that run is open there is nothing to end, and nothing to say beside what went wrong.
        """
        if not self.tracking.open:
            return
        if missed := self.outage.reason:
            self.outage.over()
            if status != "KILLED":
                self.outage.reach(self._open_study)
                self._complete_runs()
        complete = sum(c.state == "complete" for c in self.current())
        best = {
            f"best/{cell.exact(name)}": cell.objectives[name]
            for name, cell in best_cells(self.study, self.current()).items()
        }
        summary = {"cells_complete": complete, **best}
        self.outage.reach(self.tracking.close_study, status, summary, self.current(), report or {})
        if self.outage.reason:
            self.note(
                f"{self.outage.words()}: what it lacks stands in the records, and the same command "
                "makes up for it"
            )
        elif status != "KILLED":
            shutil.rmtree(self.place.samples, ignore_errors=True)
            if missed:
                self.note("MLflow answers again: nothing is missing")

    def keep_pictures(self, shown: Collection[str]) -> None:
        """Removes the restored pictures of all trials but those, by file name."""
        keep = {"reference", *shown} if shown else set()
        for folder in self.place.pictures_of_trials():
            if folder.name not in keep:
                shutil.rmtree(folder)


def _means(cells: list[Cell]) -> dict[str, float]:
    """Each objective, mean over the seeds."""
    return {name: fmean(c.objectives[name] for c in cells) for name in cells[0].objectives}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one level with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(_flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat
