"""What a home holds that no record names: found, measured, removed."""

import contextlib
import fcntl
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from bench.errors import BenchError
from bench.records.cell import load_cells
from bench.records.place import Place, lock_holder, one_at_a_time
from bench.records.shelf import page_holder, shelf, shelf_entries
from bench.records.store import Kind

KEY = re.compile(r"[0-9a-f]{20}")
"""The name of an entry, from `content_key`. What is called otherwise is not ours."""


def clean(home: Path, dry_run: bool) -> dict[str, Any]:
    """Removes what no record names and what was left unfinished; returns counts and bytes by kind.

    Records, both databases, artifacts and scores stay, and so does every file that bench has not
    written, and what the page keeps while it is open. dry_run: removes nothing and returns the
    same. Raises BenchError while a study is being swept: its stages are not yet in records.
    """
    if not home.is_dir():
        raise BenchError(f"{home}: no such folder. Nothing has been recorded here.")
    with one_at_a_time(home):  # a sweep that begins now waits for the end
        _refuse_while_swept(home)
        removed = {}
        for kind, paths in _left_over(home).items():
            sizes = [size for path in paths if (size := _remove(home, path, dry_run)) is not None]
            removed[kind] = {"count": len(sizes), "bytes": sum(sizes)}
        scores = home / "store" / "scores.db"
        stages = list((home / "store" / "stages").glob("*"))
        left = removed["stages"]["count"] if dry_run else 0
        return {
            "home": str(home),
            "dry_run": dry_run,
            "removed": removed,
            "bytes": sum(row["bytes"] for row in removed.values()),
            "kept": {
                "stages": len(stages) - left,
                "scores_bytes": scores.stat().st_size if scores.is_file() else 0,
            },
        }


def clean_text(found: dict[str, Any]) -> str:
    """Returns what was removed, for people."""
    verb = "would be removed" if found["dry_run"] else "removed"
    lines = [
        f"{kind:<10} {row['count']:>7}  {_bytes(row['bytes']):>9}"
        for kind, row in found["removed"].items()
        if row["count"]
    ]
    lines.append(f"{found['home']}: {_bytes(found['bytes'])} {verb}")
    kept = found["kept"]
    lines.append(
        f"kept: {kept['stages']} stages, {_bytes(kept['scores_bytes'])} of stored scores, all "
        "records, MLflow, Optuna, artifacts"
    )
    return "\n".join(lines)


def _remove(home: Path, path: Path, dry_run: bool) -> int | None:
    """Removes a file or folder; returns its bytes, or None if somebody works on it."""
    with _free(home, path) as free:
        if not free:
            return None
        size = _size(path)
        if not dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return size


def _refuse_while_swept(home: Path) -> None:
    for folder in sorted((home / "studies").glob("*")):
        holder, _ = lock_holder(place := Place(home, folder.name))
        if holder:
            raise BenchError(
                f"{folder.name}: is being swept by {holder}, and what it needs is not yet in "
                "records. Clean when it has ended."
            )
        if left := place.jobs_in_slurm():
            raise BenchError(
                f"{folder.name}: jobs in SLURM, of a sweep that was killed: {left}. What they make "
                "is not yet in records. Sweep it again, or cancel them and remove "
                f"{place.slurm}."
            )


def _left_over(home: Path) -> dict[str, list[Path]]:
    """Returns what no record names, by kind."""
    store = home / "store"
    named, pictures, temporary = set[str](), list[Path](), list[Path]()
    for folder in sorted((home / "studies").glob("*")):
        place = Place(home, folder.name)
        cells = load_cells(place.cells)
        named |= {key for cell in cells for key in cell.made}
        for stage in (stage for cell in cells for stage in cell.stages):
            named |= {stage.key, stage.target, *stage.pixels}
        pictures += _pictures(place, {cell.file_name for cell in cells})
        temporary += place.cells.glob("*.tmp")
    entries = {
        kind: [p for p in _folders(store / kind) if KEY.fullmatch(p.name) and p.name not in named]
        for kind in get_args(Kind)
    }
    return {
        **entries,
        "unfinished": [p for p in _folders(store / "unfinished") if _of_entry(p)],
        "half": [p for p in _folders(store) if p.name.startswith("building-")] + temporary,
        "pictures": pictures,
        "locks": [p for p in (store / "locks").glob("*") if _of_entry(p)],
        "page": shelf_entries(home),
    }


def _pictures(place: Place, recorded: set[str]) -> list[Path]:
    """Restored and sample pictures of trials without a record; originals that nothing is left
    to be compared with."""
    folders = place.pictures_of_trials()
    kept = [p for p in folders if p.name in recorded]
    lost = [p for p in folders if p not in kept and (p.name != "reference" or not kept)]
    return lost + [p for p in _folders(place.samples) if p.name not in recorded]


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.is_dir() and not path.is_symlink()]


def _of_entry(path: Path) -> bool:
    """Whether a name is "stages-KEY" or that of another kind of entry."""
    kind, _, key = path.name.partition("-")
    return kind in get_args(Kind) and KEY.fullmatch(key) is not None


@contextlib.contextmanager
def _free(home: Path, path: Path) -> Iterator[bool]:
    """Whether nobody works on an entry of the store, who is then kept from beginning to, or shows
    one of the page's."""
    if path.is_relative_to(shelf(home)):
        yield not page_holder(home)
        return
    kind, key = path.parent.name, path.name
    if kind in ("unfinished", "locks"):
        kind, _, key = path.name.partition("-")
    lock = home / "store" / "locks" / f"{kind}-{key}"
    if kind not in get_args(Kind) or not lock.is_file():
        yield True
        return
    with open(lock, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _size(path: Path) -> int:
    files: Sequence[Path] = list(path.rglob("*")) if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _bytes(count: int) -> str:
    """Returns a size for people.

    >>> _bytes(512), _bytes(1_500_000), _bytes(2_340_000_000)
    ('512 B', '1.5 MB', '2.3 GB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
