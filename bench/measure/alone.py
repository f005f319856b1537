"""Runs a function in a process of its own: its memory can be measured, and it may be killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from bench.data.processes import end_with_parent, no_main_module
from bench.errors import BenchError

T = TypeVar("T")


def run_alone(function: Callable[..., T], *arguments: Any) -> T:
    """Returns `function(*arguments)`, computed in a fresh process that ends with this one.

    function: importable by name. Raises BenchError as it does, and if the process is killed. The
    process is forked from a server that has torch loaded and has run nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.measure.speed"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, function, arguments))
    with no_main_module():
        process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    try:
        found = ours.recv()
    except EOFError:
        process.join(10)
        raise BenchError(_death(process.exitcode)) from None
    finally:
        process.kill()
        process.join(10)
        ours.close()
    if isinstance(found, BaseException):
        raise found
    answer: T = found
    return answer


def _work(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What the process does. Ctrl-C is its parent's business."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a method prints must not stand among the answers
    try:
        pipe.send(function(*arguments))
    except BenchError as error:
        pipe.send(BenchError(str(error)))  # without its cause, which may not travel
    pipe.close()


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed, perhaps for want of memory"
    how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"status {code}"
    return f"the process ended without an answer ({how})"
