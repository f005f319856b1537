"""What lies on disk: sets, images, weights; pixels and what is made of them.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "benchmark",
    "catalog",
    "datacheck",
    "degrade",
    "fetch",
    "files",
    "filters",
    "images",
    "kinds",
    "mapped",
    "pairs",
    "pixels",
    "png",
    "processes",
    "readers",
    "roots",
    "sets",
    "votes",
    "weights",
]
