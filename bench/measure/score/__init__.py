"""Scores a folder of restored images made by anything; each score is computed once."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.catalog import Task as Kind
from bench.errors import BenchError
from bench.measure.metrics import (
    ImageScore,
    Scorer,
    check_metrics,
    metric,
    metric_digest,
    score_image,
)
from bench.measure.metrics.told import remarks, why_not_finite
from bench.measure.protocol import PROTOCOLS, Protocol, default_protocol, usual_protocol
from bench.measure.protocol import protocol as find_protocol
from bench.measure.score.cache import ScoreCache, score_key
from bench.measure.score.pairing import Paired, Task, pair_folder
from bench.measure.score.pool import scoring
from bench.records.store import home


@dataclass
class FolderScores:
    """What was found out about a folder."""

    folder: Path
    against: str | None
    """The reference: a folder or the name of a set; None without one."""
    protocol: str
    scale: int
    metrics: tuple[str, ...]
    paired: Paired
    labels: Mapping[str, str] = field(default_factory=dict)
    """Metric -> exact name of the trained thing behind it, such as nima@photos."""
    images: dict[str, dict[str, ImageScore]] = field(default_factory=dict)
    """Stem -> metric -> score."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Metric -> why it cannot be measured here, also "metric on stem" for single images."""
    computed: int = 0
    stored: int = 0
    """Scores that were computed now, and looked up."""
    trouble: str | None = None
    """Why scores were not stored."""

    @property
    def partial(self) -> bool:
        """Whether the reference has images that were not restored."""
        return len(self.images) < self.paired.official

    def values(self, name: str) -> dict[str, float]:
        """Returns stem -> score of a metric."""
        return {stem: scores[name].value for stem, scores in self.images.items() if name in scores}

    def mean(self, name: str) -> float:
        """Returns the score of all images as the protocol pools it; NaN if one has no value."""
        return PROTOCOLS[self.protocol].pool(name, self.values(name).values())

    def why(self, name: str) -> str | None:
        """Returns why the mean is no finite number, with that of the other images; else None."""
        if name in self.unavailable:
            return self.unavailable[name]
        mine = {stem: scores[name] for stem, scores in self.images.items() if name in scores}
        return why_not_finite(name, PROTOCOLS[self.protocol], mine)

    def notes(self) -> list[str]:
        """Returns what a reader of the scores must be told."""
        told = [
            text
            for name in self.metrics
            for text in remarks(name, [s[name] for s in self.images.values() if name in s])
        ]
        if self.paired.cropped:
            told.append(
                f"{self.paired.cropped} of {len(self.images)} restored images have the size of the "
                f"reference cropped to a multiple of {self.scale}: with that top-left part they "
                "were compared."
            )
        return told + ([self.trouble] if self.trouble else [])


def score_folder(
    folder: Path,
    metrics: Sequence[str],
    scale: int,
    *,
    reference: Path | None = None,
    dataset: str | None = None,
    protocol: str | None = None,
    template: str = "{stem}",
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderScores:
    """Scores every image of a folder, read as stored and never resized.

    reference, dataset: what they are compared with; no-reference metrics need neither.
    template: see `pair_folder`. workers: processes that score (one a core); metrics that run a
    network do so in this one. progress: called with the images done and their number. Scores are
    stored in $BENCH_HOME. Raises BenchError for unknown names, and with one line for each file that
    does not fit; the scores of the others are stored.
    """
    check_metrics(metrics)
    task: Kind = "super-resolution" if scale > 1 else "enhancement"
    usual = usual_protocol(dataset, task) if dataset else default_protocol(task)
    rules = find_protocol(protocol or usual)
    needing = [name for name in metrics if metric(name).reference]
    if needing and reference is None and dataset is None:
        raise BenchError(
            f"{', '.join(needing)}: compared with a reference. Name it with --reference DIR or "
            "--dataset NAME, or ask for --metrics that need none, such as niqe."
        )
    lost = {name: why for name in metrics if (why := metric(name).unavailable())}
    paired = pair_folder(folder, scale, reference=reference, dataset=dataset, template=template)
    networks = _load_networks([name for name in metrics if name not in lost])
    found = FolderScores(
        folder, dataset or (str(reference) if reference else None), rules.name, scale,
        tuple(dict.fromkeys(metrics)), paired,
        {name: label for name in networks if (label := metric(name).label())},
        {task.stem: {} for task in paired.tasks}, lost,
    )  # fmt: skip
    cache = ScoreCache(home() / "store" / "scores.db")
    try:
        problems = _score_all(found, rules, networks, cache, workers, progress)
    finally:
        cache.close()
        found.trouble = cache.trouble
    if problems:
        rest = len(paired.tasks) - len(problems)
        stored = [] if cache.trouble else [f"The scores of the other {rest} images are stored."]
        raise BenchError("\n".join([*sorted(problems), *stored]))
    for stem, scores in found.images.items():
        for name, score in scores.items():
            if not math.isfinite(score.value):
                why = score.why or "infinite: equal to its reference"
                found.unavailable[f"{name} on {stem}"] = why
    return found


def _load_networks(names: Sequence[str]) -> dict[str, Scorer]:
    """Returns the scorer of each metric that runs a network, on the best device."""
    heavy = [name for name in names if metric(name).network]
    if not heavy:
        return {}
    import torch  # only these need it

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: metric(name).load(device) for name in heavy}


def _score_all(
    found: FolderScores,
    rules: Protocol,
    networks: Mapping[str, Scorer],
    cache: ScoreCache,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Fills `found.images` from the store and by computing; returns what is wrong with files."""
    tasks, scale = found.paired.tasks, found.scale
    names = [name for name in found.metrics if name not in found.unavailable]
    whats = {name: _what(name) for name in names}
    keys: dict[str, dict[str, bytes]] = {}
    problems: list[str] = []

    def lacking() -> Iterator[tuple[Task, list[str]]]:
        for task in tasks:
            mine = keys[task.stem] = _keys(task, whats, rules, scale)
            ready = cache.look_up(list(mine.values()))
            hits = {name: ready[key] for name, key in mine.items() if key in ready}
            found.images[task.stem].update(hits)
            found.stored += len(hits)
            yield task, [name for name in names if name not in {*hits, *networks}]

    def keep(task: Task, scores: Mapping[str, ImageScore]) -> None:
        found.images[task.stem].update(scores)
        found.computed += len(scores)
        for name, score in scores.items():
            cache.store(keys[task.stem][name], score)

    with scoring(rules, scale, len(tasks), workers) as compute:
        for done, (task, outcome) in enumerate(compute(lacking()), start=1):
            try:
                if isinstance(outcome, BenchError):
                    raise outcome
                keep(task, outcome)
                if heavy := {n: networks[n] for n in networks if n not in found.images[task.stem]}:
                    keep(task, _run(task, heavy, rules, scale))
            except BenchError as error:
                problems.append(str(error))
            progress(done, len(tasks))
    return problems


def _run(
    task: Task, networks: Mapping[str, Scorer], rules: Protocol, scale: int
) -> dict[str, ImageScore]:
    sr, hr = task.read()
    return {
        name: score_image(scorer, sr, hr, rules, scale, reference=metric(name).reference)
        for name, scorer in networks.items()
    }


def _what(name: str) -> str:
    """What decides a metric's score besides images and protocol: version, weights and code."""
    return f"{name} {metric_digest(name)}"


def _keys(task: Task, whats: Mapping[str, str], rules: Protocol, scale: int) -> dict[str, bytes]:
    """Metric -> key of its score: files, protocol and what decides the metric."""
    restored, original = _digest(task.sr), ""
    if task.hr and any(metric(name).reference for name in whats):
        original = f"{_digest(task.hr.path)} {task.size} {task.hr.derived}"
    keys = {}
    for name, what in whats.items():
        compared = original if metric(name).reference else ""
        keys[name] = score_key(restored, compared, what, rules.name, str(scale))
    return keys


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
