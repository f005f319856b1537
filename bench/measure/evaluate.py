"""method x dataset x scale x protocol -> scores, image by image."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.data import sets
from bench.data.pixels import Image, Input, quantise
from bench.errors import Unscorable
from bench.measure.metrics import ImageScore, Scorer, metric, score_image
from bench.measure.protocol import PROTOCOLS
from bench.method.contract import Method, to_tensor
from bench.method.tiles import TILE, WHOLE, in_tiles
from bench.records.cell import Score, UsedDataset, label_of


@dataclass
class Measured:
    """What an evaluation has found so far."""

    scores: list[Score] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, UsedDataset] = field(default_factory=dict)
    assessors: dict[str, str] = field(default_factory=dict)
    examined: dict[str, dict[str, float | str]] = field(default_factory=dict)

    def images(self, dataset: str, metric_name: str) -> dict[str, ImageScore]:
        """Returns image -> what a metric said of it."""
        found = {}
        for score in self.scores:
            if (score.dataset, score.metric) == (dataset, metric_name):
                key = f"{metric_name} on {dataset}/{score.image}"
                why, note = self.unavailable.get(key), self.notes.get(key)
                found[score.image] = ImageScore(score.value, why, note)
        return found

    def mean(self, dataset: str, metric_name: str) -> float:
        """Returns the set's score as its protocol pools it; NaN if an image has no value."""
        mine = [s for s in self.scores if (s.dataset, s.metric) == (dataset, metric_name)]
        if not mine:
            return math.nan
        return PROTOCOLS[mine[0].protocol].pool(metric_name, (s.value for s in mine))


def load_scorers(
    names: Sequence[str], device: torch.device, trained: Mapping[str, Method], found: Measured
) -> dict[str, Scorer]:
    """Returns a scorer for each metric that can be computed here; notes the others in `found`.

    trained: the finished method behind each metric that needs one, by metric.
    """
    scorers = {}
    for name in names:
        measure = metric(name)
        if why := measure.unavailable():
            found.unavailable[name] = why
        else:
            scorers[name] = measure.load(str(device), trained.get(name))
    return scorers


def evaluate(
    method: Method,
    dataset: str,
    scale: int,
    scorers: Mapping[str, Scorer],
    protocol: str,
    found: Measured,
    *,
    degradation: str = "bicubic",
    limit: int | None = None,
    save: Path | None = None,
) -> Iterator[tuple[str, Input, Image, Image | None]]:
    """Scores a method on a set, adding to `found`; yields each image's stem, LR, SR and HR.

    HR is None in a set without HR files: then only no-reference metrics have values.

    save: a folder for the restored images. limit: only the first images of the set, which the
    record then shows as a partial set. Raises BenchError for a set that cannot be read.
    """
    if why := sets.missing(dataset):
        found.missing[dataset] = why
        return
    pairs = sets.load_pairs(dataset, scale, degradation, limit=limit)
    found.datasets[dataset] = _used(dataset, scale, degradation, len(pairs))
    device = next((p.device for p in method.parameters()), torch.device("cpu"))
    for pair in pairs:
        lr, hr = pair.lr(), pair.hr() if pair.has_hr else None
        place = f"{dataset}/{pair.stem}"
        try:
            sr = quantise(restore(method, to_tensor(lr, device)))
        except Unscorable as error:
            raise ValueError(f"{place}: {error}") from None
        # one channel would broadcast into a plausible score
        wanted = (*(hr.shape[:2] if hr is not None else (scale * n for n in lr.shape[:2])), 3)
        if sr.shape != wanted:
            sizes = ["x".join(map(str, (w, h, c))) for h, w, c in (sr.shape, wanted)]
            raise ValueError(f"{place}: {type(method).__name__} made {sizes[0]}, HR is {sizes[1]}")
        if save is not None:
            sets.write_image(save / label_of(dataset) / f"{pair.stem}.png", sr)
        for name, scorer in scorers.items():
            reference = metric(name).reference
            value, why, note = score_image(
                scorer, sr, hr, PROTOCOLS[protocol], scale, reference=reference
            )
            found.scores.append(Score(dataset, scale, pair.stem, name, protocol, value))
            if why:
                found.unavailable[f"{name} on {place}"] = why
            if note:
                found.notes[f"{name} on {place}"] = note
        yield pair.stem, lr, sr, hr


def _used(dataset: str, scale: int, degradation: str, count: int) -> UsedDataset:
    _, official, source = sets.describe(dataset, scale, degradation)
    return UsedDataset(
        fingerprint=sets.fingerprint(dataset, scale, degradation),
        count=count,
        official=official,
        source=source,
    )


@torch.inference_mode()
def restore(method: Method, lr: Tensor, tile: int = TILE, whole: int = WHOLE) -> Tensor:
    """Returns SR `(1, 3, scale*H, scale*W)`, fp32, not clamped, for `lr (1, C, H, W)` in [0, 1].

    A large image in tiles with the method's halo: the result is the same picture.
    """
    return in_tiles(method, lr, method.halo, tile, whole, method.stride)
