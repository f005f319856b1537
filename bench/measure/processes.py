"""Starting worker processes."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def no_main_module() -> Iterator[None]:
    """Keeps multiprocessing from importing the user's script again in each worker.

    Jobs refer to importable modules only, so a script needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name, None) for name in ("__file__", "__spec__")}
    for name in kept:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)
