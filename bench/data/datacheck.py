"""Whole sets: what of one lies here and whether it is sound; LR files made and written."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data import raw, sets
from bench.data.alignment import Alignment, alignment
from bench.data.catalog import Dataset
from bench.data.degrade import DEGRADATIONS, find_degradation
from bench.data.images import (
    folder_entries,
    image_files,
    image_kind,
    is_image,
    read_image,
    write_image,
)
from bench.data.pairs import (
    Found,
    Pair,
    find_pairs,
    fingerprint,
    header_problem,
    load_originals,
    published_lr,
)
from bench.errors import BenchError, reason_of, unknown

Key = tuple[int, str]
"""(scale, "bicubic" or "unknown")."""

MADE = (2, 3, 4)
"""Scales that a set without published LR files is looked at."""
AT_ONCE = 1000
"""Files that wait for a thread: those of a set may be 300,000."""
NAMED = 20
"""So many images are named in a note; the others are counted."""


@dataclass(frozen=True)
class Checked:
    """What was found of a set; `dataclasses.asdict` gives what JSON can hold."""

    name: str
    title: str
    official: int
    """Images in the whole set, of a slice at least those that are here; 0: not stated."""
    licence: str
    home: str
    traps: tuple[str, ...]
    missing: str | None = None
    expected: tuple[str, ...] = ()
    """Where a missing set would be found, for each layout that is known."""
    folder: str = ""
    layout: str = ""
    here: int = 0
    lr: tuple[tuple[str, str, str], ...] = ()
    """(such as "x4" or "x4 unknown", where LR comes from, fingerprint or "")."""
    aligned: Alignment | None = None
    """Of pairs that were photographed, or given, at one size: how well they lie on each other."""
    problems: tuple[str, ...] = ()
    """What load_pairs refuses, or what makes its numbers wrong; a line each."""
    notes: tuple[str, ...] = ()
    """What is as it should be, but good to know; a line each."""

    @property
    def count(self) -> str:
        """Such as "100/100 images" or "30/100 images, PARTIAL"."""
        if not self.official:
            return f"{self.here} images" + (", of how many is not stated" if self.home else "")
        partial = ", PARTIAL" if self.here < self.official else ""
        return f"{self.here}/{self.official} images{partial}"


class _File(NamedTuple):
    """What a file turned out to be when all of it was read."""

    problem: str | None
    kind: str = ""
    mode: str = ""
    content: str = ""
    """A hash of size and pixels."""
    colour: tuple[int, ...] = ()
    """Of an image in which all pixels are equal."""
    black: tuple[int, ...] = ()
    """The black levels that a raw file states."""


def check_set(name: str, scale: int | None = None, workers: int = 2) -> Checked:
    """Returns what there is of a set and everything that is wrong with it; decodes every file.

    name: a set, or a folder of the user's own. scale: only this one; None looks at all scales of
    which there are LR files, and at x2, x3 and x4. workers: threads, each with one image in memory.
    Raises BenchError for an unknown name; all else that is wrong is in the result.
    """
    entry = sets.dataset(name)
    facts = Checked(name, entry.title, entry.official, entry.licence, entry.home, entry.traps)
    if why := sets.missing(name):
        return replace(facts, missing=why, expected=tuple(_expected(entry)))
    place = sets.find(entry)
    found: dict[Key, Found] = {}
    problems: list[str] = []
    for key in _examined(name, entry, place, scale):
        try:
            found[key] = find_pairs(name, *key)
        except BenchError as error:
            problems += str(error).splitlines()
    files = _read_files([pair for one in found.values() for pair in one.pairs], workers)
    refused = {key: _refused(one, files) for key, one in found.items()}
    problems += [text for lines in refused.values() for text in lines]
    problems += [text for one in found.values() for text in one.skipped]
    problems += [text for one in found.values() for text in _same_content(one.pairs, files)]
    here = max((len(one.pairs) for one in found.values()), default=0)
    if entry.official and here > entry.official:
        problems.append(f"{here} images, but the whole set has {entry.official}.")
    return replace(
        facts,
        official=entry.official or max((one.whole for one in found.values()), default=0),
        folder=str(place.folder) if place else "installed packages",
        layout=_layout(entry, place),
        here=here,
        lr=tuple(
            (*_lr_source(key, found[key], place), "" if lines else fingerprint(name, *key))
            for key, lines in refused.items()
        ),
        aligned=_aligned([one for key, one in found.items() if not refused[key]]),
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(_notes(entry, place, list(found.values()), files)),
    )


def check_text(checked: Checked) -> str:
    """Returns what was found of a set for people, problems last."""
    lines = [f"{checked.name}: {checked.title}, {'MISSING' if checked.missing else checked.count}"]
    rows = [("missing", checked.missing), *(("expected", text) for text in checked.expected)]
    rows += [("folder", checked.folder), ("layout", checked.layout)]
    rows += [(kind, f"{lr} {mark and f'({mark})'}".strip()) for kind, lr, mark in checked.lr]
    rows += [("aligned", str(checked.aligned or ""))]
    rows += [("licence", checked.licence), ("home", checked.home)]
    rows += [("trap", text) for text in checked.traps]
    rows += [("note", text) for text in checked.notes]
    rows += [("PROBLEM", text) for text in checked.problems]
    lines += [f"  {key:<10} {text}" for key, text in rows if text]
    return "\n".join(lines)


def _examined(name: str, entry: Dataset, place: sets.Place | None, scale: int | None) -> list[Key]:
    """What to look at: what is published, and what would be made; bicubic first."""
    published = published_lr(name)
    if scale is not None:
        return [(scale, "bicubic"), *(key for key in published if key == (scale, "unknown"))]
    if entry.scale is not None:
        return [(entry.scale, "bicubic")]
    made = [(s, "bicubic") for s in MADE if place is None or _has_originals(place, s)]
    return sorted({*published, *made}, key=lambda key: key[::-1]) or [(MADE[-1], "bicubic")]


def _has_originals(place: sets.Place, scale: int) -> bool:
    hr = place.used()[0].hr
    return hr is not None and (place.folder / hr.format(scale=scale)).is_dir()


def _expected(entry: Dataset) -> list[str]:
    """The layouts in the first folder; `missing` names the other folders."""
    names = [str(layout) for layout in entry.layouts]
    if entry.camera:
        maker = entry.camera.title()
        names = [f"{entry.listing} + {maker}/short/NAME.* + {maker}/long/NAME.*"]
    return [str(Path(entry.folders[0]) / name) for name in names]


def _layout(entry: Dataset, place: sets.Place | None) -> str:
    if place is None:
        return ""
    return entry.listing if entry.camera else str(place.used()[0])


def _lr_source(key: Key, found: Found, place: sets.Place | None) -> tuple[str, str]:
    scale, track = key
    kind = f"x{scale}" + ("" if track == "bicubic" else f" {track}")
    lr = [pair.lr_path for pair in found.pairs if pair.lr_path is not None]
    if lr and place:
        return kind, f"published {_short(lr[0].parent, place)}, {len(lr)} files"
    return kind, f"made from HR by {track}"


def _refused(found: Found, files: Mapping[Path, _File]) -> list[str]:
    """Why the pairs cannot be loaded, or not be read."""
    pairs = found.pairs
    paths = [path for pair in pairs for path in (pair.hr_path, pair.lr_path) if path is not None]
    lines = [*found.problems, *(_pair_problem(pair) for pair in pairs)]
    lines += [files[path].problem for path in paths]
    return [text for text in lines if text]


def _pair_problem(pair: Pair) -> str | None:
    if pair.camera is None:
        return header_problem(pair)
    try:
        pair.hr_size()
    except BenchError as error:
        return str(error)
    return None


def _read_files(pairs: Iterable[Pair], workers: int) -> dict[Path, _File]:
    """Decodes every file once. An image lives no longer than its thread looks at it."""
    cameras = {path: pair.camera for pair in pairs for path in (pair.hr_path, pair.lr_path) if path}
    paths = list(cameras)
    files: dict[Path, _File] = {}
    with ThreadPoolExecutor(workers) as threads:
        for first in range(0, len(paths), AT_ONCE):
            some = paths[first : first + AT_ONCE]
            read = threads.map(_read_file, some, [cameras[path] for path in some])
            files.update(zip(some, read, strict=True))
    return files


def _read_file(path: Path, camera: raw.Camera | None) -> _File:
    pixels: NDArray[np.unsignedinteger[Any]]
    try:
        if camera is not None:
            pixels, (kind, mode) = raw.read_mosaic(path, camera), ("raw", "")
            black = tuple(sorted(set(raw.black_levels(path, camera))))
        else:
            pixels, (kind, mode), black = read_image(path), image_kind(path), ()
    except BenchError as error:
        return _File(str(error))
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(str(pixels.shape).encode())
    first = pixels[0, 0]
    flat = bool((pixels == first).all())
    colour = tuple(int(value) for value in np.atleast_1d(first)) if flat else ()
    return _File(None, kind, mode, digest.hexdigest(), colour, black)


def _aligned(found: Iterable[Found]) -> Alignment | None:
    """Of LR files as large as HR. Raw files are of another size, and LR made from HR lies on it."""
    photographed = [p for one in found for p in one.pairs if p.scale == 1 and p.lr_path]
    return alignment([p for p in photographed if p.camera is None])


def _same_content(pairs: Sequence[Pair], files: Mapping[Path, _File]) -> list[str]:
    """Files with equal pixels, and LR files that are their HR. Flat images do not count."""
    problems = []
    for paths in ([p.hr_path for p in pairs], [p.lr_path for p in pairs]):
        seen: dict[str, Path] = {}
        for path in dict.fromkeys(filter(None, paths)):
            file = files[path]
            if file.problem or file.colour:
                continue
            first = seen.setdefault(file.content, path)
            if first != path:
                problems.append(f"{path}: the same pixels as {first.name}.")
    for pair in pairs:
        if pair.hr_path and pair.lr_path and not files[pair.hr_path].colour:
            content = files[pair.hr_path].content
            if content and content == files[pair.lr_path].content:
                problems.append(f"{pair.lr_path}: the same pixels as its HR, {pair.hr_path}.")
    return problems


def _notes(
    entry: Dataset,
    place: sets.Place | None,
    found: Sequence[Found],
    files: Mapping[Path, _File],
) -> Iterator[str]:
    pairs = [pair for one in found for pair in one.pairs]
    if left_out := max((one.left_out for one in found), default=0):
        yield f"{left_out} pairs of the scenes {', '.join(entry.exclude)} are left out."
    for kind, count in sorted(Counter(file.kind for file in files.values()).items()):
        if kind not in ("", "PNG", "raw"):
            yield f"{kind} files: {count}."
    for modes, what in ((("L", "1"), "single channel"), (("P",), "palette")):
        if names := [_short(path, place) for path, file in files.items() if file.mode in modes]:
            yield f"{what}: {_named(names)}."
    for levels, count in Counter(file.black for file in files.values() if file.black).items():
        black = raw.CAMERAS[entry.camera].black
        if levels != (black,):
            stated = ", ".join(map(str, levels))
            yield f"{count} files state black level {stated}; as published {black} is subtracted."
    flat = {
        p.stem: p for p in pairs if p.hr_path and p.lr_path and _equal(p.hr_path, p.lr_path, files)
    }
    if flat:
        yield f"one colour, in LR as in HR, so that PSNR can be infinite: {_named([*flat])}."
    if place is not None:
        yield from _unused(entry, place, files)


def _equal(hr: Path, lr: Path, files: Mapping[Path, _File]) -> bool:
    return bool(files[hr].colour) and files[hr].colour == files[lr].colour


def _unused(entry: Dataset, place: sets.Place, files: Mapping[Path, _File]) -> Iterator[str]:
    """Other layouts and folders that are here, and what lies among the images."""
    used = place.used()
    for layout in place.layouts:
        if layout not in used:
            yield f"also here, not used: {place.folder / str(layout)}."
    for other in list(sets.places(entry))[1:]:
        yield f"also here, not used: {other.folder}."
    for folder in [] if entry.camera else sorted({path.parent for path in files}):
        inside = [p for p in folder_entries(folder) if p not in files and p.name[0] != "."]
        others = [p.name for p in inside if not is_image(p) and not _leads_to(p, files)]
        if others:
            yield f"{folder}: not read: {_named(others)}."
        if used and used[0].mixed and (count := sum(map(is_image, inside))):
            yield f"{folder}: {count} images of other names, not of the set."


def _leads_to(folder: Path, files: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for path in files)


def _short(path: Path, place: sets.Place | None) -> str:
    return path.name if place is None else str(path.relative_to(place.folder))


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


class Degraded(NamedTuple):
    """What `degrade_set` did."""

    folder: Path
    written: int
    kept: int
    """Files that were there already, with the same pixels."""


def degrade_set(source: str, scale: int, out: Path, degradation: str = "bicubic") -> Degraded:
    """Writes an 8-bit PNG LR file of each HR file of a set, or of a folder, under the same stem.

    LR is made from the part of HR that the scale divides; published LR files are not looked at.
    Each file is there whole or not at all. Raises BenchError before the first one is written where
    one of them would replace another picture, and for what `load_pairs` refuses.
    """
    if find_degradation(degradation) is None:
        raise BenchError(unknown("degradation", degradation, DEGRADATIONS))
    pairs = load_originals(source, scale, degradation)
    if out.resolve() in {p.hr_path.parent.resolve() for p in pairs if p.hr_path}:
        raise BenchError(f"{out}: holds the HR files of {source}. Choose another folder.")
    there = _stored(out)
    differing = [there[p.stem] for p in pairs if p.stem in there and not _holds(there[p.stem], p)]
    if differing:
        lines = [f"{path}: there already, with other pixels." for path in differing]
        raise BenchError("\n".join([*lines, "Remove these files, or choose another folder."]))
    new = [pair for pair in pairs if pair.stem not in there]
    for pair in new:
        try:
            write_image(out / f"{pair.stem}.png", np.asarray(pair.lr(), np.uint8))
        except OSError as error:
            raise BenchError(f"{out}: cannot be written to: {reason_of(error)}") from None
    return Degraded(out, len(new), len(pairs) - len(new))


def _stored(out: Path) -> dict[str, Path]:
    if not out.is_dir() or not any(map(is_image, folder_entries(out))):
        return {}
    return image_files(out)


def _holds(path: Path, pair: Pair) -> bool:
    try:
        return np.array_equal(read_image(path), pair.lr())
    except BenchError:  # not readable, so it is not this picture
        return False
