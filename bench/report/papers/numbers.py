"""What is said of one printed number and ours: the same in a study's report and in the ledger."""

from collections.abc import Iterable

from bench.records.cell import Cell
from bench.report.papers.ours import Ours
from bench.report.papers.published import Paper, PrintedTable, Series
from bench.report.papers.verdicts import cell_verdict
from bench.report.provenance import image_count
from bench.study.fields import Study


def digits_of(paper: Paper, series: Series) -> int:
    """Returns the digits after the point that a paper prints of a series' quantity anywhere: one
    table's 26.3 of 26.30, 26.31 was printed as exactly as the others."""
    same = (s for t in paper.tables for s in t.series if s.quantity == series.quantity)
    return max(s.digits for s in same)


def not_of_these(study: Study, table: PrintedTable, series: Series, dataset: str) -> str:
    """Returns why what a study measured on a set cannot be the printed number; "" if it can."""
    task = study.task
    if table.scale not in task.scales or task.degradation != table.degradation:
        return f"restored from other LR than x{table.scale}, {table.degradation}"
    if series.loss is not None:
        same = study.train is not None and study.train.dataset == table.dataset
        return "" if same else f"trained on another set than {table.dataset}"
    if series.examined is not None:
        return "found by the stage itself, on pictures of its own choice"
    if table.dataset is None:
        return "printed of images that no set here holds"
    return "" if dataset == table.dataset else f"not measured on {table.dataset}"


def number_verdict(
    paper: Paper,
    table: PrintedTable,
    series: Series,
    printed: float,
    cells: Iterable[Cell],
    ours: Ours,
) -> tuple[str, str]:
    """Returns "match", "close", "differs", "protocol unknown" or "not run" of a printed number and
    ours, and what part of the set ours is of, or why it does not count."""
    protocol = paper.protocol_of(table, series)
    part = ""
    if series.image is None and series.metric is not None:
        used = [cell.datasets[table.dataset] for cell in cells if table.dataset in cell.datasets]
        part = next((image_count(u) for u in used if u.count < u.official), "")
        if not part and len(ours.images) < ours.asked:
            part = f"{len(ours.images)}/{ours.asked} images"
    if series.loss is None and protocol is None:
        return "protocol unknown", part
    if series.metric is not None and ours.protocol != protocol:
        return "not run", f"scored under {ours.protocol}, printed under {protocol}"
    digits = digits_of(paper, series)
    return cell_verdict(series.quantity, printed, ours.value, digits, whole=not part), part
