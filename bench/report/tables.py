"""The comparison table as values: what stands in each cell, what is marked, what is said below.

A row is a method, columns are grouped by data set as in the super-resolution papers. Sets stand
side by side as long as a table keeps to MOST_COLUMNS: four sets with two metrics are one table, a
set with six metrics is one of its own. So a table fits a page, and its raw Markdown a screen.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.measure.metrics import metric
from bench.records.cell import Cell
from bench.report.marks import MARK, against_best, images_of, mark_notes, scatter_section
from bench.report.means import means_of
from bench.report.provenance import Section, image_count, summary, tiny_runs
from bench.report.rows import Row
from bench.report.scores import ARROWS, DASH, Column, printed_number
from bench.report.stats import Mean, ranks
from bench.report.why import Facts, column_facts, row_facts
from bench.study.fields import Study
from bench.study.words import ensemble_text

MOST_COLUMNS = 8
NO_SCATTER = Section("", (), ())


@dataclass(frozen=True)
class Entry:
    """One number as printed, without markup."""

    value: str = DASH
    spread: str = ""
    place: int = 0
    """1 best, 2 second, 0 neither."""
    mark: str = ""
    """"*": over fewer images than others of its column, so not ranked. "≈": cannot be told from the
    best of its column."""


@dataclass(frozen=True)
class Table:
    """A table without markup; `groups` holds for each data set its columns' headers."""

    title: str
    about: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    notes: tuple[str, ...]
    scatter: Section = NO_SCATTER
    """How far its numbers scatter; stands further down."""
    row_facts: tuple[Facts, ...] = ()
    column_facts: tuple[Facts, ...] = ()
    """Where the numbers of a row and of a column come from."""


def make_tables(
    study: Study, cells: Sequence[Cell], rows: Sequence[Row], columns: Sequence[Column]
) -> list[Table]:
    """Returns the tables that together have all columns, each with its source above and below."""
    tables = []
    facts = tuple(row_facts(study, row) for row in rows)
    for part in _side_by_side(columns):
        mixed = len({column.protocol for column in part if column.protocol}) > 1
        means = means_of(rows, part)
        beside = against_best(part, means)
        unsure = {(one.row, one.column) for one in beside if not one.told}
        entries = list(
            zip(*(_column(c, means, k, unsure) for k, c in enumerate(part)), strict=True)
        )
        key = lambda c: (study.key(c.dataset, c.scale), c.place)  # noqa: E731  the group's identity
        groups = [(place, list(group)) for place, group in groupby(part, key)]
        title = ", ".join(place + _partial(cells, name) for (name, place), _ in groups)
        tables.append(
            Table(
                title=title,
                about=summary(study, rows, part),
                groups=tuple(
                    (
                        f"{place}{_partial(cells, name).replace(' images', '')}"
                        f"{_seen(study, cells, group[0].dataset)}",
                        tuple(_header(c, mixed=mixed, many=len(groups) > 1) for c in group),
                    )
                    for (name, place), group in groups
                ),
                rows=tuple(
                    (f"{row.label}{_tiny(row)}", entry)
                    for row, entry in zip(rows, entries, strict=True)
                ),
                notes=(
                    *mark_notes(rows, part, beside),
                    *_skipped(study, rows, part),
                    *_notes(rows, part, means),
                ),
                scatter=scatter_section(title, rows, part, means),
                row_facts=facts,
                column_facts=tuple(column_facts(study, cells, column) for column in part),
            )
        )
    return tables


def _side_by_side(columns: Sequence[Column]) -> list[list[Column]]:
    parts: list[list[Column]] = []
    for _, found in groupby(columns, lambda c: (c.dataset, c.scale)):
        group = list(found)
        if parts and len(parts[-1]) + len(group) <= MOST_COLUMNS:
            parts[-1] += group
        else:
            parts.append(group)
    return parts


def _column(
    column: Column, means: list[list[Mean | None]], k: int, unsure: Collection[tuple[int, int]]
) -> list[Entry]:
    facts = metric(column.metric)
    mine = [row[k] for row in means]
    every = images_of(mine)
    printed = [
        round(mean.value, facts.digits) if mean and mean.images.keys() == every else None
        for mean in mine
    ]
    if facts.direction == "neither":
        printed = [None] * len(printed)
    places = ranks(printed, facts.direction == "higher")
    return [
        Entry()
        if mean is None
        else Entry(
            printed_number(mean.value, facts.digits),
            "" if math.isnan(mean.spread) else f"{mean.spread:.{facts.digits}f}",
            place,
            "*" if mean.images.keys() != every else MARK * ((r, k) in unsure and any(places)),
        )
        for r, (mean, place) in enumerate(zip(mine, places, strict=True))
    ]


def _header(column: Column, *, mixed: bool, many: bool) -> str:
    facts = metric(column.metric)
    protocol = f" [{column.protocol}]" if mixed and column.protocol else ""
    unit = f" ({facts.unit})" if facts.unit and not many else ""
    arrow = ARROWS[facts.direction]
    return f"{column.title}{protocol}{f' {arrow}' if arrow else ''}{unit}"


def _partial(cells: Sequence[Cell], benchmark: str) -> str:
    counts = {
        image_count(used)
        for cell in cells
        if (used := cell.datasets.get(benchmark)) and used.count < used.official
    }
    return f" (partial: {', '.join(sorted(counts))})" if counts else ""


def _seen(study: Study, cells: Sequence[Cell], dataset: str) -> str:
    """That the sampler saw a set, and how much it searched there."""
    if study.select is None or dataset != study.select.dataset:
        return ""
    searched = len({(cell.method, cell.trial) for cell in cells if cell.swept})
    return f" (seen by the sampler, {searched} trial{'s' * (searched != 1)})"


def _tiny(row: Row) -> str:
    kept = " [kept]" if any(cell.kept for cell in row.cells) else ""
    cost = max((cell.ensemble for cell in row.cells), default=0.0)
    ensemble = f" [{ensemble_text(cost)}]" if cost else ""
    return (" [tiny run]" if tiny_runs([row]) else "") + ensemble + kept


def _notes(
    rows: Sequence[Row], columns: Sequence[Column], means: list[list[Mean | None]]
) -> list[str]:
    notes = _unavailable(rows, columns) + _noted(rows, columns, means)
    for k, column in enumerate(columns):
        mine = [row[k] for row in means]
        name = f"{column.place} {column.title}"
        every = images_of(mine)
        for row, mean in zip(rows, mine, strict=True):
            if mean and len(mean.images) < len(every):
                notes.append(
                    f"* {row.label}, {name}: mean over {len(mean.images)} of {len(every)} images, "
                    "so not ranked."
                )
            if mean and (infinite := sum(map(math.isinf, mean.images.values()))):
                notes.append(
                    f"{row.label}, {name}: {infinite} of {len(mean.images)} images are "
                    "equal to HR, which makes the value infinite."
                )
        asked = max((mean.total for mean in mine if mean), default=0)
        if every and len(every) < asked:
            notes.append(f"{name}: {asked - len(every)} of {asked} images have no value.")
    return notes


def _skipped(study: Study, rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Why a row has dashes on a whole set."""
    places = {study.key(c.dataset, c.scale): c.place for c in columns}
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for cell in row.cells[:1]:
            for key, why in cell.skipped.items():
                if key in places:
                    reasons.setdefault(why, []).append(f"{row.label} on {places[key]}")
    return [f"{DASH} {', '.join(where)}: {why.rstrip('.')}." for why, where in reasons.items()]


def _unavailable(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Why there are dashes: each reason once, with the methods it holds for if not for all."""
    metrics, datasets = {c.metric for c in columns}, {c.dataset for c in columns}
    titles = {c.metric: c.title for c in columns}
    whole: dict[tuple[str, str], list[str]] = {}
    single: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for cell in row.cells:
            for name, reason in cell.unavailable.items():
                if name in metrics:
                    whole.setdefault((name, reason), []).append(row.label)
            for score in cell.scores:
                if score.why and score.metric in metrics and score.dataset in datasets:
                    place = (score.metric, score.dataset, score.why)
                    single.setdefault(place, []).append(score.image)
    filled = sum(bool(row.cells) for row in rows)
    notes = []
    for (name, reason), labels in whole.items():
        who = "" if len(set(labels)) == filled else f" for {', '.join(dict.fromkeys(labels))}"
        notes.append(f"{DASH} {titles[name]}{who}: {reason}")
    for (name, dataset, reason), images in single.items():
        known = sorted(set(images))
        first = ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")
        notes.append(f"{titles[name]} on {dataset} ({first}): {reason}")
    return notes


def _noted(
    rows: Sequence[Row], columns: Sequence[Column], means: list[list[Mean | None]]
) -> list[str]:
    """What the metrics say of their scores: for all images, and how many single ones."""
    names = dict.fromkeys(column.metric for column in columns)
    notes = [text for name in names if (text := metric(name).remark)]
    for k, column in enumerate(columns):
        told: list[str] = []
        total = 0
        for row, of_row in zip(rows, means, strict=True):
            place = (column.dataset, column.scale, column.metric)
            said = {
                s.image: s.note
                for cell in row.cells
                for s in cell.scores
                if s.note and (s.dataset, s.scale, s.metric) == place
            }
            mean = of_row[k]
            scored = mean.images if mean else ()
            told += [said[image] for image in scored if image in said]
            total += len(scored)
        where = f"{column.title} on {column.dataset}"
        notes += [f"{where}: {n} of {total} pictures are {t}." for t, n in Counter(told).items()]
    return notes
