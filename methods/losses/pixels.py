"""Losses on pixels: of pictures `(N, C, H, W)` in [0, 1] to a scalar, all means over the batch too.

Equations are those of Zhang et al. (PRaD), IEEE Access 7, 2019. What they leave open is said.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CONTRAST = 1 / 255
"""C of equation 10, which the paper does not give: one level of 8 bits."""


def colour(image: Tensor, target: Tensor) -> Tensor:
    """Returns equation 9: the mean squared difference, 0 to 1.

    No blur, which DPED's colour loss has. Printed is the sum, which at 100x100 pixels is 30,000
    times the mean.
    """
    return F.mse_loss(image, target)


def local_contrast(image: Tensor, reach: int = 3) -> Tensor:
    """Returns equations 10 to 12, of the image's shape: (I - mu) / (sigma + C), 0 in flat areas,
    mostly within 3.

    mu and sigma: of the window of 2 reach + 1 pixels a side around each pixel and of its own
    channel, as far as that lies in the picture. Printed without 1/N, sigma would grow with the
    window; here it is the standard deviation.
    """
    side = 2 * reach + 1

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, stride=1, padding=reach, count_include_pad=False)

    image = image.float()
    mu = mean(image)
    variance = mean(image.square()) - mu.square()
    return (image - mu) / (variance.clamp(min=1e-8).sqrt() + CONTRAST)


def gradient(image: Tensor, target: Tensor) -> Tensor:
    """Returns equation 14: how far the differences to the next pixel differ, 0 to 4.

    The mean absolute difference of the horizontal ones plus that of the vertical ones; the paper
    does not say which norm.
    """
    pairs = zip(differences(image), differences(target), strict=True)
    return torch.stack([F.l1_loss(*pair) for pair in pairs]).sum()


def total_variation(image: Tensor) -> Tensor:
    """Returns equation 18: the mean squared difference to the next pixel to the right, plus that to
    the one below; 0 to 2.

    As DPED has it. As printed, the two would be added before the norm is taken, and could cancel.
    """
    return torch.stack([step.square().mean() for step in differences(image)]).sum()


def differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the next pixel less this one, to the right `(N, C, H, W-1)` and below
    `(N, C, H-1, W)`."""
    return image.diff(dim=-1), image.diff(dim=-2)
