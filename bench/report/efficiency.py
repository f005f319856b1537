"""Tables of what methods cost: of `bench speed`, and as columns of a study's table."""

from collections.abc import Sequence
from dataclasses import replace

from bench.records.speed import CONVENTION, Speed
from bench.report.markup import Report
from bench.report.rows import Row
from bench.report.scores import DASH
from bench.report.tables import MOST_COLUMNS, Entry, Table
from bench.report.why import row_facts
from bench.study.fields import Study

HEADER = ("parameters", "multiply-adds (G)", "latency (ms)", "memory (MB)")


def speed_report(measured: Sequence[tuple[str, Speed]]) -> Report:
    """Returns a table for each device, a row for each method and size."""
    tables, absent = [], []
    for device in dict.fromkeys(speed.device for _, speed in measured):
        rows = [(label, speed) for label, speed in measured if speed.device == device]
        reasons = {speed.failed for _, speed in rows}
        if len(reasons) == 1 and "" not in reasons:
            absent.append(f"{device}, {len(rows)} of {len(rows)} cases: {reasons.pop()}")
        else:
            tables.append(_table(rows))
    return Report("speed", "", (f"{CONVENTION}.", *absent), tables, (), (), ())


def _table(rows: Sequence[tuple[str, Speed]]) -> Table:
    """The table of one device."""
    known = next(speed for _, speed in rows if not speed.failed)
    names = ("input", *HEADER[:3], "MP/s", HEADER[3], "precision")
    lines = tuple(
        (
            label,
            (
                Entry(s.size),
                *entries(s)[:3],
                Entry(_number(s.throughput)),
                entries(s)[3],
                Entry(s.precision),
            ),
        )
        for label, s in rows
    )
    scales = sorted({speed.scale for _, speed in rows if not speed.failed})
    about = (
        f"Host {known.machine}, torch {known.torch}, {' and '.join(f'x{k}' for k in scales)}; "
        "all in one run."
    )
    place = f"{known.device}: {known.hardware}"
    return Table(place, about, (("", names),), lines, tuple(notes(rows)))


def with_efficiency(tables: list[Table], study: Study, rows: Sequence[Row]) -> list[Table]:
    """Returns a study's tables with columns of what its rows cost, if it asks for them: beside the
    first table's scores where there is room, else as a table of their own."""
    if not study.evaluate.efficiency or not rows:
        return tables
    scales, size = study.task.scales, study.evaluate.efficiency_at
    found = {
        scale: [_speed_of(row, scale, size) for row in rows] for scale in scales
    }  # in the order of the rows
    groups = tuple((f"input {size} x{scale}", HEADER) for scale in scales)
    cells = [
        tuple(cell for scale in scales for cell in _cells(found[scale][k]))
        for k in range(len(rows))
    ]
    told = tuple(_told(rows, [speed for scale in scales for speed in found[scale]]))
    facts = tuple([("cost", f"{name}, {place}")] for place, names in groups for name in names)
    width = sum(len(names) for _, names in (*tables[0].groups, *groups)) if tables else 0
    if tables and width <= MOST_COLUMNS:
        first = tables[0]
        pairs = zip(first.rows, cells, strict=True)
        wide = replace(
            first,
            groups=(*first.groups, *groups),
            rows=tuple((label, (*mine, *more)) for (label, mine), more in pairs),
            notes=(*first.notes, *told),
            column_facts=(*first.column_facts, *facts),
        )
        return [wide, *tables[1:]]
    lines = tuple((row.label, mine) for row, mine in zip(rows, cells, strict=True))
    about = f"Study {study.name}; measured at the end of the sweep, row by row."
    known = tuple(row_facts(study, row) for row in rows)
    own = Table("Efficiency", about, groups, lines, told, row_facts=known, column_facts=facts)
    return [*tables, own]


def _speed_of(row: Row, scale: int, size: str) -> Speed | None:
    found = [s for cell in row.cells for s in cell.efficiency if (s.scale, s.size) == (scale, size)]
    return found[0] if found else None


def _cells(speed: Speed | None) -> tuple[Entry, ...]:
    return entries(speed) if speed else (Entry(),) * len(HEADER)


def _told(rows: Sequence[Row], speeds: Sequence[Speed | None]) -> list[str]:
    """What the numbers are, on which machine, and why some are not there."""
    labels = [row.label for row in rows] * (len(speeds) // len(rows))
    known = [(label, s) for label, s in zip(labels, speeds, strict=True) if s]
    absent = dict.fromkeys(
        label for label, speed in zip(labels, speeds, strict=True) if speed is None
    )
    places = dict.fromkeys(
        f"{s.hardware} of host {s.machine}, torch {s.torch}" for _, s in known if not s.failed
    )
    told = [f"Efficiency on {' and '.join(places)}. {CONVENTION}."] if places else []
    if len(places) > 1:
        told.append("Those are several machines: their latencies cannot be compared.")
    if absent:
        told.append(
            f"{DASH} efficiency of {', '.join(absent)}: not measured, for a row of pictures has "
            "none and a program's time includes its start-up; or sweep again."
        )
    return told + notes(known)


def entries(speed: Speed) -> tuple[Entry, ...]:
    """Returns what stands below HEADER."""
    counted = None if speed.multiply_adds is None else speed.multiply_adds / 1e9
    seconds = None if speed.seconds is None else 1e3 * speed.seconds
    memory = None if speed.memory is None else speed.memory / 1e6
    parameters = f"{speed.parameters:,}" if speed.parameters or speed.seconds else DASH
    return (
        Entry(parameters),
        Entry(_number(counted)),
        Entry(_number(seconds), mark="†" * bool(speed.tile)),
        Entry(_number(memory)),
    )


def _number(value: float | None) -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 100 else f"{float(f'{value:.3g}'):.6g}"


def notes(rows: Sequence[tuple[str, Speed]]) -> list[str]:
    """Returns why there are dashes, each reason once, and what was restored in tiles."""
    found: dict[str, dict[str, list[str]]] = {}
    for label, speed in rows:
        told = {
            f"{DASH} latency: {speed.failed}": speed.failed,
            f"† in tiles of {speed.tile} pixels, for want of memory": speed.tile,
            "a single run, for it was long": speed.runs == 1,
            f"{DASH} multiply-adds: {speed.not_counted}": speed.not_counted,
        }
        for why in [why for why, holds in told.items() if holds]:
            found.setdefault(why, {}).setdefault(label, []).append(speed.size)
    return [
        f"{why} ({'; '.join(f'{label} at {_sizes(sizes)}' for label, sizes in who.items())})."
        for why, who in found.items()
    ]


def _sizes(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))
