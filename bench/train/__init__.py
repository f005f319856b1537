"""A method goes through its stages: plans, pixels, batches, the loop, targets.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "ending",
    "loop",
    "optimizers",
    "pixels",
    "plan",
    "planning",
    "snapshots",
    "stages",
    "targets",
    "trained",
    "updates",
]
