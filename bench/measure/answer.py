"""A folder's scores as people and programs read them: table, CSV, JSON."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from bench.data.files import as_text, whole
from bench.measure.folder import FolderScores
from bench.measure.metrics import metric

_DASH = "-"


def to_json(found: FolderScores) -> dict[str, Any]:
    """Returns plain values; what is not a finite number is None, with the reason."""
    shown = {name: found.why(name) for name in found.metrics}
    return {
        "folder": as_text(str(found.folder)),
        "against": found.against,
        "protocol": found.protocol,
        "scale": found.scale,
        "count": len(found.images),
        "official": found.paired.official,
        "partial": found.partial,
        "absent": list(found.paired.absent),
        "mean": {name: _finite(found.mean(name)) for name in found.metrics},
        "images": [
            {"image": stem, **{n: _finite(s[n].value) if n in s else None for n in found.metrics}}
            for stem, s in found.images.items()
        ],
        "unavailable": {name: why for name, why in shown.items() if why} | found.unavailable,
        "assessors": dict(found.labels),
        "notes": found.notes(),
        "computed": found.computed,
        "stored": found.stored,
    }


def to_csv(found: FolderScores) -> str:
    """Returns one line an image, in full precision; empty where there is no value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["image", *(found.labels.get(name, name) for name in found.metrics)])
    for stem, scores in found.images.items():
        values = [scores[n].value if n in scores else math.nan for n in found.metrics]
        writer.writerow([stem, *("" if math.isnan(v) else repr(v) for v in values)])
    return file.getvalue()


def to_markdown(found: FolderScores) -> str:
    """Returns a table with a line for each image and one for all, its protocol and its remarks."""
    header = ["image", *(_title(found, name) for name in found.metrics)]
    rows = [
        [_cell(stem), *(_number(mine[n].value, n) if n in mine else _DASH for n in found.metrics)]
        for stem, mine in found.images.items()
    ]
    every = f"**PARTIAL: {_part(found)}**" if found.partial else "**all**"
    rows.append([every, *(_number(found.mean(name), name) for name in found.metrics)])
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        "| "
        + " | ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        + " |"
        for cells in (header, rule, *rows)
    ]
    told = [f"- {text}" for text in remarks(found)]
    return "\n".join([about(found), "", *lines, *([""] if told else []), *told]) + "\n"


def about(found: FolderScores) -> str:
    """Returns the line above the table: what was compared, how, and how much of it."""
    whole = f"PARTIAL: {_part(found)}" if found.partial else str(len(found.images))
    against = f"against {found.against}" if found.against else "without reference"
    folder = as_text(str(found.folder))
    return f"{folder} {against}, x{found.scale}, {found.protocol}, {whole} images"


def remarks(found: FolderScores) -> list[str]:
    """Returns why there are dashes, and what the metrics say of their scores."""
    reasons = [f"{name}: {why}" for name in found.metrics if (why := found.why(name))]
    absent = list(found.paired.absent)
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        reasons.append(f"not restored: {', '.join(absent[:5])}{more}")
    return reasons + found.notes()


def write_answer(found: FolderScores, out: Path) -> list[Path]:
    """Writes scores.json, scores.csv and scores.md, each whole or not at all."""
    texts = {
        "scores.json": json.dumps(to_json(found), indent=1) + "\n",
        "scores.csv": to_csv(found),
        "scores.md": to_markdown(found),
    }
    for name, text in texts.items():
        with whole(out / name) as file:
            file.write(text.encode())
    return [out / name for name in texts]


def _part(found: FolderScores) -> str:
    return f"{len(found.images)}/{found.paired.official}"


def _cell(text: str) -> str:
    """A file's name as one cell: it may hold any character."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return shown.replace("|", "\\|")


def _title(found: FolderScores, name: str) -> str:
    facts = metric(name)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(facts.direction, "")
    unit = f" ({facts.unit})" if facts.unit else ""
    return f"{found.labels.get(name, name)}{unit}{arrow}"


def _number(value: float, name: str) -> str:
    if math.isnan(value):
        return _DASH
    return "inf" if math.isinf(value) else f"{value:.{metric(name).digits}f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
