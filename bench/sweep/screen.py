"""What a sweep says while it runs; who shows it is not its business."""

from typing import Any

from bench.records.cell import Cell


class Screen:
    """Shows nothing; also what the driver tells a screen."""

    def begin(self, total: int, done: int) -> None:
        """The sweep has `total` trials (times seeds), `done` of which have a record."""

    def event(self, handle: int, label: str, event: Any) -> None:
        """Something happened in a running trial."""

    def ended(self, handle: int, label: str, cell: Cell) -> None:
        """A trial has a record."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def close(self) -> None:
        """The sweep has ended."""
