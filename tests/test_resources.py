"""What a job needs: how a study says it, that it decides no number, and who runs the jobs."""

import json
from pathlib import Path
from typing import Any

import kit
import pytest

from bench.errors import BenchError
from bench.look.check import load_study
from bench.records.cell import Cell
from bench.study.resources import Needs, ResourcesSection, parse_memory, parse_time
from bench.sweep.executors import named
from bench.sweep.executors.local import LocalExecutor

METHODS = "shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    world = kit.make_world(tmp_path / "world")
    monkeypatch.chdir(world)
    monkeypatch.syspath_prepend(world)
    monkeypatch.setenv("BENCH_DATA", str(world / "data"))
    return world


def test_memory_and_time_are_read_in_the_units_that_people_write():
    assert [parse_memory(text) for text in ("8 GB", "1.5gb", "4GiB", "300 MB")] == [
        8_000_000_000, 1_500_000_000, 4 * 2**30, 300_000_000,
    ]  # fmt: skip
    times = ("4h", "1d 12h", "90min", "45 s", "20:00:00", "1-00:00:30")
    assert [parse_time(text) for text in times] == [14_400, 129_600, 5400, 45, 72_000, 86_430]


def test_a_study_says_what_a_job_needs_and_slurm_is_told(world: Path):
    said = "{cpus: 2, gpus: 0.5, memory: 8 GB, partition: gpu, account: a_b, time: 1-04:00:00}"
    resources = load_study(kit.write_study(world, METHODS, resources=said)).resources
    assert resources.needs(used=1) == Needs(2, 0.5, 8_000_000_000)
    assert (resources.partition, resources.account, resources.seconds) == ("gpu", "a_b", 100_800)


def test_what_is_not_said_comes_from_what_a_trial_has_used():
    assert ResourcesSection().needs() == Needs(1, None, 0)
    assert ResourcesSection().needs(used=400).memory == 500


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("{memory: 8}", ["resources.memory", "needs a number with a unit", "got 8"]),
        ("{memory: lots}", ["resources.memory", '"8 GB"']),
        ("{time: 30}", ["resources.time", '"4h"', "got 30"]),
        ("{time: 0s}", ["resources.time"]),
        ("{gpus: 1.5}", ["resources.gpus", "a share of one", "got 1.5"]),
        ("{cpus: 0}", ["resources.cpus"]),
        ("{partition: a b}", ["resources.partition"]),
        ("{gpu: 1}", ["unknown key 'gpu'", "Did you mean 'gpus'?"]),
        ("8", ["resources", "needs a mapping"]),
    ],
)
def test_a_mistake_in_it_is_one_line(world: Path, said: str, parts: list[str]):
    with pytest.raises(BenchError) as caught:
        load_study(kit.write_study(world, METHODS, resources=said))
    assert len(str(caught.value).splitlines()) == 1
    assert all(part in str(caught.value) for part in parts), caught.value


def test_needs_decide_no_number_and_make_no_other_study(world: Path):
    plain = load_study(kit.write_study(world, METHODS))
    needy = load_study(kit.write_study(world, METHODS, resources="{cpus: 4, memory: 1 GB}"))
    assert plain.search_digest("shift") == needy.search_digest("shift")
    assert plain.differences(needy) == []


def test_a_trial_records_the_memory_that_its_worker_used(world: Path):
    kit.write_study(world, METHODS, budget="{trials: 1}")
    done = kit.commands().run(world, "sweep", "tiny.yaml")
    assert done.status == 0, done.err
    (cell,) = kit.cells(world / "home").values()
    assert 50e6 < cell["memory"] < 5e9  # torch alone takes more than 50 MB
    told = kit.commands().run(world, "status", "tiny").out
    assert f"memory of a worker, at most: shift {cell['memory'] / 1e6:,.0f} MB" in told
    before = {key: value for key, value in cell.items() if key != "memory"}
    assert Cell.model_validate_json(json.dumps(before)).memory == 0  # an earlier version's record


ASKED: tuple[Any, Any] = (None, print)
"""A study, which none of these looks at, and who is told."""


def test_an_executor_is_made_of_its_name():
    executor = named.make_executor("local", 3, *ASKED)
    assert isinstance(executor, LocalExecutor) and executor.slots == 3


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("rya", ["unknown executor 'rya'", "Did you mean 'ray'?", "local, ray, slurm"]),
        ("local:here", ["--executor local:here", "write local"]),
        ("ray:", ["write ray or ray:ADDRESS"]),
    ],
)
def test_a_wrong_executor_is_one_message(word: str, parts: list[str]):
    with pytest.raises(BenchError) as caught:
        named.make_executor(word, None, *ASKED)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_a_package_that_is_not_there_is_named_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"pip install 'bench\[slurm\]'"):
        named.make_executor("slurm", None, *ASKED)


def test_what_is_meant_for_slurm_is_told_to_no_other(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BenchError, match="--slurm time=4h: is told to SLURM alone"):
        named.make_executor("local", None, *ASKED, slurm=["time=4h"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BenchError, match="no program sbatch in PATH"):
        named.make_executor("slurm", None, *ASKED)
