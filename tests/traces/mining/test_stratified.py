import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tracetune.traces.mining.stratified import (
    cochran_mantel_haenszel,
    exact_conditional,
    risk_differences,
    stratified_p_values,
    summed,
)

reference: Any = stats
"""Untyped here: its stubs want arrays where it takes lists."""

# From R's datasets and the help of its mantelhaen.test: (successes with, runs with, all, runs).
PENICILLIN = [(0, 6, 0, 11), (3, 6, 3, 12), (6, 6, 8, 12), (5, 6, 11, 12), (2, 2, 7, 7)]
BERKELEY = [
    (512, 825, 601, 933),
    (353, 560, 370, 585),
    (120, 325, 322, 918),
    (138, 417, 269, 792),
    (53, 191, 147, 584),
    (22, 373, 46, 714),
]


def p_of(strata: Any) -> float:
    """As the p-value of one feature among many."""
    rows = np.array(strata)
    cells = np.column_stack([np.zeros(len(rows), int), np.arange(len(rows)), rows[:, :2]])
    return stratified_p_values(cells, rows[:, 2:], 1)[0]


def by_counting(strata: list[tuple[int, int, int, int]]) -> float:
    """The two-sided p-value by going through all ways the successes may fall."""
    splits = []
    for _, used, successes, runs in strata:
        ks = range(max(0, used - (runs - successes)), min(used, successes) + 1)
        chance = reference.hypergeom(runs, successes, used).pmf(list(ks))
        splits.append(list(zip(ks, chance, strict=True)))
    total: dict[int, float] = {}
    for way in itertools.product(*splits):
        key = sum(k for k, _ in way)
        total[key] = total.get(key, 0.0) + float(np.prod([chance for _, chance in way]))
    observed = total[sum(k for k, *_ in strata)]
    return sum(chance for chance in total.values() if chance <= observed * (1 + 1e-7))


def test_the_exact_test_gives_the_published_example() -> None:
    assert exact_conditional(np.array(PENICILLIN)) == pytest.approx(0.03994, abs=5e-6)


def test_cochran_mantel_haenszel_gives_the_published_examples() -> None:
    assert cochran_mantel_haenszel(np.array(PENICILLIN)) == pytest.approx(0.04747, abs=5e-6)
    assert cochran_mantel_haenszel(np.array(BERKELEY)) == pytest.approx(0.2323, abs=5e-5)


@pytest.mark.parametrize(
    "strata",
    [
        pytest.param([(0, 2, 2, 4), (1, 3, 2, 5), (0, 1, 3, 4)], id="three tasks"),
        pytest.param([(4, 4, 5, 9), (2, 2, 2, 6)], id="always with success"),
        pytest.param([(2, 5, 4, 10)] * 4, id="no effect at all"),
    ],
)
def test_the_exact_test_agrees_with_going_through_all_ways(strata: Any) -> None:
    assert exact_conditional(np.array(strata)) == pytest.approx(by_counting(strata))
    assert p_of(strata) == pytest.approx(by_counting(strata))


@pytest.mark.parametrize(
    "split", [(0, 12, 19, 50), (15, 28, 19, 50), (3, 3, 3, 4), (71, 408, 489, 1034)]
)
def test_with_one_stratum_it_is_fishers_test(split: tuple[int, int, int, int]) -> None:
    k, used, successes, runs = split
    table = [[k, used - k], [successes - k, runs - used - successes + k]]
    assert p_of([split]) == pytest.approx(reference.fisher_exact(table)[1])


def test_what_is_the_same_within_every_stratum_tells_nothing() -> None:
    assert p_of([(6, 6, 6, 6), (0, 4, 0, 4)]) == 1.0
    assert p_of([(3, 6, 3, 6), (0, 0, 2, 4)]) == 1.0


def test_a_paradox_is_seen_through() -> None:
    """Within each task the feature does nothing, and over both together it seems to harm."""
    strata = [(27, 90, 30, 100), (9, 10, 90, 100)]
    used, successes = 36, 120
    crude = [[used, 100 - used], [successes - used, 100 - (successes - used)]]
    assert reference.fisher_exact(crude)[1] < 1e-6
    assert p_of(strata) == pytest.approx(1.0)


def test_many_runs_are_approximated_closely() -> None:
    strata = np.array([(194, 400, 480, 1000), (87, 200, 300, 700)] * 30)
    assert p_of(strata) == pytest.approx(cochran_mantel_haenszel(strata), rel=1e-9)
    assert p_of(strata) == pytest.approx(exact_conditional(strata), rel=0.02)


def test_a_rare_feature_of_many_runs_is_tested_exactly() -> None:
    assert p_of([(3, 3, 300_000, 600_000)]) == pytest.approx(0.25, rel=1e-4)


def test_rare_successes_of_many_runs_are_tested_exactly() -> None:
    strata = [(4, 30_000, 4, 60_000)]
    assert p_of(strata) == pytest.approx(2 * 0.5**4, rel=1e-3)


def test_each_feature_is_tested_for_itself() -> None:
    totals = np.array([(5, 10), (19, 50)])
    cells = np.array([(0, 1, 0, 12), (2, 0, 5, 5), (2, 1, 3, 6)])
    alone = [p_of([(0, 12, 19, 50)]), 1.0, p_of([(5, 5, 5, 10), (3, 6, 19, 50)])]
    assert stratified_p_values(cells, totals, 3) == pytest.approx(alone)


def test_summed_rows_are_sorted_and_alike_ones_added() -> None:
    rows = np.array([(1, 0, 5), (0, 2, 1), (1, 0, 7), (0, 1, 0)])
    assert summed(rows, 2).tolist() == [[0, 1, 0], [0, 2, 1], [1, 0, 12]]
    assert summed(rows[:0], 2).shape == (0, 3)


def test_very_many_features_are_tested_as_each_alone() -> None:
    rng = np.random.default_rng(4)
    totals = np.array([[200, 500]] * 5)
    used = rng.integers(200, 260, (300, 5))
    with_success = rng.integers(60, 120, (300, 5))
    cells = np.array(
        [[n, m, with_success[n, m], used[n, m]] for n in range(300) if n % 7 for m in range(5)]
    )
    alone = [
        exact_conditional(np.concatenate([own[:, 2:], totals[own[:, 1]]], axis=1))
        for own in (cells[cells[:, 0] == n] for n in range(300))
    ]
    assert stratified_p_values(cells, totals, 300) == alone
    assert 0 < min(alone) < max(alone) == alone[0] == 1.0


def test_strata_of_few_and_of_many_values_are_tested_together() -> None:
    """The first feature's strata are narrower than the second's, and fewer."""
    strata = [[(1, 2, 3, 6), (0, 1, 2, 4)], [(1, 1, 3, 6), (7, 20, 30, 60), (0, 2, 1, 4)]]
    rows = np.array([(n, *row) for n, own in enumerate(strata) for row in own])
    cells = np.column_stack([rows[:, 0], np.arange(len(rows)), rows[:, 1:3]])
    assert stratified_p_values(cells, rows[:, 3:], 2) == list(map(p_of, strata))
    assert p_of(strata[1]) == pytest.approx(by_counting(strata[1]))


def test_the_difference_in_one_stratum_is_that_of_its_shares() -> None:
    cells = np.array([[0, 0, 3, 10], [1, 0, 5, 5]])
    (effect, (low, high)), (other, _), nothing = risk_differences(cells, np.array([[9, 30]]), 3)
    assert effect == pytest.approx(3 / 10 - 6 / 20)
    assert other == pytest.approx(5 / 5 - 4 / 25)
    assert low < effect < high
    assert nothing == (0.0, (-1.0, 1.0))


@pytest.mark.parametrize(
    ("strata", "size"),
    [
        pytest.param(2, 200, id="two large strata"),
        pytest.param(100, 4, id="a hundred of four runs each"),
    ],
)
def test_the_interval_covers_the_difference_it_is_of(strata: int, size: int) -> None:
    """Success is 20 points likelier with the feature, which the likelier successes have more."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        base = rng.choice([0.1, 0.6], strata)
        has = rng.random((strata, size)) < (0.2 + base)[:, None]
        won = rng.random((strata, size)) < base[:, None] + 0.2 * has
        cells = [[0, n, (won[n] & has[n]).sum(), has[n].sum()] for n in range(strata)]
        totals = np.column_stack([won.sum(axis=1), np.full(strata, size)])
        [(_, (low, high))] = risk_differences(np.array(cells), totals, 1)
        covered += low < 0.2 < high
    assert 0.92 < covered / 400 < 0.98
