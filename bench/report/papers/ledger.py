"""The ledger: every number that papers print, beside what has been run in this home."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.data.roots import home
from bench.errors import BenchError
from bench.records.cell import Cell, at_scale, load_records
from bench.report.papers.numbers import digits_of, not_of_these, number_verdict
from bench.report.papers.ours import (
    NO_METHOD,
    NOT_RUN,
    Ours,
    find_trial,
    increment,
    own_stages,
    value_of,
)
from bench.report.papers.published import Match, Paper, PrintedTable, Series
from bench.report.papers.verdicts import VERDICTS
from bench.report.provenance import tiny_runs
from bench.report.rows import Row
from bench.study.fields import Study

Records = Mapping[str, Sequence[tuple[Study, list[Cell]]]]
"""A method's path -> the studies that ran it, with its records."""


@dataclass(frozen=True)
class Run:
    """The trial that answers for a printed number, its complete seeds."""

    study: Study
    """At the table's scale alone."""
    cells: tuple[Cell, ...]

    @property
    def weights(self) -> str:
        """Those that its row names; "" for a training."""
        return self.study.methods[self.cells[0].method].weights or ""

    @property
    def label(self) -> str:
        """ "published/carn_m"."""
        return f"{self.study.name}/{self.cells[0].label.replace(' ', '-')}"

    @property
    def rank(self) -> tuple[bool, int, str]:
        """What answers before another: weights at hand, the longer training, the later run."""
        updates = sum(stage.steps for stage in own_stages(self.cells[0]))
        return bool(self.weights), updates, self.cells[0].started

    def scale(self) -> str:
        """Returns how much went into it: "300 updates, patches of 48 of photos_train, seed 0"."""
        stages = own_stages(self.cells[0])
        if self.weights or not stages:
            return f"weights {self.weights}" if self.weights else "nothing trained"
        train, own = self.study.train, self.study.methods[self.cells[0].method].train
        patch = (own and own.patch) or (train and train.patch)
        data = f"patches of {patch} of {train.dataset}" if train and patch else "own data"
        seeds = ", ".join(str(cell.seed) for cell in self.cells)
        words = [f"{sum(stage.steps for stage in stages):,} updates", data, f"seed {seeds}"]
        words += ["tiny run"] * bool(tiny_runs([Row("", "", self.cells)]))
        return ", ".join([*words, *(["kept though stale"] if self.cells[0].kept else [])])


@dataclass(frozen=True)
class Entry:
    """One printed number with ours."""

    paper: str
    """The file's name."""
    table: PrintedTable
    series: Series
    label: str
    printed: float
    digits: int
    """After the point in the paper's numbers of this quantity: a file drops the last of 0.8960."""
    verdict: str
    run: Run | None = None
    ours: float = math.nan
    note: str = ""
    """Why there is none of ours, or of how many images it is."""


def records_of_home() -> tuple[Records, list[str]]:
    """Returns what has been swept here, and a line for each study that cannot be read."""
    found: dict[str, list[tuple[Study, list[Cell]]]] = {}
    broken = []
    for file in sorted((home() / "studies").glob("*/study.json")):
        try:
            study, cells, _ = load_records(file.parent.name)
        except BenchError as error:
            broken.append(f"Left out: {str(error).splitlines()[0]}")
            continue
        by_use: dict[str, list[Cell]] = {}
        for cell in cells:
            by_use.setdefault(cell.use, []).append(cell)
        for use, mine in by_use.items():
            found.setdefault(use, []).append((study, mine))
    return found, broken


def entries(papers: Mapping[str, Paper], records: Records) -> list[Entry]:
    """Returns every printed number of papers, in their order, with its verdict."""
    return [
        entry
        for name, paper in papers.items()
        for table in paper.tables
        for series in table.series
        for entry in _of_series(name, paper, table, series, records)
    ]


def _of_series(
    name: str, paper: Paper, table: PrintedTable, series: Series, records: Records
) -> Iterable[Entry]:
    runs = [find_run(records, table, table.match_of(series, label)) for label in table.points]
    ours = [Ours(why=run) if isinstance(run, str) else _value(series, table, run) for run in runs]
    digits = digits_of(paper, series)
    if series.change:
        ours = [ours[0], *(increment(a, b) for a, b in pairwise(ours))]
    for label, printed, run, mine in zip(table.points, series.values, runs, ours, strict=True):
        if printed is None:
            continue
        if isinstance(run, str) or not mine.by_seed:
            yield Entry(name, table, series, label, printed, digits, "not run", note=mine.why)
        else:
            told, note = number_verdict(paper, table, series, printed, run.cells, mine)
            yield Entry(name, table, series, label, printed, digits, told, run, mine.value, note)


def _value(series: Series, table: PrintedTable, run: Run) -> Ours:
    if why := not_of_these(run.study, table, series, table.dataset or ""):
        return Ours(why=why)
    return value_of(series, run.cells, table.dataset or "")


def find_run(records: Records, table: PrintedTable, match: Match) -> Run | str:
    """Returns the run that a match means on a table's task, or why there is none.

    By the method's path, its hyper-parameters and its weights, never by a study's names. Of several
    studies' runs weights at hand come first, then the longest training, then the latest: none is
    chosen for its numbers.
    """
    if not match:
        return NO_METHOD
    found: list[Run] = []
    why = NOT_RUN.replace(" of the study", "")
    for study, cells in records.get(match["use"], ()):
        task = study.task
        if table.scale not in task.scales or task.degradation != table.degradation:
            continue
        one, mine = at_scale(study, cells, table.scale)
        by_weights: dict[str, list[Cell]] = {}
        for cell in mine:
            by_weights.setdefault(one.methods[cell.method].weights or "", []).append(cell)
        for weights, group in by_weights.items():
            if match.get("weights", weights) == weights:
                trial = find_trial(group, match)
                if not isinstance(trial, str):
                    found.append(Run(one, trial))
                elif trial != NOT_RUN:
                    why = trial
    return max(found, key=lambda run: run.rank) if found else why


def counts(found: Iterable[Entry]) -> dict[str, int]:
    """Returns verdict -> how many."""
    many = Counter(entry.verdict for entry in found)
    return {verdict: many[verdict] for verdict in VERDICTS}
