"""What is timed: a method by its path, or one that a sweep has trained."""

import inspect
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench.data.roots import paths_from
from bench.errors import BenchError, unknown
from bench.measure.alone import run_alone
from bench.measure.speed import measure_speed
from bench.method.contract import Method
from bench.method.loading import build_method, find_method
from bench.method.published import resolve_weights
from bench.method.weights import load_weights
from bench.records.cell import Cell
from bench.records.speed import Speed
from bench.study.fields import Study
from bench.study.size import parse_size
from bench.sweep.rows import kind_of, methods_of, scales_of
from bench.train.loop import choose_device
from bench.train.trained import load_trial


class Candidate(NamedTuple):
    """A method to be timed. Weights do not change what it costs, so it may do without."""

    label: str
    path: str
    """Dotted, or STUDY/TRIAL."""
    parameters: Mapping[str, Any] = {}
    scale: int | None = None
    weights: str | None = None

    def build(self) -> Method:
        """Returns it. Raises BenchError for what is unknown or does not fit."""
        if "/" in self.path:
            return load_trial(self.path, self.scale)
        scales = () if self.scale is None else (self.scale,)
        method = build_method(find_method(self.path), self.parameters, self.scale, scales)
        if method.task == "assessment":
            raise BenchError(f"{self.path} gives marks, not images.")
        if self.weights is not None:
            load_weights(method, resolve_weights(type(method), self.weights, scale=self.scale))
        return method if self.scale is None else method.at(self.scale)

    def measure(self, size: str, device: str) -> Speed:
        """Returns what it costs, measured in this process."""
        return measure_speed(self.build(), size, device)


def candidates(
    paths: Sequence[str],
    parameters: Mapping[str, Any],
    scale: int | None = None,
    weights: str | None = None,
) -> list[Candidate]:
    """Returns the methods of these paths, each with those of the parameters that it takes.

    Raises BenchError with a line for each that cannot be built, and for a parameter of none.
    """
    found, problems, taken = [], list[str](), set[str]()
    for path in paths:
        own = dict[str, Any]()
        try:
            if "/" not in path:
                takes = inspect.signature(find_method(path).__init__).parameters
                own = {name: value for name, value in parameters.items() if name in takes}
            found.append(Candidate(path, path, own, own.get("scale", scale), weights))
            found[-1].build()
        except BenchError as error:
            problems.append(f"{path}: {error}" if path not in str(error) else str(error))
        taken |= own.keys()
    if not problems:
        problems = [unknown("parameter of these methods", n, taken) for n in parameters
                    if n not in taken]  # fmt: skip
    if problems:
        raise BenchError("\n".join(problems))
    return found


def rows_of(study: Study) -> list[Candidate]:
    """Returns the rows of a study that have a method, as it is before any training; of a range a
    value in its middle."""
    return [
        Candidate(name, section.use, values, scale)
        for name, section in study.methods.items()
        if kind_of(section) in ("trained", "weights")
        for ranges in [{key: range_.sample() for key, range_ in section.ranges.items()}]
        for values in [{**section.fixed, **ranges}]
        for scale in scales_of(study, name)[:1]
    ]


def timed(
    study: Study, cells: Sequence[Cell], shown: Collection[str], note: Callable[[str], None]
) -> Iterator[Cell]:
    """Yields the records of a table's rows with what they cost, under the first seed.

    shown: names of the table's records. What this machine has measured already, at the size that
    the study asks for, is not measured again.
    """
    device = choose_device(study.train.device if study.train else "auto").type
    size = study.evaluate.efficiency_at
    for cell in cells:
        section = study.methods[cell.method]
        if cell.file_name not in shown or kind_of(section) not in ("trained", "weights"):
            continue
        if cell.seed != study.budget.seeds[0] or _is_timed(cell, size, device):
            continue
        note(f"{cell.label}: timing at {size}")
        scales = scales_of(study, cell.method)
        speeds = [_timed(study, cell, scale, size, device) for scale in scales]
        yield cell.model_copy(update={"efficiency": speeds})


def _is_timed(cell: Cell, size: str, device: str) -> bool:
    wanted = (size, device, platform.node())
    return bool(cell.efficiency) and all(
        (speed.size, speed.device, speed.machine) == wanted for speed in cell.efficiency
    )


def _timed(study: Study, cell: Cell, scale: int, size: str, device: str) -> Speed:
    try:
        found = run_alone(speed_of, study, cell, scale, size, device)
    except BenchError as error:
        found = failed_speed(size, device, str(error))
    return found.model_copy(update={"scale": scale})


def speed_of(study: Study, cell: Cell, scale: int, size: str, device: str) -> Speed:
    """Returns what a record's method costs at one scale, measured in this process."""
    with paths_from(study.folder):
        for scales, method in methods_of(study, cell.method, cell.swept, cell.seed):
            if scale in scales:
                return measure_speed(method.at(scale), size, device)
    raise BenchError(f"{cell.method} is not of scale {scale}")


def failed_speed(size: str, device: str, why: str) -> Speed:
    """Returns what is kept of a case whose process came to nothing."""
    width, height = parse_size(size)
    return Speed(
        size=size, width=width, height=height, machine=platform.node(), device=device, failed=why
    )
