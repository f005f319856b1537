"""Files: their names as text, writing whole or not at all, digests that outlive the process."""

import contextlib
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from bench.data.roots import databases as home  # so called, for it is in methods' digests

_SETTLED = 2.0  # seconds; a younger file may change again within a tick of its clock
_AT_ONCE = 500  # names in one question to SQLite, which allows 999 in old versions


class _State(NamedTuple):
    """What tells whether a file is still the same."""

    path: str
    size: int
    modified: int
    """Nanoseconds."""


_known: dict[_State, str] = {}


def as_text(name: str) -> str:
    r"""Returns a file's name as text that can be encoded: bytes that are no UTF-8 are escaped.

    >>> as_text("caf\udce9"), as_text("café")
    ('caf\\xe9', 'café')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def whole(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """Yields a new file that takes the place of `path` once it is written; if it never is, it goes.

    Until then its name is short, whatever the length of the other. sync: forces it to the disk.
    Raises OSError that names `path`.
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Returns a hash of each file's bytes, in hexadecimal.

    A file of known path, size and time of change is not read. What is known outlives the process in
    `store/files.db`, which only saves time: damaged, locked or on a full disk, it is done without.
    """
    states = {path: _state(path) for path in paths}
    new = sorted({state for state in states.values() if state not in _known})
    if new:
        _known.update(_recalled(new))
        read = {state: _digest(Path(state.path)) for state in new if state not in _known}
        _known.update(read)
        _remember(read)
    return {path: _known[state] for path, state in states.items()}


def _state(path: Path) -> _State:
    name = os.path.join(os.getcwd(), path)
    status = os.stat(name)
    return _State(name, status.st_size, status.st_mtime_ns)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def _database() -> Path:
    return home() / "store" / "files.db"


def _recalled(states: Sequence[_State]) -> dict[_State, str]:
    if not _database().is_file():
        return {}
    paths = [state.path for state in states if as_text(state.path) == state.path]
    rows: dict[_State, str] = {}
    with _forgiven(), contextlib.closing(sqlite3.connect(_database(), timeout=1)) as database:
        for first in range(0, len(paths), _AT_ONCE):
            some = paths[first : first + _AT_ONCE]
            marks = ",".join("?" * len(some))
            question = f"SELECT path, size, modified, digest FROM files_1 WHERE path IN ({marks})"
            rows |= {_State(*row[:3]): row[3] for row in database.execute(question, some)}
    return {state: rows[state] for state in states if state in rows}


def _remember(read: dict[_State, str]) -> None:
    newest = time.time_ns() - int(_SETTLED * 1e9)
    rows = [
        (*state, digest)
        for state, digest in read.items()
        if state.modified < newest and as_text(state.path) == state.path  # SQLite holds text alone
    ]
    if not rows:
        return
    with _forgiven():
        _database().parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(_database(), timeout=1)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS files_1"
                " (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, digest TEXT)"
            )
            database.executemany("INSERT OR REPLACE INTO files_1 VALUES (?, ?, ?, ?)", rows)


@contextlib.contextmanager
def _forgiven() -> Iterator[None]:
    """Lets what goes wrong with the database pass; a damaged one makes room for a new one."""
    try:
        yield
    except sqlite3.OperationalError:  # locked, or the disk is full
        pass
    except sqlite3.DatabaseError:
        with contextlib.suppress(OSError):
            _database().unlink()
    except OSError:
        pass
