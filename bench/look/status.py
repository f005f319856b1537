"""How far a study has come, and which of its records are stale."""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bench.data.roots import home, paths_from
from bench.records.cell import Cell, best_cells, load_records
from bench.records.place import QUEUE, Place, lock_holder
from bench.records.store import Store
from bench.study.words import swept_text
from bench.sweep.identity import Deciding, changes, lost_stages, retrains
from bench.sweep.rows import planned_cells


def study_status(name: str) -> dict[str, Any]:
    """Returns counts of trials by state, the stale ones, who is sweeping, and the best so far."""
    study, cells, _ = load_records(name)
    states = Counter(cell.state for cell in cells)
    best = {
        cell.exact(name): {
            "value": cell.objectives[name],
            "trial": cell.file_name,
            "swept": cell.swept,
        }
        for name, cell in best_cells(study, cells).items()
    }
    memory: dict[str, int] = {}
    for cell in cells:
        memory[cell.method] = max(cell.memory, memory.get(cell.method, 0))
    store = Store(home() / "store")
    holder, under_way = lock_holder(Place(home(), name))
    begun = [line.partition("\t")[::2] for line in under_way]
    running = [(label, node) for label, node in begun if node != QUEUE]
    deciding = Deciding(study)
    with paths_from(study.folder):
        changed = {
            cell.file_name: why
            for cell in cells
            if (why := changes(cell, deciding.parts(cell.method, cell.swept, cell.seed)))
        }
    return {
        "study": name,
        "of": planned_cells(study),
        "complete": states["complete"],
        "failed": {c.file_name: c.reason.splitlines()[0] for c in cells if c.state == "failed"},
        "pruned": states["pruned"],
        "running": [label for label, _ in running],
        "waiting": [label for label, node in begun if node == QUEUE],
        "left": 0 if holder else Place(home(), name).jobs_in_slurm(),
        "nodes": _nodes(cells, running),
        "stale": list(changed),
        "changed": changed,
        "kept": {cell.file_name: cell.kept for cell in cells if cell.kept},
        "lost": {cell.file_name: lost for cell in cells if (lost := lost_stages(cell, store))},
        "swept_by": holder,
        "memory": memory,
        "best": best,
    }


def status_text(status: dict[str, Any]) -> str:
    """Returns the status for people."""
    done = status["complete"] + len(status["failed"]) + status["pruned"]
    lines = [
        f"{status['study']}: {done} of {status['of']} trials recorded "
        f"({status['complete']} complete, {len(status['failed'])} failed, "
        f"{status['pruned']} pruned)",
        f"swept now by {status['swept_by']}" if status["swept_by"] else "not being swept now",
    ]
    lines += [f"running: {label}" for label in status["running"]]
    lines += [f"waiting in the queue: {label}" for label in status["waiting"]]
    if left := status["left"]:
        lines.append(f"jobs in SLURM, of a sweep that was killed: {left}; sweep again to hear them")
    lines += _nodes_text(status["nodes"])
    lines += [f"failed: {name}: {reason}" for name, reason in status["failed"].items()]
    stale: dict[str, list[str]] = {}
    for name, changed in status["changed"].items():
        for change in changed:
            stale.setdefault(change, []).append(name)
    lines += [
        f"{len(names)} stale, changed since: {change} ({', '.join(names)}); "
        + ("trained again" if retrains(change) else "measured again, nothing is trained")
        for change, names in stale.items()
    ]
    lines += [
        f"{name}: the weights of stage {', '.join(stages)} are missing or damaged in the store; "
        "trained again"
        for name, stages in status["lost"].items()
    ]
    lines += [f"kept: {name}, changed since: {', '.join(w)}" for name, w in status["kept"].items()]
    if used := [f"{name} {_megabytes(most)}" for name, most in status["memory"].items() if most]:
        lines.append(f"memory of a worker, at most: {', '.join(used)}")
    for objective, best in status["best"].items():
        swept = swept_text(best["swept"])
        where = f"{best['trial']} ({swept})" if swept else best["trial"]
        lines.append(f"best {objective}: {best['value']:.4f} by {where}")
    return "\n".join(lines)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _nodes(cells: Sequence[Cell], running: Iterable[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Machine -> its device, how many trials it has recorded, and what it runs now."""
    nodes: dict[str, dict[str, Any]] = {}
    for cell in cells:
        if host := cell.environment.get("host"):
            node = nodes.setdefault(host, {"device": "", "recorded": 0, "running": []})
            node["device"] = cell.environment.get("device", "")
            node["recorded"] += 1
    for label, name in running:
        node = nodes.setdefault(
            name or platform.node(), {"device": "", "recorded": 0, "running": []}
        )
        node["running"].append(label)
    return nodes


def _nodes_text(nodes: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each machine, unless this one is alone."""
    if nodes.keys() <= {platform.node()}:
        return []

    def device(node: dict[str, Any]) -> str:
        return f" ({node['device']})" if node["device"] else ""

    return [
        f"machine {name}{device(node)}: "
        f"{node['recorded']} recorded, running {', '.join(node['running']) or 'nothing'}"
        for name, node in nodes.items()
    ]
