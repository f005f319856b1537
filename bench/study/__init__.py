"""What a study file says: fields, recipes, ranges, lines and words.

The modules below may be imported from outside; the others are the wing's own.
"""

__all__ = [
    "fields",
    "located_yaml",
    "recipe",
    "resources",
    "section",
    "size",
    "space",
    "words",
]
