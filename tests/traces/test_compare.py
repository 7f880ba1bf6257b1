from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.compare import compare_runs
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


def test_a_task_counts_as_solved_by_more_than_half_of_its_runs() -> None:
    trials = [(n % 10, n < 20) for n in range(40)]  # ten tasks, each solved 2 of 4 times
    half = [Trace(str(n), "a", task=str(t), success=ok) for n, (t, ok) in enumerate(trials)]
    verdict = compare_runs(half, runs("+" * 10))
    assert (verdict.n, verdict.gained, verdict.lost) == (10, 10, 0)
    assert verdict.decision == "better"


def test_tasks_of_one_side_only_do_not_count() -> None:
    verdict = compare_runs(runs("-" * 50), runs("+" * 50, start=48))
    assert (verdict.n, verdict.gained) == (2, 2)


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


def test_infrastructure_failures_do_not_count_against_the_candidate() -> None:
    broken = runs("-" * 40, failure_kind="infrastructure")
    assert compare_runs(runs("+" * 40), broken).n == 0


def test_a_wider_margin_needs_fewer_tasks() -> None:
    same = runs("+" * 40)
    assert compare_runs(same, same, margin=0.05).decision == "not enough evidence"
    assert compare_runs(same, same, margin=0.2).decision == "not worse"
