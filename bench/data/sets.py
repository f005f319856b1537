"""Benchmark sets on this machine: what a name stands for, and where a set lies.

What the sets are stands in bench/data/catalog.py.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.data.catalog import COMMON, DATASETS, FLAT, Dataset, Layout
from bench.data.images import folder_entries, is_image
from bench.data.roots import data_root, named_path
from bench.errors import BenchError, nearest, unknown

_SLICE = re.compile(r"(?P<name>.+)\[(?P<begin>\d*):(?P<end>\d*)\]")


def split_slice(name: str) -> tuple[str, slice]:
    """Returns the set's name and the part of its pairs that is meant, sorted by stem.

    >>> split_slice("dped_iphone[:300]"), split_slice("set5")
    (('dped_iphone', slice(None, 300, None)), ('set5', slice(None, None, None)))
    """
    if (found := _SLICE.fullmatch(name)) is None:
        return name, slice(None)
    begin, end = (int(found[part]) if found[part] else None for part in ("begin", "end"))
    return found["name"], slice(begin, end)


def dataset(name: str) -> Dataset:
    """Returns the set of that name; a name with a slash is a folder of the user's own.

    A slice, as in "set14[:5]", leaves the set what it is. Where a relative folder lies, see
    `named_path`. Raises BenchError with the nearest known name.
    """
    name = split_slice(name)[0]
    if "/" in name or name.startswith((".", "~")):
        folder = str(named_path(name))
        return Dataset(name, "a folder", 0, "", "your own", (folder,), (*COMMON, FLAT))
    if name not in DATASETS:
        raise BenchError(unknown("dataset", name, DATASETS) + " A folder needs a slash: ./name.")
    return DATASETS[name]


def missing(name: str) -> str | None:
    """Returns why the set cannot be read on this machine and what to do; None if it can."""
    entry = dataset(name)
    absent = [file for file in entry.files if not packaged_file(file).is_file()]
    if absent:
        return f"{name}: {', '.join(absent)} not found. Install the packages: {entry.home}."
    if not entry.files and find(entry) is None:
        return _where_to_get(entry)
    place = find(entry) if entry.votes else None
    if place is not None and not (place.folder / entry.votes).is_file():
        return f"{name}: no {entry.votes} in {place.folder}. Get it from {entry.home}."
    if entry.camera and importlib.util.find_spec("rawpy") is None:
        return f"{name}: its raw files are read by rawpy. Install it: pip install rawpy."
    return None


def _where_to_get(entry: Dataset) -> str:
    if not entry.home:
        return _what_is_wrong_with(Path(entry.folders[0]), entry)
    what, first = ("file", entry.listing) if entry.camera else ("folder", entry.layouts[0].main)
    paths = " or ".join(str(Path(f) / first.format(scale="K")) for f in entry.folders)
    there = [data_root() / f for f in entry.folders if f != "." and (data_root() / f).is_dir()]
    found = ""
    if not data_root().is_dir():
        found = " There is no such folder."
    elif there and not entry.camera:
        found = (
            f" {there[0]} is there, in no layout that is known: {_held(there[0])} "
            f"`bench data check {entry.name}` shows the known ones."
        )
    return (
        f"{entry.name}: no {what} {paths} below {data_root().absolute()} ($BENCH_DATA).{found} "
        f"Get it from {entry.home} ({entry.licence})."
    )


def _what_is_wrong_with(folder: Path, entry: Dataset) -> str:
    """Why a folder of the user's own is no set."""
    if folder.is_dir():
        wanted = dict.fromkeys(layout.main.format(scale="K") for layout in entry.layouts[:-1])
        return (
            f"{folder}: no pictures in it, nor one of the folders {', '.join(wanted)}: "
            f"{_held(folder)}"
        )
    if folder.exists():
        return f"{folder}: is a file. Name the folder that it lies in."
    beside = folder.parent.iterdir() if os.access(folder.parent, os.R_OK) else ()
    near = nearest(folder.name, [path.name for path in beside if path.is_dir()])
    return f"{folder}: no such folder." + (f" Did you mean {folder.parent / near}?" if near else "")


def _held(folder: Path) -> str:
    names = [path.name for path in folder_entries(folder)]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"it holds {', '.join(names[:4])}{more}." if names else "it is empty."


class Place(NamedTuple):
    """Where a set lies."""

    folder: Path
    layouts: tuple[Layout, ...]
    """Those whose folders are there; empty for a camera."""

    def used(self) -> list[Layout]:
        """Returns those that share the first one's HR folder: alternatives for LR alone."""
        return [layout for layout in self.layouts if layout.hr == self.layouts[0].hr]


def find(entry: Dataset) -> Place | None:
    """Returns where a set lies, if it does; nothing is read but the names of folders."""
    return next(places(entry), None)


def places(entry: Dataset) -> Iterator[Place]:
    """Yields each place where the set could be read from; the first counts."""
    for name in entry.folders:
        folder = data_root() / name
        if entry.camera and (folder / entry.listing).is_file():
            yield Place(folder, ())
        present = tuple(layout for layout in entry.layouts if _is_there(folder, layout))
        if present:
            yield Place(folder, present)


def _is_there(folder: Path, layout: Layout) -> bool:
    if layout.hr == ".":  # every folder is one: there have to be pictures
        return folder.is_dir() and any(map(is_image, folder_entries(folder)))
    if "{" in layout.main:
        return any(path.is_dir() for path in folder.glob(layout.main.format(scale="*")))
    return (folder / layout.main).is_dir()


def packaged_file(file: str) -> Path:
    """Path of "package/path" without importing the package; a path that is not there if absent."""
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / rest if places else Path(file)
