"""What mining patterns needs to know of traces, as counts that add up."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.mining.features import AgentRuns, Example, Feature, Task, shown
from tracetune.traces.mining.merging import (
    TASKS_KEPT,
    joined,
    joined_agents,
    joined_by_task,
    joined_examples,
    joined_marks,
    joined_said,
    kept_tasks,
    sorted_features,
)
from tracetune.traces.mining.stratified import Ints
from tracetune.traces.mining.terms import Said

__all__ = ["TASKS_KEPT", "PatternCounts"]

_LAYOUT = 4
_WIDTHS = {"cells": 4, "examples": 3, "lengths": 3, "loops": 5, "unused": 3}
"""The arrays, and how many columns each has."""
_UNREADABLE = (KeyError, TypeError, ValueError, IndexError)


@dataclass(frozen=True, slots=True, eq=False)
class PatternCounts:
    """Counts of some traces; those of two sets that share none merge into those of both.

    Grows with the distinct features × tasks (at most `TASKS_KEPT` of an agent) and features ×
    numbers of tool calls (of loops: with both), not with the number of traces. Two are equal that
    count the same.
    """

    agents: Mapping[str, AgentRuns]
    tasks: tuple[Task, ...]
    """Sorted."""
    features: tuple[Feature, ...]
    """Sorted. Those of kind "attempts" are, together, all runs with a known outcome."""
    marks: Ints
    """Of each feature: equal sums (of one random number per run) tell equal sets of runs."""
    runs: tuple[Example, ...]
    """The runs that are examples of something, sorted."""
    examples: Ints
    """Rows (feature, succeeded, place among `runs`), sorted: up to five runs of either outcome with
    the lowest marks."""
    unused: Ints
    """The same of runs that do not use the tool, by the feature of using it."""
    cells: Ints
    """Rows (feature, task, failed runs, successful runs), sorted; task -1: any other or none."""
    lengths: Ints
    """Rows (feature, tool calls, runs), sorted; -1 tool calls: unknown."""
    loops: Ints
    """Rows (feature, task, call from which on it is a loop, tool calls, runs), sorted; task -1: any
    other or none; calls count from 1. Runs whose number of tool calls is unknown are left out."""
    said: Mapping[str, tuple[Said, ...]]
    """By agent: what a bounded sample of its runs said."""
    least: int = 1
    """Features that fewer runs have were left out."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PatternCounts):
            return NotImplemented
        return self._row() == other._row()

    def merge(self, *others: PatternCounts) -> PatternCounts:
        """The counts of all sets of traces together, the same in any order.

        Raises:
            ValueError: One of them left rare features out: the sums would be too low.
        """
        parts = (self, *others)
        if least := max(part.least for part in parts) - 1:
            raise ValueError(
                f"Counts of features that at least {least + 1} runs have cannot be merged; "
                "expected counts of all features (least=1)."
            )
        features = sorted_features({feature for part in parts for feature in part.features})
        tasks = kept_tasks(task for part in parts for task in part.tasks)
        runs, examples, unused = joined_examples(parts, features)
        return PatternCounts(
            agents=joined_agents(parts),
            tasks=tasks,
            features=features,
            marks=joined_marks(parts, features),
            runs=runs,
            examples=examples,
            unused=unused,
            cells=joined_by_task([part.cells for part in parts], parts, features, tasks, keys=2),
            lengths=joined([part.lengths for part in parts], parts, features),
            loops=joined_by_task([part.loops for part in parts], parts, features, tasks, keys=4),
            said=joined_said(parts),
        )

    def only(self, *, agent: str | None = None, least: int = 1) -> PatternCounts:
        """The counts as if only these had been counted.

        Args:
            agent: One agent's runs.
            least: Features that at least as many runs have.
        """
        import numpy as np

        if agent is None and least <= self.least:
            return self
        known = self.cells[:, 2] + self.cells[:, 3]
        support = np.bincount(self.cells[:, 0], weights=known, minlength=len(self.features))
        places = [
            place
            for place, (feature, count) in enumerate(
                zip(self.features, support.tolist(), strict=True)
            )
            if agent in (None, feature.agent) and (count >= least or feature.kind == "attempts")
        ]
        tasks = [n for n, task in enumerate(self.tasks) if agent in (None, task[0])]
        cells = _moved(self.cells, 0, places, len(self.features))
        loops = _moved(self.loops, 0, places, len(self.features))
        runs, examples, unused = shown(
            self.runs,
            _moved(self.examples, 0, places, len(self.features)),
            _moved(self.unused, 0, places, len(self.features)),
        )
        return PatternCounts(
            agents={name: own for name, own in self.agents.items() if agent in (None, name)},
            tasks=tuple(self.tasks[n] for n in tasks),
            features=tuple(self.features[place] for place in places),
            marks=self.marks[places],
            runs=runs,
            examples=examples,
            unused=unused,
            cells=_moved(cells, 1, tasks, len(self.tasks), others=True),
            lengths=_moved(self.lengths, 0, places, len(self.features)),
            loops=_moved(loops, 1, tasks, len(self.tasks), others=True),
            said={name: own for name, own in self.said.items() if agent in (None, name)},
            least=max(least, self.least),
        )

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to equal counts."""
        import orjson

        return orjson.dumps(self._row()).decode()

    def to_bytes(self) -> bytes:
        """The same, smaller and quicker: a numpy archive that `from_bytes` reads."""
        import numpy as np
        import orjson

        row = self._head()
        arrays = {"head": np.frombuffer(orjson.dumps(row), dtype=np.uint8)}
        for name in _WIDTHS:
            rows: Ints = getattr(self, name)
            for place, column in enumerate(rows.T):
                most = int(np.abs(column).max(initial=0))
                arrays[f"{name}{place}"] = column.astype(np.min_scalar_type(-most - 1))
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> PatternCounts:
        """Read what `to_bytes` wrote.

        Raises:
            TraceError: It is something else, or of another version.
        """
        import zipfile

        import numpy as np
        import orjson

        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                row = orjson.loads(arrays["head"].tobytes())
                for name, width in _WIDTHS.items():
                    columns = [arrays[f"{name}{place}"] for place in range(width)]
                    row[name] = np.stack(columns, axis=1).astype(np.int64)
            return _from_row(row)
        except (*_UNREADABLE, EOFError, OSError, zipfile.BadZipFile) as error:
            raise _unreadable(error) from error

    @classmethod
    def from_json(cls, text: str) -> PatternCounts:
        """Read what `to_json` wrote.

        Raises:
            TraceError: It is something else, or of another version.
        """
        import orjson

        try:
            return _from_row(orjson.loads(text))
        except _UNREADABLE as error:
            raise _unreadable(error) from error

    def _row(self) -> dict[str, Any]:
        arrays: dict[str, Ints] = {name: getattr(self, name) for name in _WIDTHS}
        return self._head() | {name: rows.ravel().tolist() for name, rows in arrays.items()}

    def _head(self) -> dict[str, Any]:
        """All but the arrays."""
        return {
            "layout": _LAYOUT,
            "least": self.least,
            "agents": [
                [name, runs.total, runs.excused, runs.known]
                for name, runs in sorted(self.agents.items())
            ],
            "tasks": self.tasks,
            "features": _columns(self.features, Feature._fields),
            "marks": self.marks.tolist(),
            "runs": _columns(self.runs, ("mark", "id")),
            "said": [
                [agent, _columns(found, Said._fields)] for agent, found in sorted(self.said.items())
            ],
        }


def _columns(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> list[Sequence[Any]]:
    """A list per field: to read one per row back would take twice as long."""
    return list(zip(*rows, strict=True)) or [()] * len(names)


def _unreadable(error: Exception) -> TraceError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return TraceError(f"These are no counts of patterns of layout {_LAYOUT}: {reason}.")


def _from_row(row: Mapping[str, Any]) -> PatternCounts:
    import numpy as np

    if row["layout"] != _LAYOUT:
        raise ValueError(f"layout {row['layout']!r}")
    agents, kinds, tools, details = row["features"]
    features = zip(agents, kinds, map(tuple, tools), details, strict=True)
    return PatternCounts(
        agents={name: AgentRuns(*counts) for name, *counts in row["agents"]},
        tasks=tuple((agent, task) for agent, task in row["tasks"]),
        features=tuple(map(Feature._make, features)),
        marks=np.array(row["marks"], dtype=np.int64),
        runs=tuple(zip(*row["runs"], strict=True)),
        **{
            name: np.asarray(row[name], dtype=np.int64).reshape(-1, width)
            for name, width in _WIDTHS.items()
        },
        said={
            agent: tuple(map(Said._make, zip(*columns, strict=True)))
            for agent, columns in row["said"]
        },
        least=row["least"],
    )


def _moved(rows: Ints, column: int, wanted: list[int], count: int, *, others: bool = False) -> Ints:
    """The rows that have one of these places in a column, with its place among them instead.

    Args:
        count: How many places there are.
        others: Keep the rows with -1 too.
    """
    import numpy as np

    to = np.full(count + 1, -1, dtype=np.int64)
    to[wanted] = np.arange(len(wanted))
    places = to[rows[:, column]]
    kept = np.arange(len(rows)) if others else np.flatnonzero(places >= 0)
    moved = rows[kept]
    moved[:, column] = places[kept]
    return moved
