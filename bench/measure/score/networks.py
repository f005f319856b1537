"""Metrics that run a network, made ready to score: this is what imports torch."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.measure.evaluate import Measured, load_scorers
from bench.measure.metrics import Scorer, metric
from bench.method.contract import Method
from bench.method.precision import ieee_fp32
from bench.records.store import Store, home
from bench.study.fields import TaskSection
from bench.sweep.trial import train_assessors
from bench.terminal.progress import make_screen, watched
from bench.train.loop import choose_device


class Network(NamedTuple):
    """A metric that runs a network."""

    scorer: Scorer
    identity: str
    """Which weights: part of the key of a stored score."""
    label: str
    """Exact name of the trained thing behind it, such as nima@photos; else the metric's."""


def load_networks(names: Sequence[str]) -> dict[str, Network]:
    """Returns those of the metrics that are available, training what the harness trains itself,
    with that training's progress on standard error."""
    found = Measured()
    screen = make_screen()
    training = train_assessors(
        names, TaskSection(kind="enhancement", scale=1), None, Store(home() / "store"), found
    )
    trained = watched(training, screen)
    scorers = load_scorers(names, choose_device(), trained, found)
    exact = ieee_fp32()
    return {
        name: Network(exact(scorer), _identity(name, trained), found.assessors.get(name, name))
        for name, scorer in scorers.items()
        if metric(name).network
    }


def _identity(name: str, trained: Mapping[str, Method]) -> str:
    """The metric's own, or a hash of the weights that were trained."""
    if name not in trained:
        return metric(name).identity()
    digest = hashlib.sha256()
    for key, tensor in trained[name].state_dict().items():
        digest.update(key.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
