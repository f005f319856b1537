"""Values as people read them."""

from collections.abc import Mapping


def number(value: object) -> str:
    """Returns a parameter's value, short.

    >>> number(0.41234), number(64), number("relu")
    ('0.412', '64', 'relu')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def swept_text(swept: Mapping[str, object]) -> str:
    """Returns what the sampler chose, for people.

    >>> swept_text({"gamma": 0.41234, "mode": "soft"})
    'gamma 0.412, mode soft'
    """
    return ", ".join(f"{name} {number(value)}" for name, value in swept.items())


def duration(seconds: float) -> str:
    """Returns a short text for people.

    >>> duration(42), duration(150), duration(7300)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def ensemble_text(ratio: float) -> str:
    """Returns what stands beside scores of the self-ensemble; ratio: to the time of one pass.

    >>> ensemble_text(7.94)
    'x8: 8 passes, 7.9 times the time of one'
    """
    return f"x8: 8 passes, {ratio:.1f} times the time of one"
