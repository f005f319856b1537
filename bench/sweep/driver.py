"""The driver: ask, submit, listen, record, tell. The only writer of both databases.

Order of writing: the cell's record, then MLflow, then Optuna. So whatever instant the process is
killed at, the next start can complete what is missing, and no trial is lost or counted twice.
"""

import contextlib
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.errors import BenchError
from bench.records.cell import Cell, belongs, best_cells, load_cells, write_cell
from bench.records.place import Place, one_at_a_time, study_lock
from bench.records.store import Store, content_key
from bench.study.fields import Study
from bench.study.words import swept_text
from bench.sweep.executor import Executor, Handle, LocalExecutor, Lost
from bench.sweep.identity import SETTINGS, Deciding, changes, environment, retrains
from bench.sweep.rows import planned_cells, seeds_of
from bench.sweep.sampler import Sampler
from bench.sweep.screen import Screen
from bench.sweep.tracking import Tracking
from bench.sweep.trial import REPORTS, Done, Event, Halt, Job, Report, Scored, Strip, disk_is_full
from bench.train.loop import Progress
from bench.train.stages import Note, stage_history

ATTEMPTS = 3  # of a trial whose worker is lost


@dataclass
class Flight:
    """A job under way and its run."""

    job: Job
    run: str
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)


def sweep(
    study: Study,
    home: Path,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    fresh: bool = False,
    keep: bool = False,
    retry_failed: bool = False,
    yaml: str = "",
    screen: Screen | None = None,
    report: Callable[[list[Cell]], Path] | None = None,
) -> list[Cell]:
    """Runs or resumes a study until its budget is spent; returns the records of all its cells.

    A killed sweep goes on where it was. fresh: forgets earlier trials, keeping their records aside
    and finished stages in the store. keep: trials that other code, data or settings have trained
    stay, marked, beside new ones. retry_failed: what failed is tried again. report: renders the
    records into a folder, which is then also among the artifacts of the study's run. Raises
    BenchError if another process sweeps this study, if the recorded trials cannot be compared with
    new ones, or if the disk is full.
    """
    place = Place(home, study.name)
    with study_lock(place) as tell:
        with one_at_a_time(home):
            driver = Driver(study, place, executor or LocalExecutor(workers or default_workers()))
        driver.screen, driver.tell = screen or Screen(), tell
        if fresh:
            driver.forget()
        driver.claim(keep, retry_failed)
        try:
            driver.start(yaml)
            driver.run()
            cells = driver.current()
            folder = report(cells) if report else None
            driver.stop("FAILED" if any(c.state == "failed" for c in cells) else "FINISHED", folder)
        except BaseException as error:
            full = disk_is_full(error)
            with contextlib.suppress(*(Exception,) if full else ()):  # nor may this find room
                driver.stop("KILLED")
            if full and not isinstance(error, BenchError):
                raise BenchError(_stopped(study, f"the disk is full ({home})")) from error
            raise
        return cells


def _stopped(study: Study, reason: str) -> str:
    return f"{study.name}: {reason}. Nothing is lost: make room and run the same command again."


def default_workers() -> int:
    """Returns one worker for every GPU, else one for every core, four at most.

    Two workers of one thread finish 1.6 times as many trials as one with two (small EDSR).
    """
    import torch

    return torch.cuda.device_count() or min(4, len(os.sched_getaffinity(0)))


class Driver:
    """One sweep of one study."""

    def __init__(self, study: Study, place: Place, executor: Executor) -> None:
        self.study = study
        self.place = place
        self.executor = executor
        self.screen = Screen()
        self.tell: Callable[[Iterable[str]], None] = lambda running: None
        self.store = Store(place.home / "store")
        self.tracking = Tracking(place.home, study)
        self.samplers = {
            name: Sampler(place.home, study, name)
            for name, section in study.methods.items()
            if section.ranges
        }
        self.cells: dict[str, Cell] = {}
        self.queue: deque[Job] = deque()
        self.flights: dict[Handle, Flight] = {}
        self.losses: Counter[str] = Counter()
        self.deciding = Deciding(study)
        self.again: list[Cell] = []
        """Failed before, and to be tried again."""
        self.renewed: Counter[str] = Counter()
        """How many jobs of a swept method are under way that measure a finished trial again."""
        self.seeds = {name: seeds_of(study, name) for name in study.methods}

    # --- before and after -----------------------------------------------------------------------

    def forget(self) -> None:
        """Puts the records aside and starts the search anew.

        The records go first: a new trial must never be completed by an old one's.
        """
        if self.place.cells.is_dir():
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
            self.place.cells.rename(self.place.root / f"cells-{stamp}")
        shutil.rmtree(self.place.pictures, ignore_errors=True)
        self.tracking.archive_study()
        for sampler in self.samplers.values():
            sampler.delete()

    def claim(self, keep: bool = False, retry_failed: bool = False) -> None:
        """Takes up what is recorded. Raises BenchError if it cannot stand beside new trials.

        keep: what other code, data or settings have trained is kept as it is, and marked.
        retry_failed: what failed is forgotten, so that it is tried again.
        """
        for cell in load_cells(self.place.cells) if self.place.cells.is_dir() else []:
            if cell.method in self.study.methods:
                self.cells[cell.file_name] = cell
        stale = {
            name: why
            for name, cell in self.cells.items()
            if belongs(self.study, cell) and (why := list(filter(retrains, self._changes(cell))))
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
            raise BenchError(_stale(self.study, swept))
        if retry_failed:
            for cell in [c for c in self.current() if c.state == "failed"]:
                del self.cells[cell.file_name]
                self.again.append(cell)

    def _changes(self, cell: Cell) -> list[str]:
        return changes(cell, self.deciding.parts(cell.method, cell.swept, cell.seed))

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

    def start(self, yaml: str) -> None:
        """Mends what a kill left behind, and queues what has no record or a stale one."""
        self.place.study_file.write_text(self.study.model_dump_json(indent=1))
        tags = {f"bench.{key}": value for key, value in environment(self.study).items()}
        self.tracking.open_study(yaml or self.study.model_dump_json(indent=1), tags)
        self._reconcile()
        for name, section in self.study.methods.items():
            if not section.ranges:
                self.queue.extend(self._jobs(name, None, {}, 0))
        self.renewed = Counter(job.method for job in self.queue if job.trial is not None)

    def _reconcile(self) -> None:
        """Completes what a killed driver had begun: first MLflow from the records, then Optuna."""
        by_run = {cell.run_id: cell for cell in self.cells.values()}
        for run in self.tracking.running():
            if run in by_run:
                self._finish_run(by_run[run])
            else:
                self.tracking.kill(run, "driver lost")
        for cell in [c for c in self.cells.values() if not c.run_id]:
            self._record(cell.model_copy(update={"run_id": self._start_run(_job_of(cell, self))}))
        for name, sampler in self.samplers.items():
            for key in sampler.running():
                if not self._tell_if_complete(name, key):
                    sampler.requeue(key)
            self._restore_search(name)
            for cell in self.again:
                if cell.method == name and cell.trial is not None:
                    sampler.retry(cell.trial, cell.swept, cell.attempt)
            for key, swept in sampler.finished().items():
                for job in self._jobs(name, key, swept, 0):
                    self.screen.note(
                        f"{_label(job)} is stale ({self._why(job)}): measuring it again"
                    )
                    self.queue.append(job)

    def _why(self, job: Job) -> str:
        cell = self.cells.get(job.file_name)
        return ", ".join(self._changes(cell)) if cell else "its record is gone"

    def _restore_search(self, method: str) -> None:
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

    def stop(self, status: str, report: Path | None = None) -> None:
        """Ends all jobs and runs; what was under way is asked again next time."""
        self.executor.close()
        for flight in self.flights.values():
            if flight.run:
                self.tracking.kill(flight.run, "interrupted")
        for sampler in self.samplers.values():
            for key in sampler.running():
                sampler.requeue(key)
        complete = sum(c.state == "complete" for c in self.current())
        best = {
            f"best/{cell.exact(name)}": cell.objectives[name]
            for name, cell in best_cells(self.study, self.current()).items()
        }
        self.tracking.close_study(status, {"cells_complete": complete, **best}, report)
        self.screen.close()

    def current(self) -> list[Cell]:
        """Returns the cells that belong to the study as it is now."""
        return [cell for cell in self.cells.values() if belongs(self.study, cell)]

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> None:
        """Asks and listens until every trial has a record."""
        total = planned_cells(self.study)
        waiting = {Cell.name_file(job.method, job.trial, job.seed) for job in self.queue}
        self.screen.begin(total, sum(c.file_name not in waiting for c in self.current()))
        while True:
            while len(self.flights) < self.executor.slots and (job := self._next_job()):
                self._launch(job)
            if not self.flights:
                return
            for handle, event in self.executor.events(timeout=0.5):
                self._listen(handle, event)

    def _next_job(self) -> Job | None:
        if self.queue:
            return self.queue.popleft()
        for name, sampler in self.samplers.items():
            if self.renewed[name]:
                continue  # a new trial is chosen by what the older ones are worth today
            while sampler.waiting() or len(self._taken(name)) < self.study.trials_of(name):
                taken = self._taken(name)
                free = next(k for k in range(len(taken) + 1) if k not in taken)
                key, swept, attempt = sampler.ask(free)
                self.queue.extend(self._jobs(name, key, swept, attempt))
                if self.queue:
                    return self.queue.popleft()
                self._tell_if_complete(name, key)  # a killed driver had recorded it
        return None

    def _taken(self, method: str) -> set[int]:
        """Keys of a method's trials, those known to Optuna and those that have records."""
        recorded = {c.trial for c in self.current() if c.method == method and c.trial is not None}
        return recorded | self.samplers[method].keys().keys()

    def _jobs(self, method: str, key: int | None, swept: dict[str, Any], attempt: int) -> list[Job]:
        """Returns the jobs of a trial that have no record yet, or a stale one; seed by seed."""
        jobs = []
        for seed in self.seeds[method]:
            cell = self.cells.get(Cell.name_file(method, key, seed))
            now = self.deciding.parts(method, swept, seed)
            if cell is not None and cell.kept and not self._weights_are_here(cell):
                continue  # it cannot be measured again, and was to be kept
            if cell is None or cell.fingerprint != content_key(now):
                jobs.append(self._job(method, key, swept, seed, attempt, now))
        return jobs[:1] if self._prunes(method) else jobs  # the next seed when this one has ended

    def _weights_are_here(self, cell: Cell) -> bool:
        return all(self.store.has("stages", stage.key) for stage in cell.stages)

    def _prunes(self, method: str) -> bool:
        return method in self.samplers and self.study.budget.pruner != "none"

    def _job(
        self,
        method: str,
        key: int | None,
        swept: dict[str, Any],
        seed: int,
        attempt: int,
        decided_by: dict[str, str],
    ) -> Job:
        first = seed == self.study.budget.seeds[0]
        before = self.cells.get(Cell.name_file(method, key, seed))
        if before and (
            before.state != "complete"
            or any(map(retrains, changes(before, decided_by)))
            or not self._weights_are_here(before)
        ):
            before = None  # to be trained; else only to be measured
        return Job(
            study=self.study,
            method=method,
            trial=key,
            swept=swept,
            seed=seed,
            attempt=attempt,
            decided_by=decided_by,
            kept=before.kept if before else [],
            stages=before.stages if before else [],
            store=self.store.root,
            pictures=self.place.pictures if first else None,
            prune=self._prunes(method),
        )

    def _launch(self, job: Job) -> None:
        run = self._start_run(job)
        handle = self.executor.submit(job)
        self.flights[handle] = Flight(job, run)
        self.tell(_label(flight.job) for flight in self.flights.values())

    def _start_run(self, job: Job) -> str:
        parameters = {
            **self.study.methods[job.method].fixed,
            **job.swept,
            "seed": job.seed,
            **self.study.model_dump(mode="json", include={"task", "train"}, exclude_none=True),
        }
        tags = {
            "bench.method": job.method,
            "bench.key": "" if job.trial is None else str(job.trial),
            "bench.seed": str(job.seed),
            "bench.attempt": str(job.attempt),
        }
        name = f"{self.study.name}-{Cell.name_file(job.method, job.trial, job.seed)}"
        name += f"-a{job.attempt}" if job.attempt else ""
        return self.tracking.start(name, _flat(parameters), tags)

    def _listen(self, handle: Handle, event: Event | Lost) -> None:
        flight = self.flights.get(handle)
        if flight is None:
            return  # a last word of a cancelled job
        self.screen.event(handle, _label(flight.job), event)
        match event:
            case Progress():
                pass  # the whole curve is logged once, from the stage's record
            case Strip(dataset, image, png):
                self.tracking.picture(flight.run, f"strips/{dataset}/{image}.png", png)
            case Report(step, value):
                self._report(handle, flight, step, value)
            case Done(cell):
                del self.flights[handle]
                self._done(handle, flight, cell)
            case Lost(reason):
                del self.flights[handle]
                self._lost(handle, flight, reason)
            case Halt(reason):
                raise BenchError(_stopped(self.study, reason))
            case Note() | Scored():
                pass

    def _report(self, handle: Handle, flight: Flight, step: int, value: float) -> None:
        job = flight.job
        assert job.trial is not None and self.study.select is not None
        at = self.seeds[job.method].index(job.seed) * REPORTS + step
        name = self.study.select.objectives[0]
        flight.points.append((at, {f"report/{name}": value}))
        if self.samplers[job.method].report(job.trial, at, value):
            self.executor.cancel(handle)
            del self.flights[handle]
            reason = f"{name} {value:.4g} is worse than the median of earlier trials at report {at}"
            self._done(handle, flight, self._without_result(job, "pruned", reason))

    def _lost(self, handle: Handle, flight: Flight, reason: str) -> None:
        self.tracking.kill(flight.run, reason)
        job = flight.job
        name = Cell.name_file(job.method, job.trial, job.seed)
        self.losses[name] += 1  # a sweep that was interrupted has not tried in vain
        if (lost := self.losses[name]) < ATTEMPTS:
            self.screen.note(f"{_label(job)}: {reason}; attempt {lost + 1} of {ATTEMPTS}")
            self.queue.appendleft(job.model_copy(update={"attempt": job.attempt + 1}))
            return
        failed = self._without_result(job, "failed", f"lost {ATTEMPTS} times: {reason}")
        self._done(handle, Flight(job, ""), failed)

    def _without_result(self, job: Job, state: Any, reason: str) -> Cell:
        section = self.study.methods[job.method]
        return Cell(
            study=self.study.name,
            method=job.method,
            use=section.use,
            trial=job.trial,
            seed=job.seed,
            attempt=job.attempt,
            state=state,
            reason=reason,
            parameters=section.fixed | job.swept,
            swept=job.swept,
            fingerprint=job.fingerprint,
            decided_by=job.decided_by,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    # --- recording ------------------------------------------------------------------------------

    def _done(self, handle: Handle, flight: Flight, cell: Cell) -> None:
        if flight.points:
            self.tracking.history(flight.run, flight.points)
        run = flight.run or self._start_run(flight.job)
        self._record(cell.model_copy(update={"run_id": run}))
        self.screen.ended(handle, _label(flight.job), cell)
        if cell.trial is None:
            return
        if self.renewed[cell.method]:
            more = self._jobs(cell.method, cell.trial, cell.swept, cell.attempt)
            more = more if self._prunes(cell.method) and cell.state == "complete" else []
            self.queue.extend(more)
            self.renewed[cell.method] += len(more) - 1
            if not self.renewed[cell.method]:
                self._restore_search(cell.method)
            return
        self._tell_if_complete(cell.method, cell.trial)
        if self._prunes(cell.method) and cell.state == "complete":
            self.queue.extend(self._jobs(cell.method, cell.trial, cell.swept, cell.attempt))

    def _record(self, cell: Cell) -> None:
        if cell.datasets and not any(other.datasets for other in self.cells.values()):
            self.tracking.log_datasets(cell)
        before = self.cells.get(cell.file_name)
        write_cell(self.place.cells, cell)
        self.cells[cell.file_name] = cell
        if before is not None and before.run_id not in ("", cell.run_id):
            self.tracking.supersede(before.run_id)
        self._finish_run(cell)

    def _finish_run(self, cell: Cell) -> None:
        """Logs the loss curves, from the stages' records, and the results; ends the run."""
        weights = None
        points = []
        for stage in cell.stages:
            points += [
                (step, {f"train/{stage.name}/{name}": value for name, value in losses.items()})
                for step, losses in stage_history(self.store, stage.key)
            ]
            weights = self.store.entry("stages", stage.key) / "weights.pth"
        self.tracking.finish(cell, points, weights)

    def _tell_if_complete(self, method: str, key: int) -> bool:
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


def _means(cells: list[Cell]) -> dict[str, float]:
    """Each objective, mean over the seeds."""
    return {name: fmean(c.objectives[name] for c in cells) for name in cells[0].objectives}


def _stale(study: Study, stale: dict[str, list[str]]) -> str:
    """What to say of trials that new ones cannot be compared with."""
    files: dict[str, list[str]] = {}
    for file, why in stale.items():
        for change in why:
            files.setdefault(change, []).append(file)
    reasons = [f"{change} ({_several(names)})" for change, names in files.items()]
    return (
        f"{study.name}: {len(stale)} recorded trials are stale, for these have changed since: "
        f"{'; '.join(reasons)}. Their objectives cannot be compared with new ones. Start over with "
        "--fresh (finished stages that still apply are reused), keep them with --keep (every table "
        "then marks them), or give the study another name."
    )


def _several(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _job_of(cell: Cell, driver: Driver) -> Job:
    return driver._job(
        cell.method, cell.trial, cell.swept, cell.seed, cell.attempt, cell.decided_by
    )


def _label(job: Job) -> str:
    seeds = f" seed {job.seed}" if len(job.study.budget.seeds) > 1 else ""
    trial = "" if job.trial is None else f" t{job.trial:03d}"
    swept = swept_text(job.swept)
    return f"{job.method}{trial}{seeds}" + (f" ({swept})" if swept else "")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one level with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(_flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat
