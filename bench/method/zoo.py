"""Networks of other people's files by spandrel, which knows 42 architectures. Its only door."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.errors import BenchError
from bench.method.checkpoints import read_state
from bench.method.contract import Method


class Spandrel(Method):
    """Whatever architecture a file of weights is of: `use: bench.method.zoo.Spandrel` with weights.

    It restores and cannot be trained. The file is read by bench, which runs no code in it; spandrel
    builds the network from the names and shapes of its tensors.
    """

    paper = "chaiNNer's spandrel, github.com/chaiNNer-org/spandrel; the network's is in its remarks"
    halo = None  # spandrel does not say how far a network sees

    def __init__(self, *, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.network = nn.Module()
        self._descriptor: Any = None  # of self.network; no module itself

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Builds the network that a file is of, and returns its state dict.

        Raises BenchError where spandrel is not installed or does not know the file, and for a
        network of another scale or of other than RGB pictures.
        """
        if find_spec("spandrel") is None:
            raise BenchError(
                "bench.method.zoo.Spandrel: the package spandrel is not installed. "
                "Do: pip install 'bench[zoo]'."
            )
        descriptor = _describe(read_state(file), file)
        if descriptor.scale != self.scale:
            raise BenchError(
                f"weights {file}: {descriptor.architecture.name} for scale {descriptor.scale}, "
                f"asked for {self.scale}."
            )
        self._descriptor, self.network = descriptor, descriptor.model
        self.remarks = (f"{file.name} is of the architecture {descriptor.architecture.name}",)
        return self.state_dict()

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for RGB `(N, 3, H, W)` in [0, 1]."""
        if self._descriptor is None:
            raise BenchError("bench.method.zoo.Spandrel: no weights. Give a file.")
        sr: Tensor = self._descriptor(lr)  # pads to what the network takes, and cuts it off
        return sr


def _describe(state: Mapping[str, Tensor], file: Path) -> Any:
    """spandrel's descriptor of a network from RGB to RGB."""
    from spandrel import (  # type: ignore[import-not-found, unused-ignore]  # optional
        ImageModelDescriptor,
        ModelLoader,
        UnsupportedModelError,
    )

    try:
        descriptor = ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except UnsupportedModelError:
        raise BenchError(
            f"weights {file}: spandrel knows no architecture of these {len(state)} tensors: "
            f"{', '.join(list(state)[:3])}, ... Write a method for it."
        ) from None
    if not isinstance(descriptor, ImageModelDescriptor):
        raise BenchError(f"weights {file}: not a network from one picture to another.")
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise BenchError(
            f"weights {file}: from {descriptor.input_channels} channels to "
            f"{descriptor.output_channels}; only RGB to RGB can be measured."
        )
    return descriptor
