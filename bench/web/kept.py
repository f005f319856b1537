"""What a page keeps: each picture and result in a folder of its own below the home
(`bench.records.shelf`), so that they survive the server."""

import contextlib
import json
from pathlib import Path
from typing import Any, Literal

from bench.data.files import whole
from bench.records.shelf import RECORD, remove_entry, shelf, shelf_entries
from bench.web.shapes import Picture, Result

Kind = Literal["pictures", "results"]


class Refused(Exception):
    """What is asked for cannot be: the status of the answer, and a sentence for people."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Kept:
    """Pictures and results by their identity, oldest first. Whoever calls holds a lock."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.version = 0
        """Another one after each change."""
        self.pictures: dict[str, Picture] = {}
        self.results: dict[str, Result] = {}
        self._load()

    def _load(self) -> None:
        """Takes up what an earlier server has left."""
        for folder in shelf_entries(self._home):
            kind = folder.parent.name
            try:
                record = json.loads((folder / RECORD).read_bytes())
                if kind == "pictures":
                    picture = Picture(**record)
                    self.pictures[picture.id] = _cut_off(picture)
                else:
                    result = Result(**record)
                    self.results[result.id] = _cut_off_result(result)
            except (OSError, ValueError, TypeError):
                remove_entry(folder)  # cut off before it was written
        for ident in [r.id for r in self.results.values() if r.picture not in self.pictures]:
            self.remove_result(ident)
        self.pictures = dict(sorted(self.pictures.items(), key=lambda item: item[1].added))
        self.results = dict(sorted(self.results.items(), key=lambda item: item[1].added))

    def folder(self, kind: str, ident: str) -> Path:
        return shelf(self._home) / kind / ident

    def set(self, item: Picture | Result, **facts: Any) -> None:
        """Changes some fields, and keeps that."""
        made = item.model_copy(update=facts)
        if isinstance(made, Picture):
            self.pictures[made.id] = made
        else:
            self.results[made.id] = made
        self.save(made)
        self.change()

    def save(self, item: Picture | Result) -> None:
        kind = "pictures" if isinstance(item, Picture) else "results"
        path = self.folder(kind, item.id) / RECORD
        with contextlib.suppress(OSError), whole(path) as file:  # full: it lives with the server
            file.write(item.model_dump_json().encode())

    def change(self) -> None:
        self.version += 1

    def picture(self, ident: str) -> Picture:
        if ident not in self.pictures:
            raise Refused(404, "There is no such picture here any more.")
        return self.pictures[ident]

    def result(self, ident: str) -> Result:
        if ident not in self.results:
            raise Refused(404, "There is no such result here any more.")
        return self.results[ident]

    def file(self, kind: Kind, ident: str, name: str) -> Path:
        """Returns a file of a picture or result. Raises Refused where there is none."""
        (self.picture if kind == "pictures" else self.result)(ident)
        path = self.folder(kind, ident) / name
        if not path.is_file():
            raise Refused(404, "There is no such picture, or not yet.")
        return path

    def remove_result(self, ident: str) -> None:
        """Removes a result with its folder."""
        del self.results[ident]
        remove_entry(self.folder("results", ident))

    def remove_picture(self, ident: str) -> None:
        """Removes a picture with its folder."""
        del self.pictures[ident]
        remove_entry(self.folder("pictures", ident))


def _cut_off(picture: Picture) -> Picture:
    if picture.state != "reading":
        return picture
    reason = "The page was closed while it was read. Give it again."
    return picture.model_copy(update={"state": "refused", "reason": reason})


def _cut_off_result(result: Result) -> Result:
    if result.state not in ("waiting", "running"):
        return result
    reason = "The page was closed before it was made."
    return result.model_copy(update={"state": "cancelled", "stage": None, "reason": reason})
