"""The driver: ask, submit, listen. What is to be kept goes to the recorder."""

import contextlib
import gc
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError, disk_is_full, no_room
from bench.records.cell import Cell
from bench.records.place import Place, one_at_a_time, study_lock
from bench.records.store import content_key
from bench.study.fields import Study
from bench.study.words import swept_text
from bench.sweep.address import innermost, search_address
from bench.sweep.executors import Executor, Handle
from bench.sweep.executors.auto import local_executor
from bench.sweep.identity import changes, retrains
from bench.sweep.job import Begun, Done, Event, Halt, Job, Lost, Report, Scored, Strip
from bench.sweep.recorder import Recorder
from bench.sweep.rows import planned_cells
from bench.sweep.sampler import ERRORS as SEARCH_ERRORS
from bench.sweep.screen import Screen
from bench.sweep.speed import timed
from bench.sweep.trial import REPORTS
from bench.train.loop import Note, Progress
from bench.train.targets import drop_targets

ATTEMPTS = 3  # of a trial whose worker is lost


@dataclass
class Flight:
    """A job under way."""

    job: Job
    run: str = ""
    """Its run in MLflow; "" if there is none."""
    node: str = ""
    """Where it runs, if that is known."""


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
    report: Callable[[list[Cell]], Mapping[str, Path]] | None = None,
    shown: Callable[[list[Cell]], Collection[str]] | None = None,
) -> list[Cell]:
    """Runs or resumes a study until its budget is spent; returns the records of all its cells.

    A killed sweep goes on where it was. fresh: forgets earlier trials, keeping their records aside
    and finished stages in the store. keep: trials that other code, data or settings have trained
    stay, marked, beside new ones. retry_failed: what failed is tried again. report: renders the
    records into files, by their place in the report, and these become artifacts of the study's run
    too. shown: names the records that the report shows; with `evaluate.pictures: rows` the restored
    pictures of all others are removed at the end. Raises BenchError if another process sweeps this
    study, if the recorded trials cannot be compared with new ones, if MLflow cannot be reached at
    the start, or if the disk is full.
    """
    place, screen = Place(home, study.name), screen or Screen()
    with study_lock(place) as tell:
        with one_at_a_time(home):
            recorder = Recorder(study, place, screen.note)
        if fresh:
            recorder.forget()
        with _nothing_is_garbage():
            recorder.claim(keep, retry_failed)
        executor = executor or local_executor(workers, screen.note)
        driver = Driver(recorder, executor, screen, tell)
        try:
            recorder.open(yaml)
            with _nothing_is_garbage():
                driver.start()
            driver.run()
            cells = _timed(recorder, shown, screen)
            with _nothing_is_garbage():
                files = report(cells) if report else None
                if shown and (policy := study.evaluate.pictures) != "all":
                    recorder.keep_pictures(shown(cells) if policy == "rows" else ())
            driver.stop()
            drop_targets(recorder.store, {s.target for c in cells for s in c.stages})
            failed = any(cell.state == "failed" for cell in cells)
            recorder.close("FAILED" if failed else "FINISHED", files)
        except BaseException as error:
            for end in (driver.stop, recorder.finish_runs, recorder.close):
                with contextlib.suppress(Exception):  # what went wrong first is what counts
                    end()
            if not isinstance(error, BenchError) and (reason := _trouble(error, home)):
                raise BenchError(f"{study.name}: {reason}") from error
            raise
        finally:
            screen.close()
        return cells


def _timed(
    recorder: Recorder, shown: Callable[[list[Cell]], Collection[str]] | None, screen: Screen
) -> list[Cell]:
    """The study's records, with what the reported rows cost if it asks for that."""
    cells, study = recorder.current(), recorder.study
    if not (study.evaluate.efficiency and shown):
        return cells
    for cell in timed(study, cells, shown(cells), screen.note):
        recorder.amend(cell)
    return recorder.current()


@contextlib.contextmanager
def _nothing_is_garbage() -> Iterator[None]:
    """Spares the collector what stays to the end: 10,000 records in 3 s in place of 7 s."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _trouble(error: BaseException, home: Path) -> str:
    """What stops a sweep through no fault of its own, and what to do; "" for anything else."""
    if disk_is_full(error):
        return no_room(home)
    if isinstance(error, SEARCH_ERRORS):
        address = search_address(home)
        why = f"Optuna's {address.shown} fails: {address.redact(innermost(error))}"
        return f"{why}. Nothing is lost: mend that and run the same command again."
    return ""


class Driver:
    """One sweep of one study."""

    def __init__(
        self,
        recorder: Recorder,
        executor: Executor,
        screen: Screen,
        tell: Callable[[Iterable[str]], None],
    ) -> None:
        self.recorder = recorder
        self.executor = executor
        self.screen = screen
        self.tell = tell
        self.study, self.store = recorder.study, recorder.store
        self.samplers, self.cells = recorder.samplers, recorder.cells
        self.queue: deque[Job] = deque()
        self.flights: dict[Handle, Flight] = {}
        self.losses: Counter[str] = Counter()
        self.taken: dict[str, set[int | None]] = {}
        self.free: Counter[str] = Counter()
        """Of each method a key below which all are taken."""
        self.renewed: Counter[str] = Counter()
        """How many jobs of a swept method are under way that measure a finished trial again."""
        self.memory: dict[str, int] = {}
        """Method -> the most that a trial of it has used."""
        for cell in recorder.cells.values():
            self._used(cell)

    def _used(self, cell: Cell) -> None:
        self.memory[cell.method] = max(cell.memory, self.memory.get(cell.method, 0))

    def start(self) -> None:
        """Mends what a kill left behind, and queues what has no record or a stale one."""
        self.recorder.reconcile()
        for name, sampler in self.samplers.items():
            for key, swept in sampler.finished().items():
                self._again(self._jobs(name, key, swept, 0))
        for name, section in self.study.methods.items():
            if not section.ranges:
                self._again(self._jobs(name, None, {}, 0))
        self.renewed = Counter(job.method for job in self.queue if job.trial is not None)

    def _again(self, jobs: Sequence[Job]) -> None:
        """Queues jobs, and says why those are there whose trial had ended."""
        for job in jobs:
            cell = self.cells.get(job.file_name)
            verb = "training" if cell and cell.stages and not job.stages else "measuring"
            if cell and (lost := self.recorder.lost(cell)):
                what = f"the weights of stage {', '.join(lost)} are missing or damaged in the store"
                self.screen.note(f"{_label(job)}: {what}: training it again")
            elif cell:
                why = ", ".join(self.recorder.changes(cell))
                self.screen.note(f"{_label(job)} is stale ({why}): {verb} it again")
            elif job.trial is not None:
                self.screen.note(f"{_label(job)} is stale (its record is gone): {verb} it again")
            self.queue.append(job)

    def stop(self) -> None:
        """Ends all jobs; what was under way is asked again next time."""
        self.executor.close()
        for flight in self.flights.values():
            self.recorder.kill_run(flight.run, "interrupted")
        self.recorder.settle()

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> None:
        """Asks and listens until every trial has a record."""
        total = planned_cells(self.study)
        waiting = {Cell.name_file(job.method, job.trial, job.seed) for job in self.queue}
        self.screen.begin(total, sum(c.file_name not in waiting for c in self.recorder.current()))
        while True:
            while len(self.flights) < self.executor.slots and (job := self._next_job()):
                self._launch(job)
            self.recorder.finish_runs()  # while the next trials train
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
            taken = self._taken(name)
            while sampler.waiting() or len(taken) < self.study.trials_of(name):
                free = next(key for key in itertools.count(self.free[name]) if key not in taken)
                key, swept, attempt = sampler.ask(free)
                taken.add(key)
                self.free[name] = free
                self.queue.extend(self._jobs(name, key, swept, attempt))
                if self.queue:
                    return self.queue.popleft()
                self.recorder.tell_if_complete(name, key)  # a killed driver had recorded it
        return None

    def _taken(self, method: str) -> set[int | None]:
        """Keys of a method's trials, those known to Optuna and those that have records.

        Both only grow by what is asked here, so they are put together once.
        """
        if method not in self.taken:
            known = self.samplers[method].keys()
            self.taken[method] = self.recorder.recorded[method] | known.keys()
        return self.taken[method]

    def _jobs(self, method: str, key: int | None, swept: dict[str, Any], attempt: int) -> list[Job]:
        """Returns the jobs of a trial that have no record yet, or a stale one; seed by seed."""
        jobs = []
        for seed in self.recorder.seeds[method]:
            cell = self.cells.get(Cell.name_file(method, key, seed))
            now = self.recorder.deciding.parts(method, swept, seed)
            if cell is not None and cell.kept and not self._weights_are_here(cell):
                continue  # it cannot be measured again, and was to be kept
            stale = cell is None or cell.fingerprint != content_key(now)
            if stale or (cell is not None and self.recorder.lost(cell)):
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
        pictures = seed == self.study.budget.seeds[0] and self.study.evaluate.pictures != "none"
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
            pictures=self.recorder.place.pictures if pictures else None,
            prune=self._prunes(method),
            needs=self.study.resources.needs(self.memory.get(method, 0)),
        )

    def _launch(self, job: Job) -> None:
        began = round(1000 * time.time())
        handle = self.executor.submit(job)
        self.flights[handle] = Flight(job)
        self.flights[handle].run = self.recorder.start_run(job, began)  # while the worker starts
        self._tell()

    def _tell(self) -> None:
        self.tell(f"{_label(flight.job)}\t{flight.node}" for flight in self.flights.values())

    def _listen(self, handle: Handle, event: Event) -> None:
        flight = self.flights.get(handle)
        if flight is None:
            return  # a last word of a cancelled job
        self.screen.event(handle, _label(flight.job), event)
        match event:
            case Begun(node):
                flight.node = node
                self._tell()
            case Progress():
                pass  # the whole curve is logged once, from the stage's record
            case Strip(dataset, image, png):
                self.recorder.sample(flight.job, f"{dataset}/{image}.png", png)
            case Report(step, value):
                self._report(handle, flight, step, value)
            case Done(cell):
                del self.flights[handle]
                self._done(handle, flight, cell)
            case Lost():
                del self.flights[handle]
                self._lost(handle, flight, event)
            case Halt(reason):
                again = "Nothing is lost: make room and run the same command again."
                raise BenchError(f"{self.study.name}: {reason}. {again}")
            case Note() | Scored():
                pass

    def _report(self, handle: Handle, flight: Flight, step: int, value: float) -> None:
        job = flight.job
        assert job.trial is not None and self.study.select is not None
        at = self.recorder.seeds[job.method].index(job.seed) * REPORTS + step
        name = self.study.select.objectives[0]
        if self.samplers[job.method].report(job.trial, at, value):
            self.executor.cancel(handle)
            del self.flights[handle]
            reason = f"{name} {value:.4g} is worse than the median of earlier trials at report {at}"
            self._done(handle, flight, self._without_result(job, "pruned", reason))

    def _lost(self, handle: Handle, flight: Flight, event: Lost) -> None:
        self.recorder.kill_run(flight.run, event.reason)
        job = flight.job
        again = job.model_copy(update={"attempt": job.attempt + 1})
        if event.kept:
            self.screen.note(f"{_label(job)}: {event.reason}; it goes on from its checkpoint")
            self.queue.appendleft(again)
            return
        self.losses[job.file_name] += 1  # a sweep that was interrupted has not tried in vain
        if (lost := self.losses[job.file_name]) < ATTEMPTS:
            self.screen.note(f"{_label(job)}: {event.reason}; attempt {lost + 1} of {ATTEMPTS}")
            self.queue.appendleft(again)
            return
        failed = self._without_result(job, "failed", f"lost {ATTEMPTS} times: {event.reason}")
        self._done(handle, Flight(job), failed)

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
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _done(self, handle: Handle, flight: Flight, cell: Cell) -> None:
        self.recorder.record(cell, flight.run)
        self.screen.ended(handle, _label(flight.job), cell)
        self._used(cell)
        if cell.trial is None:
            return
        if self.renewed[cell.method]:
            more = self._jobs(cell.method, cell.trial, cell.swept, cell.attempt)
            more = more if self._prunes(cell.method) and cell.state == "complete" else []
            self.queue.extend(more)
            self.renewed[cell.method] += len(more) - 1
            if not self.renewed[cell.method]:
                self.recorder.restore_search(cell.method)
            return
        self.recorder.tell_if_complete(cell.method, cell.trial)
        if self._prunes(cell.method) and cell.state == "complete":
            self.queue.extend(self._jobs(cell.method, cell.trial, cell.swept, cell.attempt))


def _label(job: Job) -> str:
    seeds = f" seed {job.seed}" if len(job.study.budget.seeds) > 1 else ""
    trial = "" if job.trial is None else f" t{job.trial:03d}"
    swept = swept_text(job.swept)
    return f"{job.method}{trial}{seeds}" + (f" ({swept})" if swept else "")
