"""Verbs about a study: sweep, report, status, check."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.common import JSON, PATH, names, only_json, print_json
from bench.errors import BenchError


class _NumberOrAuto(click.IntRange):
    """A number from 1 on; None for the word auto, as if nothing were said."""

    name = "number or auto"

    def convert(self, value: Any, *context: Any) -> Any:
        return None if value == "auto" else super().convert(value, *context)


AUTO = _NumberOrAuto(min=1)
WORKERS = "Trials at a time [auto: one a core; with a GPU as many as keep it busy]."


@click.command()
@click.argument("study", type=PATH)
@click.option("--trials", type=click.IntRange(min=1), help="Total trials of each swept method.")
@click.option("--workers", type=AUTO, metavar="N|auto", help=WORKERS)
@click.option("--executor", default="local", show_default=True, help="local, ray[:ADDRESS], slurm.")
@click.option("--slurm", multiple=True, metavar="K=V", help="Of sbatch: partition=gpu, time=4h.")
@click.option("--set", "overrides", multiple=True, metavar="K=V", help="e.g. train.steps=100")
@click.option("--out", type=PATH, help="Folder of the report [reports/NAME].")
@click.option("--fresh", is_flag=True, help="Forget earlier trials; finished stages are reused.")
@click.option("--keep", is_flag=True, help="Keep stale trials as they are; tables mark them.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed.")
@click.option("--strict", is_flag=True, help="A missing benchmark set is an error.")
@JSON
def sweep(
    study: Path,
    trials: int | None,
    workers: int | None,
    executor: str,
    slurm: tuple[str, ...],
    overrides: tuple[str, ...],
    out: Path | None,
    fresh: bool,
    keep: bool,
    retry_failed: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Runs or resumes a STUDY, then renders its report."""
    import signal

    from bench.api import load_study, run_study
    from bench.study.located_yaml import read_text
    from bench.sweep.screen import Screen
    from bench.terminal.progress import make_screen

    if fresh and keep:
        raise BenchError("--fresh forgets recorded trials and --keep keeps them. Give one.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    extra = () if trials is None else (f"budget.trials={trials}",)
    loaded = load_study(study, (*overrides, *extra), strict)
    screen = Screen() if as_json else make_screen()
    with only_json(as_json):
        cells, written = run_study(
            loaded,
            executor=executor,
            slurm=slurm,
            workers=workers,
            fresh=fresh,
            keep=keep,
            retry_failed=retry_failed,
            out=out,
            yaml=read_text(study),
            screen=screen,
        )
    failed = [cell for cell in cells if cell.state == "failed"]
    if as_json:
        print_json(
            {
                "study": loaded.name,
                "cells": len(cells),
                "failed": {cell.file_name: cell.reason.splitlines()[0] for cell in failed},
                "pruned": sum(cell.state == "pruned" for cell in cells),
                "report": {name: str(path) for name, path in written.items()},
            }
        )
    else:
        _print_report(written, failed)
    return 1 if failed else 0


def _print_report(written: dict[str, Path], failed: Sequence[Any]) -> None:
    for cell in failed:
        click.echo(
            f"failed: {cell.label} seed {cell.seed}: {cell.reason.splitlines()[0]}", err=True
        )
    for name, path in written.items():
        if name == "earlier":
            click.echo(f"{path}: what another version of bench had written, put aside", err=True)
        else:
            click.echo(path)


@click.command()
@click.argument("study", required=False)
@click.option("--paper", metavar="NAME", help="In place of STUDY: its printed tables with ours.")
@click.option("--format", "formats", help="Some of md, tex, csv, html [these], siunitx, pdf, bib.")
@click.option("--out", type=PATH)
@click.option(
    "--mix-protocols", is_flag=True, help="Show a set scored under several protocols, marked."
)
def report(
    study: str | None, paper: str | None, formats: str | None, out: Path | None, mix_protocols: bool
) -> int:
    """Renders a swept STUDY again, from its records.

    STUDY is a name or a file. With --paper: prints a paper's tables again, with what any study of
    this home has measured for each number.
    """
    if (study is None) == (paper is None):
        raise BenchError("Name a study, or a paper with --paper NAME: one of them.")
    if paper is not None:
        from bench.report.papers.pages import write_paper

        told, written = write_paper(paper, out, names(formats or "md,tex,html"))
        click.echo(told)
        _print_report(written, ())
        return 0
    assert study is not None
    import gc

    gc.disable()  # a short life that keeps what it makes: 2.2 s in place of 2.6 s for 1000 trials
    from bench.report.render import write_report

    chosen = names(formats or "md,tex,csv,html")
    written = write_report(study_name(study), out, chosen, mixed=mix_protocols)
    gc.freeze()  # or the end looks for garbage in all of it, half a second
    _print_report(written, ())
    return 0


@click.command()
@click.argument("studies", nargs=-1, required=True)
@click.option("--format", "formats", default="md,tex,html", show_default=True)
@click.option("--out", type=PATH, help="Folder [reports/compare-A-B].")
def compare(studies: tuple[str, ...], formats: str, out: Path | None) -> int:
    """Puts the rows of several STUDIES into one table.

    Only where their tasks, protocols and files agree; what does not is left out and named.
    """
    from bench.report.joined import join

    reasons, written = join([study_name(study) for study in studies], out, names(formats))
    for reason in reasons:
        click.echo(reason, err=True)
    _print_report(written, ())
    return 0


@click.command()
@click.option("--format", "formats", default="md,tex,html", show_default=True)
@click.option("--out", type=PATH, help="Folder [reports/ledger].")
@JSON
def ledger(formats: str, out: Path | None, as_json: bool) -> int:
    """Counts the printed numbers that were run here.

    Of every paper in reports/published/: how many match, are close, differ or were not run, and
    each with its run.
    """
    from bench.report.papers.pages import entry_facts, summary_text, write_ledger
    from bench.report.papers.pages import ledger as look_up

    found, broken = look_up()
    written = write_ledger(found, broken, out, names(formats))
    if as_json:
        files = {name: str(path) for name, path in written.items()}
        print_json({"numbers": [entry_facts(entry) for entry in found], "report": files})
        return 0
    click.echo(summary_text(found))
    for line in broken:
        click.echo(line, err=True)
    _print_report(written, ())
    return 0


@click.command()
@click.argument("study")
@click.option("--out", type=PATH, help="The file [NAME.bench.zip].")
def export(study: str, out: Path | None) -> int:
    """Writes a swept STUDY into one file, for another machine.

    In it are the records, the report, and the pictures that the report shows; no weights, no data.
    """
    from bench.report.archive import export_study

    click.echo(export_study(study_name(study), out))
    return 0


@click.command(name="import")
@click.argument("file", type=PATH)
def import_(file: Path) -> int:
    """Takes in a study that `bench export` has written to FILE."""
    from bench.report.archive import import_study

    name, new = import_study(file)
    click.echo(f"{name}: {new} new records. Its tables and figures: bench report {name}")
    return 0


@click.command()
@click.argument("study")
@click.argument("method")
@click.argument("dataset")
@click.argument("metric")
@JSON
def why(study: str, method: str, dataset: str, metric: str, as_json: bool) -> int:
    """Says where a number of a STUDY's table comes from, and what makes it again.

    METHOD is a row's name, or a trial's: "edsr t003".
    """
    from bench.report.why import why as why_of
    from bench.report.why import why_text

    found = why_of(study_name(study), method, dataset, metric)
    print_json(found) if as_json else click.echo(why_text(found))
    return 0


@click.command()
@click.argument("study")
@JSON
def status(study: str, as_json: bool) -> int:
    """Shows how far a STUDY has come.

    STUDY is a name or a file.
    """
    from bench.look.status import study_status

    found = study_status(study_name(study))
    if as_json:
        print_json(found)
    else:
        from bench.look.status import status_text

        click.echo(status_text(found))
    return 0


@click.command()
@click.argument("study", type=PATH)
@click.option("--set", "overrides", multiple=True, metavar="K=V")
@click.option("--strict", is_flag=True, help="A missing benchmark set is an error.")
@click.option("--workers", type=AUTO, metavar="N|auto", help=WORKERS)
@JSON
def check(
    study: Path, overrides: tuple[str, ...], strict: bool, workers: int | None, as_json: bool
) -> int:
    """Checks a STUDY: its plan, what is missing, the cost.

    Nothing is trained.
    """
    from bench.api import load_study
    from bench.look.plan import plan_text, study_plan

    with only_json(as_json):
        plan = study_plan(load_study(study, overrides, strict), workers)
    if as_json:
        print_json(plan)
    else:
        click.echo(plan_text(plan))
    return 0


@click.command()
@click.option("--dry-run", is_flag=True, help="Remove nothing, only say how much.")
@JSON
def clean(dry_run: bool, as_json: bool) -> int:
    """Removes what no record names.

    That is: finished stages of no trial's record, also of those that --fresh has put aside; targets
    and decoded pixels; checkpoints of trainings that nobody works on, so sweep an interrupted study
    to its end first; half-written files; pictures of trials without a record; locks that nobody
    holds. Records, MLflow, Optuna, artifacts and scores stay.
    """
    from bench.data.roots import home
    from bench.look.clean import clean as remove
    from bench.look.clean import clean_text

    found = remove(home(), dry_run)
    if as_json:
        print_json(found)
    else:
        click.echo(clean_text(found))
    return 0


@click.command()
@click.argument("name", required=False)
@click.option("--to", "to", metavar="FILE", type=click.Path(path_type=Path))
@JSON
def new(name: str | None, to: Path | None, as_json: bool) -> int:
    """Copies an example study to begin from.

    NAME is one of the studies that ship with bench, copied to studies/NAME.yaml or to FILE; without
    it they are listed with their question and cost.
    """
    from bench.look.new import copy_example, examples, examples_text

    if name is None:
        if to:
            raise BenchError(f"--to {to}: say which example. `bench new` lists them.")
        rows = examples()
        print_json({"examples": rows}) if as_json else click.echo(examples_text(rows))
        return 0
    file = copy_example(name, to)
    if as_json:
        print_json({"study": str(file)})
        return 0
    word = shlex.quote(str(file))
    click.echo(file)
    click.echo(f"bench check {word}    # the plan, what is missing, the estimated cost")
    click.echo(f"bench sweep {word}    # run, or go on; the tables come into reports/")
    return 0


def study_name(study: str) -> str:
    """Returns the name of a study given by name or by file."""
    if not study.endswith((".yaml", ".yml")):
        return study
    from bench.data.roots import user_path
    from bench.study.located_yaml import load_yaml

    file = user_path(study)
    return str(load_yaml(file).data.get("name", file.stem))
