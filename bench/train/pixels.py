"""A training set's pixels in the store: decoded once, mapped by every worker of every study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from bench.data import sets
from bench.data.mapped import Mapped, read_mapped, write_mapped
from bench.errors import BenchError
from bench.records.store import Store, content_key


def pixels_digest(degradation: str) -> str:
    """Returns a hash of the code that makes the pixels: decoding, and the degradation."""
    return "1"


@dataclass(frozen=True)
class Source:
    """A training set at one scale, known by its files alone; nothing is decoded yet."""

    dataset: str
    scale: int
    degradation: str

    @cached_property
    def pairs(self) -> list[sets.Pair]:
        """Raises BenchError as `list_pairs`."""
        return sets.list_pairs(self.dataset, self.scale, self.degradation)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the files and of how LR is made of them."""
        return sets.fingerprint_of(self.pairs)

    @cached_property
    def hr_key(self) -> str:
        """Of the originals: the same at every scale and under every degradation."""
        files = sets.pair_digests(self.pairs)
        images = [
            [pair.stem, files[pair.hr_path] if pair.hr_path else "", pair.side]
            for pair in self.pairs
        ]
        return content_key({"hr": images, "code": pixels_digest("none")})

    @cached_property
    def lr_key(self) -> str:
        if self.is_original:
            return self.hr_key
        files = sets.pair_digests(self.pairs)
        images = [
            # the exposure ratio of raw files follows from the names of both
            [pair.lr_path.name, pair.hr_path.name, files[pair.lr_path]]
            if pair.lr_path and pair.hr_path and pair.camera
            else files[pair.lr_path] if pair.lr_path else ""
            for pair in self.pairs
        ]  # fmt: skip
        made = {"degradation": self.degradation, "scale": self.scale}
        code = pixels_digest(self.degradation)
        return content_key({"lr": images, **made, "of": self.hr_key, "code": code})

    @property
    def is_original(self) -> bool:
        """Whether LR is HR."""
        return self.degradation == "none" and all(pair.lr_path is None for pair in self.pairs)

    def is_in(self, store: Store) -> bool:
        """Whether nothing has to be decoded."""
        return store.has("pixels", self.hr_key) and store.has("pixels", self.lr_key)


@dataclass(frozen=True)
class TrainingPixels:
    """The images of a training set."""

    lr: dict[int, Mapped]
    """Scale -> LR of each pair."""
    hr: Mapped
    """HR of each pair, whole: the part that LR shows begins at its upper left corner."""
    key: str
    """Names all of them."""


def open_pixels(sources: Sequence[Source], store: Store) -> TrainingPixels:
    """Returns the images of one set at one or several scales, decoding what the store lacks.

    Raises BenchError for files that cannot be trained on, and for scales of different images.
    """
    first = sources[0]
    for source in sources:
        if source.hr_key != first.hr_key:
            raise BenchError(
                f"{source.dataset}: has other images at scale {source.scale} than at "
                f"{first.scale}. Train at scales of which all images are there."
            )
        if not source.is_in(store):
            sets.check_headers(source.pairs)
    hr = read_mapped(keep(store, first.hr_key, partial(_write_originals, first.pairs)))
    lr: dict[int, Mapped] = {}
    for source in sources:
        lr[source.scale] = read_mapped(keep(store, source.lr_key, partial(_write_lr, source)))
    return TrainingPixels(lr, hr, content_key({"lr": [s.lr_key for s in sources]}))


def stored_sides(source: Source, store: Store) -> dict[str, int] | None:
    """Returns each image's shorter side in HR pixels, as far as LR shows it, without opening a file
    of the set; None if its pixels are not in the store."""
    if not (store.root / "pixels").is_dir() or not source.is_in(store):
        return None
    lr = read_mapped(store.entry("pixels", source.lr_key))
    sides = source.scale * np.minimum(lr.height, lr.width)
    return dict(zip(lr.stems.tolist(), sides.tolist(), strict=True))


def keep(store: Store, key: str, write: Callable[[Path], None]) -> Path:
    """Returns the folder of that key among the pixels, filled by one process alone."""
    if not store.has("pixels", key):
        with store.lock("pixels", key, lambda holder: None):
            if not store.has("pixels", key):  # another process may have been first
                store.commit("pixels", key, write)
    return store.entry("pixels", key)


def _write_originals(pairs: Sequence[sets.Pair], folder: Path) -> None:
    """Equal files once: a long exposure stands for up to 15 short ones."""
    files = sets.pair_digests(pairs)
    contents = [files[pair.hr_path] if pair.hr_path else "" for pair in pairs]
    firsts: dict[str, sets.Pair] = {}
    for content, pair in zip(contents, pairs, strict=True):
        firsts.setdefault(content, pair)
    number = {content: i for i, content in enumerate(firsts)}
    images = (pair.original() for pair in firsts.values())
    which = [number[content] for content in contents]
    write_mapped(folder, images, [pair.stem for pair in pairs], which)


def _write_lr(source: Source, folder: Path) -> None:
    images = (pair.input() for pair in source.pairs)
    write_mapped(folder, images, [pair.stem for pair in source.pairs])
