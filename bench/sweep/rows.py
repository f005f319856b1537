"""A row of a study: a method to train, published weights, a folder of pictures, the originals."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from bench.data.benchmark import Benchmark
from bench.data.files import file_digests
from bench.data.images import scan_images
from bench.data.roots import is_trial, named_path
from bench.data.weights import digest
from bench.errors import BenchError
from bench.measure.evaluate import Restore, originals, pictures_in
from bench.measure.protocol import usual_protocol
from bench.method.contract import Method
from bench.method.loading import build_method, find_method
from bench.method.published import resolve_weights
from bench.method.weights import fitting_state, load_weights
from bench.records.cell import label_of
from bench.records.store import content_key
from bench.study.fields import MethodSection, Study
from bench.train.stages import Start
from bench.train.trained import load_trial, trial_digest

Kind = Literal["trained", "weights", "folder", "reference", "command"]


def kind_of(section: MethodSection) -> Kind:
    """Returns what a row is."""
    if section.folder is not None:
        return "folder"
    if section.command is not None:
        return "command"
    if not section.use or section.use == "reference":
        return "reference"
    return "weights" if section.weights is not None else "trained"


def scales_of(study: Study, name: str) -> tuple[int, ...]:
    """Returns the scales that a row is measured at: those of the study, or its own ones."""
    fixed = study.methods[name].fixed
    own = [fixed["scale"]] if "scale" in fixed else fixed.get("scales", study.task.scales)
    return tuple(s for s in study.task.scales if s in own)


def ensembled(study: Study, name: str) -> bool:
    """Returns whether a row is reported by its self-ensemble."""
    return study.evaluate.ensemble or study.methods[name].ensemble


def measured_on(study: Study, name: str) -> tuple[list[tuple[str, int]], dict[str, str]]:
    """Returns the (set, scale) pairs that a row is measured on, and why it is not on the others."""
    section, scales = study.methods[name], scales_of(study, name)
    chosen, skipped = [], {}
    for dataset, scale in study.benchmarks():
        key = study.key(dataset, scale)
        if section.datasets is not None and dataset not in section.datasets:
            skipped[key] = f"the study measures {name} on {', '.join(section.datasets)} alone"
        elif scale not in scales:
            skipped[key] = f"{name} is of scale {', '.join(map(str, scales))} alone"
        else:
            chosen.append((dataset, scale))
    return chosen, skipped


def methods_of(
    study: Study, name: str, swept: dict[str, Any], seed: int
) -> Iterator[tuple[tuple[int, ...], Method]]:
    """Yields (scales, method) for a row with a method: one for each scale, or one for all.

    Weights are initialised under the seed; those that the row names are loaded.
    """
    section, scales = study.methods[name], scales_of(study, name)
    cls = find_method(section.use)
    groups = [scales] if cls.takes_scales() else [(scale,) for scale in scales]
    for group in groups:
        torch.manual_seed(seed)
        values = {**section.fixed, **swept}
        method = build_method(cls, values, None if cls.takes_scales() else group[0], group)
        method.begins_from = section.begins_from or ""
        if section.weights is not None:
            load_row_weights(method, section.weights, group[0])
        yield group, method


def load_row_weights(method: Method, text: str, scale: int, *, begin: bool = False) -> None:
    """Loads "published:NAME", a file or "STUDY/TRIAL"; "{scale}" stands for the scale.

    begin: a training begins with them.
    """
    text = text.format(scale=scale)
    if is_trial(text):
        method.load_state_dict(load_trial(text, scale).state_dict())
    else:
        load_weights(method, resolve_weights(type(method), text, None, scale), begin=begin)


def check_row_weights(
    method: Method, text: str, scale: int, swept: bool, *, begin: bool = False
) -> None:
    """Raises BenchError for weights that `load_row_weights` would not load; loads nothing.

    swept: the method is one of several, which they need not all fit.
    """
    text = text.format(scale=scale)
    if is_trial(text):
        trial_digest(text, scale)
        return
    file = resolve_weights(type(method), text, None, scale)
    if swept:
        method.read_start(file) if begin else method.read_weights(file)
    else:
        fitting_state(method, file, begin=begin)


def start_of(section: MethodSection, method: Method, scale: int) -> Start | None:
    """Returns the weights that a row's training begins with; None for those of its seed."""
    if section.begins_from is None:
        return None
    text = section.begins_from
    digest_ = weights_digest(type(method), text, scale)
    return Start(digest_, lambda begun: load_row_weights(begun, text, scale, begin=True))


def weights_digest(cls: type[Method], text: str, scale: int) -> str:
    """Returns a hash of the weights that `load_row_weights` loads. Raises BenchError."""
    text = text.format(scale=scale)
    if is_trial(text):
        return trial_digest(text, scale)
    return digest(resolve_weights(cls, text, None, scale))


def folder_of(section: MethodSection, benchmark: tuple[str, int], study: Study) -> Path:
    """Returns the folder of a row's pictures for one benchmark.

    "{dataset}" and "{scale}" stand for it; else a subfolder of the set's name is taken if there is
    one, with one of the scale below it. Raises BenchError if it is not there.
    """
    dataset, scale = benchmark
    assert section.folder is not None
    root = named_path(section.folder.format(dataset=label_of(dataset), scale=scale))
    places = [
        root / label_of(dataset) / f"x{scale}",
        root / label_of(study.key(dataset, scale)),
        root / label_of(dataset),
        root,
    ]
    for place in places:
        if place.is_dir() and any(path.is_file() for path in place.iterdir()):
            return place
    raise BenchError(f"folder {root}: no pictures there, nor in {places[0]} or {places[2]}.")


def folder_digest(folder: Path) -> str:
    """Returns a hash of the names and bytes of a folder's pictures."""
    files = scan_images(folder)[0]
    digests = file_digests(files.values())
    return content_key({stem: digests[path] for stem, path in files.items()})


def source_of(study: Study, name: str) -> Callable[[Benchmark], Restore]:
    """Returns, for a row without a method, what takes its pictures for restored ones."""
    section = study.methods[name]
    if kind_of(section) == "reference":
        return lambda benchmark: originals

    def pictures(benchmark: Benchmark) -> Restore:
        folder = folder_of(section, (benchmark.name, benchmark.scale), study)
        return pictures_in(folder, benchmark)

    return pictures


def decided_by(study: Study, name: str) -> dict[str, str]:
    """Returns what decides a row's pictures besides code and settings: name -> hash."""
    section, parts = study.methods[name], dict[str, str]()
    if kind_of(section) == "folder":
        for key in measured_on(study, name)[0]:
            pictures = _unless_missing(lambda k: folder_digest(folder_of(section, k, study)), key)
            parts[f"the pictures of {study.key(*key)} in {section.folder}"] = pictures
    for text in (section.weights, section.begins_from):
        if text is not None:
            by_scale = partial(weights_digest, find_method(section.use), text)
            digests = {str(s): _unless_missing(by_scale, s) for s in scales_of(study, name)}
            parts[f"the weights {text}"] = content_key(digests)
    return parts


def _unless_missing(digest_of: Callable[[Any], str], what: Any) -> str:
    try:
        return digest_of(what)
    except BenchError:
        return "missing"


def seeds_of(study: Study, name: str) -> tuple[int, ...]:
    """Returns the seeds a row is run under: one if it has nothing to train."""
    section = study.methods[name]
    first = study.budget.seeds[:1]
    if kind_of(section) != "trained":
        return first
    values = {key: range_.sample() for key, range_ in section.ranges.items()}
    with torch.device("meta"):
        (_, method), *_ = methods_of(study, name, values, 0)
    return study.budget.seeds if method.stages() else first


def planned_cells(study: Study) -> int:
    """Returns how many records a finished sweep has: trials times seeds, baselines included."""
    return sum(
        len(seeds_of(study, name)) * (study.trials_of(name) if section.ranges else 1)
        for name, section in study.methods.items()
    )


def protocol_of(study: Study, dataset: str) -> str:
    """Returns the name of the protocol that the study's numbers on a set are measured under."""
    chosen = study.evaluate.protocol
    name = chosen if isinstance(chosen, str) else chosen.get(dataset, "auto")
    return usual_protocol(dataset, study.task.kind) if name == "auto" else name
