"""BIMEF: a dark picture fused with a longer exposure that a camera model makes of it."""

from typing import ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from bench.data.catalog import Task
from bench.data.degrade import resize_weights
from bench.method import Method
from methods.filters.gradients import Plane, gradient, solved

SMOOTHNESS = 0.5
"""lambda of the illumination map."""
WINDOW, SHARPNESS = 5, 1e-3
"""Of the map's weights: pixels that a gradient is summed over, and what keeps a weight finite."""
A, B = -0.3293, 1.1258
"""Of the camera's response, fitted to the real curves of cameras."""
DARK, MOST, SIDE = 0.5, 7.0, 50
"""The exposure is chosen for the pixels below DARK, up to MOST times, on a copy of SIDE pixels."""
FUSION = 0.5
"""mu: exponent of the illumination in the weights of the fusion."""


class BIMEF(Method):
    """The paper's framework with the constants of the authors' code; no training.

    A picture without dark places stays as it is. The map's linear system is solved to the end,
    where the authors stop at a tenth of the first residual.
    """

    paper = "Ying, Li and Gao, A Bio-Inspired Multi-Exposure Fusion Framework, arXiv:1711.00591"
    task: ClassVar[Task] = "enhancement"
    tasks: ClassVar[tuple[Task, ...]] = ("enhancement", "low-light")
    halo = None  # exposure and illumination are the whole picture's

    def forward(self, lr: Tensor) -> Tensor:
        """Returns `(N, 3, H, W)` from about 0 on, not clipped, for RGB `(N, 3, H, W)` in [0, 1]."""
        images = lr.permute(0, 2, 3, 1).cpu().double().numpy()
        fused = np.stack([fuse(image) for image in images])
        return torch.from_numpy(fused).permute(0, 3, 1, 2).to(lr)


def fuse(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns an image (H, W, 3) in [0, 1] fused with its longer exposure."""
    light = illumination(image)
    ratio = exposure_ratio(image, light < DARK)
    if ratio is None:
        return image
    weight = light[..., None] ** FUSION
    return image * weight + (exposed(image, ratio) - 0.01) * (1 - weight)


def illumination(image: NDArray[np.float64]) -> Plane:
    """Returns the map T (H, W) in [0, 1]: the brightest channel, smoothed at half the size."""
    brightest = image.max(axis=2)
    height, width = brightest.shape
    half = smoothed(resized(brightest, -(-height // 2), -(-width // 2)))
    return resized(half, height, width).clip(0, 1)


def smoothed(plane: Plane) -> Plane:
    """Returns the S that minimises sum (S - plane)^2 + lambda sum W (dS)^2.

    W = 1 / (|sum of dT over a window| |dT| + eps) of each direction, so that edges stay. The
    picture goes on at its other side.
    """
    slopes = gradient(*plane.shape, around=True)
    across, down = (slopes @ plane.ravel()).reshape(2, *plane.shape)
    weights = [
        1 / (np.abs(_window(slope, axis)) * np.abs(slope) + SHARPNESS)
        for slope, axis in ((across, 1), (down, 0))
    ]
    strength = SMOOTHNESS * np.stack(weights).ravel()
    return solved(np.ones_like(plane), slopes, strength, plane, plane)


def _window(plane: Plane, axis: int) -> Plane:
    """Sums over a window along an axis, zeros outside."""
    edges = [(WINDOW // 2, WINDOW // 2) if i == axis else (0, 0) for i in (0, 1)]
    return np.asarray(sliding_window_view(np.pad(plane, edges), WINDOW, axis).sum(axis=-1))


def exposed(image: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """Returns the image as the camera would have it, exposed `ratio` times as long.

    >>> exposed(np.array([0.25, 1.0]), 1.0).tolist()
    [0.25, 1.0]
    """
    made: NDArray[np.float64] = np.exp(B * (1 - ratio**A)) * image ** (ratio**A)
    return made


def exposure_ratio(image: NDArray[np.float64], dark: NDArray[np.bool_]) -> float | None:
    """Returns the k in [1, 7] with the most entropy of the dark pixels; None if there are none.

    image: (H, W, 3) in [0, 1]; its gray is the geometric mean of the channels.
    """
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # no worker's need

    small = resized(image, SIDE, SIDE).clip(min=0)
    gray = np.cbrt(small.prod(axis=2))[resized(dark.astype(np.float64), SIDE, SIDE) > 0.5]
    if not gray.size:
        return None
    found = minimize_scalar(
        lambda k: -entropy(exposed(gray, k)), bounds=(1, MOST), options={"xatol": 1e-4}
    )
    return float(found.x)


def entropy(values: Plane) -> float:
    """Returns the entropy of values in [0, 1], clipped, in bits of 256 levels.

    >>> entropy(np.array([0.0, 0.0, 1.0, 2.0]))
    1.0
    """
    levels = np.floor(255 * values.clip(0, 1) + 0.5).astype(np.intp)
    shares = np.bincount(levels) / levels.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def resized(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Returns an image (H, W) or (H, W, C) of another size, bicubic as MATLAB's imresize."""
    for size in (height, width):
        indices, weights = resize_weights(len(image), size / len(image), "cubic", "mirrored")
        matrix = np.zeros((size, len(image)))
        np.add.at(matrix, (np.arange(size)[:, None], indices), weights)
        image = np.tensordot(matrix, image, 1).swapaxes(0, 1)
    return np.ascontiguousarray(image)
