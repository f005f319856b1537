"""The command line: verbs that call `bench.api`; heavy imports wait inside each verb."""

import os
import shlex
import sys

import click

from bench.cli import data, measuring, studies
from bench.cli.common import JSON, print_json
from bench.errors import BenchError, disk_is_full, no_room


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
    except (Exception, KeyboardInterrupt) as error:
        status = _told(error)
    sys.exit(status if isinstance(status, int) else 0)


def _told(error: BaseException) -> int:
    """Says what went wrong; returns the exit status. Raises what is our bug again."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        again = shlex.join(["bench", *(word for word in sys.argv[1:] if word != "--fresh")])
        click.echo(f"\nInterrupted. Nothing is lost; to go on: {again}", err=True)
        return 130
    if isinstance(error, click.ClickException):
        error.show()
    else:
        click.echo(f"Error: {_words(error)}", err=True)
    return 2


def _words(error: BaseException) -> str:
    """What to say of what is not our bug: a mistake, or a machine in trouble."""
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if isinstance(error, BenchError):
        return str(error)
    if disk_is_full(error):
        return no_room(file)
    if isinstance(error, OSError) and file is not None:
        return f"{file}: {error.strerror}."
    raise error


@cli.command("list")
@click.argument("what", type=click.Choice(["methods", "datasets", "metrics", "protocols"]))
@JSON
def list_(what: str, as_json: bool) -> int:
    """Lists what there is, and what can be used here."""
    from bench.look.machine import inventory, inventory_text

    rows = inventory(what)
    if as_json:
        print_json({what: rows})
    else:
        click.echo(inventory_text(rows))
    return 0


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
def mlflow(host: str, port: int) -> int:
    """Opens MLflow's own UI, for this machine only."""
    from bench.look.machine import serve_mlflow

    return serve_mlflow(host, port)


@cli.command()
@JSON
def doctor(as_json: bool) -> int:
    """Shows versions, devices, data and weights found."""
    from bench.look.machine import doctor_text, examine

    found = examine()
    if as_json:
        print_json(found)
    else:
        click.echo(doctor_text(found))
    return 0


for _verb in (
    studies.sweep, studies.check, studies.status, studies.report, studies.clean,
    measuring.evaluate, measuring.score, measuring.explain, measuring.restore,
    data.data, data.fetch,
):  # fmt: skip
    cli.add_command(_verb)
