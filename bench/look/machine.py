"""What the machine has: methods, sets, metrics, weights, versions; and MLflow's own page."""

import os
import platform
import subprocess
import sys
import textwrap
from importlib.metadata import version
from typing import Any

import torch

from bench.data import sets
from bench.data.catalog import DATASETS
from bench.data.roots import data_root, home
from bench.data.weights import why_not
from bench.errors import BenchError
from bench.measure.metrics import METRICS, pyiqa
from bench.measure.protocol import PROTOCOLS
from bench.method.loading import find_method, known_methods
from bench.method.published import all_weights
from bench.sweep.driver import default_workers
from bench.train.loop import choose_device, choose_precision

Row = dict[str, Any]


def inventory(what: str) -> list[Row]:
    """Returns what there is of "methods", "datasets", "metrics" or "protocols"."""
    if what == "methods":
        found = [(path, find_method(path)) for path in known_methods()]
        return [
            {"name": p, "task": ", ".join(cls.tasks or (cls.task,)), "source": cls.paper,
             "published weights": ", ".join(cls.published)}
            for p, cls in found
        ]  # fmt: skip
    if what == "datasets":
        return [
            {"name": n, "images": d.official, "source": d.home, "licence": d.licence,
             "unavailable": sets.missing(n)}
            for n, d in DATASETS.items()
        ]  # fmt: skip
    if what == "metrics":
        return [
            *(
                {"name": n, "better": m.direction, "unit": m.unit, "digits": m.digits,
                 "kind": "full-reference" if m.reference else "no-reference",
                 "colour": m.colour, "sizes": m.sizes, "source": m.source,
                 "remark": m.remark, "unavailable": m.unavailable()}
                for n, m in METRICS.items()
            ),
            {"name": "pyiqa:NAME", "source": f"{pyiqa.identity()}, by name", "names":
             ", ".join(pyiqa.known()), "colour": "each metric's own; tables name it",
             "unavailable": None if pyiqa.known() else "pyiqa is not installed"},
        ]  # fmt: skip
    return [
        {"name": name, "rules": rules.title, "channel": rules.channel, "lr": rules.lr,
         "border": f"{rules.border_scales} x scale + {rules.border_pixels} pixels",
         "range": "0 to 255, clipped, rounded to 8 bits" + ("; then Y or gray rounded" if
         rules.rounded else ""), "gray files": rules.gray, "niqe on": rules.niqe,
         "set's score": ", ".join(f"root of the mean square of {m}" for m in rules.root_mean_square)
         or "mean over images"}
        for name, rules in PROTOCOLS.items()
    ]  # fmt: skip


def inventory_text(rows: list[Row]) -> str:
    """Returns an inventory for people: a line of short facts, and one for each longer one."""
    lines = []
    for row in rows:
        facts = {k: str(v) for k, v in row.items() if k != "name" and v not in (None, "")}
        facts = {"not here" if k == "unavailable" else k: v for k, v in facts.items()}
        brief = [key for key, fact in facts.items() if len(fact) < 20 and key != "not here"]
        lines.append(f"{row['name']:<22} {', '.join(f'{key} {facts[key]}' for key in brief)}")
        for key in [k for k in facts if k not in brief]:
            text = textwrap.wrap(
                f"{key}: {facts[key]}", 96, subsequent_indent="  ", break_long_words=False
            )
            lines += [f"    {line}" for line in text]
    return "\n".join(line.rstrip() for line in lines)


def examine() -> Row:
    """Returns versions, device, precision, folders, and the data and weights found."""
    device, published = choose_device(), all_weights()
    packages = ("bench", "torch", "numpy", "mlflow", "optuna", "pandas", "pyiqa", "lpips")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": choose_precision("auto", device),
        "workers": default_workers(),
        "home": str(home()),
        "data": str(data_root().resolve()),
        "datasets": {name: sets.missing(name) for name in DATASETS},
        "weights": {name: why_not(name, published) for name in published},
    }


def doctor_text(found: Row) -> str:
    """Returns the examination for people."""
    lines = [f"{key:<10} {found[key]}" for key in ("python", "device", "threads", "precision")]
    lines += [f"{name:<10} {number}" for name, number in found["packages"].items()]
    lines += [f"{key:<10} {found[key]}" for key in ("home", "data")]
    for key in ("datasets", "weights"):
        here = [name for name, why in found[key].items() if why is None]
        lines.append(f"{key:<10} here: {', '.join(here) or 'none'}")
        lines += [f"{'':<10} {why}" for why in found[key].values() if why is not None]
    return "\n".join(lines)


def serve_mlflow(host: str, port: int) -> int:
    """Runs MLflow's server on the records until it is interrupted; returns its exit status.

    Raises BenchError for a host that others can reach: MLflow's server has no password by default.
    """
    from bench.sweep.tracking import tracking_uri

    if host not in ("127.0.0.1", "localhost", "::1"):
        raise BenchError(
            f"--host {host}: others could read and change every record. Keep 127.0.0.1 and forward "
            "the port (ssh -L), or run `mlflow server` yourself behind a login."
        )
    folder = home()
    if not (folder / "mlflow.db").is_file() and "MLFLOW_TRACKING_URI" not in os.environ:
        raise BenchError(f"{folder / 'mlflow.db'}: no records yet. Sweep a study first.")
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port),
               "--workers", "1", "--backend-store-uri", tracking_uri(folder),
               "--default-artifact-root", (folder / "artifacts").as_uri()]  # fmt: skip
    switches = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(command, env={**os.environ, **switches}, check=False).returncode
