"""A benchmark: a set at one scale under one degradation, opened once."""

from dataclasses import dataclass, field
from functools import cached_property

from bench.data import sets
from bench.data.images import image_size
from bench.data.pairs import Pair, check_headers, find_pairs, fingerprint_of, pair_digests, sound


@dataclass(frozen=True)
class Benchmark:
    """What a method is measured on. Everything is found by file names; pixels are read later."""

    name: str
    """As a study writes it: a set, a part of one such as "dped_iphone[:300]", a folder."""
    scale: int
    degradation: str
    pairs: tuple[Pair, ...] = field(repr=False)
    """Sorted by stem, as text."""
    official: int
    """Images in the whole set; 0 where nobody states it."""
    source: str
    """Where LR comes from, such as "published LR_x2" or "bicubic"."""
    skipped: tuple[str, ...] = field(default=(), repr=False)
    """A line for each photograph with votes that is listed and cannot be used."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the stems, the bytes of all files and how LR is made."""
        return fingerprint_of(self.pairs, pair_digests(self.pairs))

    @property
    def pixels(self) -> int:
        """How many HR has in all, from the headers; of LR times the scale where there is no HR."""
        return sum(height * width for height, width in map(_size, self.pairs))

    @property
    def partial(self) -> bool:
        """Whether it lacks images of the whole set."""
        return len(self.pairs) < self.official


def _size(pair: Pair) -> tuple[int, int]:
    if pair.has_hr:
        return pair.hr_size()
    assert pair.lr_path is not None
    height, width = image_size(pair.lr_path)
    return pair.scale * height, pair.scale * width


def open_benchmark(
    name: str, scale: int, degradation: str = "bicubic", limit: int | None = None
) -> Benchmark:
    """Returns a benchmark whose files and headers are sound; `limit`: its first images alone.

    Published LR files are used where the degradation is "bicubic", which is how they were made, or
    "unknown"; for any other LR is made from HR. Raises BenchError with a line for every orphan,
    file of wrong size or unreadable header, for what the set does not have, and for a set that is
    not on this machine.
    """
    found = find_pairs(name, scale, degradation)
    pairs = check_headers(sound(found)[:limit])
    entry, path = sets.dataset(name), pairs[0].lr_path
    source = degradation
    if path is not None:
        place = sets.find(entry)
        assert place is not None
        source = f"published {path.parent.relative_to(place.folder)}"
    official = entry.official or found.whole or (len(found.pairs) if limit else 0)
    return Benchmark(name, scale, degradation, tuple(pairs), official, source, tuple(found.skipped))
