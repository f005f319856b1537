"""What is said beside a set's score: why there is none, and what its metric says of it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.measure.metrics import ImageScore, metric
from bench.measure.protocol import Protocol


def why_not_finite(name: str, rules: Protocol, scores: Mapping[str, ImageScore]) -> str | None:
    """Returns why a set's score is no finite number, with that of its other images; else None.

    scores: those of one metric, by image.
    """
    none = [stem for stem, score in scores.items() if math.isnan(score.value)]
    infinite = [stem for stem, score in scores.items() if math.isinf(score.value)]
    rest = [score.value for score in scores.values() if math.isfinite(score.value)]
    told = []
    if none:
        reasons = list(dict.fromkeys(scores[stem].why for stem in none))
        such = ", such as" if len(reasons) > 1 else ""
        told.append(f"no value {_some(none, len(scores))}{such}: {reasons[0]}")
    if infinite:
        told.append(f"infinite {_some(infinite, len(scores))}: equal to the reference")
    if told and rest:
        told.append(f"over the other {len(rest)}: {rules.pool(name, rest):.{metric(name).digits}f}")
    return "; ".join(told) or None


def remarks(name: str, scores: Sequence[ImageScore], where: str = "") -> list[str]:
    """Returns what a metric says of all its scores, and of how many single ones.

    where: such as " on set5".
    """
    told = [text] if (text := metric(name).remark) else []
    notes = Counter(score.note for score in scores if score.note)
    return told + [
        f"{name}{where}: {k} of {len(scores)} pictures are {t}." for t, k in notes.items()
    ]


def _some(stems: Sequence[str], total: int) -> str:
    more = f" and {len(stems) - 4} more" if len(stems) > 4 else ""
    return f"on {len(stems)} of {total} images ({', '.join(stems[:4])}{more})"
