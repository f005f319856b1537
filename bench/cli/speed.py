"""The verb speed: what restoring a picture costs."""

from pathlib import Path

import click

from bench.cli.common import JSON, PARAM, PATH, WEIGHTS, names, only_json, parameters, print_json
from bench.errors import BenchError, unknown


@click.command()
@click.argument("methods", nargs=-1, required=True, metavar="METHOD...")
@click.option("--sizes", default="100x100,720p", show_default=True, metavar="S,T",
              help="Of the input: WIDTHxHEIGHT, 720p, 1080p, 4K.")  # fmt: skip
@click.option("--device", "devices", default="auto", show_default=True, metavar="D,E",
              help="cpu, cuda, or both; auto: cuda where there is one.")  # fmt: skip
@click.option("--scale", type=click.IntRange(1, 8), help="[each method's own]")
@WEIGHTS
@PARAM
@click.option("--format", "formats", default="", metavar="md,tex", help="Files of the table.")
@click.option("--out", type=PATH, default=Path("reports/speed"), show_default=True,
              help="Folder of these files.")  # fmt: skip
@JSON
def speed(
    methods: tuple[str, ...],
    sizes: str,
    devices: str,
    scale: int | None,
    weights: str | None,
    params: tuple[str, ...],
    formats: str,
    out: Path,
    as_json: bool,
) -> int:
    """Times METHODs: latency, throughput, peak memory, multiply-adds.

    METHOD is a dotted path, STUDY/TRIAL, or a study's file, which stands for its rows as they are
    before any training: weights do not change what a picture costs. --param goes to every METHOD
    that takes it. Each is measured alone in a fresh process, one after the other.
    """
    from bench.api import measure_speeds
    from bench.records.speed import CONVENTION

    if wrong := [name for name in names(formats) if name not in ("md", "tex")]:
        raise BenchError("\n".join(unknown("format", name, ("md", "tex")) for name in wrong))
    with only_json(as_json):
        measured = measure_speeds(
            methods, names(sizes), names(devices), parameters=parameters(params), scale=scale,
            weights=weights, note=lambda text: click.echo(text, err=True),
        )  # fmt: skip
    written = _write(measured, names(formats), out)
    if as_json:
        rows = [
            {"method": label, **found.model_dump(), "megapixels_per_second": found.throughput}
            for label, found in measured
        ]
        files = [str(path) for path in written]
        print_json({"results": rows, "convention": CONVENTION, "files": files})
        return 0
    from bench.report.efficiency import speed_report
    from bench.report.markup import to_markdown

    click.echo(to_markdown(speed_report(measured)).rstrip("\n"))
    for path in written:
        click.echo(path)
    return 0


def _write(measured: list, formats: list[str], out: Path) -> list[Path]:  # type: ignore[type-arg]
    from bench.data.files import whole
    from bench.report.efficiency import speed_report
    from bench.report.latex import to_latex
    from bench.report.markup import to_markdown

    written = []
    for name in formats:
        text = {"md": to_markdown, "tex": to_latex}[name](speed_report(measured))
        with whole(out / f"speed.{name}") as file:
            file.write(text.encode())
        written.append(out / f"speed.{name}")
    return written
