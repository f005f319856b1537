"""Anybody's own model, measured as a method is: `from bench import evaluate`."""

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.api import Measured, check_request, measure, prepare_method
from bench.errors import BenchError, disk_is_full
from bench.measure.evaluate import used
from bench.method.contract import Method
from bench.method.faults import gpu_is_lost, memory_is_short, place_of
from bench.method.loading import find_method, known_methods
from bench.method.published import PREFIX
from bench.records.cell import Cell
from bench.report.latex import to_latex
from bench.report.markup import Report, to_markdown
from bench.report.papers.quoted import quoted
from bench.report.provenance import Section
from bench.report.rows import Row
from bench.report.scores import columns_of
from bench.report.tables import make_tables
from bench.study.fields import EvaluateSection, MethodSection, Study, TaskSection
from bench.sweep.identity import environment
from bench.terminal.progress import Lines

if TYPE_CHECKING:
    import pandas as pd

Model = Callable[[Tensor], Tensor]
WHITE = 2.0
"""Values above it were not meant as [0, 1]: an overshoot is some hundredths."""


class Own(Method):
    """A model that somebody brings, as a method: it sees each picture whole."""

    halo = None
    model: Model

    def __init__(self, model: Model, scale: int) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)  # no part of this module: it stays as it is
        parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
        self.dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)
        self.most = 0.0
        """The largest value that it has made."""
        self.scale = scale
        if isinstance(model, Method):
            self.halo = model.halo
        if self.dtype != torch.float32:
            self.remarks = (f"its weights are {self.dtype}, and so are its pictures",)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Yields those of the model, which tell where it wants its pictures."""
        yield from self.model.parameters() if isinstance(self.model, nn.Module) else ()

    def forward(self, lr: Tensor) -> Tensor:
        """Returns what the model makes of `(N, 3, h, w)` in [0, 1], of its own type."""
        try:
            made: Any = self.model(lr.to(self.dtype).contiguous())  # as other loaders lay it out
        except Exception as error:
            if isinstance(error, BenchError) or memory_is_short(error) or gpu_is_lost(error):
                raise
            if disk_is_full(error) or place_of(self, error):
                raise
            text = next(iter(str(error).splitlines()), "")
            raise ValueError(f"{type(error).__name__}: {text}") from error
        if isinstance(made, Tensor) and made.is_floating_point() and made.numel():
            self.most = max(self.most, float(made.detach().amax()))
        return made  # type: ignore[no-any-return]  # the harness checks what it is


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` has found. Prints as a table with its protocol, data and versions."""

    frame: "pd.DataFrame"
    """One row for each image and metric: method, dataset, scale, image, metric, protocol, value."""
    report: Report
    provenance: dict[str, Any]
    """Versions, device, protocol and fingerprint of each set, digest of the weights."""

    def to_markdown(self) -> str:
        return to_markdown(self.report)

    def to_latex(self) -> str:
        return to_latex(self.report)

    def __str__(self) -> str:
        return self.to_markdown()

    __repr__ = __str__

    _repr_markdown_ = to_markdown  # a notebook shows it as a table


def evaluate(
    model: Model,
    datasets: Sequence[str],
    scale: int,
    metrics: Sequence[str] = (),
    *,
    name: str = "",
    protocol: str | None = None,
    degradation: str = "bicubic",
    limit: int | None = None,
    beside: Sequence[str] = (),
    published: bool = False,
) -> Evaluation:
    """Measures a model of one's own on benchmark sets.

    model: maps a batch `(N, 3, h, w)` in [0, 1] to `(N, 3, scale*h, scale*w)`. A module is measured
    in eval mode, on the device and in the type of its weights, without gradients; afterwards it is
    in the mode that it was in. metrics: PSNR and SSIM, on Y if it enlarges, if none are named.
    degradation: what makes LR where none is published. limit: only the first images of each set.
    beside: methods that are measured here too: dotted paths, STUDY/TRIAL, and published:NAME, whose
    weights must lie on this machine. published: adds what papers print for these sets, as far as
    bench holds it.

    Raises BenchError with every unknown name at once, for sets that are not on this machine, and
    for what the model makes of a picture that is none.
    """
    check_model(model)
    datasets = [datasets] if isinstance(datasets, str) else list(datasets)
    metrics = list(metrics) or (["psnr_y", "ssim_y"] if scale > 1 else ["psnr", "ssim"])
    check_request(datasets, metrics, protocol)
    options = {"protocol": protocol, "degradation": degradation, "limit": limit}
    others = [(label, _known(label, scale)) for label in beside]
    title = name or _name_of(model)
    own = _as_method(model, scale, title)
    with _measurable(model):
        found = measure(own, datasets, scale, metrics, screen=Lines(), **options)  # type: ignore[arg-type]
    if own.most > WHITE:
        found.remarks = (
            *found.remarks,
            f"makes values up to {own.most:.4g}, and 1 is white: it may work in 0 to 255",
        )
    measured = {title: found}
    for label, method in others:
        measured[label] = measure(method, datasets, scale, metrics, **options)  # type: ignore[arg-type]
    study = _study(title, datasets, scale, metrics, degradation, measured)
    return _answer(study, measured, digest_of(model), published)


def check_model(model: object) -> None:
    """Raises BenchError for what cannot be called with a batch."""
    if isinstance(model, str):
        raise BenchError(
            f"evaluate({model!r}, ...): takes a model, not a name. Give a module or a function; or "
            f"name it beside one: beside=[{model!r}]; or bench.api.evaluate_method."
        )
    if isinstance(model, type):
        raise BenchError(f"evaluate({model.__name__}, ...): is a class. Give {model.__name__}().")
    if not callable(model):
        raise BenchError(f"evaluate(...): {type(model).__name__} cannot be called with a batch.")


def digest_of(model: Model) -> str:
    """Returns a hash of a module's weights, names, types and shapes included; "" for a function."""
    if not isinstance(model, nn.Module):
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


@contextlib.contextmanager
def _measurable(model: Model) -> Iterator[None]:
    """Puts a module into eval mode, and each of its parts back into its own."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(modes[0][1])  # it may do more than to set the flags
        for module, training in modes:
            module.training = training


def _as_method(model: Model, scale: int, name: str) -> Own:
    """The model as a method whose class bears its name and module, for messages."""
    module = getattr(model if not isinstance(model, nn.Module) else type(model), "__module__", "")
    own_values: dict[str, Any] = {"__module__": module or __name__}
    own_values["task"] = "super-resolution" if scale > 1 else "enhancement"
    if isinstance(model, Method):
        own_values |= {"stride": model.stride, "channels": model.channels}
    cls = type(name, (Own,), own_values)
    own: Own = cls(model, scale)
    return own


def _name_of(model: Model) -> str:
    name = getattr(model, "__name__", type(model).__name__)
    return re.sub(r"[^A-Za-z0-9_-]+", "", name).strip("_-") or "model"


def _known(label: str, scale: int) -> Method:
    """What stands beside the model. Raises BenchError for what is not here."""
    if not label.startswith(PREFIX):
        return prepare_method(label, {}, None, scale)
    wanted = label.removeprefix(PREFIX)
    for path in known_methods():
        if {wanted, f"{wanted}_x{scale}"} & find_method(path).published.keys():
            return prepare_method(path, {}, label, scale)
    raise BenchError(f"beside: {label}: no published weights of that name. See `bench fetch`.")


def _study(
    title: str,
    datasets: Sequence[str],
    scale: int,
    metrics: Sequence[str],
    degradation: str,
    measured: dict[str, Measured],
) -> Study:
    """The comparison as a study, from which tables are made."""
    kind: Any = "super-resolution" if scale > 1 else "enhancement"
    return Study(
        name=re.sub(r"[^a-z0-9_-]", "", title.lower()).lstrip("_-")[:60] or "model",
        task=TaskSection(kind=kind, scale=scale, degradation=degradation),
        methods={key: MethodSection(use=label) for label, key in _keys(measured).items()},
        evaluate=EvaluateSection(datasets=tuple(datasets), metrics=tuple(metrics)),
    )


def _keys(labels: Iterable[str]) -> dict[str, str]:
    """Each label's short name, another one for each."""
    keys: dict[str, str] = {}
    for label in labels:
        short = re.sub(r"[^A-Za-z0-9_-]+", "-", label.rpartition(".")[2]).strip("-_") or "method"
        keys[label] = short if short not in keys.values() else f"{short}-{len(keys)}"
    return keys


def _answer(
    study: Study, measured: dict[str, Measured], weights: str, published: bool
) -> Evaluation:
    import pandas as pd

    facts = environment(study.model_copy(update={"methods": {}}))
    keys = _keys(measured)
    cells = [_cell(study, keys[label], label, found, facts) for label, found in measured.items()]
    rows = [Row(cell.method, label, (cell,)) for cell, label in zip(cells, measured, strict=True)]
    tables = [
        dataclasses.replace(table, about=table.about.removeprefix(f"Study {study.name}, "))
        for table in make_tables(study, cells, rows, columns_of(study, cells))
    ]
    if published:
        tables = [quoted(table, study, columns_of(study, cells)) for table in tables]
    protocols = {k: v for found in measured.values() for k, v in found.protocols.items()}
    prints = {b.name: b.fingerprint for b in next(iter(measured.values())).benchmarks}
    provenance = {
        **facts,
        "weights": weights or "a function: its weights are not known",
        "protocols": protocols,
        "fingerprints": prints,
        "date": cells[0].started,
    }
    frame = pd.DataFrame(
        [(label, *score[:6]) for label, found in measured.items() for score in found.scores()],
        columns=["method", "dataset", "scale", "image", "metric", "protocol", "value"],
    )
    remarks = [f"{cell.use}: {text}" for cell in cells for text in cell.remarks]
    sections = [*(table.scatter for table in tables), _section(provenance)]
    report = Report(study.name, "", remarks, tables, sections, (), ())
    return Evaluation(frame, report, provenance)


def _cell(study: Study, key: str, label: str, found: Measured, facts: dict[str, str]) -> Cell:
    return Cell(
        study=study.name,
        method=key,
        use=label,
        trial=None,
        seed=0,
        attempt=0,
        state="complete",
        parameters={},
        scores=found.scores(),
        unavailable=found.unavailable,
        datasets={benchmark.name: used(benchmark) for benchmark in found.benchmarks},
        assessors=found.assessors,
        remarks=list(found.remarks),
        fingerprint="",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=facts,
    )


def _section(provenance: dict[str, Any]) -> Section:
    rows = []
    for key, value in provenance.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        rows.append((key, str(text)))
    return Section("Provenance", ("what", "is"), tuple(rows))
