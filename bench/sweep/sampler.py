"""The one door to Optuna: asks for parameters, tells objectives, survives a killed driver."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
from bench.sweep.address import PATIENCE, Address, search_address

optuna.logging.set_verbosity(optuna.logging.WARNING)
ERRORS = (StorageInternalError, SQLAlchemyError)
"""What Optuna raises when its database fails."""


class Sampler:
    """The trials of one method of a study, each under a stable key 0, 1, 2, ...

    A key's parameters depend on the study's seed and the key (and, for TPE, on the trials finished
    before), so a sweep that was killed goes on as if it had not been.
    """

    def __init__(self, folder: Path, study: Study, method: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._plan = study
        self._name = f"{study.name}/{method}"
        self._ranges = study.methods[method].ranges
        self._objectives = study.select.objectives if study.select else ()
        self._space = {name: _distribution(range_) for name, range_ in self._ranges.items()}
        self._open: dict[int, optuna.Trial] = {}
        address = search_address(folder)
        address.check()
        try:
            self._storage = _storage(address)
            self._study = self._create()
        except Exception as error:
            if "database" in str(error).lower() or "schema" in str(error).lower():
                line = address.redact(str(error).splitlines()[0])
                raise BenchError(
                    f"Optuna cannot open {address.shown}: {line}. It may be of another Optuna "
                    "version: move the file away, or run `optuna storage upgrade`."
                ) from None
            raise

    def _create(self) -> optuna.Study:
        select = self._plan.select
        return optuna.create_study(
            storage=self._storage,
            study_name=self._name,
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

    def _fits(self, swept: Mapping[str, Any]) -> bool:
        """Whether parameters lie in the ranges of today."""
        return swept.keys() == self._space.keys() and all(
            space._contains(space.to_internal_repr(swept[name]))
            for name, space in self._space.items()
        )

    def retry(self, key: int, swept: dict[str, Any], attempt: int) -> None:
        """Gives a trial that failed another attempt, with the same parameters."""
        if not any(
            trial.user_attrs.get("key") == key
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        ):
            self._wait(key, swept, attempt + 1)

    def _wait(self, key: int, parameters: dict[str, Any], attempt: int) -> None:
        again = optuna.trial.create_trial(
            state=TrialState.WAITING,
            system_attrs={"fixed_params": parameters},
            user_attrs={"key": key, "attempt": attempt},
        )
        self._study.add_trial(again)

    def delete(self) -> None:
        """Forgets every trial."""
        optuna.delete_study(study_name=self._name, storage=self._storage)
        self._study, self._open = self._create(), {}

    def keys(self) -> dict[int, TrialState]:
        """Returns the state of the newest attempt at each key."""
        return {
            trial.user_attrs["key"]: trial.state
            for trial in self._study.get_trials(deepcopy=False)
            if "key" in trial.user_attrs
        }

    def waiting(self) -> bool:
        """Whether a lost trial waits for another attempt."""
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def finished(self) -> dict[int, dict[str, Any]]:
        """Returns the parameters of each trial that has objectives, by key."""
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {t.user_attrs["key"]: dict(t.params) for t in done if "key" in t.user_attrs}

    def ask(self, free_key: int) -> tuple[int, dict[str, Any], int]:
        """Returns (key, parameters, attempt) of a trial that waits for another attempt, else of a
        new one under `free_key`."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting and self._plan.budget.sampler == "grid":
            row = grid(self._ranges)[free_key]
            self._study.enqueue_trial(row, user_attrs={"key": free_key})
        elif not waiting:
            self._study.sampler = self._make(free_key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._study.ask(fixed_distributions=self._space)
        if "key" not in trial.user_attrs:
            trial.set_user_attr("key", free_key)
        key = int(trial.user_attrs["key"])
        self._open[key] = trial
        return key, dict(trial.params), int(trial.user_attrs.get("attempt", 0))

    def _make(self, key: int) -> optuna.samplers.BaseSampler:
        text = f"{self._plan.name}/{self._plan.budget.seed}/{key}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
        if self._plan.budget.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=seed)

    def tell(self, key: int, objectives: dict[str, float]) -> None:
        """Records a finished trial."""
        self._tell(key, self._values(objectives), None)

    def _values(self, objectives: Mapping[str, float]) -> list[float]:
        return [objectives[name] for name in self._objectives] or [0.0]

    def fail(self, key: int) -> None:
        """Records a trial that has no value; it is not tried again."""
        self._tell(key, None, TrialState.FAIL)

    def prune(self, key: int) -> None:
        """Records a trial that the pruner stopped."""
        self._tell(key, None, TrialState.PRUNED)

    def _tell(self, key: int, values: Sequence[float] | None, state: TrialState | None) -> None:
        number = self._running(key)
        self._open.pop(key, None)
        if number is not None:
            self._study.tell(number, values, state=state)

    def _running(self, key: int) -> int | None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("key") == key:
                return trial.number
        return None

    def report(self, key: int, step: int, value: float) -> bool:
        """Passes on an intermediate value; returns whether the trial should be stopped.

        A finished trial that is measured again is never stopped.
        """
        if (trial := self._open.get(key)) is None:
            return False
        trial.report(value, step)
        return trial.should_prune()

    def reports(self, key: int) -> dict[int, float]:
        """Returns the intermediate values of the newest attempt at a trial, by step."""
        mine = [
            trial.intermediate_values
            for trial in self._study.get_trials(deepcopy=False)
            if trial.user_attrs.get("key") == key
        ]
        return dict(mine[-1]) if mine else {}

    def requeue(self, key: int) -> None:
        """Gives a trial that was lost another attempt, with the same parameters."""
        number = self._running(key)
        self._open.pop(key, None)
        if number is None:
            return
        trials = self._study.get_trials(deepcopy=False)
        lost = trials[number]
        # A driver killed right here must leave the key either running or waiting, never neither.
        if not any(
            t.state == TrialState.WAITING and t.user_attrs.get("key") == key for t in trials
        ):
            fixed = lost.system_attrs.get("fixed_params", {})
            self._wait(key, {**fixed, **lost.params}, lost.user_attrs.get("attempt", 0) + 1)
        self._study.tell(number, state=TrialState.FAIL)

    def running(self) -> list[int]:
        """Returns the keys that a killed driver left running, and drops what has no key yet.

        `ask` is not atomic: a trial with half of its parameters would change the sequence, so its
        key is asked anew.
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
    wait = {"connect_args": {"timeout": PATIENCE}} if address.file else {}
    return optuna.storages.RDBStorage(address.text, engine_kwargs=wait)


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
