"""The metric `nima`: which of NIMA's weights this machine has, and what they say of an image.

Best first: `nima@ava-mnasnet`, the user's own checkpoint, and `nima@ava-pyiqa`, pyiqa's, learned
AVA's votes; `nima@photos` ships with this package. Only looks at files: torch waits for `load`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.data.roots import is_trial, named_path, weights_root
from bench.data.weights import digest
from bench.errors import BenchError, unknown
from bench.measure.metrics import Scorer, pyiqa

PHOTOS = Path(__file__).parents[1] / "data/nima_photos_v1.pth"
OWN = "nima/mnasnet_ava.pth"
"""The user's own checkpoint, below $BENCH_WEIGHTS."""


@dataclass(frozen=True)
class Weights:
    """An assessor's weights on this machine."""

    name: str
    """The assessor's exact name: tables show it."""
    path: Path
    version: str = ""

    def identity(self) -> str:
        """Returns name, version and the file's digest: which assessor decides a score."""
        return " ".join(filter(None, (self.name, self.version, digest(self.path)[:16])))


@dataclass(frozen=True)
class Trial:
    """An assessor that a sweep has trained, such as "nima_ava/mnasnet-s0"."""

    name: str

    def identity(self) -> str:
        """Returns its name and the digest of its weights. Raises BenchError if they are gone."""
        from bench.train.trained import trial_digest  # torch

        return f"{self.name} {trial_digest(self.name)}"


def find_assessor(text: str) -> Weights | Trial:
    """Returns the assessor of that name, for a loss; nothing is read.

    "nima": the best that is here and not pyiqa's. "nima@photos" or "nima@ava-mnasnet": these.
    "pyiqa:nima": pyiqa's. "STUDY/TRIAL": what a sweep has trained. A path: a file of weights, from
    the study's folder. Raises BenchError for an unknown name, and for weights that are not here.
    """
    if text == "nima":
        return chosen(differentiable=True)
    if text == "pyiqa:nima":
        if why := pyiqa.unavailable("nima"):
            raise BenchError(f"assessor {text}: {why}.")
        return Weights("nima@ava-pyiqa", pyiqa.cache_folder() / pyiqa.NIMA_AVA)
    if is_trial(text):
        return Trial(text)
    if "/" in text or Path(text).suffix in (".pth", ".pt"):
        if not (path := named_path(text)).is_file():
            raise BenchError(f"assessor {path}: no such file.")
        return Weights(text, path)
    here = {weights.name: weights for weights in _present()}
    if text in here:
        return here[text]
    if text == "nima@ava-mnasnet":
        raise BenchError(f"assessor {text}: no {weights_root() / OWN}. Put your checkpoint there.")
    known = ("nima", "nima@photos", "nima@ava-mnasnet", "pyiqa:nima", "STUDY/TRIAL", "PATH")
    raise BenchError(unknown("assessor", text, known))


def name_of(text: str) -> str:
    """Returns what tables call the assessor of that name, whether it is here or not."""
    return chosen(differentiable=True).name if text == "nima" else text


def chosen(*, differentiable: bool = False) -> Weights:
    """Returns the weights that are used, the best of those that are here.

    They are nima/mnasnet_ava.pth below $BENCH_WEIGHTS, else the file that `bench fetch pyiqa:nima`
    downloads, else the package's own. differentiable: for a loss, which pyiqa's cannot be.
    """
    return next(w for w in _present() if not (differentiable and w.name == "nima@ava-pyiqa"))


def _present() -> Iterator[Weights]:
    own = weights_root() / OWN
    if own.is_file():
        yield Weights("nima@ava-mnasnet", own)
    theirs = pyiqa.cache_folder() / pyiqa.NIMA_AVA
    if theirs.is_file() and pyiqa.known():
        yield Weights("nima@ava-pyiqa", theirs)
    yield Weights("nima@photos", PHOTOS, PHOTOS.stem.rpartition("_")[2])


def load(device: str) -> Scorer:
    """Returns the function that gives the mean mark of an image, 1 to 10.

    Reference, protocol and scale do not count, and no border is left out. pyiqa's network sees the
    middle 299x299 pixels of the picture resized to 299 on its shorter side; for the others see
    nima_networks.py. Raises BenchError if the weights cannot be used.
    """
    weights = chosen()
    if weights.name == "nima@ava-pyiqa":
        return pyiqa.scorer("nima", device)
    from methods.metrics import nima_networks  # torch

    method = nima_networks.load_nima(weights).to(device)
    whole = weights.name == "nima@photos"
    return nima_networks.score_whole(method) if whole else nima_networks.score_at_224(method)


def identity() -> str:
    """Returns which weights decide a score: "nima@photos v1 0123456789abcdef"."""
    return chosen().identity()


def label() -> str:
    """Returns the exact name of the assessor, such as nima@photos."""
    return chosen().name


def examination() -> Mapping[str, float | str]:
    """Returns what is known of the assessor: the rank correlations stated beside its weights."""
    notes = chosen().path.with_suffix(".json")
    return json.loads(notes.read_bytes())["examination"] if label() == "nima@photos" else {}
