"""A convolution that nobody can train: part of a network that only looks at pictures."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrozenConv(nn.Module):
    """A convolution whose weights are buffers of no state dict.

    So no optimizer finds them, `requires_grad_` passes by, and no checkpoint of a method that holds
    them stores them. Gradients reach the picture. The weights are not initialised.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, inputs: int, outputs: int, side: int = 3, stride: int = 1, padding: int = 1
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        weight = torch.empty(outputs, inputs, side, side)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", torch.empty(outputs), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
