"""What the page's worker does: reads a picture, restores it, scores it. One job, one process.

A worker is forked from a server that has this module loaded. It has a limit of memory, so that a
broken or malicious picture costs one job and not the machine.
"""

import os
import resource
import shlex
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.api import prepare_method
from bench.data.benchmark import open_benchmark
from bench.data.images import read_image, write_image
from bench.data.pixels import Image
from bench.data.png import write_bands
from bench.errors import BenchError, disk_is_full
from bench.measure.meter import Meter
from bench.measure.metrics import metric, viqet
from bench.measure.protocol import default_protocol, usual_protocol
from bench.measure.protocol import protocol as find_protocol
from bench.measure.task import Restored
from bench.method.contract import Method
from bench.method.faults import faults_told, memory_is_short
from bench.method.restoring import bands_of
from bench.own import digest_of
from bench.sweep.job import Last
from bench.web.reading import read_upload, write_small

GIGABYTE = 2**30
RESULT_PIXELS = 200_000_000
"""Of a result, at most."""
SCORED_PIXELS = {"viqet": 100_000_000}
SCORED = 12_000_000
"""Pixels of what a metric is given, at most: more would take more than a gigabyte. VIQET works on a
reduced picture."""
NO_REFERENCE = ("nima", "niqe", "viqet")
REFERENCE = ("psnr_y", "ssim_y", "psnr", "ssim", "lpips")
SLOWEST = "viqet"


@dataclass(frozen=True)
class Doing:
    """How far a job is."""

    stage: str
    part: float = 0.0


@dataclass(frozen=True)
class Found:
    """What a job has found so far: fields of a Picture or a Result."""

    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Scored:
    """One score, under the metric's exact name."""

    name: str
    score: Mapping[str, Any]


@dataclass(frozen=True)
class Ended(Last):
    """reason: why it came to nothing; None: it is done."""

    reason: str | None = None


Said = Doing | Found | Scored | Ended


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """Something that a worker does."""

    memory: int = 4 * GIGABYTE
    """Bytes that it may take beyond what a worker begins with."""
    places: Mapping[str, str] = field(default_factory=lambda: here())

    @abstractmethod
    def steps(self) -> Iterator[Said]:
        """Says what it does; what it yields last is not yet the end."""


def here() -> dict[str, str]:
    """Returns what says where things lie: a worker may have been forked under other values."""
    return {k: v for k, v in os.environ.items() if k.startswith("BENCH_") or k == "TORCH_HOME"}


def run(job: Job, threads: int) -> Iterator[Said]:
    """Runs a job in a worker."""
    os.environ.update(job.places)
    _limit_memory(job.memory)
    yield from said_by(job)


def said_by(job: Job) -> Iterator[Said]:
    """Yields what a job says, and at the end why it came to nothing, if it did."""
    try:
        yield from job.steps()
    except BenchError as error:
        yield Ended(str(error))
    except Exception as error:
        if memory_is_short(error):
            yield Ended("It needs more memory than a picture may take here.")
        elif disk_is_full(error):
            yield Ended("The disk is full. Make room, and ask again.")
        else:
            traceback.print_exc()
            yield Ended(f"A mistake of bench's own: {type(error).__name__}. Its log says more.")
    else:
        yield Ended()


def _limit_memory(most: int) -> None:
    """CUDA maps more than any limit; there its own memory is what counts."""
    status = Path("/proc/self/status")
    if torch.cuda.is_available() or not status.is_file():
        return
    lines = (
        line.split() for line in status.read_text(encoding="ascii", errors="replace").splitlines()
    )
    now = next(int(words[1]) * 1024 for words in lines if words[0] == "VmData:")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + most, hard))


@dataclass(frozen=True, kw_only=True)
class Warm(Job):
    """Nothing: the first worker waits until the server of all workers is ready."""

    def steps(self) -> Iterator[Said]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Read(Job):
    """An upload becomes a clean picture; the upload itself goes."""

    upload: Path
    image: Path
    small: Path | None
    pixels: int
    memory: int = 2 * GIGABYTE

    def steps(self) -> Iterator[Said]:
        yield Doing("reading")
        try:
            pixels, said = read_upload(self.upload, self.pixels)
        finally:
            self.upload.unlink(missing_ok=True)
        write_bands(self.image, [pixels])
        if self.small is not None:
            write_small(self.small, pixels)
        height, width = pixels.shape[:2]
        yield Found({"width": width, "height": height, "said": said})


@dataclass(frozen=True, kw_only=True)
class Take(Job):
    """An image of a benchmark set, as its protocol makes it."""

    dataset: str
    stem: str
    scale: int
    image: Path
    small: Path
    original: Path

    def steps(self) -> Iterator[Said]:
        yield Doing("reading")
        pairs = open_benchmark(self.dataset, self.scale).pairs
        pair = next(pair for pair in pairs if pair.stem == self.stem)
        lr, hr = np.asarray(pair.lr(), np.uint8), pair.hr()
        write_image(self.image, lr)
        write_image(self.original, hr)
        write_small(self.small, lr)
        (height, width), (tall, wide) = lr.shape[:2], hr.shape[:2]
        yield Found({"width": width, "height": height, "said": [],
                     "original": {"width": wide, "height": tall, "said": []}})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Enhance(Job):
    """A picture as one row makes it, with its scores."""

    path: str
    """Dotted path, or STUDY/TRIAL."""
    weights: str | None
    scale: int
    dataset: str | None
    source: Path
    original: Path | None
    image: Path
    small: Path

    def steps(self) -> Iterator[Said]:
        yield Doing("loading")
        lr = read_image(self.source)
        method = prepare_method(self.path, {}, self.weights, self.scale)
        self._refuse_too_large(lr)
        yield Doing("restoring")
        began = time.monotonic()
        sr, rows = np.empty((0, 0, 3), np.uint8), 0
        with faults_told(method, self.scale):
            for band in bands_of(method, lr):
                if not rows:  # one picture in memory, not a second one of its bands
                    height = lr.shape[0] * band.shape[1] // lr.shape[1]
                    sr = np.empty((height, *band.shape[1:]), np.uint8)
                sr[rows : rows + len(band)] = band
                rows += len(band)
                yield Doing("restoring", rows / len(sr))
        seconds = time.monotonic() - began
        rules = rules_for(self.dataset, self.scale)
        hr = None if self.original is None else read_image(self.original)
        scored = scores(sr, hr, rules, self.scale, NO_REFERENCE + REFERENCE)  # begins at once
        write_bands(self.image, [sr])
        write_small(self.small, sr)
        yield Found({"width": sr.shape[1], "height": sr.shape[0], "seconds": seconds,
                     "provenance": self._provenance(method, rules)})  # fmt: skip
        del lr, method
        yield from scored

    def _refuse_too_large(self, lr: Image) -> None:
        pixels = self.scale**2 * lr.shape[0] * lr.shape[1]
        if pixels > RESULT_PIXELS:
            raise BenchError(
                f"The result would have {pixels / 1e6:.0f} million pixels, and at most "
                f"{RESULT_PIXELS / 1e6:.0f} million are made here. Choose a smaller scale, or "
                "`bench restore`."
            )

    def _provenance(self, method: Method, rules: str) -> dict[str, Any]:
        words = ["bench", "restore", self.path, "PICTURE", "--out", "restored"]
        words += ["--weights", self.weights] if self.weights else []
        words += ["--param", f"scale={self.scale}"] if "scale" in method.hyperparameters else []
        return {
            "method": self.path,
            "parameters": {k: v for k, v in method.hyperparameters.items() if _is_plain(v)},
            "weights": self.weights or ("the trial's own" if "/" in self.path else "none"),
            "weights_digest": digest_of(method) if any(True for _ in method.parameters()) else "",
            "remarks": list(method.remarks),
            "protocol": rules,
            "torch": torch.__version__,
            "device": str(next((p.device for p in method.parameters()), "cpu")),
            "command": shlex.join(words),
        }


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | tuple)


def rules_for(dataset: str | None, scale: int) -> str:
    """Returns the name of the protocol that a picture is scored under."""
    task = "super-resolution" if scale > 1 else "enhancement"
    return default_protocol(task) if dataset is None else usual_protocol(dataset, task)


@dataclass(frozen=True, kw_only=True)
class Rate(Job):
    """Scores of a picture that is there: the input itself, or a result whose original came late."""

    source: Path
    original: Path | None
    dataset: str | None
    scale: int
    metrics: Sequence[str] = NO_REFERENCE

    def steps(self) -> Iterator[Said]:
        hr = None if self.original is None else read_image(self.original)
        rules = rules_for(self.dataset, self.scale)
        yield from scores(read_image(self.source), hr, rules, self.scale, self.metrics)


@dataclass(frozen=True, kw_only=True)
class Explain(Job):
    """VIQET's opinion and the features that its tool displays."""

    source: Path

    def steps(self) -> Iterator[Said]:
        yield Doing("viqet")
        if why := viqet.unavailable():
            raise BenchError(why)
        image = read_image(self.source)
        found = viqet.measure(image)
        features = [_feature(name, value) for name, value in found.displayed.items()]
        yield Found({"mos": _finite(found.mos["general"]), "features": features})


def _feature(name: str, value: float) -> dict[str, Any]:
    facts = metric(f"viqet.{name}")
    on_scale = facts.unit != "MP" and _finite(value) is not None  # the tool's go from 0 to 100
    place = min(1.0, max(0.0, value / 100)) if on_scale else None
    return {"name": name, "value": _finite(value), "unit": facts.unit, "place": place}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def scores(
    sr: Image, hr: Image | None, rules: str, scale: int, names: Sequence[str]
) -> Iterator[Said]:
    """Returns an iterator that says each score as it is computed.

    SLOWEST takes as long as the others together: it is begun here, on a thread beside them, and
    said last.
    """
    able = [n for n in names if hr is not None or not metric(n).reference]
    score = partial(_scored, sr=sr, hr=hr, rules=rules, scale=scale)
    thread = ThreadPoolExecutor(1)
    beside = {n: thread.submit(score, n) for n in able if n == SLOWEST}
    thread.shutdown(wait=False)
    order = sorted(able, key=lambda n: (n == SLOWEST, n == "lpips"))
    return _said(order, lambda n: beside[n].result() if n in beside else score(n))


def _said(names: Sequence[str], score: Callable[[str], Mapping[str, Any]]) -> Iterator[Said]:
    for name in names:
        exact = metric(name).label() or name
        yield Doing(exact)
        yield Scored(exact, score(name))


def _scored(name: str, sr: Image, hr: Image | None, rules: str, scale: int) -> dict[str, Any]:
    if why := _why_not(name, sr, hr):
        return {"protocol": rules, "reason": why}
    return {"protocol": rules, **_score(name, sr, hr, rules, scale)}


def _why_not(name: str, sr: Image, hr: Image | None) -> str | None:
    most = SCORED_PIXELS.get(name, SCORED)
    if sr.shape[0] * sr.shape[1] > most:
        return f"not computed here above {most / 1e6:.0f} million pixels: `bench score` does"
    if metric(name).reference and hr is not None and hr.shape[:2] != sr.shape[:2]:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (hr, sr)]
        return f"the original has {sizes[0]} pixels, the result {sizes[1]}"
    return None


def _score(name: str, sr: Image, hr: Image | None, rules: str, scale: int) -> dict[str, Any]:
    with Meter([name], workers=1) as meter:
        if why := meter.unavailable.get(name):
            return {"reason": why}
        task = Restored("picture", sr, sr, hr)
        _, found = next(iter(meter.measure([task], find_protocol(rules), scale, 1)))
        if isinstance(found, BenchError):
            return {"reason": str(found)}
        value, why, note = found[name]
        return {"value": _finite(value), "reason": why, "note": note}
