"""A study as one file: its records, its report, and the pictures that the report shows.

A ZIP archive with `bench-study.json`, which names every other member with the SHA-256 of its bytes.
Another machine takes the records in and reports from them; weights and data sets are not in it.
"""

import hashlib
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.files import whole
from bench.data.roots import home
from bench.errors import BenchError
from bench.records.cell import Cell, load_records
from bench.records.place import Place, study_lock
from bench.report.render import render
from bench.report.rows import choose_rows
from bench.report.scores import columns_of
from bench.report.strip import make_strips
from bench.study.fields import Study

LIST = "bench-study.json"
FORMAT = 1
MEMBER = re.compile(r"study\.json|cells/[\w-]+-s\d+\.json|(pictures|report)/[^\\\0]+")
"""What may be in an archive; nothing else is taken out of one."""
MOST_BYTES = 2**33
"""Of all members unpacked."""


def export_study(name: str, out: Path | None = None) -> Path:
    """Writes NAME.bench.zip, or `out`; returns its path.

    Raises BenchError for an unknown study, and for a file in the way that is no such archive.
    """
    study, cells, pictures = load_records(name)
    file = out or Path(f"{name}.bench.zip")
    if file.exists() and not _is_archive(file):
        raise BenchError(f"{file}: not an archive of bench. Name another file with --out.")
    place = Place(home(), name)
    members = {"study.json": place.study_file}
    members |= {f"cells/{cell.file_name}.json": _file_of(place, cell) for cell in cells}
    members |= {
        f"pictures/{path.relative_to(pictures).as_posix()}": path
        for path in _shown(study, cells, pictures)
    }
    with tempfile.TemporaryDirectory() as folder:
        render(study, cells, pictures, Path(folder), mixed=True)
        members |= {
            f"report/{path.relative_to(folder).as_posix()}": path
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        _write(file, name, members)
    return file


def _file_of(place: Place, cell: Cell) -> Path:
    return place.cells / f"{cell.file_name}.json"


def _shown(study: Study, cells: list[Cell], pictures: Path) -> Iterator[Path]:
    """The pictures of the strips, so that another machine draws them anew."""
    rows, _ = choose_rows(study, cells)
    strips, _ = make_strips(study, rows, columns_of(study, cells), pictures)
    for strip, _ in strips:
        yield strip.hr.file
        yield from (crop.file for _, line in strip.lines for crop in line)


def _write(file: Path, name: str, members: Mapping[str, Path]) -> None:
    digests = {member: _digest(path.read_bytes()) for member, path in members.items()}
    told = {
        "format": FORMAT, "study": name, "bench": _version(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "files": digests,
    }  # fmt: skip
    with whole(file) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(LIST, json.dumps(told, indent=1))
        for member, path in members.items():
            archive.write(path, member)


def import_study(file: Path) -> tuple[str, int]:
    """Takes the records of an archive into $BENCH_HOME; returns the study's name, and how many
    records are new.

    Records that are here already, byte for byte, stay. Raises BenchError, having written nothing,
    for what is no such archive or is damaged, for another study of the name, for a record that is
    another one here, and while the study is swept.
    """
    with _opened(file) as archive:
        told = _list_of(archive, file)
        members = {name: _read(archive, file, name, digest) for name, digest in told.items()}
    study, cells = _records_of(members, file)
    place = Place(home(), study.name)
    with study_lock(place):
        _refuse_another(place, study, file)
        targets = {
            place.root / n: data for n, data in members.items() if not n.startswith("report/")
        }
        _refuse_other_records(targets, file)
        new = {path: data for path, data in targets.items() if not path.exists()}
        # the study last: without it there is nothing to report from
        for path in sorted(new, key=lambda path: path == place.study_file):
            with whole(path) as target:
                target.write(new[path])
    return study.name, sum(place.root / f"cells/{cell.file_name}.json" in new for cell in cells)


def _refuse_another(place: Place, study: Study, file: Path) -> None:
    if not place.study_file.exists():
        return
    here = Study.model_validate_json(place.study_file.read_bytes())
    if differ := study.differences(here):
        raise BenchError(
            f"{file}: {place.home} has another study called {study.name}, which differs in "
            f"{', '.join(differ)}. Import into another home: BENCH_HOME=FOLDER bench import ..."
        )


def _refuse_other_records(targets: Mapping[Path, bytes], file: Path) -> None:
    cells = [path for path in targets if path.parent.name == "cells" and path.exists()]
    other = [path.name for path in cells if path.read_bytes() != targets[path]]
    if other:
        raise BenchError(
            f"{file}: of these trials there are other records here: {', '.join(sorted(other)[:5])}"
            f"{' and more' if len(other) > 5 else ''}. Import into another home: "
            "BENCH_HOME=FOLDER bench import ..."
        )


def _records_of(members: Mapping[str, bytes], file: Path) -> tuple[Study, list[Cell]]:
    try:
        study = Study.model_validate_json(members["study.json"])
        cells = [
            Cell.model_validate_json(data)
            for name, data in members.items() if name.startswith("cells/")
        ]  # fmt: skip
    except (KeyError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise BenchError(
            f"{file}: its records are not as bench {_version()} keeps them: {why}."
        ) from None
    if strangers := sorted({cell.study for cell in cells} - {study.name}):
        raise BenchError(f"{file}: holds records of {', '.join(strangers)}, not of {study.name}.")
    return study, cells


def _opened(file: Path) -> zipfile.ZipFile:
    if not file.exists():
        raise BenchError(f"{file}: no such file.")
    if not _is_archive(file):
        raise BenchError(f"{file}: not an archive that `bench export` has written.")
    return zipfile.ZipFile(file)


def _is_archive(file: Path) -> bool:
    if not (file.is_file() and zipfile.is_zipfile(file)):
        return False
    with zipfile.ZipFile(file) as archive:
        return LIST in archive.namelist()


def _list_of(archive: zipfile.ZipFile, file: Path) -> dict[str, str]:
    """Member -> digest, of members that may be there, not too large together."""
    try:
        told: dict[str, Any] = json.loads(archive.read(LIST))
        found: dict[str, str] = dict(told["files"])
        made_by = told["format"]
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BenchError(f"{file}: its list cannot be read ({error}).") from None
    if made_by != FORMAT:
        raise BenchError(
            f"{file}: of format {made_by}, written by bench {told.get('bench', 'unknown')}; this "
            f"is {_version()}, which reads format {FORMAT}. Update bench."
        )
    foreign = [n for n in found if not MEMBER.fullmatch(n) or ".." in PurePosixPath(n).parts]
    if foreign:
        raise BenchError(f"{file}: holds what no study has: {', '.join(map(repr, foreign[:3]))}.")
    size = sum(archive.getinfo(n).file_size for n in found if n in archive.namelist())
    if size > MOST_BYTES:
        raise BenchError(f"{file}: {size / 2**30:.0f} GB unpacked, more than {MOST_BYTES >> 30}.")
    return found


def _read(archive: zipfile.ZipFile, file: Path, name: str, digest: str) -> bytes:
    try:
        data = archive.read(name)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BenchError(f"{file}: damaged: {name} cannot be read ({error}).") from None
    if _digest(data) != digest:
        raise BenchError(f"{file}: damaged: {name} is not what its list says. Copy it again.")
    return data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _version() -> str:
    try:
        return version("bench")
    except PackageNotFoundError:
        return "not installed"
