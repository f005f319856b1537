"""Gradients of pictures as sparse matrices, and the linear systems that smoothing by them asks for.

A plane `(H, W)` is a vector of its rows, one behind the other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # ships no types
from scipy.sparse.linalg import cg  # type: ignore[import-untyped]

Plane = NDArray[np.float64]
Sparse = Any
"""A sparse matrix of SciPy, which ships no types."""

ACCURACY = 1e-5
"""Of a solution: residual over right-hand side. With 1e-4 some pixels that Robust Retinex makes of
a dark photograph differ by 4 of 255 from those of 1e-7."""


def differences(height: int, width: int, *, around: bool) -> tuple[Sparse, Sparse]:
    """Returns the matrices that take a plane to its forward differences across and down, each of as
    many values as the plane.

    around: the last pixel of a row or column is followed by its first one; else by itself, so that
    the last difference is 0.

    >>> differences(1, 3, around=True)[0].toarray().tolist()
    [[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, 0.0, -1.0]]
    """

    def along(size: int) -> Sparse:
        following = np.arange(1, size + 1)
        following[-1] = 0 if around else size - 1
        ones, rows = np.ones(size), np.arange(size)
        return sparse.csr_array((ones, (rows, following)), shape=(size, size)) - sparse.eye(size)

    across = sparse.kron(sparse.eye(height), along(width), format="csr")
    down = sparse.kron(along(height), sparse.eye(width), format="csr")
    return across, down


def solved(matrix: Sparse, wanted: Plane, guess: Plane) -> Plane:
    """Returns the plane x with `matrix @ x = wanted`, by conjugate gradients from a guess.

    matrix: symmetric, positive definite. All planes are of one shape, and so is the result.
    """
    diagonal = sparse.diags_array(1 / np.maximum(matrix.diagonal(), 1e-12))
    x, _ = cg(matrix, wanted.ravel(), guess.ravel(), rtol=ACCURACY, maxiter=5000, M=diagonal)
    return np.asarray(x.reshape(wanted.shape))
