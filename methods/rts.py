"""RTS: one small network, trained again and again on what it made of the originals.

Section 3.1 of the paper. Stage n trains SR_n to make HR_{n-1} of the degraded LR, which never
changes (phase A); then HR_n = D(SR_n(HR_0)) with a Lanczos down-scaler D (phase B). The last
network alone enhances a picture.

What decides whether HR_1 is sharper than the original is the scaler that made LR, which the paper
does not name. With MSE, SR_1(LR) tends to E[HR | LR], and D is linear: D(SR_1(LR)) tends to
E[D(HR) | LR]. If LR was itself shrunk by D, that is LR without its JPEG, and nothing is left to
sharpen by. If LR was shrunk by something softer, the network learns to undo the softness, and does
so to the originals too.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.data.degrade import find_degradation, imresize, resize_weights
from bench.data.pairs import load_pairs
from bench.data.pixels import quantise
from bench.measure.metrics import metric, score_image
from bench.measure.protocol import PROTOCOLS
from bench.method import Batch, Method, Stage, to_tensor
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
Scaler = Literal["lanczos", "bilinear"]
Quality = Annotated[int, Field(ge=1, le=100)]
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
        self.halo: int = self.network.halo

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        sr: Tensor = self.network(lr)
        return sr

    def stages(self) -> Sequence[Stage]:
        """Trained once, it is plain super-resolution."""
        return (Stage("sr"),)

    def training_step(self, batch: Batch, stage: Stage) -> Mapping[str, Tensor]:
        """MSE to the stage's target."""
        return {"loss": F.mse_loss(self(batch.lr), batch.target)}

    def enhance(self, image: Tensor) -> Tensor:
        """Returns D(SR(image)): `(N, 3, H, W)` in about [0, 1], of the image's own size."""
        return lanczos_down(self(image).float(), self.scale)


class RTS(Method):
    """The enhancement of `stages` recurrent stages.

    network: of table 3; residual3 is the paper's base model. warm_start: stage n begins with the
    weights of stage n - 1, else anew. quality, scaler: of the JPEG compression and the shrinking
    that make LR. The paper gives none of the three.
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
        quality: Quality = 75,
        scaler: Scaler = "lanczos",
    ) -> None:
        super().__init__()
        self.upscalers = nn.ModuleList(Upscaler(network=network) for _ in range(stages))
        self.degradation, self.warm_start = f"jpeg_{scaler}:{quality}", warm_start
        # D reaches 6 SR pixels, which are 3 of the image
        self.halo = self.networks[0].halo + 3

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
                target_halo=self.halo,
                begins_from=self.networks[n - 2] if self.warm_start and n > 1 else None,
                degradation=self.degradation,
                depends={**upscaler.hyperparameters, "warm_start": self.warm_start and n > 1},
                examine=partial(self._examine, n),
            )
            for n, upscaler in enumerate(self.networks, start=1)
        ]

    @torch.no_grad()
    def _examine(self, n: int) -> dict[str, float | str]:
        """What stage n has brought on the pictures of EXAMINED, and what the paper's rule says.

        "% from HR0", "% from HR{n-1}": mean absolute difference in percent of 255 (table 1). "k":
        the slope of HR_n - HR_0 on the detail HR_0 - B(HR_0), B = U D a blur; in section 3.2 it is
        k + k^2 + ... + k^n. "growth": its last increment over the one before, which should be k.
        "MOS": VIQET's, of table 2. "rule": section 3.4 stops where quality falls, or where the
        stages' difference begins to grow.
        """
        device = next(self.parameters()).device
        found = [
            self._follow(n, to_tensor(pair.hr(), device))
            for pair in load_pairs(EXAMINED, 1, "none")
        ]
        far, steps, slopes, quality = (
            torch.tensor(values).mean(dim=0).tolist() for values in zip(*found, strict=True)
        )
        growth = slopes[-1] - slopes[-2]
        if n > 1:
            growth = growth / (slopes[-2] - slopes[-3]) if slopes[-2] != slopes[-3] else math.nan
        rule = "go on"
        if any(map(math.isnan, quality)):
            rule = "unknown: no MOS"
        elif quality[-1] < quality[-2]:
            rule = f"stop at HR{n - 1}: MOS falls"
        elif n > 1 and steps[-1] > steps[-2]:
            rule = f"stop at HR{n - 1}: the difference grows"
        return {
            "% from HR0": far[-1],
            f"% from HR{n - 1}": steps[-1],
            "k": slopes[-1],
            "growth": growth,
            "MOS": quality[-1],
            "rule": rule,
        }

    def _follow(self, n: int, original: Tensor) -> tuple[list[float], ...]:
        """Returns of HR_{n-2}, HR_{n-1}, HR_n (as far as there are): percent from HR_0; percent
        from one to the next; slope on the original's detail; MOS."""
        made = [network.enhance(original) for network in self.networks[max(0, n - 3) : n]]
        chain = [*([original] if n < 3 else []), *made]
        size = original.shape[-2:]
        blurred = F.interpolate(lanczos_down(original, 2), size, mode="bicubic", antialias=True)
        detail = original - blurred
        far = [100 * float((image - original).abs().mean()) for image in chain]
        steps = [100 * float((b - a).abs().mean()) for a, b in pairwise(chain)]
        slopes = [float(((x - original) * detail).sum() / detail.square().sum()) for x in chain]
        return far, steps, slopes, [_mos(image) for image in chain]


class Degraded(Method):
    """I_LR of table 2 at the original's size: JPEG, shrunk, enlarged again by Lanczos.

    The table gives LR and HR the same resolution, so it was enlarged; with what, is not said.
    """

    paper: ClassVar[str] = PAPER
    task: ClassVar[Task] = "enhancement"
    halo = None  # JPEG's blocks lie on a grid that begins at the picture's corner

    def __init__(self, *, quality: Quality = 75, scaler: Scaler = "lanczos") -> None:
        super().__init__()
        self.degradation = f"jpeg_{scaler}:{quality}"

    def forward(self, image: Tensor) -> Tensor:
        """Returns `(N, 3, H, W)` for an image `(N, 3, H, W)` in [0, 1]."""
        degrade = find_degradation(self.degradation)
        assert degrade is not None
        height, width = image.shape[-2:]
        shown = []
        for one in image:
            even = np.pad(quantise(one[None]), ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            enlarged = imresize(degrade(even, 2, 0), 2, "lanczos3")[:height, :width]
            shown.append(to_tensor(enlarged, image.device))
        return torch.cat(shown)


def _mos(image: Tensor) -> float:
    """VIQET's score of an image `(1, 3, H, W)`."""
    judge, rules = metric("viqet"), PROTOCOLS["full@1"]
    scorer = judge.load("cpu")
    return score_image(scorer, quantise(image), None, rules, 1, reference=False).value


def lanczos_down(image: Tensor, scale: int) -> Tensor:
    """Returns `(N, C, H, W)` shrunk by a whole number with Lanczos-3, antialiased, edges repeated:
    `bench.data.degrade.imresize(..., kernel="lanczos3")` without its rounding to 8 bits."""
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
