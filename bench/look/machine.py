"""What the machine has: methods, sets, metrics, weights, versions; and MLflow's own page."""

import os
import platform
import socket
import subprocess
import sys
import textwrap
import threading
import time
import webbrowser
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.data import sets
from bench.data.catalog import DATASETS
from bench.data.roots import data_root, home
from bench.data.weights import why_not
from bench.errors import BenchError, unknown
from bench.measure.metrics import METRICS, pyiqa
from bench.measure.protocol import PROTOCOLS
from bench.method.loading import find_method, known_methods
from bench.method.published import all_weights
from bench.records.place import one_at_a_time
from bench.sweep.executors.auto import default_workers
from bench.train.loop import choose_device, choose_precision

if TYPE_CHECKING:
    from bench.sweep.address import Address

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


def serve_mlflow(host: str, port: int, study: str = "") -> int:
    """Runs MLflow's page on the records until it is interrupted; returns its exit status.

    Says where each study is, and opens a browser at `study` where there is one. Raises BenchError
    for a host that others can reach: MLflow's server has no password by default.
    """
    from bench.sweep.address import tracking_address, without_password
    from bench.sweep.tracking import pages

    folder = home()
    address = tracking_address(folder)
    if host not in ("127.0.0.1", "localhost", "::1"):
        raise BenchError(
            f"--host {host}: others could read and change every record. Keep 127.0.0.1 and forward "
            "the port (ssh -L), or run `mlflow server` yourself behind a login."
        )
    if (file := address.file) and not file.is_file():
        raise BenchError(f"{file}: no records yet. Sweep a study first.")
    with one_at_a_time(folder):
        found = pages(folder, _say)
    if study and study not in found:
        raise BenchError(f"{address.shown}: {unknown('study', study, found)} Sweep it first.")
    if address.of_a_server:
        server = without_password(address)[0].rstrip("/")
    else:
        server = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if _listens(host, port):
            raise BenchError(f"--port {port}: something else listens there. Give another one.")
    for name in [study] if study else found:
        _say(f"{name}: {server}{found[name]}")
    if address.of_a_server:
        return 0
    return _serve(address, folder, host, port, f"{server}{found[study]}" if study else "")


def _serve(address: "Address", folder: Path, host: str, port: int, page: str) -> int:
    artifacts = (folder / "artifacts").as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port),
               "--workers", "1", "--default-artifact-root", artifacts]  # fmt: skip
    settings = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_BACKEND_STORE_URI": address.text,  # not in the command, which all users can list
    }
    if page:
        threading.Thread(target=_open_browser, args=(host, port, page), daemon=True).start()
    return subprocess.run(command, env={**os.environ, **settings}, check=False).returncode


def _open_browser(host: str, port: int, page: str) -> None:
    """Opens a page as soon as its server listens, where there is a screen."""
    if not {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & os.environ.keys():
        return
    while not _listens(host, port):
        time.sleep(0.2)
    webbrowser.open(page)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    print(text, flush=True)
