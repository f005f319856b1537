"""Writes a study's report from its records alone: tables, scores, figures, one page with all."""

import csv
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.records.cell import Cell, load_records, scores_frame
from bench.report.markup import Figure, Report, to_html, to_latex, to_markdown
from bench.report.papers.beside import comparison_sections, write_comparison
from bench.report.papers.published import load_papers
from bench.report.provenance import commit, remarks, sections
from bench.report.rows import choose_rows
from bench.report.scores import Column, columns_of
from bench.report.tables import make_tables
from bench.study.fields import Study

FORMATS = ("md", "tex", "csv", "html")


def render(
    study: Study,
    cells: list[Cell],
    pictures: Path,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    mixed: bool = False,
) -> dict[str, Path]:
    """Writes the report into `out` and returns what was written, by its name below `out`.

    `csv` stands for scores.csv, scores.parquet and trials.csv, and for published.csv where the
    study names papers to compare with. Figures belong to md and html.
    `pictures` holds `<cell.file_name>/<dataset>/<image>.png` for the first seed and
    `reference/<dataset>/<image>.png`; without them the strips are left out and the report says so.
    mixed: scores of one set under several protocols may stand in one table, marked; a study that
    names a protocol for each set has said so itself. Raises BenchError for an unknown format or
    paper, and for protocols that are mixed without being told to.
    """
    _check_formats(formats)
    papers = load_papers(study.compare)
    rows, cuts = choose_rows(study, cells)
    columns = columns_of(study, cells)
    if not mixed:
        _refuse_mixture(columns)
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    figures: list[Figure] = []
    absent: list[str] = []
    if {"md", "html"} & set(formats):
        from bench.report.figures import draw_figures  # matplotlib: tables alone must not wait

        figures, absent = draw_figures(study, cells, rows, columns, pictures, out / "figures")
        written |= {f"figures/{figure.path.name}": figure.path for figure in figures}
    report = Report(
        study.name,
        study.header.strip(),
        [*remarks(study, cells, rows), *cuts],
        make_tables(study, cells, rows, columns),
        [*comparison_sections(study, cells, papers), *sections(study, cells, rows)],
        figures,
        absent,
    )
    texts = {"md": ("table.md", to_markdown), "tex": ("table.tex", to_latex),
             "html": ("report.html", to_html)}  # fmt: skip
    for name, (file, writer) in texts.items():
        if name in formats:
            written[file] = out / file
            written[file].write_text(writer(report), encoding="utf-8")
    if "csv" in formats:
        written |= _write_scores(cells, out)
        if papers:
            written["published.csv"] = out / "published.csv"
            write_comparison(study, cells, papers, written["published.csv"])
    return written


def write_report(
    name: str, out: Path | None = None, formats: Sequence[str] = FORMATS, *, mixed: bool = False
) -> dict[str, Path]:
    """Renders tables and figures of a swept study from its records; returns what was written."""
    _check_formats(formats)
    study, cells, pictures = load_records(name)
    folder = out or Path("reports") / name
    return render(study, cells, pictures, folder, formats=tuple(formats), mixed=mixed)


def _refuse_mixture(columns: Sequence[Column]) -> None:
    """Raises BenchError if a set was scored under several protocols."""
    protocols: dict[str, set[str]] = {}
    for column in columns:
        protocols.setdefault(column.dataset, set()).update(
            [column.protocol] * bool(column.protocol)
        )
    lines = [
        f"{dataset}: scored under {' and '.join(sorted(names))}, which cannot be compared."
        for dataset, names in protocols.items()
        if len(names) > 1
    ]
    if lines:
        advice = "Sweep again, which measures what is stale; or show them marked: --mix-protocols."
        raise BenchError("\n".join([*lines, advice]))


def _check_formats(formats: Sequence[str]) -> None:
    if wrong := [name for name in formats if name not in FORMATS]:
        raise BenchError("\n".join(unknown("report format", name, FORMATS) for name in wrong))


def _write_scores(cells: list[Cell], out: Path) -> dict[str, Path]:
    """All finished scores, tidy, in full precision; and one line a record with how it ended."""
    frame = scores_frame([cell for cell in cells if cell.state == "complete"])
    paths = {name: out / name for name in ("scores.csv", "scores.parquet", "trials.csv")}
    frame.to_csv(paths["scores.csv"], index=False)
    frame.to_parquet(paths["scores.parquet"], index=False)
    objectives = sorted({name for cell in cells for name in cell.objectives})
    swept = sorted({name for cell in cells for name in cell.swept})
    with paths["trials.csv"].open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["method", "trial", "seed", "state", "reason", *(f"parameter.{n}" for n in swept),
             *(f"objective.{n}" for n in objectives), "seconds", "started", "commit", "run_id",
             "fingerprint"]
        )  # fmt: skip
        for cell in cells:
            reason = (cell.reason.splitlines() or [""])[0]
            writer.writerow(
                [cell.method, -1 if cell.trial is None else cell.trial, cell.seed, cell.state,
                 reason, *(cell.swept.get(n, "") for n in swept),
                 *(cell.objectives.get(n, "") for n in objectives), cell.seconds, cell.started,
                 commit(cell), cell.run_id, cell.fingerprint]
            )  # fmt: skip
    return paths
