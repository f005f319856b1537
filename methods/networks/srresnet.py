"""SRResNet: residual blocks with batch norm; the generator of SRGAN."""

from torch import Tensor, nn

from methods.networks.edsr import conv3x3, upsampler


class SRResNetwork(nn.Module):
    """Ledig et al., Photo-Realistic Single Image SR Using a GAN, CVPR 2017, figure 4, generator.

    `(N, 3, H, W)` -> `(N, 3, scale*H, scale*W)`, both RGB in [0, 1]. The paper's own range is
    [0, 1] for LR and [-1, 1] for SR (section 3.2). 16 blocks of 64 channels, one slope a PReLU:
    1,549,462 parameters at x4, 1,401,749 at x2.
    """

    def __init__(self, scale: int = 4, blocks: int = 16, channels: int = 64) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(_Block(channels) for _ in range(blocks)),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )
        enlarge = ((convolution, nn.PReLU()) for convolution in upsampler(scale, channels))
        self.tail = nn.Sequential(
            *(layer for step in enlarge for layer in step), nn.Conv2d(channels, 3, 9, padding=4)
        )
        self.halo = 2 * blocks + 9  # LR pixels: 4 + 2 a block + 1, and at most 4 in the tail

    def forward(self, lr: Tensor) -> Tensor:
        features = self.head(lr)
        sr: Tensor = self.tail(features + self.body(features)).float()
        return (sr + 1) / 2


class _Block(nn.Module):
    """x + BN(conv(PReLU(BN(conv(x))))): no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
            nn.PReLU(),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.layers(x)
        return x + residual
