"""LPIPS, version 0.1, on AlexNet or VGG16. The only door to the package lpips."""

import warnings
from typing import TYPE_CHECKING, Literal

from bench.data.pixels import Image, as_rgb
from bench.data.weights import find, why_not
from bench.errors import Unscorable
from bench.measure.protocol import Protocol

if TYPE_CHECKING:
    from bench.measure.metrics import Scorer

Net = Literal["alex", "vgg"]

_BACKBONE = {"alex": "alexnet", "vgg": "vgg16"}
_SMALLEST = {"alex": 31, "vgg": 16}
"""Pixels a side: the last pooling has nothing left of less."""


def unavailable(net: Net) -> str | None:
    """Returns why LPIPS cannot be measured here; None if it can.

    The package brings LPIPS's own weights; the network below them is a separate download.
    """
    return why_not(_BACKBONE[net])


def scorer(device: str, net: Net) -> "Scorer":
    """Returns the function that compares SR with HR, both whole: LPIPS leaves out no border."""
    import lpips  # type: ignore[import-untyped]  # ships no types
    import torch

    path = find(_BACKBONE[net])
    assert path is not None, "asked for although unavailable() says why not"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision on the package's old arguments
        # pnet_rand: the package would download the backbone; its weights are put in below instead
        model = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
    published = torch.load(path, map_location="cpu", weights_only=True)
    layers = model.net.state_dict()  # "slice2.3.weight" is "features.3.weight" of the backbone
    model.net.load_state_dict({k: published[f"features.{k.partition('.')[2]}"] for k in layers})
    model.eval().to(device)

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
