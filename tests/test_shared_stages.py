"""A sweep over the number of stages: each stage is trained once, and a killed one goes on."""

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from kit import cells, commands, make_world, runs, stage_times, trials, until, write_study

CHAIN = '''
"""As many stages as asked for, each a convolution of its own."""

import os
import time

from torch import nn
from torch.nn import functional as F

from bench.method import Method, Stage


class Link(Method):
    def __init__(self, *, scale: int = 2):
        super().__init__()
        self.scale = scale
        self.network = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, lr):
        return F.interpolate(self.network(lr), scale_factor=float(self.scale))

    def training_step(self, batch, stage):
        with open("steps.txt", "a") as log:
            log.write(f"{stage.name} {batch.step}\\n")
        if stage.name == "link3" and batch.step == 3 and os.path.exists("slow"):
            time.sleep(2.2)  # long enough for a checkpoint
        while stage.name == "link3" and batch.step == 5 and os.path.exists("hold"):
            time.sleep(0.01)
        loss = super().training_step(batch, stage)["loss"]
        return {"loss": loss * float("nan" if stage.name == f"link{os.environ.get('BAD')}" else 1)}


class Chain(Method):
    def __init__(self, *, stages: int = 1, scale: int = 2):
        super().__init__()
        self.links = nn.ModuleList(Link(scale=scale) for _ in range(stages))

    def forward(self, lr):
        return self.links[-1](lr)

    def stages(self):
        return [
            Stage(f"link{n}", trains=link, target=self.links[n - 2].again if n > 1 else None)
            for n, link in enumerate(self.links, start=1)
        ]


def again(self, hr):
    return F.interpolate(self(hr), scale_factor=0.5)


Link.again = again
'''
CHAINS = "chain: {use: chain.Chain, stages: {grid: [1, 2, 3, 4, 5, 6, 7, 8]}}"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = make_world(tmp_path / "world")
    (folder / "chain.py").write_text(CHAIN)
    write_study(folder, CHAINS, select="", budget="{sampler: grid}")
    return folder


def steps(world: Path) -> list[tuple[str, int]]:
    """(stage, step) of every update that was made, in order."""
    lines = (world / "steps.txt").read_text().split("\n")[:-1]
    return [(name, int(step)) for name, step in map(str.split, lines)]


def test_eight_trials_train_eight_stages_not_thirty_six(world: Path) -> None:
    done = commands().run(world, "sweep", "tiny.yaml", "--workers", "2")
    assert done.status == 0, done.err
    each = [(f"link{n}", step) for n in range(1, 9) for step in range(8)]
    assert Counter(steps(world)) == Counter(each)
    assert done.err.count("training 8 steps") == 8
    home = world / "home"
    assert len(stage_times(home)) == 8
    records = cells(home)
    assert len(records) == 8
    trained = [stage for cell in records.values() for stage in cell["stages"]]
    assert len(trained) == 36 and sum(not stage["reused"] for stage in trained) == 8

    # so are its curves: the other runs say which run has them
    logged = runs(home)
    for n in range(1, 9):
        curve = f"train/link{n}/loss"
        (holder,) = [run for run in logged if curve in run.metrics]
        assert [step for step, _ in holder.metrics[curve]] == list(range(1, 9))
        others = [r for r in logged if f"bench.stage.link{n}" in r.tags and r != holder]
        assert len(others) == 8 - n
        assert {run.tags[f"bench.curves.link{n}"] for run in others} <= {holder.id}

    # nothing is selected: every trial is a row, Optuna knows all, and no objective is made up
    table = (world / "reports/tiny/table.md").read_text()
    for n in range(8):
        assert f"chain t{n:03d} (stages {n + 1})" in table
    assert "Objectives" not in table
    assert trials(home, method="chain") == [(n, "COMPLETE", 0.0) for n in range(8)]
    assert not any("objective/" in name for run in runs(home) for name in run.metrics)


def test_a_killed_sweep_goes_on_at_the_stage_it_was_in(world: Path) -> None:
    for name in ("slow", "hold"):
        (world / name).touch()
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1")
    until(lambda: (world / "steps.txt").is_file() and ("link3", 5) in steps(world))
    before = stage_times(world / "home")
    assert len(before) == 2
    driver.kill(signal.SIGKILL)
    driver.wait()
    for name in ("slow", "hold", "steps.txt"):
        (world / name).unlink()
    assert commands().run(world, "sweep", "tiny.yaml", "--workers", "1").status == 0
    # the checkpoint was written after step 3: steps 0 to 3 are not made again
    assert steps(world)[:4] == [("link3", 4), ("link3", 5), ("link3", 6), ("link3", 7)]
    assert not {name for name, _ in steps(world)} & {"link1", "link2"}
    after = stage_times(world / "home")
    assert len(after) == 8 and before.items() <= after.items()


def test_what_retrains_and_what_does_not(world: Path) -> None:
    budget = "{sampler: grid, trials: 3}"
    write_study(world, CHAINS, select="", budget=budget)
    assert commands().run(world, "sweep", "tiny.yaml").status == 0
    first = stage_times(world / "home")
    assert len(first) == 3

    # other sets are measured: the stages come from the store
    write_study(
        world, CHAINS, select="", budget=budget, evaluate="{datasets: [set14], metrics: [psnr_y]}"
    )
    done = commands().run(world, "sweep", "tiny.yaml")
    assert done.status == 0 and "training" not in done.err
    assert stage_times(world / "home") == first
    assert {score[0] for cell in cells(world / "home").values() for score in cell["scores"]} == {
        "set14"
    }

    # a comment changes nothing, code does, and the old trials are not mixed with new ones
    source = (world / "chain.py").read_text()
    (world / "chain.py").write_text(source.replace("class Chain", "# a remark\nclass Chain"))
    assert "training" not in commands().run(world, "sweep", "tiny.yaml").err
    (world / "chain.py").write_text(source.replace("padding=1)", "padding=1, bias=False)"))
    refused = commands().run(world, "sweep", "tiny.yaml")
    assert refused.status == 2 and "the code of chain.Chain" in refused.err
    fresh = commands().run(world, "sweep", "tiny.yaml", "--fresh")
    assert fresh.status == 0 and fresh.err.count("training 8 steps") == 3
    assert len(stage_times(world / "home")) == 6

    # another way to make LR
    shutil.copy(world / "tiny.yaml", world / "other.yaml")
    other = ("--set", "name=other", "--set", "task.degradation=jpeg_lanczos:60")
    harder = commands().run(world, "sweep", "other.yaml", *other)
    assert harder.status == 0 and harder.err.count("training 8 steps") == 3


def test_a_stage_that_diverges_costs_the_trials_that_need_it_and_no_other(world: Path) -> None:
    before = "import os; os.environ['BAD'] = '3'"
    done = commands().run(world, "sweep", "tiny.yaml", "--trials", "4", before=before)
    assert done.status == 1
    states = {name: cell["state"] for name, cell in cells(world / "home").items()}
    assert states == {
        "chain-t000-s0": "complete",
        "chain-t001-s0": "complete",
        "chain-t002-s0": "failed",
        "chain-t003-s0": "failed",
    }
    assert "stage link3: loss at step 1 is nan" in done.err
    assert "Finished and kept: link1, link2" in done.err
    table = (world / "reports/tiny/table.md").read_text()
    assert "2 of 4 records failed: stage link3: loss at step 1 is nan" in table
    assert "chain t001 (stages 2)" in table
