"""Weights go into a method: a file's tensors by the method's names, or why they do not fit."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from bench.data.weights import digest
from bench.errors import BenchError
from bench.method.fitting import fitting_parameters

if TYPE_CHECKING:
    from bench.method.contract import Method

State = Mapping[str, Tensor]


def load_weights(method: "Method", file: Path, *, begin: bool = False) -> str:
    """Loads a file of weights into a method, whole or not at all; returns the file's SHA-256.

    begin: a training begins with them. Raises BenchError as `fitting_state`.
    """
    method.load_state_dict(fitting_state(method, file, begin=begin))
    return digest(file)


def fitting_state(method: "Method", file: Path, *, begin: bool = False) -> dict[str, Tensor]:
    """Returns the tensors of a file under a method's names; nothing is loaded.

    Names may differ by a prefix, such as "generator.", under which then all lies. Raises BenchError
    for a file that cannot be read (see `read_state`), and with one message for one that does not
    fit: how much of it does, what differs first, and which parameters would make it fit.
    """
    state = method.read_start(file) if begin else method.read_weights(file)
    own = method.state_dict()
    named = by_names_of(own, state, file)
    if set(named) - set(own) or any(not _in(named, name, own[name]) for name in own):
        raise BenchError(_mismatch(method, own, named, file))
    return {name: named.get(name, own[name]) for name in own}


def by_names_of(own: State, state: State, file: Path | str = "") -> dict[str, Tensor]:
    """Returns a state dict's tensors under the names of another, where a prefix tells them apart.

    own: of the method. Tries each prefix that the file's names have before the method's, and the
    one that the method's have in common; the one under which most tensors fit is taken. Raises
    BenchError where several networks in the file fit wholly.
    """
    lead = _common_prefix(own)
    fits: Counter[tuple[str, str]] = Counter({("", ""): 0})
    by_last = defaultdict(list)
    for key in state:
        by_last[key.rpartition(".")[2]].append(key)
    for added in dict.fromkeys(("", lead)):
        for name, value in own.items():
            short = name.removeprefix(added)
            for key in by_last[short.rpartition(".")[2]]:
                if key == short or key.endswith(f".{short}"):
                    fits[key.removesuffix(short), added] += state[key].shape == value.shape
    taken, added = max(fits, key=lambda pair: (fits[pair], pair == ("", ""), -len(pair[0])))
    whole = [prefix for (prefix, _), count in fits.items() if count == len(own)]
    if taken and len(whole) > 1:
        names = " and ".join(repr(prefix.rstrip(".")) for prefix in whole)
        raise BenchError(f"weights {file}: several networks in it fit: {names}. Save one alone.")
    return {added + k.removeprefix(taken): v for k, v in state.items() if k.startswith(taken)}


def _common_prefix(names: Mapping[str, object]) -> str:
    """The first part that all names share, with its dot: "network."."""
    first = {name.partition(".")[0] for name in names}
    return f"{first.pop()}." if len(first) == 1 and all("." in name for name in names) else ""


def _in(named: State, name: str, value: Tensor) -> bool:
    """Whether a file has a tensor; files older than the counter of batch norm do without it."""
    if name not in named:
        return name.endswith(".num_batches_tracked")
    return named[name].shape == value.shape


def _mismatch(method: "Method", own: State, named: State, file: Path) -> str:
    fitting = sum(name in named and named[name].shape == own[name].shape for name in own)
    given = ", ".join(f"{k} {v}" for k, v in method.hyperparameters.items())
    lines = [
        f"weights {file}: not the weights of {type(method).__name__} ({given or 'no parameters'}): "
        f"{fitting} of its {len(own)} tensors match by name and shape."
    ]
    missing = [n for n in own if n not in named and not _in(named, n, own[n])]
    unexpected = [name for name in named if name not in own]
    other = [n for n in own if n in named and named[n].shape != own[n].shape]
    if missing:
        lines.append(f"Missing in the file: {_first(missing)}.")
    if unexpected:
        lines.append(f"Unexpected in it: {_first(unexpected)}.")
    if other:
        theirs, ours = tuple(named[other[0]].shape), tuple(own[other[0]].shape)
        lines.append(f"Of another shape: {_first(other)}, {theirs} in the file, {ours} here.")
    changed, all_of_it = fitting_parameters(method, named)
    if changed:
        words = ", ".join(f"{name} {value}" for name, value in changed.items())
        lines.append(f"{'All of it fits' if all_of_it else 'More of it fits'} with {words}.")
    return " ".join(lines)


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
