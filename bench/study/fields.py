"""A study: the question that one YAML file asks, typed and frozen. `bench.look.check` loads it."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from bench.data.catalog import Task
from bench.study.space import Range, is_range, parse_range

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
"""Also a folder's name and part of an address."""
METHOD_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""Also part of a file's name."""


class Section(BaseModel):
    """Part of a study file. Unknown keys and wrong types are errors, and nothing changes later."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and field.annotation is not bool:
            raise PydanticCustomError("no_bool", "a true or false makes no sense here")
        return value


class TaskSection(Section):
    """What is restored from what."""

    kind: Task
    scale: Annotated[int, Field(ge=1, le=8)]
    degradation: str = "bicubic"
    """Makes LR from HR for training, and for sets without published LR files."""


class TrainSection(Section):
    """The default of every stage that does not say otherwise."""

    dataset: str
    patch: Annotated[int, Field(ge=8)] = 48
    """HR pixels."""
    batch: Annotated[int, Field(ge=1)] = 16
    steps: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    halve_at: tuple[int, ...] = ()
    """Steps at which the learning rate is halved."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where the device multiplies bf16 natively, else fp32."""
    device: str = "auto"
    """auto: cuda where there is one, else cpu."""


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


class MethodSection(Section):
    """A method of the study: its class, and its hyper-parameters as values or ranges."""

    model_config = ConfigDict(extra="allow")

    use: str
    """Dotted path of the class."""

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
    compare: tuple[str, ...] = ()
    """Papers whose printed tables stand beside ours: names of files in reports/published/."""
    header: str = ""
    """The comment at the top of the file: question, cost, expected answer."""

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
        text = repr((parts, budget, self.methods[method].model_dump(mode="json")))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
