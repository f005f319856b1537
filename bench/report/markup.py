"""The same report in three languages: Markdown and LaTeX here, HTML in page/."""

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


# Markdown


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


# LaTeX

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "±": r"$\pm$", "≈": r"$\approx$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
    "†": r"$\dagger$",
    "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MINUS SIGN}": "$-$", "·": r"$\cdot$", "\n": " ",
}  # fmt: skip

# \table is defined by every document class and by nothing before it.
_ALONE = r"""% Compiles alone; \input into a paper (with booktabs, graphicx) it gives the tables.
\ifdefined\table\let\tablesend\relax\else
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
\def\tablesend{\end{document}}
\fi
"""


def to_latex(report: Report) -> str:
    """Returns booktabs tables, for pdflatex; other languages' letters become "?"."""
    said = [f"Found. {report.found}"] if report.found else []
    parts = [_ALONE, *(f"% {_ascii(remark)}\n" for remark in [*said, *report.remarks])]
    parts += [_latex_table(report, table) for table in report.tables]
    for section in report.sections:
        parts += [_latex_section(report, section)] if section.printed else _comments(section)
    return "".join([*parts, "\\tablesend\n"])


def _comments(section: Section) -> list[str]:
    parts = [f"% {_ascii(text)}\n" for text in (section.heading, section.about) if text]
    table = (section.header, *section.rows) if section.header else ()
    parts += [f"%   {_ascii(' | '.join(row))}\n" for row in table]
    return parts + [f"%   {_ascii(note)}\n" for note in section.notes]


def _latex_table(report: Report, table: Table) -> str:
    first, rules, start = [""], [], 2
    for place, names in table.groups:
        first.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{_tex(place)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
        start += len(names)
    second = ["method", *(_tex(name) for _, names in table.groups for name in names)]
    head = [" & ".join(first) + r" \\", "".join(rules), " & ".join(second) + r" \\"]
    body = [" & ".join([_tex(label), *map(_latex_entry, row)]) for label, row in table.rows]
    columns = f"l{'r' * (start - 2)}"
    return _float(report, table.title, table.about, columns, head, body, table.notes)


def _latex_section(report: Report, section: Section) -> str:
    head, *body = (" & ".join(map(_tex, line)) for line in (section.header, *section.rows))
    columns = "l" * len(section.header)
    return _float(
        report, section.heading, section.about, columns, [head + r" \\"], body, section.notes
    )


def _float(
    report: Report,
    title: str,
    about: str,
    columns: str,
    head: Sequence[str],
    body: Sequence[str],
    notes: Sequence[str],
) -> str:
    label = f"tab:{_label(report.title)}:{_label(title)}"
    below = "".join(f"\\par {_tex(note)}\n" for note in notes)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{_tex(title)}. {_tex(about)}}}",
        rf"\label{{{label}}}",
        r"\par\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *head,
        r"\midrule",
        *(line + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\begin{minipage}{\linewidth}\footnotesize\medskip",
        rf"{below}\end{{minipage}}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return re.sub("[^a-z0-9_]+", "-", text.lower()).strip("-")[:60]


def _latex_entry(entry: Entry) -> str:
    value = _tex(entry.value)
    mark = {1: rf"\textbf{{{value}}}", 2: rf"\underline{{{value}}}"}.get(entry.place, value)
    spread = rf" {{\scriptsize $\pm$ {entry.spread}}}" if entry.spread else ""
    return mark + spread + _tex(marked(entry))


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c if c.isprintable() and ord(c) < 0x180 else "?") for c in text)


def _ascii(text: str) -> str:
    plain = " ".join(text.split()).replace("±", "+-").replace("\N{EM DASH}", "--")
    return plain.encode("ascii", "replace").decode()
