"""What mining patterns needs to know of traces, as counts that add up."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.mining.features import AgentRuns, Examples, Feature, Task, lowest
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import Said, join_said, task_hash

__all__ = ["TASKS_KEPT", "PatternCounts"]

TASKS_KEPT = 1000
"""How many tasks of each agent runs are compared within: those with the lowest MD5."""

_LAYOUT = 1


@dataclass(frozen=True, slots=True, eq=False)
class PatternCounts:
    """Counts of some traces; those of two sets that share none merge into those of both.

    Grows with the distinct features × tasks (at most `TASKS_KEPT` of an agent) and features ×
    numbers of tool calls, not with the number of traces. Two are equal that count the same.
    """

    agents: Mapping[str, AgentRuns]
    tasks: tuple[Task, ...]
    """Sorted."""
    features: tuple[Feature, ...]
    """Sorted. Those of kind "attempts" are, together, all runs with a known outcome."""
    marks: tuple[int, ...]
    """Of each feature: equal sums (of one random number per run) tell equal sets of runs."""
    examples: tuple[Examples, ...]
    """Of each feature."""
    unused: Mapping[Feature, Examples]
    """By the feature of using a tool: runs that do not."""
    cells: Ints
    """Rows (feature, task, failed runs, successful runs), sorted; task -1: any other or none."""
    lengths: Ints
    """Rows (feature, tool calls, runs), sorted; -1 tool calls: unknown."""
    said: Mapping[str, tuple[Said, ...]]
    """By agent: what a bounded sample of its runs said."""
    least: int = 1
    """Features that fewer runs have were left out."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PatternCounts):
            return NotImplemented
        return self._row() == other._row()

    def merge(self, other: PatternCounts) -> PatternCounts:
        """The counts of both sets of traces together, the same in any order.

        Raises:
            ValueError: One of them left rare features out: the sums would be too low.
        """
        parts = (self, other)
        if least := max(part.least for part in parts) - 1:
            raise ValueError(
                f"Counts of features that at least {least + 1} runs have cannot be merged; "
                "expected counts of all features (least=1)."
            )
        features = _sorted({feature for part in parts for feature in part.features})
        tasks = _kept_tasks(task for part in parts for task in part.tasks)
        marks, examples = _per_feature(parts, features)
        return PatternCounts(
            agents=_joined_agents(parts),
            tasks=tasks,
            features=features,
            marks=marks,
            examples=examples,
            unused=_joined_unused(parts, features),
            cells=_joined_cells(parts, features, tasks),
            lengths=_joined_lengths(parts, features),
            said=_joined_said(parts),
        )

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to equal counts."""
        import orjson

        return orjson.dumps(self._row()).decode()

    @classmethod
    def from_json(cls, text: str) -> PatternCounts:
        """Read what `to_json` wrote.

        Raises:
            TraceError: It is something else, or of another version.
        """
        import orjson

        try:
            row = orjson.loads(text)
            if row["layout"] != _LAYOUT:
                raise ValueError(f"layout {row['layout']!r}")
            return _from_row(row)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise TraceError(
                f"These are no counts of patterns of layout {_LAYOUT}: {reason}."
            ) from error

    def _row(self) -> dict[str, Any]:
        places = {feature: place for place, feature in enumerate(self.features)}
        return {
            "layout": _LAYOUT,
            "least": self.least,
            "agents": [
                [name, runs.total, runs.infrastructure, runs.known]
                for name, runs in sorted(self.agents.items())
            ],
            "tasks": [list(task) for task in self.tasks],
            "features": [
                [f.agent, f.kind, list(f.tools), f.detail, mark, _listed(sides)]
                for f, mark, sides in zip(self.features, self.marks, self.examples, strict=True)
            ],
            "unused": sorted([places[f], _listed(sides)] for f, sides in self.unused.items()),
            "cells": self.cells.ravel().tolist(),
            "lengths": self.lengths.ravel().tolist(),
            "said": [
                [agent, [said.row() for said in found]]
                for agent, found in sorted(self.said.items())
            ],
        }


def _from_row(row: Mapping[str, Any]) -> PatternCounts:
    import numpy as np

    features = tuple(Feature(r[0], r[1], tuple(r[2]), r[3]) for r in row["features"])
    return PatternCounts(
        agents={name: AgentRuns(*counts) for name, *counts in row["agents"]},
        tasks=tuple((agent, task) for agent, task in row["tasks"]),
        features=features,
        marks=tuple(r[4] for r in row["features"]),
        examples=tuple(_sides(r[5]) for r in row["features"]),
        unused={features[place]: _sides(sides) for place, sides in row["unused"]},
        cells=np.array(row["cells"], dtype=np.int64).reshape(-1, 4),
        lengths=np.array(row["lengths"], dtype=np.int64).reshape(-1, 3),
        said={agent: tuple(Said.of(r) for r in found) for agent, found in row["said"]},
        least=row["least"],
    )


def _listed(sides: Examples) -> list[list[list[Any]]]:
    return [[list(run) for run in side] for side in sides]


def _sides(rows: Any) -> Examples:
    failing, succeeding = (tuple((mark, id) for mark, id in side) for side in rows)
    return failing, succeeding


def _sorted(features: Iterable[Feature]) -> tuple[Feature, ...]:
    return tuple(sorted(features, key=Feature.key))


def _joined_agents(parts: Sequence[PatternCounts]) -> dict[str, AgentRuns]:
    joined: dict[str, AgentRuns] = {}
    for part in parts:
        for name, runs in part.agents.items():
            old = joined.get(name, AgentRuns(0, 0, 0))
            joined[name] = AgentRuns(
                old.total + runs.total,
                old.infrastructure + runs.infrastructure,
                old.known + runs.known,
            )
    return joined


def _kept_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
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


def _per_feature(
    parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> tuple[tuple[int, ...], tuple[Examples, ...]]:
    marks: dict[Feature, int] = {}
    sides: dict[Feature, list[Examples]] = {}
    for part in parts:
        for feature, mark, found in zip(part.features, part.marks, part.examples, strict=True):
            marks[feature] = marks.get(feature, 0) + mark
            sides.setdefault(feature, []).append(found)
    return tuple(marks[f] for f in features), tuple(lowest(sides[f]) for f in features)


def _joined_unused(
    parts: Sequence[PatternCounts], features: Sequence[Feature]
) -> dict[Feature, Examples]:
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


def _joined_cells(
    parts: Sequence[PatternCounts], features: Sequence[Feature], tasks: Sequence[Task]
) -> Ints:
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


def _joined_lengths(parts: Sequence[PatternCounts], features: Sequence[Feature]) -> Ints:
    import numpy as np

    places = _places(features)
    rows = []
    for part in parts:
        moved = part.lengths.copy()
        to = np.array([places[f] for f in part.features], dtype=np.int64)
        moved[:, 0] = to[moved[:, 0]]
        rows.append(moved)
    return summed(np.concatenate(rows), 2)


def _places(things: Sequence[Any]) -> dict[Any, int]:
    return {thing: place for place, thing in enumerate(things)}


def _joined_said(parts: Sequence[PatternCounts]) -> dict[str, tuple[Said, ...]]:
    agents = {agent for part in parts for agent in part.said}
    return {
        agent: join_said(said for part in parts for said in part.said.get(agent, ()))
        for agent in agents
    }
