"""The robust Retinex model: a picture is reflectance times light, and noise."""

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from bench.data.catalog import Task
from bench.method import Method
from methods.filters.gradients import Plane, Sparse, gradient, solved

Weight = Annotated[float, Field(gt=0)]

GAMMA = 2.2
"""The light is put back as L^(1 / 2.2)."""
GROWTH = 1.5
"""rho: how much the multiplier's weight grows with each round."""
STILL = 1e-3
"""Relative change of R and of L below which the rounds end."""


class RobustRetinex(Method):
    """V = R L + N of HSV's V, with piecewise smooth light L and amplified details; no training.

    It minimises ||R L + N - V||^2 + beta ||grad L||_1 + omega ||grad R - G||^2 + delta ||N||^2,
    where G are the gradients of V, those below `threshold` left out, the weak ones of
    the rest made up to 1 + `amplify` times as large: (1 + amplify exp(-|g| / sigma)) g. rounds: at
    most so many of the augmented Lagrangian; about ten suffice.

    The authors' code is closed, and its constants differ between the public readings. These are of
    dawnlh/awesome-low-light-image-enhancement; sigma, which is not among them, is another port's
    10, taken as 8-bit levels. The border repeats its pixels.
    """

    paper = (
        "Li et al., Structure-Revealing Low-Light Image Enhancement via Robust Retinex, TIP 2018"
    )
    task: ClassVar[Task] = "enhancement"
    tasks: ClassVar[tuple[Task, ...]] = ("enhancement", "low-light")
    tiny = {"rounds": 3}
    halo = None  # the light is the whole picture's

    def __init__(
        self,
        *,
        beta: Weight = 0.01,
        omega: Weight = 0.01,
        delta: Weight = 10.0,
        amplify: Annotated[float, Field(ge=0)] = 5.0,
        sigma: Weight = 10 / 255,
        threshold: Annotated[float, Field(ge=0)] = 10 / 255,
        rounds: Annotated[int, Field(ge=1)] = 20,
    ) -> None:
        super().__init__()
        self.beta, self.omega, self.delta = beta, omega, delta
        self.amplify, self.sigma, self.threshold = amplify, sigma, threshold
        self.rounds = rounds

    def forward(self, lr: Tensor) -> Tensor:
        """Returns `(N, 3, H, W)` from 0 on, not clipped, for RGB `(N, 3, H, W)` in [0, 1]."""
        images = lr.permute(0, 2, 3, 1).cpu().double().numpy()
        brightened = np.stack([self.brightened(image) for image in images])
        return torch.from_numpy(brightened).permute(0, 3, 1, 2).to(lr)

    def brightened(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns an image (H, W, 3) in [0, 1] with its V replaced by R L^(1 / 2.2).

        Hue and saturation stay, so all channels grow alike; black, which has none, becomes gray.
        """
        value = image.max(axis=2)
        parts = self.parts(value)
        bright = np.maximum(parts.reflectance, 0) * np.maximum(parts.light, 0) ** (1 / GAMMA)
        lit = value > 0
        ratio = np.where(lit, bright / np.where(lit, value, 1), 0)[..., None]
        return np.where(lit[..., None], image * ratio, bright[..., None])

    def parts(self, value: Plane) -> "Parts":
        """Returns reflectance, light and noise of a plane (H, W) in [0, 1]."""
        slope_of = gradient(*value.shape, around=False)
        wanted = self.details(slope_of @ value.ravel())
        reflectance, light, noise = np.ones_like(value), value, np.zeros_like(value)
        slopes = multiplier = np.zeros(slope_of.shape[0])
        weight = 1.0
        for _ in range(self.rounds):
            before = reflectance, light
            reflectance = new_reflectance(
                value - noise, light, wanted, self.omega, slope_of, reflectance
            )
            target = slopes - multiplier / weight
            light = new_light(value - noise, reflectance, target, weight, slope_of, light)
            noise = (value - reflectance * light) / (1 + self.delta)
            steep = slope_of @ light.ravel()
            slopes = shrunk(steep + multiplier / weight, self.beta / weight)
            multiplier = multiplier + weight * (steep - slopes)
            weight *= GROWTH
            if all(map(_still, (reflectance, light), before)):
                break
        return Parts(reflectance, light, noise)

    def details(self, slopes: Plane) -> Plane:
        """Returns G: gradients without the faint ones, which are noise, the weak ones amplified."""
        kept = np.where(np.abs(slopes) < self.threshold, 0, slopes)
        return (1 + self.amplify * np.exp(-np.abs(kept) / self.sigma)) * kept


class Parts(NamedTuple):
    """What a plane (H, W) is made of: reflectance * light + noise."""

    reflectance: Plane
    light: Plane
    noise: Plane


def new_reflectance(
    value: Plane, light: Plane, wanted: Plane, omega: float, slope_of: Sparse, guess: Plane
) -> Plane:
    """Returns the R that minimises ||R L - value||^2 + omega ||grad R - wanted||^2."""
    right = light * value + omega * (slope_of.T @ wanted).reshape(value.shape)
    return solved(light**2, slope_of, omega, right, guess)


def new_light(
    value: Plane, reflectance: Plane, target: Plane, weight: float, slope_of: Sparse, guess: Plane
) -> Plane:
    """Returns the L that minimises ||R L - value||^2 + weight / 2 ||grad L - target||^2."""
    right = 2 * reflectance * value + weight * (slope_of.T @ target).reshape(value.shape)
    return solved(2 * reflectance**2, slope_of, weight, right, guess)


def shrunk(values: Plane, threshold: float) -> Plane:
    """Returns values brought nearer to 0 by the threshold, at most to 0.

    >>> shrunk(np.array([-3.0, 0.5, 2.0]), 1.0).tolist()
    [-2.0, 0.0, 1.0]
    """
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0)


def _still(new: Plane, old: Plane) -> bool:
    return bool(np.linalg.norm(new - old) <= STILL * np.linalg.norm(old))
