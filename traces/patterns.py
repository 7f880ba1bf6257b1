"""What successful runs have and failed ones lack, or the other way round."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tracetune.traces.model import Trace
from tracetune.traces.stats import Interval, benjamini_hochberg, fisher_exact, newcombe
from tracetune.traces.tables import TraceTables, opened

__all__ = ["Pattern", "PatternKind", "mine_patterns"]

PatternKind = Literal[
    "loop",
    "tool_error",
    "hit_limit",
    "any_error",
    "tool_pair",
    "last_tool",
    "first_tool",
    "long",
    "tool_used",
]
_KINDS = PatternKind.__args__  # type: ignore[attr-defined]
"""Of patterns that hold for the same runs, the kind that comes first here is kept."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Something runs have, and what it goes along with. Rates are in [0, 1].

    It is an association: runs differ in their tasks too.
    """

    id: str
    """The same for the same agent, kind, tools and error, whatever the traces."""
    agent: str
    kind: PatternKind
    subject: tuple[str, ...]
    """The tools it is about, in their order; empty when it is about the run."""
    text: str
    """Completes "the agent …"."""
    support: int
    """Runs with it, among those with a known outcome."""
    success_with: float
    success_without: float
    effect: float
    """`success_with` - `success_without`: negative where it goes along with failure."""
    interval: Interval
    """Of the effect, 95 %, by Newcombe's method."""
    long_with: float
    """Share of the runs with it that made more than twice the median number of tool calls."""
    long_without: float
    p_value: float
    """Fisher's exact test of success, two-sided. For wasted calls (loops and errors), which cost
    attempts whether or not they cost success, the stronger of that and the same test of length,
    doubled for having looked twice."""
    q_value: float
    """`p_value` corrected for the number of patterns tried (Benjamini-Hochberg)."""
    coverage: float
    """Share of all failures that have it."""
    failing_ids: tuple[str, ...]
    """Up to five failed runs with it, sorted."""
    succeeding_ids: tuple[str, ...]


def mine_patterns(
    traces: Iterable[Trace] | TraceTables, *, agent: str | None = None, min_support: int = 3
) -> list[Pattern]:
    """Every pattern that was tested, strongest evidence first: by q-value, then effect size.

    Runs are compared within their agent, and only those whose outcome is known and is no
    failure of the infrastructure. Of patterns that hold for the same runs one is kept. The
    list is empty where no agent has both successes and failures.

    Args:
        agent: Look at this agent's runs only.
        min_support: Leave out what fewer runs have.
    """
    with opened(traces) as tables:
        known = {row["agent"]: row for row in tables.query("known_runs", agent=agent)}
        mixed = {a for a, row in known.items() if 0 < row["successes"] < row["runs"]}
        counts = tables.query("pattern_counts", agent=agent, min_support=min_support)
        rows = _distinct(
            row
            for row in counts
            if row["agent"] in mixed and row["support"] < known[row["agent"]]["runs"]
        )
        examples = _examples(tables, rows)
    splits = [_split(row, known[row["agent"]]) for row in rows]
    lengths = [_split(row, known[row["agent"]], "longs") for row in rows]
    p_values = [
        _p_value(row, split, length)
        for row, split, length in zip(rows, splits, lengths, strict=True)
    ]
    q_values = benjamini_hochberg(p_values)
    patterns = [
        _pattern(row, split, length, (p, q), examples.get(place, {}))
        for place, (row, split, length, p, q) in enumerate(
            zip(rows, splits, lengths, p_values, q_values, strict=True)
        )
    ]
    return sorted(patterns, key=lambda p: (p.q_value, -abs(p.effect), p.p_value, p.id))


_Row = Mapping[str, Any]
_Split = tuple[int, int, int, int]
"""Successes (or long runs) and runs with the pattern, then without."""

_WASTE = frozenset({"loop", "tool_error", "any_error"})


def _distinct(rows: Iterable[_Row]) -> list[_Row]:
    """One row for each set of runs: the kind that says most, then the first by name."""
    kept: dict[tuple[Any, ...], _Row] = {}
    for row in sorted(rows, key=_informative):
        kept.setdefault((row["agent"], row["support"], row["marks"]), row)
    return list(kept.values())


def _informative(row: _Row) -> tuple[Any, ...]:
    names = tuple(row[column] or "" for column in ("tool", "other", "detail"))
    # With its text an error says more than without.
    return row["agent"], _KINDS.index(row["kind"]), row["detail"] is None, names


def _examples(tables: TraceTables, rows: list[_Row]) -> dict[int, dict[bool, list[str]]]:
    """Ids of runs that have each row's pattern: place in `rows` → success → ids."""
    columns = ("agent", "kind", "tool", "other", "detail")
    wanted: dict[str, tuple[str, list[Any]]] = {
        name: ("VARCHAR", [row[name] or "" for row in rows]) for name in columns
    }
    tables.put("wanted", wanted | {"place": ("BIGINT", list(range(len(rows))))})
    found: dict[int, dict[bool, list[str]]] = {}
    for row in tables.query("pattern_examples"):
        found.setdefault(row["place"], {}).setdefault(row["success"], []).append(row["trace_id"])
    return found


def _split(row: _Row, known: _Row, outcome: str = "successes") -> _Split:
    count, support = int(row[outcome]), int(row["support"])
    return count, support, int(known[outcome]) - count, known["runs"] - support


def _p_value(row: _Row, split: _Split, length: _Split) -> float:
    p_value = fisher_exact(*split)
    if row["kind"] in _WASTE:
        return min(1.0, 2 * min(p_value, fisher_exact(*length)))
    return p_value


def _pattern(
    row: _Row,
    split: _Split,
    length: _Split,
    tested: tuple[float, float],
    examples: Mapping[bool, list[str]],
) -> Pattern:
    successes_with, n_with, successes_without, n_without = split
    failures_with = n_with - successes_with
    rate_with, rate_without = successes_with / n_with, successes_without / n_without
    return Pattern(
        id=_id(row),
        agent=row["agent"],
        kind=row["kind"],
        subject=tuple(name for name in (row["tool"], row["other"]) if name is not None),
        text=_text(row),
        support=n_with,
        success_with=rate_with,
        success_without=rate_without,
        effect=rate_with - rate_without,
        interval=newcombe(*split),
        long_with=length[0] / n_with,
        long_without=length[2] / n_without,
        p_value=tested[0],
        q_value=tested[1],
        coverage=failures_with / (failures_with + n_without - successes_without),
        failing_ids=tuple(examples.get(False, ())),
        succeeding_ids=tuple(examples.get(True, ())),
    )


def _id(row: _Row) -> str:
    # The bound of `long` moves with every new trace; the pattern stays the same one.
    detail = None if row["kind"] == "long" else row["detail"]
    content = json.dumps([row["agent"], row["kind"], row["tool"], row["other"], detail])
    return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()


_TEXTS: Mapping[PatternKind, str] = {
    "any_error": "gets an error from a tool",
    "first_tool": "starts with `{tool}`",
    "hit_limit": "runs into its step limit",
    "last_tool": "ends with `{tool}`",
    "long": "makes more than {detail} tool calls, twice the median",
    "loop": "repeats an identical call of `{tool}` at least {detail} times",
    "tool_error": "gets an error from `{tool}`",
    "tool_pair": "calls `{other}` right after `{tool}`",
    "tool_used": "calls `{tool}`",
}


def _text(row: _Row) -> str:
    tool, other = _shown(row["tool"]), _shown(row["other"])
    if row["kind"] == "tool_error" and row["detail"]:
        return f'gets from `{tool}` the error "{row["detail"]}"'
    return _TEXTS[row["kind"]].format(tool=tool, other=other, detail=row["detail"])


def _shown(name: str | None) -> str:
    """A tool's name as one short printable line: whoever made the trace chose it."""
    return "".join(c if c.isprintable() else "?" for c in (name or "")[:80])
