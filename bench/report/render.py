"""Writes a study's report from its records alone: tables, scores, figures, one page with all."""

import csv
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.metrics import metric
from bench.records import Cell, label_of, load_records, scores_frame
from bench.report.markup import Figure, Report, to_html, to_latex, to_markdown
from bench.report.provenance import caution, commit, remarks, sections
from bench.report.rows import Row, choose_rows, objective_names
from bench.report.scores import Column, columns_of
from bench.report.series import Response, make_responses, make_trials
from bench.report.strip import make_strip
from bench.report.tables import make_tables
from bench.study import Study

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

    `csv` stands for scores.csv, scores.parquet and trials.csv. Figures belong to md and html.
    `pictures` holds `<cell.file_name>/<dataset>/<image>.png` for the first seed and
    `reference/<dataset>/<image>.png`; without them the strips are left out and the report says so.
    mixed: scores of one set under several protocols may stand in one table, marked; a study that
    names a protocol for each set has said so itself. Raises BenchError for an unknown format, and
    for protocols that are mixed without being told to.
    """
    _check_formats(formats)
    rows, cuts = choose_rows(study, cells)
    columns = columns_of(study, cells)
    if not mixed:
        _refuse_mixture(columns)
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    figures: list[Figure] = []
    absent: list[str] = []
    if {"md", "html"} & set(formats):
        figures, absent = _figures(study, cells, rows, columns, pictures, out / "figures")
        written |= {f"figures/{figure.path.name}": figure.path for figure in figures}
    report = Report(
        study.name,
        study.header.strip(),
        [*remarks(study, cells, rows), *cuts],
        make_tables(study, cells, rows, columns),
        sections(study, cells, rows),
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


def _figures(
    study: Study,
    cells: list[Cell],
    rows: Sequence[Row],
    columns: Sequence[Column],
    pictures: Path,
    folder: Path,
) -> tuple[list[Figure], list[str]]:
    """Draws what the records allow; returns the figures, and why others are not there."""
    from bench.report import figures as draw  # matplotlib: tables alone must not wait for it

    for kind in ("response", "trade-off", "strip"):  # an older report's would pass for this one's
        for old in folder.glob(f"{kind}*.png"):
            old.unlink()
    done: list[Figure] = []
    absent: list[str] = []
    trials = make_trials(study, cells)
    warning = caution(study, cells, rows)
    for response in make_responses(study, trials, columns):
        path = folder / f"response-{response.parameter}.png"
        draw.draw_response(study, response, path, warning)
        done.append(Figure(path, _response_caption(study, response)))
    names = objective_names(study)
    swept = [t for t in trials if t.number is not None and set(names) <= set(t.values)]
    if len(names) > 1 and swept:
        path = folder / "trade-off.png"
        draw.draw_trade_off(study, trials, path, warning)
        done.append(Figure(path, _trade_off_caption(study)))
    for column in _strip_columns(study, columns):
        strip = make_strip(rows, column, pictures)
        if isinstance(strip, str):
            absent.append(strip)
            continue
        path = folder / f"strip-{label_of(column.dataset)}.png"
        draw.draw_strip(strip, path, warning)
        without = f" Left out: {'; '.join(strip.absent)}." if strip.absent else ""
        caption = f"Image {strip.image} of {column.place}, left {strip.left}, top {strip.top}. "
        done.append(Figure(path, f"{caption}{strip.rule}{without}"))
    return done, absent


def _strip_columns(study: Study, columns: Sequence[Column]) -> list[Column]:
    """One column for each set: the first full-reference metric of the study, PSNR before others."""
    chosen: dict[str, Column] = {}
    for column in sorted(columns, key=lambda c: not c.metric.startswith("psnr")):
        if metric(column.metric).reference:
            chosen.setdefault(column.dataset, column)
    return [chosen[name] for name in study.evaluate.datasets if name in chosen]


def _response_caption(study: Study, response: Response) -> str:
    seeds = "Pale dots are seeds, full dots their means. " if len(study.budget.seeds) > 1 else ""
    along = "" if response.alone else "Other parameters vary along, so this is a scatter. "
    more = f"{response.left_out} further quantities are in scores.csv." if response.left_out else ""
    return (
        f"Response to {response.parameter}: every trial. {seeds}Horizontal lines are the methods "
        f"without ranges. {along}{more}"
    ).strip()


def _trade_off_caption(study: Study) -> str:
    place = study.select.dataset if study.select else ""
    return (
        f"Trade-off between the objectives on the selection set {place}: every trial, mean over "
        "seeds, with a cross from the smallest to the largest seed. Outlined: each method's "
        "Pareto-optimal trials."
    )
