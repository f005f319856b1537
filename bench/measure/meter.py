"""The one way to scores: looked up by content, else computed, in processes beside the device."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.errors import BenchError
from bench.measure.metrics import ImageScore, Scorer, metric, metric_digest, score_image
from bench.measure.pool import Pool
from bench.measure.protocol import Protocol
from bench.measure.scores import ScoreStore
from bench.measure.scoring import Computed, Job, Scoring
from bench.measure.task import Task


class Meter:
    """Scores pictures. What runs a network does so in this process, the rest in a pool.

    metrics: names; those that cannot be computed here are in `unavailable`, with the reason.
    device: of the networks; auto is cuda where there is one. workers: processes of the pool, one a
    core if None; with one, pictures are scored in this process. store: where scores are kept; None
    keeps none. A context manager: at its end the pool ends, and what is not yet written to the
    store is.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        *,
        device: str = "auto",
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
        names = [name for name in self.names if metrics is None or name in metrics]
        store = None if self.trouble else self._store
        decided = {name: metric_digest(name) if store else "" for name in names}
        scoring = Scoring(decided, rules, scale, store)
        for job, outcome in self._pool.run(map(scoring.job, tasks), scoring, count):
            if not isinstance(outcome, BenchError):
                outcome = self._with_networks(job, outcome, rules, scale)
            if isinstance(outcome, BenchError):
                yield job.task, outcome
                continue
            scores = {**job.stored, **outcome.stored, **outcome.fresh}
            self.stored += len(scores) - len(outcome.fresh)
            self.computed += len(outcome.fresh)
            self._keep(job, outcome, scoring)
            yield job.task, {name: scores[name] for name in names}

    def _with_networks(
        self, job: Job, computed: Computed, rules: Protocol, scale: int
    ) -> Computed | BenchError:
        """Adds the scores by networks that are not stored."""
        names = [n for n in job.lacking if n in self._networks and n not in computed.stored]
        if not names:
            return computed
        try:
            sr, hr = job.task.read()
        except BenchError as error:
            return error
        scores = {
            name: score_image(
                self._networks[name], sr, hr, rules, scale, reference=metric(name).reference
            )
            for name in names
        }
        return computed._replace(fresh={**computed.fresh, **scores})

    def _keep(self, job: Job, computed: Computed, scoring: Scoring) -> None:
        if self._store is None or computed.digests is None:
            return
        if job.digests is None:
            job.task.remember(self._store, computed.digests)
        for name, score in computed.fresh.items():
            self._store.keep(scoring.key(name, computed.digests), score)


def _load_network(name: str, device: str) -> Scorer:
    """A network's scorer in IEEE fp32, also where a GPU or the caller would take something else."""
    import torch

    from bench.method.precision import fp32_throughout  # torch: formulas do without

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with fp32_throughout(device):
        scorer: Scorer = fp32_throughout(device)(metric(name).load(device))
    return scorer
