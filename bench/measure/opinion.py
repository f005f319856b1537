"""How well predicted marks agree with people's votes: EMD, two correlations, accuracy.

Each function takes shares of votes for the marks 1, 2, ... `(images, marks)`, predicted and given,
and returns a number for each image whose mean over the images is the set's.
"""

import numpy as np
from numpy.typing import NDArray

from bench.errors import Unscorable

Shares = NDArray[np.float64]
Values = NDArray[np.float64]

CUT = 5.0
"""A mean mark above it is a good photograph; as AVA's authors and NIMA."""


def emd(predicted: Shares, given: Shares) -> Values:
    """Returns the earth mover's distance with l = 2 of each image: NIMA, equation 2, its loss.

    >>> emd(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([0.70710678])
    """
    gap = (predicted - given).cumsum(axis=1)
    values: Values = np.sqrt((gap**2).mean(axis=1))
    return values


def emd1(predicted: Shares, given: Shares) -> Values:
    """Returns the same with l = 1, as other tables of AVA have it.

    >>> emd1(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([0.5])
    """
    values: Values = np.abs((predicted - given).cumsum(axis=1)).mean(axis=1)
    return values


def accuracy(predicted: Shares, given: Shares) -> Values:
    """Returns 100 where both mean marks are above 5 or neither is, else 0."""
    good, really = (mean_marks(shares) > CUT for shares in (predicted, given))
    return np.where(good == really, 100.0, 0.0)


def lcc(predicted: Shares, given: Shares) -> Values:
    """Returns the products of both standardised mean marks; their mean is Pearson's correlation.

    Raises Unscorable where all marks are equal, or there is one image alone.
    """
    return _products(mean_marks(predicted), mean_marks(given))


def srcc(predicted: Shares, given: Shares) -> Values:
    """Returns the products of both standardised ranks; their mean is Spearman's correlation.

    Equal marks share their rank. Raises Unscorable as `lcc`.
    """
    from scipy.stats import rankdata  # type: ignore[import-untyped]  # ships no types

    return _products(rankdata(mean_marks(predicted)), rankdata(mean_marks(given)))


def mean_marks(shares: Shares) -> Values:
    """Returns the mean mark of each image.

    >>> mean_marks(np.array([[0.5, 0.0, 0.5]]))
    array([2.])
    """
    values: Values = shares @ np.arange(1.0, shares.shape[1] + 1)
    return values


def _products(one: Values, other: Values) -> Values:
    spreads = one.std(), other.std()
    if min(spreads) < 1e-12:
        raise Unscorable(f"{len(one)} images have no correlation: all mean marks are equal")
    products: Values = (one - one.mean()) * (other - other.mean()) / (spreads[0] * spreads[1])
    return products
