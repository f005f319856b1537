"""Content-addressed results on disk: what has the same key is computed once."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, Protocol

Kind = Literal["stages", "targets", "pixels", "commands"]
SIZES = "sizes.json"
"""In each entry: file -> bytes."""
NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "stages": ("stage.json", "history.json", "weights.pth"),
    "targets": ("index.npz", "pixels.bin"),
    "pixels": ("index.npz", "pixels.bin"),
    "commands": ("made.json", "log.txt"),
}
"""Files without which an entry serves for nothing."""
TRAVEL: tuple[Kind, ...] = ("stages", "commands")
"""Entries that cost more to make again than to send; the others are large and made of data."""


class Elsewhere(Protocol):
    """The store of another machine. Entries go by the bytes of their files, by name."""

    def fetch(self, kind: Kind, key: str) -> Mapping[str, bytes] | None: ...

    def keep(self, kind: Kind, key: str, files: Mapping[str, bytes]) -> None: ...


_elsewhere: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)


@contextmanager
def results_from(elsewhere: Elsewhere | None) -> Iterator[None]:
    """Lets every store fetch from another machine what it lacks, and send there what it gets."""
    token = _elsewhere.set(elsewhere)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def content_key(parts: Mapping[str, Any]) -> str:
    """Returns a short hash of plain values, the same whatever the order of the keys.

    Raises TypeError for what JSON cannot hold: its text could change from run to run.

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


_THERE = (errno.EEXIST, errno.ENOTEMPTY)


class Store:
    """Folders named by the hash of what determines them.

    An entry is written under another name and renamed when it is whole, so it is there complete or
    not at all. A lock per key lets one process compute while the others wait.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def entry(self, kind: Kind, key: str) -> Path:
        """Returns the folder where the entry is, or will be."""
        return self.root / kind / key

    def has(self, kind: Kind, key: str) -> bool:
        """Whether the entry is there, and none of its files is missing or cut short."""
        return self._has(kind, key) or self._fetched(kind, key)

    def _has(self, kind: Kind, key: str) -> bool:
        return _is_whole(self.entry(kind, key), NEEDED[kind])

    def _fetched(self, kind: Kind, key: str) -> bool:
        elsewhere = _elsewhere.get() if kind in TRAVEL else None
        if elsewhere is None or (files := elsewhere.fetch(kind, key)) is None:
            return False
        self.put(kind, key, files)
        return True

    def files(self, kind: Kind, key: str) -> dict[str, bytes] | None:
        """Returns the bytes of an entry's files; None where it is not whole."""
        if not self._has(kind, key):
            return None
        paths = self.entry(kind, key).iterdir()
        return {path.name: path.read_bytes() for path in paths if path.name != SIZES}

    def put(self, kind: Kind, key: str, files: Mapping[str, bytes]) -> None:
        """Makes an entry of another machine's files, unless it is here already."""

        def write(folder: Path) -> None:
            for name, data in files.items():
                (folder / name).write_bytes(data)

        if not self._has(kind, key):
            self._commit(kind, key, write)

    def scratch(self, kind: Kind, key: str) -> Path:
        """Returns the folder for unfinished work on an entry, such as its last checkpoint."""
        path = self.root / "unfinished" / f"{kind}-{key}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, kind: Kind, key: str, write: Callable[[Path], None]) -> Path:
        """Lets `write` fill a folder, makes it the entry, drops the scratch; returns the entry."""
        entry = self._commit(kind, key, write)
        if kind in TRAVEL and (elsewhere := _elsewhere.get()):
            elsewhere.keep(kind, key, self.files(kind, key) or {})
        return entry

    def _commit(self, kind: Kind, key: str, write: Callable[[Path], None]) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        final = self.entry(kind, key)
        final.parent.mkdir(exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=self.root, prefix="building-"))
        try:
            write(building)
            sizes = {path.name: path.stat().st_size for path in building.iterdir()}
            (building / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
            for path in building.iterdir():
                _sync(path)
            if final.is_dir() and not self._has(kind, key):
                self._remove(final)
            os.rename(building, final)
        except BaseException as error:
            shutil.rmtree(building, ignore_errors=True)
            # another machine was first, whose locks are not seen here: what it wrote is the same
            if not (isinstance(error, OSError) and error.errno in _THERE and final.is_dir()):
                raise
        _sync(final.parent)
        shutil.rmtree(self.root / "unfinished" / f"{kind}-{key}", ignore_errors=True)
        return final

    @contextmanager
    def lock(self, kind: Kind, key: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Holds the key; calls `waiting` with the holder's process id if another process has it.

        The system frees the lock when its holder dies.
        """
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{kind}-{key}"
        while True:
            with open(path, "a+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    waiting(file.read().strip())
                    fcntl.flock(file, fcntl.LOCK_EX)
                if not _is_file_of(file.fileno(), path):
                    continue  # `bench clean` has removed it meanwhile: others lock a new one
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                yield
                return

    @contextmanager
    def use(self, kind: Kind, key: str) -> Iterator[Path | None]:
        """Holds an entry so that `drop` leaves it; yields its folder, None where there is none.

        Any number of processes may use an entry at once; `lock` waits for all of them.
        """
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{kind}-{key}"
        while True:
            with open(path, "a+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                if _is_file_of(file.fileno(), path):
                    yield self.entry(kind, key) if self.has(kind, key) else None
                    return

    def drop(self, kind: Kind, key: str) -> bool:
        """Removes an entry that no process uses or makes; returns whether it has."""
        if not self.entry(kind, key).is_dir():
            return False
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{kind}-{key}", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._remove(self.entry(kind, key))
        return True

    def _remove(self, entry: Path) -> None:
        gone = Path(tempfile.mkdtemp(dir=self.root, prefix="building-"))
        os.rename(entry, gone / entry.name)  # at once, then at leisure
        shutil.rmtree(gone)


def _is_whole(entry: Path, needed: Iterable[str]) -> bool:
    try:
        sizes = json.loads((entry / SIZES).read_bytes())
        return all((entry / name).stat().st_size == size for name, size in sizes.items())
    except FileNotFoundError:  # of a file, or of the sizes in an entry of an earlier version
        return not (entry / SIZES).exists() and all(_seems_whole(entry / n) for n in needed)
    except ValueError:
        return False


def _seems_whole(path: Path) -> bool:
    if path.suffix in (".pth", ".npz"):
        return zipfile.is_zipfile(path)  # whose table of contents is its end
    return path.is_file() and path.stat().st_size > 0


def _is_file_of(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    """Forces a file or folder to disk, so that a rename never shows an empty file after a crash."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
