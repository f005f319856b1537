"""The one door to Optuna: asks for parameters, tells objectives, survives a killed driver."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from bench.errors import BenchError
from bench.study.fields import Study
from bench.study.space import Range, grid
from bench.sweep.address import PATIENCE, Address, search_address, wait_for_restarts
from bench.sweep.home import home_id

optuna.logging.set_verbosity(optuna.logging.WARNING)
ERRORS = (StorageInternalError, SQLAlchemyError)
"""What Optuna raises when its database fails."""


class Sampler:
    """The trials of one method of a study, each under a stable key 0, 1, 2, ...

    A key's parameters depend on the study's seed and the key (and, for TPE, on the trials finished
    before), so a sweep that was killed goes on as if it had not been. Only one process writes, so
    what the database says of each key is read once and then known.
    """

    def __init__(self, folder: Path, study: Study, method: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._plan = study
        self._name = f"{study.name}/{method}"
        self._ranges = study.methods[method].ranges
        self._objectives = study.select.objectives if study.select else ()
        self._space = {name: _distribution(range_) for name, range_ in self._ranges.items()}
        self._open: dict[int, int] = {}
        """Key -> Optuna's id of a trial that this process has asked for and not told."""
        self._states: dict[int, TrialState] | None = None
        self._waiting: set[int] = set()
        address = search_address(folder)
        address.check()
        self._owner = "" if address.file == address.default else home_id(folder)
        try:
            with address.alone():
                self._storage = _storage(address)
                self._study = self._take()
        except Exception as error:
            if "database" in str(error).lower() or "schema" in str(error).lower():
                line = address.redact(str(error).splitlines()[0])
                first = "move the file away, or" if address.file else "back it up and"
                raise BenchError(
                    f"Optuna cannot open {address.shown}: {line}. It may be of another Optuna "
                    f"version: {first} run `optuna storage upgrade`."
                ) from None
            raise

    def _take(self) -> optuna.Study:
        """Returns this home's study of the name, made if need be; homes may share a server."""
        study = self._create(self._name)
        if study.user_attrs.get("home", self._owner) != self._owner:
            study = self._create(f"{self._name} ({self._owner[:6]})")
        if self._owner and "home" not in study.user_attrs:
            study.set_user_attr("home", self._owner)
        self._study_id = self._storage.get_study_id_from_name(study.study_name)
        return study

    def _create(self, name: str) -> optuna.Study:
        select = self._plan.select
        return optuna.create_study(
            storage=self._storage,
            study_name=name,
            # Optuna wants an objective: a grid from which nothing is selected tells it 0
            directions=select.directions if select else ["minimize"],
            load_if_exists=True,
            pruner=_pruner(self._plan),
        )

    def restore(self, finished: Mapping[int, tuple[dict[str, Any], dict[str, float]]]) -> None:
        """Makes the finished trials those given: key -> (parameters, objectives).

        Optuna lets no value of a finished trial change, so the study is written anew where one has.
        A driver killed in between finds no trial at all, and restores them from its records.
        """
        open_ = (TrialState.WAITING, TrialState.RUNNING)  # these are told when they are asked for
        begun = _by_key(self._study.get_trials(deepcopy=False, states=open_))
        given = {
            key: (swept, self._values(values))
            for key, (swept, values) in finished.items()
            if key not in begun and self._fits(swept) and set(self._objectives) <= values.keys()
        }
        complete = _by_key(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        if all(key in complete and complete[key].values == v for key, (_, v) in given.items()):
            return
        trials = self._study.get_trials(deepcopy=True)
        complete = _by_key(t for t in trials if t.state == TrialState.COMPLETE)
        for key, (swept, values) in given.items():
            if key in complete:
                complete[key].values = values
                continue
            trials.append(
                optuna.trial.create_trial(
                    params=swept, distributions=self._space, values=values, user_attrs={"key": key}
                )
            )
        self.delete()
        self._study.add_trials(trials)
        self._states = None

    def _fits(self, swept: Mapping[str, Any]) -> bool:
        """Whether parameters lie in the ranges of today."""
        return swept.keys() == self._space.keys() and all(
            space._contains(space.to_internal_repr(swept[name]))
            for name, space in self._space.items()
        )

    def retry(self, key: int, swept: dict[str, Any], attempt: int) -> None:
        """Gives a trial that failed another attempt, with the same parameters."""
        self._wait(key, swept, attempt + 1)

    def _wait(self, key: int, parameters: dict[str, Any], attempt: int) -> None:
        if self.keys().get(key) == TrialState.WAITING:  # a driver killed while mending wrote it
            return
        again = optuna.trial.create_trial(
            state=TrialState.WAITING,
            system_attrs={"fixed_params": parameters},
            user_attrs={"key": key, "attempt": attempt},
        )
        self._study.add_trial(again)
        self._states = None

    def delete(self) -> None:
        """Forgets every trial."""
        optuna.delete_study(study_name=self._study.study_name, storage=self._storage)
        self._study, self._open, self._states = self._take(), {}, None

    def keys(self) -> dict[int, TrialState]:
        """Returns the state of the newest attempt at each key."""
        if self._states is None:
            newest = _by_key(self._study.get_trials(deepcopy=False))
            self._states = {key: trial.state for key, trial in newest.items()}
            self._waiting = {k for k, state in self._states.items() if state == TrialState.WAITING}
        return self._states

    def waiting(self) -> bool:
        """Whether a lost trial waits for another attempt."""
        self.keys()
        return bool(self._waiting)

    def finished(self) -> dict[int, dict[str, Any]]:
        """Returns the parameters of each trial that has objectives, by key."""
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {t.user_attrs["key"]: dict(t.params) for t in done if "key" in t.user_attrs}

    def ask(self, free_key: int) -> tuple[int, dict[str, Any], int]:
        """Returns (key, parameters, attempt) of a trial that waits for another attempt, else of a
        new one under `free_key`."""
        states = self.keys()
        if self._waiting or self._plan.budget.sampler == "tpe":
            key, parameters, attempt = self._ask_optuna(free_key)
        else:
            key, parameters, attempt = free_key, self._draw(free_key), 0
            self._open[key] = self._begin(key, parameters)
        states[key] = TrialState.RUNNING
        self._waiting.discard(key)
        return key, parameters, attempt

    def _ask_optuna(self, free_key: int) -> tuple[int, dict[str, Any], int]:
        """Takes what waits; else has Optuna choose by what is finished, which is not atomic."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(seed=self._seed(free_key))
            trial = self._study.ask(fixed_distributions=self._space)
        if "key" not in trial.user_attrs:
            trial.set_user_attr("key", free_key)
        key = int(trial.user_attrs["key"])
        self._open[key] = self._id(trial.number)
        return key, dict(trial.params), int(trial.user_attrs.get("attempt", 0))

    def _draw(self, key: int) -> dict[str, Any]:
        """Returns the grid's row, or what Optuna draws at random with the key's seed."""
        if self._plan.budget.sampler == "grid":
            return dict(self._grid[key])
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self._seed(key)))
        return study.ask(self._space).params

    @cached_property
    def _grid(self) -> list[dict[str, Any]]:
        return grid(self._ranges)

    def _begin(self, key: int, parameters: dict[str, Any]) -> int:
        """Writes a trial whole, in one transaction: a kill leaves all of it or nothing."""
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=parameters,
            distributions=self._space,
            user_attrs={"key": key},
        )
        return self._storage.create_new_trial(self._study_id, trial)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _seed(self, key: int) -> int:
        text = f"{self._plan.name}/{self._plan.budget.seed}/{key}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def tell(self, key: int, objectives: dict[str, float]) -> None:
        """Records a finished trial."""
        self._tell(key, TrialState.COMPLETE, self._values(objectives))

    def _values(self, objectives: Mapping[str, float]) -> list[float]:
        return [objectives[name] for name in self._objectives] or [0.0]

    def fail(self, key: int) -> None:
        """Records a trial that has no value; it is not tried again."""
        self._tell(key, TrialState.FAIL)

    def prune(self, key: int) -> None:
        """Records a trial that the pruner stopped."""
        reports = self.reports(key)  # the last of them is its value, as in Optuna's own telling
        self._tell(key, TrialState.PRUNED, [reports[max(reports)]] if reports else None)

    def _tell(self, key: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        trial = self._open.pop(key, None)
        if trial is None and (begun := self._running(key)):
            trial = self._id(begun.number)
        if trial is not None:
            self._storage.set_trial_state_values(trial, state, values)
            self.keys()[key] = state

    def _running(self, key: int) -> FrozenTrial | None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("key") == key:
                return trial
        return None

    def report(self, key: int, step: int, value: float) -> bool:
        """Passes on an intermediate value; returns whether the trial should be stopped.

        A finished trial that is measured again is never stopped.
        """
        if (trial_id := self._open.get(key)) is None:
            return False
        trial = optuna.Trial(self._study, trial_id)
        trial.report(value, step)
        return trial.should_prune()

    def reports(self, key: int) -> dict[int, float]:
        """Returns the intermediate values of the newest attempt at a trial, by step."""
        if key in self._open:
            return dict(self._storage.get_trial(self._open[key]).intermediate_values)
        mine = [
            trial.intermediate_values
            for trial in self._study.get_trials(deepcopy=False)
            if trial.user_attrs.get("key") == key
        ]
        return dict(mine[-1]) if mine else {}

    def requeue(self, key: int) -> None:
        """Gives a trial that was lost another attempt, with the same parameters."""
        lost = self._running(key)
        self._open.pop(key, None)
        if lost is None:
            return
        fixed = lost.system_attrs.get("fixed_params", {})
        # A driver killed right here must leave the key either running or waiting, never neither.
        self._wait(key, {**fixed, **lost.params}, lost.user_attrs.get("attempt", 0) + 1)
        self._study.tell(lost.number, state=TrialState.FAIL)

    def running(self) -> list[int]:
        """Returns the keys that a killed driver left running, and drops what has no key yet.

        Optuna's choice is not atomic: a trial with half of its parameters would change the
        sequence, so its key is asked anew.
        """
        keys = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "key" in trial.user_attrs:
                keys.append(int(trial.user_attrs["key"]))
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)
        return keys


def _by_key(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    return {trial.user_attrs["key"]: trial for trial in trials if "key" in trial.user_attrs}


def _storage(address: Address) -> optuna.storages.RDBStorage:
    if address.file:
        wait = {"connect_args": {"timeout": PATIENCE}}
        return optuna.storages.RDBStorage(address.text, engine_kwargs=wait)
    storage = optuna.storages.RDBStorage(address.text, engine_kwargs={"pool_pre_ping": True})
    wait_for_restarts(storage.engine)
    return storage


def _pruner(study: Study) -> optuna.pruners.BasePruner:
    if study.budget.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4)
    return optuna.pruners.NopPruner()


def _distribution(range_: Range) -> BaseDistribution:
    if range_.kind == "float":
        return FloatDistribution(range_.low, range_.high, log=range_.log)
    if range_.kind == "int":
        step = range_.step
        return IntDistribution(int(range_.low), int(range_.high), log=range_.log, step=step)
    return CategoricalDistribution(range_.choices)
