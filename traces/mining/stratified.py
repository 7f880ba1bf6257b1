"""Is success independent of a feature, once runs are compared within their strata only?"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracetune.traces.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
else:
    Ints = Any

__all__ = [
    "Ints",
    "cochran_mantel_haenszel",
    "exact_conditional",
    "risk_differences",
    "stratified_p_values",
    "summed",
]

_Z95 = 1.959963984540054

_EXACT_WORK = 20_000
"""Informative strata × possible values of the sum, up to which the exact test is worth its time."""
_MANTEL_FLEISS = 5
_AT_ONCE = 200_000
"""Chances worked out in one array."""


def exact_conditional(strata: Ints) -> float:
    """The two-sided p-value that success is independent of the feature in every stratum.

    The sum of a row's first column is compared with its distribution given all margins: the
    convolution of the strata's hypergeometric ones. All sums no likelier than the one observed
    are as extreme. With one stratum this is Fisher's exact test.

    Args:
        strata: One row (successes with, runs with, successes, runs) per stratum.

    Source: Mehta, Patel and Gray 1985, J. Am. Stat. Assoc. 80, 969-973; the two-sided rule is
        that of R's `mantelhaen.test(exact = TRUE)`.
    """
    import numpy as np

    [p_value] = _exact_p_values(np.zeros(len(strata), dtype=np.int64), strata, 1)
    return p_value


def cochran_mantel_haenszel(strata: Ints) -> float:
    """The same p-value by the chi-squared approximation, with continuity correction.

    Args:
        strata: As for `exact_conditional`.

    Source: Mantel and Haenszel 1959, J. Natl. Cancer Inst. 22, 719-748.
    """
    expected, variance = _moments(strata)
    return _corrected(float(strata[:, 0].sum() - expected.sum()), float(variance.sum()))


def stratified_p_values(cells: Ints, totals: Ints, count: int) -> list[float]:
    """Each feature's two-sided p-value that success is independent of it in every stratum.

    Exact where that is cheap (up to 20,000 for informative strata × possible values of the sum)
    or the approximation poor: the expected sum is less than 5 away from a bound that the margins
    set it (Mantel and Fleiss 1980, Am. J. Epidemiol. 112, 129-134). Else Cochran-Mantel-Haenszel.

    Args:
        cells: Rows (feature, stratum, successes with, runs with), sorted by feature.
        totals: One row (successes, runs) per stratum.
        count: How many features there are; one without cells has p-value 1.
    """
    import numpy as np

    strata = np.concatenate([cells[:, 2:], totals[cells[:, 1]]], axis=1)
    low, high = _bounds(strata)
    expected, variance = _moments(strata)
    columns = (strata[:, 0], expected, variance, low, high, high > low)
    sums = [np.bincount(cells[:, 0], weights=column, minlength=count) for column in columns]
    observed, mean, spread, lowest, highest, informative = sums
    near = np.minimum(mean - lowest, highest - mean) < _MANTEL_FLEISS
    exactly = near | (informative * (highest - lowest) <= _EXACT_WORK)
    p_values = [
        1.0 if exact else _corrected(difference, variance)
        for exact, difference, variance in zip(
            exactly.tolist(), (observed - mean).tolist(), spread.tolist(), strict=True
        )
    ]
    wanted = np.flatnonzero(exactly)
    place = np.full(count, -1, dtype=np.int64)
    place[wanted] = np.arange(len(wanted))
    own = exactly[cells[:, 0]]
    tested = _exact_p_values(place[cells[own, 0]], strata[own], len(wanted))
    for n, p_value in zip(wanted.tolist(), tested, strict=True):
        p_values[n] = p_value
    return p_values


def risk_differences(cells: Ints, totals: Ints, count: int) -> list[tuple[float, Interval]]:
    """Each feature's difference in the share of successes within strata, with its 95 % interval.

    The Mantel-Haenszel risk difference; 0 within (-1, 1) where no stratum tells anything.

    Args:
        cells, totals, count: As for `stratified_p_values`.

    Source: Greenland and Robins 1985, Biometrics 41, 55-68; the variance is that of Sato 1989,
        Biometrics 45, 1323-1324, which holds for few large strata and many small ones.
    """
    import numpy as np

    won, used = cells[:, 2].astype(float), cells[:, 3].astype(float)
    successes, runs = totals[cells[:, 1]].astype(float).T
    rest, unused = successes - won, runs - used
    parts = (
        (won * unused - rest * used) / runs,
        used * unused / runs,
        (used**2 * rest - unused**2 * won + used * unused * (unused - used) / 2) / runs**2,
        (won * (unused - rest) + rest * (used - won)) / (2 * runs),
    )
    sums = [np.bincount(cells[:, 0], weights=part, minlength=count) for part in parts]
    difference, weight, p, q = sums
    weight = np.where(weight > 0, weight, np.nan)
    effect = difference / weight
    half = _Z95 * np.sqrt(np.maximum(effect * p + q, 0)) / weight
    return [
        (0.0, (-1.0, 1.0)) if math.isnan(e) else (e, (max(-1.0, e - h), min(1.0, e + h)))
        for e, h in zip(effect.tolist(), half.tolist(), strict=True)
    ]


def summed(rows: Ints, keys: int) -> Ints:
    """The rows sorted by their first `keys` columns; of those alike there, the others' sums."""
    import numpy as np

    if not len(rows):
        return rows
    least, most = rows[:, :keys].min(axis=0), rows[:, :keys].max(axis=0)
    ranges = [high - low + 1 for low, high in zip(least.tolist(), most.tolist(), strict=True)]
    if math.prod(ranges) < 2**62:
        # One number sorts much faster than several, and often all are in order already.
        key = np.ravel_multi_index((rows[:, :keys] - least).T, ranges)
        if (key[1:] > key[:-1]).all():
            return rows
        order = np.argsort(key)
    else:
        order = np.lexsort(rows[:, :keys].T[::-1])
    rows = rows[order]
    new = np.concatenate([[True], (rows[1:, :keys] != rows[:-1, :keys]).any(axis=1)])
    starts = np.flatnonzero(new)
    return np.concatenate([rows[starts, :keys], np.add.reduceat(rows[:, keys:], starts)], axis=1)


def _exact_p_values(owners: Ints, strata: Ints, count: int) -> list[float]:
    """`exact_conditional` of each of `count` features, which own the strata in ascending order."""
    import numpy as np

    low, high = _bounds(strata)
    told = high > low
    owners, strata, low, high = owners[told], strata[told], low[told], high[told]
    sizes = high - low + 1
    excess = np.bincount(owners, weights=strata[:, 0] - low, minlength=count).astype(np.int64)
    edges = np.searchsorted(owners, np.arange(count + 1)).tolist()
    ends = np.cumsum(sizes)
    p_values: list[float] = []
    while len(p_values) < count:
        # As many features at once as one array should hold, at least one.
        first = len(p_values)
        start = edges[first]
        room = int(ends[start - 1]) + _AT_ONCE if start else _AT_ONCE
        fits = bisect.bisect_right(edges, int(np.searchsorted(ends, room, side="right"))) - 1
        last = max(first + 1, min(fits, count))
        rows = slice(start, edges[last])
        pieces = _chances(strata[rows], low[rows], sizes[rows])
        for n in range(first, last):
            own = pieces[edges[n] - start : edges[n + 1] - start]
            p_values.append(_tails(own, int(excess[n])) if own else 1.0)
    return p_values


def _chances(strata: Ints, low: Ints, sizes: Ints) -> list[NDArray[np.float64]]:
    """Of each stratum the chances of its possible values, from the lowest on; their sum is 1."""
    import numpy as np

    if not len(strata):
        return []
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    k = np.arange(sizes.sum()) - np.repeat(starts - low, sizes)
    _, used, successes, runs = (np.repeat(column, sizes) for column in strata.T)
    parts = np.stack([k, used - k, successes - k, runs - successes - used + k])
    log_chance = -_log_factorials(parts).sum(axis=0)
    # Relative to the likeliest split: no overflow, and the normalising constant cancels out.
    chance = np.exp(log_chance - np.repeat(np.maximum.reduceat(log_chance, starts), sizes))
    chance /= np.repeat(np.add.reduceat(chance, starts), sizes)
    edges = [*starts.tolist(), len(chance)]
    return [chance[start:end] for start, end in itertools.pairwise(edges)]


def _log_factorials(numbers: Ints) -> NDArray[np.float64]:
    import numpy as np
    from scipy.special import gammaln  # type: ignore[import-untyped,unused-ignore]

    most = int(numbers.max())
    if most >= numbers.size:
        found: NDArray[np.float64] = gammaln(numbers + 1.0)
        return found
    table: NDArray[np.float64] = gammaln(np.arange(most + 1) + 1.0)
    return table[numbers]


def _tails(pieces: Sequence[NDArray[np.float64]], observed: int) -> float:
    """The share of all sums that are no likelier than the one observed, counted from the least."""
    import numpy as np

    total = functools.reduce(np.convolve, sorted(pieces, key=len))
    # Sums as likely as the observed one belong to the tail even when rounding differs.
    return float(min(1.0, total[total <= total[observed] * (1 + 1e-7)].sum() / total.sum()))


def _bounds(strata: Ints) -> tuple[Ints, Ints]:
    """The least and the most successes with the feature that the margins of each stratum allow."""
    import numpy as np

    _, used, successes, runs = strata.T
    return np.maximum(0, used - (runs - successes)), np.minimum(used, successes)


def _moments(strata: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each stratum's successes with the feature."""
    import numpy as np

    _, used, successes, runs = strata.astype(float).T
    mean = used * successes / np.maximum(runs, 1)
    rest = (1 - used / np.maximum(runs, 1)) * (runs - successes) / np.maximum(runs - 1, 1)
    return mean, mean * rest


def _corrected(difference: float, variance: float) -> float:
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(difference) - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))
