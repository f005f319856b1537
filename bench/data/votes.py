"""AVA's file of votes: which photographs people have marked, and how."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from bench.errors import BenchError, reason_of

MARKS = 10
"""Marks 1 to 10."""
COLUMNS = MARKS + 5
"""Index, image ID, votes for 1 to 10, two semantic tags, challenge ID."""

Part = Literal["train", "val"]


class Votes(NamedTuple):
    """What a file of votes lists."""

    of: dict[str, tuple[int, ...]]
    """Image ID -> how many gave it 1, 2, ... 10, in the order of the file."""
    refused: list[tuple[str, str]]
    """(image ID, or "" where the line has none; why the line does not count)."""


def part_of(stem: str) -> Part:
    """Returns the part of the set that a photograph belongs to: one in five is for validation.

    By a hash of its ID alone, so that no other photograph, missing or new, moves it.
    """
    digest = hashlib.blake2b(stem.encode(), digest_size=8).digest()
    return "val" if int.from_bytes(digest, "big") % 5 == 0 else "train"


def read_votes(path: Path) -> Votes:
    """Returns the votes of a file in AVA's layout, 15 numbers a line.

    Lines that are not of it, without votes, or of an image that was listed before do not count.
    Raises BenchError for a file that cannot be read, and for one of which no line counts.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise BenchError(f"{path}: {reason_of(error)}") from None
    return _read(path, status.st_size, status.st_mtime_ns)


def left_out(lines: Sequence[str], most: int = 20) -> str:
    """Returns how many photographs are left out, and why, the first of them by name.

    >>> left_out(["7: no picture of it in images.", "AVA.txt, line 2: no votes."])
    '2 left out: 7: no picture of it in images; AVA.txt, line 2: no votes'
    """
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return f"{len(lines)} left out: {'; '.join(line.rstrip('.') for line in lines[:most])}{more}"


@lru_cache(maxsize=2)
def _read(path: Path, size: int, modified: int) -> Votes:
    votes = Votes({}, [])
    lines: dict[str, int] = {}
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").split("\n"), 1
    ):
        if not (columns := line.split()):
            continue
        stem = columns[1] if len(columns) > 1 and columns[1].isdecimal() else ""
        why = _problem(columns)
        if not why and stem in lines:
            why = f"{stem} again, as in line {lines[stem]}"
        if why:
            votes.refused.append((stem, f"{path.name}, line {number}: {why}."))
            continue
        lines[stem] = number
        votes.of[stem] = tuple(map(int, columns[2 : 2 + MARKS]))
    if not votes.of:
        first = f": {votes.refused[0][1]}" if votes.refused else "."
        raise BenchError(f"{path}: no line of it counts{first} AVA's have {COLUMNS} numbers each.")
    return votes


def _problem(columns: list[str]) -> str:
    """Why a line does not count; "" if it does."""
    if len(columns) != COLUMNS:
        return f"{len(columns)} columns, not {COLUMNS}"
    if strange := [text for text in columns if not text.isdecimal()]:
        return f"{strange[0]!r} is no whole number from 0"
    return "" if any(map(int, columns[2 : 2 + MARKS])) else "no votes"
