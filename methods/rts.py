"""RTS: one small network, trained again and again on what it made of the originals.

Section 3.1 of the paper. Stage n trains SR_n to make HR_{n-1} of the degraded LR, which never
changes (phase A); then HR_n = D(SR_n(HR_0)) with a Lanczos down-scaler D (phase B). The last
network alone enhances a picture.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.degrade import resize_weights
from bench.method import Batch, Method, Stage, to_tensor
from bench.protocol import Task
from bench.sets import load_pairs
from methods.networks.edsr import EDSRNetwork
from methods.networks.residual import ResidualR
from methods.networks.srresnet import SRResNetwork
from methods.networks.vdsr import VDSRNetwork
from methods.srcnn import SRCNN

PAPER = (
    "Park and Kwak, Image Enhancement by Recurrently-trained Super-resolution Network, "
    "arXiv:1907.11341"
)
Network = Literal["residual1", "residual3", "residual6", "srcnn", "vdsr", "srresnet", "edsr"]
EXAMINED = "photos_val"
"""The set whose pictures tell how far the stages still move."""


class Upscaler(Method):
    """SR_n: a network of table 3 in RGB, trained with MSE (section 4.1: Adam 1e-3, batch 8)."""

    paper: ClassVar[str] = PAPER
    tiny: ClassVar[dict[str, Any]] = {"network": "residual1"}

    def __init__(self, *, scale: int = 2, network: Network = "residual3") -> None:
        super().__init__()
        self.scale = scale
        self.network = _build(network, scale)
        self.halo = int(self.network.halo)
        self.origin: tuple[Upscaler, ...] = ()  # a tuple: a module would become a part of this one

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """Trained once, it is plain super-resolution."""
        return (Stage("sr"),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """MSE to the stage's target; the first update goes on from the network before."""
        if batch.step == 0 and self.origin:
            self.load_state_dict(self.origin[0].state_dict())
        return {"loss": F.mse_loss(self(batch.lr), batch.target)}

    def enhance(self, image: Tensor) -> Tensor:
        """Returns D(SR(image)): `(N, 3, H, W)` in about [0, 1], of the image's own size."""
        return lanczos_down(self(image).float(), self.scale)


class RTS(Method):
    """The enhancement of `stages` recurrent stages.

    network: of table 3; residual3 is the paper's base model. warm_start: stage n begins with the
    weights of stage n - 1, else anew; the paper does not say. quality: of the JPEG compression of
    LR, which the paper does not say either.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "enhancement"
    tiny: ClassVar[dict[str, Any]] = {"network": "residual1", "stages": 2}

    def __init__(
        self,
        *,
        network: Network = "residual3",
        stages: Annotated[int, Field(ge=1, le=20)] = 3,
        warm_start: bool = True,
        quality: Annotated[int, Field(ge=1, le=100)] = 75,
    ) -> None:
        super().__init__()
        self.upscalers = nn.ModuleList(Upscaler(network=network) for _ in range(stages))
        self.quality, self.warm_start = quality, warm_start
        for before, upscaler in zip(self.networks, self.networks[1:], strict=False):
            upscaler.origin = (before,) if warm_start else ()
        # D reaches 6 SR pixels, which are 3 of the image
        self.halo = int(self.networks[0].network.halo) + 3

    @property
    def networks(self) -> list[Upscaler]:
        """SR_1, SR_2, ..."""
        return [part for part in self.upscalers if isinstance(part, Upscaler)]

    def forward(self, image: Tensor) -> Tensor:
        """Returns HR_n `(N, 3, H, W)` for an original `(N, 3, H, W)` in [0, 1]."""
        return self.networks[-1].enhance(image)

    def stages(self) -> Sequence[Stage]:
        """One for each network; its key knows nothing of how many follow."""
        return [
            Stage(
                f"sr{n}",
                trains=upscaler,
                target=self.networks[n - 2].enhance if n > 1 else None,
                degradation=f"jpeg_lanczos:{self.quality}",
                depends={**upscaler.hyperparameters, "warm_start": self.warm_start and n > 1},
                examine=partial(self._examine, n),
            )
            for n, upscaler in enumerate(self.networks, start=1)
        ]

    @torch.no_grad()
    def _examine(self, n: int) -> dict[str, float]:
        """How far HR_n is from HR_0 and HR_{n-1} in percent of 255 (table 1), and the contraction k
        of section 3.2: the slope of HR_n - HR_0 on HR_0 - B(HR_0), B = U D a blur."""
        device = next(self.parameters()).device
        found: dict[str, list[Tensor]] = {"% from HR0": [], f"% from HR{n - 1}": [], "k": []}
        for pair in load_pairs(EXAMINED, 1, "none"):
            original = to_tensor(pair.hr(), device)
            made = self.networks[n - 1].enhance(original)
            before = self.networks[n - 2].enhance(original) if n > 1 else original
            size = original.shape[-2:]
            blurred = F.interpolate(lanczos_down(original, 2), size, mode="bicubic", antialias=True)
            detail = original - blurred
            found["% from HR0"].append(100 * (made - original).abs().mean())
            found[f"% from HR{n - 1}"].append(100 * (made - before).abs().mean())
            found["k"].append(((made - original) * detail).sum() / detail.square().sum())
        return {name: float(torch.stack(values).mean()) for name, values in found.items()}


def lanczos_down(image: Tensor, scale: int) -> Tensor:
    """Returns `(N, C, H, W)` shrunk by a whole number with Lanczos-3, antialiased, edges repeated:
    `bench.degrade.imresize(..., kernel="lanczos3")` without its rounding to 8 bits."""
    size = 16 * scale  # far enough from the border for a whole kernel
    indices, weights = resize_weights(size, 1 / scale, "lanczos3")
    middle = len(indices) // 2
    inside = weights[middle] != 0
    taps = image.new_tensor(weights[middle][inside])
    before = middle * scale - int(indices[middle][inside][0])
    after = len(taps) - before - scale
    channels, height, width = image.shape[1:]
    edges = (before, after + -width % scale, before, after + -height % scale)
    image = F.pad(image, edges, mode="replicate")
    row = taps.repeat(channels, 1, 1, 1)  # (C, 1, 1, taps)
    image = F.conv2d(image, row, stride=(1, scale), groups=channels)
    return F.conv2d(image, row.transpose(2, 3), stride=(scale, 1), groups=channels)


def _build(network: Network, scale: int) -> Any:
    """The network by its name in table 3."""
    if network.startswith("residual"):
        return ResidualR(scale, int(network.removeprefix("residual")))
    builders = {"srcnn": SRCNN, "vdsr": VDSRNetwork, "srresnet": SRResNetwork, "edsr": EDSRNetwork}
    return builders[network](scale=scale)
