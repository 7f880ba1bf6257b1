"""Joining counts of sets of traces that share none."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracetune.traces.mining.features import AgentRuns, Example, Feature, Task, lowest, shown
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import Said, join_said, task_hash

if TYPE_CHECKING:
    from tracetune.traces.mining.pattern_counts import PatternCounts

__all__ = [
    "TASKS_KEPT",
    "joined",
    "joined_agents",
    "joined_by_task",
    "joined_examples",
    "joined_marks",
    "joined_said",
    "kept_tasks",
    "sorted_features",
]

TASKS_KEPT = 1000
"""How many tasks of each agent runs are compared within: those with the lowest MD5."""


def sorted_features(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """The features in their order."""
    return tuple(sorted(features, key=Feature.key))


def joined_agents(parts: Sequence[PatternCounts]) -> dict[str, AgentRuns]:
    """How many runs each agent has in all parts."""
    joined: dict[str, AgentRuns] = {}
    for part in parts:
        for name, runs in part.agents.items():
            old = joined.get(name, AgentRuns(0, 0, 0))
            joined[name] = AgentRuns(
                old.total + runs.total,
                old.excused + runs.excused,
                old.known + runs.known,
            )
    return joined


def kept_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Of each agent the tasks with the lowest hashes, as pattern_tasks.sql chooses them."""
    by_agent: dict[str, set[str]] = {}
    for agent, task in tasks:
        by_agent.setdefault(agent, set()).add(task)
    return tuple(
        sorted(
            (agent, task)
            for agent, names in by_agent.items()
            for task in heapq.nsmallest(TASKS_KEPT, names, key=task_hash)
        )
    )


def joined_marks(parts: Sequence[PatternCounts], features: Sequence[Feature]) -> Ints:
    """The mark of each feature."""
    import numpy as np

    marks = np.zeros(len(features), dtype=np.int64)
    places = _places(features)
    for part in parts:
        marks[_moves(part.features, places)] += part.marks
    return marks


def joined_examples(
    parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> tuple[tuple[Example, ...], Ints, Ints]:
    """The runs that are examples; rows of those with a feature, and of those without its tool."""
    import numpy as np

    runs = sorted({run for part in parts for run in part.runs})
    places, numbers = _places(features), _places(runs)
    having: list[Ints] = []
    lacking: list[Ints] = []
    for part in parts:
        feature_to, run_to = _moves(part.features, places), _moves(part.runs, numbers)
        for rows, joined_rows in ((part.examples, having), (part.unused, lacking)):
            outcome, run = rows[:, 1], run_to[rows[:, 2]]
            joined_rows.append(np.column_stack([feature_to[rows[:, 0]], outcome, run]))
        # Where no run of a part uses a tool, all of the agent's runs lack it.
        known, anyone = frozenset(part.features), _anyone(part)
        for place, feature in enumerate(features):
            if feature.kind == "tool_used" and feature not in known and feature.agent in anyone:
                outcome, run = anyone[feature.agent].T
                lacking.append(np.column_stack([np.full_like(run, place), outcome, run_to[run]]))
    return shown(runs, lowest(np.concatenate(having)), lowest(np.concatenate(lacking)))


def _anyone(part: PatternCounts) -> dict[str, Ints]:
    """Rows (succeeded, run) of the lowest marks among all of each agent's runs."""
    import numpy as np

    agents = sorted(part.agents)
    numbers = _places(agents)
    of = [numbers[f.agent] if f.kind == "attempts" else -1 for f in part.features]
    owners = np.array(of, dtype=np.int64)[part.examples[:, 0]]
    rows = np.column_stack([owners, part.examples[:, 1:]])
    rows = lowest(rows[owners >= 0])
    return {agent: rows[rows[:, 0] == n, 1:] for n, agent in enumerate(agents)}


def joined_by_task(
    counts: Sequence[Ints],
    parts: Sequence[PatternCounts],
    features: Sequence[Feature],
    tasks: Sequence[Task],
    *,
    keys: int,
) -> Ints:
    """One array of each part, its rows (feature, task, …), by place among those given; sorted.

    Args:
        keys: The first columns, by which the others are summed.
    """
    import numpy as np

    places, numbers = _places(features), _places(tasks)
    rows = []
    for own, part in zip(counts, parts, strict=True):
        moved = own.copy()
        # A task of -1 finds the last entry.
        task_to = np.array([numbers.get(t, -1) for t in part.tasks] + [-1], dtype=np.int64)
        moved[:, 0] = _moves(part.features, places)[moved[:, 0]]
        moved[:, 1] = task_to[moved[:, 1]]
        rows.append(moved)
    return summed(np.concatenate(rows), keys)


def joined(
    counts: Sequence[Ints], parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> Ints:
    """One array of each part, its rows (feature, …, runs), by place among those given; sorted."""
    import numpy as np

    places = _places(features)
    rows = []
    for own, part in zip(counts, parts, strict=True):
        moved = own.copy()
        moved[:, 0] = _moves(part.features, places)[moved[:, 0]]
        rows.append(moved)
    return summed(np.concatenate(rows), counts[0].shape[1] - 1)


def _places(things: Sequence[Any]) -> dict[Any, int]:
    return {thing: place for place, thing in enumerate(things)}


def _moves(things: Sequence[Any], places: Mapping[Any, int]) -> Ints:
    """Where each of them is among the others, by its place among these."""
    import numpy as np

    return np.array([places[thing] for thing in things], dtype=np.int64)


def joined_said(parts: Sequence[PatternCounts]) -> dict[str, tuple[Said, ...]]:
    """By agent: what the runs with the lowest marks said."""
    agents = {agent for part in parts for agent in part.said}
    return {
        agent: join_said(said for part in parts for said in part.said.get(agent, ()))
        for agent in agents
    }
