"""Tables that papers print, as data: one YAML file a paper in reports/published/."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from pydantic import Field, StrictBool, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bench.errors import BenchError, unknown
from bench.measure.metrics import metric
from bench.measure.protocol import PROTOCOLS
from bench.study.located_yaml import Keys, load_yaml
from bench.study.section import Section

Match = dict[str, Any]
"""Which trial is meant: `use`, the method's dotted path, `weights` as a study's row names them, and
some of its hyper-parameters."""


def _known_metric(name: str) -> str:
    try:
        metric(name)
    except BenchError as error:
        raise PydanticCustomError("metric", "{why}", {"why": str(error)}) from None
    return name


def _known_protocol(name: str | None) -> str | None:
    if name is not None and name not in PROTOCOLS:
        raise PydanticCustomError(
            "protocol", "{why}", {"why": unknown("protocol", name, PROTOCOLS)}
        )
    return name


def _whole(match: Match) -> Match:
    if "use" not in match:
        raise PydanticCustomError("use", "needs use: the dotted path of a method")
    return match


class Series(Section):
    """One quantity at a table's points. Of `metric`, `examined` and `loss` it names one."""

    name: str
    values: tuple[float | None, ...]
    """As printed, one a point; null where the paper has none."""
    metric: str | None = None
    """Mean over images, then over seeds."""
    examined: str | None = None
    """What the last stage's own examination found under this name."""
    loss: str | None = None
    """A loss of the last stage's training, mean over its last updates."""
    last: Annotated[int, Field(ge=1)] = 1
    """Updates that `loss` is averaged over."""
    image: str | None = None
    """The paper's value is of this image alone, named by its stem."""
    match: Match = {}
    """What all points have in common."""
    change: StrictBool = False
    """Printed is the increment from the point before; at the first point the value itself."""
    parameters: str | None = None
    """The paper's count for the trained network, as printed."""
    protocol: str | None = None
    """Of this series alone, see `PrintedTable`."""
    note: str = ""

    _protocol_is_known = field_validator("protocol")(_known_protocol)

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, name: str | None) -> str | None:
        return None if name is None else _known_metric(name)

    @model_validator(mode="after")
    def _one_quantity(self) -> Self:
        if sum(name is not None for name in (self.metric, self.examined, self.loss)) != 1:
            raise PydanticCustomError("one", "needs one of metric, examined and loss")
        return self

    @property
    def quantity(self) -> str:
        """The name of what is compared."""
        return self.metric or self.examined or self.loss or ""

    @property
    def digits(self) -> int:
        """Digits after the point of the most precise printed value.

        >>> Series(name="MOS", metric="viqet", values=(2.7, 2.744, 3.0)).digits
        3
        """
        exponents = [
            Decimal(repr(v)).normalize().as_tuple().exponent for v in self.values if v is not None
        ]
        return max((-e for e in exponents if isinstance(e, int)), default=0) if exponents else 0


class PrintedTable(Section):
    """A table of a paper."""

    title: str
    setting: str
    """What the paper measured on: images, updates, crops, tool."""
    dataset: str | None = None
    """The set whose images these are, by its name here; of a loss, the training set. None: images
    that no set here holds."""
    scale: int = 1
    degradation: str = "none"
    """What was restored from what: a study of another task has other numbers, on the same images
    too."""
    protocol: str | None = None
    """How the paper scores, by the name it has here; None: as `Paper` says."""
    points: dict[str, Match | None]
    """The columns' labels, and what picks our trial; added to the series' `match`, unless the point
    has a `use` of its own. null: no method here makes it."""
    series: tuple[Series, ...]
    note: str = ""

    _protocol_is_known = field_validator("protocol")(_known_protocol)

    @model_validator(mode="after")
    def _series_fit(self) -> Self:
        for series in self.series:
            got, points = len(series.values), len(self.points)
            if got != points:
                raise PydanticCustomError(
                    "values", f"series {series.name!r} has {got} values for {points} points"
                )
            for label in self.points:
                if self.points[label] is not None and "use" not in self.match_of(series, label):
                    raise PydanticCustomError(
                        "use", f"series {series.name!r} at {label!r} names no method (use: ...)"
                    )
        return self

    def match_of(self, series: Series, label: str) -> Match:
        """Returns what picks our trial for a series' point; empty where no method here makes it."""
        point = self.points[label]
        if point is None:
            return {}
        return point if "use" in point else {**series.match, **point}


class Claim(Section):
    """A sentence of a paper: `more` has a larger value of a metric than `than`."""

    says: str
    more: Match
    than: Match
    metric: str
    dataset: str | None = None
    """The set it was claimed on, by its name here."""
    paper: str = ""
    """What the paper printed for it."""

    _metric_is_known = field_validator("metric")(_known_metric)
    _sides_name_a_method = field_validator("more", "than")(_whole)


class Paper(Section):
    """What one paper printed."""

    paper: str
    """Citation."""
    source: str
    """Where the numbers were read."""
    protocol: str | None = None
    """How it scores, where a table does not say otherwise. None: it does not say, so whatever comes
    near its numbers may do so by chance."""
    tables: tuple[PrintedTable, ...]
    claims: tuple[Claim, ...] = ()

    _protocol_is_known = field_validator("protocol")(_known_protocol)

    def protocol_of(self, table: PrintedTable, series: Series) -> str | None:
        """Returns how a series was scored."""
        return series.protocol or table.protocol or self.protocol


PRINTED = Path(__file__).parent / "printed"
"""reports/published/ of the repository, by a link; a folder of the package once it is installed."""


def paper_files() -> dict[str, Path]:
    """Returns the papers' files by name: those that ship, and before them those of one's own, in
    reports/published of the current folder."""
    folders = (PRINTED, Path("reports") / "published")
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def load_papers(names: Iterable[str]) -> dict[str, Paper]:
    """Returns the papers of these names. Raises BenchError as `load_paper` does."""
    return {name: load_paper(name) for name in names}


def load_paper(name: str) -> Paper:
    """Returns a paper's printed tables. Raises BenchError for an unknown name with the nearest, and
    for a broken file with one line for each mistake."""
    files = paper_files()
    if name not in files:
        raise BenchError(
            f"{unknown('paper', name, files)} Those of your own are files in reports/published/."
        )
    document = load_yaml(files[name])
    problems = list(document.problems)
    try:
        paper = Paper.model_validate(document.data)
    except pydantic.ValidationError as error:
        for item in error.errors():
            problems.append(f"{document.at(_place(item))}: {_message(item)}")
    if problems:
        raise BenchError("\n".join(problems))
    return paper


def _place(item: Any) -> Keys:
    """Where a mistake is; a missing key is the fault of the section around it."""
    return tuple(item["loc"][:-1] if item["type"] == "missing" else item["loc"])


def _message(item: Any) -> str:
    where = item["loc"]
    if item["type"] == "missing":
        return f"{where[-1]!r} is missing."
    if item["type"] == "extra_forbidden":
        models: dict[int, type[Section]] = {1: Paper, 3: PrintedTable, 5: Series}
        section = Claim if where[0] == "claims" else models[len(where)]
        return unknown("key", where[-1], section.model_fields)
    if item["type"] in ("metric", "protocol"):  # sentences of their own
        return str(item["msg"])
    whole = isinstance(item["input"], dict)  # a section is too long to show
    return (
        f"{item['msg']}." if whole else f"{item['msg'].rstrip('.').lower()}, got {item['input']!r}."
    )
