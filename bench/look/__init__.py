"""Verbs that look: check, plan, status, machine, new, clean, weights.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "check",
    "clean",
    "machine",
    "new",
    "plan",
    "published",
    "status",
]
