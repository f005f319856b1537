"""The page: pictures enhanced, compared and scored in a browser. docs/web.md has its promises.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = ["serving"]
