"""bench as it is installed from a wheel, in an empty folder: what is not in it is missed here."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("bench", "methods", "studies", "reports/published")
BUILD = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
TINY = """
name: tiny
task: {kind: enhancement, scale: 1, degradation: none}
train: {dataset: photos_val, patch: 16, batch: 2, steps: 2, device: cpu, precision: fp32}
methods:
  rts: {use: methods.rts.RTS, network: residual1, stages: 1}
evaluate: {datasets: ["photos_val[:1]"], metrics: [difference]}
compare: [rts]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, for building leaves files behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SHIPPED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel in it."""
    folder = tmp_path_factory.mktemp("packages")
    options = ["-q", "--no-deps", "--no-index", "--disable-pip-version-check", "--target"]
    command = [sys.executable, "-m", "pip", "install", *options, str(folder), str(wheel)]
    subprocess.run(command, check=True)
    return folder


def run(installed: Path, folder: Path, *command: str) -> str:
    """What a command prints that finds bench in `installed` alone."""
    ours = ("BENCH_", "PYTHONPATH", "MLFLOW")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_that_is_no_code(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        path.relative_to(ROOT).as_posix()
        for package in ("bench", "methods")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    studies = {f"bench/look/examples/{path.name}" for path in (ROOT / "studies").glob("*.yaml")}
    tables = {
        f"bench/report/papers/printed/{path.name}"
        for path in (ROOT / "reports/published").glob("*.yaml")
    }
    assert {"bench/py.typed", "methods/data/nima_photos_v1.pth"} <= data
    assert studies and tables
    assert data | studies | tables <= names
    assert {name.rpartition("/")[2] for name in names} >= {"LICENSE", "NOTICE"}
    assert {name.split("/")[0] for name in names} == {"bench", "methods", "bench-0.1.0.dist-info"}


def test_it_begins_in_an_empty_folder(installed: Path, tmp_path: Path):
    code = "import bench.cli, methods; print(bench.cli.__file__, methods.__file__)"
    files = run(installed, tmp_path, sys.executable, "-P", "-c", code).split()
    assert [Path(file).is_relative_to(installed) for file in files] == [True, True]
    bench = str(installed / "bin/bench")
    names = [row["name"] for row in json.loads(run(installed, tmp_path, bench, "new", "--json"))
             ["examples"]]  # fmt: skip
    assert names == sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))
    run(installed, tmp_path, bench, "new", "gamma")
    copied = (tmp_path / "studies/gamma.yaml").read_bytes()
    assert copied == (ROOT / "studies/gamma.yaml").read_bytes()


def test_a_study_trains_and_is_set_beside_a_paper(installed: Path, tmp_path: Path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    bench = str(installed / "bin/bench")
    answer = json.loads(run(installed, tmp_path, bench, "sweep", "tiny.yaml", "--json"))
    assert (answer["cells"], answer["failed"]) == (1, {})
    table = (tmp_path / "reports/tiny/table.md").read_text(encoding="utf-8")
    assert "rts [tiny run]" in table and "Park and Kwak" in table
    record = json.loads((tmp_path / ".bench/studies/tiny/cells/rts-s0.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["sr1"]
