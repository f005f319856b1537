"""Weights by name: those that a method's authors published, or a file of the user's own."""

from collections.abc import Mapping
from pathlib import Path

from bench.data.roots import named_path
from bench.data.weights import WEIGHTS, Weights, find, why_missing
from bench.errors import BenchError, unknown
from bench.method.contract import Method
from bench.method.loading import find_method, known_methods

PREFIX = "published:"


def resolve_weights(
    cls: type[Method], text: str, folder: Path | None = None, scale: int | None = None
) -> Path:
    """Returns the file that "published:NAME" or a path stands for; the path is from `folder`.

    scale: decides between files of one name. Raises BenchError for an unknown name, and for a file
    that is not there or not the published one.
    """
    if text.startswith(PREFIX):
        return find_published(cls, text.removeprefix(PREFIX), scale)
    path = named_path(str(folder / text) if folder else text)
    if path.is_dir():
        raise BenchError(f"weights {path}: is a folder. Name a file in it.")
    if not path.is_file():
        known = f" Published: {_names(cls)}." if cls.published else ""
        raise BenchError(f"weights {path}: no such file.{known}")
    return path


def find_published(cls: type[Method], name: str, scale: int | None = None) -> Path:
    """Returns the file of weights that a method's authors published, verified.

    name: of an entry of `cls.published`, without "_x2" where a scale decides. Raises BenchError for
    an unknown name, and for a file that is not here or damaged.
    """
    if not cls.published:
        raise BenchError(f"{cls.__name__} has no published weights. Give a file.")
    of_scale = f"{name}_x{scale}"
    entry = of_scale if of_scale in cls.published else name
    if entry not in cls.published:
        raise BenchError(unknown(f"weights of {cls.__name__}", name, cls.published))
    if path := find(entry, cls.published):
        return path
    raise BenchError(why_missing(entry, cls.published))


def all_weights() -> dict[str, Weights]:
    """Returns what can be fetched by name: the harness's own, then that of every known method."""
    known: Mapping[str, type[Method]] = {path: find_method(path) for path in known_methods()}
    return WEIGHTS | {name: w for cls in known.values() for name, w in cls.published.items()}


def must_be_given(method: Method) -> bool:
    """Returns whether a method without weights would restore with random ones."""
    return bool(method.stages() or method.published)


def _names(cls: type[Method]) -> str:
    return ", ".join(f"{PREFIX}{name}" for name in cls.published)
