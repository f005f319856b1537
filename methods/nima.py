"""NIMA: predicts how people would score a photograph, as a distribution over the marks 1 to 10.

The published network has learned AVA's votes; nima_ava.py trains it. Ours, `nima@photos`, has
learned to rank photographs under graded distortions: it knows damage, not beauty. Its weights ship
in data/; metrics/nima.py chooses which are used.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from bench.data.pairs import load_pairs
from bench.method import Batch, Losses, Method, Stage, to_tensor
from methods.data.distortions import DISTORTIONS, distort
from methods.networks.nima import Compact
from methods.networks.trunks import TRUNKS

BINS = 10
UNSEEN = ("photos_val", "photos_test")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BEST_MEAN, WORST_MEAN, SPREAD = 8.0, 2.0, 1.2  # of the marks taught; the spread is near AVA's
CLEAN = 0.1  # share of training patches left as they are
LEVELS = 6  # severities 0, 0.2, ..., 1 that `rank_correlations` asks to rank

Trunk = Literal["compact", "mnasnet", "mobilenet_v2", "vgg16"]
Width = Annotated[float, Field(gt=0)]


class NIMA(Method):
    """Talebi and Milanfar: a trunk, average pooling, ten softmax outputs, the EMD of equation 2.

    trunk: `mnasnet` is that of NIMA-SR; `compact` is ours: it learns graded distortions within a
    minute on two cores. width: of the others, multiplies their channels.
    """

    paper: ClassVar[str] = (
        "Talebi and Milanfar, NIMA: Neural Image Assessment, IEEE TIP 2018, arXiv:1709.05424; "
        "trunk mnasnet: Tan et al., MnasNet, CVPR 2019, arXiv:1807.11626"
    )
    task = "assessment"
    halo = 16

    def __init__(self, *, trunk: Trunk = "compact", width: Width = 1.0) -> None:
        super().__init__()
        self.trunk: nn.Module
        compact = trunk == "compact"
        self.trunk, channels = (Compact(), Compact.width) if compact else TRUNKS[trunk](width)
        self.head = nn.Linear(channels, BINS)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("marks", torch.arange(1.0, BINS + 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Returns the distribution of marks `(N, 10)` for images `(N, 3, H, W)` in [0, 1].

        Unlike a restoring method's, no image. Any size, 48x48 patches included. Differentiable; as
        a loss, put it in eval mode and freeze its parameters.
        """
        return self.distribution(self.features(image).float().mean((2, 3)))

    def features(self, image: Tensor) -> Tensor:
        """Returns the trunk's map `(N, width, h, w)`, not yet pooled."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        features: Tensor = self.trunk((image.float() - mean) / std)
        return features

    def distribution(self, pooled: Tensor) -> Tensor:
        """Returns the distribution `(N, 10)` for pooled features `(N, width)`.

        In float32 also under autocast: in bfloat16 a score would move in steps of about 0.03.
        """
        with torch.autocast(pooled.device.type, enabled=False):
            return torch.softmax(self.head(pooled), dim=1)

    def score(self, image: Tensor) -> Tensor:
        """Returns the mean mark `(N,)`, 1 to 10, for images `(N, 3, H, W)` in [0, 1]."""
        return self.mean_mark(self(image))

    def mean_mark(self, distribution: Tensor) -> Tensor:
        """Returns the mean mark `(N,)` of distributions `(N, 10)`."""
        return distribution @ self.get_buffer("marks")

    def stages(self) -> tuple[Stage, ...]:
        """One stage; the original photographs are distorted afresh in every step."""
        return (Stage("nima", degradation="none", examine=self.examine),)

    def examine(self) -> dict[str, float]:
        """Returns the rank correlations on photographs that it was not trained on.

        At most the first 384 x 384 pixels of each count.
        """
        unseen = [p for name in UNSEEN for p in load_pairs(name, 1, "none")]
        cpu = torch.device("cpu")
        found = rank_correlations(self, [to_tensor(p.hr()[:384, :384], cpu)[0] for p in unseen])
        title = f"mean rank correlation with severity on {len(unseen)} unseen photographs"
        return {title: float(np.mean(list(found.values()))), **found}

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        """Returns the EMD between predicted and taught marks on freshly distorted `batch.hr`."""
        generator = torch.Generator().manual_seed(batch.step)
        drawn = torch.rand(len(batch.hr), generator=generator)
        severity = ((drawn - CLEAN) / (1 - CLEAN)).clamp(min=0).to(batch.hr.device)
        image = distort(_other_light(batch.hr, generator), severity, generator, first=batch.step)
        return {"loss": emd(self(image), taught_marks(severity)).mean()}


def _other_light(image: Tensor, generator: torch.Generator) -> Tensor:
    """The images at slightly other contrast, brightness and colour, as if lit or exposed otherwise.

    A few photographs hold too few tones to tell a pale scene from a washed-out picture.
    """
    drawn = torch.rand(5, len(image), 1, 1, 1, generator=generator).to(image.device)
    gain = 0.6 + 0.4 * drawn[0]
    lift = (1 - gain) * drawn[1]
    tint = 1 - 0.15 * drawn[2:].transpose(0, 2)[0]  # (N, 3, 1, 1)
    return image * gain * tint + lift


def taught_marks(severity: Tensor) -> Tensor:
    """Returns the marks `(N, 10)` that severities `(N,)` in [0, 1] should get. Our choice.

    A Gaussian over the bins, its mean falling linearly from 8 to 2, its spread always 1.2.
    """
    marks = torch.arange(1.0, BINS + 1, device=severity.device)
    mean = BEST_MEAN + (WORST_MEAN - BEST_MEAN) * severity
    return torch.softmax(-((marks - mean[:, None]) ** 2) / (2 * SPREAD**2), dim=1)


def emd(p: Tensor, q: Tensor, l: int = 2) -> Tensor:  # noqa: E741  the paper's letter
    """Returns the earth mover's distance of each row, equation 2: (mean |CDF_p - CDF_q|^l)^(1/l).

    p, q: distributions `(N, bins)`. Per sample; the root of a batch's mean is another number.

    >>> emd(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), l=1).item()
    0.5
    """
    gap = (p - q).cumsum(1).abs()
    # The root of 0 has no finite slope.
    return (gap**l).mean(1).clamp(min=1e-12) ** (1 / l)


def rank_correlations(nima: NIMA, images: Iterable[Tensor]) -> dict[str, float]:
    """Returns, for each kind of distortion, how well lower marks follow severity: 1 is perfect.

    images: `(3, H, W)` in [0, 1], not trained on. Each is distorted at six severities, 0 to 1; the
    value is Spearman's correlation with the negated score, its mean over images (and, for tone,
    over turning dark and bright). 0 where the scores do not move at all.
    """
    severity = torch.linspace(0, 1, LEVELS)
    found: dict[str, list[float]] = {kind: [] for kind in DISTORTIONS}
    nima.eval()
    device = nima.get_buffer("marks").device
    for image in images:
        for kind, damage in DISTORTIONS.items():
            # Tone darkens even and brightens odd members of a batch; else one member is enough.
            pair = image[None].expand(2 if kind == "tone" else 1, -1, -1, -1)
            scores = []
            for level, value in enumerate(severity):
                generator = torch.Generator().manual_seed(level)
                bad = damage(pair, value.expand(len(pair)), generator).to(device)
                with torch.no_grad():
                    scores.append(nima.score(bad).cpu())
            for series in torch.stack(scores, 1).numpy():
                found[kind].append(spearman(severity.numpy(), -series))
    return {kind: float(np.mean(values)) for kind, values in found.items()}


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Returns the correlation of ranks, ties sharing theirs; 0 where one of them is constant.

    >>> spearman(np.array([1, 2, 3]), np.array([10, 30, 20]))
    0.5
    """
    ranks = [(v[:, None] > v).sum(1) + ((v[:, None] == v).sum(1) - 1) / 2 for v in (a, b)]
    x, y = (r - r.mean() for r in ranks)
    spread = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / spread) if spread else 0.0
