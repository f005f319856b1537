"""GridNet: streams of several resolutions, joined by columns that go down, then up."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.method import Method, Stage

Width = Annotated[int, Field(ge=1)]
Normalisation = Literal["instance", "none"]


class GridNet(Method):
    """A row for each width, each at half the size of the one above; columns join them.

    widths: channels of each row; (32, 64, 96) has 2,246,586 parameters, the authors' five rows of
    16 to 256 have 13,157,770. columns: the first half goes down, the second half up; an even
    number. normalisation: instance norm, as PRaD says of its GridNet, without parameters of its
    own, where the authors' segmentation has batch norm. By itself it is trained with L1.

    PRaD's table 2 says no more than "10 times less parameter" of its own network. Enlarging is
    bilinear, where the authors have transposed convolutions, and the picture's own block and the
    last one have a convolution on their skip, for their widths differ.
    """

    paper = "Fourure et al., Residual Conv-Deconv Grid Network for Segmentation, BMVC 2017"
    task: ClassVar[Task] = "enhancement"
    tiny = {"widths": (4, 8, 8), "columns": 4}
    halo = None  # instance normalisation sees the whole image

    def __init__(
        self,
        *,
        widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (32, 64, 96),
        columns: Annotated[int, Field(ge=2, multiple_of=2)] = 6,
        normalisation: Normalisation = "instance",
    ) -> None:
        super().__init__()
        n = normalisation
        first, steps = widths[0], list(pairwise(widths))
        half = columns // 2
        self.head = _Residual(3, first, _block(3, first, n)[2:])  # a picture is not normalised
        self.across = nn.ModuleList(
            nn.ModuleList(_Residual(w, w, _block(w, w, n)) for w in widths)
            for _ in range(columns - 1)
        )
        self.down = nn.ModuleList(
            nn.ModuleList(_block(a, b, n, stride=2) for a, b in steps) for _ in range(half)
        )
        self.up = nn.ModuleList(
            nn.ModuleList(_block(b, a, n) for a, b in steps) for _ in range(half)
        )
        self.tail = _Residual(first, 3, _block(first, 3, n))

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the picture `(N, 3, H, W)` in about [0, 1] for RGB `(N, 3, H, W)` in [0, 1]."""
        rows: list[Tensor] = [self.head(lr)]
        for down in self._columns(self.down)[0]:
            rows.append(down(rows[-1]))
        across = iter(self._columns(self.across))
        for column in self._columns(self.down)[1:]:
            rows = [block(x) for block, x in zip(next(across), rows, strict=True)]
            for i, down in enumerate(column):
                rows[i + 1] = rows[i + 1] + down(rows[i])
        for column in self._columns(self.up):
            rows = [block(x) for block, x in zip(next(across), rows, strict=True)]
            for i in reversed(range(len(column))):
                rows[i] = rows[i] + column[i](_enlarged(rows[i + 1], rows[i]))
        picture: Tensor = self.tail(rows[0])
        return picture

    def stages(self) -> Sequence[Stage]:
        """One, with the L1 loss that every method has unless it says otherwise."""
        return (Stage("gridnet"),)

    @staticmethod
    def _columns(grid: nn.ModuleList) -> list[list[nn.Module]]:
        return [[*column] for column in grid if isinstance(column, nn.ModuleList)]


class _Residual(nn.Module):
    """A block and its skip, which is a 3x3 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        same = inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.skip(x) + self.block(x)
        return y


def _block(inputs: int, outputs: int, norm: Normalisation, stride: int = 1) -> nn.Sequential:
    """Norm, ReLU and a 3x3 convolution, twice."""

    def normalised(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()

    return nn.Sequential(
        normalised(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        normalised(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
    )


def _enlarged(x: Tensor, to: Tensor) -> Tensor:
    return F.interpolate(x, size=to.shape[-2:], mode="bilinear")
