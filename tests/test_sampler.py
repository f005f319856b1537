"""Stable keys: what a sampler asks for depends on the study's seed and the key alone."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from bench.study.fields import Study
from bench.sweep.sampler import Sampler

RANGES = {"a": {"float": [0.0, 1.0]}, "b": {"int": [1, 8]}, "c": {"choice": ["x", "y"]}}
GRID = {"a": {"grid": [1, 2]}, "b": {"grid": ["x", "y", "z"]}}


def study_of(ranges: dict, **budget: object) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {"m": {"use": "methods.classical.Bicubic", **ranges}},
            "select": {"dataset": "photos_val", "maximize": ["psnr_y"], "minimize": ["niqe"]},
            "evaluate": {"datasets": ["photos_test"], "metrics": ["psnr_y", "niqe"]},
            "budget": budget,
        }
    )


def sampler_of(folder: Path, ranges: dict = RANGES, **budget: object) -> Sampler:
    return Sampler(folder, study_of(ranges, **({"sampler": "random"} | budget)), "m")


def states(folder: Path) -> list[tuple[int | None, str]]:
    """(key, state) of every trial that Optuna knows, by number."""
    study = optuna.load_study(study_name="s/m", storage=f"sqlite:///{folder / 'optuna.db'}")
    return [(trial.user_attrs.get("key"), trial.state.name) for trial in study.trials]


def test_parameters_depend_on_the_key_and_not_on_what_was_asked_before(tmp_path: Path):
    forward = sampler_of(tmp_path / "forward")
    backward = sampler_of(tmp_path / "backward")
    first = {key: forward.ask(key) for key in (0, 1, 2)}
    second = {key: backward.ask(key) for key in (2, 1, 0)}
    assert first == second
    assert len({str(swept) for _, swept, _ in first.values()}) == 3
    for _, swept, _ in first.values():
        assert 0 <= swept["a"] <= 1
        assert swept["b"] in range(1, 9)
        assert swept["c"] in ("x", "y")


def test_another_seed_of_the_study_gives_other_parameters(tmp_path: Path):
    one, two = sampler_of(tmp_path / "1", seed=1), sampler_of(tmp_path / "2", seed=2)
    assert one.ask(0)[1]["a"] != two.ask(0)[1]["a"]


def test_a_grid_is_asked_in_order_without_repeats(tmp_path: Path):
    sampler = sampler_of(tmp_path, GRID, sampler="grid")
    asked = []
    for key in range(6):
        asked.append(sampler.ask(key)[1])
        sampler.tell(key, {"psnr_y": 1.0, "niqe": 2.0})  # Optuna's own grid raises at the last
    assert asked == [{"a": a, "b": b} for a in (1, 2) for b in ("x", "y", "z")]


@pytest.mark.parametrize("ranges", [RANGES, GRID])
def test_a_lost_trial_waits_with_its_parameters_and_goes_first(tmp_path: Path, ranges: dict):
    kind = "grid" if ranges is GRID else "random"
    killed = sampler_of(tmp_path, ranges, sampler=kind)
    _, lost, attempt = killed.ask(0)
    assert attempt == 0

    sampler = sampler_of(tmp_path, ranges, sampler=kind)
    assert not sampler.waiting()
    assert sampler.running() == [0]
    sampler.requeue(0)
    assert sampler.waiting()
    assert sampler.running() == []
    assert sampler.keys() == {0: TrialState.WAITING}
    assert sampler.ask(1) == (0, lost, 1)  # although 1 is free
    assert not sampler.waiting()
    assert sampler.ask(1)[0] == 1


def test_a_second_kill_while_mending_neither_loses_nor_doubles_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, lost, _ = sampler_of(tmp_path).ask(0)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    mending = sampler_of(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(optuna.Study, "tell", killed)
        mending.requeue(0)
    assert states(tmp_path) == [(0, "RUNNING"), (0, "WAITING")]

    again = sampler_of(tmp_path)
    for key in again.running():
        again.requeue(key)
    assert states(tmp_path) == [(0, "FAIL"), (0, "WAITING")]
    assert again.ask(1) == (0, lost, 1)


def test_a_trial_without_all_of_its_parameters_is_dropped_and_its_key_asked_anew(tmp_path: Path):
    expected = sampler_of(tmp_path / "whole").ask(0)
    folder = tmp_path / "killed"
    sampler_of(folder)
    half = optuna.load_study(study_name="s/m", storage=f"sqlite:///{folder / 'optuna.db'}")
    half.ask().suggest_float("a", 0.0, 1.0)  # killed before the other parameters and the key

    sampler = sampler_of(folder)
    assert sampler.running() == []
    assert sampler.keys() == {}
    assert states(folder) == [(None, "FAIL")]
    assert sampler.ask(0) == expected


def test_objectives_are_told_in_the_order_of_the_study(tmp_path: Path):
    sampler = sampler_of(tmp_path)
    _, swept, _ = sampler.ask(0)
    sampler.tell(0, {"niqe": 4.5, "psnr_y": 30.25})
    study = optuna.load_study(study_name="s/m", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.trials[0].values == [30.25, 4.5]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert sampler.finished() == {0: swept}


def test_telling_again_changes_nothing(tmp_path: Path):
    sampler = sampler_of(tmp_path)
    sampler.ask(0)
    sampler.tell(0, {"psnr_y": 30.0, "niqe": 4.0})
    sampler.tell(0, {"psnr_y": 10.0, "niqe": 9.0})
    sampler.fail(0)
    study = optuna.load_study(study_name="s/m", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.trials[0].values == [30.0, 4.0]
    assert states(tmp_path) == [(0, "COMPLETE")]


def test_finished_trials_are_those_of_the_records(tmp_path: Path):
    sampler = sampler_of(tmp_path)
    for key in (0, 1):
        sampler.ask(key)
        sampler.tell(key, {"psnr_y": 30.0 + key, "niqe": 5.0})
    swept = sampler.finished()
    lost = {"a": 0.5, "b": 2, "c": "x"}
    sampler.restore(
        {
            0: (swept[0], {"psnr_y": 31.5, "niqe": 4.0}),  # measured anew
            1: (swept[1], {"psnr_y": 31.0, "niqe": 5.0}),
            2: (lost, {"psnr_y": 29.0, "niqe": 6.0}),  # gone from the database
            3: ({**lost, "b": 9}, {"psnr_y": 29.0, "niqe": 6.0}),  # of other ranges
        }
    )
    assert states(tmp_path) == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]
    study = optuna.load_study(study_name="s/m", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert [t.values for t in study.trials] == [[31.5, 4.0], [31.0, 5.0], [29.0, 6.0]]
    assert sampler_of(tmp_path).finished() == {**swept, 2: lost}


def test_a_failed_trial_is_tried_again_with_its_parameters(tmp_path: Path):
    sampler = sampler_of(tmp_path)
    _, swept, _ = sampler.ask(0)
    sampler.fail(0)
    sampler.retry(0, swept, 0)
    sampler.retry(0, swept, 0)
    assert states(tmp_path) == [(0, "FAIL"), (0, "WAITING")]
    assert sampler.ask(1) == (0, swept, 1)


def test_a_finished_trial_that_is_measured_again_is_not_pruned(tmp_path: Path):
    sampler = sampler_of(tmp_path)
    sampler.ask(0)
    sampler.tell(0, {"psnr_y": 30.0, "niqe": 4.0})
    assert sampler_of(tmp_path).report(0, 1, -100.0) is False
