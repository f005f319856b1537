"""A set of marked photographs, marked again by a method: from pictures to scores."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bench.data.benchmark import Benchmark
from bench.data.pairs import VotedPair
from bench.data.votes import left_out
from bench.errors import BenchError, Unscorable
from bench.measure.metrics import metric
from bench.method.assessing import Marker, Marks
from bench.records.cell import Score


def assess(
    marker: Marker, benchmark: Benchmark, protocol: str, metrics: Sequence[str]
) -> Iterator[str | list[Score]]:
    """Yields the stem of each photograph that has been marked, and last all scores.

    Raises BenchError for a set without votes.
    """
    if any(not isinstance(pair, VotedPair) for pair in benchmark.pairs):
        raise BenchError(f"{benchmark.name} has no votes. Sets that have: ava_train, ava_val.")
    marks = []
    files = [pair.hr_path for pair in benchmark.pairs if pair.hr_path]
    for pair, found in zip(benchmark.pairs, marker.marks(files), strict=True):
        marks.append(found)
        yield pair.stem
    yield scores_of_marks(benchmark, marks, protocol, metrics)


def scores_of_marks(
    benchmark: Benchmark, marks: Sequence[Marks | str], protocol: str, metrics: Sequence[str]
) -> list[Score]:
    """Returns a row for each photograph and metric, as a record keeps them.

    marks: of the benchmark's pairs, in order. Of a correlation a row has the photograph's part in
    it, so that the mean over a set is the correlation. Photographs that are no pictures take no
    part; their rows say why.
    """
    able = [i for i, found in enumerate(marks) if not isinstance(found, str)]
    predicted = np.array([marks[i] for i in able])
    given = np.array([_votes(benchmark, i) for i in able])
    rows = []
    for name in metrics:
        values, why = _measured(name, predicted, given)
        of = dict(zip(able, values, strict=True))
        for i, pair in enumerate(benchmark.pairs):
            reason = why if i in of else str(marks[i])
            value = of.get(i, math.nan)
            place = (benchmark.name, benchmark.scale, pair.stem, name, protocol)
            rows.append(Score(*place, value, reason))
    return rows


def able(rows: Sequence[Score]) -> list[Score]:
    """Returns the rows without those of photographs that are no pictures, unless all are."""
    return [row for row in rows if not math.isnan(row.value)] or list(rows)


def unmarked(benchmark: Benchmark, rows: Sequence[Score]) -> list[str]:
    """Returns a remark that counts and names the photographs that have no part in the scores."""
    broken = {row.image: row.why for row in rows if row.why}
    why = [*benchmark.skipped, *broken.values()]
    return [f"{benchmark.name}: {left_out(why)}."] if why else []


def _measured(name: str, predicted: Marks, given: Marks) -> tuple[list[float], str]:
    """A metric's values, and why they are NaN if they are."""
    measure = metric(name).of_marks
    assert measure is not None
    if not len(given):
        return [], ""
    try:
        return measure(predicted, given).tolist(), ""
    except Unscorable as error:
        return [math.nan] * len(given), str(error)


def _votes(benchmark: Benchmark, index: int) -> Marks:
    pair = benchmark.pairs[index]
    assert isinstance(pair, VotedPair)
    votes = np.array(pair.votes, float)
    shares: Marks = votes / votes.sum()
    return shares
