"""Counting what patterns are mined from, by the SQL in `traces/sql`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tracetune.traces.mining.features import AgentRuns, Example, Feature, Task, lowest, shown
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
    "pattern_examples",
    "pattern_lengths",
    "pattern_loops",
    "pattern_missing",
    "pattern_rare",
    "pattern_runs",
)

_AGENTS_AT_ONCE = 4
"""Agents whose runs' lines, of up to 128 MB each, are held at once."""

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

    def clean_lines(self, runs: Collection[tuple[str, str]]) -> list[tuple[str, str, str]] | None:
        """Agent, id and line of JSON of the runs, given by agent and id, that are in the sample;
        None where lines may hold secrets."""
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
    import numpy as np

    known = {row["agent"]: row for row in tables.query("known_runs", agent=agent)}
    tasks = tables.query("pattern_task_numbers")
    kept_tasks = tuple(sorted((row["agent"], row["task"]) for row in tasks))
    names = _Names(tables.query("pattern_names"))
    tables.query("pattern_examples", least=least)
    rows = {
        names.feature(row["feature"], row["error_key"]): row
        for row in tables.query("pattern_totals", least=least)
    }
    features = tuple(sorted(rows, key=Feature.key))
    ordered = [rows[feature] for feature in features]
    runs, examples, unused = _examples(ordered, tables.query("pattern_shown"))
    places = _task_places(features, tasks, kept_tasks)
    return PatternCounts(
        agents={name: _agent(row) for name, row in known.items()},
        tasks=kept_tasks,
        features=features,
        marks=np.array([int(row["marks"]) for row in ordered], dtype=np.int64),
        runs=runs,
        examples=examples,
        unused=unused,
        cells=_placed(_numbers(ordered, "tasks", 3), places, 2),
        lengths=_lengths(features, ordered),
        loops=_placed(_loops(ordered, tables.query("pattern_since")), places, 4),
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


def _examples(rows: Sequence[Row], found: Sequence[Row]) -> tuple[tuple[Example, ...], Ints, Ints]:
    """The runs that are examples; rows of those with a feature, and of those without its tool."""
    import numpy as np

    named = {row["run"]: (row["mark"], row["trace_id"]) for row in found}
    runs = sorted(set(named.values()))
    places = {run: place for place, run in enumerate(runs)}
    numbers = np.array(sorted(named), dtype=np.int64)
    place_of = np.array([places[named[number]] for number in numbers.tolist()], dtype=np.int64)
    examples = _numbers(rows, "examples", 2)
    examples[:, 2] = place_of[np.searchsorted(numbers, examples[:, 2])]
    lacking = examples[:, 1] > 1
    examples[:, 1] %= 2
    return shown(runs, lowest(examples[~lacking]), lowest(examples[lacking]))


def _task_places(
    features: Sequence[Feature], numbered: Iterable[Row], tasks: Sequence[Task]
) -> Ints:
    """A row per feature: by its number the place of each of its agent's tasks; -1: any other."""
    import numpy as np

    agents = {agent: n for n, agent in enumerate(sorted({f.agent for f in features}))}
    to = np.full((len(agents), TASKS_KEPT + 1), -1, dtype=np.int64)
    numbers = {(row["agent"], row["task"]): row["number"] for row in numbered}
    for index, (agent, name) in enumerate(tasks):
        to[agents[agent], numbers[agent, name]] = index
    return to[[agents[feature.agent] for feature in features]]


def _placed(rows: Ints, places: Ints, keys: int) -> Ints:
    """Rows (feature, number of a task, …) with the task's place instead, summed and sorted."""
    rows[:, 1] = places[rows[:, 0], rows[:, 1]]
    return summed(rows, keys)


def _lengths(features: Sequence[Feature], rows: Sequence[Row]) -> Ints:
    import numpy as np

    found = _numbers(rows, "lengths", 2)
    of_runs = np.array([feature.kind == "attempts" for feature in features], dtype=bool)
    return summed(found[~of_runs[found[:, 0]]], 2)


def _loops(features: Sequence[Row], rows: Iterable[Row]) -> Ints:
    found = {row["feature"]: row for row in rows}
    return _numbers([found.get(row["feature"], {"loops": None}) for row in features], "loops", 4)


def _numbers(rows: Sequence[Row], column: str, width: int) -> Ints:
    """The numbers in a column's texts, `width` a row, each behind its feature's place."""
    import numpy as np

    texts = [row[column] or "" for row in rows]
    counts = [(text.count(",") + 1) // width for text in texts]
    joined = ",".join(filter(None, texts))
    flat = np.fromstring(joined, dtype=np.int64, sep=",").reshape(-1, width)
    return np.concatenate([np.repeat(np.arange(len(rows)), counts)[:, None], flat], axis=1)


def _said(tables: Queried, agent: str | None) -> dict[str, tuple[Said, ...]]:
    """What runs said, by agent."""
    sides: dict[tuple[str, bool], list[Speaker]] = {}
    for row in tables.query("pattern_sampled", agent=agent):
        known = (row["mark"], row["trace_id"], row["success"], row["own"], row["task"])
        side = sides.setdefault((row["agent"], row["success"]), [])
        side.append(Speaker(*known, row["attempts"]))
    agents = list(dict.fromkeys(name for name, _ in sides))
    said: dict[str, tuple[Said, ...]] = {}
    for start in range(0, len(agents), _AGENTS_AT_ONCE):
        some = agents[start : start + _AGENTS_AT_ONCE]
        said |= _said_by(tables, {key: side for key, side in sides.items() if key[0] in some})
    return said


def _said_by(
    tables: Queried, sides: Mapping[tuple[str, bool], Sequence[Speaker]]
) -> dict[str, tuple[Said, ...]]:
    first = [(name, one) for (name, _), side in sides.items() for one in side[:RUNS_SAID]]
    runs = _whole(tables, first)
    # Huge runs are not kept: others that come next take their places.
    found = Counter((name, speaker.success) for name, own in runs.items() for speaker, _ in own)
    more = [
        (name, one)
        for (name, success), side in sides.items()
        if found[name, success] < RUNS_SAID
        for one in side[RUNS_SAID:]
    ]
    others = _whole(tables, more) if more else {}
    agents = dict.fromkeys(name for name, _ in sides)
    return {name: said_by([*runs.get(name, ()), *others.get(name, ())]) for name in agents}


def _whole(
    tables: Queried, speakers: Iterable[tuple[str, Speaker]]
) -> dict[str, list[tuple[Speaker, Trace | str]]]:
    """By agent: those of the runs that are in the sample of whole runs."""
    known = {(name, speaker.id): speaker for name, speaker in speakers}
    lines = tables.clean_lines(known)
    runs: dict[str, list[tuple[Speaker, Trace | str]]] = {}
    if lines is not None:
        for name, id, line in lines:
            runs.setdefault(name, []).append((known[name, id], line))
        return runs
    for name in dict.fromkeys(name for name, _ in known):
        ids = [id for owner, id in known if owner == name]
        runs[name] = [(known[name, trace.id], trace) for trace in tables.traces(name, ids)]
    return runs
