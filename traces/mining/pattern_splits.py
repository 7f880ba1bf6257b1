"""Comparing the runs that have a feature with those that lack it."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from tracetune.traces.mining.features import Feature
from tracetune.traces.mining.merging import TASKS_KEPT
from tracetune.traces.mining.populations import Population, agent_numbers, outcomes
from tracetune.traces.mining.stratified import (
    Ints,
    risk_differences,
    stratified_p_values,
    summed,
)
from tracetune.traces.stats import Interval, newcombe

__all__ = ["Split", "splits"]

_STUCK = "10"
"""Of loops: so many identical calls are no waiting that a task takes."""
_NEARLY_ALL = 0.9
"""So large a share of runs that are the only ones of their task leaves too little within tasks."""

Effect = tuple[float, Interval]


class Split(NamedTuple):
    """The runs with a feature and all runs it is compared in."""

    feature: Feature
    mark: int
    """Equal for features that the same runs have."""
    examples: tuple[tuple[str, ...], tuple[str, ...]]
    """Ids of up to five failed and successful runs with it, sorted."""
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
    effect: Effect
    """The difference in the share of successes, compared as for `p_value`; and its interval."""


def splits(runs: Population, *, least: int) -> list[Split]:
    """Each feature that at least `least` runs have and others lack, for agents with both outcomes.

    Success is compared within each task that has both outcomes, and among the other tasks, once
    each, and runs without one. For loops p is that of success or of going on, the smaller, doubled.
    """
    import numpy as np

    agent_of = agent_numbers(runs)
    failed, succeeded = outcomes(runs.cells, len(runs.features))
    all_failed, all_succeeded = outcomes(runs.everyone, len(runs.agents))
    support, known = failed + succeeded, (all_failed + all_succeeded)[agent_of]
    mixed = (np.minimum(all_failed, all_succeeded) > 0)[agent_of]
    of_calls = np.array([f.kind == "attempts" for f in runs.features], dtype=bool)
    wanted = np.flatnonzero(mixed & ~of_calls & (support >= least) & (support < known))
    counts = (
        support,
        succeeded,
        runs.longs,
        known,
        all_succeeded[agent_of],
        runs.all_longs[agent_of],
    )
    examples = _examples(runs)
    places = wanted.tolist()
    found = map(
        Split,
        [runs.features[n] for n in places],
        runs.marks[wanted].tolist(),
        [(examples[2 * n], examples[2 * n + 1]) for n in places],
        *(column[wanted].tolist() for column in counts),
        *_success_tests(runs, agent_of, wanted),
    )
    return _with_going_on(runs, list(found))


def _examples(runs: Population) -> list[tuple[str, ...]]:
    """Sorted ids of the runs that show each feature, those that failed before the others."""
    import numpy as np

    ids = [id for _, id in runs.runs]
    by_id = np.empty(len(ids), dtype=np.int64)
    in_order = sorted(range(len(ids)), key=ids.__getitem__)
    by_id[in_order] = np.arange(len(ids))
    side = 2 * runs.examples[:, 0] + runs.examples[:, 1]
    key = np.sort(side * max(1, len(ids)) + by_id[runs.examples[:, 2]])
    side, place = np.divmod(key, max(1, len(ids)))
    found = [ids[in_order[n]] for n in place.tolist()]
    edges = np.searchsorted(side, np.arange(2 * len(runs.features) + 1)).tolist()
    return [tuple(found[start:end]) for start, end in pairwise(edges)]


def _success_tests(
    runs: Population, agent_of: Ints, wanted: Ints
) -> tuple[list[float], list[int], list[Effect]]:
    """What the test of success says of each wanted feature: p-values, tasks and effects."""
    import numpy as np

    strata = _Strata(runs)
    place = np.full(len(runs.features), -1, dtype=np.int64)
    place[wanted] = np.arange(len(wanted))
    rows = runs.cells[place[runs.cells[:, 0]] >= 0]
    cells = strata.of(place[rows[:, 0]], agent_of[rows[:, 0]], rows[:, 1:])
    everyone = runs.everyone
    totals = np.zeros((len(runs.tasks) + len(runs.agents), 2), dtype=np.int64)
    whole = strata.of(np.zeros(len(everyone), dtype=np.int64), everyone[:, 0], everyone[:, 1:])
    totals[whole[:, 1]] = whole[:, 2:]
    count = len(wanted)
    varied = (cells[:, 1] < len(runs.tasks)) & (cells[:, 3] < totals[cells[:, 1], 1])
    tasks = np.bincount(cells[varied, 0], minlength=count).tolist()
    p_values = stratified_p_values(cells, totals, count)
    effects = risk_differences(cells, totals, count)
    for row in cells[cells[:, 1] >= len(runs.tasks)].tolist():
        if not tasks[row[0]]:
            effects[row[0]] = _plain(row[2], row[3], *totals[row[1]].tolist())
    return p_values, tasks, effects


def _plain(won: int, used: int, successes: int, runs: int) -> Effect:
    """The difference of two shares; of one alone nothing is known."""
    if used == runs:
        return 0.0, (-1.0, 1.0)
    rest = runs - used
    others = successes - won
    return won / used - others / rest, newcombe(won, used, others, rest)


class _Strata:
    """Where runs are compared: each task with both outcomes; what is independent beside those.

    Runs of a task that always ends the same way are no independent witnesses: a dozen of them
    would make a tool that this task takes look like the reason. Such a task counts as one run,
    which has what at least half of its runs have.
    """

    def __init__(self, runs: Population) -> None:
        import numpy as np

        # One more than there are tasks: the last stands for any other task, or none.
        outcomes = np.zeros((len(runs.tasks) + 1, 2), dtype=np.int64)
        np.add.at(outcomes, runs.everyone[:, 1], runs.everyone[:, 2:])
        self._sizes = outcomes.sum(axis=1)
        self._mixed = outcomes.min(axis=1) > 0
        self._mixed[-1] = False
        self._rest = len(runs.tasks) + np.arange(len(runs.agents))
        self._crowded = np.array([_crowded(runs, self._sizes, a) for a in runs.agents], dtype=bool)

    def of(self, features: Ints, agents: Ints, rows: Ints) -> Ints:
        """Rows (feature, stratum, successes, runs), sorted, of rows (task, failed, succeeded).

        These are sorted by feature and task.
        """
        import numpy as np

        within = self._mixed[rows[:, 0]]
        task, failed, succeeded = rows[within].T
        compared = np.column_stack([features[within], task, succeeded, failed + succeeded])
        rest = self._rest_of(features[~within], agents[~within], rows[~within])
        # Only few are not in order already: to sort all takes several times as long.
        return np.insert(
            compared, np.searchsorted(compared[:, 0], rest[:, 0], side="right"), rest, axis=0
        )

    def _rest_of(self, features: Ints, agents: Ints, rows: Ints) -> Ints:
        """The same of rows of tasks that always end the same way, or of any other task."""
        import numpy as np

        task, failed, succeeded = rows.T
        alone = task >= 0
        has = 2 * (failed + succeeded) >= self._sizes[task]
        kept = np.where(alone, has, ~self._crowded[agents])
        won = np.where(alone, succeeded > 0, succeeded)
        count = np.where(alone, 1, failed + succeeded)
        stratum = self._rest[agents]
        return summed(np.column_stack([features, stratum, won, count])[kept], 2)


def _crowded(runs: Population, sizes: Ints, agent: str) -> bool:
    """Whether there are more tasks than are told apart, and these are run again and again: what
    the others hold would be taken for independent."""
    own = [n for n, (owner, _) in enumerate(runs.tasks) if owner == agent]
    return len(own) >= TASKS_KEPT and int(sizes[own].max()) > 1


def _with_going_on(runs: Population, found: list[Split]) -> list[Split]:
    """With the p-values of loops, which cost calls whether or not they cost success.

    Only going on for longer counts: what ends sooner than it would costs nothing.
    """
    import numpy as np

    loops = [n for n, split in enumerate(found) if split.feature.kind == "loop"]
    numbers = {f: n for n, f in enumerate(runs.features) if f.kind == "loop"}
    known: dict[tuple[str, bool], tuple[_Ends, int]] = {}
    cells, totals = [np.zeros((0, 4), dtype=np.int64)], [np.zeros((0, 2), dtype=np.int64)]
    shorter = set[int]()
    for place, n in enumerate(loops):
        key = found[n].feature.agent, found[n].feature.detail == _STUCK
        if key not in known:
            known[key] = _Ends(runs, key[0], stuck=key[1]), sum(map(len, totals))
            totals.append(known[key][0].everyone)
        ends, start = known[key]
        first, last = np.searchsorted(runs.loops[:, 0], numbers[found[n].feature] + np.arange(2))
        strata, in_loop = ends.of(runs.loops[first:last])
        ended, come = ends.everyone[strata].T
        if in_loop[:, 0].sum() >= (in_loop[:, 1] * ended / come).sum():
            shorter.add(n)
        own = np.full_like(strata, place)
        cells.append(np.column_stack([own, start + strata, in_loop]))
    rows = np.concatenate(cells)
    p_values = stratified_p_values(rows, np.concatenate(totals), len(loops))
    for n, tested in zip(loops, p_values, strict=True):
        p_value = 1.0 if n in shorter else tested
        found[n] = found[n]._replace(p_value=min(1.0, 2 * min(p_value, found[n].p_value)))
    return found


class _Ends:
    """Where runs end: strata in which those in a loop are compared with all that came as far.

    A long run has more of everything, loops too: that runs with a loop are long tells nothing.
    So at each call at which runs end, those in a loop by then are compared with all that have
    come to this call; and only those of the same task, as some tasks take longer and polling.

    Source: Mantel and Byar 1974, J. Am. Stat. Assoc. 69, 81-86.
    """

    def __init__(self, runs: Population, agent: str, *, stuck: bool) -> None:
        import numpy as np

        own = runs.everyones_lengths[runs.everyones_lengths[:, 0] == runs.agents.index(agent), 1:]
        most = sum(owner == agent for owner, _ in runs.tasks) >= TASKS_KEPT
        self._groups = _groups(own, len(runs.tasks), others=not most, stuck=stuck)
        rows = np.column_stack([self._groups[own[:, 0]], own[:, 1:]])
        rows = summed(rows[(rows[:, 0] >= 0) & (rows[:, 1] > 0)], 2)
        group, calls, ended = rows.T
        self._calls = int(calls.max(initial=0)) + 1
        self._keys = group * self._calls + calls
        # Of all that end there or in a later row, those of the same group.
        later = np.append(ended[::-1].cumsum()[::-1], 0)
        come = later[:-1] - later[np.searchsorted(group, group, side="right")]
        self.everyone = np.column_stack([ended, come])
        """A row per stratum: runs that end at a call, and those of them that come there."""

    def of(self, loops: Ints) -> tuple[Ints, Ints]:
        """The strata that tell something, and the same of the runs that are in a loop.

        Args:
            loops: Rows (feature, task, call from which on, calls in all, runs).
        """
        import numpy as np

        group = self._groups[loops[:, 1]]
        group, since, ends, runs = np.column_stack([group, loops[:, 2:]])[group >= 0].T
        begin, end = (np.searchsorted(self._keys, group * self._calls + at) for at in (since, ends))
        begun, ended = (
            np.bincount(place, weights=runs, minlength=len(self._keys)).astype(np.int64)
            for place in (begin, end)
        )
        # At the last call of a group all of it have ended.
        come = begun.cumsum() - ended.cumsum() + ended
        told = np.flatnonzero((come > 0) & (come < self.everyone[:, 1]))
        return told, np.column_stack([ended, come])[told]


def _groups(lengths: Ints, tasks: int, *, others: bool, stuck: bool) -> Ints:
    """By task the group its runs are compared in, and last that of all others; -1: in none.

    That is the task, and the others are a group too. To compare between tasks would take for a
    loop's doing that some tasks take longer, and polling; so where nearly all were run once, and
    nothing can be compared within them, they are in one group with the others for those who are
    stuck only.

    Args:
        lengths: Rows (task, tool calls, runs) of all runs.
        others: Whether what is of no task that is kept is of none at all.
        stuck: Whether the loop is of so many calls that no task takes them.
    """
    import numpy as np

    groups = np.arange(tasks + 1)
    sizes = np.bincount(lengths[:, 0] % (tasks + 1), weights=lengths[:, 2], minlength=tasks + 1)
    once = np.flatnonzero(sizes[:-1] == 1)
    if len(once) >= _NEARLY_ALL * sizes[:-1].sum():
        groups[once] = tasks if stuck else once
    elif not others:
        groups[-1] = -1
    return groups
