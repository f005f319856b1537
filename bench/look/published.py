"""Published weights by name: the harness's own, those of methods, and what pyiqa downloads."""

from pathlib import Path

from bench.data import sets
from bench.data.catalog import DATASETS
from bench.data.fetch import Progress, Status
from bench.data.fetch import fetch as fetch_known
from bench.data.fetch import status as status_of
from bench.data.weights import WEIGHTS
from bench.errors import BenchError
from bench.measure.metrics import pyiqa


def status() -> list[Status]:
    """Returns one row for each file that can be fetched by name."""
    from bench.method.published import (
        all_weights,
    )  # torch: a download of the harness's does without

    return status_of(all_weights())


def fetch(name: str, progress: Progress = lambda done, total: None) -> Path:
    """Returns the path of published weights, which are downloaded if they are not here.

    name: one that `status` lists; "pyiqa:NAME" lets pyiqa download what a metric needs, and gives
    the folder of its cache. Raises BenchError as `bench.data.fetch.fetch` does.
    """
    if name.startswith("pyiqa:"):
        return pyiqa.download(name.removeprefix("pyiqa:"))
    if name in DATASETS:
        where = sets.missing(name) or f"{name} is on this machine already."
        raise BenchError(f"{name}: a data set; `bench fetch` downloads weights only. {where}")
    if name in WEIGHTS:
        return fetch_known(name, progress)
    from bench.method.published import all_weights

    return fetch_known(name, progress, all_weights())
