"""A training that is asked to end does so at a checkpoint, at its next sign of life."""

from collections.abc import Callable
from pathlib import Path

from bench.train.checkpoint import State, write_checkpoint

_asked: list[str] = []


class Ended(BaseException):
    """A training has ended before its time, at a checkpoint. Says why."""


def ask_to_end(reason: str) -> None:
    """Asks this process to end; a signal's handler may call it."""
    _asked.append(reason)


def asked_to_end() -> str:
    """Returns why this process shall end; "" if it shall not."""
    return _asked[0] if _asked else ""


def end_if_asked(checkpoint: Path, state: Callable[[], State]) -> None:
    """Writes a checkpoint and raises Ended, if this process has been asked to end."""
    if reason := asked_to_end():
        write_checkpoint(checkpoint, state())
        raise Ended(reason)
