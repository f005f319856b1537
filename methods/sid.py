"""See-in-the-Dark: a U-Net from a short exposure's raw values to a long exposure's picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from bench.data.catalog import Task
from bench.method import Method, Stage
from methods.networks.layouts import Rules, renamed
from methods.networks.unet import STRIDE, UNetwork

PAPER = "Chen et al., Learning to See in the Dark, CVPR 2018, arXiv:1805.01934"
Width = Annotated[int, Field(ge=1)]


class SID(Method):
    """Section 4.1: raw packed to four channels, times the exposure ratio, at half the size (x2).

    Trained with L1 on patches of 512 packed pixels, one at a time, 1e-4 for 2000 epochs and 1e-5
    for 2000 more. The authors' weights are a checkpoint of TensorFlow, published without a
    checksum: give a .safetensors of its variables under their own names (g_conv1_1/weights, ...,
    Variable, Variable_1, ...) as a file.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "low-light"
    tiny: ClassVar[Mapping[str, Any]] = {"width": 2}
    channels = 4
    stride = STRIDE
    halo = 112  # 92 of the convolutions, and what the grid of the fourth pooling adds

    def __init__(self, *, scale: Literal[1, 2] = 2, width: Width = 32) -> None:
        super().__init__()
        self.scale = scale
        self.network = UNetwork(type(self).channels, scale, width)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns sRGB `(N, 3, scale*H, scale*W)` in about [0, 1] for `(N, C, H, W)` in [0, 1]."""
        picture: Tensor = self.network(lr)
        return picture

    def stages(self) -> Sequence[Stage]:
        """One, with the L1 loss that every method has unless it says otherwise."""
        return (Stage("sid"),)

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Also the variables of the authors' checkpoint."""
        state = super().read_weights(file)
        if "g_conv10/weights" not in state:
            return state
        return renamed({name: _from_tensorflow(name, v) for name, v in state.items()}, TENSORFLOW)


class SIDFromRGB(SID):
    """The same U-Net from a dark RGB picture of the same size: for LOL and simulated low light. Not
    in the paper."""

    channels = 3

    def __init__(self, *, scale: Literal[1, 2] = 1, width: Width = 32) -> None:
        super().__init__(scale=scale, width=width)


TENSORFLOW: Rules = (
    (r"g_(conv\d+(?:_\d)?)/weights", r"\1.weight"),
    (r"g_(conv\d+(?:_\d)?)/biases", r"\1.bias"),
    (r"Variable", "up6.weight"),
    *((rf"Variable_{n}", f"up{6 + n}.weight") for n in (1, 2, 3)),
    (r".*(?:Adam|beta\d_power).*", ""),
)


def _from_tensorflow(name: str, value: Tensor) -> Tensor:
    """A variable in torch's order of axes, (out, in, height, width); of a transposed convolution
    (in, out, height, width), which TensorFlow has as (height, width, out, in).

    TensorFlow's depth_to_space has a pixel's channels together, torch's pixel shuffle a channel's
    pixels.
    """
    if value.ndim == 4:
        value = value.permute(3, 2, 0, 1)
    if "g_conv10/" in name and value.shape[0] % 3 == 0:
        pixels = value.shape[0] // 3
        value = value.reshape(pixels, 3, *value.shape[1:]).transpose(0, 1).flatten(0, 1)
    return value.contiguous()
