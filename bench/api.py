"""The public functions; the command line only calls these.

from bench.api import load_study, run_study, evaluate_method, load_scores
study = load_study("studies/gamma.yaml")
run_study(study)
scores = load_scores("gamma")     # one row for each image and metric
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bench.data import sets
from bench.data.benchmark import Benchmark, open_benchmark
from bench.data.images import image_files, read_image, write_image
from bench.data.png import write_bands
from bench.data.roots import home, paths_from
from bench.errors import BenchError, NoPicture, unknown
from bench.look.check import load_study
from bench.measure.alone import run_alone
from bench.measure.evaluate import Evaluated, evaluate
from bench.measure.evaluate import rows_of as scores_of
from bench.measure.folder import score_folder
from bench.measure.meter import Meter
from bench.measure.metrics import check_metrics, labels_of
from bench.measure.protocol import protocol as find_protocol
from bench.measure.protocol import usual_protocol
from bench.measure.scores import ScoreStore
from bench.method.contract import Method
from bench.method.ensemble import SelfEnsemble, ensemble_cost
from bench.method.faults import faults_told
from bench.method.loading import build_method, find_method
from bench.method.published import must_be_given, resolve_weights
from bench.method.restoring import bands_of, restoring, scale_of
from bench.method.weights import load_weights
from bench.records.cell import Cell, Score, label_of, load_scores
from bench.records.speed import Speed
from bench.report.render import check_folder, usual_folder, write_report
from bench.report.rows import choose_rows
from bench.study.fields import Study
from bench.study.size import parse_size
from bench.study.words import ensemble_text
from bench.sweep.screen import Screen
from bench.sweep.speed import Candidate, candidates, failed_speed, rows_of
from bench.terminal.progress import Lines
from bench.train.loop import choose_device
from bench.train.trained import load_trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "evaluate_method",
    "load_scores",
    "load_study",
    "measure_method",
    "measure_speeds",
    "restore_images",
    "run_study",
    "score_folder",
    "write_report",
]


class Swept(NamedTuple):
    """What a sweep leaves."""

    cells: list[Cell]
    report: dict[str, Path]


def run_study(
    study: Study,
    *,
    executor: str = "local",
    slurm: Sequence[str] = (),
    workers: int | None = None,
    fresh: bool = False,
    keep: bool = False,
    retry_failed: bool = False,
    out: Path | None = None,
    yaml: str = "",
    screen: Screen | None = None,
) -> Swept:
    """Runs or resumes a study in $BENCH_HOME; renders its report into `out` or reports/NAME.

    executor: where trials run, "local", "ray", "ray:ADDRESS" or "slurm". slurm: what
    sbatch is told besides, "partition=gpu". workers: trials at a time; None: `--workers auto`.
    """
    from bench.sweep.driver import sweep
    from bench.sweep.executors.named import make_executor

    written: dict[str, Path] = {}
    folder = out or usual_folder(study.name)
    check_folder(study, folder)

    def report(cells: list[Cell]) -> dict[str, Path]:
        written.update(write_report(study.name, folder))
        return {name: file for name, file in written.items() if file.is_file()}

    def shown(cells: list[Cell]) -> set[str]:
        return {cell.file_name for row in choose_rows(study, cells)[0] for cell in row.cells}

    note = (screen := screen or Screen()).note
    places = make_executor(executor, workers, study, note, slurm)
    with closing(places), paths_from(study.folder):
        cells = sweep(
            study, home(), executor=places, fresh=fresh, keep=keep, retry_failed=retry_failed,
            yaml=yaml, screen=screen, report=report, shown=shown,
        )  # fmt: skip
    return Swept(cells, written)


def prepare_method(
    path: str, parameters: Mapping[str, Any], weights: Path | str | None, scale: int | None = None
) -> Method:
    """Returns a method ready to restore, on the best device.

    path: a dotted path, or "STUDY/TRIAL" for what a sweep has trained. weights: a file, or
    "published:NAME". Raises BenchError where it has to be trained and no weights are given: a
    number from random weights says nothing.
    """
    asked = parameters.get("scale", scale)
    if "/" in path:
        if weights or parameters.keys() - {"scale"}:
            raise BenchError(f"{path}: a trial has its own parameters and weights. Give neither.")
        method = load_trial(path, asked)
        _refuse_marks(path, method)
    else:
        cls = find_method(path)
        own = {k: v for k, v in parameters.items() if k != "scale" or not cls.takes_scales()}
        method = build_method(cls, own, scale)
        _refuse_marks(path, method)
        if weights is not None:
            at = method.hyperparameters.get("scale", asked)
            load_weights(method, resolve_weights(cls, str(weights), scale=at))
        elif must_be_given(method):
            names = "".join(f", --weights published:{name}" for name in method.published)
            train = (
                ", or train it with `bench sweep` and give STUDY/TRIAL" if method.stages() else ""
            )
            raise BenchError(
                f"{path} has no weights, and random ones restore nothing. "
                f"Give --weights FILE{names}{train}."
            )
    method = method if asked is None else method.at(asked)
    device = choose_device()
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return method


def _refuse_marks(path: str, method: Method) -> None:
    if method.does("assessment"):
        raise BenchError(f"{path} gives marks, not images. See `bench list metrics`.")


@dataclass
class Measured:
    """What measuring one method on some benchmarks has found."""

    benchmarks: list[Benchmark] = field(default_factory=list)
    images: dict[str, list[Evaluated]] = field(default_factory=dict)
    """Benchmark's name -> its images in order, without their pixels."""
    protocols: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    """Metric -> why it cannot be computed here."""
    assessors: dict[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    """What the method says that a reader must know, and what its self-ensemble costs."""

    def scores(self) -> list[Score]:
        """Returns one row for each image and metric."""
        return [
            row
            for benchmark in self.benchmarks
            for image in self.images[benchmark.name]
            for row in scores_of(benchmark, self.protocols[benchmark.name], image)
        ]


def measure_method(
    path: str,
    datasets: Sequence[str],
    scale: int,
    metrics: Sequence[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    weights: Path | str | None = None,
    protocol: str | None = None,
    degradation: str = "bicubic",
    ensemble: bool = False,
    limit: int | None = None,
    out: Path | None = None,
    screen: Screen | None = None,
) -> Measured:
    """Measures one method at one scale, without a study.

    ensemble: by its self-ensemble, whose cost stands in the remarks. out: a folder for the restored
    images. Raises BenchError with every unknown name at once, and for data sets that are not on
    this machine.
    """
    check_request(datasets, metrics, protocol)
    method = prepare_method(path, parameters or {}, weights, scale)
    return measure(
        method, datasets, scale, metrics, protocol=protocol, degradation=degradation,
        ensemble=ensemble, limit=limit, out=out, screen=screen, device=str(choose_device()),
    )  # fmt: skip


def check_request(
    datasets: Sequence[str], metrics: Sequence[str], protocol: str | None = None
) -> None:
    """Raises BenchError with every unknown name, and for sets that are not on this machine."""
    problems = [] if datasets else ["no data sets given. Name at least one."]
    problems += [problem for name in datasets if (problem := _problem(_check_dataset, name))]
    problems += [problem for problem in [_problem(check_metrics, metrics)] if problem]
    if protocol is not None and (problem := _problem(find_protocol, protocol)):
        problems.append(problem)
    if problems:
        raise BenchError("\n".join(problems))


def measure(
    method: Method,
    datasets: Sequence[str],
    scale: int,
    metrics: Sequence[str],
    *,
    protocol: str | None = None,
    degradation: str = "bicubic",
    ensemble: bool = False,
    limit: int | None = None,
    out: Path | None = None,
    screen: Screen | None = None,
    device: str = "auto",
) -> Measured:
    """Measures a method that is ready to restore. device: of metrics that run a network."""
    at, measured, screen = method.at(scale), Measured(remarks=method.remarks), screen or Screen()
    by = SelfEnsemble(at) if ensemble else None
    store = ScoreStore(home() / "store" / "scores.db")
    with Meter(metrics, device=device, store=store) as meter:
        measured.unavailable, measured.assessors = dict(meter.unavailable), labels_of(meter.names)
        for dataset in datasets:
            benchmark = open_benchmark(dataset, scale, degradation, limit)
            rules = protocol or usual_protocol(dataset, method.task)
            images = {}
            for image in evaluate(restoring(at, by), benchmark, meter, rules):
                if out is not None:
                    write_image(out / label_of(dataset) / f"{image.stem}.png", image.sr)
                images[image.stem] = image.without_pixels()
                screen.note(f"{dataset}: {image.stem}")
            measured.benchmarks.append(benchmark)
            measured.protocols[dataset] = rules
            measured.images[dataset] = [images[pair.stem] for pair in benchmark.pairs]
        if ensemble:
            cost = ensemble_text(ensemble_cost(at, measured.benchmarks[0].pairs[0].lr()))
            measured.remarks = [*measured.remarks, f"Self-ensemble, {cost}."]
    return measured


def _problem(check: Callable[[Any], object], value: Any) -> str | None:
    try:
        check(value)
    except BenchError as error:
        return str(error)
    return None


def _check_dataset(name: str) -> None:
    if why := sets.missing(name):
        raise BenchError(f"dataset {name!r} is not on this machine: {why}")


def evaluate_method(
    path: str, datasets: Sequence[str], scale: int, metrics: Sequence[str], **more: Any
) -> "pd.DataFrame":
    """Returns one row for each image and metric: dataset, scale, image, metric, protocol, value.

    More keyword arguments as for `measure_method`.
    """
    import pandas as pd

    measured = measure_method(path, datasets, scale, metrics, screen=Lines(), **more)
    rows = [score[:6] for score in measured.scores()]
    return pd.DataFrame(rows, columns=list(Score._fields[:6]))


def measure_speeds(
    methods: Sequence[str],
    sizes: Sequence[str],
    devices: Sequence[str] = ("auto",),
    *,
    parameters: Mapping[str, Any] | None = None,
    scale: int | None = None,
    weights: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> list[tuple[str, Speed]]:
    """Returns (label, cost) of each method at each size on each device, measured one by one, each
    in a fresh process.

    methods: dotted paths, STUDY/TRIAL, and study files, which stand for their rows. sizes: of the
    input, such as "100x100" and "720p". parameters: each goes to the methods that take it. A case
    that fails has no latency, and the reason. Raises BenchError for what is unknown.
    """
    for size in sizes:
        parse_size(size)
    if not sizes or not devices:
        raise BenchError("no sizes or no devices given. Name at least one of each.")
    devices = [_device_type(name) for name in devices]
    files = [path for path in methods if path.endswith((".yaml", ".yml"))]
    paths = [path for path in methods if path not in files]
    found = candidates(paths, parameters or {}, scale, weights) if paths or not files else []
    for file in files:
        found += rows_of(load_study(file))
    measured = []
    for device in devices:
        for candidate in found:
            for size in sizes:
                measured.append((candidate.label, _speed(candidate, size, device)))
                note(_told(*measured[-1]))
    return measured


def _device_type(name: str) -> str:
    """ "cpu" or "cuda"; a GPU that is not here is a failure of each case, no mistake."""
    if name == "auto":
        return choose_device().type
    if name not in ("cpu", "cuda"):
        raise BenchError(unknown("device", name, ["auto", "cpu", "cuda"]))
    return name


def _speed(candidate: Candidate, size: str, device: str) -> Speed:
    try:
        choose_device(device)
        return run_alone(candidate.measure, size, device)
    except BenchError as error:
        return failed_speed(size, device, str(error))


def _told(label: str, speed: Speed) -> str:
    took = speed.failed or f"{1e3 * (speed.seconds or 0):.4g} ms"
    return f"{label}, {speed.size}, {speed.device}: {took}"


def restore_images(
    path: str,
    images: Sequence[Path],
    out: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    weights: Path | str | None = None,
    tile: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Restores pictures and writes them as 8-bit PNG into `out`; returns the paths.

    images: files, and folders for all pictures in them. Memory is that of one picture. tile: LR
    pixels a side; None decides by the image's size. progress: called with the pictures done and
    their number. Raises BenchError for unreadable pictures and for two of the same stem, before
    anything is written; and for what the method makes of one that is no picture.
    """
    files = _pictures(images)
    targets = _targets(files, out)
    method = prepare_method(path, parameters or {}, weights)
    for file in files[1:]:
        read_image(file)  # whether it can be; the first is read before anything is written
    for done, (file, target) in enumerate(zip(files, targets, strict=True)):
        try:
            _restore(method, file, target, tile)
        except NoPicture as error:
            kept = f" {done} of {len(files)} pictures are in {out}." if done else ""
            raise BenchError(f"{file}: {error}.{kept}") from error
        progress(done + 1, len(files))
    return targets


def _pictures(images: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders."""
    inside = [image_files(path).values() if path.is_dir() else [path] for path in images]
    return [file for files in inside for file in files]


def _targets(files: Sequence[Path], out: Path) -> list[Path]:
    """Where each file's restoration goes."""
    targets = [out / f"{file.stem}.png" for file in files]
    for target, count in Counter(targets).items():
        if count > 1:
            raise BenchError(f"several pictures would become {target}: rename one.")
    for file, target in zip(files, targets, strict=True):
        if file.resolve() == target.resolve():
            raise BenchError(f"{file}: would be overwritten. Choose another folder for --out.")
    return targets


def _restore(method: Method, file: Path, target: Path, tile: int | None) -> None:
    lr = read_image(file)
    options = {} if tile is None else {"tile": tile, "whole": tile}
    with faults_told(method, scale_of(method)):
        write_bands(target, bands_of(method, lr, **options))
