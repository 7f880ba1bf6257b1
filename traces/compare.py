"""The verdict on a candidate: its runs against the baseline's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from tracetune.errors import InputError
from tracetune.traces.failures import failure_kind_of
from tracetune.traces.mining.stratified import stratified_p_values
from tracetune.traces.model import Trace
from tracetune.traces.stats import (
    Interval,
    fisher_exact,
    mcnemar_exact,
    newcombe,
    paired_interval,
    pairs_needed,
    runs_needed,
    stratified_difference,
)

__all__ = ["Decision", "Verdict", "compare_replays", "compare_runs"]

Decision = Literal["better", "not worse", "worse", "not enough evidence"]

_ALPHA = 0.05
_MARGIN = 0.05
_LIFT = 0.1  # the change in success rate that `more_needed` plans to see
_FINEST = 0.001  # the smallest that it plans for, however small the margin


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the runs say of a candidate."""

    decision: Decision
    effect: float | None
    """Candidate's minus baseline's success rate, in [-1, 1]; None without runs on both sides.
    Of shared tasks it is the mean of their differences; those with more runs weigh more."""
    interval: Interval | None
    """Of the effect, 95 %."""
    n: int
    """Tasks both sides ran; where they share none all runs of both; 0 when one side is empty."""
    gained: int
    """Shared tasks that the candidate solved more often, by share of its runs; 0 without any.
    Where the sides ran a task a different number of times, chance alone may make more of them
    gained than lost: decision and effect are of the rates."""
    lost: int
    """Shared tasks that the baseline solved more often."""
    more_needed: int | None
    """Further tasks (runs of each side when no tasks are shared) that would likely settle it:
    enough to see a change of 10 points 8 times in 10. None once there is a decision."""
    why: str
    """One sentence, with the numbers."""


def compare_runs(
    baseline: Iterable[Trace],
    candidate: Iterable[Trace],
    *,
    paired_by: str = "task",
    margin: float = _MARGIN,
) -> Verdict:
    """Judge the candidate's success against the baseline's.

    Runs are compared within each task that both sides ran, however often; all runs of other tasks
    with one another, as if of one task more. "better" and "worse" mean p < 0.05 in the exact
    test that within every task success is as likely on either side: McNemar's where each side
    ran each task once, Fisher's where they share none. "not worse" means that the effect's
    interval lies above -margin. Either is said of the tasks that were run: more runs of few tasks
    say more of these, and nothing of others.

    Runs with unknown outcome, infrastructure failures, and a second run of one agent with the
    same id do not count.

    Args:
        paired_by: "task", or the name of a label that pairs runs.
        margin: The loss of success rate that would be accepted, in (0, 1].

    Raises:
        InputError: The margin is no such number.
    Source: Mehta, Patel and Gray 1985, J. Am. Stat. Assoc. 80, 969-973 (the exact test, as
        `stratified_p_values`; large counts by Mantel and Haenszel 1959). The interval is that of
        `paired_interval`, of `newcombe`, or else of `stratified_difference`.
    """
    if isinstance(margin, bool) or not isinstance(margin, Real) or not 0 < margin <= 1:
        raise InputError(f"margin must be a number above 0 and at most 1, but is {margin!r:.40}.")
    margin = float(margin)
    before, after = _tally(baseline, paired_by), _tally(candidate, paired_by)
    if before.tasks and after.tasks:
        return _judged(before, after, margin)
    successes, runs = _total(before)
    empty = "candidate" if runs else "baseline"
    why = f"Not enough evidence: the {empty} has no runs with a known outcome."
    needed = runs_needed(successes / runs if runs else 0.5, _LIFT)
    return Verdict("not enough evidence", None, None, 0, 0, 0, needed, why)


def compare_replays(runs: Iterable[tuple[Trace, Trace]]) -> Verdict:
    """Judge runs as they would have gone against the same runs as they went, each with itself.

    Decision and interval are those of `compare_runs` where each run is a task of its own: McNemar's
    test, whatever the tasks were. `n` and `more_needed` are runs.

    Args:
        runs: Each as it went and as it would have gone; those that do not count are passed over.
    """
    ends = Counter(
        (bool(went.success), bool(replayed.success)) for went, replayed in runs if _counts(went)
    )
    if not (n := ends.total()):
        return compare_runs([], [])
    gained, lost = ends[False, True], ends[True, False]
    effect, interval = (gained - lost) / n, paired_interval(gained, lost, n)
    p_value = mcnemar_exact(gained, lost)
    decision = _decide(effect, interval, p_value, _MARGIN)
    counted = f"of {n} runs replayed {gained} gained and {lost} lost (p = {p_value:.2g}, McNemar)"
    facts = [counted, _estimated(effect, interval, _MARGIN if decision == "not worse" else None)]
    open_ended = decision == "not enough evidence"
    return Verdict(
        decision=decision,
        effect=effect,
        interval=interval,
        n=n,
        gained=gained,
        lost=lost,
        more_needed=_more_pairs(n, gained + lost, _MARGIN) if open_ended else None,
        why=f"{decision.capitalize()}: {'; '.join(facts)}.",
    )


def _counts(trace: Trace) -> bool:
    return trace.success is not None and failure_kind_of(trace) != "infrastructure"


@dataclass(frozen=True, slots=True)
class _Side:
    tasks: Mapping[str | None, tuple[int, int]]
    """Task → successes, runs; None → those of runs without one."""
    again: int
    """Runs whose id their agent had already."""


def _tally(traces: Iterable[Trace], paired_by: str) -> _Side:
    tasks: dict[str | None, tuple[int, int]] = {}
    seen: dict[str, set[str]] = {}
    again = 0
    for trace in traces:
        if not _counts(trace):
            continue
        if trace.id:  # runs without one are rows of a table, which has none twice
            known = seen.setdefault(trace.agent, set())
            if trace.id in known:
                again += 1
                continue
            known.add(trace.id)
        task = trace.task if paired_by == "task" else trace.labels.get(paired_by)
        successes, runs = tasks.get(task, (0, 0))
        tasks[task] = (successes + bool(trace.success), runs + 1)
    return _Side(tasks, again)


def _total(side: _Side, apart: Collection[str | None] = ()) -> tuple[int, int]:
    """Successes and runs of all tasks but those `apart`."""
    counts = [counts for task, counts in side.tasks.items() if task not in apart]
    return sum(successes for successes, _ in counts), sum(runs for _, runs in counts)


_Stratum = tuple[int, int, int, int]
"""Successes and runs of the candidate, then of the baseline."""


def _judged(before: _Side, after: _Side, margin: float) -> Verdict:
    shared: dict[str | None, _Stratum] = {
        task: (*after.tasks[task], *counts)
        for task, counts in before.tasks.items()
        if task is not None and task in after.tasks
    }
    pairs = list(shared.values())
    others: _Stratum = (*_total(after, shared), *_total(before, shared))
    p_value, test, effect, interval = _tested([*pairs, others] if _both(others) else pairs)
    decision = _decide(effect, interval, p_value, margin)
    gained, lost = _moved(pairs)
    facts = [
        f"{_counted(pairs, others)} (p = {p_value:.2g}, {test})",
        _estimated(effect, interval, margin if decision == "not worse" else None),
        *_left_out(before.again + after.again, others),
    ]
    return Verdict(
        decision=decision,
        effect=effect,
        interval=interval,
        n=len(pairs) or others[1] + others[3],
        gained=gained,
        lost=lost,
        more_needed=_more(pairs, others, margin) if decision == "not enough evidence" else None,
        why=f"{decision.capitalize()}: {'; '.join(facts)}.",
    )


def _both(stratum: _Stratum) -> bool:
    return stratum[1] > 0 and stratum[3] > 0


def _tested(strata: Sequence[_Stratum]) -> tuple[float, str, float, Interval]:
    """The p-value and the name of its test, the effect and its interval."""
    effect, interval = stratified_difference(strata)
    if all(n1 == n2 == 1 for _, n1, _, n2 in strata):
        gained, lost = _moved(strata)
        interval = paired_interval(gained, lost, len(strata))
        return mcnemar_exact(gained, lost), "McNemar", effect, interval
    if len(strata) == 1:
        return fisher_exact(*strata[0]), "Fisher", effect, newcombe(*strata[0])
    import numpy as np

    k1, n1, k2, n2 = np.array(strata).T
    places = np.arange(len(strata))
    cells = np.stack([np.zeros_like(places), places, k1, n1], axis=1)
    [p_value] = stratified_p_values(cells, np.stack([k1 + k2, n1 + n2], axis=1), 1)
    return p_value, "Mantel-Haenszel", effect, interval


def _moved(strata: Sequence[_Stratum]) -> tuple[int, int]:
    """In how many the candidate's rate is higher, and in how many the baseline's."""
    gained = sum(k1 * n2 > k2 * n1 for k1, n1, k2, n2 in strata)
    return gained, sum(k1 * n2 < k2 * n1 for k1, n1, k2, n2 in strata)


def _decide(effect: float, interval: Interval, p_value: float, margin: float) -> Decision:
    # A proven loss is called one even when it lies within the margin.
    if p_value < _ALPHA:
        return "better" if effect > 0 else "worse"
    return "not worse" if interval[0] > -margin else "not enough evidence"


def _more(pairs: Sequence[_Stratum], others: _Stratum, margin: float) -> int:
    """What is missing to see a change of `_LIFT`; where that is there already, of the margin.

    Other runs count as tasks that each side ran once.
    """
    k1, n1, k2, n2 = others
    apart = min(n1, n2)
    size = len(pairs) + apart
    differing = sum((k1 / n1 - k2 / n2) ** 2 for k1, n1, k2, n2 in pairs)
    if apart:
        differing += apart * (k1 / n1 + k2 / n2 - 2 * k1 * k2 / (n1 * n2))
    return _more_pairs(size, differing, margin)


def _more_pairs(size: int, differing: float, margin: float) -> int:
    # Two more that differ, as in the intervals: no difference yet is not none ever.
    share = (differing + 2) / (size + 2)
    plans = (pairs_needed(share, lift) for lift in (_LIFT, max(margin, _FINEST)))
    return next((plan for plan in plans if plan > size), 2 * size) - size


def _counted(pairs: Sequence[_Stratum], others: _Stratum) -> str:
    gained, lost = _moved(pairs)
    tasks = f"of {len(pairs)} shared tasks {gained} gained and {lost} lost"
    if not _both(others):
        return tasks
    k1, n1, k2, n2 = others
    went = f"went from {k2}/{n2} to {k1}/{n1}"
    if pairs:
        return f"{tasks}, and successes of other runs {went}"
    return f"no task was run on both sides; successes {went}"


def _estimated(effect: float, interval: Interval, margin: float | None) -> str:
    low, high = (f"{100 * end:+.0f}" for end in interval)
    text = f"effect {100 * effect:+.0f} points [{low}, {high}]"
    return text if margin is None else f"{text}, above the margin of -{100 * margin:g}"


def _left_out(again: int, others: _Stratum) -> list[str]:
    found = [f"{again} runs with the id of an earlier one do not count"] if again else []
    if not _both(others) and (alone := others[1] + others[3]):
        found.append(f"{alone} runs of tasks that only one side ran do not count")
    return found
