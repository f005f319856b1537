"""What a report says, and how Markdown writes it; LaTeX is in latex.py, HTML in page/."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.page.pictures import Compared
from bench.report.provenance import Section
from bench.report.tables import Entry, Table


@dataclass(frozen=True)
class Figure:
    """A drawn picture and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Report:
    """Everything that a report says, without markup."""

    title: str
    question: str
    """The study's header comment."""
    remarks: Sequence[str]
    tables: Sequence[Table]
    sections: Sequence[Section]
    figures: Sequence[Figure]
    absent: Sequence[str]
    """Why a figure was not drawn."""
    compared: Sequence[Compared] = ()
    """Pictures for the page."""
    found: str = ""
    """What came out, in plain words; stands first."""


def to_markdown(report: Report) -> str:
    """Returns GitHub Markdown whose tables are aligned as raw text too."""
    blocks = [f"# {report.title}"]
    if report.question:
        blocks.append("\n".join(f"> {_md(line)}".rstrip() for line in report.question.splitlines()))
    if report.found:
        blocks.append(f"**Found.** {_md(report.found)}")
    if report.remarks:
        blocks.append("\n".join(f"- {_md(remark)}" for remark in report.remarks))
    for table in report.tables:
        blocks += [f"## {_md(table.title)}", _md(table.about), _markdown_table(table)]
        if table.notes:
            blocks.append("\n".join(f"- {_md(note)}" for note in table.notes))
    if report.figures or report.absent:
        blocks.append("## Figures")
    for figure in report.figures:
        target = f"{figure.path.parent.name}/{figure.path.name}"
        blocks += [f"![{figure.path.stem}]({target})", _md(figure.caption)]
    blocks += [f"Not drawn: {_md(reason)}" for reason in report.absent]
    for section in report.sections:
        blocks += [f"## {_md(section.heading)}", *([_md(section.about)] if section.about else [])]
        if section.header:
            lines = [list(map(_md, line)) for line in (section.header, *section.rows)]
            blocks.append(_grid(lines, [True] * len(section.header)))
        if section.notes:
            blocks.append("\n".join(f"- {_md(note)}" for note in section.notes))
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: Table) -> str:
    many = len(table.groups) > 1
    header = ["method"] + [
        f"{place} {name}" if many else name for place, names in table.groups for name in names
    ]
    lines = [header] + [[label, *map(_markdown_entry, row)] for label, row in table.rows]
    lines = [[_md(line[0]), *line[1:]] for line in lines]
    return _grid(lines, [True] + [False] * (len(header) - 1))


def _grid(lines: list[list[str]], left: list[bool]) -> str:
    """A pipe table, padded so that the raw text lines up."""
    widths = [max(3, *(len(line[k]) for line in lines)) for k in range(len(left))]
    rule = [
        ":" + "-" * (w - 1) if is_left else "-" * (w - 1) + ":"
        for w, is_left in zip(widths, left, strict=True)
    ]
    padded = [
        [
            c.ljust(w) if is_left else c.rjust(w)
            for c, w, is_left in zip(line, widths, left, strict=True)
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _markdown_entry(entry: Entry) -> str:
    mark = {1: f"**{entry.value}**", 2: f"<u>{entry.value}</u>"}.get(entry.place, entry.value)
    spread = f" ± {entry.spread}" if entry.spread else ""
    return mark + spread + _md(marked(entry))


def marked(entry: Entry) -> str:
    """Returns the mark as it follows the number: a star at once, a sign after a space."""
    return entry.mark if entry.mark in ("", "*") else f" {entry.mark}"


def _md(text: str) -> str:
    """Escapes what Markdown would read as markup; a name_like_this needs nothing on GitHub."""
    return re.sub(r"([\\*|<>`])", r"\\\1", text.replace("\n", " "))
