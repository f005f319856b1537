"""Methods without training: the baselines of every table."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from bench.data.degrade import imresize_float
from bench.method import Method


class Bicubic(Method):
    """Bicubic enlargement as MATLAB's imresize does it: Keys' kernel, a = -0.5."""

    paper = "Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981"
    halo = 4

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        """Returns `(N, 3, scale*H, scale*W)`; overshoots [0, 1] by up to a tenth at edges."""
        images = lr.permute(0, 2, 3, 1).cpu().numpy().astype(np.float64)
        enlarged = [imresize_float(image, self.scale) for image in images]
        return torch.from_numpy(np.stack(enlarged)).permute(0, 3, 1, 2).to(lr)


class Bilinear(Method):
    """Bilinear enlargement, as OpenCV's resize does it; its rounding apart."""

    paper = "none: the weighted mean of the four nearest pixels"
    halo = 2

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        """Returns `(N, 3, scale*H, scale*W)`."""
        size = [self.scale * side for side in lr.shape[-2:]]
        return F.interpolate(lr, size, mode="bilinear")


class Original(Method):
    """The picture as it is: what enhancement, or the lighting of a dark picture, starts from. At
    scale 1."""

    paper = "none: the untouched picture"
    task = "enhancement"
    tasks = ("enhancement", "low-light", "deblurring")
    halo = 0

    def forward(self, image: Tensor) -> Tensor:
        """Returns the image `(N, 3, H, W)`."""
        return image


class UnsharpMask(Method):
    """y + amount (y - G * y), `stages` times over; G a Gaussian of `radius` pixels, edges repeated.

    RTS repeats it, once for each of its own stages, to show a difference that grows linearly
    (figure 4), and names neither amount nor radius. Each time multiplies fine detail by 1 + amount,
    so the growth is near linear only while amount is small: with 0.5 each step is a quarter longer.
    """

    paper = "unsharp masking; amount and radius are ours"
    task = "enhancement"

    def __init__(
        self,
        *,
        amount: Annotated[float, Field(ge=0)] = 0.1,
        radius: Annotated[float, Field(gt=0)] = 3.0,
        stages: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__()
        self.amount, self.times = amount, stages
        reach = max(1, round(3 * radius))
        with torch.device("cpu"):  # sums of meta tensors import a compiler, 1.4 s
            offsets = torch.arange(-reach, reach + 1)
            taps = torch.exp(-(offsets**2) / (2 * radius**2))
        self.register_buffer("taps", taps / taps.sum(), persistent=False)
        self.halo = reach * stages

    def forward(self, image: Tensor) -> Tensor:
        """Returns `(N, 3, H, W)` for an image `(N, 3, H, W)` in [0, 1]; clipped after each time."""
        for _ in range(self.times):
            image = (image + self.amount * (image - self._blur(image))).clamp(0, 1)
        return image

    def _blur(self, image: Tensor) -> Tensor:
        assert isinstance(self.taps, Tensor)
        reach, channels = len(self.taps) // 2, image.shape[1]
        row = self.taps.to(image.dtype).repeat(channels, 1, 1, 1)
        padded = F.pad(image, (reach,) * 4, mode="replicate")
        across = F.conv2d(padded, row, groups=channels)
        return F.conv2d(across, row.transpose(2, 3), groups=channels)
