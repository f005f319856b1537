"""Content-addressed results on disk: what has the same key is computed once."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Kind = Literal["stages", "targets"]


def home() -> Path:
    """Returns the absolute folder of all that bench writes: $BENCH_HOME, else .bench here."""
    return Path(os.environ.get("BENCH_HOME") or ".bench").resolve()


def content_key(parts: Mapping[str, Any]) -> str:
    """Returns a short hash of plain values, the same whatever the order of the keys.

    Raises TypeError for what JSON cannot hold: its text could change from run to run.

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


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
        return self.entry(kind, key).is_dir()

    def scratch(self, kind: Kind, key: str) -> Path:
        """Returns the folder for unfinished work on an entry, such as its last checkpoint."""
        path = self.root / "unfinished" / f"{kind}-{key}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, kind: Kind, key: str, write: Callable[[Path], None]) -> Path:
        """Lets `write` fill a folder, makes it the entry, drops the scratch; returns the entry."""
        self.root.mkdir(parents=True, exist_ok=True)
        final = self.entry(kind, key)
        final.parent.mkdir(exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=self.root, prefix="building-"))
        try:
            write(building)
            for path in building.iterdir():
                _sync(path)
            os.rename(building, final)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
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
            with open(path, "a+") as file:
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
