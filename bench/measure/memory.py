"""Memory of this process and of the machine, as Linux tells it, in bytes."""

import contextlib
from pathlib import Path


def peak_memory() -> int:
    """Returns the most that has been resident since the process began, or since `reset_peak`."""
    return _of_status("VmHWM")


def reset_peak() -> int:
    """Lets the peak begin anew at what is resident now, and returns it.

    Where the system does not permit that, the peak so far is returned: what is above it counts.
    The peak of `getrusage` cannot be reset, and a new process begins with its parent's.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak_memory()


def free_memory() -> int:
    """Returns what can still be used: of the machine, or of the container if that is less."""
    rows = dict(
        line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    )
    free = 1024 * int(rows["MemAvailable"].split()[0])
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # without a container there is no number
        most, used = (
            int((group / f"memory.{n}").read_text(encoding="utf-8")) for n in ("max", "current")
        )
        files = dict(
            line.split()
            for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        )
        free = min(free, most - used + int(files.get("inactive_file", 0)))
    return max(0, free)


def _of_status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(found.split()[1])
