"""NIMA's networks with the weights of this machine, and how each of them sees an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.pixels import Image
from bench.errors import BenchError
from bench.measure.metrics import Scorer, pyiqa
from bench.method import to_tensor
from bench.train.trained import load_trial
from methods.metrics.nima import Trial, Weights
from methods.networks.nima import Compact, our_name
from methods.nima import NIMA, Trunk

SIDE = 224
"""Pixels a side of what MnasNet sees."""
BAND = 1 << 21
"""Pixels seen at once where an image is seen at its own size."""

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "params")
_TELLING: dict[str, Trunk] = {
    "trunk.fine.weight": "compact",
    "trunk.1.conv.0.0.weight": "mobilenet_v2",
    "trunk.28.weight": "vgg16",
}
"""A tensor that one trunk alone has."""


def load_nima(weights: Weights) -> NIMA:
    """Returns NIMA with these weights on the CPU, frozen and in eval mode.

    Works where new tensors go to the meta device, too. Raises BenchError if they do not fit.
    """
    with torch.device("cpu"):
        if weights.name == "nima@photos":
            method = NIMA()
            method.load_state_dict(torch.load(weights.path, weights_only=True))
        else:
            method = load_checkpoint(weights.path)
    return method.eval().requires_grad_(False)


def load_assessor(chosen: Weights | Trial) -> "Assessor":
    """Returns what gives marks for a loss: `score(image)` is the mean mark `(N,)`, 1 to 10, of
    images `(N, 3, H, W)` in [0, 1], and differentiable. Frozen, in eval mode, on the CPU.

    Raises BenchError for a trial that gives no marks, and for weights that do not fit.
    """
    if isinstance(chosen, Trial):
        with torch.device("cpu"):
            method = load_trial(chosen.name)
        if not isinstance(method, NIMA):
            given = type(method).__name__
            raise BenchError(
                f"assessor {chosen.name}: {given} restores pictures, it gives no marks."
            )
        return method.eval().requires_grad_(False)
    if chosen.name == "nima@ava-pyiqa":
        return Theirs()
    return load_nima(chosen)


class Theirs(nn.Module):
    """pyiqa's NIMA: it sees the middle of the picture resized to 299 pixels on its shorter side."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pyiqa.network("nima", "cpu").eval().requires_grad_(False)

    def score(self, image: Tensor) -> Tensor:
        """Returns the mean mark `(N,)`, 1 to 10."""
        marks: Tensor = self.network(image.float())
        return marks.flatten()


Assessor = NIMA | Theirs
"""What gives marks for a loss: `score`."""


def score_whole(method: NIMA) -> Scorer:
    """Returns a function that gives the mean mark of an image seen whole at its own size.

    Large images go through the trunk in bands of rows whose features are pooled together: with the
    compact trunk the same number, with MnasNet's wider view nearly.
    """
    device = method.get_buffer("marks").device

    def score(sr: Image, hr: Image | None, rules: Any, scale: int) -> float:
        with torch.inference_mode():
            pooled = _pool_in_bands(method, to_tensor(np.array(sr), device))
            return float(method.mean_mark(method.distribution(pooled)))

    return score


def _pool_in_bands(method: NIMA, image: Tensor) -> Tensor:
    """The mean of the trunk's features, of at most BAND pixels and their halo at a time."""
    height, width = image.shape[-2:]
    rows = max(32, BAND // width // 32 * 32)
    total, count = torch.zeros(1, method.head.in_features, device=image.device), 0
    for top in range(0, height, rows):
        start, end = max(0, top - 32), min(height, top + rows + 32)
        features = method.features(image[..., start:end, :])
        stride = 8 if isinstance(method.trunk, Compact) else 32
        first, last = (top - start) // stride, -(-(min(height, top + rows) - start) // stride)
        mine = features[..., first:last, :].float()
        total, count = total + mine.sum((2, 3)), count + mine.shape[2] * mine.shape[3]
    return total / count


def score_at_224(method: NIMA) -> Scorer:
    """Returns a function that gives the mean mark of an image resized to 224x224.

    Bilinear with antialiasing, its shape not kept, as nima.pytorch evaluates what it trains on
    224x224 parts of pictures resized to 256x256: at the picture's own size it would see a scale
    that it has not learned.
    """
    device = method.get_buffer("marks").device

    def score(sr: Image, hr: Image | None, rules: Any, scale: int) -> float:
        with torch.inference_mode():
            picture = to_tensor(np.array(sr), device)
            square = F.interpolate(picture, (SIDE, SIDE), mode="bilinear", antialias=True)
            return float(method.score(square))

    return score


def load_checkpoint(path: Path) -> NIMA:
    """Returns NIMA with the weights of a checkpoint, in eval mode; the trunk is told by its names.

    The checkpoint is a state dict of `NIMA`, of torchvision's mnasnet1_0 or mobilenet_v2 with ten
    outputs, or of nima.pytorch around that; also as {"state_dict": ...} and after DataParallel.
    Raises BenchError with the first name that does not fit.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zipfile or torch: whatever such a file provokes
        why = str(error).strip().partition("\n")[0]
        raise BenchError(f"{path}: not a state dict that torch can read: {why}") from None
    if isinstance(found, dict):
        found = next((found[w] for w in _WRAPPINGS if isinstance(found.get(w), dict)), found)
    if not isinstance(found, dict):
        raise BenchError(f"{path}: holds a {type(found).__name__}, not a state dict.")
    weights = {our_name(str(key)): value for key, value in found.items()}
    telling = [its for name, its in _TELLING.items() if name in weights]
    trunk: Trunk = telling[0] if telling else "mnasnet"
    method = NIMA(trunk=trunk)
    if problem := _misfit(weights, method.state_dict()):
        raise BenchError(
            f"{path}: not a checkpoint of NIMA on {trunk}: {problem}. Save the state dict of "
            f'NIMA(trunk="{trunk}"), or delete the file to go without it.'
        )
    method.load_state_dict(weights, strict=False)  # only counters of batches may be lacking
    return method.eval()


def _misfit(found: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> str | None:
    """The first thing that keeps weights from being those of the network."""
    for key, value in found.items():
        if key not in wanted:
            return f"{key!r} is no part of it"
        shape = tuple(getattr(value, "shape", ("not a tensor",)))
        if shape != tuple(wanted[key].shape):
            return f"{key!r} is {shape}, not {tuple(wanted[key].shape)}"
    lacking = (k for k in wanted if k not in found and not k.endswith("num_batches_tracked"))
    return next((f"{key!r} is lacking" for key in lacking), None)
