"""Is success independent of a feature, once runs are compared within their strata only?"""

from __future__ import annotations

import math
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
_AT_ONCE = 50_000
"""Chances worked out in one array."""
_FEW_VALUES = 8
"""Strata of no more are worked out for all features at once."""


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

    return float(_exact_p_values(np.zeros(len(strata), dtype=np.int64), strata, 1)[0])


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

    # A column at a time is looked at: each lies in one piece.
    strata = np.stack([cells[:, 2], cells[:, 3], *totals[cells[:, 1]].T]).T
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
    for n, p_value in zip(wanted.tolist(), tested.tolist(), strict=True):
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
        rows, new = rows[order], np.diff(key[order], prepend=-1) > 0
    else:
        rows = rows[np.lexsort(rows[:, :keys].T[::-1])]
        new = np.concatenate([[True], (rows[1:, :keys] != rows[:-1, :keys]).any(axis=1)])
    if new.all():
        return rows
    starts = np.flatnonzero(new)
    return np.concatenate([rows[starts, :keys], np.add.reduceat(rows[:, keys:], starts)], axis=1)


def _exact_p_values(owners: Ints, strata: Ints, count: int) -> NDArray[np.float64]:
    """`exact_conditional` of each of `count` features, which own the strata."""
    import numpy as np

    low, high = _bounds(strata)
    spans = high - low
    told = np.flatnonzero(spans > 0)
    own = owners[told]
    excess = np.bincount(own, weights=(strata[:, 0] - low)[told], minlength=count).astype(np.int64)
    widths = np.bincount(own, weights=spans[told], minlength=count).astype(np.int64) + 1
    # The features of like width stand together, and of each the strata of few values come first.
    features = np.argsort(widths, kind="stable")
    widths, place = widths[features], np.argsort(features)
    order = told[np.lexsort((spans[told], place[own]))]
    owners, strata, low, sizes = place[owners[order]], strata[order], low[order], spans[order] + 1
    p_values = np.ones(count)
    first = 0
    while first < count:
        # As many features at once as one array should hold, at least one.
        room = widths[first:] * np.arange(1, count - first + 1)
        last = first + max(1, int(np.searchsorted(room, _AT_ONCE, side="right")))
        rows = slice(*np.searchsorted(owners, [first, last]).tolist())
        chances = _chances(strata[rows], low[rows], sizes[rows])
        shape = int(widths[last - 1]), last - first
        sums = _sums(owners[rows] - first, chances, sizes[rows], shape)
        p_values[features[first:last]] = _tails(sums, excess[features[first:last]])
        first = last
    return p_values


def _chances(strata: Ints, low: Ints, sizes: Ints) -> NDArray[np.float64]:
    """Of each stratum the chances of its possible values, from the lowest on; their sum is 1."""
    import numpy as np

    if not len(strata):
        return np.zeros(0)
    starts = np.cumsum(sizes) - sizes
    k = np.arange(sizes.sum()) - np.repeat(starts - low, sizes)
    _, used, successes, runs = (np.repeat(column, sizes) for column in strata.T)
    parts = np.stack([k, used - k, successes - k, runs - successes - used + k])
    log_chance = -_log_factorials(parts).sum(axis=0)
    # Relative to the likeliest split: no overflow, and the normalising constant cancels out.
    chance = np.exp(log_chance - np.repeat(np.maximum.reduceat(log_chance, starts), sizes))
    found: NDArray[np.float64] = chance / np.repeat(np.add.reduceat(chance, starts), sizes)
    return found


def _sums(
    owners: Ints, chances: NDArray[np.float64], sizes: Ints, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """A column per feature: the chances of the sums of its strata's values, from the lowest on.

    Args:
        owners: Of each stratum the column, ascending.
        sizes: How many of the chances each stratum has; of one column's, ascending.
        shape: As many rows as the widest sum has values, and columns.
    """
    import numpy as np

    sums = np.zeros(shape)
    sums[0] = 1.0
    starts = np.cumsum(sizes) - sizes
    few = sizes <= _FEW_VALUES
    _convolve(sums, owners[few], chances, starts[few], sizes[few])
    widths = 1 + np.bincount(owners[few], weights=sizes[few] - 1, minlength=shape[1]).astype(int)
    for n in np.flatnonzero(~few).tolist():
        column, width = owners[n], widths[owners[n]]
        widths[column] = width + sizes[n] - 1
        own = chances[starts[n] : starts[n] + sizes[n]]
        sums[: widths[column], column] = np.convolve(sums[:width, column], own)
    return sums


def _convolve(
    sums: NDArray[np.float64],
    owners: Ints,
    chances: NDArray[np.float64],
    starts: Ints,
    sizes: Ints,
) -> None:
    """Convolve all columns at once with the first of their strata, then with the second, ….

    What strata lack of one another is zeros, which change no bit.
    """
    import numpy as np

    turns = np.arange(len(owners)) - np.searchsorted(owners, owners)
    most = int(sizes.max(initial=0))
    own = np.zeros((int(turns.max(initial=-1)) + 1, most, sums.shape[1]))
    own[:, :1] = 1.0
    for value in range(most):
        has = sizes > value
        own[turns[has], value, owners[has]] = chances[starts[has] + value]
    widest = np.zeros(len(own), dtype=np.int64)
    np.maximum.at(widest, turns, sizes)
    width = 1
    for own_chances, values in zip(own, widest.tolist(), strict=True):
        old = sums[:width].copy()
        width = min(width + values - 1, len(sums))
        sums[: len(old)] *= own_chances[0]
        for value in range(1, values):
            moved = old[: width - value] * own_chances[value]
            sums[value : value + len(moved)] += moved


def _log_factorials(numbers: Ints) -> NDArray[np.float64]:
    import numpy as np
    from scipy.special import gammaln  # type: ignore[import-untyped,unused-ignore]

    most = int(numbers.max())
    if most >= numbers.size:
        found: NDArray[np.float64] = gammaln(numbers + 1.0)
        return found
    table: NDArray[np.float64] = gammaln(np.arange(most + 1) + 1.0)
    return table[numbers]


def _tails(sums: NDArray[np.float64], observed: Ints) -> NDArray[np.float64]:
    """Of each column the share of all sums that are no likelier than the one observed."""
    import numpy as np

    # Sums as likely as the observed one belong to the tail even when rounding differs.
    limit = sums[observed, np.arange(len(observed))] * (1 + 1e-7)
    # Added up one by one: the zeros of a narrow column would move the pairs of a sum by pairs.
    tails = np.cumsum(np.where(sums <= limit, sums, 0.0), axis=0)[-1]
    found: NDArray[np.float64] = np.minimum(1.0, tails / np.cumsum(sums, axis=0)[-1])
    return found


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
