"""VGG19 as a judge of likeness: the feature maps that perceptual and style losses compare.

Layers go by their Caffe names, `conv5_4` before its ReLU and `relu5_4` after; `pool5` follows. The
papers' other names for them: VGG54 of SRGAN and layer 20 of Keras, `block5_conv4`, are relu5_4 (a
Keras layer includes its activation); VGG54 of ESRGAN, features[34] of torchvision, is conv5_4.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.weights import find, why_missing
from bench.errors import BenchError, unknown
from methods.networks.frozen import FrozenConv

Normalisation = Literal["torchvision", "caffe"]

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""(channels, convolutions) between two poolings; configuration E of Simonyan and Zisserman."""

NAMES = tuple(
    name
    for block, (_, convolutions) in enumerate(BLOCKS, 1)
    for name in (
        *(f"{kind}{block}_{i}" for i in range(1, convolutions + 1) for kind in ("conv", "relu")),
        f"pool{block}",
    )
)
"""Name of each layer, in order: its place is its number in torchvision's `features`."""

FILES = {"torchvision": "vgg19", "caffe": "vgg19_caffe"}
"""Normalisation -> the published weights that were trained with it, in bench.data.weights."""


class VGG19(nn.Module):
    """Simonyan and Zisserman, VGG, ICLR 2015: feature maps of RGB images `(N, 3, H, W)` in [0, 1].

    layers: names as above; Keras' are understood too. Nothing behind the last of them is computed.
    features: "published" weights, or "random" ones (He-normal, of `seed`), which must be asked for.
    normalisation: what the weights were trained with. "torchvision": ImageNet's mean taken off,
    divided by its standard deviation; "caffe", which is Keras' too: BGR, 0 to 255, mean taken off.

    Frozen, whatever a training loop does to the module that holds it: its weights are buffers, so
    no optimizer finds them, `requires_grad_` passes by, and no state dict stores them. There is no
    dropout and no batch norm in this part, hence no training mode. Gradients reach the image.

    Raises BenchError for an unknown layer, and for published weights that are not here.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        features: Literal["published", "random"] = "published",
        normalisation: Normalisation = "torchvision",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.asked = {name: layer_index(name) for name in layers}
        self.features = nn.Sequential(*_layers(set(self.asked.values())))
        self.caffe = normalisation == "caffe"
        mean = (103.939, 116.779, 123.68) if self.caffe else (0.485, 0.456, 0.406)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
        self.register_buffer("std", std, persistent=False)
        if features == "random":
            self._draw(seed)
        else:
            self._load(FILES[normalisation])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Returns the feature maps `(N, C, h, w)` by the names that were asked for."""
        x = 255 * image.flip(1) - self.mean if self.caffe else (image - self.mean) / self.std
        maps = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.asked.values():
                maps[index] = x
        return {name: maps[index] for name, index in self.asked.items()}

    def _draw(self, seed: int) -> None:
        if self.mean.is_meta:
            return
        generator = torch.Generator().manual_seed(seed)
        for layer in self.features:
            if isinstance(layer, FrozenConv):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)

    def _load(self, name: str) -> None:
        path = find(name)
        if path is None:
            raise BenchError(
                f"{why_missing(name)}. Or write features: random, or where the method takes it "
                "features: alexnet, and every table says so."
            )
        if self.mean.is_meta:
            return
        published = _read(path)
        for key, value in self.features.named_buffers(prefix="features"):
            value.copy_(published[key])


def layer_index(name: str) -> int:
    """Returns the number of a layer in torchvision's `vgg19().features`.

    >>> layer_index("conv5_4"), layer_index("relu5_4"), layer_index("block5_conv4")
    (34, 35, 35)

    Raises BenchError for an unknown name.
    """
    caffe = re.sub(r"^block(\d)_pool$", r"pool\1", re.sub(r"^block(\d)_conv", r"relu\1_", name))
    if caffe not in NAMES:
        raise BenchError(unknown("layer of VGG19", name, NAMES))
    return NAMES.index(caffe)


def _layers(asked: set[int]) -> list[nn.Module]:
    """All layers up to the last one asked for."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels, convolutions in BLOCKS:
        for _ in range(convolutions):
            layers.append(FrozenConv(inputs, channels))
            # in place saves memory, but would spoil the map before it
            layers.append(nn.ReLU(inplace=len(layers) - 1 not in asked))
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    return layers[: max(asked) + 1]


@lru_cache(maxsize=2)
def _read(path: Path) -> dict[str, Tensor]:
    """The convolutions of a published file; the dense layers are six sevenths of it."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: value for name, value in state.items() if name.startswith("features.")}
