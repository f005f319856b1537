"""The public functions; the command line only calls these.

from bench.api import load_study, run_study, evaluate_method, load_scores
study = load_study("studies/gamma.yaml")
run_study(study)
scores = load_scores("gamma")     # one row for each image and metric
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bench.data import sets
from bench.data.pixels import quantise
from bench.errors import BenchError, unknown
from bench.look.check import load_study
from bench.measure.evaluate import Measured, evaluate, load_scorers, restore
from bench.measure.metrics import check_metrics
from bench.measure.protocol import protocol as find_protocol
from bench.measure.protocol import usual_protocol
from bench.measure.score import score_folder
from bench.method.contract import Method, build_method, find_method, to_tensor
from bench.records.cell import Cell, load_records, load_scores
from bench.records.store import Store, home
from bench.report.render import write_report
from bench.report.rows import choose_rows
from bench.study.fields import Study, TaskSection
from bench.sweep.trial import train_assessors
from bench.terminal.progress import Lines, Screen, watched
from bench.train.loop import choose_device

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "evaluate_method",
    "load_scores",
    "load_study",
    "measure_method",
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
    workers: int | None = None,
    fresh: bool = False,
    keep: bool = False,
    retry_failed: bool = False,
    out: Path | None = None,
    yaml: str = "",
    screen: Screen | None = None,
) -> Swept:
    """Runs or resumes a study in $BENCH_HOME; renders its report into `out` or reports/NAME."""
    from bench.sweep.driver import sweep

    written: dict[str, Path] = {}

    def report(cells: list[Cell]) -> Path:
        written.update(write_report(study.name, out))
        return out or Path("reports") / study.name

    def shown(cells: list[Cell]) -> set[str]:
        return {cell.file_name for row in choose_rows(study, cells)[0] for cell in row.cells}

    cells = sweep(
        study, home(), workers=workers, fresh=fresh, keep=keep, retry_failed=retry_failed,
        yaml=yaml, screen=screen, report=report, shown=shown,
    )  # fmt: skip
    return Swept(cells, written)


def prepare_method(
    path: str, parameters: Mapping[str, Any], weights: Path | None, scale: int | None = None
) -> Method:
    """Returns a method ready to restore, on the best device.

    path: a dotted path, or "STUDY/TRIAL" for what a sweep has trained. Raises BenchError where it
    has to be trained and no weights are given: a number from random weights says nothing.
    """
    if "/" in path:
        if parameters or weights:
            raise BenchError(f"{path}: a trial has its own parameters and weights. Give neither.")
        method = load_trial(path)
        if scale is not None and (own := method.hyperparameters.get("scale", scale)) != scale:
            raise BenchError(f"{path}: was trained for scale {own}, asked for {scale}.")
    else:
        method = build_method(find_method(path), parameters, scale)
        if weights is not None:
            load_weights(method, weights)
        elif method.stages():
            raise BenchError(
                f"{path} has to be trained. Give its weights with --weights FILE, or train it with "
                "`bench sweep` and give STUDY/TRIAL."
            )
    device = choose_device()
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return method


def load_trial(name: str) -> Method:
    """Returns a trial's method with the weights of all its stages, such as of
    "rts_small/residual3-t002-s0": the study, and the trial as its record's file is called.

    Raises BenchError for an unknown one, and for one whose stages are not all in the store or do
    not fit the method's code of today.
    """
    study, _, label = name.partition("/")
    cells = {cell.file_name: cell for cell in load_records(study)[1]}
    if label not in cells:
        raise BenchError(unknown(f"trial of {study}", label, cells))
    cell = cells[label]
    method = build_method(find_method(cell.use), cell.parameters)
    stages, store = method.stages(), Store(home() / "store")
    if len(cell.stages) != len(stages):
        why = (cell.reason.splitlines() or ["its stages are not those of the method today"])[0]
        raise BenchError(f"{name}: {why}")
    for stage, record in zip(stages, cell.stages, strict=True):
        load_weights(stage.trains or method, store.entry("stages", record.key) / "weights.pth")
    return method.eval()


def load_weights(method: Method, file: Path) -> None:
    """Loads a state dict (.pth, .pt or .safetensors), no code in it. Raises BenchError."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        method.load_state_dict(state)
    except FileNotFoundError:
        raise BenchError(f"weights {file}: no such file.") from None
    except Exception as error:
        detail = " ".join(str(error).split())[:300]
        raise BenchError(
            f"weights {file}: not the weights of {type(method).__name__} with parameters "
            f"{method.hyperparameters}: {detail}"
        ) from None


def measure_method(
    path: str,
    datasets: Sequence[str],
    scale: int,
    metrics: Sequence[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    protocol: str | None = None,
    degradation: str = "bicubic",
    limit: int | None = None,
    out: Path | None = None,
    screen: Screen | None = None,
) -> tuple[Measured, dict[str, str]]:
    """Measures one method, without a study; returns what was found and each set's protocol.

    out: a folder for the restored images. Raises BenchError with every unknown name at once, and
    for data sets that are not on this machine.
    """
    problems = [] if datasets else ["no data sets given. Name at least one."]
    checks: list[Callable[[], object]] = [partial(_check_dataset, name) for name in datasets]
    checks.append(lambda: check_metrics(metrics))
    if protocol is not None:
        checks.append(lambda: find_protocol(protocol))
    for check in checks:
        try:
            check()
        except BenchError as error:
            problems.append(str(error))
    if problems:
        raise BenchError("\n".join(problems))
    method = prepare_method(path, parameters or {}, weights, scale)
    chosen = {name: protocol or usual_protocol(name, method.task) for name in datasets}
    screen = screen or Screen()
    device, found = choose_device(), Measured()
    task = TaskSection(kind=method.task, scale=scale)
    training = train_assessors(metrics, task, None, Store(home() / "store"), found)
    trained = watched(training, screen)
    scorers = load_scorers(metrics, device, trained, found)
    for dataset in datasets:
        for stem, *_ in evaluate(
            method, dataset, scale, scorers, chosen[dataset], found,
            degradation=degradation, limit=limit, save=out,
        ):  # fmt: skip
            screen.note(f"{dataset}: {stem}")
    return found, chosen


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

    found, _ = measure_method(path, datasets, scale, metrics, screen=Lines(), **more)
    return pd.DataFrame(found.scores)


def restore_images(
    path: str,
    images: Sequence[Path],
    out: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    tile: int | None = None,
) -> list[Path]:
    """Restores pictures and writes them as 8-bit PNG into `out`; returns the paths.

    tile: LR pixels a side; None decides by the image's size. Raises BenchError for unreadable
    pictures and for two of the same stem, before anything is written.
    """
    stems = [image.stem for image in images]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise BenchError(f"several pictures would become {out / (twice[0] + '.png')}: rename one.")
    for image, stem in zip(images, stems, strict=True):
        if image.resolve() == (out / f"{stem}.png").resolve():
            raise BenchError(f"{image}: would be overwritten. Choose another folder for --out.")
    method = prepare_method(path, parameters or {}, weights)
    device = choose_device()
    pictures = [to_tensor(sets.read_image(image), torch.device("cpu")) for image in images]
    written = []
    for stem, lr in zip(stems, pictures, strict=True):
        options = {} if tile is None else {"tile": tile, "whole": tile}
        sr = quantise(restore(method, lr.to(device), **options))
        written.append(out / f"{stem}.png")
        sets.write_image(written[-1], sr)
    return written
