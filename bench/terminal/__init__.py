"""What a person sees on a terminal.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "counter",
    "progress",
    "streams",
]
