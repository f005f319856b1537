"""RRDBNet: residual blocks of residual dense blocks; the generator of ESRGAN."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.networks.edsr import conv3x3

SLOPE = 0.2
SHRINK = 0.2
"""What a block adds is multiplied by it, within a block and round three of them (section 3.1)."""

FADED = 64
"""LR pixels beyond which nothing is seen of a picture, however deep the network: with SHRINK on
both levels the far paths add up to less than rounding. Of 23 blocks with ten times BasicSR's first
weights, tiles with 32 pixels more on each side, and with 64, differ from the whole picture by 6e-6
of its deviation, with 10 by 0.0015."""


class RRDBNetwork(nn.Module):
    """Wang et al., ESRGAN, ECCVW 2018, arXiv:1809.00219, figures 3 and 4.

    `(N, inputs, H, W)` -> `(N, 3, scale*H, scale*W)`, in [0, 1]. 23 blocks, 64 channels, growth 32:
    16,697,987 parameters at x4. Enlargement is nearest x2 and a convolution, as often as it takes:
    none at x1. Tensors bear BasicSR's names.
    """

    def __init__(
        self, scale: int = 4, blocks: int = 23, channels: int = 64, growth: int = 32,
        inputs: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.doublings = scale.bit_length() - 1
        self.conv_first = conv3x3(inputs, channels)
        self.body = nn.Sequential(*(_Block(channels, growth) for _ in range(blocks)))
        self.conv_body = conv3x3(channels, channels)
        for n in range(1, self.doublings + 1):
            self.add_module(f"conv_up{n}", conv3x3(channels, channels))
        self.conv_hr = conv3x3(channels, channels)
        self.conv_last = conv3x3(channels, 3)
        # LR pixels: one a convolution, less once the image is larger
        self.halo = min(15 * blocks + 4, FADED)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.conv_first(lr)
        x = x + self.conv_body(self.body(x))
        for n in range(1, self.doublings + 1):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = _active(self.get_submodule(f"conv_up{n}")(x))
        sr: Tensor = self.conv_last(_active(self.conv_hr(x)))
        return sr.float()


class _Block(nn.Module):
    """RRDB: x + 0.2 times what three dense blocks make of it."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (_Dense(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=SHRINK)


class _Dense(nn.Module):
    """Five convolutions, each of which sees all before it."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for n in range(1, 6):
            convolution = conv3x3(channels + (n - 1) * growth, growth if n < 5 else channels)
            _begin(convolution)
            self.add_module(f"conv{n}", convolution)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for n in range(1, 5):
            seen = torch.cat([seen, _active(self.get_submodule(f"conv{n}")(seen))], dim=1)
        added: Tensor = self.get_submodule("conv5")(seen)
        return torch.add(x, added, alpha=SHRINK)


def _begin(convolution: nn.Conv2d) -> None:
    """A tenth of He's weights, as in BasicSR; section 3.4 says only that small ones help."""
    assert convolution.bias is not None
    if not convolution.weight.is_meta:  # whose random numbers import a compiler, 1.4 s
        nn.init.kaiming_normal_(convolution.weight)
        with torch.no_grad():
            convolution.weight.mul_(0.1)
        nn.init.zeros_(convolution.bias)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=True)


AUTHORS = (
    # both layouts that the authors published: of their old code, then of the present one
    (r"model\.0\.(\w+)", r"conv_first.\1"),
    (r"model\.1\.sub\.\d+\.(\w+)", r"conv_body.\1"),
    (
        r"(?:model\.1\.sub|RRDB_trunk)\.(\d+)\.RDB(\d)\.conv(\d)\.(?:0\.)?(\w+)",
        r"body.\1.rdb\2.conv\3.\4",
    ),
    (r"(?:model\.3|upconv1)\.(\w+)", r"conv_up1.\1"),
    (r"(?:model\.6|upconv2)\.(\w+)", r"conv_up2.\1"),
    (r"(?:model\.8|HRconv)\.(\w+)", r"conv_hr.\1"),
    (r"model\.10\.(\w+)", r"conv_last.\1"),
    (r"trunk_conv\.(\w+)", r"conv_body.\1"),
)
"""Rules from the authors' names, of x4, to BasicSR's."""
