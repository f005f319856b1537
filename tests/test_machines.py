"""A machine in trouble: a full disk, no home, no name for the user."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

import bench.cli
import bench.look.machine
from bench.errors import disk_is_full

FULL = "/dev/full"  # takes no byte


def to_open_file(write: Callable) -> None:
    with open(FULL, "wb") as file:
        write(file)


NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
WRITERS = {
    "Python": lambda: Path(FULL).write_text("a" * 200_000),
    "Pillow": lambda: PIL.Image.fromarray(NOISE).save(FULL, format="png"),
    "NumPy": lambda: to_open_file(NOISE.tofile),
    "NumPy, zip": lambda: to_open_file(lambda file: np.savez(file, a=NOISE)),
    "pandas": lambda: pd.DataFrame({"a": range(100_000)}).to_csv(FULL),
    "pyarrow": lambda: pd.DataFrame({"a": range(100_000)}).to_parquet(FULL),
    "torch": lambda: to_open_file(lambda file: torch.save(torch.zeros(100_000), file)),
    "torch, by a path": lambda: torch.save(torch.zeros(100_000), FULL),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_known_by_what_its_writer_says(writer: str):
    with pytest.raises((OSError, RuntimeError)) as caught:
        WRITERS[writer]()
    assert disk_is_full(caught.value)


def test_a_full_database_is_a_full_disk(tmp_path: Path):
    database = sqlite3.connect(tmp_path / "small.db")
    database.execute("pragma max_page_count = 2")
    database.execute("create table numbers (number)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("insert into numbers values (?)", ("1" * 100_000,))
    database.close()
    assert disk_is_full(caught.value)


def test_other_trouble_is_no_full_disk():
    assert not disk_is_full(PermissionError(errno.EACCES, "Permission denied", "file"))
    assert not disk_is_full(RuntimeError("12 requested, 3 written"))
    assert not disk_is_full(None)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `bench WORDS` in this process."""
    monkeypatch.setattr("sys.argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        bench.cli.main()
    return ended.value.code


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_message_in_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, writer: str
):
    monkeypatch.setattr(bench.look.machine, "inventory", lambda what: WRITERS[writer]())
    assert run(monkeypatch, "list", "metrics") == 2
    out, err = capsys.readouterr()
    assert out == ""
    said = "the disk is full. Nothing is lost: make room and run the same command again."
    assert err == f"Error: {said}\n"


def test_a_full_disk_is_named_by_the_file_if_that_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def full(what: str) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "read.png", None, "written.png")

    monkeypatch.setattr(bench.look.machine, "inventory", full)
    assert run(monkeypatch, "list", "metrics") == 2
    assert "Error: the disk is full (written.png). Nothing is lost" in capsys.readouterr().err


def test_what_is_our_bug_shows_itself(monkeypatch: pytest.MonkeyPatch):
    def wrong(what: str) -> None:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(bench.look.machine, "inventory", wrong)
    monkeypatch.setattr("sys.argv", ["bench", "list", "metrics"])
    with pytest.raises(ValueError, match="a mistake of ours"):
        bench.cli.main()


NOBODY = """
import pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from bench.cli import main
"""
HERE = ["HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "MPLCONFIGDIR"]


def as_nobody(folder: Path, code: str, *words: str, **settings: str) -> str:
    """What Python prints without home and passwd entry."""
    environment = {k: v for k, v in os.environ.items() if k not in HERE}
    command = [sys.executable, "-c", NOBODY + code, *words]
    done = subprocess.run(
        command, env=environment | settings, cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_user_without_home_and_name_can_do_everything(tmp_path: Path):
    """Importing MLflow asks for the home, and each of its runs for the user's name."""
    code = "import atexit, getpass; atexit.register(lambda: print(getpass.getuser()))\nmain()"
    told, name = as_nobody(tmp_path, code, "doctor", "--json").splitlines()
    assert json.loads(told)["home"] == os.environ["BENCH_HOME"]
    assert name == str(os.getuid())


SETTLED = """
import os, sys
sys.argv = ["bench", "--version"]
try: main()
except SystemExit: print(os.environ["HOME"], os.environ.get("MPLCONFIGDIR"), sep="\\n")
"""


def test_what_libraries_keep_goes_where_bench_may_write(tmp_path: Path):
    ours, mine = Path(os.environ["BENCH_HOME"]), tmp_path / "mine"
    mine.mkdir()
    _, *nothing = as_nobody(tmp_path, SETTLED).splitlines()
    assert nothing == [str(ours), str(ours / "matplotlib")]
    _, *writable = as_nobody(tmp_path, SETTLED, HOME=str(mine)).splitlines()
    assert writable == [str(mine), "None"]
    absent = str(tmp_path / "absent")
    _, *nowhere = as_nobody(tmp_path, SETTLED, HOME=absent).splitlines()
    assert nowhere == [absent, str(ours / "matplotlib")]
