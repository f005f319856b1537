"""CAS-GAN: learning targets that are cleaner and sharper than the originals.

Section 2.1 of the paper makes the target, 2.2 learns it. The paper gives neither a number of the
target's making nor the tool's settings: every choice here is a parameter, and none is the paper's.
"""

import math
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.data.catalog import Task
from bench.method import Method
from methods.filters.canny import canny
from methods.filters.planes import both_ways, gaussian, in_strips, inner, luma, strips

PAPER = "Liu, Gao and Wu, Exaggerated Learning for Clean-and-Sharp Image Restoration, ICIP 2020"
Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Window = Annotated[int, Field(ge=3)]
Noise = Literal["immerkaer", "mad", "local_variance"]


# --- section 2.1: CAS preprocessing ---------------------------------------------------------------


class Exaggerate(Method):
    """The CAS image of a picture, or a step on the way to it; nothing is trained.

    Luminance alone is changed; R, G and B get its change, so that chroma stays, but where a value
    ends at black or white. On the scale 0 to 255:

    amount, radius: of the sharpening X_s = X + amount (X - G * X), clipped; G a Gaussian of
    `radius` pixels. The paper's is Photoshop's Smart Sharpen, of which this is one mode.
    edge_blur, low, high: of Canny's edges E(X).
    softness: pixels over which M falls from 1 at an edge to 0.6.
    window: side of the square in which a pixel's variance is taken, odd. smooth: width of the
    Gaussian that makes the clean image, in pixels.
    noise: estimator of n.
    part: "cas", or what it is made of: "sharpened", "smoothed", or the map "edges".
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "enhancement"
    halo = None  # noise is estimated of the whole picture, and an edge may run through all of it

    def __init__(
        self,
        *,
        amount: Amount = 1.5,
        radius: Positive = 1.0,
        edge_blur: Amount = 1.4,
        low: Positive = 50.0,
        high: Positive = 100.0,
        softness: Annotated[float, Field(gt=0, le=14)] = 2.0,
        window: Window = 7,
        smooth: Positive = 1.0,
        noise: Noise = "immerkaer",
        part: Literal["cas", "sharpened", "smoothed", "edges"] = "cas",
    ) -> None:
        super().__init__()
        if window % 2 == 0:
            raise ValueError(f"window {window}: a pixel lies in the middle of an odd number.")
        if low > high:
            raise ValueError(f"low {low:g} is above high {high:g}.")
        self.amount, self.radius, self.softness = amount, radius, softness
        self.edge_blur, self.low, self.high = edge_blur, low, high
        self.window, self.smooth, self.noise, self.part = window, smooth, noise, part

    def forward(self, image: Tensor) -> Tensor:
        """Returns `(N, 3, H, W)` for images `(N, 3, H, W)` in [0, 1]; not clipped."""
        y = 255 * luma(image)
        shown: Tensor = getattr(self, self.part)(y)
        return shown.repeat(1, 3, 1, 1) if self.part == "edges" else image + (shown - y) / 255

    def cas(self, y: Tensor) -> Tensor:
        """Returns equation 2 of luminance `(N, 1, H, W)`, 0 to 255.

        Where both a pixel's energy and the noise are 0, it is the clean image, as for any noise.
        """
        noise = noise_energy(y, self.noise, self.window).clamp(min=1e-9)
        edges = canny(y, self.edge_blur, self.low, self.high).to(torch.int16)
        reaches = self.window // 2, _reach(self.softness), *map(_width, (self.radius, self.smooth))
        reach = max(reaches)

        def blend(y: Tensor, edges: Tensor) -> Tensor:
            energy = local_variance(inner(y, reach - self.window // 2), self.window)
            energy *= soft_map(inner(edges, reach - _reach(self.softness)), self.softness)
            share = noise / torch.maximum(energy, noise)
            sharp = sharpen(inner(y, reach - _width(self.radius)), self.amount, self.radius)
            clean = both_ways(inner(y, reach - _width(self.smooth)), gaussian(self.smooth))
            return sharp.lerp_(clean, share)

        return in_strips(blend, reach, y, edges)

    def sharpened(self, y: Tensor) -> Tensor:
        """Returns X_s."""
        sharp = partial(sharpen, amount=self.amount, radius=self.radius)
        return in_strips(sharp, _width(self.radius), y)

    def smoothed(self, y: Tensor) -> Tensor:
        """Returns the low-passed X."""
        taps = gaussian(self.smooth)
        return in_strips(partial(both_ways, taps=taps), len(taps) // 2, y)

    def edges(self, y: Tensor) -> Tensor:
        """Returns M, 0 to 1."""
        edges = canny(y, self.edge_blur, self.low, self.high).to(torch.int16)
        return in_strips(partial(soft_map, softness=self.softness), _reach(self.softness), edges)


def sharpen(y: Tensor, amount: float, radius: float) -> Tensor:
    """Returns X_s of luminance, 0 to 255, which it is clipped to, where the Gaussian fits."""
    blurred = both_ways(y, gaussian(radius))
    return inner(y, _width(radius)).mul(1 + amount).sub_(blurred, alpha=amount).clamp_(0, 255)


def soft_map(edges: Tensor, softness: float) -> Tensor:
    """Returns M, float32: exp(-d^2 / (2 softness^2)), d the distance to the nearest edge.

    Equation 1 convolves the edges with a Gaussian and says that M is 1 at them; a Gaussian of sum 1
    gives 0.45 along a line. This takes the largest of the edges' Gaussians instead of their sum.

    edges: int16, 1 or 0, with _reach(softness) pixels more on each side. What is farther away than
    that along an axis counts as infinitely far: M would be 0.0003.
    """
    reach = _reach(softness)
    far = 8 * reach**2
    squares = (1 - edges).mul_(far)
    for axis in (-1, -2):
        size = squares.shape[axis] - 2 * reach
        nearest = squares.narrow(axis, reach, size).clone()
        for k in range(1, reach + 1):
            sides = (squares.narrow(axis, place, size) for place in (reach - k, reach + k))
            torch.minimum(nearest, torch.minimum(*sides).add_(k * k), out=nearest)
        squares = nearest
    return squares.float().mul_(-1 / (2 * softness**2)).exp_()


def local_variance(y: Tensor, window: int) -> Tensor:
    """Returns the variance in a square round each pixel, of luminance 0 to 255, where it fits."""
    centred = y - 127.5  # or rounding would leave more of a large square than of the difference
    box = [1 / window] * window
    mean = both_ways(centred, box)
    return both_ways(centred.square_(), box).sub_(mean.square_()).clamp_(min=0)


def noise_energy(y: Tensor, estimator: Noise, window: int = 7) -> Tensor:
    """Returns n of equation 2, `(N, 1, 1, 1)`: the variance of the noise in luminance, 0 to 255.

    "immerkaer": the mean absolute response to a mask that no plane or parabola excites. "mad": the
    median of the finest diagonal wavelet coefficients. "local_variance": the mean of all pixels'
    variance, as wiener2 does without an estimate; texture counts as noise, and little stays sharp.
    """
    if estimator == "local_variance":
        variance = in_strips(partial(local_variance, window=window), window // 2, y)
        return variance.mean(dim=(1, 2, 3), keepdim=True)
    deviation = immerkaer(y) if estimator == "immerkaer" else median_deviation(y)
    return deviation.square_().view(-1, 1, 1, 1)


def immerkaer(y: Tensor) -> Tensor:
    """Returns the standard deviation of the noise `(N,)`.

    Immerkaer, Fast Noise Variance Estimation, CVIU 1996: the mask is the difference of two
    Laplacians, of which white noise of deviation 1 has the deviation 6.
    """
    second = 1.0, -2.0, 1.0
    total = torch.stack([both_ways(s, second).abs_().sum(dim=(1, 2, 3)) for s in strips(y, 1)])
    height, width = y.shape[-2:]
    return total.sum(dim=0) * (math.sqrt(math.pi / 2) / (6 * (height - 2) * (width - 2)))


def median_deviation(y: Tensor) -> Tensor:
    """Returns the standard deviation of the noise `(N,)`.

    Donoho and Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage, Biometrika 1994: the median
    over 0.6745, here of Haar's diagonal details.
    """
    height, width = (side // 2 * 2 for side in y.shape[-2:])
    rows = y[..., 0:height:2, :] - y[..., 1:height:2, :]
    details = (rows[..., 0:width:2] - rows[..., 1:width:2]) / 2
    return details.abs_().flatten(1).median(dim=1).values / 0.6745


def _reach(softness: float) -> int:
    """Pixels beyond which an edge is not seen any more."""
    return math.ceil(4 * softness)


def _width(sigma: float) -> int:
    """Pixels that a Gaussian needs on each side."""
    return len(gaussian(sigma)) // 2
