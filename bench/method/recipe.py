"""Recipe: how a stage is trained, each field None where nothing is said, laid over another."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import pydantic

from bench.errors import BenchError
from bench.study.fields import TrainSection
from bench.study.recipe import BELONGS, Rate, RecipeSection


class Recipe(RecipeSection):
    """How a stage is trained. What is None is left to whoever is asked next.

    Layers, from the ground up: the defaults, the study's `train`, the stage's own, the `train` of
    the study's row. Raises BenchError for values that are out of range or do not go together.
    """

    if not TYPE_CHECKING:  # which is to see the fields

        def __init__(self, **said: Any) -> None:
            try:
                super().__init__(**said)
            except pydantic.ValidationError as error:
                raise BenchError("\n".join(map(_problem, error.errors()))) from None

    def said(self) -> dict[str, Any]:
        """Returns the fields that say something, as they are."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, other: "Recipe") -> "Recipe":
        """Returns this laid over another, field by field.

        Steps replace epochs, and epochs steps; an optimizer takes away what it does not have.
        """
        above, below = self.said(), other.said()
        for one, another in (("steps", "epochs"), ("epochs", "steps")):
            if one in above:
                below.pop(another, None)
        for field, optimizers in BELONGS.items():
            if above.get("optimizer", optimizers[0]) not in optimizers:
                below.pop(field, None)
        return Recipe(**{**below, **above})

    def only(self, fields: Collection[str]) -> "Recipe":
        """Returns what it says in some of its fields."""
        return Recipe(**{name: value for name, value in self.said().items() if name in fields})

    def overridden(self, other: "Recipe") -> set[str]:
        """Returns the fields that another says and that are something else here."""
        return {name for name, value in other.said().items() if getattr(self, name) != value}

    def filled(self) -> "Recipe":
        """Returns it with the default of everything that is not said, steps or epochs apart.

        A clip, an average or a schedule that changes nothing is None.
        """
        whole = self.over(DEFAULTS)
        own: dict[str, Any] = {"weight_decay": 0.01 if whole.optimizer == "adamw" else 0.0}
        if whole.optimizer == "sgd":
            own["momentum"] = 0.0
        else:
            own["betas"] = (0.9, 0.999)
        whole = whole.over(Recipe(**own))
        idle = {"clip": 0, "average": 0, "rate": Rate()}
        off = {name: None for name, value in idle.items() if getattr(whole, name) == value}
        return whole.model_copy(update=off)

    def unusual(self) -> "Recipe":
        """Returns what it says and is no default."""
        usual = DEFAULTS.filled()
        return self.only({name for name, v in self.said().items() if getattr(usual, name) != v})

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.said().items())


def _problem(item: Any) -> str:
    """One line of what pydantic found wrong with a recipe."""
    where = ".".join(str(part) for part in item["loc"])
    return f"recipe: {where}: {item['msg']}, got {item['input']!r}."


DEFAULTS = Recipe(batch=16, patch=48, learning_rate=1e-4, optimizer="adam", precision="auto")

OF_ANY_STUDY = ("steps", "epochs", "batch", "patch", "learning_rate")
"""What a stage with a fixed seed takes from a study if it leaves it open. How it is optimized it
says itself or leaves to the defaults: every study shares it."""


def recipe_of(section: RecipeSection | None) -> Recipe:
    """Returns what a section of a study says."""
    if section is None:
        return Recipe()
    said = {name: getattr(section, name) for name in Recipe.model_fields}
    if isinstance(section, TrainSection) and section.halve_at:
        said["rate"] = Rate(halve=section.halve_at)
    return Recipe(**said)


def layers(
    own: Recipe, study: RecipeSection | None, row: RecipeSection | None, shared: bool
) -> list[Recipe]:
    """Returns the layers of a stage's recipe from the ground up, without the defaults.

    own: the stage's. row: what the study says for the method alone, which outranks the stage;
    but not where the stage is shared by every study because its seed is fixed.
    """
    if not shared:
        return [recipe_of(study), own, recipe_of(row)]
    given = recipe_of(row).over(recipe_of(study)).said()
    return [Recipe(**{name: given[name] for name in OF_ANY_STUDY if name in given}), own]


def lay(recipes: list[Recipe]) -> Recipe:
    """Returns the layers as one, the last on top."""
    whole = Recipe()
    for recipe in recipes:
        whole = recipe.over(whole)
    return whole
