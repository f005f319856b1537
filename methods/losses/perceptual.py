"""Content losses: what a network that was trained on ImageNet sees of two pictures."""

from torch import Tensor
from torch.nn import functional as F


def content(maps: Tensor, wanted: Tensor) -> Tensor:
    """Returns the mean absolute difference of feature maps `(N, C, h, w)`, 0 and above.

    Zhang et al. (PRaD), IEEE Access 7, 2019, equation 16, and 13 of locally normalised pictures:
    a norm divided by C h w, which is taken for that of absolute values. DPED's is squared.
    """
    return F.l1_loss(maps.float(), wanted.float())
