"""From a trained assessor to the marks that it gives to photographs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.pixels import Image
from bench.data.readers import Readers
from bench.errors import NoPicture
from bench.method.contract import Method, to_tensor
from bench.method.precision import ieee_fp32

Marks = NDArray[np.float64]
"""Shares of votes for the marks 1, 2, ...; their sum is 1."""

FEW = 16  # pictures for which starting processes costs more than it saves


class Marker:
    """Marks pictures, each seen alone: `method.side` pixels a side, or as it is."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def marks(self, paths: Sequence[Path]) -> Iterator[Marks | str]:
        """Yields the marks of each picture, in order, or why a file is no picture.

        As many processes read them as torch has threads. Raises NoPicture if what the method gives
        are no shares.
        """
        readers = Readers(torch.get_num_threads() if len(paths) > FEW else 0)
        try:
            for picture in readers.read(paths, self.method.side):
                yield picture if isinstance(picture, str) else self._of(picture)
        finally:
            readers.close()

    @torch.no_grad()
    @ieee_fp32()
    def _of(self, picture: Image) -> Marks:
        device = next(self.method.parameters()).device
        given = self.method(to_tensor(picture, device)).double().cpu().numpy()
        if given.ndim != 2 or len(given) != 1 or not np.isclose(given.sum(), 1, atol=1e-3):
            raise NoPicture(f"{type(self.method).__name__} gave what are no shares of votes")
        marks: Marks = given[0]
        return marks
