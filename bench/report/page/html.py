"""The report as one page: no server, nothing fetched, and whole where scripts do not run."""

import base64
import html
import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from bench.report.markup import Report, marked
from bench.report.page.pictures import Compared
from bench.report.tables import Entry, Table

FROM = "from"
"""Of the dialog that says where a number comes from; `page.js` knows it."""


def to_html(report: Report) -> str:
    """Returns the page: figures, pictures, style and scripts stand in it."""
    e = html.escape
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{e(report.title)}</title>\n<style>{asset('page.css')}{asset('compare.css')}</style>\n"
        f"<h1>{e(report.title)}</h1>\n"
    ]
    if report.question:
        parts.append(f"<blockquote>{e(report.question).replace(chr(10), '<br>')}</blockquote>\n")
    if report.found:
        parts.append(f"<p class='found'><b>Found.</b> {e(report.found)}</p>\n")
    parts.append(_list(report.remarks, "remarks"))
    for k, table in enumerate(report.tables):
        parts += [f"<h2>{e(table.title)}</h2>\n<p class='about'>{e(table.about)}</p>\n"]
        parts += [_scores(table, f"{FROM}-{k}"), _list(table.notes, "notes")]
    parts += _compared(report.compared)
    if report.figures or report.absent:
        parts.append("<h2>Figures</h2>\n")
    for figure in report.figures:
        parts.append(
            f"<figure>{_drawing(figure.path)}<figcaption>{e(figure.caption)}</figcaption>"
            "</figure>\n"
        )
    parts += [f"<p>Not drawn: {e(reason)}</p>\n" for reason in report.absent]
    for section in report.sections:
        parts.append(f"<h2>{e(section.heading)}</h2>\n")
        parts += [f"<p class='about'>{e(section.about)}</p>\n"] if section.about else []
        lines = [_row(section.header, "th"), *(_row(r, "td") for r in section.rows)]
        parts += [_scroll(lines[:1], lines[1:], "plain sortable")] if section.header else []
        parts.append(_list(section.notes, "notes"))
    parts.append(
        f'<dialog id="{FROM}" aria-labelledby="{FROM}-title"><h2 id="{FROM}-title"></h2><dl></dl>'
        '<form method="dialog"><button autofocus>Close</button></form></dialog>\n'
        f"<script>{asset('page.js')}</script>\n"
    )
    parts += [f"<script>{asset('compare.js')}</script>\n"] if report.compared else []
    return "".join(parts) + "</html>\n"


@cache
def asset(name: str) -> str:
    """Returns a style or script that ships beside this file."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def data_uri(png: bytes) -> str:
    """Returns a PNG as a page holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _drawing(path: Path) -> str:
    """The figure itself where its points answer, else a picture of it."""
    name, drawn = html.escape(path.stem), path.with_suffix(".svg")
    if drawn.exists():
        return drawn.read_text(encoding="utf-8").replace(
            "<svg ", f"<svg role='img' aria-label='{name}' ", 1
        )
    return f'<img alt="{name}" src="{data_uri(path.read_bytes())}">'


def _compared(compared: Sequence[Compared]) -> Iterator[str]:
    e = html.escape
    for one in compared:
        yield f"<h2>Compare: {e(one.title)}</h2>\n<p class='about'>{e(one.about)}</p>\n"
        yield f'<div class="compare" data-title="{e(one.title)}">\n'
        for picture in one.pictures:
            scores = e("; ".join(picture.scores))
            yield (
                f'<figure><img alt="{e(picture.name)}" src="{data_uri(picture.png)}">'
                f'<figcaption data-scores="{scores}">{e(picture.name)}'
                f"{f'<br>{scores}' if scores else ''}</figcaption></figure>\n"
            )
        yield "</div>\n"


def _scores(table: Table, name: str) -> str:
    """A table of numbers, each with the indices of its row's and column's facts, and the facts."""
    groups = "".join(f'<th colspan="{len(n)}">{html.escape(p)}</th>' for p, n in table.groups)
    names = ("method", *(name for _, names in table.groups for name in names))
    rows = [
        f"<tr><td>{html.escape(label)}</td>"
        f"{''.join(_entry(entry, r, c) for c, entry in enumerate(row))}</tr>\n"
        for r, (label, row) in enumerate(table.rows)
    ]
    facts = {"rows": table.row_facts, "columns": table.column_facts}
    text = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
    head = [f"<tr><th></th>{groups}</tr>\n", _row(names, "th")]
    return (
        f"{_scroll(head, rows, 'scores', f' data-from={name!r}')}"
        "<p class='hint'>A column's name sorts by it; a number, clicked or entered, says where it "
        f"comes from.</p>\n<script type='application/json' id='{name}'>{text}</script>\n"
    )


def _scroll(head: list[str], body: list[str], kind: str, more: str = "") -> str:
    return (
        f'<div class="scroll"><table class="{kind}"{more}>\n<thead>{"".join(head)}</thead>\n'
        f"<tbody>{''.join(body)}</tbody></table></div>\n"
    )


def _row(texts: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(t)}</{tag}>' for t in texts)}</tr>\n"


def _entry(entry: Entry, row: int, column: int) -> str:
    mark = {1: f"<b>{entry.value}</b>", 2: f"<u>{entry.value}</u>"}.get(entry.place, entry.value)
    spread = f' <span class="spread">± {entry.spread}</span>' if entry.spread else ""
    return f'<td data-row="{row}" data-column="{column}">{mark}{spread}{marked(entry)}</td>'


def _list(lines: Sequence[str], kind: str) -> str:
    if not lines:
        return ""
    return f'<ul class="{kind}">{"".join(f"<li>{html.escape(x)}</li>" for x in lines)}</ul>\n'
