"""Verbs about files that come from elsewhere: data, fetch."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from bench.cli.common import JSON, PATH, print_json


@click.group()
def data() -> None:
    """Checks benchmark sets, and makes LR files."""


@data.command("check")
@click.argument("names", nargs=-1)
@click.option("--scale", type=click.IntRange(1, 8), help="Only this one [all that are there].")
@JSON
def data_check(names: tuple[str, ...], scale: int | None, as_json: bool) -> int:
    """Reads every file of benchmark sets.

    NAMES are sets, or folders of your own with a slash; all sets if none is given.
    """
    from dataclasses import asdict

    from bench.data.catalog import DATASETS
    from bench.data.datacheck import check_set, check_text
    from bench.data.sets import missing

    checked = []
    for name in names or DATASETS:
        checked.append(check_set(name, scale))
        if not as_json:
            brief = not names and missing(name)
            click.echo(f"{name}: MISSING" if brief else check_text(checked[-1]))
    if as_json:
        print_json({"datasets": [asdict(one) | {"count": one.count} for one in checked]})
    elif not names:
        click.echo("`bench data check NAME` says how to get a missing set, and where it belongs.")
    wrong = any(one.problems or (names and one.missing) for one in checked)
    return 2 if wrong else 0


@data.command("degrade")
@click.argument("source")
@click.option("--scale", type=click.IntRange(1, 8), required=True)
@click.option("--out", type=PATH, required=True)
@click.option("--degradation", default="bicubic", show_default=True)
@JSON
def data_degrade(source: str, scale: int, out: Path, degradation: str, as_json: bool) -> int:
    """Writes LR files of a set or folder, as MATLAB does."""
    from bench.data.datacheck import degrade_set

    made = degrade_set(source, scale, out, degradation)
    if as_json:
        print_json({"folder": str(made.folder), "written": made.written, "kept": made.kept})
    else:
        click.echo(f"{made.folder}: {made.written} files written, {made.kept} there already")
    return 0


def _count(counter: Any, done: int, total: int | None) -> None:
    counter(done, total or 0)


@click.command()
@click.argument("names", nargs=-1)
@JSON
def fetch(names: tuple[str, ...], as_json: bool) -> int:
    """Downloads published weights, verified.

    Without NAMES, lists them.
    """
    from bench.look.published import fetch as download
    from bench.look.published import status
    from bench.terminal.counter import Counter

    if not names:
        rows = [vars(row) | {"path": str(row.path)} for row in status()]
        if as_json:
            print_json({"weights": rows})
        for row in () if as_json else rows:
            click.echo(f"{row['name']:<20} {row['state']:<8} {row['path']}")
            if row["state"] != "here":
                page = "see " if row["page"] else ""
                click.echo(f"{'':<29} {page}{row['address']} ({row['licence']})")
        return 0
    paths = {}
    for name in names:
        with Counter(f"fetching {name}", "bytes") as counter:
            paths[name] = str(download(name, partial(_count, counter)))
        if not as_json:
            click.echo(f"{name}: {paths[name]}")
    if as_json:
        print_json({"weights": paths})
    return 0
