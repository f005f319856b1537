"""What a change of the code does to a finished study: the real command, on a copy of the code."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kit import cells, commands, make_world, stage_times, trials, write_study

ROOT = Path(__file__).parents[1]
SWEPT = """
plain: {use: nets.Plain}
shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}
"""
EVALUATE = "{datasets: [bsd100], metrics: [psnr_y, ssim_y, difference]}"


class Place:
    """A world with a copy of the code that may be changed."""

    def __init__(self, world: Path) -> None:
        self.world, self.home, self.code = world, world / "home", world / "code"
        for name in ("bench", "methods"):
            shutil.copytree(
                ROOT / name, self.code / name, ignore=shutil.ignore_patterns("__pycache__")
            )

    def bench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.code),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BENCH_HOME": str(self.home),
            "BENCH_DATA": str(self.world / "data"),
        }
        program = "from bench.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True, text=True, cwd=self.world, env=environment, timeout=200,
        )  # fmt: skip

    def change(self, file: str, old: str, new: str) -> None:
        path = self.code / file
        text = path.read_text()
        assert text.count(old) == 1, (file, old)
        path.write_text(text.replace(old, new))

    def status(self) -> dict[str, list[str]]:
        """Record -> what has changed since."""
        ended = self.bench("status", "tiny", "--json")
        assert ended.returncode == 0, ended.stderr
        changed: dict[str, list[str]] = json.loads(ended.stdout)["changed"]
        return changed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world(tmp_path_factory.mktemp("stale") / "world")
    write_study(world, SWEPT, budget="{trials: 2}", evaluate=EVALUATE)
    ended = commands().run(world, "sweep", "tiny.yaml")
    assert ended.status == 0, ended.err
    return world


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Place:
    shutil.copytree(finished, tmp_path / "world")
    return Place(tmp_path / "world")


def scores(home: Path, metric: str) -> list[float]:
    return [s[5] for cell in cells(home).values() for s in cell["scores"] if s[3] == metric]


def test_remarks_metrics_and_methods_void_nothing(place: Place) -> None:
    for file in (place.code / "bench").rglob("*.py"):
        text = file.read_text()
        file.write_text(f"{text}\n# a remark at the end of {file.name}\n")
    place.change(
        "bench/train/updates.py",
        "def _seed_of",
        '"""Words between definitions."""\n\n\ndef _seed_of',
    )
    (place.code / "bench/measure/metrics/smooth_noise.py").write_text(
        "def smooth(x):\n    return 0\n"
    )
    (place.code / "methods/other.py").write_text("from bench.method import Method\n")
    before, stages = cells(place.home), stage_times(place.home)
    assert place.status() == {}
    ended = place.bench("sweep", "tiny.yaml")
    assert ended.returncode == 0, ended.stderr
    assert "3 of them already recorded" in ended.stderr
    assert cells(place.home) == before and stage_times(place.home) == stages


def test_a_change_in_one_metric_measures_that_metric_again(place: Place) -> None:
    before, stages = cells(place.home), stage_times(place.home)
    psnr = scores(place.home, "psnr_y")
    place.change(
        "bench/measure/metrics/fidelity.py", "10 * math.log10(255**2", "20 * math.log10(255**2"
    )
    changed = place.status()
    assert set(changed) == set(before)
    assert all(why == ["metric psnr_y"] for why in changed.values())
    ended = place.bench("sweep", "tiny.yaml")
    assert ended.returncode == 0, ended.stderr
    assert stage_times(place.home) == stages, "nothing was trained"
    assert scores(place.home, "psnr_y") == pytest.approx([2 * v for v in psnr])
    after = cells(place.home)
    for name, cell in after.items():
        assert [s for s in cell["scores"] if s[3] != "psnr_y"] == [
            s for s in before[name]["scores"] if s[3] != "psnr_y"
        ]
        assert all(stage["reused"] for stage in cell["stages"])
    # the search goes by what its trials are worth today
    values = {key: value for key, _, value in trials(place.home)}
    for key, value in values.items():
        assert value == after[f"shift-t{key:03d}-s0"]["objectives"]["psnr_y"]
    assert place.status() == {}
    again = place.bench("sweep", "tiny.yaml", "--trials", "3")
    assert again.returncode == 0, again.stderr
    assert len(trials(place.home)) == 3


@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        ("bench/train/updates.py", "1_000_003 + step", "1_000_033 + step", "the training loop"),
        (
            "bench/train/planning.py",
            "torch.manual_seed(its_seed)",
            "torch.manual_seed(its_seed + 1)",
            "the training loop",
        ),
        (
            "bench/data/pixels.py",
            "np.repeat(image[:, :, None], 3",
            "np.tile(image[:, :, None], 3",
            "",
        ),
    ],
)
def test_a_change_in_what_trains_is_named_and_both_ways_out_are_open(
    place: Place, file: str, old: str, new: str, part: str
) -> None:
    place.change(file, old, new)
    changed = place.status()
    assert set(changed) == set(cells(place.home))
    assert not part or all(part in why for why in changed.values())
    if part != "the training loop" or "planning" not in file:
        return
    refused = place.bench("sweep", "tiny.yaml")
    assert refused.returncode == 2
    assert part in refused.stderr and "shift-t000-s0" in refused.stderr
    assert "--fresh" in refused.stderr and "--keep" in refused.stderr
    before, stages = cells(place.home), stage_times(place.home)
    kept = place.bench("sweep", "tiny.yaml", "--keep", "--trials", "3")
    assert kept.returncode == 0, kept.stderr
    after = cells(place.home)
    assert set(after) - set(before) == {"shift-t002-s0"}
    assert after["shift-t000-s0"]["kept"] == [part] and after["shift-t002-s0"]["kept"] == []
    assert len(stage_times(place.home)) == len(stages) + 1
    table = (place.world / "reports/tiny/table.md").read_text()
    assert "[kept]" in table and "changed since: the training loop" in table
    assert place.status() == {}
