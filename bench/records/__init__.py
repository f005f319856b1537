"""What is kept: records, content-addressed results, where they lie, which code decides them.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "cell",
    "digest",
    "place",
    "shelf",
    "speed",
    "store",
]
