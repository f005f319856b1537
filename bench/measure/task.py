"""What is scored: a restored picture and its original, in memory or in files."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.data.pixels import Image, Input
from bench.measure.scores import ScoreStore

Digests = tuple[str, str]
"""Of the restored picture's pixels, and of its original's; "" without one."""


class Task(Protocol):
    """A restored picture and its original, which are compared. It goes to other processes."""

    @property
    def stem(self) -> str: ...

    @property
    def held(self) -> int:
        """Bytes of pixels that it keeps in memory."""
        ...

    def read(self) -> tuple[Image, Image | None]:
        """Returns (SR, HR). Raises BenchError for a file that is broken."""
        ...

    def digests(self, store: ScoreStore) -> Digests | None:
        """Returns what `digests_of` would, if that is known without decoding a file."""
        ...

    def remember(self, store: ScoreStore, digests: Digests) -> None:
        """Notes the digests of files, so that they need not be decoded to be looked up."""
        ...


@dataclass(frozen=True)
class Restored:
    """A restored picture that is still in memory."""

    stem: str
    lr: Input
    sr: Image
    hr: Image | None

    @property
    def held(self) -> int:
        return sum(image.nbytes for image in (self.lr, self.sr, self.hr) if image is not None)

    def read(self) -> tuple[Image, Image | None]:
        return self.sr, self.hr

    def digests(self, store: ScoreStore) -> Digests:
        return digests_of(self.sr, self.hr)

    def remember(self, store: ScoreStore, digests: Digests) -> None:
        """It is no file."""

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "lr": None}  # LR is not scored: not sent to another process


def digests_of(sr: Image, hr: Image | None) -> Digests:
    """Returns hashes of the pixels, whatever the file they came from."""
    return _digest(sr), "" if hr is None else _digest(hr)


def _digest(image: Image) -> str:
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
