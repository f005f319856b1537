"""A benchmark harness with experiment tracking for image restoration.

from bench import evaluate
print(evaluate(model, ["set5", "set14"], scale=4))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.own import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for, and torch with it, only then."""
    if name == "evaluate":
        from bench.own import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
