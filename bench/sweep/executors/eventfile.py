"""A job's events as a file on a shared folder: its worker appends, the driver reads behind it.

A record is its length, its CRC-32 and a pickle. A reader on another machine may see a file's size
before its bytes, so it takes a record only when it is whole.
"""

import os
import pickle
import struct
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.sweep.job import Event, Last

_HEAD = struct.Struct("<II")
_SYNC = 1.0
"""Seconds between two times that a file is forced out to where other machines see it."""


class EventWriter:
    """Appends events to a new file. Raises FileExistsError: a file has one writer in its life."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._synced = float("-inf")

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, event: Event) -> None:
        """Appends an event; the last one is seen everywhere when this returns."""
        text = pickle.dumps(event)
        record = memoryview(_HEAD.pack(len(text), zlib.crc32(text)) + text)
        while record:
            record = record[self._file.write(record) :]
        if isinstance(event, Last) or time.monotonic() - self._synced > _SYNC:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()


def read_events(path: Path, begin: int) -> tuple[list[Event], int]:
    """Returns the events of a file behind the byte `begin`, and the byte behind them.

    Opened anew each time: that is when NFS looks whether there is more. Raises what pickle does for
    records of other code.
    """
    try:
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read()
    except FileNotFoundError:
        return [], begin
    events: list[Event] = []
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        text = data[at + _HEAD.size : at + _HEAD.size + length]
        if not length or len(text) < length or zlib.crc32(text) != check:
            break
        events.append(pickle.loads(text))
        at += _HEAD.size + length
    return events, begin + at
