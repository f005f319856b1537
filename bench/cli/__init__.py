"""The command line: verbs that call `bench.api`; heavy imports wait inside each verb."""

import contextlib
import gc
import getpass
import io
import os
import shlex
import sys

import click

from bench.cli import data, measuring, speed, studies, web
from bench.cli.common import JSON, print_json
from bench.data.roots import home
from bench.errors import BenchError, disk_is_full, no_room, reason_of
from bench.terminal.streams import make_ready, refused


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="bench")
def cli() -> None:
    """Compares image restoration methods: trains, sweeps, measures, records, and prints tables."""


def main() -> None:
    """Runs the command line.

    Exit status: 0 done, 1 done with failures, 2 the user's mistake or the machine's trouble, 130
    interrupted, 141 the reader of what is printed has gone, as a shell says it of its own commands.
    """
    # Threads that spin while they wait make a shared core crawl (see LocalExecutor).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    outputs = make_ready()
    try:
        _settle()
        status = cli(standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        status = _told(refused(outputs) or error)
    if "triton" in sys.modules:  # its bindings tell of leaks on 30 lines if they stay frozen
        gc.unfreeze()
    sys.exit(status if isinstance(status, int) else 0)


def _settle() -> None:
    """Gives libraries a home and a user's name where the machine has none, as in a container."""
    if not os.path.isabs(os.path.expanduser("~")):
        os.environ["HOME"] = str(home())
    if not os.access(os.path.expanduser("~"), os.W_OK):  # or it finds all fonts anew, each time
        os.environ.setdefault("MPLCONFIGDIR", str(home() / "matplotlib"))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())


def _told(error: BaseException) -> int:
    """Says what went wrong; returns the exit status. Raises what is our bug again."""
    if isinstance(error, BrokenPipeError) and error.filename:  # a standard stream
        return 141
    text = _words(error)
    with contextlib.suppress(OSError):  # of standard error: then nothing can be said
        click.echo(text, err=True)
    return 130 if isinstance(error, KeyboardInterrupt | click.Abort) else 2


def _words(error: BaseException) -> str:
    """What to say of what is not our bug: a mistake, or a machine in trouble."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        again = shlex.join(["bench", *(word for word in sys.argv[1:] if word != "--fresh")])
        return f"\nInterrupted. Nothing is lost; to go on: {again}"
    if isinstance(error, click.ClickException):
        said = io.StringIO()
        error.show(said)
        return said.getvalue().rstrip("\n")
    if isinstance(error, BenchError):
        return f"Error: {error}"
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if disk_is_full(error):
        return f"Error: {no_room(file)}"
    if isinstance(error, OSError) and file is not None:
        return f"Error: {file}: {reason_of(error)}"
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
@click.argument("study", required=False)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
def mlflow(study: str | None, host: str, port: int) -> int:
    """Opens MLflow's own UI, at a STUDY's trials if one is given; for this machine only.

    STUDY is a name or a file.
    """
    from bench.look.machine import serve_mlflow

    return serve_mlflow(host, port, studies.study_name(study) if study else "")


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
    studies.new, studies.sweep, studies.check, studies.status, studies.report, studies.ledger,
    studies.compare, studies.why, studies.export, studies.import_, studies.clean,
    measuring.evaluate, measuring.score, measuring.explain, measuring.restore,
    speed.speed, web.web, data.data, data.fetch,
):  # fmt: skip
    cli.add_command(_verb)
