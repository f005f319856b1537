"""The contextual loss: do two pictures have the same features, wherever they are?"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

LARGEST = 2**24
"""Distances in a piece, 64 MB of them: at 100x100 positions a picture has 10^8. Measured there,
with 16 channels and the gradient: 0.44 GB at the peak, and 1.1 GB in pieces of 16 MB, which glibc
keeps when they are freed."""
EPSILON = 1e-5
BANDWIDTH = 0.5


def contextual(maps: Tensor, wanted: Tensor, largest: int = LARGEST) -> Tensor:
    """Returns -log CX of feature maps `(N, C, h, w)` and those wanted, mean over N; 0 and above.

    Mechrez et al., The Contextual Loss, ECCV 2018, equations 2 to 4, with the constants of the
    authors' code; Zhang et al. (PRaD), equation 17. With x_i of `maps` and y_j wanted, both less
    the mean of y and of length 1:

        d_ij = (1 - cos(x_i, y_j)) / 2,  e_ij = d_ij / (min_k d_ik + 1e-5),
        w_ij = exp((1 - e_ij) / 0.5),    CX = mean_j max_i w_ij / sum_k w_ik

    The authors' code samples 65x65 positions of larger maps. Here none is left out: at most
    `largest` distances are held at a time, and made anew for the gradient.
    """
    with torch.autocast(maps.device.type, enabled=False):
        likenesses = [
            _likeness(x, y, largest) for x, y in zip(maps.float(), wanted.float(), strict=True)
        ]
        return -torch.stack(likenesses).log().mean()


def _likeness(maps: Tensor, wanted: Tensor, largest: int) -> Tensor:
    """CX of one picture's maps `(C, h, w)`, above 0, at most 1."""
    x, y = maps.flatten(1).t(), wanted.flatten(1).t()
    centre = y.mean(dim=0)
    x, y = F.normalize(x - centre, dim=1), F.normalize(y - centre, dim=1)
    rows = max(1, largest // len(y))
    best = [
        checkpoint(_best, part, y, use_reentrant=False, preserve_rng_state=False)
        for part in torch.split(x, rows)
    ]
    return torch.stack(best).amax(dim=0).mean()


def _best(x: Tensor, y: Tensor) -> Tensor:
    """For each y_j the largest CX_ij of some x_i, which needs these rows alone."""
    distance = (1 - x @ y.t()) / 2
    relative = distance / (distance.amin(dim=1, keepdim=True) + EPSILON)
    # the softmax over j of -e_ij / h is the normalised weight: exp(1 / h) cancels
    return (-relative / BANDWIDTH).softmax(dim=1).amax(dim=0)
