"""What papers print for a set, as rows below the measured ones."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.report.papers.published import Paper, PrintedTable, Series, load_papers, paper_files
from bench.report.scores import Column
from bench.report.tables import Entry, Table
from bench.study.fields import Study


def quoted(table: Table, study: Study, columns: Sequence[Column]) -> Table:
    """Returns a table with a row for each method of which a paper prints one of its numbers.

    Printed numbers take no part in the ranks. Only those of the same set, scale and degradation
    are taken; the protocol is the paper's, so a note says that they need not be comparable.
    """
    places = {place.partition(" (partial")[0] for place, _ in table.groups}
    shown = [column for column in columns if column.place in places]
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for name, paper in load_papers(paper_files()).items():
        for label, dataset, metric, value in _printed(paper, study):
            row = rows.setdefault(f"{label} [printed: {name}]", {})
            row.setdefault((dataset, metric), value)
    lines = []
    for label, values in rows.items():
        cells = tuple(Entry(values.get((c.dataset, c.metric), Entry().value)) for c in shown)
        if any(cell != Entry() for cell in cells):
            lines.append((label, cells))
    if not lines:
        told = "bench holds no printed numbers for these sets, scale and metrics."
    else:
        told = (
            "Printed rows are quoted, not measured, and not ranked: their border, channel and "
            "images are the papers' own. The papers are those that `compare:` of a study takes."
        )
    return replace(table, rows=(*table.rows, *lines), notes=(*table.notes, told))


def _printed(paper: Paper, study: Study) -> Iterator[tuple[str, str, str, str]]:
    """Yields (method as the paper calls it, set, metric, number as printed)."""
    for table in paper.tables:
        if not _is_of(table, study):
            continue
        for series in table.series:
            yield from _of_series(table, series)


def _is_of(table: PrintedTable, study: Study) -> bool:
    task = study.task
    wanted = (task.scales[0], task.degradation)
    return table.dataset in study.evaluate.datasets and (table.scale, table.degradation) == wanted


def _of_series(table: PrintedTable, series: Series) -> Iterator[tuple[str, str, str, str]]:
    if series.metric is None or series.image or series.change:
        return
    for label, value in zip(table.points, series.values, strict=True):
        if value is not None and table.dataset is not None:
            yield label, table.dataset, series.metric, f"{value:.{series.digits}f}"
