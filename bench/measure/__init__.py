"""The one way to scores: protocols, metrics, benchmarks and folders of pictures.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "answer",
    "evaluate",
    "explain",
    "folder",
    "meter",
    "metrics",
    "pool",
    "processes",
    "protocol",
    "scores",
]
