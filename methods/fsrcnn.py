"""FSRCNN: eight small convolutions on the small image's luma, then one transposed convolution."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.weights import Weights
from bench.errors import BenchError
from bench.method import Batch, Method, Stage

_HOME = "https://github.com/yaBorn/Super-resolution"


class FSRCNN(Method):
    """FSRCNN(d, s, m), section 3.2: feature extraction 5x5, shrinking 1x1, m mappings 3x3,
    expanding 1x1, deconvolution 9x9; PReLU after each but the last.

    It sees Y alone; colour is enlarged bicubically, as the authors' evaluation does. Borders are
    replicated as in their scripts. Trained with the mean squared error of Y; the paper's two steps
    (91-image, then General-100 added) and its learning rate, lower in the deconvolution, are left
    to the study.
    """

    paper = "Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016"
    tiny = {"d": 8, "s": 4, "m": 1}
    published = {
        f"fsrcnn_x{scale}": Weights(
            f"fsrcnn/FSRCNN_x{scale}.mat", _HOME, sha256, "none stated", page=True
        )
        for scale, sha256 in (
            (2, "1d00d037c4eae56d898e1a1e62b736eb11bb2ec112b2fd29d7ead0bff5e4e8b5"),
            (3, "9cbd62ce9cb8d0236d21c7b1311b1ee7f53ff227fd4a5ea62ddaf347870a80a0"),
            (4, "af005f2ba6e90ef45f1807045c3f78132e15b57d9056e4691c79e34863dbdd4f"),
        )
    }

    def __init__(
        self, *, scale: Literal[2, 3, 4] = 2, d: int = 56, s: int = 12, m: int = 4
    ) -> None:
        super().__init__()
        self.scale = scale
        self.halo = 4 + m  # radius: extraction 2, m mappings, nine taps at every second pixel 2
        widths = [(1, d, 5), (d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode="replicate"),
                nn.PReLU(),  # one slope for all channels, as in the authors' files
            )
            for inputs, outputs, side in widths
        )
        self.deconvolution = nn.ConvTranspose2d(d, 1, 9, stride=scale)

    def enlarge(self, y: Tensor) -> Tensor:
        """Returns `(N, 1, scale*H, scale*W)` for a plane `(N, 1, H, W)` in [0, 1]."""
        height, width = (self.scale * side for side in y.shape[-2:])
        x = y
        for layer in self.layers:
            x = layer(x)
        full: Tensor = self.deconvolution(F.pad(x, [1] * 4, mode="replicate"))
        # what the authors keep of it; its first `scale` pixels are the padding's
        first = self.scale + (3 if self.scale == 3 else 4)
        return full[..., first : first + height, first : first + width]

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        # With antialias torch takes Keys' a = -0.5, MATLAB's kernel; without, -0.75.
        size = [self.scale * side for side in lr.shape[-2:]]
        enlarged = F.interpolate(lr, size, mode="bicubic", antialias=True)
        # a step in all of R, G and B moves Y by 219/255 of it, and neither Cb nor Cr
        return enlarged + (self.enlarge(luma(lr)) - luma(enlarged)) * (255 / 219)

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        return (Stage("fsrcnn"),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """Equation 4: the mean squared error, of Y."""
        return {"loss": F.mse_loss(self.enlarge(luma(batch.lr)), luma(batch.target))}

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the authors' files, of MATLAB."""
        return read_matlab(file) if file.suffix == ".mat" else super().read_weights(file)


def luma(rgb: Tensor) -> Tensor:
    """Returns Y `(N, 1, H, W)` of BT.601, 16/255 to 235/255, of RGB `(N, 3, H, W)` in [0, 1]."""
    weights = torch.stack([rgb.new_full((), part) for part in (65.481, 128.553, 24.966)]) / 255
    return torch.einsum("c,nchw->nhw", weights, rgb)[:, None] + 16 / 255


def read_matlab(file: Path) -> dict[str, Tensor]:
    """Returns the state dict in a file of the authors'. Raises BenchError for another one.

    Taps lie column by column, (in, taps, out). The deconvolution is stored with its one output
    first, which gives (in, out, side, side): the order that torch has for transposed convolutions.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]  # ships no types

    try:
        found: Any = loadmat(file)
        kernels, biases, slopes = (
            [entry[0] for entry in found[name]]
            for name in ("weights_conv", "biases_conv", "prelu_conv")
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BenchError(f"weights {file}: not a file of FSRCNN's authors: {error}.") from None
    state = {}
    for number, (kernel, bias, slope) in enumerate(zip(kernels, biases, slopes, strict=False)):
        last = number == len(kernels) - 1
        layer = "deconvolution" if last else f"layers.{number}.0"
        side = round(kernel.shape[1] ** 0.5)
        columns = kernel.reshape(kernel.shape[0], side, side, kernel.shape[2])
        state[f"{layer}.weight"] = _tensor(columns.transpose(3, 0, 2, 1))
        state[f"{layer}.bias"] = _tensor(bias.ravel())
        if not last:
            state[f"layers.{number}.1.weight"] = _tensor(slope.ravel())
    return state


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
