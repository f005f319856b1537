"""Updates on a GPU captured as one CUDA graph: forward, backward, optimizers, average of weights.

Networks of the size of papers' leave a fast card waiting for its next launch. A graph is launched
as one; it makes the same operations on the same addresses, so what an update takes in (batch,
learning rate, seed) is put where the graph reads it.
"""

import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.method.batch import Batch, Batches
from bench.method.contract import Method
from bench.train.batches import Patches, Places
from bench.train.optimizers import Average, Optimizers
from bench.train.plan import Plan
from bench.train.updates import Eager, update

ALIKE = 0.05
"""Two updates, captured, may change the weights by this share otherwise than launched ones; or by
four times what two launched ones differ among themselves."""
HOST = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "_unique2", "equal")
"""Operations for which the host waits for the card, or the card for the host."""


class Captured:
    """Updates as CUDA graphs, one for each shape of batch.

    Each graph is proved before it is used: from the same weights two captured updates must do what
    two launched ones do. What cannot be captured, or does something else, is launched operation by
    operation from then on, and `words` says why.
    """

    def __init__(
        self, plan: Plan, batches: Batches, optimizers: Optimizers, average: Average | None
    ) -> None:
        self.words = "captured"
        self._eager = Eager(plan, batches, optimizers, average)
        on_card = isinstance(batches, Patches) and batches.on_card
        self._feed: _Feed = _Crops(batches) if on_card else _Whole(batches)  # type: ignore[arg-type]
        self._graphs: dict[Hashable, _Graph] = {}

    def __call__(self, step: int) -> dict[str, Tensor]:
        if self.words != "captured":
            return self._eager(step)
        if not self._graphs:
            _rates_on_card(self._eager.optimizers, self._eager.plan.trained()[0].device)
        self._eager.begin(step)
        kind, tensors = self._feed.draw(step)
        if kind not in self._graphs:
            try:
                self._graphs[kind] = self._proved(kind, step)
            except (Unsuitable, RuntimeError) as error:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()  # raises where the card is lost
                return self._go_on_eagerly(str(error).splitlines()[0], step)
            self._eager.begin(step)
            kind, tensors = self._feed.draw(step)
        return self._launch(self._graphs[kind], tensors, step)

    def _go_on_eagerly(self, why: str, step: int) -> dict[str, Tensor]:
        """Makes this update and all that follow one operation after the other."""
        self.words = f"not captured: {why}"
        self._graphs.clear()
        _rates_on_host(self._eager.optimizers)
        return self._eager(step)

    def _launch(self, graph: "_Graph", tensors: Sequence[Tensor], step: int) -> dict[str, Tensor]:
        for place, tensor in zip(graph.inputs, tensors, strict=True):
            place.copy_(tensor, non_blocking=True)
        graph.launch()
        if self._eager.average and step == 0:
            self._eager.average.add(0)  # the graph's is that of all later updates
        return dict(zip(graph.names, graph.losses.clone().unbind(), strict=True))

    # --- a new graph --------------------------------------------------------------------------

    def _proved(self, kind: Hashable, step: int) -> "_Graph":
        """Captures the update for one shape of batch. Raises Unsuitable, RuntimeError; weights and
        optimizers are afterwards what they were."""
        eager = self._eager
        before = _State(eager.plan.owner, eager.optimizers, eager.average)
        steps = (step, step + 1) if self._feed.draw(step + 1)[0] == kind else (step, step)
        try:
            with _beside(eager.plan.trained()[0].device):
                self._refuse_questions(step)
                before.put_back()
                launched = [self._change(eager, steps, before) for _ in range(2)]
            graph = self._capture(kind, step)
            before.put_back()  # a capture computes nothing; what stands in for one may

            def replay(step: int) -> None:
                eager.begin(step)
                self._launch(graph, self._feed.draw(step)[1], step)

            captured = self._change(replay, steps, before)
        finally:
            before.put_back()
        noise, apart = _apart(launched[1], launched[0]), _apart(captured, launched[0])
        if not apart <= max(ALIKE, 4 * noise):
            raise Unsuitable(
                f"two captured updates differ from two launched ones by {apart:.2g} of what they "
                f"change; launched ones among themselves by {noise:.2g}"
            )
        return graph

    def _refuse_questions(self, step: int) -> None:
        """Makes an update; raises Unsuitable if it asks what a graph would have answered once and
        for all, or waits for."""
        self._eager.begin(step)
        batch = _Watched(**vars(self._eager.batches.batch(step)))
        random_before = _host_randomness()
        with Questions() as questions:
            self._eager.make(batch, step)
        if batch.asked:
            raise Unsuitable("the training step asks for the number of the update")
        if questions.asked:
            raise Unsuitable(f"the training step asks the host ({', '.join(questions.asked)})")
        if _host_randomness() != random_before:
            raise Unsuitable("the training step draws random numbers on the host")

    def _change(
        self, run: Callable[[int], object], steps: Sequence[int], before: "_State"
    ) -> list[Tensor]:
        """What updates change of the weights, which are then put back."""
        trained = self._eager.plan.trained()
        with torch.no_grad():
            weights = [parameter.clone() for parameter in trained]
            for step in steps:
                with torch.enable_grad():
                    run(step)
            change = [after - start for after, start in zip(trained, weights, strict=True)]
        before.put_back()
        return change

    def _capture(self, kind: Hashable, step: int) -> "_Graph":
        plan, average = self._eager.plan, self._eager.average
        self._eager.begin(step)
        inputs = [tensor.clone() for tensor in self._feed.draw(step)[1]]
        names: list[str] = []

        def run() -> Tensor:
            batch = self._feed.batch(kind, inputs)
            losses = update(plan.owner, plan.stage, batch, self._eager.optimizers, plan)
            if average:
                average.add(1)
            names[:] = losses
            return torch.stack(list(losses.values()))

        launch, losses = capture(run)
        return _Graph(inputs, launch, names, losses)


class Unsuitable(Exception):
    """An update that cannot be captured. Says why."""


class _Graph(NamedTuple):
    """A captured update."""

    inputs: list[Tensor]
    """Where it reads its batch."""
    launch: Callable[[], None]
    names: list[str]
    losses: Tensor
    """`(len(names),)`, where it writes them."""


def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Returns what repeats all that `run` does on the card, and the tensor that it returned."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        made = run()
    return graph.replay, made


# --- what goes in -------------------------------------------------------------------------------


class _Feed(Protocol):
    """What an update takes in: tensors that change, and the batch that a graph makes of them."""

    def draw(self, step: int) -> tuple[Hashable, Sequence[Tensor]]:
        """Returns the kind of an update's batch, and the tensors; equal kinds, equal shapes."""
        ...

    def batch(self, kind: Any, tensors: Sequence[Tensor]) -> Batch: ...


class _Crops:
    """Patches of images that lie on the card: the graph cuts them out, and is told where."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def draw(self, step: int) -> tuple[Hashable, Sequence[Tensor]]:
        scale, starts = self._patches.places(step)
        return scale, [starts.pin_memory() if torch.cuda.is_available() else starts]

    def batch(self, kind: int, tensors: Sequence[Tensor]) -> Batch:
        return self._patches.at(Places(kind, tensors[0]), 0)


class _Whole:
    """Batches as they are made."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def draw(self, step: int) -> tuple[Hashable, Sequence[Tensor]]:
        batch = self._batches.batch(step)
        parts = {"lr": batch.lr, "hr": batch.hr, "target": batch.target, "labels": batch.labels}
        if batch.target is batch.hr:
            del parts["target"]
        given = {name: tensor for name, tensor in parts.items() if tensor is not None}
        kind = tuple((name, tensor.shape, tensor.dtype) for name, tensor in given.items())
        return kind, list(given.values())

    def batch(self, kind: Sequence[tuple[str, Any, Any]], tensors: Sequence[Tensor]) -> Batch:
        given = dict(zip((name for name, *_ in kind), tensors, strict=True))
        return Batch(**{"target": given["hr"], **given}, step=0)


# --- what an update must not ask ------------------------------------------------------------------


@dataclass(frozen=True)
class _Watched(Batch):
    """A batch that knows whether it was asked for the number of its update."""

    asked: list[str] = field(default_factory=list)

    def __getattribute__(self, name: str) -> Any:
        if name == "step":
            object.__getattribute__(self, "asked").append(name)
        return object.__getattribute__(self, name)


class Questions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the names of the operations meanwhile for which host and card wait for each other."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: dict[str, None] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            part is not None and part.dtype == torch.bool for part in args[1]
        )
        if name in HOST or by_mask:
            self.asked[name] = None
        return func(*args, **(kwargs or {}))


def _host_randomness() -> tuple[Any, ...]:
    numbers = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), str(numbers), random.getstate()


# --- what an update changes -----------------------------------------------------------------------


class _State:
    """Weights, buffers, averages and what optimizers keep: where they lie, and what was there."""

    def __init__(self, owner: Method, optimizers: Optimizers, average: Average | None) -> None:
        parts = [*owner.state_dict().values(), *(average.values if average else [])]
        self._places = [part for part in parts if isinstance(part, Tensor)]
        self._values = [place.clone() for place in self._places]
        self._optimizers = optimizers
        self._kept = {key: place.clone() for key, place in self._slots()}

    def put_back(self) -> None:
        """Puts it all back where it lay; what an optimizer did not have is 0, with which it
        begins."""
        with torch.no_grad():
            for place, value in zip(self._places, self._values, strict=True):
                place.copy_(value)
            for key, place in self._slots():
                if key in self._kept:
                    place.copy_(self._kept[key])
                else:
                    place.zero_()

    def _slots(self) -> Iterator[tuple[tuple[str, Tensor, str], Tensor]]:
        for loss, optimizer in self._optimizers.items():
            for parameter, slots in optimizer.state.items():
                for name, place in slots.items():
                    if isinstance(place, Tensor):
                        yield (loss, parameter, name), place


def _apart(change: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """How far two changes are from each other, as a share of the second."""
    length = torch.stack([part.double().norm() for part in other]).norm()
    pairs = zip(change, other, strict=True)
    apart = torch.stack([(a.double() - b.double()).norm() for a, b in pairs]).norm()
    return float(apart / length) if length else float(apart)


def _rates_on_card(optimizers: Optimizers, device: torch.device) -> None:
    """Puts learning rates where a graph reads them: as numbers they would be part of it."""
    for group in (group for each in optimizers.values() for group in each.param_groups):
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True


def _rates_on_host(optimizers: Optimizers) -> None:
    for group in (group for each in optimizers.values() for group in each.param_groups):
        group["lr"] = float(group["lr"])
        if "capturable" in group:
            group["capturable"] = False


@contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """Computes on a stream of its own, as what is to be captured afterwards has to."""
    if device.type != "cuda":
        yield
        return
    stream, main = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(main)
    with torch.cuda.stream(stream):
        yield
    main.wait_stream(stream)
