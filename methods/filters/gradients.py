"""Gradients of pictures as sparse matrices, and the linear systems that smoothing by them asks for.

A plane `(H, W)` is a vector of its rows, one behind the other. SciPy is imported where it is used:
a worker that runs other methods needs none.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Sparse = Any
"""A sparse matrix of SciPy, which ships no types."""

ACCURACY = 1e-5
"""Of a solution: residual over right-hand side. With 1e-4 some pixels that Robust Retinex makes of
a dark photograph differ by 4 of 255 from those of 1e-7."""


def gradient(height: int, width: int, *, around: bool) -> Sparse:
    """Returns the matrix `(2 H W, H W)` that takes a plane to its forward differences, all those
    across, then all those down.

    around: the last pixel of a row or column is followed by its first one; else by itself, so that
    the last difference is 0.

    >>> gradient(1, 3, around=True).toarray()[:3].tolist()
    [[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, 0.0, -1.0]]
    """
    from scipy import sparse  # type: ignore[import-untyped]  # ships no types

    def along(size: int) -> Sparse:
        following = np.arange(1, size + 1)
        following[-1] = 0 if around else size - 1
        ones, rows = np.ones(size), np.arange(size)
        return sparse.csr_array((ones, (rows, following)), shape=(size, size)) - sparse.eye(size)

    across = sparse.kron(sparse.eye(height), along(width))
    down = sparse.kron(along(height), sparse.eye(width))
    return sparse.vstack([across, down], format="csr")


def solved(
    diagonal: Plane, slopes: Sparse, weights: Plane | float, wanted: Plane, guess: Plane
) -> Plane:
    """Returns the plane x with `(diagonal + slopes' weights slopes) x = wanted`, by conjugate
    gradients from a guess.

    diagonal, wanted, guess: (H, W). slopes: of `gradient`. weights: of its rows, 0 and above.
    """
    from scipy import sparse
    from scipy.sparse.linalg import cg  # type: ignore[import-untyped]

    each = np.broadcast_to(weights, slopes.shape[0])
    matrix = slopes.T @ (sparse.diags_array(each) @ slopes) + sparse.diags_array(diagonal.ravel())
    matrix = sparse.csr_array(matrix)
    scale = sparse.diags_array(1 / np.maximum(matrix.diagonal(), 1e-12))
    x, _ = cg(matrix, wanted.ravel(), guess.ravel(), rtol=ACCURACY, maxiter=5000, M=scale)
    return np.asarray(x.reshape(wanted.shape))
