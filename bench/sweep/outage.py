"""MLflow out of reach: a sweep goes on without it, and what is missing is made up for later."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from bench.errors import BenchError, disk_is_full
from bench.sweep.tracking import ERRORS, is_refusal

P = ParamSpec("P")
T = TypeVar("T")

PAUSE = 60.0  # seconds before it is tried again: a server that is gone costs time at each call


class Outage:
    """Calls to MLflow that may fail. The records hold all that MLflow is told, so nothing is lost.

    The first failure is noted, later ones are not.
    """

    def __init__(self, note: Callable[[str], None], redact: Callable[[str], str]) -> None:
        """redact: takes the password of MLflow's address out of what it says."""
        self._note, self._redact = note, redact
        self._until, self._noted = 0.0, False
        self.reason = ""
        """The last failure; "" if nothing is missing."""

    def reach(self, act: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T | None:
        """Returns what `act` does; None if MLflow fails, or has just failed.

        A full disk is no outage: nor would the records find room.
        """
        if time.monotonic() < self._until:
            return None
        try:
            return act(*arguments, **more)
        except ERRORS as error:
            if disk_is_full(error):
                raise
            self.reason = self._redact(_line(error))
            if not is_refusal(error):
                self._until = time.monotonic() + PAUSE
            if not self._noted:
                missing = "the sweep goes on; what is missing is made up for at the end"
                self._note(f"{self.words()}: {missing}")
            self._noted = True
            return None

    def words(self) -> str:
        """What to say of the last failure."""
        return f"MLflow does not answer ({self.reason})"

    def over(self) -> None:
        """Forgets the failures, so that everything is tried again at once."""
        self._until, self.reason = 0.0, ""


@contextlib.contextmanager
def needed(redact: Callable[[str], str]) -> Iterator[None]:
    """Raises BenchError where MLflow fails: before the first trial it has to answer."""
    try:
        yield
    except ERRORS as error:
        if disk_is_full(error):
            raise
        line = redact(_line(error))
        raise BenchError(f"MLflow fails: {line}. No trial has begun.") from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0].rstrip(".")
