"""Trials: asked for, run, recorded, told; the only writer of both databases.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "address",
    "command",
    "driver",
    "executors",
    "identity",
    "job",
    "rows",
    "screen",
    "speed",
    "tracking",
]
