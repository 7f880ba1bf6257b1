"""The verdict on a candidate: its runs against the baseline's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tracetune.traces.model import Trace
from tracetune.traces.stats import (
    Interval,
    fisher_exact,
    mcnemar_exact,
    newcombe,
    paired_interval,
    pairs_needed,
    runs_needed,
)

__all__ = ["Decision", "Verdict", "compare_runs"]

Decision = Literal["better", "not worse", "worse", "not enough evidence"]

_ALPHA = 0.05
_LIFT = 0.1  # the change in success rate that `more_needed` plans to see


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the runs say of a candidate."""

    decision: Decision
    effect: float | None
    """Candidate's minus baseline's success rate, in [-1, 1]; None without runs on both sides."""
    interval: Interval | None
    """Of the effect, 95 %."""
    n: int
    """Tasks both sides ran; where they share none all runs of both; 0 when one side is empty."""
    gained: int
    """Tasks that only the candidate solved; 0 when no tasks are shared."""
    lost: int
    """Tasks that only the baseline solved; 0 when no tasks are shared."""
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
    margin: float = 0.05,
) -> Verdict:
    """Judge the candidate's success against the baseline's.

    Tasks that both ran are paired (exact McNemar test); a task counts as solved when more than
    half of a side's runs of it succeed. When they share none, all runs are compared (Fisher's
    exact test). "better" and "worse" mean p < 0.05; "not worse" that the effect's interval
    lies above -margin. Runs with unknown outcome and infrastructure failures do not count.

    Args:
        paired_by: "task", or the name of a label that pairs runs.
        margin: The loss of success rate that would be accepted, in (0, 1].
    """
    before, after = _tally(baseline, paired_by), _tally(candidate, paired_by)
    shared = before.tasks.keys() & after.tasks.keys()
    if shared:
        return _paired(before, after, sorted(shared), margin)
    return _unpaired(before, after, margin)


@dataclass(frozen=True, slots=True)
class _Side:
    tasks: Mapping[str, tuple[int, int]]
    """Task → successes, runs."""
    successes: int
    runs: int

    def solved(self, task: str) -> bool:
        successes, runs = self.tasks[task]
        return 2 * successes > runs


def _tally(traces: Iterable[Trace], paired_by: str) -> _Side:
    tasks: dict[str, tuple[int, int]] = {}
    successes = runs = 0
    for trace in traces:
        if trace.success is None or trace.failure_kind == "infrastructure":
            continue
        runs += 1
        successes += trace.success
        task = trace.task if paired_by == "task" else trace.labels.get(paired_by)
        if task is not None:
            k, n = tasks.get(task, (0, 0))
            tasks[task] = (k + trace.success, n + 1)
    return _Side(tasks, successes, runs)


def _paired(before: _Side, after: _Side, shared: list[str], margin: float) -> Verdict:
    n = len(shared)
    gained = sum(after.solved(t) and not before.solved(t) for t in shared)
    lost = sum(before.solved(t) and not after.solved(t) for t in shared)
    effect = (gained - lost) / n
    interval = paired_interval(gained, lost, n)
    p_value = mcnemar_exact(gained, lost)
    decision = _decide(effect, interval, p_value, margin)
    # One added to each cell, as in the interval: no difference yet is not none ever.
    differing = (gained + lost + 2) / (n + 2)
    more = _more(pairs_needed(differing, _LIFT), pairs_needed(differing, margin), n)
    facts = f"of {n} shared tasks {gained} gained and {lost} lost (p = {p_value:.2g}, McNemar)"
    return Verdict(
        decision=decision,
        effect=effect,
        interval=interval,
        n=n,
        gained=gained,
        lost=lost,
        more_needed=more if decision == "not enough evidence" else None,
        why=_why(decision, facts, effect, interval, margin),
    )


def _unpaired(before: _Side, after: _Side, margin: float) -> Verdict:
    rate = before.successes / before.runs if before.runs else 0.5
    needed = runs_needed(rate, _LIFT)
    if not (before.runs and after.runs):
        empty = "candidate" if before.runs else "baseline"
        why = f"Not enough evidence: the {empty} has no runs with a known outcome."
        return Verdict("not enough evidence", None, None, 0, 0, 0, needed, why)
    split = (after.successes, after.runs, before.successes, before.runs)
    effect = after.successes / after.runs - rate
    interval = newcombe(*split)
    p_value = fisher_exact(*split)
    decision = _decide(effect, interval, p_value, margin)
    more = _more(needed, runs_needed(rate, margin), min(before.runs, after.runs))
    facts = (
        f"no task was run on both sides; successes went from {before.successes}/{before.runs} "
        f"to {after.successes}/{after.runs} (p = {p_value:.2g}, Fisher)"
    )
    return Verdict(
        decision=decision,
        effect=effect,
        interval=interval,
        n=before.runs + after.runs,
        gained=0,
        lost=0,
        more_needed=more if decision == "not enough evidence" else None,
        why=_why(decision, facts, effect, interval, margin),
    )


def _decide(effect: float, interval: Interval, p_value: float, margin: float) -> Decision:
    # A proven loss is called one even when it lies within the margin.
    if p_value < _ALPHA:
        return "better" if effect > 0 else "worse"
    return "not worse" if interval[0] > -margin else "not enough evidence"


def _more(for_lift: int, for_margin: int, n: int) -> int:
    """What is missing to see a change of `_LIFT`; where that is there already, of the margin."""
    needed = next((size for size in (for_lift, for_margin) if size > n), 2 * n)
    return needed - n


def _why(decision: Decision, facts: str, effect: float, interval: Interval, margin: float) -> str:
    low, high = (f"{100 * end:+.0f}" for end in interval)
    text = f"{decision.capitalize()}: {facts}; effect {100 * effect:+.0f} points [{low}, {high}]"
    if decision == "not worse":
        return f"{text}, above the margin of -{100 * margin:.0f}."
    return f"{text}."
