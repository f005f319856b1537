"""Workers of this machine: what a job leaves behind in them, and how many there are."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import deeds
import kit
import pytest
from deeds import Deed, Said
from kit import cells, commands, results, until, write_study

from bench.cli.studies import AUTO, sweep
from bench.records.cell import Cell, TrainedStage
from bench.sweep.executors import auto
from bench.sweep.executors.auto import (
    CONTEXT,
    AutoExecutor,
    CardUse,
    busy_share,
    limits_of,
    local_executor,
    workers_a_card,
)
from bench.sweep.executors.local import LocalExecutor, share_of
from bench.sweep.job import Done, Event, Lost

MB = 2**20


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that workers are forked from finds `deeds`, if it starts here."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture
def warm() -> Iterator[LocalExecutor[Deed, Said]]:
    executor = LocalExecutor[Deed, Said](1, deeds.run, warm=True)
    yield executor
    executor.close()


def done(executor: LocalExecutor[Deed, Said], name: str, *arguments: Any) -> Said | Lost:
    """Has a job done, and waits for its last word."""
    handle = executor.submit(Deed(name, arguments))
    said = until(lambda: list(executor.events(0.1)))
    assert [h for h, _ in said] == [handle]
    last: Said | Lost = said[0][1]
    return last


def pid(executor: LocalExecutor[Deed, Said], name: str = "nothing", *arguments: Any) -> int:
    """Has a job done; returns the process that did it."""
    said = done(executor, name, *arguments)
    assert isinstance(said, Said)
    return said.pid


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


# --- one process after the other, or the same ---------------------------------------------------


def test_a_warm_worker_serves_one_job_after_the_other(warm: LocalExecutor[Deed, Said]) -> None:
    assert len({pid(warm) for _ in range(4)}) == 1


def test_without_a_gpu_each_job_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = LocalExecutor[Deed, Said](1, deeds.run)
    assert len({pid(executor) for _ in range(3)}) == 3
    for count, words in ((0, (None, 2)), (1, (None, 2))):
        monkeypatch.setattr(auto, "cards", lambda count=count: count)
        assert {local_executor(word, print)._warm for word in words} == {count > 0}


def test_what_a_job_changes_of_its_process_the_next_one_does_not_find(
    warm: LocalExecutor[Deed, Said],
) -> None:
    first, changed, after = (done(warm, name) for name in ("tell", "change", "tell"))
    assert isinstance(first, Said) and isinstance(changed, Said) and isinstance(after, Said)
    assert first.pid == changed.pid == after.pid
    assert [name for name in first.found if changed.found[name] == first.found[name]] == []
    assert after.found == first.found


MODULE = """
import functools
import numpy as np
COUNT, NAMES, DRAWN = 0, ["a"], np.random.default_rng(0)
class Net:
    made = 0
def count():
    global COUNT
    COUNT += 1
@functools.cache
def table(): return list(range(1000))
"""
CHANGES = {
    "a name": "user.count()",
    "what a list holds": "user.NAMES.append('b')",
    "where a generator stands": "user.DRAWN.random()",
    "an attribute of a class": "setattr(user.Net, 'made', 1)",
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own module, as a study names methods in it."""
    file = tmp_path / f"user_{tmp_path.name.rpartition('-')[2]}.py"
    file.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return file


def test_a_module_that_stays_as_it_was_loaded_costs_no_process(
    warm: LocalExecutor[Deed, Said], module: Path
) -> None:
    deeds = ("", "user.table()", "user.NAMES[0]", "user.Net()", "user.table()")
    assert len({pid(warm, "use", module.stem, deed) for deed in deeds[:3]}) == 1


@pytest.mark.parametrize("what", CHANGES)
def test_a_process_whose_module_has_changed_serves_no_other_job(
    warm: LocalExecutor[Deed, Said], module: Path, what: str
) -> None:
    """Also where the module is loaded by the job that changes it."""
    assert pid(warm, "use", module.stem, CHANGES[what]) != pid(warm)


def test_a_module_that_is_edited_between_two_trials_is_loaded_again(
    warm: LocalExecutor[Deed, Said], module: Path
) -> None:
    before = done(warm, "use", module.stem, "user.NAMES")
    time.sleep(0.1)  # it has tidied up by then
    module.write_text(MODULE.replace('["a"]', '["a new one"]'))
    after = done(warm, "use", module.stem, "user.NAMES")
    assert isinstance(before, Said) and isinstance(after, Said)
    assert (before.found, after.found) == (["a"], ["a new one"])


@pytest.mark.parametrize("what", ["fail", "flush"])
def test_a_process_that_cannot_be_put_back_serves_no_other_job(
    warm: LocalExecutor[Deed, Said], what: str
) -> None:
    assert pid(warm, what) != pid(warm)


# --- crashes and ends ---------------------------------------------------------------------------


def test_a_crash_costs_one_job(warm: LocalExecutor[Deed, Said]) -> None:
    served = pid(warm)
    assert done(warm, "die") == Lost("the worker process ended without a result (signal SIGKILL)")
    assert pid(warm) != served


def test_a_worker_that_dies_between_two_jobs_costs_none(warm: LocalExecutor[Deed, Said]) -> None:
    served = pid(warm)
    os.kill(served, signal.SIGKILL)
    until(lambda: not alive(served))
    assert pid(warm) != served


def test_a_cancelled_job_s_process_ends_and_the_next_job_gets_another(
    warm: LocalExecutor[Deed, Said],
) -> None:
    served = pid(warm)
    warm.cancel(warm.submit(Deed("wait")))
    assert not alive(served)
    assert pid(warm) != served


def test_closing_ends_those_that_rest_too(warm: LocalExecutor[Deed, Said]) -> None:
    served = pid(warm)
    assert alive(served)
    warm.close()
    assert not alive(served)


# --- memory -------------------------------------------------------------------------------------


def test_the_peak_is_that_of_the_trial_and_not_of_the_one_before(
    warm: LocalExecutor[Deed, Said],
) -> None:
    said = [done(warm, "peak", size * MB) for size in (1, 1, 400, 1)][1:]
    small, large, again = (each.found / MB for each in said)  # type: ignore[union-attr]
    assert len({each.pid for each in said}) == 1  # type: ignore[union-attr]
    assert 395 < large - small < 405
    assert abs(again - small) < 5


def test_two_hundred_jobs_hold_no_more_than_the_first(warm: LocalExecutor[Deed, Said]) -> None:
    said = [done(warm, "peak", MB) for _ in range(200)]
    assert len({each.pid for each in said}) == 1  # type: ignore[union-attr]
    assert said[-1].found - said[1].found < 2 * MB  # type: ignore[union-attr]


def test_a_process_that_holds_ever_more_is_replaced(warm: LocalExecutor[Deed, Said]) -> None:
    """The first job's is what a method keeps; beyond it 256 MB may be added."""
    first, second, third = (pid(warm, "keep", size * MB) for size in (300, 200, 100))
    assert first == second == third
    assert pid(warm) != first


# --- how many -----------------------------------------------------------------------------------


def test_cores_are_shared_and_none_is_given_twice_when_slots_become_more() -> None:
    assert [share_of(16, slots, []) for slots in (1, 2, 3, 16, 20)] == [16, 8, 5, 1, 1]
    taken = [4, 4, 4]  # of four cards one worker each; the fourth has ended, and there may be eight
    while len(taken) < 7:
        taken.append(share_of(16, 8, taken))
    assert taken == [4, 4, 4, 1, 1, 1, 1]
    assert share_of(16, 8, taken[3:]) == 2


def test_as_many_workers_a_card_as_fill_85_percent_of_its_time() -> None:
    wanted = {1.0: 1, 0.9: 1, 0.85: 1, 0.84: 2, 0.425: 2, 0.31: 3, 0.1: 9}
    assert {busy: workers_a_card(busy, {})[0] for busy in wanted} == wanted
    assert workers_a_card(0.9, {"there are 4 cores for it": 4}) == (
        1,
        "a trial trains 90 % of its time, which keeps it busy",
    )
    assert workers_a_card(0.31, {"there are 4 cores for it": 4}) == (
        3,
        "a trial trains 31 % of its time, so one would leave it waiting",
    )
    assert workers_a_card(0.1, {"there are 4 cores for it": 4, "its memory is small": 0}) == (
        1,
        "a trial trains 10 % of its time, so 9 would keep it busy, but its memory is small",
    )


def test_the_limits_are_cores_the_card_s_memory_and_the_machine_s() -> None:
    gb = 10**9
    assert limits_of(16, 2, 0, 99 * gb, []) == {"there are 8 cores for it": 8}
    use = CardUse(most=3 * CONTEXT, free=15 * CONTEXT, alone=False)  # 4 each, of 16 with its own
    assert limits_of(16, 1, 2 * gb, 7 * gb, [use]) == {
        "there are 16 cores for it": 16,
        "this machine's memory has room for no more": 4,  # one is there, three more fit
        "its memory has room for no more": 4,
    }
    alone = CardUse(most=0, free=CONTEXT, alone=True)
    assert limits_of(16, 1, 0, 0, [alone])["it is set to serve one process alone"] == 1


def cell(seconds: float, *stages: tuple[float, bool], state: str = "complete") -> Cell:
    """A trial's record. stages: (seconds of training, whether that was another trial's)."""
    trained = [
        TrainedStage(
            name="fit", key="k", steps=1, parameters=1, seconds=s, reused=reused, precision="fp32",
            device="cuda",
        )
        for s, reused in stages
    ]  # fmt: skip
    return Cell(
        study="s", method="m", use="nets.Shift", trial=0, seed=0, attempt=0, fingerprint="f",
        parameters={}, state=state, seconds=seconds, stages=trained,
    )  # fmt: skip


def test_a_trial_s_share_of_training_is_what_it_trained_itself() -> None:
    assert busy_share(cell(10, (2, False), (1, False), (6, True))) == 0.3
    assert busy_share(cell(10, (30, False))) == 1  # it went on from a checkpoint
    assert busy_share(cell(10, (6, True))) is None
    assert busy_share(cell(10)) is None
    assert busy_share(cell(10, (3, False), state="failed")) is None


def test_the_first_two_trials_of_each_card_that_trained_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    heard: list[tuple[int, Event | CardUse]] = [
        (1, Done(cell(10))),
        (2, Done(cell(10, (1, False)))),  # the first of a process, with its start-up
        (3, CardUse(most=0, free=9 * CONTEXT, alone=False)),
        (3, Done(cell(10, (3, False)))),
        (4, Done(cell(10, (9, False)))),
    ]
    monkeypatch.setattr(auto, "cards", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(LocalExecutor, "events", lambda self, timeout: iter(heard))
    executor = AutoExecutor(said.append)
    slots = [executor.slots for _ in executor.events(0)]
    assert slots == [1, 1, 3, 3]
    assert said == [
        "workers: 3 a card; a trial trains 30 % of its time, so one would leave it waiting"
    ]


def test_the_word_auto_is_a_number_of_workers() -> None:
    assert AUTO.convert("auto", None, None) is None
    assert AUTO.convert("3", None, None) == 3
    with pytest.raises(click.BadParameter, match="'many' is not a valid number or auto"):
        sweep.main(["x.yaml", "--workers", "many"], standalone_mode=False)


A_GPU = """
import os
import bench.sweep.executors.auto as auto
auto.cards = lambda: 1
auto.free_memory = lambda: 10**12
os.sched_getaffinity = lambda process: set(range(3))
auto.busy_share = lambda cell: 0.25  # how long a trial takes depends on the machine
"""


def test_beside_a_gpu_slots_grow_and_values_are_those_of_one_worker(tmp_path: Path) -> None:
    """A stand-in says that there is one; training stays on the processor."""
    world = kit.make_world(tmp_path / "world")
    write_study(
        world,
        "shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}",
        train="{dataset: set5, patch: 16, batch: 2, steps: 2, learning_rate: 1e-3, device: cpu}",
        budget="{trials: 5, sampler: random}",
    )
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "auto", before=A_GPU)
    until(lambda: cells(world / "home"))
    (first,) = driver.workers()
    until(lambda: "workers: " in driver.err())
    (world / "hold").touch()
    until(lambda: len(driver.workers()) == 3, "three workers")
    assert first in driver.workers()
    (world / "hold").unlink()
    ended = driver.wait()
    assert ended.status == 0, ended.err
    (line,) = (line for line in ended.err.splitlines() if line.startswith("workers: "))
    assert line == (
        "workers: 3 a card; a trial trains 25 % of its time, so 4 would keep it busy, but there "
        "are 3 cores for it"
    )
    home = commands().blank(world / "one")
    one = commands().run(world, "sweep", "tiny.yaml", "--workers", "1", home=home)
    assert one.status == 0, one.err
    assert results(world / "home") == results(home)


def test_warm_workers_end_with_their_driver(tmp_path: Path) -> None:
    world = kit.make_world(tmp_path / "world")
    write_study(world, "shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}")
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "2", before=A_GPU)
    until(lambda: cells(world / "home"))
    (world / "hold").touch()
    workers = driver.workers()
    driver.kill()
    assert driver.wait().status == -signal.SIGKILL
    assert workers
    until(lambda: not any(map(alive, workers)))
