"""Image classifiers without their last layers: MnasNet, MobileNetV2, VGG16. The trunks of NIMA.

Each is the convolutional part of torchvision's network of that name and goes by the same names, so
that published ImageNet weights fit. `width` multiplies the channels, rounded as torchvision does.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

LAST = 1280
"""Channels of the last convolution of MnasNet and MobileNetV2."""


class InvertedResidual(nn.Module):
    """Wide in the middle, where each channel has a filter of its own; Sandler et al., figure 3.

    layers: the body, under the name that torchvision gives it.
    """

    def __init__(self, name: str, body: nn.Sequential, added: bool) -> None:
        super().__init__()
        self.add_module(name, body)
        self.name, self.added = name, added

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self.name)(x)
        return x + y if self.added else y


def mnasnet(width: float = 1.0) -> tuple[nn.Sequential, int]:
    """Returns MnasNet-B1 and its output's channels; 3,102,312 parameters at width 1.

    Tan et al., CVPR 2019, arXiv:1807.11626, figure 7. 32 pixels become one.
    """
    stem, inputs = _rounded(32 * width), _rounded(16 * width)
    layers = [
        *_convolution(3, stem, 3, stride=2),
        *_convolution(stem, stem, 3, groups=stem),
        *_convolution(stem, inputs, 1, after=None),
    ]
    for expansion, channels, count, stride, kernel in (
        (3, 24, 3, 2, 3), (3, 40, 3, 2, 5), (6, 80, 3, 2, 5), (6, 96, 2, 1, 3), (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):  # fmt: skip
        outputs = _rounded(channels * width)
        stack = [_mnas_block(inputs, outputs, kernel, stride, expansion, first=True)]
        for _ in range(count - 1):
            stack.append(_mnas_block(outputs, outputs, kernel, 1, expansion, first=False))
        layers.append(nn.Sequential(*stack))
        inputs = outputs
    layers += _convolution(inputs, LAST, 1)
    return _initialised(nn.Sequential(*layers)), LAST


def mobilenet_v2(width: float = 1.0) -> tuple[nn.Sequential, int]:
    """Returns MobileNetV2 and its output's channels; 2,223,872 parameters at width 1.

    Sandler et al., CVPR 2018, arXiv:1801.04381, table 2. 32 pixels become one.
    """
    inputs, last = _rounded(32 * width), _rounded(LAST * max(1.0, width))
    layers: list[nn.Module] = [nn.Sequential(*_convolution(3, inputs, 3, stride=2, after=nn.ReLU6))]
    for expansion, channels, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        outputs = _rounded(channels * width)
        for n in range(count):
            layers.append(_mobile_block(inputs, outputs, stride if n == 0 else 1, expansion))
            inputs = outputs
    layers.append(nn.Sequential(*_convolution(inputs, last, 1, after=nn.ReLU6)))
    return _initialised(nn.Sequential(*layers)), last


def vgg16(width: float = 1.0) -> tuple[nn.Sequential, int]:
    """Returns VGG16's convolutions and the channels of the last; 14,714,688 parameters at width 1.

    Simonyan and Zisserman, ICLR 2015, configuration D. 32 pixels become one.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            outputs = _rounded(channels * width)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return _initialised(nn.Sequential(*layers)), inputs


TRUNKS: dict[str, Callable[[float], tuple[nn.Sequential, int]]] = {
    "mnasnet": mnasnet,
    "mobilenet_v2": mobilenet_v2,
    "vgg16": vgg16,
}


def _mnas_block(
    inputs: int, outputs: int, kernel: int, stride: int, expansion: int, *, first: bool
) -> InvertedResidual:
    """first: of its stack, where nothing is added even if the sizes agree."""
    middle = inputs * expansion
    body = nn.Sequential(
        *_convolution(inputs, middle, 1),
        *_convolution(middle, middle, kernel, stride, groups=middle),
        *_convolution(middle, outputs, 1, after=None),
    )
    return InvertedResidual("layers", body, added=not first)


def _mobile_block(inputs: int, outputs: int, stride: int, expansion: int) -> InvertedResidual:
    middle = inputs * expansion
    widening = [nn.Sequential(*_convolution(inputs, middle, 1, after=nn.ReLU6))]
    deep = nn.Sequential(*_convolution(middle, middle, 3, stride, groups=middle, after=nn.ReLU6))
    narrowing = _convolution(middle, outputs, 1, after=None)
    body = nn.Sequential(*(widening if expansion > 1 else []), deep, *narrowing)
    return InvertedResidual("conv", body, added=stride == 1 and inputs == outputs)


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    after: type[nn.Module] | None = nn.ReLU,
) -> list[nn.Module]:
    """Without bias, batch norm, activation. Batch norm takes a tenth of each batch.

    torchvision's MnasNet takes 0.0003, for ImageNet's length: here the means would stay near 0.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs)]
    return layers if after is None else [*layers, after(inplace=True)]


def _rounded(channels: float) -> int:
    """Returns a multiple of 8, at least nine tenths of what is asked.

    >>> _rounded(83), _rounded(84), _rounded(3)
    (80, 88, 8)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


@torch.no_grad()
def _initialised(layers: nn.Sequential) -> nn.Sequential:
    """He et al.'s, by the outputs, as torchvision's."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return layers
