"""Where paths begin: the three folders that the environment names, `~`, and a study's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from bench.errors import BenchError


def user_path(text: str) -> Path:
    """Returns the path that a user has written: "~" is the home folder, "~NAME" that of NAME.

    Raises BenchError where nobody is called so.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BenchError(
            f"{text}: nobody here is called {Path(text).parts[0][1:]!r}. For a folder of such a "
            f"name write ./{text}."
        ) from None


_start: ContextVar[Path | None] = ContextVar("start", default=None)


@contextmanager
def paths_from(folder: str) -> Iterator[None]:
    """Lets the relative paths of `named_path` begin at a study file's folder; "": at none."""
    token = _start.set(Path(folder) if folder else None)
    try:
        yield
    finally:
        _start.reset(token)


def named_path(text: str) -> Path:
    """Returns the absolute path of a folder or file that a study, or an option, names.

    In a study a relative one begins at the study file's folder, so it means the same from every
    current folder. Only what is not there is looked for below the current one, as once it all was.
    """
    path, start = user_path(text), _start.get()
    if start is not None and ((start / path).exists() or not path.exists()):
        path = start / path
    return path.resolve() if ".." in path.parts else path.absolute()


def is_trial(text: str) -> bool:
    """Whether it is "STUDY/TRIAL", what a sweep has trained, and no file.

    >>> is_trial("gamma/edsr_nima-t003-s0"), is_trial("./gamma/edsr"), is_trial("gamma/edsr.pth")
    (True, False, False)
    """
    is_path = text.startswith(("~", ".", "/")) or Path(text).suffix
    return "/" in text and not text.startswith("published:") and not is_path


def home() -> Path:
    """Returns the absolute folder of all that bench writes: $BENCH_HOME, else .bench here."""
    return user_path(os.environ.get("BENCH_HOME") or ".bench").resolve()


def data_root() -> Path:
    """Returns $BENCH_DATA, or `data` in the current folder."""
    return user_path(os.environ.get("BENCH_DATA") or "data")


def weights_root() -> Path:
    """Returns $BENCH_WEIGHTS, or `weights` in the current folder."""
    return user_path(os.environ.get("BENCH_WEIGHTS") or "weights")


def databases(store: Path | None = None) -> Path:
    """Returns the folder of SQLite files that only save time: `store`, or the home.

    In a worker of a cluster it is another one, which its executor names ($BENCH_DATABASES): a home
    may lie on a shared folder, where SQLite's locks are not to be trusted.
    """
    return Path(os.environ.get("BENCH_DATABASES") or store or home())
