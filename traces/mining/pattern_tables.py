"""Counting what patterns are mined from, by the SQL in `traces/sql`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tracetune.traces.mining.features import AgentRuns, Examples, Feature, Task
from tracetune.traces.mining.pattern_counts import TASKS_KEPT, PatternCounts
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import RUNS_SAID, Said, Speaker, said_by
from tracetune.traces.model import Trace

__all__ = ["Queried", "count_few", "count_patterns"]

_KINDS = (
    "",
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
    "attempts",
)
"""By the number that pattern_features.sql gives them."""
_BITS = 16
_LARGE = (
    "pattern_calls",
    "pattern_cells",
    "pattern_lengths",
    "pattern_loops",
    "pattern_missing",
    "pattern_rare",
    "pattern_runs",
)

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

    def clean_rows(self, agent: str, ids: Iterable[str]) -> dict[str, dict[str, Any]] | None:
        """The same as canonical rows, by id; None where they may hold secrets."""
        ...


def count_patterns(tables: Queried, *, agent: str | None = None, least: int = 1) -> PatternCounts:
    """Count what patterns are mined from.

    Args:
        agent: Look at this agent's runs only.
        least: Leave out features that fewer runs have: smaller, but such counts do not merge.
    """
    with _prepared(tables, agent):
        return _read(tables, agent, least)


def count_few(tables: Queried, most: int) -> PatternCounts | None:
    """The same of all agents and features; None where these × tasks are more than `most`."""
    with _prepared(tables, None):
        [size] = tables.query("pattern_size")
        return _read(tables, None, 1) if size["cells"] <= most else None


@contextlib.contextmanager
def _prepared(tables: Queried, agent: str | None) -> Iterator[None]:
    try:
        _prepare(tables, agent)
        yield
    finally:
        _drop(tables, *_LARGE)


def _prepare(tables: Queried, agent: str | None) -> None:
    tables.query("pattern_agents", agent=agent)
    tables.query("pattern_tasks", agent=agent, most=TASKS_KEPT)
    tables.query("pattern_runs")
    tables.query("pattern_tools", agent=agent)
    tables.query("pattern_errors", agent=agent)
    for name in ("calls", "loops", "rare", "features", "cells", "lengths", "missing"):
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
        loops=_loops(ordered, tables.query("pattern_since")),
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
        kind_number = min(number >> 3 * _BITS, len(_KINDS) - 1)
        kind, rest = _KINDS[kind_number], number - (kind_number << 3 * _BITS)
        if kind == "attempts":
            attempts = rest % 2 ** (2 * _BITS) - 1
            return Feature(self._agents[rest >> 2 * _BITS], kind, (), str(attempts))
        if kind in ("any_error", "hit_limit"):
            return Feature(self._agents[rest], kind)
        first, second, third = (rest >> n * _BITS & 2**_BITS - 1 for n in (2, 1, 0))
        agent, tool = self._tools[first]
        if kind in ("tool_pair", "tool_triple"):
            others = [self._tools[n][1] for n in (second, third) if n]
            return Feature(agent, kind, (tool, *others))
        detail = str(third) if kind == "loop" else error_key
        return Feature(agent, kind, (tool,), detail)


def _agent(row: Row) -> AgentRuns:
    return AgentRuns(row["total"], int(row["excused"]), row["runs"])


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


def _loops(features: Sequence[Row], rows: Sequence[Row]) -> Ints:
    import numpy as np

    places = {row["feature"]: place for place, row in enumerate(features)}
    found = [
        (places[row["feature"]], row["since"], row["attempts"], row["runs"])
        for row in rows
        if row["feature"] in places
    ]
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 4)


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
    found: dict[str, dict[bool, list[Speaker]]] = {}
    for row in tables.query("pattern_sampled", agent=agent):
        sides = found.setdefault(row["agent"], {False: [], True: []})
        known = (row["mark"], row["trace_id"], row["success"], row["own"], row["task"])
        sides[row["success"]].append(Speaker(*known, row["attempts"]))
    return {name: _said_by(tables, name, sides) for name, sides in found.items()}


def _said_by(
    tables: Queried, agent: str, sides: Mapping[bool, Sequence[Speaker]]
) -> tuple[Said, ...]:
    first = [speaker for side in sides.values() for speaker in side[:RUNS_SAID]]
    runs = _whole(tables, agent, first)
    found = Counter(speaker.success for speaker, _ in runs)
    # Huge runs are not kept: others that come next take their places.
    more = [
        speaker
        for success, side in sides.items()
        if found[success] < RUNS_SAID
        for speaker in side[RUNS_SAID:]
    ]
    return said_by([*runs, *_whole(tables, agent, more)])


def _whole(
    tables: Queried, agent: str, speakers: Sequence[Speaker]
) -> list[tuple[Speaker, Trace | Row]]:
    """Those of the runs that are in the sample of whole runs."""
    known = {speaker.id: speaker for speaker in speakers}
    if not known:
        return []
    rows = tables.clean_rows(agent, known)
    if rows is not None:
        return [(known[id], row) for id, row in rows.items()]
    return [(known[trace.id], trace) for trace in tables.traces(agent, known)]
