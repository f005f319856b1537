"""The metric `nima`: which of NIMA's weights this machine has, and what they say of an image.

Best first: `nima@ava-mnasnet`, the user's own checkpoint, and `nima@ava-pyiqa`, pyiqa's, learned
AVA's votes; `nima@photos` ships with this package. Only looks at files: torch waits for `load`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.data.roots import weights_root
from bench.data.weights import digest
from bench.measure.metrics import Scorer, pyiqa

PHOTOS = Path(__file__).parents[1] / "data/nima_photos_v1.pth"


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


def chosen(*, differentiable: bool = False) -> Weights:
    """Returns the weights that are used, the best of those that are here.

    They are nima/mnasnet_ava.pth below $BENCH_WEIGHTS, else the file that `bench fetch pyiqa:nima`
    downloads, else the package's own. differentiable: for a loss, which pyiqa's cannot be.
    """
    return next(w for w in _present() if not (differentiable and w.name == "nima@ava-pyiqa"))


def _present() -> Iterator[Weights]:
    own = weights_root() / "nima/mnasnet_ava.pth"
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
