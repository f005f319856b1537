"""A study: the question that one YAML file asks, typed and frozen. `bench.look.check` loads it."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationInfo,
    field_validator,
)

from bench.data.catalog import Task
from bench.errors import BenchError
from bench.study.recipe import RecipeSection, wrong
from bench.study.resources import ResourcesSection
from bench.study.section import Section
from bench.study.size import parse_size
from bench.study.space import Range, is_range, parse_range

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
"""Also a folder's name and part of an address."""
METHOD_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""Also part of a file's name."""


Scale = Annotated[int, Field(ge=1, le=8)]
Scales = Annotated[
    Annotated[Scale, Tag("one")] | Annotated[tuple[Scale, ...], Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]


class TaskSection(Section):
    """What is restored from what."""

    kind: Task
    scale: Scales
    """Several: every method is trained and measured at each."""
    degradation: str = "bicubic"
    """Makes LR from HR for training, and for sets without published LR files."""

    @field_validator("scale")
    @classmethod
    def _different(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
            raise wrong("needs one whole number, or different ones")
        return value

    @property
    def scales(self) -> tuple[int, ...]:
        """All of them."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale,)

    def at(self, scale: int) -> "TaskSection":
        """Returns the task at one of its scales."""
        return self.model_copy(update={"scale": scale})


class TrainSection(RecipeSection):
    """The recipe of every stage that does not say otherwise, and what it is trained on."""

    dataset: str
    device: str = "auto"
    """auto: cuda where there is one, else cpu."""
    halve_at: tuple[int, ...] = ()
    """Another word for rate: {halve: [...]}."""
    snapshots: Annotated[int, Field(ge=2)] | None = None
    """So many times on the way to its end, evenly, each stage keeps its weights; those of a
    method's last stage are measured on the selection set."""

    @field_validator("halve_at")
    @classmethod
    def _is_the_only_schedule(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if value and info.data.get("rate") is not None:
            raise wrong("halve_at and rate exclude each other")
        return value


class SelectSection(Section):
    """What the sampler sees. Without it nothing is chosen: every trial of a grid is reported."""

    dataset: str
    maximize: tuple[str, ...] = ()
    minimize: tuple[str, ...] = ()
    allow_reported: StrictBool = False
    """Permits a selection set that `evaluate` also reports; the tables then say so."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Metrics, those to maximize first."""
        return self.maximize + self.minimize

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """One per objective."""
        up: list[Literal["maximize", "minimize"]] = ["maximize"] * len(self.maximize)
        return up + ["minimize"] * len(self.minimize)


class EvaluateSection(Section):
    """What the tables report."""

    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: str | dict[str, str] = "auto"
    """Name of a protocol, or one for each set that needs another; auto takes the task's."""
    pictures: Literal["rows", "all", "none"] = "rows"
    """Restored pictures that stay when a sweep has ended, of each trial's first seed: of the
    table's rows, of every trial, or none."""
    efficiency: StrictBool = False
    """Adds columns of what each row of the table costs: parameters, multiply-adds, latency, peak
    memory; measured at the end of a sweep, row by row, with nothing else under way."""
    efficiency_at: str = "256x256"
    """Size of the input for that: WIDTHxHEIGHT, 720p, 1080p or 4K."""

    @field_validator("efficiency_at")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        try:
            parse_size(value)
        except BenchError as error:
            raise wrong(str(error).rstrip(".")) from None
        return value

    ensemble: StrictBool = False
    """Restores what is reported in eight orientations and takes the mean; the objectives never."""


class BudgetSection(Section):
    """How much is tried."""

    trials: Annotated[int, Field(ge=1)] | None = None
    """Total for each method with ranges, also after a resume. None: the whole grid, else 1."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = (0,)
    """Each trial is trained once per seed; an objective is the mean over them."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    seed: int = 0
    """Seeds the sampler."""
    pruner: Literal["none", "median"] = "none"
    """median stops a trial that is worse than the median of the earlier ones at the same step."""


def _words(value: Any) -> Any:
    """A command's words: numbers are meant as text, and {lr} without quotes is a mapping."""
    if not isinstance(value, list | tuple):
        return value
    if any(isinstance(word, dict | list | bool | None) for word in value):
        raise wrong('needs words, placeholders in quotes: [python3, test.py, "{lr}", "{sr}"]')
    return tuple(str(word) for word in value)


class CommandSection(Section):
    """A row whose pictures a program makes: a folder of LR in, a folder of SR out."""

    command: Annotated[tuple[str, ...], BeforeValidator(_words), Field(min_length=1)]
    """The program and its arguments, run without a shell in the study file's folder. "{lr}" and
    "{sr}" stand for the two folders, "{scale}" for the scale."""
    version: str | int | float = ""
    """Of the program: with another one the pictures are made anew."""
    timeout: Annotated[float, Field(gt=0)] = 3600
    """Seconds after which a run, one for each benchmark, is ended."""
    datasets: tuple[str, ...] | None = None


class MethodSection(Section):
    """A method of the study: its class, and its hyper-parameters as values or ranges."""

    model_config = ConfigDict(extra="allow")

    use: str = ""
    """Dotted path of the class; none for a row of pictures, and for the row `reference`."""
    weights: str | None = None
    """Of a row that is not trained: published:NAME, a file, or STUDY/TRIAL."""
    begins_from: str | None = None
    """Weights that training begins with, written as `weights`."""
    folder: str | None = None
    """Of a row of pictures made by anything: where they lie."""
    command: Annotated[tuple[str, ...] | None, BeforeValidator(_words)] = None
    """Of a row of pictures that a program makes: see CommandSection, and `program`."""
    datasets: tuple[str, ...] | None = None
    """The sets that this row is measured on; None: all that the study reports."""
    ensemble: StrictBool = False
    """As `evaluate.ensemble`, for this row."""
    train: RecipeSection | None = None
    """The recipe of this row's stages, over what the study and the stages say themselves."""

    @property
    def program(self) -> CommandSection:
        """The row as one that a program makes; its version and timeout are no hyper-parameters."""
        return CommandSection(command=self.command, datasets=self.datasets, **self.fixed)

    @property
    def decides(self) -> dict[str, Any]:
        """What of the section decides its numbers, as plain values."""
        without = {"ensemble", "command" if self.command is None else "timeout"}
        return self.model_dump(mode="json", exclude=without)

    @property
    def fixed(self) -> dict[str, Any]:
        """The hyper-parameters given as values."""
        return {k: v for k, v in (self.model_extra or {}).items() if not is_range(v)}

    @property
    def swept(self) -> bool:
        """Whether the sampler chooses any hyper-parameter."""
        return any(map(is_range, (self.model_extra or {}).values()))

    @property
    def ranges(self) -> dict[str, Range]:
        """The hyper-parameters that the sampler chooses."""
        found = {k: parse_range(v) for k, v in (self.model_extra or {}).items() if is_range(v)}
        return {name: range_ for name, range_ in found.items() if isinstance(range_, Range)}


class Study(Section):
    """One question. Two studies with equal fields are the same study."""

    name: Name
    task: TaskSection
    train: TrainSection | None = None
    methods: dict[Annotated[str, Field(pattern=METHOD_NAME)], MethodSection]
    select: SelectSection | None = None
    evaluate: EvaluateSection
    budget: BudgetSection = BudgetSection()
    resources: ResourcesSection = ResourcesSection()
    compare: tuple[str, ...] = ()
    """Papers whose printed tables stand beside ours: names of files in reports/published/."""
    header: str = ""
    """The comment at the top of the file: question, cost, expected answer."""
    folder: str = ""
    """Where the file lies, at which relative paths begin; "" in records that do not say so."""
    file: str = ""
    """Its name there; "" in such records, and of a study that Python made."""

    NOT_IN_FILES: ClassVar = ("header", "folder", "file")
    """Fields that the file does not say."""

    @property
    def path(self) -> Path | None:
        """Of the file, absolute, if it is known."""
        return Path(self.folder, self.file).resolve() if self.file else None

    def differences(self, other: "Study") -> list[str]:
        """Returns the sections in which another study asks otherwise."""
        aside = {*self.NOT_IN_FILES, "resources"}
        mine, its = (study.model_dump(exclude=aside) for study in (self, other))
        return [key for key in mine if mine[key] != its[key]]

    def key(self, dataset: str, scale: int) -> str:
        """Returns what names a benchmark in records: the set, and the scale if there are several.

        "set5", or "set5 x2".
        """
        return dataset if len(self.task.scales) == 1 else f"{dataset} x{scale}"

    def benchmark_keys(self) -> list[str]:
        """Returns the names of all benchmarks in records."""
        return [self.key(*benchmark) for benchmark in self.benchmarks()]

    def benchmarks(self) -> list[tuple[str, int]]:
        """Returns (set, scale) of all that is reported: the sets at the first scale, and so on."""
        return [(name, scale) for scale in self.task.scales for name in self.evaluate.datasets]

    def trials_of(self, method: str) -> int:
        """Returns how many trials a method with ranges gets: the grid's size at most."""
        if self.budget.sampler != "grid":
            return self.budget.trials or 1
        size = 1
        for range_ in self.methods[method].ranges.values():
            size *= len(range_.values() or ())
        return min(self.budget.trials or size, size)

    def search_digest(self, method: str) -> str:
        """Returns a hash of all that makes two values of a method's objectives comparable."""
        parts = self.model_dump(mode="json", include={"task", "train", "select"})
        budget = self.budget.model_dump(mode="json", exclude={"trials"})
        text = repr(_as_before((parts, budget, self.methods[method].decides)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


LATER = ("snapshots", "updates")
"""Fields of later versions: where they say nothing, a study is what it was without them."""


def _as_before(values: Any) -> Any:
    """Plain values without such fields: a field that is added voids no record."""
    if isinstance(values, tuple):
        return tuple(map(_as_before, values))
    if not isinstance(values, dict):
        return values
    said = {k: v for k, v in values.items() if v is not None or k not in LATER}
    return {k: _as_before(v) for k, v in said.items()}
