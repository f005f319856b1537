"""Rows that somebody's own program makes: run apart, kept by content, refused in one message."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit import cells, commands, make_world, until, write_pictures, write_study

from bench.data.benchmark import open_benchmark
from bench.data.images import read_image
from bench.data.roots import paths_from
from bench.records.store import Store
from bench.study.fields import CommandSection, MethodSection
from bench.sweep.command import CommandFailed, Program

THEIRS = '''
"""Somebody's test.py: enlarges the PNGs of a folder. It needs nothing but Python."""

import argparse
import struct
import sys
import zlib
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--input", type=Path)
parser.add_argument("--output", type=Path)
parser.add_argument("--scale", type=int)
arguments = parser.parse_args()


def read(path):
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    raw, rows, before = zlib.decompress(packed), [], bytes(3 * width)
    for y in range(height):
        line = bytearray(raw[y * (3 * width + 1) + 1 : (y + 1) * (3 * width + 1)])
        for x in range(3 * width):
            a, b, c = (line[x - 3] if x > 2 else 0), before[x], (before[x - 3] if x > 2 else 0)
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            kind = raw[y * (3 * width + 1)]
            line[x] = (line[x] + (0, a, b, (a + b) // 2, near)[kind]) % 256
        rows.append(bytes(line))
        before = line
    return rows


def write(path, rows):
    def chunk(kind, body):
        head = struct.pack(">I", len(body)) + kind
        return head + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\\0" + row for row in rows))
    path.write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body)
                     + chunk(b"IEND", b""))


for file in sorted(arguments.input.iterdir()):
    times = arguments.scale
    wide = [b"".join(row[x : x + 3] * times for x in range(0, len(row), 3)) for row in read(file)]
    write(arguments.output / file.name, [row for row in wide for _ in range(times)])
    print("enlarged", file.name, "with", sys.prefix)
'''

NEAREST = """
import shutil, sys
from pathlib import Path
from PIL import Image
lr, sr = map(Path, sys.argv[1:3])
for file in sorted(lr.iterdir()):
    with Image.open(file) as picture:
        large = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
    large.save(sr / file.name)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_pictures(tmp_path / "data/Set5/HR", 2)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path


def make(place: Path, script: str, **more: Any) -> tuple[dict[str, Any], list[str], list[str]]:
    """Runs a script on Set5 x2; the pictures, the remarks and the keys."""
    (place / "theirs.py").write_text(script)
    given = {"command": (sys.executable, "theirs.py", "{lr}", "{sr}"), **more}
    remarks, made = list[str](), list[str]()
    with paths_from(str(place)):
        program = Program(CommandSection(**given), Store(place / "home/store"), remarks, made)
        benchmark = open_benchmark("set5", 2)
        restore = program(benchmark)
        return {pair.stem: restore(pair)[1] for pair in benchmark.pairs}, remarks, made


def failure(place: Path, script: str, **more: Any) -> str:
    with pytest.raises(CommandFailed) as told:
        make(place, script, **more)
    return str(told.value)


def test_pictures_are_made_once_for_equal_command_version_and_lr(place: Path) -> None:
    count = "\nPath('count').open('a').write('x')"
    pictures, remarks, (key,) = make(place, NEAREST + count)
    lr = open_benchmark("set5", 2).pairs[0].lr()
    assert (pictures["00"] == np.asarray(lr).repeat(2, 0).repeat(2, 1)).all()
    assert "2 pictures of set5 x2 in " in remarks[0] and "start-up included" in remarks[0]
    ran = lambda: len((place / "count").read_text())  # noqa: E731
    assert make(place, NEAREST + count)[2] == [key] and ran() == 1, "taken from the store"
    assert make(place, NEAREST + count, version=2)[2] != [key] and ran() == 2
    write_pictures(place / "data/Set5/HR", 2, first=3)
    make(place, NEAREST + count)
    assert ran() == 3, "other LR"
    entry = place / "home/store/commands" / key
    assert json.loads((entry / "made.json").read_text())["pictures"] == 2
    assert read_image(entry / "00.png").shape == (48, 48, 3)


def test_what_is_wrong_with_its_pictures_is_a_line_each(place: Path) -> None:
    missing = failure(place, NEAREST + "\n(sr / '01.png').unlink()").splitlines()[0]
    assert missing == "set5 x2: the command made no picture for 01; names are kept: NAME.png."
    extra = failure(place, NEAREST + "\nshutil.copy(sr / '01.png', sr / 'zebra.png')")
    assert "set5 x2: the command made pictures of no input: zebra.png." in extra
    small = failure(place, NEAREST.replace("2 * picture.width", "picture.width"))
    assert "of a wrong size: 00.png is 24x48, not 48x48, 01.png is 24x48, not 48x48." in small
    assert "ended well and made no pictures" in failure(place, "print('nothing to do')")
    assert "Its last line: nothing to do" in failure(place, "print('nothing to do')")


def test_a_program_that_fails_shows_its_last_lines_and_its_log(place: Path) -> None:
    told = failure(place, "for i in range(30): print('line', i)\nraise ValueError('no weights')")
    first, *last = told.splitlines()
    assert "ended with status 1" in first and "ValueError: no weights" in first
    assert len(last) == 10 and "line 29" in told and "line 20" not in told
    log = Path(first.split("Its output: ")[1].split("log.txt")[0] + "log.txt")
    assert log.read_text().startswith("line 0\n")
    assert "ended with signal 9" in failure(place, "import os; os.kill(os.getpid(), 9)")


def test_a_time_limit_ends_it_with_its_children(place: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('pid', 'w').write(str(child.pid))\nprint('waiting', flush=True)\ntime.sleep(600)\n"
    )
    began = time.monotonic()
    told = failure(place, script, timeout=5)
    assert "not done after 5 s (timeout:)" in told and "waiting" in told
    assert time.monotonic() - began < 60
    child = int((place / "pid").read_text())
    until(lambda: not alive(child), "the end of the child, which takes its time to die")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_row_in_an_environment_of_its_own_stands_in_the_table(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    (world / "theirs").mkdir()
    (world / "theirs/test.py").write_text(THEIRS)
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", world / "theirs/env"], check=True
    )
    words = (
        "[theirs/env/bin/python, theirs/test.py, --input, '{lr}', --output, '{sr}', "
        "--scale, '{scale}']"
    )
    study = write_study(
        world,
        f"plain: {{use: nets.Plain}}\ntheirs: {{command: {words}, version: 1.2, timeout: 100}}",
        train="", select="", budget="",
    )  # fmt: skip
    plan = commands().run(world, "check", str(study))
    assert plan.status == 0, plan.err
    assert "theirs/env/bin/python theirs/test.py" in plan.out
    ended = commands().run(world, "sweep", str(study))
    assert ended.status == 0, ended.err
    found = cells(world / "home")
    same = [[score[5] for score in found[f"{row}-s0"]["scores"]] for row in ("plain", "theirs")]
    assert same[0] == same[1] and len(same[0]) == 2, "both repeat pixels"
    text = (world / "reports/tiny/table.md").read_text()
    assert "| theirs " in text and "version 1.2: 2 pictures of bsd100 x2" in text
    assert "bench eval command" not in (world / "reports/tiny/report.html").read_text()
    (key,) = found["theirs-s0"]["made"]
    log = (world / "home/store/commands" / key / "log.txt").read_text()
    assert f"with {world}/theirs/env" in log, "its own Python"
    clean = json.loads(commands().run(world, "clean", "--json").out)
    assert clean["removed"]["commands"]["count"] == 0, "a record names them"
    changed = study.read_text().replace("version: 1.2", "version: 1.3")
    study.write_text(changed.replace("timeout: 100", "timeout: 90"))
    again = commands().run(world, "sweep", str(study))
    assert "theirs is stale (the study's task" in again.err and "plain is stale" not in again.err
    assert cells(world / "home")["theirs-s0"]["made"] != [key]


def test_an_interrupt_ends_the_program_and_a_failure_is_a_row(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    (world / "slow.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\n"
        "time.sleep(600 if not os.path.exists('fail') else 0)\nraise SystemExit('a reason')\n"
    )
    words = f"[{sys.executable}, slow.py, '{{lr}}', '{{sr}}']"
    study = write_study(world, f"slow: {{command: {words}}}", train="", select="", budget="")
    command = commands().start(world, "sweep", str(study))
    pid = int(until(lambda: (world / "pid").exists() and (world / "pid").read_text()))
    command.kill(signal.SIGINT)
    assert command.wait().status == 130
    until(lambda: not alive(pid), "the end of the program")
    assert cells(world / "home") == {}
    (world / "fail").touch()
    ended = commands().run(world, "sweep", str(study))
    assert ended.status == 1
    reason = cells(world / "home")["slow-s0"]["reason"]
    assert "ended with status 1" in reason and "a reason" in reason.splitlines()[0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{command: [nobody, '{lr}', '{sr}']}", ["a.command", "no program 'nobody' in PATH"]),
        ("{command: [./run.sh, '{lr}', '{sr}']}", ["a.command", "no such program: ", "run.sh"]),
        ("{command: [./data, '{lr}', '{sr}']}", ["a.command", "no such program"]),
        ("{command: [./nets.py, '{lr}', '{sr}']}", ["a.command", "chmod +x"]),
        ("{command: [python3, x.py, '{lr}']}", ["a.command", '"{sr}" stand nowhere']),
        ("{command: [python3, '{lr}', '{sr}', '{scal}']}", ['unknown placeholder "{scal}"']),
        ("{command: [python3, {lr}, {sr}]}", ["a.command", "placeholders in quotes"]),
        ("{command: python3 x.py}", ["a.command", "needs a list"]),
        ("{command: []}", ["a.command"]),
        ("{command: [python3, '{lr}', '{sr}'], timeout: 0}", ["a.timeout", "greater than 0"]),
        ("{command: [python3, '{lr}', '{sr}'], vresion: 1}", ["a.vresion", "mean 'version'"]),
        ("{command: [python3, '{lr}', '{sr}'], use: nets.Shift}", ["a.use"]),
    ],
)
def test_a_mistake_in_a_row_is_told_by_check(
    row: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.errors import BenchError
    from bench.look.check import load_study

    write_pictures(tmp_path / "data/BSD100/HR", 1)
    (tmp_path / "nets.py").touch()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    file = write_study(tmp_path, f"a: {row}", train="", select="", budget="")
    with pytest.raises(BenchError) as told:
        load_study(file)
    assert all(word in str(told.value) for word in words), told.value


def test_what_decides_other_rows_is_what_it_was() -> None:
    """The digests of records rest on these words: a new key must not be among them."""
    assert MethodSection(use="a.B", width=3).decides == {
        "use": "a.B", "weights": None, "begins_from": None, "folder": None, "datasets": None,
        "train": None, "width": 3,
    }  # fmt: skip


def test_the_environment_is_that_of_bench(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_SETTING", "here")
    pictures, _, _ = make(
        place, "import os; assert os.environ['THEIR_SETTING'] == 'here'" + NEAREST
    )
    assert len(pictures) == 2 and "THEIR_SETTING" in os.environ
