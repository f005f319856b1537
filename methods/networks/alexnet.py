"""AlexNet's feature maps, for content losses where VGG19 is not at hand: no download, 2.5 million
weights. They are those below LPIPS.

Layers go by their Caffe names: `conv5` before its ReLU, `relu5` after.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError, unknown
from bench.measure.metrics.lpips import trunk
from methods.networks.frozen import FrozenConv

NAMES = (
    "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "conv4", "relu4",
    "conv5", "relu5", "pool5",
)  # fmt: skip
"""Name of each layer, in order: its place is its number in torchvision's `features`."""

CONVOLUTIONS = {
    "conv1": (3, 64, 11, 4, 2),
    "conv2": (64, 192, 5, 1, 2),
    "conv3": (192, 384, 3, 1, 1),
    "conv4": (384, 256, 3, 1, 1),
    "conv5": (256, 256, 3, 1, 1),
}
"""Inputs, outputs, side, stride, padding."""

SMALLEST = 31
"""Pixels a side: the second pooling has nothing left of less."""


class AlexNet(nn.Module):
    """Krizhevsky, One weird trick, arXiv:1404.5997, trained on ImageNet by torchvision: feature
    maps of RGB images `(N, 3, H, W)` in [0, 1], at least 31 pixels a side.

    layers: names as above. Nothing behind the last of them is computed. Frozen as VGG19 is. Raises
    BenchError for an unknown layer, and where the weights are not here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        for name in layers:
            if name not in NAMES:
                raise BenchError(unknown("layer of AlexNet", name, NAMES))
        self.asked = tuple(layers)
        last = max(NAMES.index(name) for name in layers)
        self.features = nn.Sequential(*(_layer(name) for name in NAMES[: last + 1]))
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            value = torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        weights = trunk("alex")
        if not self.mean.is_meta:
            for key, buffer in self.features.named_buffers(prefix="features"):
                buffer.copy_(weights[key])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Returns the feature maps `(N, C, h, w)` by the names that were asked for."""
        x = (image - self.mean) / self.std
        maps = {}
        for name, layer in zip(NAMES, self.features, strict=False):
            x = layer(x)
            if name in self.asked:
                maps[name] = x
        return {name: maps[name] for name in self.asked}


def _layer(name: str) -> nn.Module:
    if name in CONVOLUTIONS:
        return FrozenConv(*CONVOLUTIONS[name])
    return nn.ReLU() if name.startswith("relu") else nn.MaxPool2d(3, stride=2)
