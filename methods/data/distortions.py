"""Graded distortions of photographs: what an assessor is taught, and asked, to rank.

Each function takes images `(N, 3, H, W)` in [0, 1] and a severity in [0, 1] for each, and returns
images of the same shape and range. Severity 0 is the identity, 1 is plainly bad; the spacing in
between is our choice. All of it runs in float32 on the images' device, autocast or not.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_SIGMA = 3.0  # blur, pixels
LARGEST_NOISE = 50 / 255
LARGEST_FACTOR = 4.0  # down-sampling
BEST_QUALITY, WORST_QUALITY = 90.0, 8.0  # JPEG

# ITU-T T.81 (1992), Annex K, tables K.1 and K.2.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# Full-swing YCbCr of JFIF 1.02 (1992), page 3; rows Y, Cb, Cr.
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))

Distortion = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def blur(image: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the image under a Gaussian of sigma 3 * severity pixels, edges repeated."""
    count, channels, height, width = image.shape
    radius = math.ceil(3 * LARGEST_SIGMA)
    offset = torch.arange(-radius, radius + 1, device=image.device)
    sigma = (LARGEST_SIGMA * severity).clamp(min=1e-3)
    kernel = torch.softmax(-(offset**2) / (2 * sigma[:, None] ** 2), dim=1)
    kernel = kernel.repeat_interleave(channels, 0)[:, None, None]  # (N*3, 1, 1, taps)
    rows = image.reshape(1, count * channels, height, width)
    rows = F.pad(rows, (radius,) * 4, mode="replicate")
    rows = F.conv2d(rows, kernel, groups=count * channels)
    rows = F.conv2d(rows, kernel.transpose(2, 3), groups=count * channels)
    return rows.reshape(image.shape)


def noise(image: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the image with white Gaussian noise of standard deviation 50/255 * severity."""
    grain = torch.randn(image.shape, generator=generator).to(image.device)
    return (image + LARGEST_NOISE * severity[:, None, None, None] * grain).clamp(0, 1)


def jpeg(image: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the image after JPEG, its quality falling geometrically from 90 to 8."""
    quality = BEST_QUALITY * (WORST_QUALITY / BEST_QUALITY) ** severity
    untouched = (severity == 0)[:, None, None, None]
    return torch.where(untouched, image, compress(image, quality))


def down_up(image: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the image down-sampled by 1 + 3 * severity and back, bicubic: what SR starts from."""
    height, width = image.shape[-2:]
    restored = []
    for one, value in zip(image, severity.tolist(), strict=True):
        factor = 1 + (LARGEST_FACTOR - 1) * value
        size = (max(1, round(height / factor)), max(1, round(width / factor)))
        small = F.interpolate(one[None], size, mode="bicubic", antialias=True)
        restored.append(F.interpolate(small, (height, width), mode="bicubic"))
    return torch.cat(restored).clamp(0, 1)


def tone(image: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the image washed out: contrast and colour lost, and one of them dark or bright.

    Of two neighbours in the batch one turns dark, the other bright.
    """
    level = severity[:, None, None, None]
    grey = image.mean((1, 2, 3), keepdim=True)
    sign = 1 - 2 * (torch.arange(len(image), device=image.device) % 2)[:, None, None, None]
    centre = grey + level * sign * 0.25
    luma = image.mean(1, keepdim=True)
    faded = image + 0.6 * level * (luma - image)
    return (centre + (1 - 0.75 * level) * (faded - grey)).clamp(0, 1)


DISTORTIONS: dict[str, Distortion] = {
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "down_up": down_up,
    "tone": tone,
}


def distort(image: Tensor, severity: Tensor, generator: torch.Generator, first: int = 0) -> Tensor:
    """Returns every image under one kind of distortion, the kinds taking turns along the batch.

    image: `(N, 3, H, W)` in [0, 1]. severity: `(N,)` in [0, 1]. Image i gets kind `first + i`,
    counted round. The generator is on the CPU, so that devices agree.
    """
    image = image.float()
    out = torch.empty_like(image)
    with torch.autocast(image.device.type, enabled=False):
        for turn, name in enumerate(DISTORTIONS):
            mine = slice((turn - first) % len(DISTORTIONS), None, len(DISTORTIONS))
            if len(image[mine]):
                out[mine] = DISTORTIONS[name](image[mine], severity[mine], generator)
    return out


def compress(image: Tensor, quality: Tensor) -> Tensor:
    """Returns images `(N, 3, H, W)` in [0, 1] after baseline JPEG at `quality (N,)`, 1 to 100.

    Chroma is kept at full resolution (4:4:4). Tables of ITU-T T.81 Annex K, scaled by quality as
    libjpeg does. Entropy coding is left out: it loses nothing.
    """
    height, width = image.shape[-2:]
    pixels = F.pad(image, (0, -width % 8, 0, -height % 8), mode="replicate") * 255
    to_ycbcr = torch.tensor(YCBCR, device=image.device)
    # Centred: luma 0 is grey, so that no channel needs an offset but Y's 128.
    ycbcr = torch.einsum("kc,nchw->nkhw", to_ycbcr, pixels - 128).round()
    dct = _dct().to(image.device)
    table = torch.tensor((LUMINANCE, CHROMINANCE, CHROMINANCE), device=image.device)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()
    steps = ((table * percent[:, None, None, None] + 50) / 100).floor().clamp(1, 255)
    rows, columns = ycbcr.shape[2] // 8, ycbcr.shape[3] // 8
    blocks = ycbcr.reshape(-1, 3, rows, 8, columns, 8).transpose(3, 4)
    steps = steps[:, :, None, None]  # (N, 3, 1, 1, 8, 8) against (N, 3, rows, columns, 8, 8)
    coefficients = (dct @ blocks @ dct.T / steps).round() * steps
    blocks = dct.T @ coefficients @ dct
    ycbcr = blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    pixels = torch.einsum("ck,nkhw->nchw", torch.linalg.inv(to_ycbcr), ycbcr) + 128
    return (pixels[..., :height, :width] / 255).clamp(0, 1)


@cache
def _dct() -> Tensor:
    """The orthonormal DCT-II of eight samples: T.81, A.3.3, is `D x D^T`."""
    frequency, sample = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    rows = torch.cos((2 * sample + 1) * frequency * math.pi / 16) / 2
    rows[0] /= math.sqrt(2)
    return rows
