"""Scores stored by content: what was computed once is looked up, whatever the files are called."""

import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from bench.measure.metrics import ImageScore

_LAYOUT = 1
"""Of the database; another one is not touched."""
_WRITE_EVERY = 0.25
"""Seconds. A killed run loses the scores of so long, and of the images it was at."""


class ScoreStore:
    """An SQLite file of key -> ImageScore, and of file -> the pixels in it.

    Several processes may use it at once.
    It only ever saves time: if the file is damaged, of another version, locked for long or the disk
    is full, `trouble` says so and scoring goes on without it.
    """

    def __init__(self, path: Path) -> None:
        self.trouble: str | None = None
        self._path, self._last = path, time.monotonic()
        self._new: dict[bytes, ImageScore] = {}
        self._new_pixels: dict[str, str] = {}
        """Not yet written: each transaction is over at once, so that no other process waits."""
        self._database: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=20)
            self._prepare(self._database)
        except (OSError, sqlite3.Error) as error:
            self._give_up(str(error))

    def _prepare(self, database: sqlite3.Connection) -> None:
        (layout,) = database.execute("PRAGMA user_version").fetchone()
        if layout == 0:
            with database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS scores"
                    " (key BLOB PRIMARY KEY, value REAL, why TEXT, note TEXT) WITHOUT ROWID"
                )
                database.execute(f"PRAGMA user_version = {_LAYOUT}")
        elif layout != _LAYOUT:
            self._give_up(f"written by another version of bench (layout {layout}, here {_LAYOUT})")
            return
        with database:  # a database of the first edition has none
            database.execute(
                "CREATE TABLE IF NOT EXISTS pixels (file TEXT PRIMARY KEY, pixels TEXT)"
                " WITHOUT ROWID"
            )

    def __reduce__(self) -> tuple[Callable[[Path], "ScoreStore"], tuple[Path]]:
        return _opened, (self._path,)  # in another process: the same file

    def look_up(self, keys: Sequence[bytes]) -> dict[bytes, ImageScore]:
        """Returns those that are stored."""
        if self._database is None:
            return {}
        new = {key: self._new[key] for key in keys if key in self._new}
        marks = ", ".join("?" * len(keys))
        try:
            rows = self._database.execute(
                f"SELECT key, value, why, note FROM scores WHERE key IN ({marks})", keys
            ).fetchall()
        except sqlite3.Error as error:
            self._give_up(str(error))
            return {}
        return new | {
            key: ImageScore(math.nan if value is None else value, why, note)
            for key, value, why, note in rows
        }

    def pixels_of(self, file: str) -> str | None:
        """Returns the digest of the pixels that a file of this digest is known to hold."""
        if self._database is None:
            return None
        if file in self._new_pixels:
            return self._new_pixels[file]
        try:
            row = self._database.execute(
                "SELECT pixels FROM pixels WHERE file = ?", (file,)
            ).fetchone()
        except sqlite3.Error as error:
            self._give_up(str(error))
            return None
        return str(row[0]) if row else None

    def keep_pixels(self, file: str, pixels: str) -> None:
        """Notes which pixels a file of this digest holds."""
        self._new_pixels[file] = pixels

    def keep(self, key: bytes, score: ImageScore) -> None:
        """Adds a score; it is on disk soon, or after `close`."""
        self._new[key] = score
        if time.monotonic() - self._last > _WRITE_EVERY:
            self._write()
            self._last = time.monotonic()

    def close(self) -> None:
        """Writes what is not yet written."""
        self._write()
        if self._database is not None:
            self._database.close()

    def _write(self) -> None:
        rows = [(key, *score) for key, score in self._new.items()]
        if self._database is not None and (rows or self._new_pixels):
            try:
                with self._database:
                    self._database.executemany(
                        "INSERT OR REPLACE INTO pixels VALUES (?, ?)", self._new_pixels.items()
                    )
                    self._database.executemany(
                        "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows
                    )
            except sqlite3.Error as error:
                self._give_up(str(error))
        self._new.clear()
        self._new_pixels.clear()

    def _give_up(self, reason: str) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None
        self.trouble = (
            f"{self._path}: {reason}. The scores are right, but not stored: another run computes "
            "them again. Make room, or delete the file if it is damaged or of another version."
        )


@cache
def _opened(path: Path) -> ScoreStore:
    """Once a process: scores come one image at a time."""
    return ScoreStore(path)


def score_key(*parts: str) -> bytes:
    """Returns the key of a score: a hash of all that determines it."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()
