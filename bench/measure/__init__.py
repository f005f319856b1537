"""The one way to scores: protocols, metrics, benchmarks and folders of pictures.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "alone",
    "answer",
    "assess",
    "evaluate",
    "explain",
    "folder",
    "memory",
    "meter",
    "metrics",
    "naming",
    "protocol",
    "scores",
    "speed",
    "task",
]
