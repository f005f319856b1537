"""Two methods on the same images: is one better, and by how much. The one door to SciPy here.

Scores are arrays `(seeds, images)` with the images in one order on both sides. SciPy is imported by
the functions that need it: it takes half a second, and many a command reads no report.
"""

import functools

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

ALPHA = 0.05
POWER = 0.8
EXACT = 14
"""Images up to which all 2^n flips of sign are counted."""
RESAMPLES = 2000
FEWEST_IMAGES = 5
"""Below this a bootstrap over images says nothing: 4 images have 35 distinct resamples."""


def interval(more: Scores, than: Scores) -> tuple[float, float] | None:
    """Returns the 95 % interval of the mean difference `more` - `than`.

    Of one seed each, BCa (Efron and Tibshirani 1993, chapter 14) over images: it speaks of these
    weights. Else percentiles over seeds drawn on either side and, inside, images drawn for both: it
    speaks of the methods. Of S seeds S - 1 are drawn, as S would show only (S - 1) / S of their
    variance (Rao and Wu 1988). None for fewer than FEWEST_IMAGES images or infinite differences.
    """
    differences = more.mean(axis=0) - than.mean(axis=0)
    if len(differences) < FEWEST_IMAGES or not np.isfinite(differences).all():
        return None
    generator = np.random.default_rng(0)  # the same records give the same report
    if len(more) > 1 or len(than) > 1:
        low, high = np.percentile(_means_drawn(more, than, generator), [2.5, 97.5])
        return float(low), float(high)
    if not np.ptp(differences):
        return float(differences[0]), float(differences[0])
    from scipy import stats  # type: ignore[import-untyped]  # ships no types

    found = stats.bootstrap(
        (np.sort(differences),), np.mean, n_resamples=RESAMPLES, method="BCa", rng=generator
    ).confidence_interval
    return float(found.low), float(found.high)


def _means_drawn(more: Scores, than: Scores, generator: np.random.Generator) -> Scores:
    count = more.shape[1]
    images = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    drawn = [_seeds_drawn(side, generator) for side in (more, than)]
    return np.asarray(((drawn[0] - drawn[1]) * images).sum(axis=1))


def _seeds_drawn(side: Scores, generator: np.random.Generator) -> Scores:
    """Mean over drawn seeds, `(RESAMPLES, images)`."""
    seeds = len(side)
    if seeds == 1:
        return side
    return (
        generator.multinomial(seeds - 1, np.full(seeds, 1 / seeds), RESAMPLES) @ side / (seeds - 1)
    )


def p_over_images(differences: Scores, digits: int) -> Scores:
    """Returns for each line of `(comparisons, images)` the two-sided p of no difference.

    Up to EXACT images the share of all flips of sign that give as large a mean, beyond Wilcoxon's
    signed-rank test; 1 where that favours the side with the smaller mean. digits: after the point,
    what is smaller is no difference; SciPy would rank round-off. 1 for infinite differences.

    >>> p_over_images(np.array([[0.3, 0.2, 0.4, 0.1, 0.2, 0.5]]), 6)  # 2 of 2^6 flips
    array([0.03125])
    """
    whole = np.rint(differences * 10.0**digits)  # sums of whole numbers have no round-off
    p = np.ones(len(whole))
    able = np.isfinite(whole).all(axis=1) & (whole != 0).any(axis=1)
    if able.any():
        test = _sign_flip if whole.shape[1] <= EXACT else _signed_rank
        p[able] = test(whole[able])
    return p


def _sign_flip(differences: Scores) -> Scores:
    """SciPy's `permutation_test` gives the same p, in fifty times the time for forty lines."""
    signs = _signs(differences.shape[1])
    parts = (differences[k : k + 500] for k in range(0, len(differences), 500))
    return np.concatenate(
        [(np.abs(signs @ d.T) >= np.abs(d.sum(axis=1))).mean(axis=0) for d in parts]
    )


@functools.cache
def _signs(count: int) -> Scores:
    """Half of all lines of `count` signs; the other half mirrors it."""
    return np.asarray(1.0 - 2.0 * (np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1))


def _signed_rank(differences: Scores) -> Scores:
    from scipy import stats

    upward = np.where(differences.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    found = stats.wilcoxon(upward * differences, axis=1, alternative="greater")
    return np.asarray(np.minimum(1.0, 2.0 * found.pvalue))


def p_over_seeds(a: Scores, b: Scores) -> float:
    """Returns the two-sided p that the scatter of seeds alone makes the difference of two means.

    Welch's t-test of the seeds' means over images; a side with one seed counts as if it had no
    scatter. 0 where neither side has any.
    """
    means = [side.mean(axis=1) for side in (a, b)]
    spreads = [float(m.std(ddof=1)) if len(m) > 1 else 0.0 for m in means]
    if not np.isfinite(means[0].sum() + means[1].sum()):
        return 1.0
    if not any(spreads):
        return 0.0
    from scipy import stats

    sides = [(m.mean(), s, max(len(m), 2)) for m, s in zip(means, spreads, strict=True)]
    return float(stats.ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False).pvalue)


def holm(p: Scores) -> Scores:
    """Returns p corrected for their number (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, stepped)
    return corrected


def smallest_resolvable(differences: Scores, comparisons: int = 1) -> float:
    """Returns the mean difference that a t-test at ALPHA finds with POWER, given how far two
    methods' differences scatter over images; infinite where so few images cannot reach ALPHA among
    so many comparisons."""
    count = len(differences)
    if count <= EXACT and 2.0 ** (1 - count) > ALPHA / comparisons:
        return float("inf")
    from scipy import stats

    quantiles = stats.t.ppf([1 - ALPHA / 2, POWER], count - 1)
    return float(quantiles.sum() * differences.std(ddof=1) / np.sqrt(count))


def ranks_of(values: Scores) -> Scores:
    """Returns for each line of `(sets, methods)` the places, 1 for the largest, equal ones with
    their mean place.

    >>> ranks_of(np.array([[30.0, 31.0, 30.0]]))
    array([[2.5, 1. , 2.5]])
    """
    from scipy import stats

    return np.asarray(stats.rankdata(-values, axis=1))
