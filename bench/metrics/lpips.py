"""LPIPS, version 0.1, AlexNet. The only door to the package lpips."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.protocol import Image, Protocol, Unscorable, as_rgb
from bench.weights import WEIGHTS, find, why_not

if TYPE_CHECKING:
    from bench.metrics import Scorer

_SMALLEST = 31  # AlexNet's second pooling has nothing left of less


def unavailable() -> str | None:
    """Returns why LPIPS cannot be measured here; None if it can.

    The package brings LPIPS's own weights; the AlexNet below them is a separate download.
    """
    return why_not("alexnet", _elsewhere())


def scorer(device: str) -> "Scorer":
    """Returns the function that compares SR with HR, both whole: LPIPS leaves out no border."""
    import lpips  # type: ignore[import-untyped]  # ships no types
    import torch

    path = find("alexnet", _elsewhere())
    assert path is not None, "asked for although unavailable() says why not"
    # pnet_rand: the package would download the backbone; its weights are put in below instead
    model = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    published = torch.load(path, map_location="cpu", weights_only=True)
    layers = model.net.state_dict()  # "slice2.3.weight" is "features.3.weight" of AlexNet
    model.net.load_state_dict({k: published[f"features.{k.partition('.')[2]}"] for k in layers})
    model.eval().to(device)

    def tensor(image: Image) -> torch.Tensor:
        pixels = torch.from_numpy(as_rgb(image)).to(device).permute(2, 0, 1)[None]
        return pixels.float() / 127.5 - 1

    def score(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
        if hr is None or sr.shape[:2] != hr.shape[:2]:
            raise ValueError(f"SR {sr.shape} needs an HR of its size")
        if min(sr.shape[:2]) < _SMALLEST:
            raise Unscorable(f"LPIPS needs {_SMALLEST} pixels a side, got {sr.shape[:2]}")
        with torch.inference_mode():
            return float(model(tensor(sr), tensor(hr)))

    return score


def _elsewhere() -> Path:
    """Where torchvision downloads AlexNet's weights to."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch")
    return torch_home / "hub" / "checkpoints" / Path(WEIGHTS["alexnet"].path).name
