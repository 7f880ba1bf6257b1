"""Counting what patterns are mined from, of runs in memory: exactly what `count_patterns` finds.

What a run has or lacks is defined twice: here, and in sql/pattern_features.sql and
sql/pattern_rare.sql. A test holds the two together.
"""

from __future__ import annotations

import functools
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tracetune.traces.analytics.errors_text import error_key
from tracetune.traces.analytics.run import Run
from tracetune.traces.mining.features import AgentRuns, Feature, Task, lowest, shown
from tracetune.traces.mining.pattern_counts import TASKS_KEPT, PatternCounts
from tracetune.traces.mining.stratified import Ints
from tracetune.traces.mining.terms import Said, said_in, task_hash

__all__ = ["count_few_patterns"]

_LOOPS = (3, 10)
_MOST_ATTEMPTS = 2_000_000_000
_key_of = functools.lru_cache(maxsize=4096)(error_key)

Having = Mapping[Feature, Sequence[Run]]


def count_few_patterns(runs: Sequence[Run], *, least: int = 1) -> PatternCounts:
    """Count what patterns are mined from.

    Args:
        least: Leave out features that fewer runs have: smaller, but such counts do not merge.
    """
    known = [run for run in runs if run.own and run.trace.success is not None]
    having: defaultdict[Feature, list[Run]] = defaultdict(list)
    for run in known:
        for feature in _features(run):
            having[feature].append(run)
    kept = {
        feature: having[feature]
        for feature in sorted(having, key=Feature.key)
        if len(having[feature]) >= least or feature.kind == "attempts"
    }
    tasks = _tasks(known)
    ordered = sorted(known, key=lambda run: (run.mark, run.trace.id))
    shown_runs, examples, unused = shown(
        [(run.mark, run.trace.id) for run in ordered], *_examples(ordered, kept)
    )
    return PatternCounts(
        agents=_agents(runs),
        tasks=tasks,
        features=tuple(kept),
        marks=_marks(kept),
        runs=shown_runs,
        examples=examples,
        unused=unused,
        cells=_cells(kept, tasks),
        lengths=_lengths(kept),
        loops=_loops(kept, tasks),
        said=_said(runs),
        least=least,
    )


def _features(run: Run) -> set[Feature]:
    agent = run.trace.agent
    names = [call.name for call in run.calls]
    found = {Feature(agent, "attempts", (), str(_attempts(run)))}
    found |= {Feature(agent, "tool_used", (name,)) for name in names}
    found |= {Feature(agent, "tool_pair", pair) for pair in pairwise(names)}
    triples = zip(names, names[1:], names[2:], strict=False)
    found |= {Feature(agent, "tool_triple", triple) for triple in triples}
    if names:
        found.add(Feature(agent, "first_tool", (names[0],)))
        found.add(Feature(agent, "last_tool", (names[-1],)))
    for call in run.calls:
        if call.error is not None:
            found.add(Feature(agent, "any_error"))
            found.add(Feature(agent, "tool_error", (call.name,)))
            found.add(Feature(agent, "tool_error", (call.name,), _key_of(call.error)))
        for times in _LOOPS:
            if call.earlier + 1 >= times:
                found.add(Feature(agent, "loop", (call.name,), str(times)))
    if run.at_limit:
        found.add(Feature(agent, "hit_limit"))
    return found


def _attempts(run: Run) -> int:
    """How many tool calls it made; -1: unknown."""
    attempts = run.trace.attempts
    return -1 if attempts is None or attempts < 0 else min(attempts, _MOST_ATTEMPTS)


def _agents(runs: Sequence[Run]) -> dict[str, AgentRuns]:
    total = Counter(run.trace.agent for run in runs)
    excused = Counter(run.trace.agent for run in runs if not run.own)
    known = Counter(r.trace.agent for r in runs if r.own and r.trace.success is not None)
    return {name: AgentRuns(total[name], excused[name], known[name]) for name in total}


def _tasks(known: Sequence[Run]) -> tuple[Task, ...]:
    """Of each agent the tasks with the lowest hashes, sorted."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for run in known:
        if run.trace.task is not None:
            names[run.trace.agent].add(run.trace.task)
    return tuple(
        sorted(
            (agent, task)
            for agent, own in names.items()
            for task in heapq.nsmallest(TASKS_KEPT, own, key=task_hash)
        )
    )


def _marks(kept: Having) -> Ints:
    import numpy as np

    marks = [sum(run.mark % 2**32 for run in runs) for runs in kept.values()]
    return np.array(marks, dtype=np.int64)


def _examples(ordered: Sequence[Run], kept: Having) -> tuple[Ints, Ints]:
    """Rows (feature, succeeded, run) of runs with a feature, and of those that use no such tool."""
    import numpy as np

    of_agent: defaultdict[str, set[int]] = defaultdict(set)
    numbers = {}
    for number, run in enumerate(ordered):
        of_agent[run.trace.agent].add(number)
        numbers[run.trace.agent, run.trace.id] = number
    having, lacking = [], []
    for place, (feature, runs) in enumerate(kept.items()):
        own = {numbers[run.trace.agent, run.trace.id] for run in runs}
        having += [(place, number) for number in own]
        if feature.kind == "tool_used":
            lacking += [(place, number) for number in of_agent[feature.agent] - own]
    succeeded = np.array([bool(run.trace.success) for run in ordered], dtype=np.int64)
    found = []
    for pairs in (having, lacking):
        rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        found.append(lowest(np.insert(rows, 1, succeeded[rows[:, 1]], axis=1)))
    return found[0], found[1]


def _cells(kept: Having, tasks: Sequence[Task]) -> Ints:
    numbers = _task_places(tasks)
    cells: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for place, runs in enumerate(kept.values()):
        for run in runs:
            task = numbers.get((run.trace.agent, run.trace.task), -1)
            cells[place, task][bool(run.trace.success)] += 1
    return _sorted_rows(((*key, *counts) for key, counts in cells.items()), 4)


def _task_places(tasks: Sequence[Task]) -> Mapping[tuple[str, str | None], int]:
    return {task: place for place, task in enumerate(tasks)}


def _lengths(kept: Having) -> Ints:
    lengths = Counter(
        (place, _attempts(run))
        for place, (feature, runs) in enumerate(kept.items())
        if feature.kind != "attempts"
        for run in runs
    )
    return _sorted_rows(((*key, count) for key, count in lengths.items()), 3)


def _loops(kept: Having, tasks: Sequence[Task]) -> Ints:
    numbers = _task_places(tasks)
    loops = Counter(
        (
            place,
            numbers.get((run.trace.agent, run.trace.task), -1),
            _since(run, feature),
            _attempts(run),
        )
        for place, (feature, runs) in enumerate(kept.items())
        if feature.kind == "loop"
        for run in runs
    )
    # Calls that a trace counts but does not hold may be fewer than those it holds.
    rows = ((*key, count) for key, count in loops.items() if key[3] >= key[2])
    return _sorted_rows(rows, 5)


def _since(run: Run, feature: Feature) -> int:
    """Which of its calls, from 1, made it a loop."""
    times = int(feature.detail or 0)
    return next(
        place
        for place, call in enumerate(run.calls, 1)
        if (call.name,) == feature.tools and call.earlier + 1 == times
    )


def _sorted_rows(rows: Iterator[tuple[int, ...]], width: int) -> Ints:
    import numpy as np

    return np.array(sorted(rows), dtype=np.int64).reshape(-1, width)


def _said(runs: Sequence[Run]) -> dict[str, tuple[Said, ...]]:
    """What runs said, by agent."""
    by_agent: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.trace.success is not None:
            by_agent[run.trace.agent].append(run)
    return {
        agent: said_in((run.trace for run in own), {run.trace.id: run.mark for run in own})
        for agent, own in by_agent.items()
    }
