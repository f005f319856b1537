"""Where the numbers come from: protocol, commit, data, runs, and all that limits what they say."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from bench.measure.metrics import metric
from bench.records.cell import LAST_UPDATES, Cell, UsedDataset
from bench.report.rows import Row, objective_names
from bench.report.scores import DASH, Column, metric_title, printed_number
from bench.study.fields import Study

TINY_STEPS = 10_000
"""Updates below which a training is called a tiny run: the papers train for 100 000 and more."""


@dataclass(frozen=True)
class Section:
    """A plain table below the comparison; without a header, its notes alone."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    about: str = ""
    notes: tuple[str, ...] = ()
    printed: bool = False
    """Belongs into a paper: in LaTeX a table, not a comment."""


def summary(study: Study, rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Returns the line above a table: study, protocol, commit, date, what ± and the marks mean."""
    cells = [cell for row in rows for cell in row.cells]
    protocols = sorted({c.protocol for c in columns if c.protocol}) or ["none"]
    commits = sorted({commit(cell) for cell in cells}) or ["none"]
    dates = sorted({cell.started[:10] for cell in cells if cell.started}) or ["unknown"]
    seeds = max((len(row.cells) for row in rows), default=0)
    scales = " ".join(f"x{scale}" for scale in study.task.scales)
    parts = [
        f"Study {study.name}, {study.task.kind} {scales}, {study.task.degradation}",
        f"protocol {', '.join(protocols)}",
        f"commit {' and '.join(commits)}",
        f"date {dates[0]}" + (f" to {dates[-1]} (UTC)" if len(dates) > 1 else " (UTC)"),
        "mean over images"
        + (f", then over {seeds} seeds ± sample standard deviation" if seeds > 1 else ", one seed"),
        "best bold, second underlined, ≈ not told from the best",
    ]
    tiny = tiny_runs(rows)
    return "; ".join(parts + ([f"tiny run: {tiny}"] if tiny else [])) + "."


def commit(cell: Cell) -> str:
    """Returns "1a2b3c4d5e", and says so if the tree had changes that no commit holds."""
    name = cell.environment.get("commit", "")[:10] or "unknown"
    dirty = cell.environment.get("tree") == "dirty"
    return f"{name} with uncommitted changes" if dirty else name


def tiny_runs(rows: Iterable[Row]) -> str:
    """Returns "edsr 300 updates, ..." for methods trained too briefly to compare with papers."""
    steps: dict[str, set[int]] = {}
    for row in rows:
        for cell in row.cells:
            own = [s.steps for s in cell.stages if s.name not in cell.assessors.values()]
            # neither many short stages nor a long pre-training make a long training
            if own and own[-1] < TINY_STEPS:
                steps.setdefault(row.method, set()).add(sum(own))
    return ", ".join(
        f"{method} {' to '.join(map(str, sorted({min(totals), max(totals)})))} updates"
        for method, totals in steps.items()
    )


def caution(cells: Sequence[Cell], rows: Sequence[Row], datasets: Iterable[str]) -> str:
    """Returns what a figure of these sets must say where its table is not seen: "; tiny run"."""
    words = ["tiny run"] if tiny_runs(rows) else []
    used = _used(cells)
    for name in datasets:
        parts = sorted({image_count(u) for u in used.get(name, []) if u.count < u.official})
        words += [f"partial set {name}, {part}" for part in parts]
    return "".join(f"; {word}" for word in words)


def image_count(used: UsedDataset) -> str:
    """Returns "5 images", or "30/100 images" for a partial set."""
    whole = used.count >= used.official
    return f"{used.count} images" if whole else f"{used.count}/{used.official} images"


def remarks(study: Study, cells: Sequence[Cell], rows: Sequence[Row]) -> list[str]:
    """Returns what a reader must know before the first number, most important first."""
    found = []
    if tiny := tiny_runs(rows):
        found.append(
            f"Tiny run: {tiny}. Papers train for 100 000 and more: compare these rows with "
            "each other, not with published numbers."
        )
    kept: dict[str, list[str]] = {}
    for cell in cells:
        for change in cell.kept:
            kept.setdefault(change, []).append(cell.label)
    found += [
        f"Kept though stale, changed since: {change} ({', '.join(dict.fromkeys(labels))})."
        for change, labels in kept.items()
    ]
    used = _used(cells)
    for name in study.benchmark_keys():
        parts = {image_count(u) for u in used.get(name, []) if u.count < u.official}
        if parts:
            found.append(f"Partial set: {name}, {', '.join(sorted(parts))}.")
    ways = {name: how for cell in cells for name, how in cell.missing.items()}
    found += [f"Missing data set: {name}. {how}" for name, how in ways.items()]
    if study.select and study.select.dataset in study.evaluate.datasets:
        found.append(
            f"The selection set {study.select.dataset} is also reported: its numbers were seen "
            "by the sampler and favour swept methods."
        )
    if study.train:
        places = {"reported": study.evaluate.datasets}
        places["the selection set"] = (study.select.dataset,) if study.select else ()
        found += [
            f"The training set {study.train.dataset} is also {place}: those numbers say how well "
            "it was learned by heart."
            for place, names in places.items()
            if study.train.dataset in names
        ]
    return (
        found
        + _told(cells)
        + _examined(cells)
        + _mixtures(cells, rows, used)
        + _progress(study, cells)
        + _pictures(study, cells, rows)
    )


def _examined(cells: Sequence[Cell]) -> list[str]:
    """What is known of the assessors that the harness trained itself."""
    known = {name: facts for cell in cells for name, facts in cell.examined.items()}
    return [
        f"{name} is an assessor that bench trained itself"
        + (f": {_facts(facts, 2)}." if facts else ".")
        for name, facts in known.items()
    ]


def _facts(found: Mapping[str, float | str], digits: int) -> str:
    """Returns "k 0.41, rule go on"."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else printed_number(value, digits)}"
        for name, value in found.items()
    )


def _told(cells: Sequence[Cell]) -> list[str]:
    """What methods say of themselves, once, with those that it holds for."""
    methods: dict[str, dict[str, None]] = {}
    for cell in cells:
        for text in cell.remarks:
            methods.setdefault(text, {})[cell.method] = None
    return [f"{', '.join(who)}: {text}" for text, who in methods.items()]


def _mixtures(
    cells: Sequence[Cell], rows: Sequence[Row], used: dict[str, list[UsedDataset]]
) -> list[str]:
    """One line for each circumstance in which records differ, with the methods on each side."""
    done = [cell for cell in cells if cell.state == "complete"]
    keys = sorted({key for cell in done for key in cell.environment} - {"commit", "tree"})
    circumstances: list[tuple[str, Callable[[Cell], str]]] = [
        ("commit", commit),
        ("precision of training", lambda cell: _trained(cell, "precision")),
        ("device of training", lambda cell: _trained(cell, "device")),
        *((key, partial(_circumstance, key)) for key in keys),
    ]
    lines = []
    for name, value_of in circumstances:
        methods: dict[str, set[str]] = {}
        for cell in done:
            if value := value_of(cell):
                methods.setdefault(value, set()).add(cell.method)
        if len(methods) > 1:
            sides = [f"{value} ({', '.join(sorted(who))})" for value, who in methods.items()]
            more = f" and {len(sides) - 4} more" if len(sides) > 4 else ""
            times = ". Their times cannot be compared" * (name in ("host", "device"))
            lines.append(f"The records differ in {name}: {'; '.join(sides[:4])}{more}{times}.")
    if any("uncommitted" in commit(cell) for row in rows for cell in row.cells):
        lines.append("Some numbers were made with uncommitted changes: no commit reproduces them.")
    for name, versions in used.items():
        prints = {u.fingerprint for u in versions}
        if len(prints) > 1:
            lines.append(f"The records saw {len(prints)} different versions of {name}.")
    return lines


def _circumstance(key: str, cell: Cell) -> str:
    """What a record says of its surroundings; of a GPU's driver those of a CPU say nothing."""
    return cell.environment.get(key, "" if key == "driver" else "unknown")


def _trained(cell: Cell, what: str) -> str:
    return " + ".join(sorted({str(getattr(stage, what)) for stage in cell.stages}))


def _progress(study: Study, cells: Sequence[Cell]) -> list[str]:
    """What has not run, failed or was pruned, with the reasons counted."""
    lines = []
    for method in study.methods:
        mine = [cell for cell in cells if cell.method == method]
        trials = {cell.trial for cell in mine}
        if study.methods[method].ranges and len(trials) < study.trials_of(method):
            lines.append(f"{method}: {len(trials)}/{study.trials_of(method)} trials so far.")
        for state in ("failed", "pruned"):
            reasons = Counter(
                (cell.reason.splitlines() or ["no reason recorded"])[0]
                for cell in mine
                if cell.state == state
            )
            if reasons:
                told = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(5))
                lines.append(f"{method}: {reasons.total()} of {len(mine)} records {state}: {told}.")
    strangers = sorted({cell.method for cell in cells} - study.methods.keys())
    if strangers:
        lines.append(f"Left out, no longer in the study: {', '.join(strangers)}.")
    return lines


def _pictures(study: Study, cells: Sequence[Cell], rows: Sequence[Row]) -> list[str]:
    """Whose restored pictures the study's policy leaves out."""
    if study.evaluate.pictures == "none":
        return ["No restored pictures are kept (evaluate: {pictures: none})."]
    shown = {cell.file_name for row in rows for cell in row.cells}
    first = study.budget.seeds[0]
    others = [c for c in cells if c.seed == first and c.state == "complete"]
    if study.evaluate.pictures == "all" or all(c.file_name in shown for c in others):
        return []
    return ["Restored pictures are kept of the table's rows alone (evaluate: {pictures: rows})."]


def _used(cells: Iterable[Cell]) -> dict[str, list[UsedDataset]]:
    found: dict[str, dict[UsedDataset, None]] = {}
    for cell in cells:
        for name, used in cell.datasets.items():
            found.setdefault(name, {})[used] = None
    return {name: list(versions) for name, versions in found.items()}


def sections(study: Study, cells: Sequence[Cell], rows: Sequence[Row]) -> list[Section]:
    """Returns the tables of objectives, runs and data sets."""
    found = [_objectives(study, rows)] if objective_names(study) else []
    found.append(
        Section(
            "Runs",
            ("row", "seed", "run id", "commit", "trained on", "date (UTC)", "record"),
            tuple(
                (
                    row.label,
                    str(cell.seed),
                    cell.run_id or "none",
                    commit(cell),
                    f"{_trained(cell, 'device')} {_trained(cell, 'precision')}".strip() or DASH,
                    cell.started[:19],
                    cell.fingerprint[:12],
                )
                for row in rows
                for cell in row.cells
            ),
        )
    )
    found += _stages(rows)
    found.append(
        Section(
            "Data sets",
            ("set", "images", "LR", "fingerprint"),
            tuple(
                (name, image_count(used), used.source, used.fingerprint)
                for name, versions in _used(cells).items()
                for used in versions
            ),
        )
    )
    return found


def _stages(rows: Sequence[Row]) -> list[Section]:
    """Every stage that was trained, once, with what its own examination found."""
    seen: dict[str, tuple[str, ...]] = {}
    for row in rows:
        for cell in row.cells:
            for s in cell.stages:
                if s.key not in seen:
                    found = _facts(s.examined, 3)
                    trained = f"{s.steps} updates, {s.seconds:.0f} s"
                    losses = ", ".join(f"{name} {value:.3g}" for name, value in s.losses.items())
                    name = (
                        s.name
                        if len({t.scale for t in cell.stages}) < 2
                        else f"{s.name} x{s.scale}"
                    )
                    seen[s.key] = (row.label, str(cell.seed), name, f"{s.parameters:,}", trained,
                                   losses or DASH, found or DASH)  # fmt: skip
    header = ("first trained for", "seed", "stage", "parameters", "trained",
              f"losses, last {LAST_UPDATES} updates", "found by its examination")  # fmt: skip
    return [Section("Stages, each trained once", header, tuple(seen.values()))] if seen else []


def _objectives(study: Study, rows: Sequence[Row]) -> Section:
    assert study.select is not None
    return Section(
        f"Objectives on the selection set {study.select.dataset}",
        ("row", *(_objective_title(study, rows, name) for name in objective_names(study))),
        tuple(
            (row.label, *(_objective_text(row, name) for name in objective_names(study)))
            for row in rows
        ),
    )


def _objective_title(study: Study, rows: Sequence[Row], name: str) -> str:
    assert study.select is not None
    cells = [cell for row in rows for cell in row.cells]
    names = sorted({cell.assessors.get(name, metric_title(name)) for cell in cells}) or [
        metric_title(name)
    ]
    return f"{' or '.join(names)} {'↑' if name in study.select.maximize else '↓'}"


def _objective_text(row: Row, name: str) -> str:
    values = [cell.objectives[name] for cell in row.cells if name in cell.objectives]
    if not values:
        return DASH
    digits = metric(name).digits
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"
