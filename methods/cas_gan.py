"""CAS-GAN: learning targets that are cleaner and sharper than the originals.

Section 2.1 of the paper makes the target, 2.2 learns it. The paper gives neither a number of the
target's making nor the tool's settings: every choice here is a parameter, and none is the paper's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.data.filters import gaussian_taps
from bench.data.weights import Weights
from bench.method import Method, Rate, Recipe, Stage
from methods.esrgan import ESRGAN, PUBLISHED, Count, Patch, RRDBNet, Scale
from methods.filters.canny import canny
from methods.filters.planes import both_ways, gaussian, in_strips, inner, luma, strips
from methods.networks.features import Features

PAPER = "Liu, Gao and Wu, Exaggerated Learning for Clean-and-Sharp Image Restoration, ICIP 2020"
Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Window = Annotated[int, Field(ge=3)]
Softness = Annotated[float, Field(gt=0, le=14)]
Noise = Literal["immerkaer", "mad", "local_variance"]


# --- section 2.1: CAS preprocessing ---------------------------------------------------------------


class Exaggerate(Method):
    """The CAS image of a picture, or a step on the way to it; nothing is trained.

    Luminance alone is changed; R, G and B get its change, so that chroma stays, but where a value
    ends at black or white. Two cores make 15 to 19 million pixels a second: some sixty passes over
    a plane, each bound by memory. On the scale 0 to 255:

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
        softness: Softness = 2.0,
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


# --- section 2.2: learning under the overshoot criterion ------------------------------------------


class Overshoot(RRDBNet):
    """The general strategy: an RRDBNet learns the CAS image with L1 instead of the original.

    What is not RRDBNet's is Exaggerate's.
    """

    paper: ClassVar[str] = PAPER
    published: ClassVar[Mapping[str, Weights]] = PUBLISHED

    def __init__(
        self,
        *,
        scale: Scale = 4,
        blocks: Count = 23,
        channels: Count = 64,
        growth: Count = 32,
        steps: Count | None = None,
        amount: Amount = 1.5,
        radius: Positive = 1.0,
        edge_blur: Amount = 1.4,
        low: Positive = 50.0,
        high: Positive = 100.0,
        softness: Softness = 2.0,
        window: Window = 7,
        smooth: Positive = 1.0,
        noise: Noise = "immerkaer",
    ) -> None:
        super().__init__(
            scale=scale, blocks=blocks, channels=channels, growth=growth, steps=steps
        )  # fmt: skip
        self.exaggerate = Exaggerate(
            amount=amount, radius=radius, edge_blur=edge_blur, low=low, high=high,
            softness=softness, window=window, smooth=smooth, noise=noise,
        )  # fmt: skip

    def stages(self) -> Sequence[Stage]:
        """One."""
        return (overshooting(Stage("overshoot", Recipe(steps=self.steps)), self.exaggerate),)


class CASGAN(ESRGAN):
    """Equations 3 to 5: ESRGAN with the CAS image for a target, whose discriminator sees nothing
    but high frequencies.

    adversarial, pixel: alpha and beta. relativistic: false as in equation 3, whose D is the
    probability of having been restored: -log(1 - D) is the usual loss of an original's label.
    high_pass: width of the Gaussian whose blur is taken off what the discriminator sees, in pixels;
    0 shows it the pictures themselves. exaggerated: false learns the originals. What is not
    ESRGAN's is Exaggerate's. Section 3.1: Adam, 1e-4, halved every 200,000 of a million updates.
    """

    paper: ClassVar[str] = PAPER
    published: ClassVar[Mapping[str, Weights]] = PUBLISHED
    rate: ClassVar[Rate] = Rate(halve=200_000)

    def __init__(
        self,
        *,
        scale: Scale = 4,
        blocks: Count = 23,
        channels: Count = 64,
        growth: Count = 32,
        width: Count = 64,
        features: Features = "published",
        adversarial: Amount = 1e-3,
        pixel: Amount = 3e-2,
        relativistic: bool = False,
        high_pass: Amount = 2.0,
        exaggerated: bool = True,
        patch: Patch = 128,
        learning_rate: Positive = 1e-4,
        steps: Count | None = None,
        pretrain_steps: Annotated[int, Field(ge=0)] | None = None,
        amount: Amount = 1.5,
        radius: Positive = 1.0,
        edge_blur: Amount = 1.4,
        low: Positive = 50.0,
        high: Positive = 100.0,
        softness: Softness = 2.0,
        window: Window = 7,
        smooth: Positive = 1.0,
        noise: Noise = "immerkaer",
    ) -> None:
        super().__init__(
            scale=scale, blocks=blocks, channels=channels, growth=growth, width=width,
            features=features, adversarial=adversarial, pixel=pixel, relativistic=relativistic,
            patch=patch, learning_rate=learning_rate, steps=steps, pretrain_steps=pretrain_steps,
        )  # fmt: skip
        self.exaggerate = Exaggerate(
            amount=amount, radius=radius, edge_blur=edge_blur, low=low, high=high,
            softness=softness, window=window, smooth=smooth, noise=noise,
        )  # fmt: skip
        self.exaggerated = exaggerated
        self.high_pass = HighPass(high_pass) if high_pass else nn.Identity()

    def seen(self, image: Tensor) -> Tensor:
        """Returns H of an image."""
        shown: Tensor = self.high_pass(image)
        return shown

    def stages(self) -> Sequence[Stage]:
        """The generator's, on originals; then the GAN's."""
        (*before, gan) = super().stages()
        gan = replace(gan, name="cas_gan")
        return (*before, overshooting(gan, self.exaggerate) if self.exaggerated else gan)


def overshooting(stage: Stage, exaggerate: Exaggerate) -> Stage:
    """Returns the stage with the CAS image to learn: one for all that differs in losses alone."""
    return replace(stage, target=exaggerate, target_depends=exaggerate.hyperparameters)


class HighPass(nn.Module):
    """H of figure 3: an image less its Gaussian blur, 2.5 times as far as `sigma` on each side; the
    border goes on outside. The paper gives no kernel."""

    taps: Tensor

    def __init__(self, sigma: float) -> None:
        super().__init__()
        reach = math.ceil(2.5 * sigma)
        taps = torch.tensor(gaussian_taps(2 * reach + 1, sigma), dtype=torch.float32)
        self.register_buffer("taps", taps.view(1, 1, 1, -1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Returns `(N, C, H, W)` fp32, round 0: bfloat16 would keep three digits of the image."""
        channels, reach = image.shape[1], self.taps.shape[-1] // 2
        row = self.taps.repeat(channels, 1, 1, 1)
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            x = F.pad(image, (reach,) * 4, mode="replicate")
            x = F.conv2d(x, row, groups=channels)
            return image - F.conv2d(x, row.transpose(2, 3), groups=channels)


# --- section 3: what it is compared with ----------------------------------------------------------


class SharpenedESRGAN(Method):
    """Figure 6: ESRGAN, sharpened afterwards as the target is before. Nothing more is trained."""

    paper: ClassVar[str] = PAPER
    tiny = ESRGAN.tiny
    published = PUBLISHED

    def __init__(
        self,
        *,
        scale: Scale = 4,
        blocks: Count = 23,
        channels: Count = 64,
        growth: Count = 32,
        width: Count = 64,
        features: Features = "published",
        patch: Patch = 128,
        steps: Count | None = None,
        pretrain_steps: Annotated[int, Field(ge=0)] | None = None,
        amount: Amount = 1.5,
        radius: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.esrgan = ESRGAN(
            scale=scale, blocks=blocks, channels=channels, growth=growth, width=width,
            features=features, patch=patch, steps=steps, pretrain_steps=pretrain_steps,
        )  # fmt: skip
        self.sharpening = Exaggerate(amount=amount, radius=radius, part="sharpened")
        self.halo = self.esrgan.generator.network.halo + math.ceil(_width(radius) / scale)
        self.remarks = self.esrgan.remarks

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)`."""
        sr: Tensor = self.sharpening(self.esrgan(lr).clamp(0, 1))
        return sr

    def stages(self) -> Sequence[Stage]:
        """ESRGAN's, under its own keys."""
        return [
            replace(stage, trains=stage.trains or self.esrgan) for stage in self.esrgan.stages()
        ]

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """ESRGAN's."""
        state = super().read_weights(file)
        if any(name.startswith("esrgan.") for name in state):
            return state
        return {f"esrgan.{name}": value for name, value in self.esrgan.read_weights(file).items()}


# --- section 3.1: low light -----------------------------------------------------------------------


class RRDBNetFromRaw(RRDBNet):
    """RRDBNet from raw packed to four channels at half the size, times the exposure ratio: at x2,
    with one enlargement. How the paper's takes raw is not said."""

    task: ClassVar[Task] = "low-light"
    tasks: ClassVar[tuple[Task, ...]] = ()
    channels = 4
    published: ClassVar[Mapping[str, Weights]] = {}


class LLCGAN(ESRGAN):
    """Section 3.2: ESRGAN trained on See-in-the-Dark, at x2. From RGB, at x1, it is ESRGAN."""

    task: ClassVar[Task] = "low-light"
    tasks: ClassVar[tuple[Task, ...]] = ()
    channels = 4
    generators = RRDBNetFromRaw
    published: ClassVar[Mapping[str, Weights]] = {}


class LowLightCASGAN(CASGAN):
    """CAS-GAN on See-in-the-Dark, at x2, its CAS image that of the long exposure. From RGB, at x1,
    it is CASGAN."""

    task: ClassVar[Task] = "low-light"
    tasks: ClassVar[tuple[Task, ...]] = ()
    channels = 4
    generators = RRDBNetFromRaw
    published: ClassVar[Mapping[str, Weights]] = {}
