"""The folder of a report: what bench wrote there it knows again, and all else it leaves alone.

Beside a report lies a list of its files with the hash of what was written. A file of it that is
still so may be replaced or removed; a new report that would overwrite anything else is refused.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.data.files import whole
from bench.errors import BenchError

LIST = ".bench-report.json"
FIGURES = "figures"
MARKS = {
    "table.md": rb"# STUDY\n(?s:.*)\n## Runs\n",
    "table.tex": rb"% Compiles alone; \\input into a paper ",
    "report.html": rb"<!doctype html>\n(?s:.*?)<title>STUDY</title>(?s:.*)<h2>Runs</h2>",
    "scores.csv": rb"study,method,trial,seed,dataset,scale,image,metric,protocol,value\r?\n"
    rb"(STUDY,|$)",
    "scores.parquet": rb"PAR1(?s:.*)protocol",
    "trials.csv": rb"method,trial,seed,state,reason,.*,run_id,fingerprint\r?\n",
    "references.bib": rb"% What the study STUDY cites; written by bench\.",
    "published.csv": rb"paper,table,series,label,printed,ours,spread,verdict\r?\n",
}
"""How files begin that versions of bench have written that kept no list."""


class ReportFolder:
    """Where the report of one study goes."""

    def __init__(self, out: Path, study: str) -> None:
        """Raises BenchError if `out` is a file, or holds another study's report."""
        self.out, self.study = out, study
        if out.exists() and not out.is_dir():
            raise BenchError(f"{out}: is a file. Name a folder for the report with --out.")
        found = _list_in(out)
        if (owner := found.get("study", study)) != study:
            raise BenchError(
                f"{out}: holds the report of the study {owner!r}. Name another folder for that of "
                f"{study} with --out."
            )
        self.files: dict[str, list[str]] = found.get("files", {})
        """Name -> hashes of what bench has written there, at most the last two."""
        self.unlisted = _of_no_list(out, study) - self.files.keys()

    def check(self, names: Iterable[str]) -> None:
        """Raises BenchError for files in the way of those names that bench did not write."""
        there = [name for name in names if os.path.lexists(self.out / name)]
        foreign = [name for name in there if not (name in self.unlisted or self._is_ours(name))]
        if os.path.lexists(self.out / FIGURES) and not (self.out / FIGURES).is_dir():
            foreign.append(FIGURES)
        if foreign:
            raise BenchError(
                f"{self.out}: not written by bench, or changed since: {', '.join(foreign)}. A "
                "report would overwrite that, and has written nothing. Move it away, or name "
                "another folder with --out."
            )

    @contextlib.contextmanager
    def drafts(self) -> Iterator[Path]:
        """Yields an empty folder that is gone afterwards, on the same file system."""
        self.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bench-report-", dir=self.out) as folder:
            yield Path(folder)

    def take(self, drafts: Path, *, figures: bool) -> dict[str, Path]:
        """Lets the drafts take their places, each at once; returns them by name.

        Before all can, nothing changes. figures: those of the last report that were not made anew
        are removed. What an earlier version of bench wrote is put aside, and the folder that it
        then lies in is returned as "earlier". Raises BenchError as `check`.
        """
        made = {p.relative_to(drafts).as_posix(): p for p in drafts.rglob("*") if p.is_file()}
        self.check(made)
        old = [n for n in {*self.files, *self.unlisted} if n.startswith(FIGURES) and n not in made]
        gone = [name for name in old if figures and self._is_ours(name)]
        aside = sorted(self.unlisted & {*made, *(old if figures else ())})
        # of each file what is there and what will be: cut off between the two, it is still ours
        files = {name: hashes for name, hashes in self.files.items() if name not in gone}
        for name, path in made.items():
            now = [h for h in self.files.get(name, []) if h == _digest(self.out / name)]
            files[name] = [*now, _digest(path)]
        earlier = self._put_aside(aside)
        with whole(self.out / LIST) as file:
            file.write(json.dumps({"study": self.study, "files": files}, indent=1).encode())
        for name, path in made.items():
            (self.out / name).parent.mkdir(exist_ok=True)
            os.replace(path, self.out / name)
        for name in gone:
            (self.out / name).unlink()
        return {name: self.out / name for name in made} | earlier

    def unchanged(self, name: str) -> bytes | None:
        """Returns a file as bench has written it; None where it is not so any more."""
        content = (self.out / name).read_bytes()
        return content if hashlib.sha256(content).hexdigest() in self.files.get(name, ()) else None

    def _is_ours(self, name: str) -> bool:
        return _digest(self.out / name) in self.files.get(name, ())

    def _put_aside(self, names: Sequence[str]) -> dict[str, Path]:
        """Moves files that nobody can tell whether the user has changed."""
        if not names:
            return {}
        folder = self.out / f"earlier-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.out / name, folder / name)
        return {"earlier": folder}


def _list_in(out: Path) -> dict[str, Any]:
    """The list in a folder, empty where there is none that can be read."""
    try:
        found = json.loads((out / LIST).read_bytes())
    except (OSError, ValueError):
        return {}
    sound = isinstance(found, dict) and isinstance(found.get("files"), dict)
    return found if sound else {}


def _of_no_list(out: Path, study: str) -> set[str]:
    """Files of a report that look as versions of bench made them that kept no list: the texts by
    how they begin, the figures by standing bit for bit in the page."""
    name = re.escape(study.encode())
    marks = {file: re.compile(mark.replace(b"STUDY", name)) for file, mark in MARKS.items()}
    texts = {file: path.read_bytes() for file in MARKS if (path := out / file).is_file()}
    ours = {file for file, text in texts.items() if marks[file].match(text)}
    page = texts["report.html"] if "report.html" in ours else b""
    pictures = {p: p.read_bytes() for p in (out / FIGURES).glob("*.png") if p.is_file()}
    return ours | {
        path.relative_to(out).as_posix()
        for path, picture in pictures.items()
        if picture and base64.b64encode(picture) in page
    }


def _digest(path: Path) -> str:
    """Hash of a file's bytes; "" for what is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
