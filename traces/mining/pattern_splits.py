"""Comparing the runs that have a feature with those that lack it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tracetune.traces.mining.features import Examples, Feature
from tracetune.traces.mining.populations import Population, agent_numbers, outcomes
from tracetune.traces.mining.stratified import Ints, stratified_p_values, summed

__all__ = ["Split", "splits"]

_WASTE = frozenset({"loop", "tool_error", "any_error"})


@dataclass(frozen=True, slots=True)
class Split:
    """The runs with a feature and all runs it is compared in."""

    feature: Feature
    mark: int
    """Equal for features that the same runs have."""
    examples: Examples
    runs: int
    successes: int
    longs: int
    """Runs that made more than twice the median number of tool calls."""
    all_runs: int
    all_successes: int
    all_longs: int
    p_value: float
    tasks: int
    """Tasks with both outcomes in which some runs have it and others lack it."""


def splits(runs: Population, *, least: int) -> list[Split]:
    """Each feature that at least `least` runs have and others lack, for agents with both outcomes.

    Success is compared within each task that has both outcomes, and within all other runs
    together. For wasted calls p is that of success or of length, the smaller, doubled.
    """
    import numpy as np

    agent_of = agent_numbers(runs)
    failed, succeeded = outcomes(runs.cells, len(runs.features))
    all_failed, all_succeeded = outcomes(runs.everyone, len(runs.agents))
    support, known = failed + succeeded, (all_failed + all_succeeded)[agent_of]
    mixed = (np.minimum(all_failed, all_succeeded) > 0)[agent_of]
    of_calls = np.array([f.kind == "attempts" for f in runs.features], dtype=bool)
    wanted = np.flatnonzero(mixed & ~of_calls & (support >= least) & (support < known))
    tested = _success_tests(runs, agent_of, wanted)
    return _with_waste(
        [
            Split(
                feature=runs.features[n],
                mark=runs.marks[n],
                examples=runs.examples[n],
                runs=int(support[n]),
                successes=int(succeeded[n]),
                longs=int(runs.longs[n]),
                all_runs=int(known[n]),
                all_successes=int(all_succeeded[agent_of[n]]),
                all_longs=int(runs.all_longs[agent_of[n]]),
                p_value=p_value,
                tasks=tasks,
            )
            for n, (p_value, tasks) in zip(wanted.tolist(), tested, strict=True)
        ]
    )


def _success_tests(runs: Population, agent_of: Ints, wanted: Ints) -> list[tuple[float, int]]:
    """Of each wanted feature the p-value of success, and in how many tasks it was compared."""
    import numpy as np

    count = len(runs.tasks)
    # One more than there are tasks: the last says that "any other" is no mixed task.
    outcomes = np.zeros((count + 1, 2), dtype=np.int64)
    np.add.at(outcomes, runs.everyone[:, 1], runs.everyone[:, 2:])
    mixed = outcomes.min(axis=1) > 0
    mixed[-1] = False

    def stratum(agent: Ints, task: Ints) -> Ints:
        return np.where(mixed[task], task, count + agent)

    totals = np.zeros((count + len(runs.agents), 2), dtype=np.int64)
    failed, succeeded = runs.everyone[:, 2], runs.everyone[:, 3]
    everyone = stratum(runs.everyone[:, 0], runs.everyone[:, 1])
    np.add.at(totals, everyone, np.column_stack([succeeded, failed + succeeded]))
    place = np.full(len(runs.features), -1, dtype=np.int64)
    place[wanted] = np.arange(len(wanted))
    rows = runs.cells[place[runs.cells[:, 0]] >= 0]
    cells = summed(
        np.column_stack(
            [
                place[rows[:, 0]],
                stratum(agent_of[rows[:, 0]], rows[:, 1]),
                rows[:, 3],
                rows[:, 2] + rows[:, 3],
            ]
        ),
        2,
    )
    varied = (cells[:, 1] < count) & (cells[:, 3] < totals[cells[:, 1], 1])
    tasks = np.bincount(cells[varied, 0], minlength=len(wanted)).tolist()
    return list(zip(stratified_p_values(cells, totals, len(wanted)), tasks, strict=True))


def _with_waste(found: list[Split]) -> list[Split]:
    """With the p-values of wasted calls, which cost time whether or not they cost success."""
    import numpy as np

    waste = [n for n, split in enumerate(found) if split.feature.kind in _WASTE]
    if not waste:
        return found
    cells = [[place, place, found[n].longs, found[n].runs] for place, n in enumerate(waste)]
    totals = [[found[n].all_longs, found[n].all_runs] for n in waste]
    p_values = stratified_p_values(np.array(cells), np.array(totals), len(waste))
    for n, p_value in zip(waste, p_values, strict=True):
        found[n] = replace(found[n], p_value=min(1.0, 2 * min(p_value, found[n].p_value)))
    return found
