"""Downloads published weights: whole and with the right checksum, or not at all."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from bench.data import weights
from bench.data.roots import weights_root
from bench.data.weights import WEIGHTS, Weights
from bench.errors import BenchError, unknown

TIMEOUT = 30.0
"""Seconds without a byte."""
_CHUNK = 1 << 20

Progress = Callable[[int, int | None], None]
"""Told the bytes that are here, and how many there will be if the server says so."""


@dataclass(frozen=True)
class Status:
    """Where published weights stand on this machine."""

    name: str
    path: Path
    """Where it is, or belongs."""
    state: Literal["here", "missing", "damaged"]
    licence: str
    address: str
    """Of the file, or of the page that tells how to get it."""
    page: bool
    """The address is a page, so `fetch` cannot get the file."""


def status(known: Mapping[str, Weights] = WEIGHTS) -> list[Status]:
    """Returns one row for each entry."""
    return [_status(name, entry, known) for name, entry in known.items()]


def fetch(
    name: str,
    progress: Progress = lambda done, total: None,
    known: Mapping[str, Weights] = WEIGHTS,
) -> Path:
    """Returns the path of published weights, which are downloaded if they are not here.

    name: of an entry of `known`. A file with the right checksum is left as it is, a damaged one
    replaced once the new one is verified. Raises BenchError in one line for whatever goes wrong,
    and leaves nothing half-written.
    """
    if name not in known:
        raise BenchError(unknown("weights", name, [*known, "pyiqa:NAME"]))
    entry = known[name]
    with contextlib.suppress(BenchError):  # damaged: as good as missing
        if path := weights.find(name, known):
            return path
    target = weights_root() / entry.path
    if entry.page:
        raise BenchError(
            f"{name}: no address of the file is known. See {entry.home} (licence: {entry.licence}) "
            f"and put it at {target}; its SHA-256 is {entry.sha256}."
        )
    _download(name, entry, target, progress)
    return target


def _status(name: str, entry: Weights, known: Mapping[str, Weights]) -> Status:
    state: Literal["here", "missing", "damaged"] = "damaged"
    path = weights_root() / entry.path
    with contextlib.suppress(BenchError):
        found = weights.find(name, known)
        state, path = ("here", found) if found else ("missing", path)
    return Status(name, path, state, entry.licence, entry.home, entry.page)


def _download(name: str, entry: Weights, target: Path, progress: Progress) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            got = _copy(entry.home, file, progress)
            file.flush()
            os.fsync(file.fileno())
        if not got.startswith(entry.sha256):
            raise BenchError(
                f"{name}: {entry.home} is not the published file any more: SHA-256 {got}, expected "
                f"{entry.sha256}. Nothing was kept."
            )
        os.replace(part, target)
    except (OSError, HTTPException) as error:
        raise BenchError(f"{name}: {entry.home}: {_why(error)}. Nothing was kept.") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _copy(address: str, file: IO[bytes], progress: Progress) -> str:
    """Writes what is at an address; returns its SHA-256."""
    content, done = hashlib.sha256(), 0
    request = Request(address, headers={"User-Agent": "bench"})  # some servers refuse urllib's
    with urlopen(request, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        while block := response.read(_CHUNK):
            file.write(block)
            content.update(block)
            done += len(block)
            progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")
    return content.hexdigest()


def _why(error: Exception) -> str:
    """What went wrong, in words."""
    if isinstance(error, HTTPError):
        error.close()  # it is the answer as well
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, URLError):
        return f"no connection ({error.reason})"
    if isinstance(error, TimeoutError):
        return f"no answer for {TIMEOUT:.0f} seconds"
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if getattr(error, "filename", None):
        return f"cannot write {error.filename}: {error.strerror}"  # type: ignore[attr-defined]
    return f"the connection broke ({type(error).__name__}: {error})"
