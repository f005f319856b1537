"""What the tests of the sweep and of the command line share: a tiny world and real processes.

A command is run by a process of its own, which may be killed. To save each of them the imports
(3 s), they are forked from a server that has them behind it and has run nothing: `Commands`. Data
are three sets of a few 48x48 pictures, the methods a convolution: a sweep takes a second or two.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from bench.data.mapped import Mapped
from bench.data.pixels import Samples
from bench.data.raw import CAMERAS

BENCH = Path(sys.executable).with_name("bench")
PATIENCE = 100.0  # seconds, on a machine that does a lot besides
SERVERS: dict[Path, dict[str, str]] = {}
"""Home -> the variables that point to its databases on a server; without, they are its files."""
VARIABLES = {"mlflow.db": "MLFLOW_TRACKING_URI", "optuna.db": "BENCH_OPTUNA_STORAGE"}

METHODS = '''
"""Methods that cost nothing, and methods that go wrong."""

import errno
import os
import signal
import time

import torch
from torch import nn
from torch.nn import functional as F

from bench.method import Method, Stage


class Shift(Method):
    """Enlarges, adds a little of a trained convolution, and makes a known error.

    Training stands still as long as a file named hold is there.
    """

    def __init__(self, *, scale: int = 2, error: float = 0.0, size: int = 3):
        super().__init__()
        self.scale, self.error = scale, error
        self.network = nn.Conv2d(3, 3, size, padding=size // 2)

    def forward(self, lr):
        sr = F.interpolate(lr, scale_factor=float(self.scale))
        return sr + 0.01 * self.network(sr) + self.error

    def stages(self):
        return (Stage("fit"),)

    def training_step(self, batch, stage):
        while os.path.exists("hold"):
            time.sleep(0.01)
        return super().training_step(batch, stage)


class Plain(Shift):
    """Nothing to train."""

    def stages(self):
        return ()

    def forward(self, lr):
        return F.interpolate(lr, scale_factor=float(self.scale)) + self.error


class Nan(Shift):
    def training_step(self, batch, stage):
        return {"loss": super().training_step(batch, stage)["loss"] * float("nan")}


class Wrong(Shift):
    def training_step(self, batch, stage):
        raise ValueError("a mistake in training_step")


class Dies(Shift):
    def training_step(self, batch, stage):
        os.kill(os.getpid(), signal.SIGKILL)


class Leaves(Shift):
    def training_step(self, batch, stage):
        os._exit(3)


class Blank(Shift):
    """Restores pictures that are not finite."""

    def forward(self, lr):
        return super().forward(lr) * (1 if self.training else float("nan"))


class Gpu(Shift):
    """Loses its GPU once if a file named gpu is there, always if it says so."""

    def training_step(self, batch, stage):
        if os.path.exists("gpu"):
            with open("gpu") as file:
                always = file.read()
            if not always:
                os.remove("gpu")
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().training_step(batch, stage)


class Full(Shift):
    """Finds the disk full as long as a file named full is there."""

    def training_step(self, batch, stage):
        if batch.step == 3 and os.path.exists("full"):
            raise OSError(errno.ENOSPC, "No space left on device", "checkpoint.pth")
        return super().training_step(batch, stage)


class Talks(Shift):
    """Prints while it trains and restores."""

    def forward(self, lr):
        print("a word on standard output")
        return super().forward(lr)


class TalksUntrained(Talks):
    def stages(self):
        return ()
'''


def write_study(folder: Path, methods: str, **changes: str) -> Path:
    """Writes NAME.yaml with these lines of `methods:`; changes: whole sections by name."""
    sections = {
        "name": "tiny",
        "task": "{kind: super-resolution, scale: 2}",
        "train": "{dataset: set5, patch: 16, batch: 2, steps: 8, learning_rate: 1e-3, "
        "precision: fp32, device: cpu}",
        "select": "{dataset: set14, maximize: [psnr_y]}",
        "evaluate": "{datasets: [bsd100], metrics: [psnr_y]}",
        "budget": "{trials: 3, sampler: random}",
    } | changes
    lines = [f"{key}: {value}" for key, value in sections.items() if value]
    lines += ["methods:", *(f"  {line.strip()}" for line in methods.strip().splitlines())]
    file = folder / f"{sections['name']}.yaml"
    file.write_text("# Does it hold?\n" + "\n".join(lines) + "\n")
    return file


def write_pictures(folder: Path, count: int, side: int = 48, first: int = 0) -> None:
    """Writes smooth pictures, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] / side
    for i in range(first, first + count):
        waves = [np.sin((3 + i) * x + c) * np.cos((5 + i) * y - c) for c in range(3)]
        picture = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
        PIL.Image.fromarray(picture).save(folder / f"{i:02d}.png")


def make_world(folder: Path) -> Path:
    """Fills a folder with the methods, the sets and a home; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    commands().blank(folder / "home")
    (folder / "nets.py").write_text(METHODS)
    write_pictures(folder / "data/Set5/HR", 3)
    write_pictures(folder / "data/Set14/HR", 2, first=10)
    write_pictures(folder / "data/BSD100/HR", 2, first=20)
    return folder


def write_dng(
    path: Path,
    mosaic: NDArray[np.uint16],
    pattern: tuple[str, ...],
    black: int,
    white: int = 16383,
    turned: int = 1,
) -> None:
    """Writes an uncompressed DNG: a TIFF of one strip with a colour filter array, no colour
    transform, and unit white balance. LibRaw tells formats by content, so the suffix is free."""
    byte, text, short, long, rational, signed = 1, 2, 3, 4, 5, 10
    cells = ["RGB".index(c) for row in pattern for c in row]
    identity = [n for i in range(9) for n in (int(i % 4 == 0), 1)]
    entries: list[tuple[int, int, list[int] | bytes]] = [
        (254, long, [0]), (256, long, [mosaic.shape[1]]), (257, long, [mosaic.shape[0]]),
        (258, short, [16]), (259, short, [1]), (262, short, [32803]),
        (271, text, b"Made\0"), (272, text, b"by the test\0"),
        (273, long, [0]), (274, short, [turned]), (277, short, [1]),
        (278, long, [mosaic.shape[0]]), (279, long, [mosaic.nbytes]),
        (33421, short, [len(pattern), len(pattern[0])]), (33422, byte, bytes(cells)),
        (50706, byte, bytes([1, 4, 0, 0])), (50708, text, b"Made by the test\0"),
        (50714, long, [black]), (50717, long, [white]),
        (50721, signed, identity), (50728, rational, [1] * 6), (50778, short, [21]),
    ]  # fmt: skip
    packed = []
    for tag, kind, values in entries:
        code = {short: "H", signed: "i"}.get(kind, "I")
        data = (
            values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{code}", *values)
        )
        count = len(values) // (2 if kind in (rational, signed) else 1)
        packed.append((tag, kind, count, data))
    start = 8 + 2 + 12 * len(packed) + 4
    pixels = start + sum(len(data) + len(data) % 2 for *_, data in packed if len(data) > 4)
    directory, beyond = b"", b""
    for tag, kind, count, data in packed:
        value = struct.pack("<I", pixels) if tag == 273 else data.ljust(4, b"\0")
        if len(data) > 4:
            value = struct.pack("<I", start + len(beyond))
            beyond += data + b"\0" * (len(data) % 2)
        directory += struct.pack("<HHI", tag, kind, count) + value
    head = b"II*\0" + struct.pack("<IH", 8, len(packed))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + directory + b"\0" * 4 + beyond + mosaic.astype("<u2").tobytes())


def sensor(height: int, width: int, black: int = 512, seed: int = 0) -> NDArray[np.uint16]:
    values = np.random.default_rng(seed).integers(black - 8, 2000, (height, width))
    return values.astype(np.uint16)


def write_sid(root: Path, listing: str) -> Path:
    """Writes See-in-the-Dark's official tree, each file of 40x31 pixels: two good Sony scenes and a
    misaligned one with three short exposures each, and one scene that has not been downloaded."""
    lines = []
    pattern = CAMERAS["sony"].pattern
    for scene, long in (("10003", "10s"), ("10011", "30s"), ("10034", "10s"), ("10199", "10s")):
        for number, short in (("00", "0.04s"), ("00", "0.1s"), ("01", "0.1s")):
            names = f"Sony/short/{scene}_{number}_{short}.ARW", f"Sony/long/{scene}_00_{long}.ARW"
            lines.append(f"./{names[0]} ./{names[1]} ISO200 F9\n")
            if scene != "10199":
                write_dng(root / names[0], sensor(31, 40, seed=len(lines)), pattern, 512)
                write_dng(root / names[1], sensor(31, 40, seed=int(scene)) * 4, pattern, 512)
    write_dng(root / "Sony/short/00001_00_0.1s.ARW", sensor(30, 40), pattern, 512)
    (root / listing).write_text("".join(lines))
    return root


def mapped(images: Sequence[Samples]) -> Mapped:
    """Images named image0, image1, ... as the store keeps them, in memory."""
    height, width = np.array([image.shape[:2] for image in images], np.int64).T
    pixels = np.concatenate([image.reshape(-1, image.shape[2]) for image in images])
    stems = np.array([f"image{i}" for i in range(len(images))])
    return Mapped(pixels, stems, np.cumsum(height * width) - height * width, height, width)


@dataclass
class Ended:
    """A command that has ended."""

    status: int
    """Exit status; minus the number of the signal that killed it."""
    out: str
    err: str


@dataclass
class Command:
    """A command under way, in a process of its own at the head of its group."""

    pid: int
    server: "Commands"
    folder: Path

    def wait(self) -> Ended:
        status = self.server.ask({"wait": self.pid})
        texts = [(self.folder / name).read_text() for name in ("out", "err")]
        assert status is not None, f"still running after {PATIENCE} s:\n{texts[1]}"
        return Ended(status, *texts)

    def out(self) -> str:
        """What it has said so far on standard output."""
        file = self.folder / "out"
        return file.read_text() if file.is_file() else ""

    def err(self) -> str:
        """What it has said so far."""
        return (self.folder / "err").read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def ctrl_c(self) -> None:
        """As a terminal does it: the whole group gets the signal."""
        os.killpg(self.pid, signal.SIGINT)

    def workers(self) -> list[int]:
        """Process ids of its workers that train: they are children of its fork server."""
        return [w for server in children(self.pid) for w in children(server)]


class Commands:
    """Runs `bench` command lines, each in a process of its own."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.count = 0
        self._blank = Path(tempfile.mkdtemp()) / "mlflow.db"

    def blank(self, home: Path) -> Path:
        """Makes a home folder whose MLflow database has its tables: they take seconds to make."""
        if not self._blank.exists():
            code = (
                "import mlflow\n"
                f"mlflow.MlflowClient('sqlite:///{self._blank}').search_experiments()\n"
                "raise SystemExit(0)"
            )
            assert self.run(self._blank.parent, before=code).status == 0
        home.mkdir(parents=True)
        shutil.copy(self._blank, home / "mlflow.db")
        return home

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self.server.stdin is not None and self.server.stdout is not None
        try:
            self.server.stdin.write(json.dumps(request) + "\n")
            self.server.stdin.flush()
            return json.loads(self.server.stdout.readline())
        except BaseException:  # such as a test's timeout: the next answer would be of this request
            self.server.kill()
            commands.cache_clear()
            raise

    def start(
        self, world: Path, *arguments: str, before: str = "", home: Path | None = None
    ) -> Command:
        """Starts `bench ARGUMENTS` in the folder `world`; before: Python to run ahead of it."""
        self.count += 1
        folder = world / f"command-{self.count}"
        folder.mkdir()
        (folder / "err").touch()  # it may be looked at before the process has begun
        home = home or world / "home"
        environment = SERVERS.get(home, {}) | {
            "BENCH_HOME": str(home),
            "BENCH_DATA": str(world / "data"),
            "BENCH_WEIGHTS": str(world / "weights"),
        }
        request = {
            "arguments": arguments,
            "world": str(world),
            "folder": str(folder),
            "environment": environment,
            "before": before,
        }
        return Command(self.ask(request), self, folder)

    def run(self, world: Path, *arguments: str, **more: Any) -> Ended:
        return self.start(world, *arguments, **more).wait()

    def close(self) -> None:
        assert self.server.stdin is not None and self.server.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.server.stdin.close()
        self.server.wait(PATIENCE)
        self.server.stdout.close()
        shutil.rmtree(self._blank.parent)


@cache
def commands() -> Commands:
    """The server of the whole test run."""
    server = Commands()
    atexit.register(server.close)
    return server


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Waits until the condition holds; returns what it gave."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never came: {what or condition}")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


# --- what a sweep has left ----------------------------------------------------------------------


def cells(home: Path, study: str = "tiny") -> dict[str, dict[str, Any]]:
    """Every record by file name, read as plain JSON."""
    files = sorted((home / "studies" / study / "cells").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


def results(home: Path, study: str = "tiny") -> dict[str, Any]:
    """What must not depend on how often a sweep was killed."""
    kept = ("state", "swept", "parameters", "objectives", "scores", "fingerprint")
    return {name: {key: cell[key] for key in kept} for name, cell in cells(home, study).items()}


def _rows(file: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    """What a home's mlflow.db or optuna.db answers, or the server that it has instead."""
    address = SERVERS.get(file.parent, {}).get(VARIABLES.get(file.name, ""), "")
    if address.startswith("postgresql"):
        return _rows_of_a_server(address, query, *values)
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def _rows_of_a_server(address: str, query: str, *values: str) -> list[tuple[Any, ...]]:
    import psycopg

    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        return connection.execute(query.replace("?", "%s"), values or None).fetchall()  # type: ignore[arg-type]


@dataclass
class Run:
    """A run in MLflow's database."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, list[tuple[int, float]]]
    """(step, value) as logged."""


def runs(home: Path, study: str = "tiny", kind: str = "trial") -> list[Run]:
    """The runs of a study, as any reader of the database sees them."""
    file = home / "mlflow.db"
    found = []
    for run, name, status in _rows(
        file, "select run_uuid, name, status from runs order by start_time"
    ):
        tags = dict(_rows(file, "select key, value from tags where run_uuid = ?", run))
        if tags.get("bench.study") != study or tags.get("bench.kind") != kind:
            continue
        metrics: dict[str, list[tuple[int, float]]] = {}
        for key, step, value, nan in _rows(
            file, "select key, step, value, is_nan from metrics where run_uuid = ?", run
        ):
            metrics.setdefault(key, []).append((step, float("nan") if nan else value))
        params = dict(_rows(file, "select key, value from params where run_uuid = ?", run))
        found.append(Run(run, name, status, tags, params, metrics))
    return found


def trials(home: Path, study: str = "tiny", method: str = "shift") -> list[tuple[int, str, Any]]:
    """(key, state, value of the first objective) of each trial in Optuna's database, by number."""
    query = (
        "select a.value_json, t.state, v.value from trials t "
        "join studies s on s.study_id = t.study_id "
        "left join trial_user_attributes a on a.trial_id = t.trial_id and a.key = 'key' "
        "left join trial_values v on v.trial_id = t.trial_id and v.objective = 0 "
        "where s.study_name = ? order by t.number"
    )
    rows = _rows(home / "optuna.db", query, f"{study}/{method}")
    return [(-1 if key is None else int(key), state, value) for key, state, value in rows]


def stage_times(home: Path) -> dict[str, int]:
    """When the weights of each finished stage were written."""
    return {p.parent.name: p.stat().st_mtime_ns for p in home.glob("store/stages/*/weights.pth")}


# --- the server: python kit.py ------------------------------------------------------------------


def _serve() -> None:
    import bench.api
    import bench.cli
    import bench.look.machine
    import bench.report.render
    import bench.sweep.driver  # noqa: F401 - to have them imported

    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _wait(request["wait"])
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
        print(json.dumps(answer), flush=True)


def _wait(pid: int) -> int | None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _become(request: Mapping[str, Any]) -> None:
    """Is the `bench` command from here on."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.chdir(request["world"])
        os.environ.update(request["environment"])
        for number, name in enumerate(("/dev/null", "out", "err")):
            path = os.path.join(request["folder"], name)
            flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if number else 0)
            os.dup2(os.open(path, flags), number)
        # new objects: the server's may hold text that is not the command's
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
        sys.argv = ["bench", *request["arguments"]]
        exec(request["before"], {})
        from bench.cli import main

        main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        from multiprocessing.util import _exit_function

        _exit_function()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
