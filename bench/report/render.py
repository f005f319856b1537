"""Writes a study's report from its records alone: tables, scores, figures, one page with all."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError, unknown
from bench.records.cell import SCORE_COLUMNS, Cell, load_records, score_rows
from bench.report.efficiency import with_efficiency
from bench.report.folder import ReportFolder
from bench.report.found import paragraph
from bench.report.latex import to_latex, to_siunitx
from bench.report.marks import rank_section
from bench.report.markup import Figure, Report, to_markdown
from bench.report.means import means_of
from bench.report.page.html import to_html
from bench.report.page.pictures import Compared, compared
from bench.report.progress import progress_section
from bench.report.provenance import Section, commit, remarks, sections
from bench.report.rows import Row, choose_rows
from bench.report.scores import Column, columns_of
from bench.report.strip import make_strips
from bench.report.tables import make_tables
from bench.study.fields import Study

if TYPE_CHECKING:
    from bench.report.papers.published import Paper

FORMATS = ("md", "tex", "csv", "html")
ALL = (*FORMATS, "siunitx", "pdf", "bib")


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
    study names papers to compare with; `bib` for references.bib, `siunitx` for table_siunitx.tex.
    Figures belong to md and html, and to pdf, which draws them for papers beside.
    `pictures` holds `<cell.file_name>/<dataset>/<image>.png` for the first seed and
    `reference/<dataset>/<image>.png`; without them the strips are left out and the report says so.
    mixed: scores of one set under several protocols may stand in one table, marked; a study that
    names a protocol for each set has said so itself. Raises BenchError for an unknown format or
    paper, for protocols that are mixed without being told to, and for files in the way that bench
    did not write; then, and whatever else goes wrong, `out` stays as it was.
    """
    _check_formats(formats)
    place = ReportFolder(out, study.name)
    place.check(names_of(study, formats))
    papers, beside = _beside(study, cells)
    rows, cuts = choose_rows(study, cells)
    columns = columns_of(study, cells)
    if not mixed:
        _refuse_mixture(columns)
    drawn = bool({"md", "html", "pdf"} & set(formats))
    with place.drafts() as drafts:
        seen = _Seen()
        if drawn:
            seen = _drawn(study, cells, rows, columns, pictures, drafts / "figures", formats)
        tables = make_tables(study, cells, rows, columns)
        report = Report(
            study.name,
            study.header.strip(),
            [*remarks(study, cells, rows), *cuts],
            with_efficiency(tables, study, rows),
            [
                *beside,
                *progress_section(study, rows),
                *rank_section(rows, columns, means_of(rows, columns)),
                *(table.scatter for table in tables),
                *sections(study, cells, rows),
            ],
            seen.figures,
            seen.absent,
            seen.compared,
            paragraph(tables, beside),
        )
        _write(report, study, cells, papers, formats, drafts)
        written = place.take(drafts, figures=drawn)
    drawings = (f.path.with_suffix(end) for f in seen.figures for end in (".png", ".pdf"))
    order = [*(f"figures/{p.name}" for p in drawings), *names_of(study, formats), "earlier"]
    return {name: written[name] for name in order if name in written}


def _beside(study: Study, cells: list[Cell]) -> tuple[Mapping[str, "Paper"], list[Section]]:
    """The papers that a study is compared with, and what is said of them."""
    if not study.compare:
        return {}, []
    from bench.report.papers.beside import comparison_sections  # a tenth of a second
    from bench.report.papers.published import load_papers

    papers = load_papers(study.compare)
    return papers, comparison_sections(study, cells, papers)


class _Seen(NamedTuple):
    """What a report shows beside its tables."""

    figures: Sequence[Figure] = ()
    absent: Sequence[str] = ()
    compared: Sequence[Compared] = ()


def _drawn(
    study: Study,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[Column],
    pictures: Path,
    folder: Path,
    formats: Sequence[str],
) -> _Seen:
    """Draws the figures into `folder`; of the page's also the drawings that it holds."""
    # matplotlib: tables alone must not wait
    from bench.report.figures import also_as, draw_figures

    strips, absent = make_strips(study, rows, columns, pictures)
    with also_as({"svg" if name == "html" else name for name in formats}):
        figures, why = draw_figures(study, cells, rows, columns, strips, folder)
    shown, too_large = compared(strips) if "html" in formats else ([], [])
    return _Seen(figures, [*absent, *why, *too_large], shown)


def _write(
    report: Report,
    study: Study,
    cells: list[Cell],
    papers: Mapping[str, "Paper"],
    formats: Sequence[str],
    drafts: Path,
) -> None:
    for name, (file, writer) in TEXTS.items():
        if name in formats:
            (drafts / file).write_text(writer(report), encoding="utf-8")
    for drawing in (drafts / "figures").glob("*.svg"):  # they stand in the page
        drawing.unlink()
    if "bib" in formats:
        from bench.report.references import bibtex  # asks the methods, which takes torch

        (drafts / REFERENCES).write_text(bibtex(study), encoding="utf-8")
    if "csv" in formats:
        _write_scores(cells, drafts)
        if papers:
            from bench.report.papers.beside import write_comparison

            write_comparison(study, cells, papers, drafts / "published.csv")


TEXTS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "md": ("table.md", to_markdown),
    "tex": ("table.tex", to_latex),
    "siunitx": ("table_siunitx.tex", to_siunitx),
    "html": ("report.html", to_html),
}
SCORES = ("scores.csv", "scores.parquet", "trials.csv")
REFERENCES = "references.bib"


def names_of(study: Study, formats: Sequence[str] = FORMATS) -> list[str]:
    """Returns the files of a report but for its figures, which the records decide."""
    texts = [file for name, (file, _) in TEXTS.items() if name in formats]
    texts += [REFERENCES] if "bib" in formats else []
    scores = [*SCORES, *(["published.csv"] if study.compare else [])]
    return texts + (scores if "csv" in formats else [])


def write_report(
    name: str, out: Path | None = None, formats: Sequence[str] = FORMATS, *, mixed: bool = False
) -> dict[str, Path]:
    """Renders tables and figures of a swept study from its records; returns what was written."""
    _check_formats(formats)
    study, cells, pictures = load_records(name)
    folder = out or usual_folder(name)
    return render(study, cells, pictures, folder, formats=tuple(formats), mixed=mixed)


def write_texts(
    report: Report, name: str, out: Path | None, formats: Sequence[str]
) -> dict[str, Path]:
    """Writes a report that is of no single study, as md, tex or html; returns what was written."""
    if wrong := [word for word in formats if word not in TEXTS]:
        raise BenchError("\n".join(unknown("format", word, TEXTS) for word in wrong))
    place = ReportFolder(out or usual_folder(name), name)
    chosen = [TEXTS[word] for word in formats]
    place.check([file for file, _ in chosen])
    with place.drafts() as drafts:
        for file, writer in chosen:
            (drafts / file).write_text(writer(report), encoding="utf-8")
        return place.take(drafts, figures=False)


def usual_folder(name: str) -> Path:
    """Returns where the report of a study goes if nothing else is said."""
    return Path("reports") / name


def check_folder(study: Study, out: Path) -> None:
    """Raises BenchError if what bench did not write is in the way of a report, but for figures:
    so a sweep need not find that at its end."""
    ReportFolder(out, study.name).check(names_of(study))


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
    if wrong := [name for name in formats if name not in ALL]:
        raise BenchError("\n".join(unknown("report format", name, ALL) for name in wrong))


def _write_scores(cells: list[Cell], out: Path) -> None:
    """All finished scores, tidy, in full precision; and one line a record with how it ended."""
    rows = score_rows(cell for cell in cells if cell.state == "complete")
    with (out / SCORES[0]).open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(SCORE_COLUMNS)
        lines.writerows((*row, "" if math.isnan(value) else value) for *row, value in rows)
    _write_parquet(out / SCORES[0], out / SCORES[1])
    objectives = sorted({name for cell in cells for name in cell.objectives})
    swept = sorted({name for cell in cells for name in cell.swept})
    with (out / SCORES[2]).open("w", newline="", encoding="utf-8") as file:
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


def _write_parquet(scores: Path, path: Path) -> None:
    """Of the scores in a CSV; an empty value is null. Made of Python's values, Arrow would load
    pandas, a third of a second."""
    import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
    from pyarrow import csv as arrow
    from pyarrow import parquet

    kinds = dict.fromkeys(SCORE_COLUMNS, pa.string())
    kinds |= {"trial": pa.int64(), "seed": pa.int64(), "scale": pa.int64(), "value": pa.float64()}
    table = arrow.read_csv(
        scores,
        parse_options=arrow.ParseOptions(newlines_in_values=True),
        convert_options=arrow.ConvertOptions(column_types=kinds),
    )
    parquet.write_table(table, path)
