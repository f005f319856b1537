"""The same report in three languages: Markdown, LaTeX, HTML."""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


# Markdown


def to_markdown(report: Report) -> str:
    """Returns GitHub Markdown whose tables are aligned as raw text too."""
    blocks = [f"# {report.title}"]
    if report.question:
        blocks.append("\n".join(f"> {_md(line)}".rstrip() for line in report.question.splitlines()))
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
    return mark + spread + _md(_marked(entry))


def _marked(entry: Entry) -> str:
    """The mark as it follows the number: a star at once, a sign after a space."""
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
    parts = [_ALONE, *(f"% {_ascii(remark)}\n" for remark in report.remarks)]
    parts += [_latex_table(report, table) for table in report.tables]
    for section in report.sections:
        parts += [f"% {_ascii(text)}\n" for text in (section.heading, section.about) if text]
        table = (section.header, *section.rows) if section.header else ()
        parts += [f"%   {_ascii(' | '.join(row))}\n" for row in table]
        parts += [f"%   {_ascii(note)}\n" for note in section.notes]
    return "".join([*parts, "\\tablesend\n"])


def _latex_table(report: Report, table: Table) -> str:
    count = sum(len(names) for _, names in table.groups)
    first, rules, start = [""], [], 2
    for place, names in table.groups:
        first.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{_tex(place)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
        start += len(names)
    second = ["method", *(_tex(name) for _, names in table.groups for name in names)]
    body = [" & ".join([_tex(label), *map(_latex_entry, row)]) for label, row in table.rows]
    notes = "".join(f"\\par {_tex(note)}\n" for note in table.notes)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.about)}}}",
        rf"\label{{tab:{report.title}:{re.sub('[^a-z0-9]+', '-', table.title.lower())}}}",
        r"\par\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * count}}}",
        r"\toprule",
        " & ".join(first) + r" \\",
        "".join(rules),
        " & ".join(second) + r" \\",
        r"\midrule",
        *(line + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\begin{minipage}{\linewidth}\footnotesize\medskip",
        rf"{notes}\end{{minipage}}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines) + "\n"


def _latex_entry(entry: Entry) -> str:
    value = _tex(entry.value)
    mark = {1: rf"\textbf{{{value}}}", 2: rf"\underline{{{value}}}"}.get(entry.place, value)
    spread = rf" {{\scriptsize $\pm$ {entry.spread}}}" if entry.spread else ""
    return mark + spread + _tex(_marked(entry))


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c if c.isprintable() and ord(c) < 0x180 else "?") for c in text)


def _ascii(text: str) -> str:
    plain = " ".join(text.split()).replace("±", "+-").replace("\N{EM DASH}", "--")
    return plain.encode("ascii", "replace").decode()


# HTML

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; }
h1, h2 { font-weight: 600; line-height: 1.2; } h2 { margin-top: 2.5rem; }
blockquote { margin: 0; padding-left: 1rem; border-left: 3px solid #bbb; color: #555; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid #222; border-bottom: 2px solid #222;
        font-variant-numeric: tabular-nums; margin: .8rem 0; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .plain th, .plain td { text-align: left; }
thead { border-bottom: 1px solid #222; } th { font-weight: 600; }
th[colspan] { text-align: center; }
tbody tr:hover { background: #f4f6f8; }
.about, .notes, figcaption { color: #555; font-size: .88rem; } .spread { color: #777; }
.remarks { background: #fff8e6; border: 1px solid #ecd9a0; padding: .6rem .6rem .6rem 2rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; }
"""


def to_html(report: Report) -> str:
    """Returns one self-contained page: figures embedded, nothing fetched, no script."""
    e = html.escape
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{e(report.title)}</title>\n<style>{_STYLE}</style>\n<h1>{e(report.title)}</h1>\n"
    ]
    if report.question:
        parts.append(f"<blockquote>{e(report.question).replace(chr(10), '<br>')}</blockquote>\n")
    parts.append(_html_list(report.remarks, "remarks"))
    for table in report.tables:
        parts += [f"<h2>{e(table.title)}</h2>\n<p class='about'>{e(table.about)}</p>\n"]
        parts += [_html_table(table), _html_list(table.notes, "notes")]
    if report.figures or report.absent:
        parts.append("<h2>Figures</h2>\n")
    for figure in report.figures:
        data = base64.b64encode(figure.path.read_bytes()).decode()
        parts.append(
            f'<figure><img alt="{e(figure.path.stem)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{e(figure.caption)}</figcaption></figure>\n"
        )
    parts += [f"<p>Not drawn: {e(reason)}</p>\n" for reason in report.absent]
    for section in report.sections:
        parts.append(f"<h2>{e(section.heading)}</h2>\n")
        parts += [f"<p class='about'>{e(section.about)}</p>\n"] if section.about else []
        lines = [_html_row(section.header, "th"), *(_html_row(r, "td") for r in section.rows)]
        parts += [_html_scroll(lines[:1], lines[1:], "plain")] if section.header else []
        parts.append(_html_list(section.notes, "notes"))
    return "".join(parts) + "</html>\n"


def _html_table(table: Table) -> str:
    groups = "".join(f'<th colspan="{len(n)}">{html.escape(p)}</th>' for p, n in table.groups)
    names = ("method", *(name for _, names in table.groups for name in names))
    rows = [
        f"<tr><td>{html.escape(label)}</td>{''.join(map(_html_entry, row))}</tr>\n"
        for label, row in table.rows
    ]
    return _html_scroll([f"<tr><th></th>{groups}</tr>\n", _html_row(names, "th")], rows, "scores")


def _html_scroll(head: list[str], body: list[str], kind: str) -> str:
    return (
        f'<div class="scroll"><table class="{kind}">\n<thead>{"".join(head)}</thead>\n'
        f"<tbody>{''.join(body)}</tbody></table></div>\n"
    )


def _html_row(texts: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(t)}</{tag}>' for t in texts)}</tr>\n"


def _html_entry(entry: Entry) -> str:
    mark = {1: f"<b>{entry.value}</b>", 2: f"<u>{entry.value}</u>"}.get(entry.place, entry.value)
    spread = f' <span class="spread">± {entry.spread}</span>' if entry.spread else ""
    return f"<td>{mark}{spread}{_marked(entry)}</td>"


def _html_list(lines: Sequence[str], kind: str) -> str:
    if not lines:
        return ""
    return f'<ul class="{kind}">{"".join(f"<li>{html.escape(x)}</li>" for x in lines)}</ul>\n'
