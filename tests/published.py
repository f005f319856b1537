"""Networks whose weights their authors published, for tests that reproduce known scores.

Every class is a Method without training. Weights are found below $BENCH_WEIGHTS; a BenchError says
where to download what is not there. `bench eval tests.published.CARN_M` works as for any method.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.weights import find, why_missing
from bench.errors import BenchError
from bench.method.contract import Method

Layer = Callable[[Tensor], Tensor]
Phone = Literal["iphone", "blackberry", "sony"]


def _weights(name: str) -> Path:
    """The published file. Raises BenchError if it is not here."""
    if (path := find(name)) is None:
        raise BenchError(why_missing(name))
    return path


def _tensor(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(values, np.float32)))


class FSRCNN(Method):
    """FSRCNN(56, 12, 4) on Y, one file for each scale; colour is enlarged bicubically."""

    paper = "Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016"
    halo = 8  # radius: convolutions 2 + 4, nine taps at every second pixel 2

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        from scipy.io import loadmat

        self.scale = scale
        file = loadmat(_weights(f"fsrcnn_x{scale}"))
        kernels, biases, slopes = (
            [entry[0] for entry in file[name]]
            for name in ("weights_conv", "biases_conv", "prelu_conv")
        )
        self.kernels = nn.ParameterList(_tensor(self._square(k)) for k in kernels[:-1])
        # stored with its one output first, so that this is (in, out, side, side): the order that
        # torch has for transposed convolutions
        self.deconvolution = _tensor(self._square(kernels[-1]))
        self.biases = nn.ParameterList(_tensor(b.ravel()) for b in biases)
        self.slopes = nn.ParameterList(_tensor(s.ravel()) for s in slopes[:-1])

    @staticmethod
    def _square(kernel: np.ndarray) -> np.ndarray:
        """(in, taps, out), taps column by column as in MATLAB, to (out, in, side, side)."""
        side = round(kernel.shape[1] ** 0.5)
        columns = kernel.reshape(kernel.shape[0], side, side, kernel.shape[2])
        return columns.transpose(3, 0, 2, 1)

    def enlarge(self, y: Tensor) -> Tensor:
        """Returns `(N, 1, scale*H, scale*W)` for a plane `(N, 1, H, W)` in [0, 1]."""
        height, width = (self.scale * side for side in y.shape[-2:])
        x = y
        for kernel, bias, slope in zip(self.kernels, self.biases, self.slopes, strict=False):
            x = F.pad(x, [kernel.shape[-1] // 2] * 4, mode="replicate")
            x = F.prelu(F.conv2d(x, kernel, bias), slope)
        x = F.pad(x, [1] * 4, mode="replicate")
        x = F.conv_transpose2d(x, self.deconvolution, self.biases[-1], stride=self.scale)
        # what the authors keep of the full result; its first `scale` pixels are the padding's
        first = self.scale + (3 if self.scale == 3 else 4)
        return x[..., first : first + height, first : first + width]

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        # With antialias torch takes Keys' a = -0.5, MATLAB's kernel; without, -0.75.
        size = [self.scale * side for side in lr.shape[-2:]]
        enlarged = F.interpolate(lr, size, mode="bicubic", antialias=True)
        # a step in all of R, G and B moves Y by 219/255 of it, and neither Cb nor Cr
        return enlarged + (self.enlarge(_luma(lr)) - _luma(enlarged)) * (255 / 219)


def _luma(rgb: Tensor) -> Tensor:
    """Y `(N, 1, H, W)` of BT.601, 16/255 to 235/255, of RGB `(N, 3, H, W)` in [0, 1]."""
    weights = rgb.new_tensor([65.481, 128.553, 24.966]) / 255
    return torch.einsum("c,nchw->nhw", weights, rgb)[:, None] + 16 / 255


class CARN_M(Method):
    """The small CARN: grouped residual blocks, cascaded twice; one body for x2, x3 and x4.

    Parts bear the names of the authors' file, so that it loads strictly.
    """

    paper = "Ahn et al., Fast, Accurate, and Lightweight Super-Resolution with CARN, ECCV 2018"
    halo = 21  # radius: entry 1, three blocks of three times two convolutions 18, tail 2

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"CARN-M is published for x2, x3 and x4, not x{scale}")
        self.scale = scale
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.entry = nn.Conv2d(3, 64, 3, padding=1)
        self.b1, self.b2, self.b3 = _Cascade(), _Cascade(), _Cascade()
        self.c1, self.c2, self.c3 = _fuse(2), _fuse(3), _fuse(4)
        self.upsample = nn.ModuleDict(
            {
                "up2": _enlarge(2),
                "up3": _enlarge(3),
                "up4": nn.Sequential(*_enlarge(2), *_enlarge(2)),
            }
        )
        self.exit = nn.Conv2d(64, 3, 3, padding=1)
        state = torch.load(_weights("carn_m"), map_location="cpu", weights_only=True)
        plain = {k.replace(".body", "").replace(".shifter", ""): v for k, v in state.items()}
        self.load_state_dict(plain, strict=True)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        x = self.entry(self.sub_mean(lr))
        x = _cascade(x, [self.b1, self.b2, self.b3], [self.c1, self.c2, self.c3])
        sr: Tensor = self.add_mean(self.exit(self.upsample[f"up{self.scale}"](x)))
        return sr


class _Cascade(nn.Module):
    """One residual block, applied three times with the same weights, in a cascade of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.b1 = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.ReLU(),
            nn.Conv2d(64, 64, 1),
        )  # fmt: skip
        self.c1, self.c2, self.c3 = _fuse(2), _fuse(3), _fuse(4)

    def forward(self, x: Tensor) -> Tensor:
        return _cascade(x, [self._residual] * 3, [self.c1, self.c2, self.c3])

    def _residual(self, x: Tensor) -> Tensor:
        return torch.relu(self.b1(x) + x)


def _cascade(x: Tensor, blocks: Sequence[Layer], fusions: Sequence[Layer]) -> Tensor:
    """Each block sees what the fusion of all before it has left of them."""
    seen = x
    for block, fuse in zip(blocks, fusions, strict=True):
        seen = torch.cat([seen, block(x)], dim=1)
        x = fuse(seen)
    return x


def _fuse(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(64 * inputs, 64, 1), nn.ReLU())


def _enlarge(scale: int) -> nn.Sequential:
    convolution = nn.Conv2d(64, 64 * scale**2, 3, padding=1, groups=4)
    return nn.Sequential(convolution, nn.ReLU(), nn.PixelShuffle(scale))


class DPED(Method):
    """The generator that turns a phone's pictures into those of a better camera."""

    paper = "Ignatov et al., DSLR-Quality Photos on Mobile Devices with DCNs, ICCV 2017"
    task = "enhancement"
    halo = None  # instance normalisation sees the whole image

    def __init__(self, *, phone: Phone = "iphone") -> None:
        super().__init__()
        from safetensors.torch import load_file

        layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 64, 9, padding=4)}
        for i in range(2, 12):
            layers[f"conv{i}"] = nn.Conv2d(64, 64, 3, padding=1)
        for i in range(2, 10):
            layers[f"norm{i}"] = nn.InstanceNorm2d(64, eps=1e-3, affine=True)
        layers["conv12"] = nn.Conv2d(64, 3, 9, padding=4)
        self.layers = nn.ModuleDict(layers)
        self.layers.load_state_dict(load_file(_weights(f"dped_{phone}")), strict=True)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in [-0.08, 1.08] for RGB `(N, 3, H, W)` in [0, 1]."""
        x = torch.relu(self.layers["conv1"](lr))
        for i in (2, 4, 6, 8):
            x = x + self._normalised(self._normalised(x, i), i + 1)
        x = torch.relu(self.layers["conv10"](x))
        x = torch.relu(self.layers["conv11"](x))
        return 0.58 * torch.tanh(self.layers["conv12"](x)) + 0.5

    def _normalised(self, x: Tensor, i: int) -> Tensor:
        return torch.relu(self.layers[f"norm{i}"](self.layers[f"conv{i}"](x)))
