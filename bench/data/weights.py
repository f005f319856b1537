"""Published weights: where they live below $BENCH_WEIGHTS, where they come from, their checksums.

A file is there and is the published one, or it is said to be missing or damaged.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.data.roots import weights_root as weights_root
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
_BASICSR = "https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics"
_JUSTIN = "https://web.eecs.umich.edu/~justincj/models"
_YABORN = "https://github.com/yaBorn/Super-resolution"
_CARN = "https://raw.githubusercontent.com/nmhkahn/CARN-pytorch/master/checkpoint/carn_m.pth"
_DPED = "https://github.com/aiff22/DPED"
_ZERO_DCE = "https://raw.githubusercontent.com/Li-Chongyi/Zero-DCE/master/Zero-DCE_code"
_CONVERTED = "licence of the repository; converted from the authors' checkpoint"
_UNSTATED = "none stated"
_BSD = "BSD-3-Clause (torchvision)"

WEIGHTS: dict[str, Weights] = {
    "niqe": Weights(
        "niqe/niqe_pris_params.npz",
        f"{_BASICSR}/niqe_pris_params.npz",
        "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
        "Apache-2.0",
    ),
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
    "carn_m": Weights(
        "carn_m/carn_m.pth",
        _CARN,
        "d48a759a84509351facb6b7c6d5bd6edec98b98519b8c464ee4ab44d2ba964ff",
        "MIT",
    ),
    "fsrcnn_x2": Weights(
        "fsrcnn/FSRCNN_x2.mat",
        _YABORN,
        "1d00d037c4eae56d898e1a1e62b736eb11bb2ec112b2fd29d7ead0bff5e4e8b5",
        _UNSTATED,
        page=True,
    ),
    "fsrcnn_x3": Weights(
        "fsrcnn/FSRCNN_x3.mat",
        _YABORN,
        "9cbd62ce9cb8d0236d21c7b1311b1ee7f53ff227fd4a5ea62ddaf347870a80a0",
        _UNSTATED,
        page=True,
    ),
    "fsrcnn_x4": Weights(
        "fsrcnn/FSRCNN_x4.mat",
        _YABORN,
        "af005f2ba6e90ef45f1807045c3f78132e15b57d9056e4691c79e34863dbdd4f",
        _UNSTATED,
        page=True,
    ),
    "dped_iphone": Weights(
        "dped/iphone.safetensors",
        _DPED,
        "17477eda18567cec0383cc7c22eafb806ee7013a11b9c42cde3ad3fb011872b2",
        _CONVERTED,
        page=True,
    ),
    "dped_blackberry": Weights(
        "dped/blackberry.safetensors",
        _DPED,
        "3780555cb92402b3d3b3cef1a7051efcdac2e9d42d44a5c2f582d16164fd7404",
        _CONVERTED,
        page=True,
    ),
    "dped_sony": Weights(
        "dped/sony.safetensors",
        _DPED,
        "496a12c8ae49e145b78431548251a434909cf8e1407db462f2057a7e60de1246",
        _CONVERTED,
        page=True,
    ),
    "zero_dce": Weights(
        "low_light/zero_dce.pth",
        f"{_ZERO_DCE}/snapshots/Epoch99.pth",
        "a4395acb874f320375d9704997cef874eaaaaa26a1777ceb29a92b70f74c3612",
        "CC BY-NC",
    ),
    "viqet_flat_region": Weights(
        "viqet/flat_region_svm.npz",
        "https://github.com/VIQET/VIQET-Desktop",
        "79405a193323853df25362b1b9b6a37ce0d38d8be99031731000a9cb065d4606",
        "EPL-1.0; converted from the tool's model",
        page=True,
    ),
}


def torch_hub() -> Path:
    """Returns where torch.hub keeps what it downloads, found without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch") / "hub"


def find(name: str) -> Path | None:
    """Returns the published file, or None if it is not on this machine.

    torchvision's files are looked for a second time where torchvision downloads them to. Raises
    BenchError for an unknown name, and for a file that is not the published one.
    """
    if name not in WEIGHTS:
        raise BenchError(unknown("weights", name, WEIGHTS))
    entry = WEIGHTS[name]
    path = next((place for place in _places(entry) if place.is_file()), None)
    if path is None:
        return None
    if not (got := digest(path)).startswith(entry.sha256):
        raise BenchError(
            f"{path}: not the published file: SHA-256 {got}, expected {entry.sha256}. {_how(name)}."
        )
    return path


def why_missing(name: str) -> str:
    """Returns what to say about published weights that are not on this machine."""
    entry = WEIGHTS[name]
    return (
        f"published weights {name!r} are not on this machine: no {entry.path} below "
        f"{weights_root()} ($BENCH_WEIGHTS). {_how(name)} (licence: {entry.licence})"
    )


def why_not(name: str) -> str | None:
    """Returns why published weights cannot be used: absent or damaged; None if they can."""
    try:
        return None if find(name) else why_missing(name)
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


def _how(name: str) -> str:
    """How to get a file."""
    entry = WEIGHTS[name]
    if entry.page:
        return f"Get it from {entry.home}"
    return f"Download it from {entry.home}, or do: bench fetch {name}"
