"""How far a verb has come, on standard error. Light: nothing of it imports torch."""

import shutil
import sys
import time
from types import TracebackType


class Counter:
    """One line that is written over on a terminal; elsewhere a line every few seconds."""

    def __init__(self, what: str, unit: str = "images") -> None:
        self._what, self._unit = what, unit
        self._live = sys.stderr.isatty()
        self._every = 0.1 if self._live else 10.0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> "Counter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` are done; 0 if their number is not known."""
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        left = (now - self._began) / max(done, 1) * (total - done)
        text = f"{self._what}: {done}"
        if total:
            time_left = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
            text += f"/{total} {self._unit}, {time_left} left"
        else:
            text += f" {self._unit}"
        if not self._live:
            print(text, file=sys.stderr, flush=True)
            return
        room = shutil.get_terminal_size().columns - 1  # a line that wraps is not written over
        shown = text if len(text) <= room else f"...{text[3 - room :]}"
        print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)
