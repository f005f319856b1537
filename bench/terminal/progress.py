"""What a person sees while a sweep runs: bars on a terminal, plain lines elsewhere, on stderr."""

import sys
import time
from typing import Any

from bench.records.cell import Cell
from bench.study.words import duration
from bench.sweep.job import Scored
from bench.sweep.screen import Screen
from bench.train.loop import Note, Progress

LINE_EVERY = 10.0  # seconds between lines about one running trial


def make_screen() -> Screen:
    """Returns bars if standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines(Screen):
    """One line for each thing that ends, and now and then one for a trial under way."""

    def __init__(self) -> None:
        self.total = self.done = self.fresh = 0
        self.began = time.monotonic()
        self.last: dict[int, float] = {}

    def begin(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self.began = time.monotonic()
        resumed = f", {done} of them already recorded" if done else ""
        self.note(f"{total} trials to do{resumed}")

    def event(self, handle: int, label: str, event: Any) -> None:
        if isinstance(event, Note):
            self.note(f"{label}: {event.text}")
        elif isinstance(event, Progress):
            now = time.monotonic()
            if now - self.last.setdefault(handle, now) > LINE_EVERY:
                self.last[handle] = now
                self.note(f"{label}: {describe(event)}")

    def ended(self, handle: int, label: str, cell: Cell) -> None:
        self.done += 1
        self.fresh += 1
        left = f", about {duration(self.left())} left" if self.done < self.total else ""
        self.note(f"[{self.done}/{self.total}] {label}: {outcome(cell)}{left}")

    def left(self) -> float:
        """Seconds until the end, if the rest takes as long as what has ended so far."""
        taken = time.monotonic() - self.began
        return taken / max(self.fresh, 1) * (self.total - self.done)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars(Lines):
    """One live bar for the sweep and one for each running trial."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Live

        self.live = Live(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self.sweep = self.live.add_task("[bold]sweep[/]", total=None, state="")
        self.tasks: dict[int, Any] = {}

    def begin(self, total: int, done: int) -> None:
        self.live.start()
        super().begin(total, done)
        self.live.update(self.sweep, total=total, completed=done)

    def event(self, handle: int, label: str, event: Any) -> None:
        if handle not in self.tasks:
            self.tasks[handle] = self.live.add_task(label, total=None, state="")
        task = self.tasks[handle]
        if isinstance(event, Progress):
            self.live.update(
                task, total=event.steps, completed=event.step, state=describe(event, short=True)
            )
        elif isinstance(event, Scored):
            state = f"measuring {event.dataset}"
            self.live.update(task, total=event.of, completed=event.count, state=state)
        elif isinstance(event, Note):
            self.live.update(task, state=event.text)

    def ended(self, handle: int, label: str, cell: Cell) -> None:
        super().ended(handle, label, cell)
        if handle in self.tasks:
            self.live.remove_task(self.tasks.pop(handle))
        state = f"about {duration(self.left())} left"
        self.live.update(self.sweep, completed=self.done, state=state)

    def note(self, text: str) -> None:
        self.live.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self.live.stop()


def describe(event: Progress, short: bool = False) -> str:
    """Returns "stage sr, step 120/300, loss 31.2, 24 steps/s"."""
    losses = ", ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
    speed = f"{event.steps_per_second:.3g} steps/s"
    if short:
        left = duration((event.steps - event.step) / max(event.steps_per_second, 1e-9))
        return f"{event.stage}: {losses}, {speed}, {left} left"
    return f"stage {event.stage}, step {event.step}/{event.steps}, {losses}, {speed}"


def outcome(cell: Cell) -> str:
    """Returns how a trial ended: its objectives, or why it has none."""
    if cell.state != "complete":
        return f"{cell.state}: {cell.reason.splitlines()[0] if cell.reason else 'no reason given'}"
    values = ", ".join(f"{cell.exact(name)} {value:.4g}" for name, value in cell.objectives.items())
    reused = [stage.name for stage in cell.stages if stage.reused]
    stored = f"; from the store: {', '.join(reused)}" if reused else ""
    return f"{values or 'measured'} ({cell.seconds:.1f} s{stored})"
