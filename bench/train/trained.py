"""What a sweep has trained, found again by its record: "STUDY/TRIAL"."""

import hashlib
from collections.abc import Sequence

from bench.data.roots import home
from bench.data.weights import digest
from bench.errors import BenchError, unknown
from bench.method.contract import Method
from bench.method.loading import build_method, find_method
from bench.method.weights import load_weights
from bench.records.cell import Cell, TrainedStage, load_records
from bench.records.store import Store


def load_trial(name: str, scale: int | None = None) -> Method:
    """Returns a trial's method with the weights of all its stages, such as of
    "rts_small/residual3-t002-s0": the study, and the trial as its record's file is called.

    scale: of a study with several. Raises BenchError for an unknown one, and for one whose stages
    are not all in the store or do not fit the method's code of today.
    """
    cell, records = _stages_of(name, scale)
    parameters = dict(cell.parameters)
    if scale is not None and any(record.scale for record in records):
        parameters["scale"] = scale
    method = build_method(find_method(cell.use), parameters)
    if scale is not None and (own := method.hyperparameters.get("scale", scale)) != scale:
        raise BenchError(f"{name}: was trained for scale {own}, asked for {scale}.")
    stages, store = method.stages(), Store(home() / "store")
    if len(records) != len(stages):
        had, has = (", ".join(stage.name for stage in side) for side in (records, stages))
        changed = f"was trained in the stages {had}; {cell.use} has {has} today. Sweep again."
        raise BenchError(f"{name}: {(cell.reason.splitlines() or [changed])[0]}")
    _refuse_lost(name, cell, records, store)
    for stage, record in zip(stages, records, strict=True):
        load_weights(stage.trains or method, store.entry("stages", record.key) / "weights.pth")
    return method.eval()


def trial_digest(name: str, scale: int | None = None) -> str:
    """Returns a hash of a trial's weights. Raises BenchError as `load_trial`."""
    store, digests = Store(home() / "store"), hashlib.blake2b(digest_size=8)
    cell, records = _stages_of(name, scale)
    _refuse_lost(name, cell, records, store)
    for record in records:
        digests.update(digest(store.entry("stages", record.key) / "weights.pth").encode())
    return digests.hexdigest()


def _refuse_lost(name: str, cell: Cell, records: Sequence[TrainedStage], store: Store) -> None:
    lost = [record for record in records if not store.has("stages", record.key)]
    if lost:
        host = cell.environment.get("host", "another machine")
        raise BenchError(
            f"{name}: the weights of stage {', '.join(record.name for record in lost)} are missing "
            f"or damaged in the store ({store.entry('stages', lost[0].key)}). They were trained on "
            f"{host}: sweep {cell.study} again there, which trains them again, or copy the folder "
            "from where it still is."
        )


def _stages_of(name: str, scale: int | None) -> tuple[Cell, list[TrainedStage]]:
    study, _, label = name.partition("/")
    cells = {cell.file_name: cell for cell in load_records(study)[1]}
    if label not in cells:
        raise BenchError(unknown(f"trial of {study}", label, cells))
    cell = cells[label]
    scales = sorted({stage.scale for stage in cell.stages if stage.scale})
    if scale is None and len(scales) > 1:
        raise BenchError(
            f"{name}: was trained for the scales {', '.join(map(str, scales))}. Say which: "
            f"--param scale={scales[0]}."
        )
    return cell, [s for s in cell.stages if scale is None or s.scale in (0, scale)]
