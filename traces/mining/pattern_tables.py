"""Counting what patterns are mined from, by the SQL in `traces/sql`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.mining.features import AgentRuns, Examples, Feature, Task
from tracetune.traces.mining.pattern_counts import TASKS_KEPT, PatternCounts
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import RUNS_SAID, Said, said_in
from tracetune.traces.model import Trace

__all__ = ["Queried", "count_patterns"]

_KINDS = (
    "attempts",
    "tool_used",
    "tool_error",
    "tool_error",
    "any_error",
    "tool_pair",
    "tool_triple",
    "first_tool",
    "last_tool",
    "loop",
    "hit_limit",
)
"""By the number that pattern_features.sql gives them."""
_BITS = 19
_OF_RUN = ("attempts", "any_error", "hit_limit")
_LARGE = ("pattern_calls", "pattern_cells", "pattern_features", "pattern_missing", "pattern_runs")

Row = Mapping[str, Any]


class Queried(Protocol):
    """Runs, calls and labels as tables: what `TraceTables` offers, and any engine may."""

    def query(self, name: str, /, **params: Any) -> list[dict[str, Any]]:
        """The rows of `traces/sql/<name>.sql`; none where it makes a table."""
        ...

    def put(self, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        """Replace a small helper table."""
        ...

    def traces(self, agent: str, ids: Iterable[str]) -> list[Trace]:
        """The runs with these ids that are in a bounded sample of whole runs."""
        ...


def count_patterns(tables: Queried, *, agent: str | None = None, least: int = 1) -> PatternCounts:
    """Count what patterns are mined from.

    Args:
        agent: Look at this agent's runs only.
        least: Leave out features that fewer runs have: smaller, but such counts do not merge.
    """
    try:
        _prepare(tables, agent)
        return _read(tables, agent, least)
    finally:
        _drop(tables, *_LARGE)


def _prepare(tables: Queried, agent: str | None) -> None:
    tables.query("pattern_agents", agent=agent)
    tables.query("pattern_tasks", agent=agent, most=TASKS_KEPT)
    tables.query("pattern_runs")
    tables.query("pattern_tools", agent=agent)
    tables.query("pattern_errors", agent=agent)
    for name in ("calls", "loops", "features"):
        tables.query(f"pattern_{name}")
    # From here on the features are all that is needed of the calls, which take much room.
    _drop(tables, "pattern_calls")
    for name in ("cells", "missing"):
        tables.query(f"pattern_{name}")


def _drop(tables: Queried, *names: str) -> None:
    for name in names:
        tables.put(name, {"run": ("BIGINT", [])})


def _read(tables: Queried, agent: str | None, least: int) -> PatternCounts:
    known = {row["agent"]: row for row in tables.query("known_runs", agent=agent)}
    tasks = tables.query("pattern_task_numbers")
    kept_tasks = tuple(sorted((row["agent"], row["task"]) for row in tasks))
    names = _Names(tables.query("pattern_names"))
    rows = {
        names.feature(row["feature"], row["error_key"]): row
        for row in tables.query("pattern_totals", least=least)
    }
    features = tuple(sorted(rows, key=Feature.key))
    ordered = [rows[feature] for feature in features]
    examples = _examples(tables.query("pattern_lowest", least=least))
    unused = _examples(tables.query("pattern_unused"))
    nobody: Examples = ((), ())
    return PatternCounts(
        agents={name: _agent(row) for name, row in known.items()},
        tasks=kept_tasks,
        features=features,
        marks=tuple(int(row["marks"]) for row in ordered),
        examples=tuple(examples.get(row["feature"], nobody) for row in ordered),
        unused={
            feature: unused[row["feature"]]
            for feature, row in zip(features, ordered, strict=True)
            if row["feature"] in unused
        },
        cells=_cells(features, ordered, tasks, kept_tasks),
        lengths=_lengths(features, ordered),
        said=_said(tables, agent),
        least=least,
    )


class _Names:
    """What the numbers in a feature stand for."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._agents: dict[int, str] = {}
        self._tools: dict[int, tuple[str, str]] = {}
        for row in rows:
            if row["name"] is None:
                self._agents[row["number"]] = row["agent"]
            elif row["number"] == 2**_BITS - 1:
                self._tools[row["number"]] = row["agent"], "(another tool)"
            else:
                self._tools[row["number"]] = row["agent"], row["name"]

    def feature(self, number: int, error_key: str | None) -> Feature:
        kind_number, first = number >> 3 * _BITS, number >> 2 * _BITS & 2**_BITS - 1
        second, third = number >> _BITS & 2**_BITS - 1, number & 2**_BITS - 1
        kind = _KINDS[kind_number]
        if kind in _OF_RUN:
            attempts = (number & 2 ** (2 * _BITS) - 1) - 1
            return Feature(
                self._agents[first], kind, (), str(attempts) if not kind_number else None
            )
        agent, tool = self._tools[first]
        if kind in ("tool_pair", "tool_triple"):
            others = [self._tools[n][1] for n in (second, third) if n]
            return Feature(agent, kind, (tool, *others))
        detail = str(third) if kind == "loop" else error_key
        return Feature(agent, kind, (tool,), detail)


def _agent(row: Row) -> AgentRuns:
    return AgentRuns(row["total"], int(row["infrastructure"]), row["runs"])


def _examples(rows: Iterable[Row]) -> dict[int, Examples]:
    """By the number of the feature."""
    found: dict[int, tuple[list[tuple[int, str]], list[tuple[int, str]]]] = {}
    for row in rows:
        side = found.setdefault(row["feature"], ([], []))[row["success"]]
        side.append((row["mark"], row["trace_id"]))
    return {
        number: (tuple(sorted(bad)), tuple(sorted(good))) for number, (bad, good) in found.items()
    }


def _cells(
    features: Sequence[Feature],
    rows: Sequence[Row],
    numbered: Iterable[Row],
    tasks: Sequence[Task],
) -> Ints:
    import numpy as np

    place, task, failed, succeeded = _numbers(rows, "tasks", 3).T
    agents = {agent: n for n, agent in enumerate(sorted({f.agent for f in features}))}
    to = np.full((len(agents), TASKS_KEPT + 1), -1, dtype=np.int64)
    numbers = {(row["agent"], row["task"]): row["number"] for row in numbered}
    for index, (agent, name) in enumerate(tasks):
        to[agents[agent], numbers[agent, name]] = index
    of_feature = np.array([agents[f.agent] for f in features], dtype=np.int64)
    return summed(np.stack([place, to[of_feature[place], task], failed, succeeded], axis=1), 2)


def _lengths(features: Sequence[Feature], rows: Sequence[Row]) -> Ints:
    import numpy as np

    found = _numbers(rows, "lengths", 2)
    of_runs = np.array([feature.kind == "attempts" for feature in features], dtype=bool)
    return summed(found[~of_runs[found[:, 0]]], 2)


def _numbers(rows: Sequence[Row], column: str, width: int) -> Ints:
    """The numbers in a column's texts, `width` a row, each behind its feature's place."""
    import numpy as np

    texts = [row[column] for row in rows]
    if not texts:
        return np.zeros((0, width + 1), dtype=np.int64)
    flat = np.fromstring(",".join(texts), dtype=np.int64, sep=",").reshape(-1, width)
    counts = [(text.count(",") + 1) // width for text in texts]
    return np.concatenate([np.repeat(np.arange(len(rows)), counts)[:, None], flat], axis=1)


def _said(tables: Queried, agent: str | None) -> dict[str, tuple[Said, ...]]:
    """What runs said, by agent."""
    ids: dict[str, dict[bool, list[str]]] = {}
    for row in tables.query("pattern_sampled", agent=agent):
        sides = ids.setdefault(row["agent"], {False: [], True: []})
        sides[row["success"]].append(row["trace_id"])
    return {name: _said_by(tables, name, sides) for name, sides in ids.items()}


def _said_by(tables: Queried, agent: str, sides: Mapping[bool, Sequence[str]]) -> tuple[Said, ...]:
    first = [id for side in sides.values() for id in side[:RUNS_SAID]]
    traces = tables.traces(agent, first)
    found = Counter(trace.success for trace in traces)
    # Huge runs are not kept: others that come next take their places.
    more = [
        id
        for success, side in sides.items()
        if found[success] < RUNS_SAID
        for id in side[RUNS_SAID:]
    ]
    if more:
        traces += tables.traces(agent, more)
    return said_in(traces, {trace.id: mark_of(agent, trace.id) for trace in traces})
