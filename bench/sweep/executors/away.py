"""A job on another machine: whether all is there as it is here, and where its results go."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.data.files import whole
from bench.data.roots import home, is_trial, paths_from, user_path
from bench.errors import BenchError
from bench.records.place import Place
from bench.records.store import Elsewhere, Kind, Store, results_from
from bench.sweep.executors import run_job
from bench.sweep.identity import Deciding
from bench.sweep.job import Begun, Done, Event, Job, Last

OWN = {name: os.environ.get(name) for name in ("BENCH_HOME", "BENCH_DATA", "BENCH_WEIGHTS")}
"""What the machine itself says; read before a job says otherwise."""


@dataclass(frozen=True)
class Origin:
    """The driver's surroundings, as a worker is told them. All paths are absolute."""

    folder: Path
    home: Path
    probe: str
    """A file in the home: a machine that sees it shares the home."""
    data: Path
    weights: Path


@dataclass(frozen=True)
class Unfit(Last):
    """The machine would give other numbers; the job goes to another one."""

    node: str
    reasons: tuple[str, ...]


class Keeper(Elsewhere, Protocol):
    """What a machine without the driver's home asks the driver's machine for."""

    def picture(self, study: str, path: str, data: bytes) -> None:
        """Writes a restored picture below a study's folder of pictures."""
        ...

    def records(self, study: str, trial: str) -> Mapping[str, bytes]:
        """Returns a trial's record and its study's, by their path below the home."""
        ...


def run_away(
    job: Job, origin: Origin, keeper: Keeper | None, node: str, threads: int
) -> Iterator[Event | Unfit]:
    """Runs a job on the machine that this is, `node` to the driver; as `run_job` otherwise.

    Without the driver's home it works in the machine's own, $BENCH_HOME or ~/.cache/bench, and
    fetches from the driver and sends there what costs time to make.
    """
    shared = settle(origin)
    if not shared and keeper is None:
        yield Unfit(node, (f"it does not see {origin.home} any more",))
        return
    keeper = None if shared else keeper
    with results_from(keeper):
        job = _at_home(job, keeper) if keeper else job
        if reasons := unfit(job):
            yield Unfit(node, tuple(reasons))
            return
        yield Begun(node)
        for event in run_job(job, threads):
            if isinstance(event, Done) and job.pictures and keeper:
                _send_pictures(job, job.pictures, keeper)
            yield event


def settle(origin: Origin) -> bool:
    """Makes the driver's surroundings those of this process; returns whether it shares the home.

    What the machine's own environment says counts for more: data may lie elsewhere here.
    """
    own = user_path(OWN["BENCH_HOME"] or str(origin.home)).resolve()
    shared = own == origin.home and (own / origin.probe).is_file()
    there = own if shared or OWN["BENCH_HOME"] else Path.home() / ".cache" / "bench"
    os.environ["BENCH_HOME"] = str(there)
    os.environ["BENCH_DATA"] = OWN["BENCH_DATA"] or str(origin.data)
    os.environ["BENCH_WEIGHTS"] = OWN["BENCH_WEIGHTS"] or str(origin.weights)
    if origin.folder.is_dir():
        os.chdir(origin.folder)
    return shared


_fit: set[frozenset[tuple[str, str]]] = set()
"""What this process has found to be as the driver has it."""


def unfit(job: Job) -> list[str]:
    """Returns what decides a job's numbers and is not here as the driver has it: data by their
    fingerprint, code, metrics, weights. Nothing is looked at twice."""
    here = frozenset((k, v) for k, v in job.decided_by.items() if k != "parameters")
    if here in _fit:
        return []
    try:
        with paths_from(job.study.folder):
            now = Deciding(job.study).parts(job.method, job.swept, job.seed)
    except BenchError as error:
        return [str(error)]
    words = {"missing": "not here", "unavailable": "cannot be computed here"}
    differ = [
        name for name in {**job.decided_by, **now} if job.decided_by.get(name) != now.get(name)
    ]
    if job.decided_by and differ:
        return [f"{name} ({words.get(now.get(name, ''), 'another one')})" for name in differ]
    _fit.add(here)
    return []


def _at_home(job: Job, keeper: Keeper) -> Job:
    """The job in this machine's own home, with the records of the trials that it names."""
    for name in sorted(_trials_in(job.study.model_dump(mode="json", include={"methods"}))):
        for path, data in keeper.records(*name.split("/", 1)).items():
            file = home() / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    pictures = Place(home(), job.study.name).pictures if job.pictures else None
    return job.model_copy(update={"store": home() / "store", "pictures": pictures})


def _trials_in(value: Any) -> set[str]:
    """Every "STUDY/TRIAL" among plain values."""
    if isinstance(value, dict):
        return _trials_in(list(value.values()))
    if isinstance(value, list):
        return {name for item in value for name in _trials_in(item)}
    return {value} if isinstance(value, str) and is_trial(value) and " " not in value else set()


def _send_pictures(job: Job, folder: Path, keeper: Keeper) -> None:
    for name in (job.file_name, "reference"):
        for file in sorted((folder / name).rglob("*.png")):
            path = file.relative_to(folder).as_posix()
            keeper.picture(job.study.name, path, file.read_bytes())
    shutil.rmtree(folder / job.file_name, ignore_errors=True)


class Home:
    """A `Keeper` of the home of this machine, which others may ask."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._store = Store(home / "store")

    def fetch(self, kind: Kind, key: str) -> Mapping[str, bytes] | None:
        return self._store.files(kind, key)

    def keep(self, kind: Kind, key: str, files: Mapping[str, bytes]) -> None:
        self._store.put(kind, key, files)

    def picture(self, study: str, path: str, data: bytes) -> None:
        with whole(Place(self._home, study).pictures / path) as file:
            file.write(data)

    def records(self, study: str, trial: str) -> Mapping[str, bytes]:
        place = Place(self._home, study)
        files = [place.study_file, place.cells / f"{trial}.json"]
        return {
            file.relative_to(self._home).as_posix(): file.read_bytes()
            for file in files
            if file.is_file()
        }
