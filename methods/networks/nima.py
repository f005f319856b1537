"""NIMA's own small trunk, and the names that others give to the parts of NIMA."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PREFIXES = (
    ("module.", ""),  # torch's DataParallel
    ("layers.", "trunk."),  # torchvision's MnasNet with ten outputs
    ("features.", "trunk."),  # its MobileNetV2 and VGG16
    ("classifier.1.", "head."),
    ("base_model.0.", "trunk."),  # the same in nima.pytorch
    ("head.2.", "head."),
)


def our_name(key: str) -> str:
    """Returns the name that a tensor of a file has in NIMA.

    >>> our_name("module.layers.0.weight"), our_name("classifier.1.bias")
    ('trunk.0.weight', 'head.bias')
    """
    for prefix, ours in _PREFIXES:
        if key.startswith(prefix):
            key = ours + key.removeprefix(prefix)
    return key


class Compact(nn.Module):
    """Logarithmic energy of learned band-pass filters in 4x4 pixels, then four convolutions.

    Sharpness, noise and the empty blocks of JPEG are ratios of such energies. Six plain layers of
    convolution and ReLU needed more than three times the steps for the same loss.
    """

    width: ClassVar[int] = 128

    def __init__(self, filters: int = 32) -> None:
        super().__init__()
        self.fine, self.coarse = BandPass(filters), BandPass(filters)
        self.layers = nn.Sequential(
            *_layer(2 * filters + 3, 64, 1),
            *_layer(64, 64, 3),
            *_layer(64, self.width, 3, stride=2),
            *_layer(self.width, self.width, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = F.pad(image, (0, -width % 8, 0, -height % 8), mode="replicate")
        with torch.autocast(image.device.type, enabled=False):
            half = F.avg_pool2d(image, 2)
            fine = F.avg_pool2d(self.fine(image) ** 2, 2)
            coarse = self.coarse(half) ** 2
            # 1e-4 is the energy of noise of one grey level: below, nothing is to be seen.
            energy = torch.log(torch.cat((fine, coarse), 1) + 1e-4)
            seen = torch.cat((energy, F.avg_pool2d(half, 2)), 1)
        features: Tensor = self.layers(seen)
        return features


class BandPass(nn.Module):
    """5x5 filters, every second pixel, blind to a constant. In float32: bfloat16 would leak it."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(filters, 3, 5, 5) / 75**0.5)

    def forward(self, image: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((2, 3), keepdim=True)
        return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), weight, stride=2)


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
