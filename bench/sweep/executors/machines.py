"""The machines of a Ray cluster: connected to, compared with this one, and counted."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._private import worker as rays_driver
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.errors import BenchError
from bench.study.resources import Needs

OBJECTS = 100_000_000  # bytes for what is on its way between processes; events are small
LONGEST = 40  # characters of a temporary folder; a socket's path has 107, and Ray adds 60
PATIENCE = 60.0  # seconds for a machine to answer
LOOK_EVERY = 1.0  # seconds between two looks at the cluster


def connect(address: str) -> Path | None:
    """Connects this process to a cluster; without an address to one of its own, on loopback.

    Returns the folder of such a one. Raises BenchError where nothing answers.
    """
    if ray.is_initialized():  # by the program that runs the study
        return None
    heard = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    logging.getLogger("ray").setLevel(logging.ERROR)
    rays_driver.print_to_stdstream = _show  # or it prints among the answers
    forget_no_file()
    folder = None
    try:
        if address:
            refuse_silence(address)
            ray.init(address, configure_logging=False)
        else:
            folder = _short_folder()
            _start(folder)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BenchError(f"--executor ray:{address}: {str(error).splitlines()[0]}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, heard)  # Ray's own ends the process on the spot
    return folder


def forget_no_file() -> None:
    """Takes away a main module's file that is None: Ray would take it for a name. So does one that
    has none, as in a notebook, look once processes were begun (`no_main_module`)."""
    main = sys.modules["__main__"]
    if vars(main).get("__file__", "") is None:
        del main.__file__


def _start(folder: Path) -> None:
    """Starts a cluster of this machine alone, that no other one reaches."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see LocalExecutor
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or a file keeps it
    with on_loopback():
        ray.init(
            "local",
            num_cpus=len(os.sched_getaffinity(0)),
            object_store_memory=OBJECTS,
            include_dashboard=False,
            configure_logging=False,
            _temp_dir=str(folder / "ray"),
        )


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Lets what Ray starts listen on loopback, as it does of itself on macOS and Windows."""
    before, name = ray_constants.ENABLE_RAY_CLUSTER, ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[name]


def refuse_silence(address: str) -> None:
    """Raises BenchError where nothing listens: Ray would try for minutes."""
    if "://" in address:
        raise BenchError(
            f"--executor ray:{address}: events of a job do not come through Ray's client. Run "
            "`bench sweep` on a machine of the cluster, with ray:HOST:PORT or ray:auto."
        )
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal():
        raise BenchError(f"--executor ray:{address}: write ray:HOST:PORT, or ray:auto.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise BenchError(
            f"--executor ray:{address}: nothing answers there ({error.strerror or error}). Start "
            "Ray with `ray start --head`, which prints the address, or give --executor ray alone."
        ) from None


def _short_folder() -> Path:
    """A new folder for the files of a cluster of our own; those of killed ones are removed."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    able = [p for p in places if len(str(p)) + 20 < LONGEST and os.access(p, os.W_OK)]
    if not able:
        raise BenchError("no temporary folder with a short name, which Ray needs: set TMPDIR.")
    for old in able[0].glob("bench-ray-*"):
        owner = old.name.split("-")[2]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"bench-ray-{os.getpid()}-", dir=able[0]))


def _show(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
    """Prints what a job has printed; Ray's own daemons have logs."""
    if data["pid"] in ("autoscaler", "gcs_server", "raylet"):
        return
    who = data.get("task_name") or data.get("actor_name") or data["pid"]
    for line in data["lines"]:
        print(f"{who} on {data['ip']}: {line}", file=sys.stderr)


# --- what they are ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """A node of the cluster."""

    name: str
    resources: Mapping[str, float]
    shared: bool = True
    """Whether it sees the driver's home."""

    def room(self, needs: Needs) -> int:
        """How many jobs of such needs it can run at once."""
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory}
        return int(min(self.resources.get(k, 0) / v + 1e-9 for k, v in wanted.items() if v))

    def __str__(self) -> str:
        cpus, gpus, memory = (self.resources.get(key, 0) for key in ("CPU", "GPU", "memory"))
        return f"{self.name}: {cpus:g} CPUs, {gpus:g} GPUs, {memory / 1e9:.3g} GB"


class Machines:
    """Those of the cluster that are alive and installed as this one is, by Ray's id.

    home, probe: the driver's home and a file in it.
    """

    def __init__(self, home: Path, probe: str, note: Callable[[str], None]) -> None:
        self.fit: dict[str, Machine] = {}
        self.left_out: dict[str, str] = {}
        self._examine = _examination(home, probe)
        self._note = note
        self._looked = 0.0
        self.look()
        if self.left_out:
            why = "these machines of the cluster are not installed as this one is"
            raise BenchError(
                f"{why}:\n" + "\n".join(self.left_out.values()) + "\nInstall the same everywhere, "
                "or start the cluster from one image."
            )

    def look(self) -> None:
        """Learns which machines have come and gone, once a second at most."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = {node["NodeID"]: node for node in listed if node["Alive"]}
        for gone in self.fit.keys() - nodes.keys():
            self._note(f"{self.fit.pop(gone).name} has left the cluster")
        new = {k: n for k, n in nodes.items() if k not in self.fit and k not in self.left_out}
        for key, found in _examined(new, self._examine).items():
            name = _name(nodes[key])
            if isinstance(found, str):
                self.leave_out(key, name, found)
            else:
                self.fit[key] = Machine(name, nodes[key]["Resources"], found)
                if self._looked:
                    self._note(f"{name} has joined the cluster")
        self._looked = time.monotonic()

    def leave_out(self, key: str, name: str, why: str) -> None:
        """Gives a machine no more jobs."""
        self.fit.pop(key, None)
        self.left_out[key] = f"{name}: {why}"
        if self._looked:
            self._note(f"{name} is left out: {why}")

    def room(self, needs: Needs) -> int:
        """How many jobs of such needs they can run at once."""
        return sum(machine.room(needs) for machine in self.fit.values())

    def most(self, resource: str) -> float:
        """How much of "GPU" or "memory" the largest of them has."""
        return max((m.resources.get(resource, 0.0) for m in self.fit.values()), default=0.0)

    def __str__(self) -> str:
        left_out = [f"left out: {why}" for why in self.left_out.values()]
        return "\n".join([*map(str, self.fit.values()), *left_out]) or "there is none"


def _name(node: Mapping[str, Any]) -> str:
    """What people call a machine: the name that Ray was started with, or that of the host."""
    named = node["NodeName"] not in ("", node["NodeManagerAddress"])
    return str(node["NodeName"] if named else node["NodeManagerHostname"])


def _examined(
    nodes: Mapping[str, Any], examine: Callable[[], tuple[dict[str, str], bool]]
) -> dict[str, bool | str]:
    """By id: whether a machine sees the home, or why it is not as this one is."""
    if not nodes:
        return {}
    task = ray.remote(examine)
    answers = {
        task.options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(key, soft=False),
        ).remote(): key
        for key in nodes
    }
    ray.wait(list(answers), num_returns=len(answers), timeout=PATIENCE)
    ours, _ = examine()
    return {key: _compared(answer, ours) for answer, key in answers.items()}


def _compared(answer: Any, ours: Mapping[str, str]) -> bool | str:
    try:
        theirs, shared = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"no answer within {PATIENCE:.0f} s"
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[-1]
    differ = [
        f"{name} {theirs[name]}, here {ours[name]}" for name in ours if theirs[name] != ours[name]
    ]
    return "; ".join(differ) or bool(shared)


def _examination(home: Path, probe: str) -> Callable[[], tuple[dict[str, str], bool]]:
    """A function that travels whole, for it must run where bench is not or another one is.

    It returns versions, that of bench with a hash of its files, and whether the home is seen.
    """
    seen = str(home / probe), str(home)

    def examine() -> tuple[dict[str, str], bool]:
        import hashlib
        import importlib.util
        import os
        import platform
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        found = {"python": ".".join(platform.python_version_tuple()[:2])}
        for package in ("bench", "torch"):
            try:
                found[package] = version(package).partition("+")[0]
            except PackageNotFoundError:
                found[package] = "is not installed"
        spec, code = importlib.util.find_spec("bench"), hashlib.sha256()
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                code.update(file.read_bytes())
        found["bench"] += f" ({code.hexdigest()[:8]})"
        own = os.environ.get("BENCH_HOME")
        return found, os.path.isfile(seen[0]) and (not own or os.path.realpath(own) == seen[1])

    return examine


def here() -> NodeAffinitySchedulingStrategy:
    """Where the driver is."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
