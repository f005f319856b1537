"""Rows of several studies in one table, where they can stand beside each other."""

from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.records.cell import Cell, load_records
from bench.report.found import paragraph
from bench.report.markup import Report
from bench.report.provenance import remarks, sections
from bench.report.render import write_texts
from bench.report.rows import Row, choose_rows
from bench.report.scores import columns_of
from bench.report.tables import make_tables
from bench.study.fields import Study


def join(
    names: Sequence[str], out: Path | None, formats: Sequence[str]
) -> tuple[list[str], dict[str, Path]]:
    """Writes one report of several studies; returns which sets were left out and why, and files.

    A set is joined where all studies that measured it did so under one protocol and on the same
    files. Raises BenchError for fewer than two studies, for other tasks, and where no set is left.
    """
    if len(set(names)) < 2:
        raise BenchError("Name two studies or more, each once.")
    loaded = [load_records(name)[:2] for name in names]
    first = loaded[0][0]
    for study, _ in loaded[1:]:
        if study.task != first.task:
            raise BenchError(
                f"{first.name} and {study.name} cannot be compared: their tasks are "
                f"{_task(first)} and {_task(study)}."
            )
    everything = [cell for _, cells in loaded for cell in cells]
    joint = _joint(loaded)
    reasons = _misfits(joint, loaded)
    kept = tuple(name for name in joint.evaluate.datasets if name not in reasons)
    if not {score.dataset for cell in everything for score in cell.scores} & set(kept):
        raise BenchError("\n".join(["No set can be joined.", *reasons.values()]))
    evaluate = joint.evaluate.model_copy(update={"datasets": kept})
    joint = joint.model_copy(update={"evaluate": evaluate})
    rows, told = [], list(reasons.values())
    for study, cells in loaded:
        mine, cuts = choose_rows(study, cells)
        told += [f"{study.name}: {text}" for text in [*remarks(study, cells, mine), *cuts]]
        rows += [Row(f"{study.name}/{r.method}", f"{study.name}/{r.label}", r.cells) for r in mine]
    tables = make_tables(joint, everything, rows, columns_of(joint, everything))
    below = [*(table.scatter for table in tables), *sections(joint, everything, rows)]
    report = Report(joint.name, "", told, tables, below, [], [], found=paragraph(tables, below))
    folder = f"compare-{'-'.join(names)}"
    return list(reasons.values()), write_texts(report, folder, out, formats)


def _task(study: Study) -> str:
    scales = " ".join(f"x{scale}" for scale in study.task.scales)
    return f"{study.task.kind} {scales} of {study.task.degradation}"


def _joint(loaded: Sequence[tuple[Study, list[Cell]]]) -> Study:
    """A study with the rows, sets and metrics of all; nothing is chosen in it any more."""
    studies = [study for study, _ in loaded]
    sets = tuple(dict.fromkeys(name for s in studies for name in s.evaluate.datasets))
    metrics = tuple(dict.fromkeys(name for s in studies for name in s.evaluate.metrics))
    seen = [s.select for s in studies if s.select and s.select.dataset in sets]
    return studies[0].model_copy(
        update={
            "name": " + ".join(study.name for study in studies),
            "methods": {
                f"{s.name}/{name}": row for s in studies for name, row in s.methods.items()
            },
            "evaluate": studies[0].evaluate.model_copy(
                update={"datasets": sets, "metrics": metrics}
            ),
            "select": seen[0] if seen else None,
            "compare": (),
            "header": "",
        }
    )


def _misfits(joint: Study, loaded: Sequence[tuple[Study, list[Cell]]]) -> dict[str, str]:
    """Set -> why the studies' numbers of it cannot stand in one table."""
    reasons: dict[str, str] = {}
    for dataset in joint.evaluate.datasets:
        protocols, files = (dict[str, list[str]](), dict[str, list[str]]())
        for study, cells in loaded:
            for protocol in sorted(
                {s.protocol for c in cells for s in c.scores if s.dataset == dataset}
            ):
                protocols.setdefault(protocol, []).append(study.name)
            keys = [study.key(dataset, scale) for scale in study.task.scales]
            seen = [[c.datasets[k].fingerprint for c in cells if k in c.datasets] for k in keys]
            if any(seen):
                marks = " ".join("/".join(sorted(set(one)))[:12] for one in seen)
                files.setdefault(marks, []).append(study.name)
        for what, sides in (("under several protocols", protocols), ("on different files", files)):
            if len(sides) > 1:
                told = "; ".join(f"{', '.join(who)}: {text}" for text, who in sides.items())
                reasons.setdefault(dataset, f"{dataset} is left out, measured {what} ({told}).")
    return reasons
