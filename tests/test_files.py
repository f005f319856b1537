"""Digests of files: what has not changed is not read again, and a lost memory costs only time."""

import hashlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from bench.data import files
from bench.data.files import file_digests


@pytest.fixture
def some(tmp_path: Path) -> list[Path]:
    """Three files that have been lying there for a minute."""
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)
        os.utime(path, (time.time() - 60,) * 2)
    return paths


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, as they are."""
    names: list[str] = []

    def digest(path: Path) -> str:
        names.append(path.name)
        return hashlib.blake2b(path.read_bytes()).hexdigest()[:16]

    monkeypatch.setattr(files, "_digest", digest)
    monkeypatch.setattr(files, "_known", {})
    return names


def another_process() -> None:
    files._known.clear()


def test_a_digest_is_that_of_the_bytes(some: list[Path]) -> None:
    assert file_digests(some)[some[1]] == hashlib.blake2b(b"b" * 1000).hexdigest()[:16]


def test_another_process_reads_only_what_has_changed(some: list[Path], read: list[str]) -> None:
    first = file_digests(some)
    assert file_digests(some[:1]) == {some[0]: first[some[0]]} and read == ["a", "b", "c"]
    another_process()
    assert file_digests(some) == first and read == ["a", "b", "c"]
    some[1].write_bytes(b"B" * 1000)  # of the same size, later
    another_process()
    assert file_digests(some)[some[1]] != first[some[1]] and read[3:] == ["b"]


def test_a_file_that_has_just_been_written_is_not_remembered(
    some: list[Path], read: list[str]
) -> None:
    some[0].write_bytes(b"new")
    file_digests(some)
    another_process()
    file_digests(some)
    assert read == ["a", "b", "c", "a"]


def test_without_its_memory_all_is_read_again(
    some: list[Path], read: list[str], bench_home: Path
) -> None:
    first = file_digests(some)
    database = bench_home / "store/files.db"
    assert database.is_file()
    database.write_bytes(b"no database at all" * 100)
    another_process()
    assert file_digests(some) == first and len(read) == 6
    another_process()
    assert file_digests(some) == first and len(read) == 6, "the damaged one has made room"

    holder = sqlite3.connect(database)
    holder.execute("BEGIN EXCLUSIVE")
    another_process()
    assert file_digests(some) == first and len(read) == 9
    holder.close()


def test_a_home_that_cannot_be_written_costs_only_time(
    some: list[Path], read: list[str], bench_home: Path
) -> None:
    bench_home.mkdir()
    (bench_home / "store").write_text("a file where the folder should be")
    file_digests(some)
    another_process()
    file_digests(some)
    assert len(read) == 6
