"""NIMA trained on AVA's votes, where its weights are on this machine.

`nima@ava-mnasnet` is the user's own checkpoint, `nima@ava-pyiqa` that of pyiqa. Apart from nima.py,
whose code decides how `nima@photos` is trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.pixels import Image, as_rgb
from bench.data.weights import digest, weights_root
from bench.errors import BenchError
from bench.measure.metrics import pyiqa
from bench.measure.protocol import Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from bench.measure.metrics import Scorer
    from bench.measure.metrics.nima import NIMA

SIDE = 224
"""Pixels a side of what MnasNet sees."""

_MNASNET, _PYIQA = "nima@ava-mnasnet", "nima@ava-pyiqa"
_WRAPPINGS = ("state_dict", "model_state_dict", "model", "params")
_PREFIXES = (
    ("module.", ""),  # torch's DataParallel
    ("layers.", "trunk."),  # torchvision's mnasnet1_0 with ten outputs
    ("classifier.1.", "head."),
    ("base_model.0.", "trunk."),  # the same in nima.pytorch
    ("head.2.", "head."),
)


@dataclass(frozen=True)
class Ava:
    """Weights learned from AVA's votes."""

    name: str
    """The exact name of the assessor: tables show it."""
    path: Path

    def identity(self) -> str:
        """Returns the name with the file's digest: which assessor decides a score."""
        return f"{self.name} {digest(self.path)[:16]}"


def ava() -> Ava | None:
    """Returns the weights of AVA on this machine, the user's own first; None if there are none.

    They are nima/mnasnet_ava.pth below $BENCH_WEIGHTS (see `load_mnasnet`), and the file that
    `bench fetch pyiqa:nima` downloads. Only looks whether they are there, and loads nothing.
    """
    own = Ava(_MNASNET, weights_root() / "nima/mnasnet_ava.pth")
    theirs = Ava(_PYIQA, pyiqa.cache_folder() / pyiqa.NIMA_AVA)
    if own.path.is_file():
        return own
    return theirs if theirs.path.is_file() and pyiqa.known() else None


def load_ava(source: Ava, device: str) -> "Scorer":
    """Returns the function that gives the mean mark of an image, 1 to 10.

    MnasNet sees the whole picture resized to 224x224 (bilinear with antialiasing, its shape not
    kept), as nima.pytorch evaluates what it trains on 224x224 parts of pictures resized to 256x256:
    at the picture's own size it would see a scale that it has not learned. pyiqa's
    InceptionResNetV2 sees the middle 299x299 pixels of the picture resized to 299 on its shorter
    side. No border is left out. Raises BenchError if the weights cannot be used.
    """
    if source.name == _PYIQA:
        return pyiqa.scorer("nima", device)
    import torch
    from torch.nn import functional as F

    method = load_mnasnet(source.path).to(device)

    def score(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
        pixels = torch.from_numpy(as_rgb(sr).copy()).to(device).permute(2, 0, 1)[None]
        with torch.inference_mode():
            square = F.interpolate(
                pixels.float() / 255, (SIDE, SIDE), mode="bilinear", antialias=True
            )
            return float(method.score(square))

    return score


def load_mnasnet(path: Path) -> "NIMA":
    """Returns NIMA on MnasNet with the weights of a checkpoint, in eval mode.

    The checkpoint is a state dict of `NIMA(trunk="mnasnet")`, of torchvision's mnasnet1_0 with ten
    outputs, or of nima.pytorch around that; also as {"state_dict": ...} and after DataParallel.
    Raises BenchError with the first name that does not fit.
    """
    import torch

    from bench.measure.metrics.nima import NIMA

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zipfile or torch: whatever such a file provokes
        why = str(error).strip().partition("\n")[0]
        raise BenchError(f"{path}: not a state dict that torch can read: {why}") from None
    if isinstance(found, dict):
        found = next((found[w] for w in _WRAPPINGS if isinstance(found.get(w), dict)), found)
    if not isinstance(found, dict):
        raise BenchError(f"{path}: holds a {type(found).__name__}, not a state dict.")
    method = NIMA(trunk="mnasnet")
    weights = {_renamed(str(key)): value for key, value in found.items()}
    if problem := _misfit(weights, method.state_dict()):
        raise BenchError(
            f"{path}: not a checkpoint of NIMA on torchvision's mnasnet1_0: {problem}. Save the "
            'state dict of NIMA(trunk="mnasnet"), or delete the file to go without it.'
        )
    method.load_state_dict(weights, strict=False)  # only counters of batches may be lacking
    return method.eval()


def _renamed(key: str) -> str:
    for prefix, ours in _PREFIXES:
        if key.startswith(prefix):
            key = ours + key.removeprefix(prefix)
    return key


def _misfit(found: Mapping[str, Any], wanted: "Mapping[str, Tensor]") -> str | None:
    """The first thing that keeps weights from being those of the network."""
    for key, value in found.items():
        if key not in wanted:
            return f"{key!r} is no part of it"
        shape = tuple(getattr(value, "shape", ("not a tensor",)))
        if shape != tuple(wanted[key].shape):
            return f"{key!r} is {shape}, not {tuple(wanted[key].shape)}"
    lacking = (k for k in wanted if k not in found and not k.endswith("num_batches_tracked"))
    return next((f"{key!r} is lacking" for key in lacking), None)
