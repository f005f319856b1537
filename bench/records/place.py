"""Where the records of a study lie, and who may write them."""

import contextlib
import errno
import fcntl
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from bench.errors import BenchError

QUEUE = "queue"
"""In place of a machine's name: a trial waits for one."""


@dataclass(frozen=True)
class Place:
    """Where a study's records are below the home folder."""

    home: Path
    study: str

    @property
    def root(self) -> Path:
        return self.home / "studies" / self.study

    @property
    def cells(self) -> Path:
        return self.root / "cells"

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    def pictures_of_trials(self) -> list[Path]:
        """Returns the folders of restored pictures, and that of the originals; what somebody else
        has put beside them is none of them."""
        ours = re.compile(r"reference|[A-Za-z0-9][A-Za-z0-9_-]*-s[0-9]+")
        folders = sorted(self.pictures.glob("*"))
        return [p for p in folders if ours.fullmatch(p.name) and p.is_dir() and not p.is_symlink()]

    @property
    def samples(self) -> Path:
        """Sample pictures of trials whose runs are not finished in MLflow."""
        return self.root / "samples"

    @property
    def slurm(self) -> Path:
        """What passes between a sweep and its jobs in SLURM's queue."""
        return self.root / "slurm"

    def jobs_in_slurm(self) -> int:
        """Counts jobs that were submitted and whose end no sweep has heard of."""
        return len(list(self.slurm.glob("*_submitted.pkl")))

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def study_file(self) -> Path:
        """The study as it was last swept, for reports from records alone."""
        return self.root / "study.json"


@contextlib.contextmanager
def one_at_a_time(home: Path) -> Iterator[None]:
    """Lets one process of a home make the databases: two at once get in each other's way."""
    home.mkdir(parents=True, exist_ok=True)
    with _opened(home / "lock") as file:
        _lock(file, fcntl.LOCK_EX)
        yield


def _opened(lock: Path) -> TextIO:
    try:
        return open(lock, "a+", encoding="utf-8")
    except IsADirectoryError:
        raise BenchError(f"{lock}: is a folder, and bench's lock belongs there. Move it.") from None


def _lock(file: TextIO, how: int) -> None:
    """Locks a file. Raises BlockingIOError, and BenchError where its folder knows no locks."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise BenchError(
            f"{file.name}: this folder's file system has no file locks, and nothing else keeps two "
            "sweeps from writing the same records. Put BENCH_HOME on another one, or have it "
            "mounted with locks (Lustre: -o flock)."
        ) from None


@contextlib.contextmanager
def study_lock(place: Place) -> Iterator[Callable[[Iterable[str]], None]]:
    """Holds a study; yields a function that tells others which trials are under way.

    Raises BenchError naming the process that has it. The system frees it when that one dies.
    """
    place.root.mkdir(parents=True, exist_ok=True)
    with _opened(place.lock) as file:
        try:
            _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder, _ = lock_holder(place)
            raise BenchError(
                f"{place.study}: already being swept by {holder} ({place.lock}). Watch it with "
                f"`bench status {place.study}`, or wait until it ends."
            ) from None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now}"

        def tell(running: Iterable[str]) -> None:
            file.seek(0)
            file.truncate()
            file.write("\n".join([holder, *running]))
            file.flush()

        tell(())
        yield tell


def lock_holder(place: Place) -> tuple[str, list[str]]:
    """Returns the process that sweeps a study and the trials it has under way; "" for none.

    A trial is its label and, after a tab, the name of the machine that runs it, if that is known.
    """
    if not place.lock.is_file():
        return "", []
    with open(place.lock, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder, *running = file.read().splitlines() or ["a process that has just begun"]
            return holder, running
    return "", []
