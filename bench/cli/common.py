"""What verbs share: options, lists of names, one JSON object."""

import contextlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.data.files import as_text
from bench.data.roots import user_path
from bench.errors import BenchError


class _UserPath(click.Path):
    """A path, from the home folder where it begins with "~"."""

    def convert(self, value: Any, *context: Any) -> Path:
        return user_path(value)


PATH = _UserPath()
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
PARAM = click.option(
    "--param", "params", multiple=True, metavar="K=V", help="A hyper-parameter of the method."
)
WEIGHTS = click.option(
    "--weights", metavar="FILE", help="State dict of the method, or published:NAME."
)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def parameters(pairs: Sequence[str]) -> dict[str, Any]:
    from bench.study.located_yaml import parse_scalar

    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise BenchError(f"--param {pair!r}: write --param name=value.")
        values[key] = parse_scalar(value)
    return values


def only_json(as_json: bool) -> contextlib.AbstractContextManager[Any]:
    """Sends what a method prints to standard error, so that the answer stands alone."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def print_json(value: Any) -> None:
    """Prints one line of strict JSON: what is not a finite number is null, and text is UTF-8."""
    click.echo(json.dumps(_plain(value), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
