"""The command line: verbs that call `bench.api`; heavy imports wait inside each verb."""

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench.errors import BenchError

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
PARAM = click.option(
    "--param", "params", multiple=True, metavar="K=V", help="A hyper-parameter of the method."
)
WEIGHTS = click.option(
    "--weights", type=click.Path(path_type=Path), help="State dict of the method."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="bench")
def cli() -> None:
    """Compares image restoration methods: trains, sweeps, measures, records, and prints tables."""


def main() -> None:
    """Runs the command line.

    Exit status: 0 done, 1 done with failures, 2 the user's mistake, 130 interrupted.
    """
    # Threads that spin while they wait make a shared core crawl (see LocalExecutor).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = cli(standalone_mode=False)
    except BenchError as error:
        click.echo(f"Error: {error}", err=True)
        status = 2
    except click.ClickException as error:
        error.show()
        status = 2
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"Error: {error.filename}: {error.strerror}.", err=True)
        status = 2
    except (KeyboardInterrupt, click.Abort):
        again = shlex.join(["bench", *(word for word in sys.argv[1:] if word != "--fresh")])
        click.echo(f"\nInterrupted. Nothing is lost; to go on: {again}", err=True)
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(min=1), help="Total trials of each swept method.")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at a time.")
@click.option("--executor", type=click.Choice(["local"]), default="local", show_default=True)
@click.option("--set", "overrides", multiple=True, metavar="K=V", help="e.g. train.steps=100")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report [reports/NAME].")
@click.option("--fresh", is_flag=True, help="Forget earlier trials; finished stages are reused.")
@click.option("--strict", is_flag=True, help="A missing benchmark set is an error.")
@JSON
def sweep(
    study: Path,
    trials: int | None,
    workers: int | None,
    executor: str,
    overrides: tuple[str, ...],
    out: Path | None,
    fresh: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Runs or resumes a study, then renders its tables and figures."""
    import signal

    from bench.api import load_study, run_study
    from bench.progress import Screen, make_screen

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    extra = () if trials is None else (f"budget.trials={trials}",)
    loaded = load_study(study, (*overrides, *extra), strict)
    screen = Screen() if as_json else make_screen()
    with _only_json(as_json):
        cells, written = run_study(
            loaded, workers=workers, fresh=fresh, out=out, yaml=study.read_text(), screen=screen
        )
    failed = [cell for cell in cells if cell.state == "failed"]
    if as_json:
        _print_json(
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
    for path in written.values():
        click.echo(path)


@cli.command("eval")
@click.argument("method")
@click.option("--datasets", required=True, metavar="A,B")
@click.option("--scale", "scales", required=True, metavar="K[,L]", help="1 to 8.")
@click.option("--metrics", default="psnr_y,ssim_y", show_default=True, metavar="M,N")
@click.option("--protocol", help="Name of a protocol [the task's].")
@click.option(
    "--degradation", default="bicubic", show_default=True, help="Where no LR is published."
)
@WEIGHTS
@PARAM
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images of each set.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the restored images.")
@JSON
def evaluate(
    method: str,
    datasets: str,
    scales: str,
    metrics: str,
    protocol: str | None,
    degradation: str,
    weights: Path | None,
    params: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Measures one METHOD, a dotted path such as methods.classical.Bicubic."""
    from bench.api import measure_method
    from bench.progress import Lines, Screen

    results: list[dict[str, Any]] = []
    unavailable: dict[str, str] = {}
    assessors: dict[str, str] = {}
    for scale in (chosen := _scales(scales)):
        with _only_json(as_json):
            found, rules = measure_method(
                method,
                _names(datasets),
                scale,
                _names(metrics),
                parameters=_parameters(params),
                weights=weights,
                protocol=protocol,
                degradation=degradation,
                limit=limit,
                out=out / f"x{scale}" if out and len(chosen) > 1 else out,
                screen=Screen() if as_json else Lines(),
            )
        results += [_result(found, name, scale, rules[name]) for name in found.datasets]
        unavailable |= found.unavailable
        assessors |= found.assessors
    if as_json:
        answer = {"method": method, "results": results, "unavailable": unavailable}
        _print_json(answer | {"assessors": assessors})
    else:
        _print_results(results, _names(metrics), unavailable, assessors)
    return 0


def _scales(text: str) -> list[int]:
    words = _names(text)
    if not words or any(word not in "12345678" for word in words):
        raise BenchError(f"--scale {text!r}: write whole numbers from 1 to 8, such as 2 or 2,3,4.")
    return [int(word) for word in words]


def _result(found: Any, dataset: str, scale: int, protocol: str) -> dict[str, Any]:
    """Returns one set's part of the JSON answer; adds to `found` why a set has no finite score."""
    from bench.metrics.told import remarks, why_not_finite
    from bench.protocol import PROTOCOLS

    images: dict[str, dict[str, Any]] = {}
    names = list(dict.fromkeys(score.metric for score in found.scores if score.dataset == dataset))
    notes: list[str] = []
    for name in names:
        scores = found.images(dataset, name)
        for stem, score in scores.items():
            images.setdefault(stem, {"image": stem})[name] = score.value
            if math.isinf(score.value):
                found.unavailable[f"{name} on {dataset}/{stem}"] = "infinite: equal to HR"
        if why := why_not_finite(name, PROTOCOLS[protocol], scores):
            found.unavailable[f"{name} on {dataset}"] = why
        notes += remarks(name, list(scores.values()), f" on {dataset}")
    used = found.datasets[dataset]
    absent = {name: None for name in found.unavailable if " on " not in name}
    return {
        "dataset": dataset,
        "scale": scale,
        "protocol": protocol,
        "count": used.count,
        "official": used.official,
        "lr": used.source,
        "fingerprint": used.fingerprint,
        "mean": {**{name: found.mean(dataset, name) for name in names}, **absent},
        "notes": notes,
        "images": [row | absent for row in images.values()],
    }


def _print_results(
    results: list[dict[str, Any]],
    metrics: Sequence[str],
    unavailable: dict[str, str],
    assessors: dict[str, str],
) -> None:
    from bench.metrics import metric

    wide = max(len(assessors.get(name, name)) for name in metrics)
    for result in results:
        count, official = result["count"], result["official"]
        part = f"/{official} images, PARTIAL" if count < official else " images"
        click.echo(
            f"{result['dataset']} x{result['scale']}, {result['protocol']}, LR: {result['lr']}, "
            f"{count}{part}"
        )
        for name in metrics:
            value, facts = result["mean"].get(name), metric(name)
            known = value is not None and math.isfinite(value)
            shown = f"{value:.{facts.digits}f}" if known else "-"
            unit = facts.unit if known else unavailable.get(f"{name} on {result['dataset']}", "")
            click.echo(f"  {assessors.get(name, name):<{wide}} {shown:>10} {unit}".rstrip())
    notes = dict.fromkeys(note for result in results for note in result["notes"])
    for name in metrics:
        if name in unavailable:
            click.echo(f"- {name}: {unavailable[name]}")
    for note in notes:
        click.echo(f"- {note}")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--reference", type=click.Path(path_type=Path), help="Folder of originals.")
@click.option("--dataset", help="Name or folder of a benchmark set, instead of --reference.")
@click.option("--scale", type=click.IntRange(1, 8), required=True)
@click.option("--metrics", default="psnr_y,ssim_y,niqe", show_default=True, metavar="M,N")
@click.option("--protocol", help="Name of a protocol [by set and scale].")
@click.option(
    "--template", default="{stem}", show_default=True, help="Stem of a restored file, from HR's."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes [one a core].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for scores.json, .csv, .md.")
@JSON
def score(
    folder: Path,
    reference: Path | None,
    dataset: str | None,
    scale: int,
    metrics: str,
    protocol: str | None,
    template: str,
    workers: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Scores a FOLDER of restored images, made by anything, against originals."""
    from bench.counter import Counter
    from bench.score import score_folder
    from bench.score.answer import to_json, to_markdown, write_answer

    if reference and dataset:
        raise BenchError("--reference and --dataset name two references. Give one.")
    if out and out.exists() and not out.is_dir():
        raise BenchError(f"--out {out}: is a file. Name a folder.")
    with _only_json(as_json), Counter(f"scoring {folder}") as counter:
        found = score_folder(
            folder,
            _names(metrics),
            scale,
            reference=reference,
            dataset=dataset,
            protocol=protocol,
            template=template,
            workers=workers,
            progress=counter,
        )
    written = write_answer(found, out) if out else []
    if as_json:
        _print_json(to_json(found))
    else:
        click.echo(to_markdown(found))
        click.echo(f"{found.computed} scores computed, {found.stored} from the store")
        for path in written:
            click.echo(path)
    return 0


@cli.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("reference", required=False, type=click.Path(path_type=Path))
@click.option("--metric", default="psnr", show_default=True, help="psnr, ssim or niqe.")
@click.option("--scale", type=click.IntRange(1, 8), default=4, show_default=True)
@click.option("--paper", metavar="NUMBER", help="As somebody printed it: which convention is it?")
@JSON
def explain(
    image: Path,
    reference: Path | None,
    metric: str,
    scale: int,
    paper: str | None,
    as_json: bool,
) -> int:
    """Shows the score of a restored IMAGE against its REFERENCE under every known convention."""
    from bench.explain import explain as explained
    from bench.explain.answer import text

    found = explained(image, reference, metric, scale, paper)
    if as_json:
        _print_json(found.as_json())
    else:
        click.echo(text(found))
    return 0


@cli.group()
def data() -> None:
    """Checks benchmark sets, and makes LR files."""


@data.command("check")
@click.argument("names", nargs=-1)
@click.option("--scale", type=click.IntRange(1, 8), help="Only this one [all that are there].")
@JSON
def data_check(names: tuple[str, ...], scale: int | None, as_json: bool) -> int:
    """Reads every file of benchmark sets (NAMES, or folders of your own; all if none is given)."""
    from dataclasses import asdict

    from bench.datacheck import check_set, check_text
    from bench.sets import DATASETS, missing

    checked = []
    for name in names or DATASETS:
        checked.append(check_set(name, scale))
        if not as_json:
            brief = not names and missing(name)
            click.echo(f"{name}: MISSING" if brief else check_text(checked[-1]))
    if as_json:
        _print_json({"datasets": [asdict(one) | {"count": one.count} for one in checked]})
    elif not names:
        click.echo("`bench data check NAME` says how to get a missing set, and where it belongs.")
    wrong = any(one.problems or (names and one.missing) for one in checked)
    return 2 if wrong else 0


@data.command("degrade")
@click.argument("source")
@click.option("--scale", type=click.IntRange(1, 8), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--degradation", default="bicubic", show_default=True)
@JSON
def data_degrade(source: str, scale: int, out: Path, degradation: str, as_json: bool) -> int:
    """Writes LR files of a set or folder (SOURCE), as MATLAB's imresize makes them."""
    from bench.datacheck import degrade_set

    made = degrade_set(source, scale, out, degradation)
    if as_json:
        _print_json({"folder": str(made.folder), "written": made.written, "kept": made.kept})
    else:
        click.echo(f"{made.folder}: {made.written} files written, {made.kept} there already")
    return 0


def _count(counter: Any, done: int, total: int | None) -> None:
    counter(done, total or 0)


@cli.command()
@click.argument("names", nargs=-1)
@JSON
def fetch(names: tuple[str, ...], as_json: bool) -> int:
    """Downloads published weights (NAMES), verified by checksum; without NAMES, lists them."""
    from bench.counter import Counter
    from bench.fetch import fetch as download
    from bench.fetch import status

    if not names:
        rows = [vars(row) | {"path": str(row.path)} for row in status()]
        if as_json:
            _print_json({"weights": rows})
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
        _print_json({"weights": paths})
    return 0


@cli.command()
@click.argument("method")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@WEIGHTS
@PARAM
@click.option("--tile", type=click.IntRange(min=16), help="LR pixels a side [by size].")
def restore(
    method: str,
    images: tuple[Path, ...],
    out: Path,
    weights: Path | None,
    params: tuple[str, ...],
    tile: int | None,
) -> int:
    """Restores pictures with a METHOD into a folder, as PNG."""
    from bench.api import restore_images

    for path in restore_images(
        method, images, out, parameters=_parameters(params), weights=weights, tile=tile
    ):
        click.echo(path)
    return 0


@cli.command()
@click.argument("study")
@click.option("--format", "formats", default="md,tex,csv,html", show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
@click.option(
    "--mix-protocols", is_flag=True, help="Show a set scored under several protocols, marked."
)
def report(study: str, formats: str, out: Path | None, mix_protocols: bool) -> int:
    """Renders the tables and figures of a swept STUDY (its name or file) from its records."""
    import gc

    gc.disable()  # a short life that keeps what it makes: 2.2 s in place of 2.6 s for 1000 trials
    from bench.report.render import write_report

    written = write_report(_study_name(study), out, _names(formats), mixed=mix_protocols)
    _print_report(written, ())
    return 0


@cli.command()
@click.argument("study")
@JSON
def status(study: str, as_json: bool) -> int:
    """Shows how far a STUDY (its name or file) has come."""
    from bench.overview import study_status

    found = study_status(_study_name(study))
    if as_json:
        _print_json(found)
    else:
        from bench.overview import status_text

        click.echo(status_text(found))
    return 0


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="K=V")
@click.option("--strict", is_flag=True, help="A missing benchmark set is an error.")
@click.option("--workers", type=click.IntRange(min=1))
@JSON
def check(
    study: Path, overrides: tuple[str, ...], strict: bool, workers: int | None, as_json: bool
) -> int:
    """Checks a STUDY without training, shows its plan and estimates its cost."""
    from bench.api import load_study
    from bench.overview import plan_text, study_plan

    with _only_json(as_json):
        plan = study_plan(load_study(study, overrides, strict), workers)
    if as_json:
        _print_json(plan)
    else:
        click.echo(plan_text(plan))
    return 0


@cli.command("list")
@click.argument("what", type=click.Choice(["methods", "datasets", "metrics", "protocols"]))
@JSON
def list_(what: str, as_json: bool) -> int:
    """Lists what there is, with its source and whether it can be used on this machine."""
    from bench.overview import inventory, inventory_text

    rows = inventory(what)
    if as_json:
        _print_json({what: rows})
    else:
        click.echo(inventory_text(rows))
    return 0


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
def mlflow(host: str, port: int) -> int:
    """Opens MLflow's own UI on the records, for this machine only."""
    from bench.overview import serve_mlflow

    return serve_mlflow(host, port)


@cli.command()
@JSON
def doctor(as_json: bool) -> int:
    """Shows versions, devices, the precision in use, and which data and weights were found."""
    from bench.overview import doctor_text, examine

    found = examine()
    if as_json:
        _print_json(found)
    else:
        click.echo(doctor_text(found))
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parameters(pairs: Sequence[str]) -> dict[str, Any]:
    from bench.located_yaml import parse_scalar

    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise BenchError(f"--param {pair!r}: write --param name=value.")
        values[key] = parse_scalar(value)
    return values


def _study_name(study: str) -> str:
    """Returns the name of a study given by name or by file."""
    if not study.endswith((".yaml", ".yml")):
        return study
    from bench.located_yaml import load_yaml

    return str(load_yaml(Path(study)).data.get("name", Path(study).stem))


def _only_json(as_json: bool) -> contextlib.AbstractContextManager[Any]:
    """Sends what a method prints to standard error, so that the answer stands alone."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def _print_json(value: Any) -> None:
    """Prints one line of strict JSON: what is not a finite number is null."""
    click.echo(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
