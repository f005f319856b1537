"""How something is trained, as a study writes it: each field None where nothing is said."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bench.study.section import Section


def wrong(message: str) -> PydanticCustomError:
    """Returns the error of a value, its message without what was got."""
    return PydanticCustomError("recipe", "{message}", {"message": message})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _halve(value: Any) -> Any:
    steps = value if isinstance(value, list | tuple) else [value]
    if value is not None and not (steps and all(map(_is_count, steps))):
        raise wrong("needs a number of steps, or a list of them")
    return tuple(value) if isinstance(value, list) else value


def _every(value: Any) -> Any:
    if value is not None and not (_is_count(value) or re.fullmatch(EPOCHS, str(value))):
        raise wrong("needs a number of steps, or as many epochs: 10 epochs")
    return value


def _learning_rate(value: Any) -> Any:
    rates = value.values() if isinstance(value, dict) and value else [value]
    for rate in rates:
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if value is not None and not (number and 0 < rate < math.inf):
            raise wrong("needs a number greater than 0, or one for each loss: {loss: 1e-4}")
    return value


EPOCHS = r"([1-9][0-9]*) epochs?"
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Rate(Section):
    """What the learning rate is multiplied by: a pure function of the step.

    One of at, halve, cosine and exponential, alone or after a warm-up; or a warm-up alone. Steps
    are counted from the beginning of the stage. Nothing said: constant.
    """

    at: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = None
    """Step -> what the rate is multiplied by from that step on, one upon the other."""
    halve: Annotated[int | tuple[int, ...] | None, BeforeValidator(_halve)] = None
    """Halved every so many steps, or at these."""
    cosine: Annotated[float, Field(ge=0, le=1)] | None = None
    """Falls as half a cosine, from the end of the warm-up to this share at the end of the stage."""
    exponential: Annotated[float, Field(gt=0, le=1)] | None = None
    """Multiplied by this again and again, each time `every` is over."""
    every: Annotated[int | str | None, BeforeValidator(_every)] = None
    """Steps, or "10 epochs". None: each epoch."""
    warmup: Count | None = None
    """Steps in which the rate rises in a line to its full height: 1 / warmup, 2 / warmup, ..."""

    @model_validator(mode="after")
    def _is_one_schedule(self) -> "Rate":
        kinds = ("at", "halve", "cosine", "exponential")
        if len(given := [kind for kind in kinds if getattr(self, kind) is not None]) > 1:
            raise wrong(f"{' and '.join(given)} exclude each other")
        if self.every is not None and self.exponential is None:
            raise wrong("every belongs to exponential: {exponential: 0.95, every: 1000}")
        return self

    def factor(self, step: int, steps: int, epoch_length: int = 1) -> float:
        """Returns the factor of an update, in [0, 1] but for `at`.

        step: updates made before it. steps, epoch_length: of the stage and of an epoch, in updates.
        """
        warmup = self.warmup or 0
        factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.at is not None:
            return factor * math.prod(times for begin, times in self.at.items() if step >= begin)
        if isinstance(self.halve, tuple):
            return factor * 0.5 ** sum(step >= at for at in self.halve)
        if self.halve is not None:
            return factor * 0.5 ** (step // self.halve)
        if self.cosine is not None:
            part = max(0, step - warmup) / max(1, steps - warmup)
            return factor * (self.cosine + (1 - self.cosine) * (1 + math.cos(math.pi * part)) / 2)
        if self.exponential is not None:
            every = self.in_steps(epoch_length).every
            assert isinstance(every, int)
            return factor * self.exponential ** (step // every)
        return factor

    def in_steps(self, epoch_length: int) -> "Rate":
        """Returns the same with nothing counted in epochs; epoch_length in updates."""
        if self.exponential is None or isinstance(self.every, int):
            return self
        epochs = re.fullmatch(EPOCHS, self.every or "1 epoch")
        assert epochs is not None
        return self.model_copy(update={"every": int(epochs[1]) * epoch_length})

    @property
    def counts_epochs(self) -> bool:
        """Whether the length of an epoch has to be known."""
        return self.exponential is not None and not isinstance(self.every, int)

    def __str__(self) -> str:
        said = self.model_dump(mode="json", exclude_none=True)
        return ", ".join(f"{name} {value}" for name, value in said.items()) or "constant"


BELONGS = {"betas": ("adam", "adamw"), "momentum": ("sgd",)}
"""Field -> the optimizers that have it."""


def _constant(value: Any) -> Any:
    if value == "constant":
        return Rate()
    if value is not None and not isinstance(value, dict | Rate):
        raise wrong("needs constant, or one of {at: {1000: 0.1}}, {halve: 1000}, {cosine: 0.01}")
    return value


class RecipeSection(Section):
    """How something is trained."""

    steps: Count | None = None
    """Updates."""
    epochs: Count | None = None
    """In place of steps; an epoch is as many updates as it takes to see each image once."""
    batch: Count | None = None
    patch: Annotated[int, Field(ge=8)] | None = None
    """HR pixels."""
    learning_rate: Annotated[float | dict[str, float] | None, BeforeValidator(_learning_rate)] = (
        None
    )
    """One for all, or one for each loss by its name."""
    optimizer: Literal["adam", "adamw", "sgd"] | None = None
    betas: tuple[Share, Share] | None = None
    """Of adam and adamw: decay of the averages of the gradient and of its square."""
    momentum: Share | None = None
    """Of sgd."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    rate: Annotated[Rate | None, BeforeValidator(_constant)] = None
    """What the learning rate is multiplied by in the course of the training."""
    clip: Annotated[float, Field(ge=0)] | None = None
    """The gradients of each loss are scaled down to at most this Euclidean norm. 0: never."""
    average: Share | None = None
    """Decay of the average of the weights that is stored and measured. 0: no average."""
    precision: Literal["auto", "fp32", "bf16"] | None = None
    """auto: bf16 autocast where the device multiplies bf16 natively, else fp32."""
    updates: Literal["auto", "captured", "eager"] | None = None
    """captured: each as one CUDA graph; eager: launched one operation after the other. auto:
    captured on a GPU, eager elsewhere."""

    @field_validator("epochs")
    @classmethod
    def _steps_or_epochs(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("steps") is not None:
            raise wrong("steps and epochs exclude each other")
        return value

    @field_validator(*BELONGS)
    @classmethod
    def _suits_the_optimizer(cls, value: Any, info: ValidationInfo) -> Any:
        field, optimizer = str(info.field_name), info.data.get("optimizer")
        if value is not None and optimizer is not None and optimizer not in BELONGS[field]:
            raise wrong(f"{optimizer} has no {field} ({', '.join(BELONGS[field])} only)")
        return value
