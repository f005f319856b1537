"""Published weights: where they live below $BENCH_WEIGHTS, where they come from, their checksums.

A file is there and is the published one, or it is said to be missing or damaged.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.data.kinds import mistaken_for
from bench.data.roots import user_path, weights_root
from bench.errors import BenchError, unknown


@dataclass(frozen=True)
class Weights:
    """A published file of parameters."""

    path: str
    """Below $BENCH_WEIGHTS."""
    home: str
    """Address to download it from, or the page that tells how."""
    sha256: str
    """Hexadecimal; its first digits where the publisher states no more."""
    licence: str
    page: bool = False
    """`home` is a page: no address of the file itself is known, or it has to be converted."""


_TORCHVISION = "https://download.pytorch.org/models"
_JUSTIN = "https://web.eecs.umich.edu/~justincj/models"
_BSD = "BSD-3-Clause (torchvision)"

WEIGHTS: dict[str, Weights] = {
    "alexnet": Weights(
        "alexnet/alexnet-owt-7be5be79.pth",
        f"{_TORCHVISION}/alexnet-owt-7be5be79.pth",
        "7be5be79",
        _BSD,
    ),
    "vgg16": Weights(
        "vgg16/vgg16-397923af.pth",
        f"{_TORCHVISION}/vgg16-397923af.pth",
        "397923af",
        _BSD,
    ),
    "vgg19": Weights(
        "vgg19/vgg19-dcbb9e9d.pth",
        f"{_TORCHVISION}/vgg19-dcbb9e9d.pth",
        "dcbb9e9d",
        _BSD,
    ),
    "vgg19_caffe": Weights(
        "vgg19_caffe/vgg19-d01eb7cb.pth",
        f"{_JUSTIN}/vgg19-d01eb7cb.pth",
        "d01eb7cb",
        "CC BY 4.0 (University of Oxford); converted from the authors' Caffe model",
    ),
    "viqet_flat_region": Weights(
        "viqet/flat_region_svm.npz",
        "https://github.com/VIQET/VIQET-Desktop",
        "79405a193323853df25362b1b9b6a37ce0d38d8be99031731000a9cb065d4606",
        "EPL-1.0; converted from the tool's model",
        page=True,
    ),
}
"""What the harness itself uses. A method's own weights stand in its class: `Method.published`."""


def torch_hub() -> Path:
    """Returns where torch.hub keeps what it downloads, found without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return user_path(os.environ.get("TORCH_HOME") or str(Path(cache) / "torch")) / "hub"


def find(name: str, known: Mapping[str, Weights] = WEIGHTS) -> Path | None:
    """Returns the published file, or None if it is not on this machine.

    torchvision's files are looked for a second time where torchvision downloads them to. Raises
    BenchError for an unknown name, and for a file that is not the published one.
    """
    if name not in known:
        raise BenchError(unknown("weights", name, known))
    entry = known[name]
    path = next((place for place in _places(entry) if place.is_file()), None)
    if path is None:
        return None
    if not (got := digest(path)).startswith(entry.sha256):
        what = (mistaken_for(path) or f"SHA-256 {got}, expected {entry.sha256}").partition(". ")[0]
        raise BenchError(f"{path}: not the published file: {what}. {_how(name, entry)}.")
    return path


def why_missing(name: str, known: Mapping[str, Weights] = WEIGHTS) -> str:
    """Returns what to say about published weights that are not on this machine."""
    entry = known[name]
    return (
        f"published weights {name!r} are not on this machine: no {entry.path} below "
        f"{weights_root()} ($BENCH_WEIGHTS). {_how(name, entry)} (licence: {entry.licence})"
    )


def why_not(name: str, known: Mapping[str, Weights] = WEIGHTS) -> str | None:
    """Returns why published weights cannot be used: absent or damaged; None if they can."""
    try:
        return None if find(name, known) else why_missing(name, known)
    except BenchError as error:
        return str(error)


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; the same file is read once."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:
    """Of a file's content; its size and time of change tell whether that is still the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _places(entry: Weights) -> list[Path]:
    """Where a file may lie, the best first."""
    places = [weights_root() / entry.path]
    if entry.home.startswith(_TORCHVISION):
        places.append(torch_hub() / "checkpoints" / Path(entry.path).name)
    return places


def _how(name: str, entry: Weights) -> str:
    """How to get a file."""
    if entry.page:
        return f"Get it from {entry.home}"
    return f"Download it from {entry.home}, or do: bench fetch {name}"
