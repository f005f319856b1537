"""A report's tables in LaTeX: booktabs, and siunitx where that is asked for."""

import re
from collections.abc import Sequence

from bench.report.markup import Report, marked
from bench.report.provenance import Section
from bench.report.tables import Entry, Table

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


_SIUNITX = (
    r"\sisetup{mode=text,reset-text-family=false,reset-text-series=false,"
    r"reset-text-shape=false,separate-uncertainty=true}"
)


def to_latex(report: Report) -> str:
    """Returns booktabs tables, for pdflatex; other languages' letters become "?"."""
    return _document(report, aligned=False)


def to_siunitx(report: Report) -> str:
    """Returns the same with numbers in columns of siunitx 3, aligned at their points. Such a column
    cannot underline, so the second of it is in italics."""
    text = _document(report, aligned=True).replace("graphicx}", "graphicx,siunitx}")
    text = text.replace("(with booktabs, graphicx)", "(with booktabs, graphicx, siunitx 3)")
    return text.replace("second underlined", "second in italics")


def _document(report: Report, *, aligned: bool) -> str:
    said = [f"Found. {report.found}"] if report.found else []
    parts = [_ALONE, *(f"% {_ascii(remark)}\n" for remark in [*said, *report.remarks])]
    parts += [_latex_table(report, table, aligned) for table in report.tables]
    for section in report.sections:
        parts += [_latex_section(report, section)] if section.printed else _comments(section)
    return "".join([*parts, "\\tablesend\n"])


def _comments(section: Section) -> list[str]:
    parts = [f"% {_ascii(text)}\n" for text in (section.heading, section.about) if text]
    table = (section.header, *section.rows) if section.header else ()
    parts += [f"%   {_ascii(' | '.join(row))}\n" for row in table]
    return parts + [f"%   {_ascii(note)}\n" for note in section.notes]


def _latex_table(report: Report, table: Table, aligned: bool) -> str:
    first, rules, start = [""], [], 2
    for place, names in table.groups:
        first.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{_tex(place)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
        start += len(names)
    labels = [_tex(name) for _, names in table.groups for name in names]
    columns = "r" * len(labels)
    if aligned:  # a column of siunitx takes words in braces
        labels = [f"{{{label}}}" for label in labels]
        columns = "".join(map(_aligned_column, zip(*(row for _, row in table.rows), strict=True)))
    second, entry = ["method", *labels], _aligned_entry if aligned else _latex_entry
    head = [" & ".join(first) + r" \\", "".join(rules), " & ".join(second) + r" \\"]
    body = [" & ".join([_tex(label), *map(entry, row)]) for label, row in table.rows]
    return _float(report, table.title, table.about, f"l{columns}", head, body, table.notes)


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
        *([_SIUNITX] if "S[" in columns else []),
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


def _aligned_column(entries: Sequence[Entry]) -> str:
    """ "S[table-format=2.2(2)]": digits before and after the point, and of the spread."""
    parts = [entry.value.partition(".") for entry in entries if _is_number(entry.value)]
    whole = max((len(part[0].lstrip("-")) for part in parts), default=1)
    sign = "-" * any(part[0].startswith("-") for part in parts)
    after = max((len(part[2]) for part in parts), default=0)
    spreads = [
        entry.spread.replace(".", "").lstrip("0") or "0" for entry in entries if entry.spread
    ]
    spread = f"({max(map(len, spreads))})" if spreads else ""
    marks = max((_tex(marked(entry)) for entry in entries), key=len, default="")
    room = f",table-space-text-post={{{marks}}}" if marks else ""
    return f"S[table-format={sign}{whole}.{after}{spread}{room}]"


def _aligned_entry(entry: Entry) -> str:
    mark = f" {{{_tex(marked(entry))}}}" if entry.mark else ""
    if not _is_number(entry.value):
        return f"{{{_tex(entry.value + marked(entry))}}}"
    face = {1: r"\bfseries ", 2: r"\itshape "}.get(entry.place, "")
    spread = rf" \pm {entry.spread}" if entry.spread else ""
    return f"{face}{entry.value}{spread}{mark}"


def _is_number(value: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", value) is not None


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c if c.isprintable() and ord(c) < 0x180 else "?") for c in text)


def _ascii(text: str) -> str:
    plain = " ".join(text.split()).replace("±", "+-").replace("\N{EM DASH}", "--")
    return plain.encode("ascii", "replace").decode()
