"""Joining counts of sets of traces that share none."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tracetune.traces.mining.features import AgentRuns, Examples, Feature, Task, lowest
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import Said, join_said, task_hash

if TYPE_CHECKING:
    from tracetune.traces.mining.pattern_counts import PatternCounts

__all__ = [
    "TASKS_KEPT",
    "joined",
    "joined_agents",
    "joined_cells",
    "joined_said",
    "joined_unused",
    "kept_tasks",
    "per_feature",
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


def per_feature(
    parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> tuple[tuple[int, ...], tuple[Examples, ...]]:
    """Of each feature the mark and the examples."""
    marks: dict[Feature, int] = {}
    sides: dict[Feature, list[Examples]] = {}
    for part in parts:
        for feature, mark, found in zip(part.features, part.marks, part.examples, strict=True):
            marks[feature] = marks.get(feature, 0) + mark
            sides.setdefault(feature, []).append(found)
    return tuple(marks[f] for f in features), tuple(lowest(sides[f]) for f in features)


def joined_unused(
    parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> dict[Feature, Examples]:
    """By the feature of using a tool: runs that do not."""
    owned = [frozenset(part.features) for part in parts]
    anyone = [_anyone(part) for part in parts]
    nobody: Examples = ((), ())
    joined = {}
    for feature in features:
        if feature.kind == "tool_used":
            # Where no run of a part uses the tool, all of the agent's runs lack it.
            joined[feature] = lowest(
                part.unused.get(feature, nobody)
                if feature in own
                else everyone.get(feature.agent, nobody)
                for part, own, everyone in zip(parts, owned, anyone, strict=True)
            )
    return {feature: sides for feature, sides in joined.items() if sides != nobody}


def _anyone(part: PatternCounts) -> dict[str, Examples]:
    """The lowest marks among all of each agent's runs."""
    found: dict[str, list[Examples]] = {}
    for feature, sides in zip(part.features, part.examples, strict=True):
        if feature.kind == "attempts":
            found.setdefault(feature.agent, []).append(sides)
    return {agent: lowest(sides) for agent, sides in found.items()}


def joined_cells(
    parts: Sequence[PatternCounts], features: Sequence[Feature], tasks: Sequence[Task]
) -> Ints:
    """Rows (feature, task, failed runs, successful runs), by place among those given; sorted."""
    import numpy as np

    places, numbers = _places(features), _places(tasks)
    rows = []
    for part in parts:
        moved = part.cells.copy()
        feature_to = np.array([places[f] for f in part.features], dtype=np.int64)
        # A task of -1 finds the last entry.
        task_to = np.array([numbers.get(t, -1) for t in part.tasks] + [-1], dtype=np.int64)
        moved[:, 0] = feature_to[moved[:, 0]]
        moved[:, 1] = task_to[moved[:, 1]]
        rows.append(moved)
    return summed(np.concatenate(rows), 2)


def joined(
    counts: Sequence[Ints], parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> Ints:
    """One array of each part, its rows (feature, …, runs), by place among those given; sorted."""
    import numpy as np

    places = _places(features)
    rows = []
    for own, part in zip(counts, parts, strict=True):
        moved = own.copy()
        to = np.array([places[f] for f in part.features], dtype=np.int64)
        moved[:, 0] = to[moved[:, 0]]
        rows.append(moved)
    return summed(np.concatenate(rows), counts[0].shape[1] - 1)


def _places(things: Sequence[Any]) -> dict[Any, int]:
    return {thing: place for place, thing in enumerate(things)}


def joined_said(parts: Sequence[PatternCounts]) -> dict[str, tuple[Said, ...]]:
    """By agent: what the runs with the lowest marks said."""
    agents = {agent for part in parts for agent in part.said}
    return {
        agent: join_said(said for part in parts for said in part.said.get(agent, ()))
        for agent in agents
    }
