from typing import Any

import numpy as np
import pytest
from scipy import stats

from tracetune.traces.mining.stratified import risk_differences
from tracetune.traces.stats import (
    benjamini_hochberg,
    fisher_exact,
    mcnemar_exact,
    newcombe,
    paired_interval,
    pairs_needed,
    runs_needed,
    stratified_difference,
    wilson,
)

reference: Any = stats
"""Untyped here: its stubs want arrays where it takes lists."""


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 3), (19, 50), (4_000, 10_000)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    expected = reference.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_newcombe_gives_the_published_example() -> None:
    # Newcombe 1998, table II, column (a), method 10.
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_newcombe_turns_round_with_its_arguments() -> None:
    low, high = newcombe(3, 9, 7, 8)
    assert newcombe(7, 8, 3, 9) == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    "split",
    [
        pytest.param((0, 12, 19, 38), id="nobody with it succeeds"),
        pytest.param((15, 28, 4, 22), id="a helpful tool"),
        pytest.param((5, 13, 14, 37), id="no effect at all"),
        pytest.param((3, 3, 0, 1), id="four runs"),
        pytest.param((0, 5, 0, 9), id="one outcome only"),
        pytest.param((40_100, 100_000, 121_000, 300_000), id="hundreds of thousands of runs"),
    ],
)
def test_fisher_agrees_with_scipy(split: tuple[int, int, int, int]) -> None:
    k1, n1, k2, n2 = split
    expected = reference.fisher_exact([[k1, n1 - k1], [k2, n2 - k2]])[1]
    assert fisher_exact(*split) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (6, 6), (12, 0), (3, 6), (317, 53)])
def test_mcnemar_agrees_with_the_sign_test_of_scipy(gained: int, lost: int) -> None:
    n = gained + lost
    expected = reference.binomtest(gained, n).pvalue if n else 1.0
    assert mcnemar_exact(gained, lost) == pytest.approx(expected)


def test_benjamini_hochberg_agrees_with_scipy_and_keeps_the_order() -> None:
    p_values = np.random.default_rng(1).uniform(size=60) ** 3
    expected = reference.false_discovery_control(p_values)
    assert benjamini_hochberg(p_values.tolist()) == pytest.approx(expected.tolist())


def test_benjamini_hochberg_of_nothing_is_nothing() -> None:
    assert benjamini_hochberg([]) == []


def test_paired_interval_is_the_adjusted_wald_interval() -> None:
    # By hand: (8 - 2) / 23 ± 1.96 · sqrt((10 / 23 - (6 / 23)²) / 23).
    assert paired_interval(7, 1, 21) == pytest.approx((0.0134, 0.5083), abs=1e-4)


def test_paired_interval_without_differences_still_has_a_width() -> None:
    low, high = paired_interval(0, 0, 40)
    assert low == -high
    assert high > 0.05


@pytest.mark.parametrize(
    ("stratum", "interval"),
    [
        # By hand, as Agresti and Caffo: 6/12 - 3/12 ± 1.96 · sqrt((.25 + .1875) / 12).
        pytest.param((5, 10, 2, 10), (-0.1242, 0.6242), id="as many runs on both sides"),
        # 11/12 - 51/52 ± 1.96 · sqrt(.0764 / 12 + .0189 / 52).
        pytest.param((10, 10, 50, 50), (-0.2249, 0.0967), id="all of ten and all of fifty"),
    ],
)
def test_the_difference_in_one_stratum_has_the_interval_of_agresti_and_caffo(
    stratum: tuple[int, int, int, int], interval: tuple[float, float]
) -> None:
    k1, n1, k2, n2 = stratum
    effect, found = stratified_difference([stratum])
    assert effect == pytest.approx(k1 / n1 - k2 / n2)
    assert found == pytest.approx(interval, abs=5e-5)


def test_the_difference_over_pairs_is_nearly_that_of_paired_runs() -> None:
    pairs = [(1, 1, 0, 1)] * 7 + [(0, 1, 1, 1)] + [(1, 1, 1, 1)] * 13
    effect, (low, high) = stratified_difference(pairs)
    assert effect == pytest.approx(6 / 21)
    assert (low, high) == pytest.approx(paired_interval(7, 1, 21), abs=0.02)


def test_the_difference_over_large_strata_is_the_one_of_patterns() -> None:
    strata = [(300, 400, 250, 400), (90, 1000, 210, 2000), (41, 50, 700, 900)]
    cells = np.array([(0, place, k1, n1) for place, (k1, n1, _, _) in enumerate(strata)])
    totals = np.array([(k1 + k2, n1 + n2) for k1, n1, k2, n2 in strata])
    [(effect, interval)] = risk_differences(cells, totals, 1)
    found = stratified_difference(strata)
    assert found[0] == pytest.approx(effect)
    assert found[1] == pytest.approx(interval, abs=5e-4)


@pytest.mark.parametrize(
    ("p", "lift", "runs"),
    [
        # R: power.prop.test(p1 = p, p2 = p + lift, power = .8)
        pytest.param(0.5, 0.1, 388, id="half succeed"),
        pytest.param(0.5, 0.3, 39, id="a large change needs few"),
        pytest.param(0.95, 0.1, 141, id="no room above so it is measured downwards"),
    ],
)
def test_runs_needed(p: float, lift: float, runs: int) -> None:
    assert runs_needed(p, lift) == runs


@pytest.mark.parametrize(("p", "lift"), [(1.2, 0.1), (-0.1, 0.2), (0.5, 0.6), (0.5, 0.0)])
def test_runs_needed_refuses_what_is_no_change_of_a_rate(p: float, lift: float) -> None:
    with pytest.raises(ValueError, match="lift"):
        runs_needed(p, lift)


def test_pairs_needed_grows_with_the_share_that_differs() -> None:
    assert pairs_needed(0.0) == pairs_needed(0.1) < pairs_needed(0.3) < pairs_needed(0.6)
    assert pairs_needed(0.3) == 234  # by hand: ((1.96 · .5477 + .8416 · .5385) / .1)²
