from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracetune.errors import InputError
from tracetune.traces.compare import compare_replays, compare_runs
from tracetune.traces.model import Trace
from tracetune.traces.read import read_traces
from tracetune.traces.stats import newcombe, runs_needed


def runs(outcomes: str, *, start: int = 0, tasks: bool = True, **values: Any) -> list[Trace]:
    """One run per task: + succeeded, - failed, ? unknown."""
    known = {"+": True, "-": False, "?": None}
    return [
        Trace(id=f"{n}", agent="a", task=str(n) if tasks else None, success=known[mark], **values)
        for n, mark in enumerate(outcomes, start)
    ]


def test_a_real_fine_tuning_without_gain_is_not_enough_evidence(shared_data: Path) -> None:
    folder = shared_data / "tau2-bench"
    verdict = compare_runs(
        read_traces(folder / "retail-gpt-4.1-base.json.gz"),
        read_traces(folder / "retail-gpt-4.1-sft.json.gz"),
    )
    assert verdict.decision == "not enough evidence"
    assert (verdict.n, verdict.gained, verdict.lost, verdict.effect) == (40, 6, 6, 0.0)
    assert verdict.interval == pytest.approx((-0.1746, 0.1746), abs=1e-4)
    assert verdict.more_needed is not None
    assert verdict.more_needed > 100
    assert "of 40 shared tasks 6 gained and 6 lost" in verdict.why


@pytest.mark.parametrize(
    ("before", "after", "decision", "gained", "lost"),
    [
        pytest.param("-" * 12 + "+" * 28, "+" * 40, "better", 12, 0, id="gains without losses"),
        pytest.param("+" * 40, "-" * 12 + "+" * 28, "worse", 0, 12, id="losses without gains"),
        pytest.param("+" * 100, "+" * 100, "not worse", 0, 0, id="the same on many tasks"),
        pytest.param("+" * 20, "+" * 20, "not enough evidence", 0, 0, id="the same on few tasks"),
        pytest.param("-+", "+-", "not enough evidence", 1, 1, id="two tasks"),
        pytest.param("-" * 3, "+" * 3, "not enough evidence", 3, 0, id="three gains prove nothing"),
        pytest.param("-" * 5, "+" * 5, "not worse", 5, 0, id="five gains rule out a loss only"),
    ],
)
def test_paired_tasks(before: str, after: str, decision: str, gained: int, lost: int) -> None:
    verdict = compare_runs(runs(before), runs(after))
    assert (verdict.decision, verdict.gained, verdict.lost) == (decision, gained, lost)
    assert verdict.n == len(before)
    assert verdict.effect == pytest.approx((gained - lost) / len(before))
    assert (verdict.more_needed is None) == (decision != "not enough evidence")


@pytest.mark.parametrize("after", ["+" * 40, "-" * 12 + "+" * 28, "-" + "+" * 39, "+-" * 20])
def test_replays_are_judged_as_tasks_that_each_side_ran_once(after: str) -> None:
    before, then = runs("+" * 40), runs(after)
    replayed = compare_replays(zip(before, then, strict=True))
    asked = compare_runs(before, then)
    assert replayed.effect == pytest.approx(asked.effect)
    assert replace(replayed, effect=asked.effect, why="") == replace(asked, why="")
    assert "of 40 runs replayed" in replayed.why


def test_replays_of_runs_that_do_not_count_say_nothing() -> None:
    unknown, failed = runs("????"), runs("----", failure_kind="infrastructure")
    verdict = compare_replays((run, run) for run in [*unknown, *failed])
    assert (verdict.decision, verdict.n) == ("not enough evidence", 0)


def test_a_task_is_gained_where_more_of_its_runs_succeed() -> None:
    trials = [(n % 10, n < 20) for n in range(40)]  # ten tasks, each solved 2 of 4 times
    half = [Trace(str(n), "a", task=str(t), success=ok) for n, (t, ok) in enumerate(trials)]
    verdict = compare_runs(half, runs("+" * 10))
    assert (verdict.n, verdict.gained, verdict.lost) == (10, 10, 0)
    assert verdict.decision == "better"
    assert verdict.effect == pytest.approx(0.5)
    assert "10 gained and 0 lost (p = 0.0077, Mantel-Haenszel)" in verdict.why  # exact


DRAWN = 200


def decisions(
    rates: Sequence[float], effect: float, times: tuple[int, int], margin: float = 0.05
) -> Counter[str]:
    """How often comparisons over tasks of these rates, drawn at random, end in which decision."""
    rng, before, after = np.random.default_rng(7), np.array(rates), np.add(rates, effect)
    made = [
        [
            [Trace(f"{t}-{n}", "a", task=str(t), success=ok) for ok in (False, True)]
            for n in range(5)
        ]
        for t in range(len(rates))
    ]

    def drawn(chances: Any, each: int) -> list[Trace]:
        successes = (rng.random((len(rates), each)) < chances[:, None]).tolist()
        return [made[t][n][ok] for t, own in enumerate(successes) for n, ok in enumerate(own)]

    return Counter(
        compare_runs(drawn(before, times[0]), drawn(after, times[1]), margin=margin).decision
        for _ in range(DRAWN)
    )


def test_equal_agents_are_seldom_called_better_or_worse_however_often_each_ran() -> None:
    wrong = {}
    for rate, times in [
        (0.5, (1, 1)),
        (0.5, (2, 1)),  # half of the tasks end in a tie
        (0.5, (1, 2)),
        (0.3, (4, 1)),
        (0.7, (5, 1)),
        (0.95, (5, 1)),
        (0.5, (4, 4)),
    ]:
        found = decisions([rate] * 60, 0.0, times)
        wrong[rate, times] = (found["better"] + found["worse"]) / DRAWN
    assert max(wrong.values()) < 0.08, wrong  # 0.05, and what so few draws may add
    assert np.mean(list(wrong.values())) < 0.05


@pytest.mark.parametrize(
    ("rates", "times", "margin"),
    [
        pytest.param([0.7] * 40, (1, 1), 0.1, id="once each"),
        pytest.param([0.7] * 40, (2, 1), 0.1, id="the baseline twice"),
        pytest.param([0.7] * 40, (1, 5), 0.1, id="the candidate five times"),
        pytest.param([0.95] * 20, (5, 1), 0.2, id="five times, at a very high rate"),
        pytest.param([0.1, 0.95] * 15, (4, 4), 0.1, id="four times each, easy and hard tasks"),
    ],
)
def test_a_loss_of_the_margin_is_seldom_called_not_worse(
    rates: list[float], times: tuple[int, int], margin: float
) -> None:
    found = decisions(rates, -margin, times, margin)
    assert found["better"] + found["not worse"] <= 0.05 * DRAWN


def test_more_runs_of_a_task_find_a_real_gain_more_often() -> None:
    once, twice, often = (decisions([0.5] * 60, 0.2, times) for times in ((1, 1), (2, 1), (4, 4)))
    assert 0.4 * DRAWN < once["better"] < twice["better"] < often["better"]
    assert often["better"] > 0.95 * DRAWN


@pytest.mark.parametrize(
    ("shared", "decision", "tells"),
    [
        pytest.param("", "worse", "successes went from 100/100 to 0/100", id="no shared task"),
        pytest.param("+", "worse", "other runs went from 100/100 to 0/100", id="one shared task"),
        pytest.param("+" * 300, "worse", "other runs", id="many shared tasks, all alike"),
    ],
)
def test_runs_of_other_tasks_count_beside_shared_ones(
    shared: str, decision: str, tells: str
) -> None:
    before, after = runs("+" * 100, start=1000), runs("-" * 100, start=2000)
    verdict = compare_runs(before + runs(shared), after + runs(shared))
    assert (verdict.decision, verdict.gained, verdict.lost) == (decision, 0, 0)
    assert verdict.n == (len(shared) or 200)
    assert tells in verdict.why


def test_runs_of_tasks_that_one_side_alone_ran_are_told_and_do_not_count() -> None:
    verdict = compare_runs(runs("-" * 50), runs("-" * 12))
    assert (verdict.n, verdict.effect) == (12, 0.0)
    assert verdict.why.endswith("; 38 runs of tasks that only one side ran do not count.")


def test_a_run_given_again_does_not_count_again() -> None:
    before = runs("+" * 9 + "-" * 11, tasks=False)
    after = runs("+" * 14 + "-" * 6, tasks=False)
    once, thrice = compare_runs(before, after), compare_runs(before * 3, after * 3)
    assert (thrice.decision, thrice.n) == (once.decision, once.n) == ("not enough evidence", 40)
    assert thrice.interval == once.interval
    assert thrice.why == f"{once.why[:-1]}; 80 runs with the id of an earlier one do not count."


@pytest.mark.parametrize("margin", [np.float32(0.05), Fraction(1, 20)], ids=repr)
def test_any_real_number_may_be_the_margin(margin: Any) -> None:
    before = runs("+" * 40 + "-" * 10, tasks=False)
    assert compare_runs(before, before, margin=margin) == compare_runs(before, before)


@pytest.mark.parametrize("margin", [0, -0.1, 1.01, float("nan"), "0.05", None, True])
def test_a_margin_that_is_none_is_refused_in_one_line(margin: Any) -> None:
    with pytest.raises(InputError, match=r"^margin must be a number above 0 and at most 1, but is"):
        compare_runs(runs("+"), runs("+"), margin=margin)


@pytest.mark.parametrize("margin", [1, 0.6, 1e-9, 1e-200])
@pytest.mark.parametrize("tasks", [True, False], ids=["shared tasks", "no shared tasks"])
def test_any_margin_up_to_1_can_be_asked_for(margin: float, tasks: bool) -> None:
    few, many = runs("+-" * 10, tasks=tasks), runs("+-" * 400, tasks=tasks)
    for same in (few, many):
        verdict = compare_runs(same, same, margin=margin)
        assert (verdict.decision == "not worse") == (margin > 0.5)
        assert margin > 0.5 or 0 < (verdict.more_needed or 0) < 1e8
    assert compare_runs(few, runs("+" * 20, tasks=tasks), margin=margin).decision == "better"


def test_a_label_can_pair_the_runs() -> None:
    before = [Trace(str(n), "a", success=False, labels={"seed": str(n)}) for n in range(8)]
    after = [Trace(str(n), "a", success=True, labels={"seed": str(n)}) for n in range(8)]
    assert compare_runs(before, after, paired_by="seed").gained == 8


@pytest.mark.parametrize(
    ("before", "after", "decision"),
    [
        pytest.param("-" * 15 + "+" * 5, "+" * 15 + "-" * 5, "better", id="a large rise"),
        pytest.param("+" * 15 + "-" * 5, "-" * 15 + "+" * 5, "worse", id="a large fall"),
        pytest.param("+" * 200, "+" * 200, "not worse", id="always right on both sides"),
        pytest.param("+-" * 5, "+-" * 5, "not enough evidence", id="few runs"),
    ],
)
def test_without_shared_tasks_all_runs_are_compared(before: str, after: str, decision: str) -> None:
    verdict = compare_runs(runs(before, tasks=False), runs(after, tasks=False))
    split = (after.count("+"), len(after), before.count("+"), len(before))
    assert verdict.decision == decision
    assert verdict.interval == pytest.approx(newcombe(*split))
    assert verdict.n == len(before) + len(after)
    assert (verdict.gained, verdict.lost) == (0, 0)


@pytest.mark.parametrize(
    ("before", "after", "rate", "empty"),
    [
        pytest.param("+-", "", 0.5, "candidate", id="no candidate runs"),
        pytest.param("++++-", "??", 0.8, "candidate", id="unknown outcomes only"),
        pytest.param("", "+", 0.5, "baseline", id="no baseline runs"),
        pytest.param("", "", 0.5, "baseline", id="nothing at all"),
    ],
)
def test_an_empty_side_says_how_many_runs_are_needed(
    before: str, after: str, rate: float, empty: str
) -> None:
    verdict = compare_runs(runs(before), runs(after))
    assert (verdict.decision, verdict.n) == ("not enough evidence", 0)
    assert verdict.effect is verdict.interval is None
    assert verdict.more_needed == runs_needed(rate)
    assert f"the {empty} has no runs" in verdict.why


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"failure_kind": "infrastructure"}, id="as the trace says"),
        pytest.param({"labels": {"error": "429 Too Many Requests"}}, id="as its error says"),
    ],
)
def test_infrastructure_failures_do_not_count_against_the_candidate(values: Any) -> None:
    assert compare_runs(runs("+" * 40), runs("-" * 40, **values)).n == 0


def test_a_wider_margin_needs_fewer_tasks() -> None:
    same = runs("+" * 40)
    assert compare_runs(same, same, margin=0.05).decision == "not enough evidence"
    assert compare_runs(same, same, margin=0.2).decision == "not worse"
