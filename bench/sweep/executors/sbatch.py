"""SLURM's commands: what sbatch is told of a study's jobs, and what squeue says of them."""

import getpass
import re
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bench.errors import BenchError
from bench.study.fields import Study
from bench.study.resources import parse_memory, parse_time

OURS = {
    *("array", "error", "job-name", "no-requeue", "nodes", "ntasks", "ntasks-per-node"),
    *("open-mode", "output", "parsable", "requeue", "signal", "test-only", "wait", "wrap"),
}
"""Options of sbatch that the executor needs for itself."""
GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "gres")
WARNING = 120
"""Seconds before its time limit at which a job is told, at most: enough for a checkpoint."""
PATIENCE = 60
"""Seconds that a command of SLURM may take."""


def sbatch_parameters(study: Study, options: Sequence[str]) -> dict[str, Any]:
    """Returns what submitit's executor is told of a study's jobs.

    options: "key=value" of sbatch's long options, over the study's `resources`. Raises BenchError.
    """
    asked, resources = _options(options), study.resources
    seconds = _seconds(asked.pop("time")) if "time" in asked else resources.seconds
    if seconds is None:
        raise BenchError(
            f"{study.name}: --executor slurm: no time limit, and SLURM bills and plans by it. Say "
            "how long a trial may take before it ends at a checkpoint and goes on in a new job: "
            "resources: {time: 4h} in the study, or --slurm time=4h."
        )
    told: dict[str, Any] = {
        "no-requeue": True,  # a new attempt is a new job, or its events would come twice
        "cpus-per-task": resources.cpus or 1,
        "gpus-per-node": _gpus(study),
        "partition": resources.partition,
        "account": resources.account,
        "mem": f"{parse_memory(resources.memory) // 2**20}M" if resources.memory else None,
    }
    if any(key in asked for key in GPUS):
        del told["gpus-per-node"]
    told = {key: value for key, value in (told | asked).items() if value not in (None, 0)}
    return {
        "time": -(-seconds // 60),
        "signal_delay_s": min(WARNING, seconds // 10),
        "stderr_to_stdout": True,
        "additional_parameters": told,
        # srun does not take it over from sbatch since SLURM 22.05
        "srun_args": [f"--cpus-per-task={told['cpus-per-task']}"],
    }


def _options(texts: Sequence[str]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().lstrip("-").replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z-]*", key):
            raise BenchError(f"--slurm {text}: write key=value, such as partition=gpu.")
        if key in OURS:
            raise BenchError(f"--slurm {text}: bench sets {key} itself. Leave it out.")
        asked[key] = value.strip() if equals else True
    return asked


def _seconds(text: Any) -> int:
    """A time as a study writes it, or as sbatch does: a plain number is minutes."""
    try:
        return 60 * int(text) if str(text).isdigit() else parse_time(str(text))
    except ValueError as error:
        raise BenchError(f"--slurm time={text}: {error}") from None


def _gpus(study: Study) -> int:
    """Whole GPUs; one where nothing is said and the study's device may be one."""
    asked = study.resources.gpus
    if asked is None:
        return 0 if study.train and study.train.device == "cpu" else 1
    if asked % 1:
        raise BenchError(
            f"{study.name}: resources: gpus: {asked:g}: SLURM gives whole GPUs. Write gpus: 1, or "
            "gpus: 0 with what shares one on your cluster, such as --slurm gres=shard:1."
        )
    return int(asked)


# --- the queue ----------------------------------------------------------------------------------

ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
}
"""States of jobs that say nothing any more."""


class Queue:
    """SLURM's queue. It may be out of reach: then nothing is known, and nothing is lost."""

    def __init__(self, note: Callable[[str], None], every: float) -> None:
        """every: seconds between two questions, whatever the number of jobs."""
        self._note, self._every = note, every
        self._asked, self._silent = float("-inf"), False
        self._states: dict[str, str] | None = None

    def states(self) -> Mapping[str, str] | None:
        """Returns the state of each of this user's jobs, such as "PENDING (Priority)" or "RUNNING
        node7", and for some minutes of those that have ended; None while SLURM does not answer."""
        if time.monotonic() - self._asked >= self._every:
            self._states = self._ask()
            self._asked = time.monotonic()
        return self._states

    def _ask(self) -> dict[str, str] | None:
        user = f"--user={getpass.getuser()}"
        answer, why = _run(
            "squeue", "--noheader", "--array", "--states=all", "--format=%i|%T %R", user
        )
        if self._silent is not bool(why):
            self._silent = bool(why)
            silent = f"SLURM does not answer ({why}); its jobs go on, and so does this sweep"
            self._note(silent if why else "SLURM answers again")
        rows = (line.partition("|") for line in answer.splitlines())
        return None if why else {key: state.strip() for key, _, state in rows}

    def cancel(self, ids: Collection[str]) -> None:
        """Takes jobs out of the queue, or ends them; those that have ended are none of its."""
        if ids:
            _run("scancel", *ids)

    def largest_array(self) -> int:
        """Returns how many jobs an array may have."""
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _run("scontrol", "show", "config")[0])
        return max(1, int(found[1])) if found else 1000


def _run(*command: str) -> tuple[str, str]:
    """What a command prints, and why it failed; "" if it has not."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if not done.returncode:
        return done.stdout, ""
    return "", (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
