"""The statistics behind metrics, patterns and verdicts; published methods, named where used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

__all__ = [
    "Interval",
    "benjamini_hochberg",
    "fisher_exact",
    "mcnemar_exact",
    "newcombe",
    "paired_interval",
    "pairs_needed",
    "runs_needed",
    "stratified_difference",
    "wilson",
]

Interval = tuple[float, float]

_Z95 = 1.959963984540054


def wilson(k: int, n: int) -> Interval:
    """The 95 % interval of a share of k in n, within [0, 1]; (0, 1) when n is 0.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, without continuity correction.
    """
    if n == 0:
        return 0.0, 1.0
    z2 = _Z95**2
    center = (k + z2 / 2) / (n + z2)
    half = _Z95 / (n + z2) * math.sqrt(k * (n - k) / n + z2 / 4)
    return (max(0.0, center - half) if k else 0.0), (min(1.0, center + half) if k < n else 1.0)


def newcombe(k1: int, n1: int, k2: int, n2: int) -> Interval:
    """The 95 % interval of k1/n1 - k2/n2, two independent shares; both n positive.

    Source: Newcombe 1998, Stat. Med. 17, 873-890, method 10.
    """
    p1, p2 = k1 / n1, k2 / n2
    (low1, high1), (low2, high2) = wilson(k1, n1), wilson(k2, n2)
    effect = p1 - p2
    return effect - math.hypot(p1 - low1, high2 - p2), effect + math.hypot(high1 - p1, p2 - low2)


def paired_interval(gained: int, lost: int, n: int) -> Interval:
    """The 95 % interval of (gained - lost) / n over n pairs, within [-1, 1]; n positive.

    Source: Bonett and Price 2012, J. Educ. Behav. Stat. 37, 479-488 (adjusted Wald).
    """
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z95 * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def stratified_difference(strata: Sequence[tuple[int, int, int, int]]) -> tuple[float, Interval]:
    """The difference k1/n1 - k2/n2 within strata (k1, n1, k2, n2), with its 95 % interval.

    The Mantel-Haenszel risk difference: strata weigh n1 n2 / (n1 + n2), all n positive. For the
    interval, within [-1, 1], each side has one success and one failure more, spread over the
    strata by weight, as Wald intervals are too short at high and low rates: in one stratum it is
    that of Agresti and Caffo.

    Source: Greenland and Robins 1985, Biometrics 41, 55-68; variance of Sato 1989, Biometrics 45,
        1323-1324, for few large strata and many small ones; Agresti and Caffo 2000, Am. Stat. 54,
        280-288.
    """
    import numpy as np

    k1, n1, k2, n2 = np.array(strata, dtype=float).T
    weights = n1 * n2 / (n1 + n2)
    shares = weights / weights.sum()
    effect = float(shares @ (k1 / n1 - k2 / n2))
    k1, n1, k2, n2 = k1 + shares, n1 + 2 * shares, k2 + shares, n2 + 2 * shares
    runs = n1 + n2
    weight = (n1 * n2 / runs).sum()
    center = ((k1 * n2 - k2 * n1) / runs).sum() / weight
    p = ((n1**2 * k2 - n2**2 * k1 + n1 * n2 * (n2 - n1) / 2) / runs**2).sum()
    q = ((k1 * (n2 - k2) + k2 * (n1 - k1)) / (2 * runs)).sum()
    half = _Z95 * math.sqrt(max(0.0, center * p + q)) / weight
    return effect, (max(-1.0, float(center - half)), min(1.0, float(center + half)))


def fisher_exact(k1: int, n1: int, k2: int, n2: int) -> float:
    """The two-sided p-value that k1 of n1 and k2 of n2 share one rate (Fisher's exact test)."""
    # scipy.stats has this test, but importing it takes three times as long as scipy.special.
    import numpy as np
    from scipy.special import gammaln  # type: ignore[import-untyped,unused-ignore]

    successes = k1 + k2
    k = np.arange(max(0, successes - n2), min(n1, successes) + 1, dtype=float)
    # Chances of every split of the successes, relative to the one observed: no overflow,
    # and the normalising constant cancels out.
    parts = np.stack([k, n1 - k, successes - k, n2 - successes + k])
    log_chance = -gammaln(parts + 1).sum(axis=0)
    chance = np.exp(log_chance - log_chance.max())
    observed = chance[k1 - int(k[0])]
    # Splits as likely as the observed one belong to the tail even when rounding differs.
    return float(min(1.0, chance[chance <= observed * (1 + 1e-7)].sum() / chance.sum()))


def mcnemar_exact(gained: int, lost: int) -> float:
    """The two-sided p-value that gains and losses of paired runs are equally likely."""
    from scipy.special import bdtr  # type: ignore[import-untyped,unused-ignore]

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The q-values, in the order given: the false discovery rate at which each is accepted.

    Source: Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57, 289-300.
    """
    tried = len(p_values)
    q_values = [1.0] * tried
    lowest = 1.0
    order = sorted(range(tried), key=lambda place: p_values[place], reverse=True)
    for rank, place in zip(range(tried, 0, -1), order, strict=True):
        lowest = min(lowest, p_values[place] * tried / rank)
        q_values[place] = lowest
    return q_values


def runs_needed(p: float, lift: float = 0.1, power: float = 0.8, alpha: float = 0.05) -> int:
    """Runs per arm to see a change of `lift` from rate p, two-sided, independent arms.

    Where p + lift is above 1 the change is measured downwards.

    Raises:
        ValueError: p outside [0, 1], or no room for `lift` on either side.
    Source: Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions,
        eq. 4.14 (normal approximation, no continuity correction).
    """
    other = p + lift if p + lift <= 1 else p - lift
    if not (0 <= p <= 1 and 0 <= other <= 1 and lift > 0):
        raise ValueError(f"p and p ± lift must be in [0, 1], but got p={p!r}, lift={lift!r}.")
    mean = (p + other) / 2
    spread = p * (1 - p) + other * (1 - other)
    root = _z(1 - alpha / 2) * math.sqrt(2 * mean * (1 - mean)) + _z(power) * math.sqrt(spread)
    return math.ceil((root / lift) ** 2)


def pairs_needed(
    discordant: float, lift: float = 0.1, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Pairs to see a change of `lift`, two-sided, when this share of pairs differs.

    Source: Connor 1987, Biometrics 43, 207-211 (normal approximation of McNemar's test).
    """
    share = max(discordant, lift)  # a change of `lift` needs at least as many pairs to differ
    spread = math.sqrt(share - lift**2)
    root = _z(1 - alpha / 2) * math.sqrt(share) + _z(power) * spread
    return math.ceil((root / lift) ** 2)


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)
