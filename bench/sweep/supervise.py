"""Runs a command, and ends it with all its children when whoever started this is gone.

A program of its own, for the one that waits for it may be killed: `python supervise.py COMMAND...`,
its standard input a pipe that nobody writes into. It imports nothing of bench.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Ends with the command's status; that of a signal is 128 and its number."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def end_with_the_pipe() -> None:
        sys.stdin.buffer.read()
        end(child.pid)

    threading.Thread(target=end_with_the_pipe, daemon=True).start()
    status = child.wait()
    end(child.pid)  # what it has left in the background
    os._exit(status if status >= 0 else 128 - status)


def end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
