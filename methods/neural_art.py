"""Neural Art: a picture's pixels, moved until a network sees another picture's style in them."""

from functools import cached_property
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.data import sets
from bench.data.catalog import Task
from bench.data.pairs import load_pairs
from bench.errors import BenchError
from bench.method import Method, to_tensor
from methods.networks.vgg import VGG19

CONTENT = "conv4_2"
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
Weight = Annotated[float, Field(ge=0)]


class NeuralArt(Method):
    """Section 2: L-BFGS over the pixels of each picture, beginning with the picture itself.

    style: a set, whose first original is the style: for PRaD's comparison one of the better
    camera's pictures. content, texture: weights of the two losses; their ratio is 1e-3 in the
    paper. iterations: of L-BFGS. features: VGG19's, "published" or "random".

    Nothing is trained, and each picture is a training: minutes for a large one. PRaD names no
    setting, so a row of it stands for these.
    """

    paper = "Gatys et al., Image Style Transfer Using Convolutional Neural Networks, CVPR 2016"
    task: ClassVar[Task] = "enhancement"
    tiny = {"features": "random", "style": "photos_val", "iterations": 2}
    stride = 16  # four poolings
    halo = None  # the style is the whole picture's

    def __init__(
        self,
        *,
        style: str = "dped_iphone_train",
        content: Weight = 1.0,
        texture: Weight = 1e3,
        iterations: Annotated[int, Field(ge=1)] = 300,
        features: Literal["published", "random"] = "published",
    ) -> None:
        super().__init__()
        if why := sets.missing(style):
            raise BenchError(f"the style's set {why}")
        self.network = VGG19([CONTENT, *STYLE], features, "caffe")
        self.style, self.iterations = style, iterations
        self.content, self.texture = content, texture
        if features == "random":
            self.remarks = ("untrained features: the style is what a random VGG19 sees",)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns pictures `(N, 3, H, W)`, not clipped, for RGB `(N, 3, H, W)` in [0, 1], sides
        multiples of 16."""
        return torch.cat([self._painted(image[None].float()) for image in lr])

    @cached_property
    def _style(self) -> Tensor:
        (pair,) = load_pairs(self.style, 1, "none", limit=1)
        return to_tensor(pair.hr(), torch.device("cpu"))

    def _painted(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            wanted: Tensor = self.network(image)[CONTENT]
            style = self.network(_middle(self._style.to(image), image.shape[-2:]))
            grams = [gram(style[name]) for name in STYLE]
        made = image.clone(memory_format=torch.contiguous_format).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [made], max_iter=self.iterations, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            seen = self.network(made)
            far = (seen[CONTENT] - wanted).square().sum() / 2
            unlike = [style_loss(seen[n], g) for n, g in zip(STYLE, grams, strict=True)]
            total: Tensor = self.content * far + self.texture * torch.stack(unlike).mean()
            torch.autograd.backward(total)
            return total

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        return made.detach()


def gram(maps: Tensor) -> Tensor:
    """Returns the Gram matrix `(C, C)` of feature maps `(1, C, h, w)`: equation 3, divided by h w,
    so that pictures of two sizes compare."""
    flat = maps[0].flatten(1)
    return flat @ flat.t() / flat.shape[1]


def style_loss(maps: Tensor, wanted: Tensor) -> Tensor:
    """Returns equation 4 of feature maps `(1, C, h, w)` and a Gram matrix `(C, C)`: the sum of
    squared differences over 4 C^2, each Gram matrix divided by h w."""
    return (gram(maps) - wanted).square().sum() / (4 * len(wanted) ** 2)


def _middle(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """The middle of an image, at most of that size."""
    for axis, most in zip((-2, -1), size, strict=True):
        length = min(most, image.shape[axis])
        image = image.narrow(axis, (image.shape[axis] - length) // 2, length)
    return image
