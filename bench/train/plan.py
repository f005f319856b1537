"""Plan: a stage, and everything that decides what its training gives."""

from dataclasses import dataclass

from torch import nn

from bench.method.batch import Batches
from bench.method.contract import Method, Stage, groups_of
from bench.method.recipe import Recipe
from bench.train.pixels import Source


@dataclass(frozen=True)
class Plan:
    """A stage with everything filled in, and the key that all of it makes."""

    stage: Stage
    owner: Method
    key: str
    dataset: str
    scale: int
    degradation: str
    recipe: Recipe
    """Filled, counted in steps, its precision chosen."""
    seed: int
    device: str
    batches: Batches | None = None
    """The stage's own; None: patches."""
    sources: tuple[Source, ...] = ()
    """The training set of the patches, at each scale."""
    target: str = ""
    """Key of what is learned instead of the originals; "": nothing is."""

    @property
    def steps(self) -> int:
        assert self.recipe.steps is not None
        return self.recipe.steps

    @property
    def patch(self) -> int:
        """HR pixels."""
        assert self.recipe.patch is not None
        return self.recipe.patch

    @property
    def batch(self) -> int:
        assert self.recipe.batch is not None
        return self.recipe.batch

    @property
    def precision(self) -> str:
        """bf16 or fp32."""
        assert self.recipe.precision is not None
        return self.recipe.precision

    @property
    def captured(self) -> bool:
        """Whether updates are to be captured and launched as one."""
        return self.recipe.updates == "captured"

    def trained(self) -> list[nn.Parameter]:
        """Returns all parameters that the stage's losses update."""
        groups = groups_of(self.owner, self.stage).values()
        return [parameter for parts in groups for part in parts for parameter in part["params"]]
