"""What a job of a study needs of a machine, and what a cluster's queue is told of it."""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field

from bench.study.recipe import wrong
from bench.study.section import Section

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
SECONDS = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]i?b)", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_PART_OF_TIME = re.compile(r"(\d+) ?(d|h|min|s)\b ?")


class Needs(NamedTuple):
    """What a machine must have free for a job."""

    cpus: int = 1
    gpus: float | None = None
    """Below 1 a share of one. None: one, where the study's device is no CPU and there are any."""
    memory: int = 0
    """Bytes; 0: nobody knows."""


def parse_memory(text: str) -> int:
    """Returns bytes. Raises pydantic's error for what is no amount of memory.

    >>> parse_memory("8 GB"), parse_memory("512MiB")
    (8000000000, 536870912)
    """
    if (found := _MEMORY.fullmatch(text)) is None or not float(found[1]):
        raise wrong('needs a number with a unit: "8 GB", "500 MB" or "8 GiB"')
    return int(float(found[1]) * UNITS[found[2].lower()])


def parse_time(text: str) -> int:
    """Returns seconds. Raises pydantic's error for what is no time.

    >>> parse_time("4h"), parse_time("1d 12h"), parse_time("90 min"), parse_time("1-00:30:00")
    (14400, 129600, 5400, 88200)
    """
    if clock := _TIME.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        total = 86_400 * days + 3600 * hours + 60 * minutes + seconds
    else:
        parts = _PART_OF_TIME.findall(text)
        total = 0 if _PART_OF_TIME.sub("", text) else sum(int(n) * SECONDS[u] for n, u in parts)
    if not total:
        raise wrong('needs a number with a unit, "4h", "90 min" or "1d 12h", or DAYS-HH:MM:SS')
    return total


def _memory(value: Any) -> Any:
    if value is not None:
        parse_memory(str(value))
    return value


def _time(value: Any) -> Any:
    if value is not None:
        parse_time(str(value))
    return value


def _gpus(value: Any) -> Any:
    if isinstance(value, float) and value > 1 and value % 1:
        raise wrong("needs a whole number, or a share of one, such as 0.5")
    return value


Word = Annotated[str, Field(pattern=r"^\S+$")]


class ResourcesSection(Section):
    """What each job of a study needs on a cluster; it decides where it runs, and no number."""

    cpus: Annotated[int, Field(ge=1)] | None = None
    """Cores [1]."""
    gpus: Annotated[float | None, Field(ge=0), BeforeValidator(_gpus)] = None
    """Below 1 a share of one, which is no limit of its memory [1 where there are any]."""
    memory: Annotated[str | None, BeforeValidator(_memory)] = None
    """ "8 GB" [a quarter more than the method's largest trial so far has used]."""
    partition: Word | None = None
    """Of SLURM."""
    account: Word | None = None
    """Of SLURM."""
    time: Annotated[str | None, BeforeValidator(_time)] = None
    """Of SLURM, for each job: "4h"."""

    def needs(self, used: int = 0) -> Needs:
        """Returns a job's needs. used: peak memory of a trial like it, in bytes; 0: unknown."""
        memory = parse_memory(self.memory) if self.memory else used + used // 4
        return Needs(self.cpus or 1, self.gpus, memory)

    @property
    def seconds(self) -> int | None:
        """The time of a job."""
        return parse_time(self.time) if self.time else None
