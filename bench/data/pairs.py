"""How HR and LR files of a set become pairs, by stem, never by order."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data import raw
from bench.data.catalog import DATASETS, Dataset, Layout
from bench.data.degrade import DEGRADATIONS, find_degradation
from bench.data.files import file_digests
from bench.data.images import image_size, read_image, scan_images
from bench.data.pixels import Image, Input, Samples, as_rgb
from bench.data.sets import Place, dataset, find, missing, packaged_file, split_slice
from bench.data.votes import part_of, read_votes
from bench.errors import BenchError, unknown

LR_SOURCES = (
    *DEGRADATIONS, "bicubic_blur@SIGMA", "jpeg_lanczos:QUALITY", "jpeg_bilinear:QUALITY", "unknown",
)  # fmt: skip
"""What `degradation` may be: a function that makes LR from HR, or DIV2K's unknown track, of which
there are published files alone."""


def is_lr_source(degradation: str) -> bool:
    """Whether LR can come from it."""
    return degradation == "unknown" or find_degradation(degradation) is not None


@dataclass(frozen=True)
class Pair:
    """One image of a set at one scale. Pixels are read when asked for, and not kept."""

    stem: str
    scale: int
    hr_path: Path | None
    """None: the set has no HR files."""
    lr_path: Path | None
    """None: LR is made from HR."""
    degradation: str
    packaged: bool = False
    side: int | None = None
    camera: raw.Camera | None = None
    """Of raw files."""

    @property
    def has_hr(self) -> bool:
        """Whether metrics with a reference can be computed."""
        return self.hr_path is not None

    def hr(self) -> Image:
        """Returns HR uint8, exactly scale times as large as LR: (H, W, 3) RGB or (H, W).

        Raises BenchError where the set has no HR files.
        """
        path = self._hr_path()
        height, width = self.hr_size()
        image = raw.read_long(path, self.camera) if self.camera else self._read(path)
        return np.ascontiguousarray(image[:height, :width])

    def original(self) -> Samples:
        """Returns HR as its file has it, not cut to the scale, for training on: (H, W, 3) RGB,
        uint8, or uint16 of a camera, where `hr` rounds to the 8 bits that are measured."""
        path = self._hr_path()
        return raw.develop(path, self.camera) if self.camera else as_rgb(self._read(path))

    def input(self) -> Samples:
        """Returns LR for training on: (H, W, 3) RGB uint8; of a camera packed, uint16 for [0, 1].

        Raises BenchError if HR is not of LR's size.
        """
        if self.camera is not None:
            self.hr_size()  # opens the headers of both, which is done for no raw file before
        lr = self.lr()
        if lr.dtype == np.uint8:
            return as_rgb(np.asarray(lr, np.uint8))
        levels: Samples = np.rint(lr * np.float32(65535)).astype(np.uint16)
        return levels

    def lr(self) -> Input:
        """Returns LR: uint8 of as many channels as HR; of a camera packed float32 in [0, 1]."""
        if self.lr_path is not None and self.camera is not None:
            return raw.read_short(self.lr_path, self._hr_path(), self.camera)
        if self.lr_path is not None:
            return read_image(self.lr_path)
        seed = zlib.crc32(self.stem.encode())  # each image its own noise, the same in every run
        degrade = find_degradation(self.degradation)
        assert degrade is not None, self.degradation
        return degrade(self.hr(), self.scale, seed)

    def hr_size(self) -> tuple[int, int]:
        """Returns (height, width) of `hr()` from headers alone. Raises BenchError as it does."""
        height, width = self._stored_size(self._hr_path())
        if self.lr_path is None:
            return height // self.scale * self.scale, width // self.scale * self.scale
        low = self._stored_size(self.lr_path)
        if self.camera is not None:
            if low != (height, width):
                raise BenchError(f"{self.lr_path}: not of the size of {self.hr_path}.")
            low = raw.packed_size(self.lr_path, self.camera)
        return self.scale * low[0], self.scale * low[1]

    def _read(self, path: Path) -> Image:
        image = read_image(path)
        return as_rgb(_central(image, self.side)) if self.packaged else image

    def _hr_path(self) -> Path:
        if self.hr_path is None:
            raise BenchError(
                f"{self.lr_path}: there is no HR file for it, so only metrics without a reference "
                "can be computed."
            )
        return self.hr_path

    def _stored_size(self, path: Path) -> tuple[int, int]:
        height, width = raw.raw_size(path, self.camera) if self.camera else image_size(path)
        return min(height, self.side or height), min(width, self.side or width)


@dataclass(frozen=True)
class VotedPair(Pair):
    """A photograph that people have marked."""

    votes: tuple[int, ...] = ()
    """How many gave it 1, 2, ... 10."""


class Found(NamedTuple):
    """A set's pairs by file names alone, and what is wrong with them."""

    pairs: list[Pair]
    """Sorted by stem, as text."""
    problems: list[str]
    """A line for each file that has no partner, or the stem of another."""
    left_out: int = 0
    """Pairs of excluded scenes."""
    whole: int = 0
    """Of a slice: the pairs that the set has here; of a set with votes: the photographs listed."""
    skipped: Sequence[str] = ()
    """Of a set with votes: a line for each photograph that is listed and cannot be used."""


def load_pairs(
    name: str, scale: int, degradation: str = "bicubic", limit: int | None = None
) -> list[Pair]:
    """Returns the set's pairs, sorted by stem as text (10 before 9); the first `limit` of them.

    Published LR files are used where the degradation is "bicubic", which is how they were made, or
    "unknown"; for any other LR is made from HR. Raises BenchError with one line for every orphan,
    file of wrong size or unreadable header, and for what the set does not have.
    """
    return check_headers(list_pairs(name, scale, degradation)[:limit])


def list_pairs(name: str, scale: int, degradation: str = "bicubic") -> list[Pair]:
    """Returns the pairs of `load_pairs` by file names alone: no file is opened."""
    return sound(find_pairs(name, scale, degradation))


def load_originals(name: str, scale: int, degradation: str = "bicubic") -> list[Pair]:
    """Returns pairs whose LR is made from HR, whether there are published LR files or not.

    Raises BenchError as `load_pairs`, and for a set without HR files.
    """
    return check_headers(sound(_find_pairs(name, scale, degradation, track=None)))


def fingerprint(name: str, scale: int, degradation: str = "bicubic") -> str:
    """Returns a hash of the stems, the bytes of all files and how LR is made."""
    pairs = list_pairs(name, scale, degradation)
    return fingerprint_of(pairs, pair_digests(pairs))


def fingerprint_of(pairs: Sequence[Pair], files: Mapping[Path, str]) -> str:
    """Returns the fingerprint of pairs whose files have these digests."""
    digest = hashlib.blake2b(digest_size=8)
    for pair in pairs:
        hr = "-" if pair.hr_path is None else files[pair.hr_path]
        lr = pair.degradation if pair.lr_path is None else files[pair.lr_path]
        digest.update(f"{pair.stem} {hr} {lr} {pair.scale} {pair.side}\n".encode())
        if isinstance(pair, VotedPair):
            digest.update(repr(pair.votes).encode())
    return digest.hexdigest()


def pair_digests(pairs: Sequence[Pair]) -> dict[Path, str]:
    """Returns a hash of the bytes of each file of the pairs."""
    return file_digests(p for pair in pairs for p in (pair.hr_path, pair.lr_path) if p is not None)


def find_pairs(name: str, scale: int, degradation: str = "bicubic") -> Found:
    """Returns all pairs by file names alone, with what is wrong with them.

    Raises BenchError for a set that is missing or empty, and for what it does not have: another
    scale, published LR files of the unknown track.
    """
    track = degradation if degradation in ("bicubic", "unknown") else None
    layouts = dataset(name).layouts
    if degradation == "none" and layouts and all(layout.hr is None for layout in layouts):
        track = "bicubic"  # photographs without HR, which enhancement takes as they are
    return _find_pairs(name, scale, degradation, track)


def published_lr(name: str) -> list[tuple[int, str]]:
    """Returns (scale, "bicubic" or "unknown") of the LR files that lie here, up to scale 16."""
    entry = dataset(name)
    place = find(entry)
    if place is None:
        return []
    if entry.camera and entry.scale:
        return [(entry.scale, "bicubic")]
    tracks = [(scale, track) for track in ("bicubic", "unknown") for scale in range(1, 17)]
    return [(scale, track) for scale, track in tracks if _lr_folder(place, scale, track)]


def header_problem(pair: Pair) -> str | None:
    """Returns what a pair's headers show to be wrong.

    Raw files are not opened, and photographs with votes are not: it takes long.
    """
    if pair.camera is not None or isinstance(pair, VotedPair):
        return None
    try:
        lr = None if pair.lr_path is None else image_size(pair.lr_path)
        if pair.hr_path is None:
            return None
        size = image_size(pair.hr_path)
    except BenchError as error:
        return str(error)
    if lr is None:
        small = min(size) < pair.scale
        return f"{pair.hr_path}: smaller than one LR pixel." if small else None
    # LR is made from the part of HR that the scale divides, so less than one LR pixel may be over
    if all(0 <= h - pair.scale * low < pair.scale for h, low in zip(size, lr, strict=True)):
        return None
    return (
        f"{pair.lr_path}: {lr[1]}x{lr[0]} is not a x{pair.scale} LR of "
        f"{pair.hr_path.name}, {size[1]}x{size[0]}."
    )


def sound(found: Found) -> list[Pair]:
    if found.problems:
        advice = "Pairs are made by file stem: add or remove files."
        raise BenchError("\n".join([*found.problems, advice]))
    return found.pairs


def check_headers(pairs: list[Pair]) -> list[Pair]:
    """Returns the pairs. Raises BenchError with a line for each whose headers are wrong."""
    if problems := [text for pair in pairs if (text := header_problem(pair))]:
        raise BenchError("\n".join(problems))
    return pairs


def _find_pairs(name: str, scale: int, degradation: str, track: str | None) -> Found:
    """track: which published LR files may be used; None: LR is made from HR."""
    entry = dataset(name)
    _check_request(entry, scale, degradation)
    if reason := missing(name):
        raise BenchError(reason)
    place = find(entry)
    if place is None:
        files = {Path(file).stem: packaged_file(file) for file in entry.files}
        pairs = [
            Pair(stem, scale, files[stem], None, degradation, packaged=True, side=entry.side)
            for stem in sorted(files)
        ]
        found = Found(pairs, [])
    elif entry.camera:
        found = _listed_pairs(entry, place.folder, scale, degradation, track)
    else:
        found = _stem_pairs(entry, place, scale, degradation, track)
        found = _voted(entry, place, found) if entry.votes else found
    if (part := split_slice(name)[1]) != slice(None):
        whole = len(found.pairs)
        found = found._replace(pairs=found.pairs[part], whole=whole)
        if not found.pairs:
            raise BenchError(
                f"{name}: no image is left; {entry.name} has {found.whole} here. "
                f"Write {entry.name}[begin:end]."
            )
    if scale == 1 and degradation == "bicubic" and any(p.lr_path is None for p in found.pairs):
        raise BenchError(
            f"{name}: at scale 1 bicubic changes nothing, so LR would be HR. Name a degradation: "
            f"{', '.join(d for d in DEGRADATIONS if d != 'bicubic')}."
        )
    return found


def _check_request(entry: Dataset, scale: int, degradation: str) -> None:
    """Raises BenchError for what the set cannot have, wherever it lies."""
    if not is_lr_source(degradation):
        raise BenchError(unknown("degradation", degradation, LR_SOURCES))
    if scale < 1:
        raise BenchError(f"scale {scale}: it has to be 1 or more.")
    if entry.scale not in (None, scale):
        raise BenchError(
            f"{entry.name}: exists at scale {entry.scale} alone, got {scale}. Ask for scale "
            f"{entry.scale}."
        )
    if degradation == "none" and scale != 1:
        raise BenchError(f"degradation 'none' leaves the size as it is: scale 1, got {scale}.")
    if degradation == "unknown" and not _has_unknown(entry):
        others = ", ".join(name for name, other in DATASETS.items() if _has_unknown(other))
        raise BenchError(
            f"{entry.name}: has no LR files of the unknown track, and they cannot be made. "
            f"Sets that have: {others}."
        )


def _has_unknown(entry: Dataset) -> bool:
    return any(layout.track == "unknown" for layout in entry.layouts)


def _stem_pairs(
    entry: Dataset, place: Place, scale: int, degradation: str, track: str | None
) -> Found:
    """HR and LR files whose names are of one stem."""
    layout = place.used()[0]
    published = _lr_folder(place, scale, track) if track else None
    can_be_made = track is None or (track == "bicubic" and entry.scale is None)
    if published is None and not (can_be_made and layout.hr):
        raise BenchError(_no_lr(entry, place, scale, track))
    if layout.hr is None:
        assert published is not None
        lr, strangers, problems = _named(published[1], published[0].lr_stem, scale)
        problems += [f"{path}: not named as the others are." for path in strangers]
        return Found([Pair(s, scale, None, p, degradation) for s, p in lr.items()], problems)
    folder = place.folder / layout.hr.format(scale=scale)
    if not folder.is_dir():
        raise BenchError(
            f"{entry.name}: no folder {folder}, where its HR files for x{scale} would lie."
        )
    hr, _, problems = _named(folder, layout.hr_stem, scale)
    if published is None:
        return Found([Pair(s, scale, p, None, degradation) for s, p in hr.items()], problems)
    lr, lonely = _partners(hr, *published, scale)
    pairs = [Pair(s, scale, p, lr[s], degradation) for s, p in hr.items() if s in lr]
    return Found(pairs, problems + lonely)


def _partners(
    hr: dict[str, Path], layout: Layout, folder: Path, scale: int
) -> tuple[dict[str, Path], list[str]]:
    """(HR stem -> LR file, a line for each file without a partner or to refuse)."""
    lr, strangers, problems = _named(folder, layout.lr_stem, scale)
    hr_folder = next(iter(hr.values())).parent
    for stem, path in hr.items():
        if stem not in lr:
            wanted = layout.lr_stem.format(stem=stem, scale=scale)
            problems.append(f"{path}: no LR file {wanted}.* in {folder}.")
    lonely = [path for stem, path in lr.items() if stem not in hr]
    lonely += [] if layout.mixed else strangers  # others' results may lie there
    problems += [f"{path}: no HR file for it in {hr_folder}." for path in lonely]
    return lr, problems


def _lr_folder(place: Place, scale: int, track: str) -> tuple[Layout, Path] | None:
    """The layout that has published LR files of the scale here, and their folder."""
    for layout in place.used():
        if layout.lr is None or layout.track != track or layout.scale not in (None, scale):
            continue
        folder = place.folder / layout.lr.format(scale=scale)
        name = layout.lr_stem.format(stem="*", scale=scale) + ".*"
        if folder.is_dir() and (not layout.mixed or any(folder.glob(name))):
            return layout, folder
    return None


def _no_lr(entry: Dataset, place: Place, scale: int, track: str | None) -> str:
    if track is None:
        return f"{entry.name}: has no HR files that LR could be made from."
    folders = [
        place.folder / layout.lr.format(scale=scale)
        for layout in entry.layouts
        if layout.lr is not None and layout.track == track and layout.scale in (None, scale)
    ]
    if not folders:
        return f"{entry.name}: has no LR files of scale {scale}, and no HR files to make them from."
    return (
        f"{entry.name}: no folder {folders[0]}; these LR files cannot be made. "
        f"Get them from {entry.home} ({entry.licence})."
    )


def _named(folder: Path, form: str, scale: int) -> tuple[dict[str, Path], list[Path], list[str]]:
    """(stem -> image whose name has the form, images whose name has not, lines to refuse)."""
    files, problems = scan_images(folder)
    head, tail = form.format(stem="\0", scale=scale).split("\0")
    named, strangers = {}, []
    for name, path in files.items():
        if name.startswith(head) and name.endswith(tail) and len(name) > len(head + tail):
            named[name[len(head) : len(name) - len(tail)]] = path
        else:
            strangers.append(path)
    if not named:
        raise BenchError(f"{folder}: no image is named {head}NAME{tail}.")
    return dict(sorted(named.items())), strangers, problems


def _listed_pairs(
    entry: Dataset, folder: Path, scale: int, degradation: str, track: str | None
) -> Found:
    """Short and long exposures as the published list has them; those whose files are here."""
    listing = folder / entry.listing
    pairs: dict[str, Pair] = {}
    problems, left_out = [], 0
    for number, line in enumerate(_lines(listing), start=1):
        if not (fields := line.split()):
            continue
        short, long = folder / fields[0], folder / fields[min(1, len(fields) - 1)]
        if len(fields) < 2:
            problems.append(f"{listing}:{number}: wanted two files, got {line!r}.")
        elif short.stem in pairs:
            problems.append(f"{listing}:{number}: {short.stem} is listed twice.")
        elif not short.is_file():
            continue
        elif not long.is_file():
            problems.append(f"{short}: no long exposure {long} for it.")
        elif short.stem.split("_")[0] in entry.exclude:
            left_out += 1
        else:
            camera = raw.CAMERAS[entry.camera]
            lr = short if track else None
            pairs[short.stem] = Pair(short.stem, scale, long, lr, degradation, camera=camera)
    if not pairs and not problems:
        raise BenchError(f"{listing}: none of the files that it lists is here.")
    return Found([pairs[stem] for stem in sorted(pairs)], problems, left_out)


def _voted(entry: Dataset, place: Place, found: Found) -> Found:
    """The photographs of the set's part that have votes; the listed ones without are named."""
    votes = read_votes(place.folder / entry.votes)
    listed = sorted(stem for stem in votes.of if part_of(stem) == entry.part)
    here = {pair.stem: pair for pair in found.pairs}
    pairs = [VotedPair(**vars(here[stem]), votes=votes.of[stem]) for stem in listed if stem in here]
    folder = place.folder / place.used()[0].main
    skipped = [why for stem, why in votes.refused if not stem or part_of(stem) == entry.part]
    skipped += [
        f"{stem}: no picture of it in {folder.name}." for stem in listed if stem not in here
    ]
    if not pairs:
        raise BenchError(f"{entry.name}: none of the photographs that it lists is in {folder}.")
    return Found(list(pairs), found.problems, whole=len(listed), skipped=skipped)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{file}: not a readable list: {error}.") from None


def _central(image: Image, side: int | None) -> Image:
    """The central part of at most side x side pixels; the odd pixel is lost at the far end."""
    top, left = (max(0, n - (side or n)) // 2 for n in image.shape[:2])
    return image[top : top + (side or image.shape[0]), left : left + (side or image.shape[1])]
