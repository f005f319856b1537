"""From records to tables, figures and pages; what papers print, beside ours.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "archive",
    "efficiency",
    "folder",
    "joined",
    "latex",
    "markup",
    "means",
    "papers",
    "provenance",
    "render",
    "rows",
    "scores",
    "tables",
    "why",
]
