"""A row whose pictures somebody's own program makes, in whatever environment it needs."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.benchmark import Benchmark
from bench.data.files import as_text
from bench.data.images import image_size, scan_images, write_image
from bench.data.pixels import Image
from bench.data.roots import named_path
from bench.errors import BenchError, nearest, reason_of
from bench.measure.evaluate import Restore, pictures_in
from bench.measure.naming import pair_names
from bench.measure.task import digests_of
from bench.records.store import Store, content_key
from bench.study.fields import CommandSection
from bench.study.words import duration

PLACES = ("lr", "sr", "scale")
LAST = 10
"""Lines of a failed program's output that its row shows."""


class CommandFailed(BenchError):
    """A program that did not make the pictures; names the file with what it printed."""


class Program:
    """What makes the pictures of a row, benchmark by benchmark, each once for equal content.

    remarks, made: get what a reader must be told, and the keys of the pictures in the store.
    """

    def __init__(
        self, section: CommandSection, store: Store, remarks: list[str], made: list[str]
    ) -> None:
        self.section, self.store = section, store
        self.remarks, self.made = remarks, made
        self.environment = dict(os.environ)  # before scoring processes have put theirs into it

    def __call__(self, benchmark: Benchmark) -> Restore:
        """Returns what takes the program's pictures for restored ones; runs it if they are not in
        the store. Raises CommandFailed."""
        lr = {pair.stem: pair.lr() for pair in benchmark.pairs}
        if any(image.dtype != np.uint8 for image in lr.values()):
            raise CommandFailed(f"{benchmark.name}: raw files cannot be given to a command.")
        pixels = {
            stem: digests_of(np.asarray(image, np.uint8), None)[0] for stem, image in lr.items()
        }
        key = content_key(
            {
                "command": list(self.section.command),
                "version": str(self.section.version),
                "scale": benchmark.scale,
                "lr": pixels,
            }
        )
        with self.store.lock("commands", key, lambda process: None):
            if not self.store.has("commands", key):
                self._make(benchmark, key, {s: np.asarray(i, np.uint8) for s, i in lr.items()})
        entry = self.store.entry("commands", key)
        self.made.append(key)
        self.remarks.append(
            _told(self.section, benchmark, json.loads((entry / "made.json").read_bytes()))
        )
        return pictures_in(entry, benchmark)

    def _make(self, benchmark: Benchmark, key: str, lr: dict[str, Image]) -> None:
        """Runs the program and keeps what it has made."""
        work = self.store.scratch("commands", key)
        folders = {"lr": work / "lr", "sr": work / "sr"}
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for stem, image in lr.items():
            write_image(folders["lr"] / f"{stem}.png", image)
        values = {
            **{name: str(path) for name, path in folders.items()},
            "scale": str(benchmark.scale),
        }
        command = [_filled(word, values) for word in self.section.command]
        began, log = time.monotonic(), work / "log.txt"
        _run(command, log, self.section.timeout, self.environment)
        seconds = time.monotonic() - began
        files = _pictures(folders["sr"], benchmark, lr, log)

        def write(entry: Path) -> None:
            for stem, file in files.items():
                shutil.copyfile(file, entry / f"{stem}{file.suffix}")
            shutil.copyfile(log, entry / "log.txt")
            facts = {"command": command, "seconds": seconds, "pictures": len(files)}
            (entry / "made.json").write_text(json.dumps(facts), encoding="utf-8")

        self.store.commit("commands", key, write)


def _filled(word: str, values: dict[str, str]) -> str:
    """A word with its placeholders replaced; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), word)


def _run(command: Sequence[str], log: Path, timeout: float, environment: dict[str, str]) -> None:
    """Runs a program in the study file's folder, its output in a file. Raises CommandFailed."""
    if why := program_missing(command[0]):
        raise CommandFailed(why)
    supervisor = [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervise.py"))]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*supervisor, *command], cwd=named_path("."), env=environment, stdin=subprocess.PIPE,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            f"{command[0]}: not done after {duration(timeout)} (timeout:), and ended. "
            f"{_output(log)}"
        ) from None
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the supervisor then ends the program and its children
        process.wait()
    if status:
        how = f"signal {status - 128}" if status > 128 else f"status {status}"
        raise CommandFailed(f"{command[0]}: ended with {how}. {_output(log)}")


def _output(log: Path) -> str:
    """Where a program's output is, and its last lines."""
    lines = as_text(log.read_bytes().decode(errors="replace")).rstrip().splitlines()
    last = f" Its last line: {lines[-1].strip()}" if lines else " It printed nothing."
    return "\n".join([f"Its output: {log}.{last}", *(lines[-LAST:] if len(lines) > 1 else ())])


def _pictures(
    folder: Path,
    benchmark: Benchmark,
    lr: dict[str, Image],
    log: Path,
) -> dict[str, Path]:
    """Returns stem -> picture. Raises CommandFailed with a line for missing ones, one for those of
    no input, one for wrong sizes."""
    try:
        files, problems = scan_images(folder)
    except BenchError:
        raise CommandFailed(
            f"the command ended well and made no pictures. {_output(log)}"
        ) from None
    named = pair_names(files, list(lr), benchmark.scale)
    made = {stem: files[name] for name, stem in named.pairs.items()}
    sizes = []
    for stem, file in made.items():
        height, width = (benchmark.scale * side for side in lr[stem].shape[:2])
        try:
            if (got := image_size(file)) != (height, width):
                sizes.append(f"{file.name} is {got[1]}x{got[0]}, not {width}x{height}")
        except BenchError as error:
            problems.append(str(error))
    if missing := [stem for stem in lr if stem not in made]:
        problems.append(f"made no picture for {_several(missing)}; names are kept: NAME.png.")
    if extra := [file.name for name, file in files.items() if name not in named.pairs]:
        problems.append(f"made pictures of no input: {_several(extra)}.")
    if sizes:
        problems.append(f"made pictures of a wrong size: {_several(sizes)}.")
    if problems:
        where = f"{benchmark.name} x{benchmark.scale}: the command "
        told = [where + text if text.startswith("made") else text for text in problems]
        raise CommandFailed("\n".join([*told, _output(log)]))
    return made


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _told(section: CommandSection, benchmark: Benchmark, facts: dict[str, float]) -> str:
    version = f", version {section.version}" if section.version != "" else ""
    return (
        f"made by the command {' '.join(section.command)}{version}: {facts['pictures']} pictures "
        f"of {benchmark.name} x{benchmark.scale} in {facts['seconds']:.1f} s, its start-up included"
    )


def program_missing(name: str) -> str:
    """Returns why a program cannot be run; "" if it can. One with a "/" lies below the study file's
    folder, or where its path begins; another one is looked for in PATH."""
    if "/" not in name:
        return "" if shutil.which(name) else f"no program {name!r} in PATH. Write its whole path."
    path = named_path(".") / name
    try:
        if not path.is_file():
            return f"no such program: {path}."
    except OSError as error:
        return f"{path}: {reason_of(error)}"
    return "" if os.access(path, os.X_OK) else f"{path}: cannot be run. Do: chmod +x {path}"


def wrong_places(command: Sequence[str]) -> list[str]:
    """Returns what is wrong with a command's placeholders, a sentence each."""
    used = {name for word in command for name in re.findall(r"\{(\w+)\}", word)}
    problems = [
        f'unknown placeholder "{{{name}}}". Did you mean "{{{near}}}"? Known: {_known()}.'
        for name in sorted(used - {*PLACES})
        if (near := nearest(name, PLACES))
    ]
    if lacking := [name for name in ("lr", "sr") if name not in used]:
        names = " and ".join(f'"{{{name}}}"' for name in lacking)
        problems.append(f"{names} stand nowhere in it: the program is told the folder of the LR "
                        f"pictures, and that for its own. Known: {_known()}.")  # fmt: skip
    return problems


def _known() -> str:
    return ", ".join(f'"{{{name}}}"' for name in PLACES)
