"""Routes of studies: what has been swept here, their reports, galleries of their pictures."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from bench.data.roots import home
from bench.errors import BenchError
from bench.records.cell import Cell, label_of, load_records
from bench.records.place import Place, lock_holder
from bench.report.folder import ReportFolder
from bench.report.render import usual_folder
from bench.report.scores import cell_values
from bench.study.fields import Study
from bench.sweep.rows import planned_cells
from bench.web.catalogue import cells_of_rows, shown_metric
from bench.web.kept import Refused
from bench.web.pictures import Png, _png
from bench.web.shapes import (
    Gallery,
    GalleryImage,
    GalleryPicture,
    Metric,
    RowName,
    StudyLine,
)

router = APIRouter(tags=["studies"])
REPORT = "report.html"
SANDBOX = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data: blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
"""A report is of its own making: it may run its scripts, and neither ask this server nor others."""


@router.get("/api/studies")
def studies() -> list[StudyLine]:
    """The studies of this home, the newest first."""
    lines = [_line(name) for name in _names()]
    return sorted(lines, key=lambda line: line.updated or "", reverse=True)


def _names() -> list[str]:
    return sorted(path.parent.name for path in (home() / "studies").glob("*/study.json"))


def _line(name: str) -> StudyLine:
    place = Place(home(), name)
    try:
        study, cells, _ = load_records(name)
    except BenchError as error:
        return StudyLine(
            name=name, question=str(error), trials=0, of=0, state="broken", updated=None,
            report=None, why_no_report="its records cannot be read", sets=[],
        )  # fmt: skip
    of = planned_cells(study)
    state: Literal["running", "done", "partial"] = "done" if len(cells) >= of else "partial"
    updated = max((path.stat().st_mtime for path in place.cells.glob("*.json")), default=None)
    page, why = _report(name)
    return StudyLine(
        name=name,
        question=" ".join(study.header.replace("#", " ").split()),
        trials=len(cells),
        of=of,
        state="running" if lock_holder(place)[0] else state,
        updated=updated and datetime.fromtimestamp(updated, UTC).isoformat(timespec="seconds"),
        report=None if page is None else f"/studies/{name}/report",
        why_no_report=why,
        sets=_sets(study, cells),
    )


def _report(name: str) -> tuple[bytes | None, str | None]:
    """A study's page as bench has written it, or why it is not shown."""
    folder = usual_folder(name)
    if not (folder / REPORT).is_file():
        return None, f"there is none in {folder}: `bench report {name}` writes it"
    try:
        page = ReportFolder(folder, name).unchanged(REPORT)
    except BenchError as error:
        return None, str(error)
    if page is None:
        return None, f"{folder / REPORT} is not as bench has written it: it is not shown"
    return page, None


def _sets(study: Study, cells: list[Cell]) -> list[str]:
    measured = {name for cell in cells for name in cell.datasets}
    return [key for key in study.benchmark_keys() if key in measured]


@router.get("/studies/{name}/report", response_class=HTMLResponse)
def report(name: str) -> HTMLResponse:
    """A study's report, if it is as bench has written it; it runs in a sandbox."""
    _check(name)
    page, why = _report(name)
    if page is None:
        raise Refused(404, f"{name}: {why}.")
    return HTMLResponse(page, headers={"content-security-policy": SANDBOX})


def _check(name: str) -> None:
    if name not in _names():
        raise Refused(404, f"No study {name!r} has been swept here.")


# --- galleries ------------------------------------------------------------------------------------


class _Table:
    """Numbers of pictures: a client names no path."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._numbers: dict[Path, int] = {}
        self._lock = Lock()

    def number(self, path: Path) -> int:
        with self._lock:
            if path not in self._numbers:
                self._numbers[path] = len(self._paths)
                self._paths.append(path)
            return self._numbers[path]

    def path(self, number: int) -> Path | None:
        return self._paths[number] if 0 <= number < len(self._paths) else None


_table = _Table()


@router.get("/api/studies/{name}/gallery")
def gallery(name: str, set: str) -> Gallery:
    """Every row's picture of every image of a set, with its scores."""
    _check(name)
    try:
        study, cells, pictures = load_records(name)
    except BenchError as error:
        raise Refused(404, str(error)) from None
    if set not in _sets(study, cells):
        raise Refused(404, f"{name} has no set {set!r}. It has {', '.join(_sets(study, cells))}.")
    rows = cells_of_rows(study, cells)
    values = {ident: _values(study, row.cells[0], set) for ident, row in rows.items()}
    metrics: dict[str, Metric] = {}
    for cell_values_ in values.values():
        for (metric, exact), _ in cell_values_.items():
            metrics.setdefault(exact or metric, shown_metric(metric, exact))
    names = dict.fromkeys(
        image for v in values.values() for images in v.values() for image in images
    )
    return Gallery(
        rows=[RowName(id=ident, name=row.label) for ident, row in rows.items()],
        metrics=list(metrics.values()),
        images=[_image(name, pictures, label_of(set), image, values) for image in sorted(names)],
    )


def _values(study: Study, cell: Cell, key: str) -> dict[tuple[str, str], dict[str, float]]:
    """(metric, exact name) -> image -> value."""
    return {
        (column.metric, column.assessor): images
        for column, images in cell_values(cell).items()
        if study.key(column.dataset, column.scale) == key
    }


def _image(
    study: str,
    pictures: Path,
    folder: str,
    image: str,
    values: dict[str, dict[tuple[str, str], dict[str, float]]],
) -> GalleryImage:
    original = _address(study, pictures / "reference" / folder / f"{image}.png")
    rows = {}
    for ident, found in values.items():
        address = _address(study, pictures / ident / folder / f"{image}.png")
        scores = {
            exact or metric: _finite(images.get(image)) for (metric, exact), images in found.items()
        }
        why = None if address else "no picture of it was kept (evaluate: {pictures: all} keeps all)"
        rows[ident] = GalleryPicture(image=address, small=address, why=why, scores=scores)
    return GalleryImage(name=image, small=original, original=original, rows=rows)


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None


def _address(study: str, path: Path) -> str | None:
    """Where the server shows a picture that lies in a study's folder; None if it is not there."""
    root = Place(home(), study).pictures.resolve()
    if not path.is_file() or not path.resolve().is_relative_to(root):
        return None
    return f"/api/studies/{study}/pictures/{_table.number(path)}.png"


@router.get("/api/studies/{name}/pictures/{number}.png", response_class=Png)
def study_picture(name: str, number: int) -> Response:
    """A picture of a gallery."""
    path = _table.path(number)
    if path is None or not path.is_file() or _address(name, path) is None:
        raise Refused(404, "There is no such picture.")
    return _png(path, None)
