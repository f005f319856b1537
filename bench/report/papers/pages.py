"""The ledger as pages: a paper's tables again with ours, and the count over all papers."""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from bench.report.markup import Report
from bench.report.papers.ledger import (
    Entry,
    Run,
    counts,
    entries,
    records_of_home,
)
from bench.report.papers.published import load_papers, paper_files
from bench.report.papers.verdicts import RELATIVE, TOLERANCES, VERDICTS
from bench.report.provenance import Section
from bench.report.render import write_texts
from bench.report.scores import DASH

PAGE = 40
"""Lines of a table that still fit one page in LaTeX."""


def ledger(papers: Sequence[str] = ()) -> tuple[list[Entry], list[str]]:
    """Returns every number that papers print with its verdict, and what could not be read.

    papers: names of files in reports/published/; none: all of them. Raises BenchError as
    `load_paper` does.
    """
    records, broken = records_of_home()
    return entries(load_papers(papers or sorted(paper_files())), records), broken


def write_paper(name: str, out: Path | None, formats: Sequence[str]) -> tuple[str, dict[str, Path]]:
    """Writes a paper's tables with ours; returns a line that counts the verdicts, and the files."""
    found, broken = ledger([name])
    paper = load_papers([name])[name]
    report = Report(
        paper.paper,
        f"Source: {paper.source}.",
        [_sentence(found), *broken],
        [],
        [*(_table(list(mine)) for _, mine in groupby(found, lambda e: id(e.table))), _rules()],
        [],
        [],
    )
    folder = f"paper-{name}"
    return _sentence(found), write_texts(report, folder, out, formats)


def write_ledger(
    found: Sequence[Entry], broken: Sequence[str], out: Path | None, formats: Sequence[str]
) -> dict[str, Path]:
    """Writes the count of all papers, and each number that was run; returns the files."""
    run = [entry for entry in found if entry.run]
    report = Report(
        "Ledger",
        "How many printed numbers have been run here, and how they came out.",
        [_sentence(found), *broken],
        [],
        [_summary(found), *_lists(run), _rules()],
        [],
        [],
    )
    return write_texts(report, "ledger", out, formats)


def summary_text(found: Sequence[Entry]) -> str:
    """Returns the count of each paper, aligned."""
    section = _summary(found)
    lines = [section.header, *section.rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(section.header))]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    )


def entry_facts(entry: Entry) -> dict[str, object]:
    """Returns an entry as JSON says it."""
    return {
        "paper": entry.paper, "table": entry.table.title, "series": entry.series.name,
        "label": entry.label, "published": entry.printed, "measured": entry.ours,
        "verdict": entry.verdict, "note": entry.note,
        "run": entry.run.label if entry.run else None,
        "scale": entry.run.scale() if entry.run else None,
    }  # fmt: skip


def _summary(found: Sequence[Entry]) -> Section:
    rows = []
    for paper, mine in groupby(found, lambda entry: entry.paper):
        group = list(mine)
        rows.append((paper, *map(str, counts(group).values()), str(len(group))))
    total = ("all", *map(str, counts(found).values()), str(len(found)))
    return Section("Papers", ("paper", *VERDICTS, "numbers"), (*rows, total), printed=True)


def _lists(run: Sequence[Entry]) -> list[Section]:
    """Every number that was run, in tables that fit a page."""
    header = (
        "paper", "table", "number", "published", "measured", "difference", "verdict", "run",
        "scale of our run",
    )  # fmt: skip
    rows = [
        (
            e.paper, e.table.title, f"{e.series.name}, {e.label}", _printed(e), _measured(e),
            _difference(e), f"{e.verdict} ({e.note})" if e.note else e.verdict, e.run.label,
            e.run.scale(),
        )
        for e in run
        if e.run
    ]  # fmt: skip
    parts = [tuple(rows[k : k + PAGE]) for k in range(0, len(rows), PAGE)]
    return [
        Section(f"What was run, {k} of {len(parts)}", header, part, printed=True)
        for k, part in enumerate(parts, 1)
    ]


def _table(found: Sequence[Entry]) -> Section:
    """A printed table: for each series what is published, measured, the difference, the verdict."""
    table = found[0].table
    rows: list[tuple[str, ...]] = []
    by_label: dict[tuple[str, str], Entry] = {(e.series.name, e.label): e for e in found}
    for series in table.series:
        line = [by_label.get((series.name, label)) for label in table.points]
        told: list[tuple[str, Callable[[Entry], str]]] = [("published", _printed)]
        if any(e and e.run for e in line):
            told += [("measured", _measured), ("difference", _difference)]
        told.append(("verdict", lambda e: e.verdict))
        rows += [
            (series.name if k == 0 else "", what, *(text(e) if e else DASH for e in line))
            for k, (what, text) in enumerate(told)
        ]
    return Section(
        table.title,
        ("series", "", *table.points),
        tuple(rows),
        about=f"The paper's: {table.setting}.",
        notes=(*_runs(found), *_reasons(found), *([table.note] if table.note else [])),
        printed=True,
    )


def _runs(found: Sequence[Entry]) -> list[str]:
    """The scale of each run of ours, with the points it answers for."""
    runs: dict[str, tuple[Run, dict[str, None]]] = {}
    for entry in found:
        if entry.run:
            runs.setdefault(entry.run.label, (entry.run, {}))[1][entry.label] = None
    return [
        f"Ours, {', '.join(labels)}: {label}, {run.scale()}."
        for label, (run, labels) in runs.items()
    ]


def _reasons(found: Sequence[Entry]) -> list[str]:
    """Why numbers were not run or are of a part of the set, each once."""
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for entry in found:
        if entry.note:
            reasons.setdefault((entry.verdict, entry.note), {})[entry.label] = None
    return [f"{', '.join(labels)}: {told}, {why}." for (told, why), labels in reasons.items()]


def _printed(entry: Entry) -> str:
    return f"{entry.printed:.{entry.digits}f}"


def _measured(entry: Entry) -> str:
    return f"{entry.ours:.{entry.digits}f}" if entry.run else DASH


def _difference(entry: Entry) -> str:
    rounded = round(entry.ours - entry.printed, entry.digits) + 0.0  # no -0.00
    return f"{rounded:+.{entry.digits}f}" if entry.run else DASH


def _sentence(found: Sequence[Entry]) -> str:
    """ "Of 108 printed numbers 54 were run here: 45 match, 7 are close, 2 differ." """
    many = counts(found)
    run = len(found) - many["not run"]
    verbs = {
        "match": ("matches", "match"),
        "close": ("is close", "are close"),
        "differs": ("differs", "differ"),
        "protocol unknown": ("is of an unknown protocol", "are of unknown protocols"),
    }
    told = [f"{many[v]} {words[many[v] != 1]}" for v, words in verbs.items() if many[v]]
    text = (
        f"Of {len(found)} printed numbers {run or 'none'} {'was' if run < 2 else 'were'} run here"
    )
    partial = sum("/" in entry.note and entry.run is not None for entry in found)
    if partial:
        told.append(f"{partial} of a part of the set, which is no match")
    return f"{text}: {', '.join(told)}." if told else f"{text}."


def _rules() -> Section:
    tolerances = "; ".join(f"{name} {a:g}, {b:g}" for name, (a, b) in TOLERANCES.items())
    return Section(
        "How the verdicts are reached",
        (),
        (),
        notes=(
            f"match, close: ours lies within so much of the printed value ({tolerances}; others "
            f"{100 * RELATIVE[0]:g} and {100 * RELATIVE[1]:g} % of it), or within half a unit of "
            "its last digit. differs: further away.",
            "protocol unknown: the paper does not say how it scored. not run: no run of this home "
            "has the method, hyper-parameters, weights, set, scale and protocol.",
            "A part of a set is close at best. Of several runs that fit, weights at hand come "
            "first, then the longest training, then the latest.",
        ),
    )
