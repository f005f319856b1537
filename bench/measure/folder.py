"""Scores a folder of restored images made by anything; each score is computed once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.catalog import Task as Kind
from bench.data.files import as_text
from bench.data.roots import home
from bench.errors import BenchError
from bench.measure.meter import Meter
from bench.measure.metrics import ImageScore, check_metrics, labels_of, metric
from bench.measure.metrics.told import remarks, why_not_finite
from bench.measure.pairing import Paired, pair_folder, pairs_itself
from bench.measure.protocol import PROTOCOLS, default_protocol, usual_protocol
from bench.measure.protocol import protocol as find_protocol
from bench.measure.scores import ScoreStore


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
        if self.paired.how:
            told.append(f"paired by their names: {self.paired.how}.")
        if aside := self.paired.aside:
            more = f" and {len(aside) - 3} more" if len(aside) > 3 else ""
            told.append(
                f"not scored, for they are named as originals or inputs: {', '.join(aside[:3])}"
                f"{more}."
            )
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
    network do so in this one, on a GPU where there is one. progress: called with the images done
    and their number. Scores are stored in $BENCH_HOME. Raises BenchError for unknown names, and
    with one line for each file that does not fit; the scores of the others are stored.
    """
    check_metrics(metrics)
    kind: Kind = "super-resolution" if scale > 1 else "enhancement"
    usual = usual_protocol(dataset, kind) if dataset else default_protocol(kind)
    rules = find_protocol(protocol or usual)
    needing = [name for name in metrics if metric(name).reference]
    if needing and reference is None and dataset is None:
        if not (folder.is_dir() and pairs_itself(folder, scale)):
            raise BenchError(
                f"{', '.join(needing)}: compared with a reference. Name it with --reference DIR or "
                "--dataset NAME, or ask for --metrics that need none, such as niqe. A folder that "
                f"holds both names them such as NAME_x{scale}_SR and NAME_x{scale}_HR."
            )
        reference = folder
    paired = pair_folder(folder, scale, reference=reference, dataset=dataset, template=template)
    store = ScoreStore(home() / "store" / "scores.db")
    with Meter(metrics, workers=workers, store=store) as meter:
        found = FolderScores(
            folder, as_text(dataset or str(reference or "")) or None, rules.name, scale,
            tuple(dict.fromkeys(metrics)), paired, labels_of(meter.names),
            {task.stem: {} for task in paired.tasks}, dict(meter.unavailable),
        )  # fmt: skip
        problems = []
        measured = meter.measure(paired.tasks, rules, scale, len(paired.tasks))
        for done, (task, scores) in enumerate(measured, start=1):
            if isinstance(scores, BenchError):
                problems.append(str(scores))
            else:
                found.images[task.stem].update(scores)
            progress(done, len(paired.tasks))
    found.computed, found.stored, found.trouble = meter.computed, meter.stored, meter.trouble
    if problems:
        rest = len(paired.tasks) - len(problems)
        stored = [] if meter.trouble else [f"The scores of the other {rest} images are stored."]
        raise BenchError("\n".join([*sorted(problems), *stored]))
    for stem, scores in found.images.items():
        for name, score in scores.items():
            if not math.isfinite(score.value):
                why = score.why or "infinite: equal to its reference"
                found.unavailable[f"{name} on {stem}"] = why
    return found
