"""Losses of a relativistic average GAN: is this picture more real than those are on average?

Jolicoeur-Martineau, arXiv:1807.00734; Zhang et al. (PRaD), IEEE Access 7, 2019, equations 6 to 8.
Of logits C, `(N, 1)` each, of originals and of pictures that were made: D(a, b) is the sigmoid of
C(a) - E[C(b)]. In equation 6 the expectation stands inside C by a misplaced bracket. Logarithms of
sigmoids are softplus, so that certainty is not infinite.
"""

from torch import Tensor
from torch.nn import functional as F


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """Returns the discriminator's loss, equation 7: -E log D(r, f) - E log(1 - D(f, r)).

    0 and above: 2 log 2 = 1.386 where it tells nothing apart. Algorithm 1's "ascending" is a slip.
    """
    return F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()


def fooled(real: Tensor, fake: Tensor) -> Tensor:
    """Returns the generator's loss, equation 8: -E log(1 - D(r, f)) - E log D(f, r).

    The other with the roles changed; 0 and above.
    """
    return told_apart(fake, real)
