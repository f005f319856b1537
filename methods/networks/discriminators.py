"""Discriminators: networks that tell original from restored images of one size.

All take RGB `(N, 3, size, size)` in [0, 1], or so many channels as they say, and return logits
`(N, 1)`, or so many as they say; the sigmoid is the loss's.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from methods.networks.rescnn import batch_norm, glorot_


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": ceil(H / stride) rows of output.

    Of an odd number of zeros the one more stands at the end: 3 pixels under a kernel of 4 with
    stride 2 are padded by 1 before and 2 after. torch's own padding is the same on both sides.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        zeros = []
        for size in x.shape[:1:-1]:  # width first, as F.pad wants it
            missing = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            zeros += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, zeros))


class ResCNNDiscriminator(nn.Module):
    """Shah et al., Super Resolution/Image DeBlurring using GAN, figure 4.

    The original's range is 0 to 255, scaled to [-1, 1] inside. At 96x96 the sides go 96, 48, 24,
    12, 6, 3, 2, and there are 50,240,961 parameters, and 12,544 moving statistics. Ten blocks with
    batch norm follow the first convolution; a skip joins the 7th and the 10th.

    hidden: units of the dense layer, 0 for none; slope: of LeakyReLU, 0 for ReLU (both table I).
    """

    def __init__(
        self, size: int = 96, width: int = 64, hidden: int = 1024, slope: float = 0.2
    ) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
            """Widths in units of `width`."""
            convolution = SameConv2d(inputs * width, outputs * width, kernel, stride)
            return nn.Sequential(convolution, batch_norm(outputs * width))

        def active(*block: nn.Module) -> nn.Sequential:
            return nn.Sequential(*block, nn.LeakyReLU(slope, inplace=True))

        self.trunk = nn.Sequential(
            active(SameConv2d(3, width, 4, 2)),
            *(active(block(2**i, 2 ** (i + 1), 4, 2)) for i in range(5)),
            active(block(32, 16, 1)),
            block(16, 8, 1),
        )
        self.residual = nn.Sequential(
            active(block(8, 2, 1)), active(block(2, 2, 3)), block(2, 8, 3)
        )
        self.join = nn.Sequential(nn.LeakyReLU(slope), nn.Flatten())
        features = 8 * width * math.ceil(size / 64) ** 2
        dense = [nn.Linear(features, hidden), nn.LeakyReLU(slope)] if hidden else []
        self.judge = nn.Sequential(*dense, nn.Linear(hidden or features, 1))
        glorot_(self)

    def forward(self, image: Tensor) -> Tensor:
        x = self.trunk(2 * image - 1)
        logits: Tensor = self.judge(self.join(x + self.residual(x)))
        return logits.float()


class _VGGStyle(nn.Module):
    """For each width a 3x3 convolution and one of stride 2, then two dense layers.

    Batch norm after every convolution but the first; LeakyReLU 0.2 throughout.
    """

    def __init__(
        self, widths: list[int], kernel: int, bias: bool, features: int, hidden: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in widths:
            first = not layers
            layers += [
                nn.Conv2d(inputs, width, 3, padding=1, bias=bias or first),
                nn.Identity() if first else nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(width, width, kernel, stride=2, padding=1, bias=bias),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.judge = nn.Sequential(
            nn.Linear(features, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.judge(self.layers(image))
        return logits.float()


class SRGANDiscriminator(_VGGStyle):
    """Ledig et al., Photo-Realistic Single Image SR Using a GAN, CVPR 2017, figure 4.

    The original's range is [-1, 1]. 23,565,505 parameters at 96x96, the crop it was trained on.
    """

    def __init__(self, size: int = 96, width: int = 64) -> None:
        widths = [width, 2 * width, 4 * width, 8 * width]
        features = 8 * width * math.ceil(size / 16) ** 2
        super().__init__(widths, kernel=3, bias=True, features=features, hidden=16 * width)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1)


class ESRGANDiscriminator(_VGGStyle):
    """Wang et al., ESRGAN, ECCVW 2018, arXiv:1809.00219, as in the authors' BasicSR.

    The original's range is [0, 1]. 14,499,401 parameters at 128x128, the crop it was trained on.
    """

    def __init__(self, size: int = 128, width: int = 64) -> None:
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        features = 8 * width * (size // 32) ** 2
        super().__init__(widths, kernel=4, bias=False, features=features, hidden=100)


DPED_LAYERS = ((48, 11, 4), (128, 5, 2), (192, 3, 1), (192, 3, 1), (128, 3, 2))
"""Channels, kernel, stride."""


class DPEDDiscriminator(nn.Module):
    """Ignatov et al., DSLR-Quality Photos on Mobile Devices, ICCV 2017, section 3.2, as in the
    authors' code: convolutions padded as TensorFlow's "same", LeakyReLU 0.2, then the norm, which
    the first has not; two dense layers.

    inputs: channels, 1 for DPED's gray pictures. width: of the first layer, with the others in
    proportion. norm: makes the norm of so many channels; DPED's is instance norm, PRaD's batch
    norm. layers: PPCN has others. hidden: units of the dense layer. outputs: logits. DPED's own has
    2 for patches of 100 pixels, and 7,361,122 parameters.
    """

    def __init__(
        self,
        inputs: int,
        size: int = 100,
        width: int = 48,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        layers: Sequence[tuple[int, int, int]] = DPED_LAYERS,
        hidden: int = 1024,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for channels, kernel, stride in layers:
            own = max(1, round(channels * width / layers[0][0]))
            normed = [norm(own)] if parts else []
            parts += [SameConv2d(inputs, own, kernel, stride), nn.LeakyReLU(0.2), *normed]
            inputs, size = own, math.ceil(size / stride)
        self.layers = nn.Sequential(*parts, nn.Flatten())
        self.judge = nn.Sequential(
            nn.Linear(inputs * size**2, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, outputs)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.judge(self.layers(image))
        return logits.float()
