"""The one way to scores: looked up by content, else computed, in processes beside the device."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.errors import BenchError
from bench.measure.metrics import ImageScore, Scorer, metric, metric_digest, score_image
from bench.measure.pool import Pool, Task
from bench.measure.protocol import Protocol
from bench.measure.scores import ScoreStore, score_key


class Meter:
    """Scores pictures. What runs a network does so in this process, the rest in a pool.

    metrics: names; those that cannot be computed here are in `unavailable`, with the reason.
    device: of the networks. workers: processes of the pool, one a core if None; with one, pictures
    are scored in this process. store: where scores are kept; None keeps none. A context manager:
    at its end the pool ends, and what is not yet written to the store is.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        *,
        device: str = "cpu",
        workers: int | None = None,
        store: ScoreStore | None = None,
    ) -> None:
        self.unavailable = {n: why for n in metrics if (why := metric(n).unavailable())}
        self.names = [name for name in dict.fromkeys(metrics) if name not in self.unavailable]
        self.computed = self.stored = 0
        """Scores computed now, and looked up."""
        self._networks = {n: _load_network(n, device) for n in self.names if metric(n).network}
        self._pool, self._store = Pool(workers), store

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.close(at_once=error[0] is not None)
        if self._store is not None:
            self._store.close()

    @property
    def trouble(self) -> str | None:
        """Why scores were not stored, if they were not."""
        return self._store.trouble if self._store else None

    def measure(
        self,
        tasks: Iterable[Task],
        rules: Protocol,
        scale: int,
        count: int,
        metrics: Sequence[str] | None = None,
    ) -> Iterator[tuple[Task, Mapping[str, ImageScore] | BenchError]]:
        """Yields each task as it is finished, in any order, with its scores by metric.

        count: how many there are; of few, all are scored in this process. metrics: some of those
        that can be computed. A task whose files are wrong comes with the error instead.
        """
        names = self.names if metrics is None else [n for n in self.names if n in metrics]
        known: dict[str, dict[str, ImageScore]] = {}

        def lacking() -> Iterator[tuple[Task, list[str]]]:
            for task in tasks:
                known[task.stem] = self._look_up(task, names, rules, scale)
                yield task, [n for n in names if n not in {*known[task.stem], *self._networks}]

        store = bool(self._store)
        for task, outcome in self._pool.run(lacking(), rules, scale, count, with_digests=store):
            scores = known.pop(task.stem)
            if isinstance(outcome, BenchError):
                yield task, outcome
                continue
            fresh = dict(outcome.scores)
            digests = outcome.digests or task.digests(self._store)
            heavy = [n for n in names if n in self._networks and n not in scores]
            try:
                fresh |= self._run_networks(task, heavy, rules, scale)
            except BenchError as error:
                yield task, error
                continue
            self._keep(task, fresh, digests, rules, scale)
            yield task, {name: (scores | fresh)[name] for name in names}

    def _run_networks(
        self, task: Task, names: Sequence[str], rules: Protocol, scale: int
    ) -> dict[str, ImageScore]:
        if not names:
            return {}
        sr, hr = task.read()
        return {
            name: score_image(
                self._networks[name], sr, hr, rules, scale, reference=metric(name).reference
            )
            for name in names
        }

    def _look_up(
        self, task: Task, names: Sequence[str], rules: Protocol, scale: int
    ) -> dict[str, ImageScore]:
        if self._store is None or (digests := task.digests(self._store)) is None:
            return {}
        keys = {name: key_of(name, digests, rules, scale) for name in names}
        ready = self._store.look_up(list(keys.values()))
        hits = {name: ready[key] for name, key in keys.items() if key in ready}
        self.stored += len(hits)
        return hits

    def _keep(
        self,
        task: Task,
        scores: Mapping[str, ImageScore],
        digests: tuple[str, str] | None,
        rules: Protocol,
        scale: int,
    ) -> None:
        self.computed += len(scores)
        if self._store is None or digests is None:
            return
        task.remember(self._store, digests)
        for name, score in scores.items():
            self._store.keep(key_of(name, digests, rules, scale), score)


def _load_network(name: str, device: str) -> Scorer:
    """A network's scorer in IEEE fp32, also where a GPU would take less for convolutions."""
    from bench.method.precision import ieee_fp32  # torch: formulas do without

    scorer: Scorer = ieee_fp32()(metric(name).load(device))
    return scorer


def key_of(name: str, digests: tuple[str, str], rules: Protocol, scale: int) -> bytes:
    """Returns the key of a score: both pictures' pixels, the metric and its code, the rules."""
    restored, original = digests
    how = repr(replace(rules, name="", title="", lr=""))
    compared = original if metric(name).reference else ""
    return score_key(restored, compared, f"{name} {metric_digest(name)}", how, str(scale))
