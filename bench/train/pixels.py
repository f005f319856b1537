"""A training set's pixels in the store: decoded once, mapped by every worker of every study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from bench.data.degrade import find_degradation
from bench.data.mapped import Mapped, read_mapped, write_mapped
from bench.data.pairs import Pair, fingerprint_of, list_pairs, load_pairs, pair_digests
from bench.errors import BenchError
from bench.records.digest import code_digest
from bench.records.store import Store, content_key


@cache
def pixels_digest(degradation: str) -> str:
    """Returns a hash of the code that reads pictures, makes LR from HR and lays both down."""
    made_by = find_degradation(degradation)
    return code_digest(Pair, write_mapped, *([made_by] if made_by else []))


@dataclass(frozen=True)
class Source:
    """A training set at one scale, by the content of its files; nothing is decoded yet."""

    dataset: str
    scale: int
    degradation: str
    fingerprint: str
    """Of the files and of how LR is made of them."""
    hr_key: str
    """Of the originals' pixels: the same at every scale and under every degradation."""
    lr_key: str

    def is_in(self, store: Store) -> bool:
        """Whether nothing has to be decoded."""
        return store.has("pixels", self.hr_key) and store.has("pixels", self.lr_key)


def find_source(dataset: str, scale: int, degradation: str) -> Source:
    """Returns a set's source. Raises BenchError as `list_pairs`."""
    pairs = list_pairs(dataset, scale, degradation)
    files = pair_digests(pairs)
    originals = [[p.stem, files[p.hr_path] if p.hr_path else "", p.side] for p in pairs]
    hr_key = lr_key = content_key({"hr": originals, "code": pixels_digest("none")})
    published = any(pair.lr_path for pair in pairs)
    if degradation != "none" or published:
        # the exposure ratio of raw files follows from the names of both
        names = [[p.lr_path and p.lr_path.name, p.hr_path and p.hr_path.name] for p in pairs]
        lr_key = content_key(
            {
                "of": hr_key,
                "files": [files[p.lr_path] if p.lr_path else "" for p in pairs],
                "names": names if published and pairs[0].camera else [],
                "degradation": degradation,
                "scale": scale,
                "code": pixels_digest(degradation),
            }
        )
    fingerprint = fingerprint_of(pairs, files)
    return Source(dataset, scale, degradation, fingerprint, hr_key, lr_key)


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
            _decode(source, store)
    hr = read_mapped(store.entry("pixels", first.hr_key))
    lr = {source.scale: read_mapped(store.entry("pixels", source.lr_key)) for source in sources}
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


def _decode(source: Source, store: Store) -> None:
    """Fills the store. Raises BenchError with a line for each file whose header is wrong."""
    pairs = load_pairs(source.dataset, source.scale, source.degradation)
    keep(store, source.hr_key, partial(_write_originals, pairs))
    if source.lr_key != source.hr_key:
        stems = [pair.stem for pair in pairs]
        keep(
            store,
            source.lr_key,
            lambda folder: write_mapped(folder, (pair.input() for pair in pairs), stems),
        )


def _write_originals(pairs: Sequence[Pair], folder: Path) -> None:
    """Equal files once: a long exposure stands for up to 15 short ones."""
    files = pair_digests(pairs)
    contents = [files[pair.hr_path] if pair.hr_path else "" for pair in pairs]
    firsts: dict[str, Pair] = {}
    for content, pair in zip(contents, pairs, strict=True):
        firsts.setdefault(content, pair)
    number = {content: i for i, content in enumerate(firsts)}
    images = (pair.original() for pair in firsts.values())
    which = [number[content] for content in contents]
    write_mapped(folder, images, [pair.stem for pair in pairs], which)
