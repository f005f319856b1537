"""Printed and ours, side by side: the sections of a report, and the same as a file."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.measure.metrics import metric
from bench.records.cell import Cell
from bench.report.papers.compared import Compared, Line, compare, judge
from bench.report.papers.ours import NOT_RUN, Ours
from bench.report.papers.published import Paper, PrintedTable
from bench.report.papers.verdicts import RULES
from bench.report.provenance import Section, tiny_runs
from bench.report.rows import Row
from bench.report.scores import DASH
from bench.study.fields import Study


def comparison_sections(
    study: Study, cells: Sequence[Cell], papers: Mapping[str, Paper]
) -> list[Section]:
    """Returns for each paper its source, a section for each printed table that the study ran
    something of, and its claims; last, the rules by which the verdicts are reached."""
    found: list[Section] = []
    for paper in papers.values():
        compared = compare(study, cells, paper)
        absent = [one.table.title for one in compared if not one.about]
        notes = (f"The study ran nothing of: {'; '.join(absent)}.",) if absent else ()
        heading = f"Printed and ours: {paper.paper}"
        found.append(Section(heading, (), (), f"Read from {paper.source}.", notes))
        found += [_section(one) for one in compared if one.about]
        found += [_claims(study, cells, paper)] if paper.claims else []
    rules = tuple(f"{name}: {rule}" for name, rule in RULES)
    return [*found, Section("How the verdicts are reached", (), (), notes=rules)] if found else []


def _section(compared: Compared) -> Section:
    table, lines = compared.table, compared.run
    counted = any(line.series.parameters for line in lines)
    rows: list[tuple[str, ...]] = []
    for line in lines:
        digits = line.series.digits
        printed = ("" if v is None else f"{v:.{digits}f}" for v in line.series.values)
        counts = ((line.series.parameters or "",), (line.parameters,)) if counted else ((), ())
        rows += [
            (line.series.name, "paper", *counts[0], *printed),
            (line.trend, "ours", *counts[1], *(_number(o, digits) for o in line.ours)),
        ]
        if any(line.numbers):
            rows.append(("", "verdict", *(("",) if counted else ()), *line.numbers))
    return Section(
        table.title,
        ("series, trend", "", *(("parameters",) if counted else ()), *table.points),
        tuple(rows),
        about=f"The paper's: {table.setting}. Ours: {compared.about}.",
        notes=(*_notes(table, lines), *_left_out(compared)),
    )


def _left_out(compared: Compared) -> list[str]:
    absent = [line.series.name for line in compared.lines if line not in compared.run]
    return [f"The study ran nothing of: {', '.join(absent)}."] if absent else []


def _number(ours: Ours, digits: int) -> str:
    if not ours.by_seed:
        return DASH
    spread = "" if math.isnan(ours.spread) else f" ± {ours.spread:.{digits}f}"
    return f"{ours.value:.{digits}f}{spread}"


def _notes(table: PrintedTable, lines: Sequence[Line]) -> list[str]:
    notes = [table.note] if table.note else []
    notes += [f"{line.series.name}: {line.series.note}" for line in lines if line.series.note]
    names = dict.fromkeys(line.series.metric for line in lines if line.series.metric)
    notes += [remark for name in names if (remark := metric(name).remark)]
    reasons: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        for label, printed, ours in zip(table.points, line.series.values, line.ours, strict=True):
            if ours.why and printed is not None:
                reasons.setdefault(ours.why, {}).setdefault(line.series.name, []).append(label)
            elif len(ours.images) < ours.asked:
                few = f"mean over {len(ours.images)} of {ours.asked} images"
                notes.append(f"{line.series.name}, {label}: {few}.")
    return notes + [f"{DASH} {_where(by, lines)}: {why}." for why, by in reasons.items()]


def _where(by_series: dict[str, list[str]], lines: Sequence[Line]) -> str:
    """ "HR5, HR6" if that holds for every series, else "MOS at HR5, HR6; saturation at HR6"."""
    labels = list(by_series.values())
    if len(by_series) == len(lines) and all(some == labels[0] for some in labels):
        return ", ".join(labels[0])
    return "; ".join(f"{name} at {', '.join(some)}" for name, some in by_series.items())


def _claims(study: Study, cells: Sequence[Cell], paper: Paper) -> Section:
    found = [judge(study, cells, claim) for claim in paper.claims]
    judged = [one for one in found if not one.why.endswith(NOT_RUN)]
    absent = [one.claim.says for one in found if one.why.endswith(NOT_RUN)]
    notes = [f"The study did not run what is claimed: {'; '.join(absent)}."] if absent else []
    tiny = tiny_runs(Row(cell.method, "", (cell,)) for one in judged for cell in one.cells)
    reasons: dict[str, list[str]] = {}
    for one in judged:
        if one.why:
            reasons.setdefault(one.why, []).append(one.claim.says)
    for why, says in reasons.items():
        who = "; ".join(says) if len(says) < len(judged) else "all of them"
        notes.append(f"{DASH} {who}: {why}.")
    return Section(
        "Claims",
        ("claim", "paper", "ours", "verdict") if judged else (),
        tuple((one.claim.says, one.claim.paper, one.ours, one.verdict) for one in judged),
        about=f"Ours: tiny run: {tiny}." if tiny else "",
        notes=tuple(notes),
    )


def write_comparison(
    study: Study, cells: Sequence[Cell], papers: Mapping[str, Paper], path: Path
) -> None:
    """Writes a line for each printed number: paper, table, series, label, printed, ours, spread,
    its verdict, the trend of its series; empty where there is none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["paper", "table", "series", "label", "printed", "ours", "spread", "verdict", "trend"]
        )
        for name, paper in papers.items():
            for one in compare(study, cells, paper):
                for line in one.lines:
                    points = zip(
                        one.table.points, line.series.values, line.ours, line.numbers, strict=True
                    )
                    for label, printed, ours, told in points:
                        writer.writerow(
                            [name, one.table.title, line.series.name, label,
                             "" if printed is None else printed,
                             *("" if math.isnan(v) else v for v in (ours.value, ours.spread)),
                             told, line.trend]
                        )  # fmt: skip
