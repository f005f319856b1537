"""How one image comes to its scores, in whichever process: looked up by content, else computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from bench.data.pixels import Image
from bench.errors import BenchError
from bench.measure.metrics import ImageScore, Metric, Scorer, metric, score_image
from bench.measure.protocol import Protocol
from bench.measure.scores import ScoreStore, score_key
from bench.measure.task import Digests, Task, digests_of


class Job(NamedTuple):
    """A task, and what is known of it before its pictures are read."""

    task: Task
    lacking: Sequence[str]
    """Metrics that are not looked up yet, or not there."""
    stored: Mapping[str, ImageScore]
    digests: Digests | None
    """None where the pictures have to be read for them, or there is no store."""


class Computed(NamedTuple):
    """What reading a task's pictures has given."""

    fresh: Mapping[str, ImageScore]
    stored: Mapping[str, ImageScore]
    digests: Digests | None


Outcome = Computed | BenchError


@dataclass(frozen=True)
class Scoring:
    """The metrics, protocol and scale of some tasks. It goes to other processes."""

    metrics: Mapping[str, str]
    """Name -> digest of the code and weights that decide it."""
    rules: Protocol
    scale: int
    store: ScoreStore | None
    """Where scores are looked up."""

    def key(self, name: str, digests: Digests) -> bytes:
        """Returns the key of a score: both pictures' pixels, the metric and its code, the rules."""
        restored, original = digests
        how = repr(replace(self.rules, name="", title="", lr=""))
        compared = original if metric(name).reference else ""
        decides = f"{name} {self.metrics[name]}"
        return score_key(restored, compared, decides, how, str(self.scale))

    def look_up(self, names: Sequence[str], digests: Digests) -> dict[str, ImageScore]:
        """Returns the scores that are stored."""
        if self.store is None:
            return {}
        keys = {name: self.key(name, digests) for name in names}
        ready = self.store.look_up(list(keys.values()))
        return {name: ready[key] for name, key in keys.items() if key in ready}

    def job(self, task: Task) -> Job:
        """Looks up what can be looked up without reading pictures."""
        names = list(self.metrics)
        digests = task.digests(self.store) if self.store else None
        stored = self.look_up(names, digests) if digests else {}
        return Job(task, [name for name in names if name not in stored], stored, digests)

    def reads(self, job: Job) -> bool:
        """Whether `compute` has to read the pictures."""
        unknown = self.store is not None and job.digests is None
        return unknown or any(not metric(name).network for name in job.lacking)

    def compute(self, job: Job) -> Outcome:
        """Computes what a job lacks, networks apart, and is not stored under its pixels either."""
        if not self.reads(job):
            return Computed({}, {}, job.digests)
        try:
            sr, hr = job.task.read()
        except BenchError as error:
            return error
        stored, digests = {}, job.digests
        if self.store is not None and digests is None:
            digests = digests_of(sr, hr)
            stored = self.look_up(job.lacking, digests)
        fresh = {
            name: self._scored(metric(name), sr, hr)
            for name in job.lacking
            if name not in stored and not metric(name).network
        }
        return Computed(fresh, stored, digests)

    def _scored(self, facts: Metric, sr: Image, hr: Image | None) -> ImageScore:
        return score_image(
            _scorer(facts), sr, hr, self.rules, self.scale, reference=facts.reference
        )


@cache
def _scorer(facts: Metric) -> Scorer:
    return facts.load("cpu")
