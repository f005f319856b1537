"""What a paper's adapter fulfils: a Method is a network that says in which stages it is trained."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.catalog import Task
from bench.data.pixels import Input
from bench.data.weights import Weights
from bench.method.batch import Augment, Batch, Batches, Request
from bench.method.checkpoints import read_state
from bench.method.recipe import Recipe

Losses = Mapping[str, Tensor] | Iterator[tuple[str, Tensor]]


NOTHING_SAID = Recipe()


class Group(TypedDict):
    """Parameters whose learning rate is `rate` times that of the recipe."""

    params: Sequence[nn.Parameter]
    rate: float


Parameters = Sequence[nn.Parameter] | Sequence[Group]
"""What a loss updates: parameters, or groups of them with rates of their own."""


@dataclass(frozen=True)
class Stage:
    """One phase of a method's training, trained once for equal content and then shared.

    What is left None is the study's `train` section's. A stage's key in the store is the hash of
    all stages before it and of its own fields, data, seed and source code.
    """

    name: str
    recipe: Recipe = NOTHING_SAID
    """How it is trained, over what the study's `train` section says of every stage."""
    target: Callable[[Tensor], Tensor] | None = None
    """HR images `(N, 3, H, W)` in [0, 1] -> what this stage learns to produce, same shape. Called
    under no_grad when the stage begins, for each whole image once, of whatever size, and stored."""
    target_halo: int | None = None
    """Pixels of context that the target needs on each side, so that large images are made in tiles.
    None: it must see the whole image."""
    depends: Mapping[str, Any] | None = None
    """The parameters that determine this stage. None: every hyper-parameter of its method. Naming
    fewer lets more trials share the stage; leaving out one that matters gives wrong results."""
    target_depends: Mapping[str, Any] | None = None
    """All that determines the target besides the original and the code, so that stages which differ
    in other things share it. None: `depends`, and the stages before."""
    trains: "Method | None" = None
    """The part that this stage trains and that is stored, itself a Method (a pre-trained generator,
    an assessor). None: the method whose `stages()` this is."""
    begins_from: "Method | None" = None
    """A part trained before, whose weights this stage's own part begins with. None: the seed's."""
    dataset: str | None = None
    degradation: str | None = None
    """"none" gives LR that equals HR, at scale 1. None: the study's task's."""
    batches: Callable[[Request], Batches] | None = None
    """Makes batches of the stage's own, with labels or from other files. None: patches of the
    data set's images."""
    scales: tuple[int, ...] | None = None
    """Each batch of patches is of one of these scales, drawn anew. None: the method's one scale."""
    augment: Augment = "turns"
    """How patches are turned."""
    seed: int | None = None
    """A fixed seed makes one stage serve every seed of every study. Of a study's recipe it takes at
    most steps, batch, patch and learning rate, where its own leaves them open."""
    examine: Callable[[], Mapping[str, float | str]] | None = None
    """Called once, in eval mode, when the stage has been trained: numbers and words that show what
    it has learned. They are stored with the stage and printed below the tables that rest on it."""


class Method(nn.Module):
    """A paper's approach: a network with its losses, from LR to SR.

    A subclass takes its hyper-parameters as typed keyword arguments: the names a study sweeps.
    It never scores itself, never writes a file, never imports MLflow or Optuna.
    """

    paper: ClassVar[str] = ""
    """Citation."""
    task: ClassVar[Task] = "super-resolution"
    """What it restores; "assessment": its forward gives the shares of votes `(N, 10)` for the marks
    1 to 10 instead of images."""
    tasks: ClassVar[tuple[Task, ...]] = ()
    """What it can be asked to do; (): its `task` alone."""
    tiny: ClassVar[Mapping[str, Any]] = {}
    """Keyword arguments that make the network small, for the contract test."""
    published: ClassVar[Mapping[str, Weights]] = {}
    """Weights that the authors published: name -> address, checksum, licence. A study and --weights
    take them as published:NAME. NAME_x2, NAME_x3 are those of one scale, and go by NAME as well."""
    channels: ClassVar[int] = 3
    """Of the input: 3 for RGB, 4 for packed Bayer files."""
    stride: int = 1
    """Input sizes have to be multiples of it; others are filled up by repeating the edge, and what
    was made of that is cut off again."""
    halo: int | None = 32
    """LR pixels of context that a tile of a large image needs on each side: the radius of the
    receptive field, or the tiles show seams. None: the network must see the whole image."""
    side: int | None = None
    """Of an assessor: pictures are resized to side x side pixels before it sees them, their shape
    not kept. None: it sees them as they are."""
    begins_from: str = ""
    """The weights that a study has its training begin with; "": those of the seed."""
    remarks: Sequence[str] = ()
    """What a reader of its numbers must be told, such as that a judge's features are untrained.
    Stands at the head of every report."""
    hyperparameters: dict[str, Any]
    """The constructor's arguments, defaults included."""

    @classmethod
    def takes_scales(cls) -> bool:
        """Whether one network serves several scales: its constructor takes `scales`."""
        return "scales" in inspect.signature(cls.__init__).parameters

    @classmethod
    def does(cls, task: str) -> bool:
        """Whether it can be asked to do a task."""
        return task in (cls.tasks or (cls.task,))

    def at(self, scale: int) -> "Method":
        """Returns what restores at one scale: itself, unless one network serves several."""
        return self

    def __new__(cls, *args: Any, **kwargs: Any) -> "Method":
        method = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(method, *args, **kwargs)
        bound.apply_defaults()
        method.__dict__["hyperparameters"] = {
            name: value
            for name, value in bound.arguments.items()
            if name not in ("self", "args", "kwargs")
        }
        return method

    def forward(self, lr: Tensor) -> Tensor:
        """Returns SR `(N, 3, scale*H, scale*W)` for `lr (N, C, H, W)` in [0, 1].

        The caller clamps to [0, 1] and rounds.
        """
        raise NotImplementedError

    def stages(self) -> Sequence[Stage]:
        """Returns what is to be trained, in order; nothing to train: ()."""
        return ()

    def optimizers(self, stage: Stage) -> Mapping[str, Parameters]:
        """Returns the parameters that each named loss of `training_step` updates.

        Parameters, or groups such as `{"params": [...], "rate": 0.1}`, which learn at a tenth of
        the recipe's rate.
        """
        return {"loss": [p for p in self.parameters() if p.requires_grad]}

    def read_weights(self, file: Path) -> Mapping[str, Tensor]:
        """Returns the state dict in a file of weights; may be extended for the authors' format."""
        return read_state(file)

    def read_start(self, file: Path) -> Mapping[str, Tensor]:
        """Returns the state dict that a training begins with from a file of weights; may be
        extended where the file holds a part alone, such as a trunk trained on something else."""
        return self.read_weights(file)

    def training_step(self, batch: Batch, stage: Stage) -> Losses:
        """Returns the losses of one update, L1 by default.

        A loss named in `optimizers` is minimised over that optimizer's parameters alone; the others
        are logged. A method with several optimizers writes this as a generator of (name, loss):
        each `yield` comes back after that optimizer has made its step, so the alternation of a GAN
        reads from top to bottom.
        """
        return {"loss": F.l1_loss(self(batch.lr), batch.target)}

    def watch(self, stage: Stage, step: int) -> None:
        """Called after every 50th update, to look at what the training steps have counted.

        A training step itself should leave all numbers on the device, or it cannot be captured on a
        GPU. Raises Diverged where going on would be in vain.
        """


def groups_of(method: Method, stage: Stage) -> dict[str, list[Group]]:
    """Returns what each named loss of a stage updates, as groups: one of rate 1 if none are made.

    >>> groups_of(Method(), Stage("none"))
    {'loss': [{'params': [], 'rate': 1.0}]}
    """
    groups: dict[str, list[Group]] = {}
    for name, trained in method.optimizers(stage).items():
        own: list[Group] = [
            {"params": list(item["params"]), "rate": item["rate"]}
            for item in trained
            if not isinstance(item, nn.Parameter)
        ]
        plain = [item for item in trained if isinstance(item, nn.Parameter)]
        groups[name] = own or [{"params": plain, "rate": 1.0}]
    return groups


def to_tensor(image: Input, device: torch.device) -> Tensor:
    """Returns `(1, C, H, W)` in [0, 1].

    image: uint8 `(H, W, 3)` RGB or `(H, W)` gray, which becomes RGB; or float32 `(H, W, C)` in
    [0, 1], as of packed raw files.
    """
    rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    tensor = torch.from_numpy(np.ascontiguousarray(rgb)).to(device)
    tensor = tensor.permute(2, 0, 1)[None].float()
    if image.dtype == np.uint8:
        tensor = tensor.div_(255)
    return tensor.contiguous(memory_format=torch.channels_last)
