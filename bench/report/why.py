"""Where one number of a table comes from, and the command that makes it again."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.errors import BenchError, unknown
from bench.measure.metrics import metric
from bench.measure.protocol import PROTOCOLS
from bench.records.cell import Cell, UsedDataset, load_records
from bench.report.means import means_of
from bench.report.provenance import commit, image_count, tiny_runs
from bench.report.rows import Row, choose_rows
from bench.report.scores import DASH, Column, columns_of, printed_number
from bench.study.fields import MethodSection, Study

Facts = list[tuple[str, str]]
VERSIONS = ("bench", "torch", "numpy", "python")
AGAIN = "again"
"""Names the command among the facts, of which row and column have a part each."""


def column_facts(study: Study, cells: Sequence[Cell], column: Column) -> Facts:
    """Returns what all numbers of a column share: images, protocol, metric."""
    key = study.key(column.dataset, column.scale)
    used = list(dict.fromkeys(c.datasets[key] for c in cells if key in c.datasets))
    rules = PROTOCOLS.get(column.protocol)
    title = f": {rules.title}" if rules else ""
    direction = {"higher": "more is better", "lower": "less is better"}
    told = [column.title, direction.get(metric(column.metric).direction, "")]
    return [
        ("set", f"{column.place}, {'; '.join(map(_whole_or_part, used)) or 'not measured'}"),
        ("its LR", "; ".join(dict.fromkeys(u.source for u in used)) or DASH),
        ("its fingerprint", "; ".join(dict.fromkeys(u.fingerprint for u in used)) or DASH),
        ("metric", ", ".join(filter(None, told))),
        ("protocol", f"{column.protocol or DASH}{title}"),
        (AGAIN, goes_on(column)),
    ]


def _whole_or_part(used: UsedDataset) -> str:
    return image_count(used) + (", PARTIAL" if used.count < used.official else "")


def row_facts(study: Study, row: Row) -> Facts:
    """Returns what all numbers of a row share: method, weights, runs, versions."""
    if not row.cells:
        return [("row", "no finished record yet")]
    first, section = row.cells[0], study.methods[row.method]
    values = ", ".join(f"{name} {value}" for name, value in sorted(first.parameters.items()))
    weights = [text for name, text in first.decided_by.items() if "weights" in name]
    made = shlex.join(section.command) if section.command else section.folder
    facts = [
        ("method", made or first.use or "the originals themselves"),
        ("tiny run", tiny_runs([row])),
        ("hyper-parameters", values),
        ("weights", ", ".join(filter(None, [section.weights, *weights]))),
    ]
    for cell in row.cells:
        seed = f"seed {cell.seed}: " if len(row.cells) > 1 else ""
        facts += [(seed + name, text) for name, text in _cell_facts(cell)]
    if len(row.cells) > 1:
        facts.append(("mean over", "these seeds; what follows makes the first one's number again"))
    facts.append((AGAIN, begins_again(study, row)))
    return [(name, text) for name, text in facts if text]


def _cell_facts(cell: Cell) -> Iterator[tuple[str, str]]:
    """Of one seed."""
    known = cell.environment
    yield "run", cell.run_id
    yield "record", f"{cell.file_name}.json, decided by {cell.fingerprint[:12]}"
    yield "commit", commit(cell)
    yield "date", f"{cell.started[:19]} UTC" if cell.started else ""
    for stage in cell.stages:
        yield (
            f"stage {stage.name}",
            f"{stage.steps} updates on {stage.device} in {stage.precision}, "
            f"{stage.updates and f'{stage.updates}, '}key {stage.key[:12]}",
        )
    driver = f"driver {known['driver']}" if "driver" in known else ""
    yield "machine", ", ".join(filter(None, (known.get("host"), known.get("device"), driver)))
    yield "versions", ", ".join(f"{name} {known[name]}" for name in VERSIONS if name in known)


def begins_again(study: Study, row: Row) -> str:
    """Returns the command that makes a row's numbers again, less what a column adds to it."""
    section = study.methods[row.method]
    made = section.folder is not None or section.command is not None
    if made or not row.cells or not row.cells[0].use:
        return shlex.join(["bench", "sweep", str(study.path or f"{study.name}.yaml")])
    ensemble = ["--ensemble"] * bool(row.cells[0].ensemble)
    return shlex.join(["bench", "eval", *_method(row.cells[0], section), *ensemble])


def goes_on(column: Column) -> str:
    """Returns what a column adds to a command of `bench eval`."""
    words = ["--datasets", column.dataset, "--scale", str(column.scale), "--metrics", column.metric]
    return shlex.join(words + (["--protocol", column.protocol] if column.protocol else []))


def command(study: Study, row: Row, column: Column) -> str:
    """Returns the command line that makes the number again on this machine."""
    begun = begins_again(study, row)
    return f"{begun} {goes_on(column)}" if begun.startswith("bench eval ") else begun


def _method(cell: Cell, section: MethodSection) -> list[str]:
    """A method as `bench eval` takes it: a trial of the study, or a class with its weights."""
    if cell.stages and section.weights is None:
        return [f"{cell.study}/{cell.file_name}"]
    words = [cell.use]
    if section.weights is not None:
        words += ["--weights", section.weights]
    for name, value in {**section.fixed, **cell.swept}.items():
        words += ["--param", f"{name}={value}"]
    return words


def why(name: str, method: str, dataset: str, metric_name: str) -> dict[str, Any]:
    """Returns value and facts of every number of a study with that row, set and metric.

    method: a row's name, or a trial's as the table has it, "edsr t003". Raises BenchError with the
    known names.
    """
    study, cells, _ = load_records(name)
    rows = [r for r in choose_rows(study, cells)[0] if method in (r.method, r.label, _short(r))]
    if not rows:
        raise BenchError(unknown(f"row of {name}", method, [*study.methods]))
    columns = columns_of(study, cells)
    known = dict.fromkeys(word for c in columns for word in (c.dataset, c.place))
    of_set = [c for c in columns if dataset in (c.dataset, c.place)]
    if not of_set:
        raise BenchError(unknown(f"data set of {name}", dataset, known))
    asked = [c for c in of_set if metric_name in (c.metric, c.assessor)]
    if not asked:
        raise BenchError(unknown(f"metric of {name}", metric_name, {c.metric for c in of_set}))
    return {
        "study": study.name,
        "numbers": [_number(study, cells, row, column) for row in rows for column in asked],
    }


def _short(row: Row) -> str:
    return row.cells[0].label if row.cells else row.method


def _number(study: Study, cells: Sequence[Cell], row: Row, column: Column) -> dict[str, Any]:
    ((mean,),) = means_of([row], [column])
    value, asked = (mean.value, mean.total) if mean else (math.nan, 0)
    facts = [*column_facts(study, cells, column), *row_facts(study, row)]
    return {
        "row": row.label + (" [tiny run]" if tiny_runs([row]) else ""),
        "column": f"{column.place} {column.title}",
        "value": printed_number(value, metric(column.metric).digits),
        "images": len(mean.images) if mean else 0, "asked": asked,
        "facts": {**dict(facts), AGAIN: command(study, row, column)},
    }  # fmt: skip


def _count(number: Mapping[str, Any]) -> str:
    """ "14", or "11 of 14" where some images have no value."""
    images, asked = number["images"], number["asked"]
    return f"{images}" if images == asked else f"{images} of {asked}"


def why_text(found: dict[str, Any]) -> str:
    """Returns the facts for people."""
    blocks = []
    for number in found["numbers"]:
        facts = number["facts"]
        wide = max(map(len, facts))
        blocks.append(
            "\n".join(
                [f"{found['study']}, {number['row']}: {number['column']} = {number['value']}, "
                 f"{_count(number)} images",
                 *(f"  {name.ljust(wide)}  {text}" for name, text in facts.items())]
            )
        )  # fmt: skip
    return "\n\n".join(blocks)
