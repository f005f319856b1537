"""Verbs about pictures: eval, score, explain, restore."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.common import JSON, PARAM, PATH, WEIGHTS, names, only_json, parameters, print_json
from bench.errors import BenchError


@click.command("eval")
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
@click.option("--ensemble", is_flag=True, help="The mean of eight orientations.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images of each set.")
@click.option("--out", type=PATH, help="Folder for the restored images.")
@JSON
def evaluate(
    method: str,
    datasets: str,
    scales: str,
    metrics: str,
    protocol: str | None,
    degradation: str,
    weights: str | None,
    params: tuple[str, ...],
    ensemble: bool,
    limit: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Measures one METHOD on benchmark sets.

    METHOD is a dotted path such as methods.classical.Bicubic, or STUDY/TRIAL for one that a sweep
    has trained, such as gamma/edsr_nima-t003-s0.
    """
    from bench.api import measure_method
    from bench.sweep.screen import Screen
    from bench.terminal.progress import Lines

    results: list[dict[str, Any]] = []
    unavailable: dict[str, str] = {}
    assessors: dict[str, str] = {}
    remarks: dict[str, None] = {}
    for scale in (chosen := _scales(scales)):
        with only_json(as_json):
            measured = measure_method(
                method,
                names(datasets),
                scale,
                names(metrics),
                parameters=parameters(params),
                weights=weights,
                protocol=protocol,
                degradation=degradation,
                ensemble=ensemble,
                limit=limit,
                out=out / f"x{scale}" if out and len(chosen) > 1 else out,
                screen=Screen() if as_json else Lines(),
            )
        unavailable |= measured.unavailable
        for benchmark in measured.benchmarks:
            results.append(_result(measured, benchmark, unavailable))
        assessors |= measured.assessors
        remarks |= dict.fromkeys(measured.remarks)
    if as_json:
        answer = {"method": method, "results": results, "unavailable": unavailable}
        print_json(answer | {"assessors": assessors, "remarks": list(remarks)})
    else:
        _print_results(results, names(metrics), unavailable, assessors, list(remarks))
    return 0


def _scales(text: str) -> list[int]:
    words = names(text)
    if not words or not {*words} <= {*"12345678"}:
        raise BenchError(f"--scale {text!r}: write whole numbers from 1 to 8, such as 2 or 2,3,4.")
    return [int(word) for word in words]


def _result(measured: Any, benchmark: Any, unavailable: dict[str, str]) -> dict[str, Any]:
    """Returns a benchmark's part of the JSON answer; adds to `unavailable` why there is no finite
    score: of a metric, "metric on set" and "metric on set/image"."""
    from bench.measure.metrics.told import remarks, why_not_finite
    from bench.measure.protocol import PROTOCOLS

    name, rules = benchmark.name, PROTOCOLS[measured.protocols[benchmark.name]]
    images = measured.images[name]
    metrics = list(images[0].scores) if images else []
    means: dict[str, float | None] = {}
    notes: list[str] = []
    for metric in metrics:
        scores = {image.stem: image.scores[metric] for image in images}
        means[metric] = rules.pool(metric, (score.value for score in scores.values()))
        for stem, score in scores.items():
            if not math.isfinite(score.value):
                unavailable[f"{metric} on {name}/{stem}"] = score.why or "infinite: equal to HR"
        if why := why_not_finite(metric, rules, scores):
            unavailable[f"{metric} on {name}"] = why
        notes += remarks(metric, list(scores.values()), f" on {name}")
    absent = dict.fromkeys(measured.unavailable)
    return {
        "dataset": name,
        "scale": benchmark.scale,
        "protocol": rules.name,
        "count": len(benchmark.pairs),
        "official": benchmark.official,
        "partial": benchmark.partial,
        "lr": benchmark.source,
        "fingerprint": benchmark.fingerprint,
        "mean": {**means, **absent},
        "notes": notes,
        "images": [
            {"image": i.stem, **{m: i.scores[m].value for m in metrics}, **absent} for i in images
        ],
    }


def _print_results(
    results: list[dict[str, Any]],
    metrics: Sequence[str],
    unavailable: dict[str, str],
    assessors: dict[str, str],
    remarks: Sequence[str],
) -> None:
    from bench.measure.metrics import metric

    wide = max(len(assessors.get(name, name)) for name in metrics)
    for result in results:
        count = result["count"]
        part = f"/{result['official']} images, PARTIAL" if result["partial"] else " images"
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
    for note in [*notes, *remarks]:
        click.echo(f"- {note}")


@click.command()
@click.argument("folder", type=PATH)
@click.option("--reference", type=PATH, help="Folder of originals.")
@click.option("--dataset", help="Name or folder of a benchmark set, instead of --reference.")
@click.option("--scale", type=click.IntRange(1, 8), required=True)
@click.option("--metrics", default="psnr_y,ssim_y,niqe", show_default=True, metavar="M,N")
@click.option("--protocol", help="Name of a protocol [by set and scale].")
@click.option(
    "--template", default="{stem}", show_default=True, help="Stem of a restored file, from HR's."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes [one a core].")
@click.option("--out", type=PATH, help="Folder for scores.json, .csv, .md.")
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
    """Scores a FOLDER of pictures made by anything.

    They are compared with the originals that --reference or --dataset names, by file stem. Names as
    other programs write them are understood: NAME_x4_SR, NAME_SR, NAME_out and NAME_rlt are
    restored, NAME_x4_HR, NAME_HR and NAME_GT originals. A FOLDER that holds both needs no
    --reference. Each score is computed once and stored.
    """
    from bench.measure.answer import to_json, to_markdown, write_answer
    from bench.measure.folder import score_folder
    from bench.terminal.counter import Counter

    if reference and dataset:
        raise BenchError("--reference and --dataset name two references. Give one.")
    if out and out.exists() and not out.is_dir():
        raise BenchError(f"--out {out}: is a file. Name a folder.")
    with only_json(as_json), Counter(f"scoring {folder}") as counter:
        found = score_folder(
            folder,
            names(metrics),
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
        print_json(to_json(found))
    else:
        click.echo(to_markdown(found))
        click.echo(f"{found.computed} scores computed, {found.stored} from the store")
        for path in written:
            click.echo(path)
    return 0


@click.command()
@click.argument("image", type=PATH)
@click.argument("reference", required=False, type=PATH)
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
    """Shows a score under every known convention.

    IMAGE is restored, REFERENCE its original; NIQE needs none.
    """
    from bench.measure.explain import explain as explained
    from bench.measure.explain.answer import text

    found = explained(image, reference, metric, scale, paper)
    if as_json:
        print_json(found.as_json())
    else:
        click.echo(text(found))
    return 0


@click.command()
@click.argument("method")
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, required=True)
@WEIGHTS
@PARAM
@click.option("--tile", type=click.IntRange(min=16), help="LR pixels a side [by size].")
def restore(
    method: str,
    images: tuple[Path, ...],
    out: Path,
    weights: str | None,
    params: tuple[str, ...],
    tile: int | None,
) -> int:
    """Restores pictures with a METHOD into a folder, as PNG.

    IMAGES are files, and folders for all pictures in them.

    METHOD is a dotted path, or STUDY/TRIAL for one that a sweep has trained, such as
    gamma/edsr_nima-t003-s0.
    """
    from bench.api import restore_images
    from bench.data.images import other_files
    from bench.terminal.counter import Counter

    for folder in filter(Path.is_dir, images):
        if others := [path.name for path in other_files(folder)]:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            click.echo(f"{folder}: no pictures: {', '.join(others[:5])}{more}", err=True)
    with Counter(f"restoring with {method}") as counter:
        written = restore_images(
            method,
            images,
            out,
            parameters=parameters(params),
            weights=weights,
            tile=tile,
            progress=counter,
        )
    for path in written:
        click.echo(path)
    return 0
