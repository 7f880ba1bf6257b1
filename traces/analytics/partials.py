"""Counts and sums of groups of runs, from which metrics are made; they merge by addition.

Each is a whole number, so merging shards in any order equals one pass exactly. They grow with
the groups, their tools and the spread of their latencies, never with the number of runs.
"""

from __future__ import annotations

import json
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tracetune.errors import InputError

__all__ = [
    "COLUMNS",
    "PART_OF",
    "RATIO",
    "SUMS",
    "GroupCounts",
    "MetricsPartial",
    "count_runs",
    "grouped",
    "known_names",
]

RATIO = 1.005
"""How wide a bin of latencies is: quantiles are at most 0.5 % off (sql/metric_counts.sql).

A bin's sum is kept beside its count, so where a bin holds one value, quantiles are exact.
Source: DDSketch, Masson et al., VLDB 2019 (arXiv 1908.10693), section 2.
"""

COLUMNS = ("agent", "ended_by", "failure_kind", "release", "success", "task")
"""What runs can be grouped by without being a label."""

PART_OF = "part_of"

SUMS = (
    "n_known",
    "successes",
    "tokens_in_sum",
    "tokens_in_n",
    "tokens_out_sum",
    "tokens_out_n",
    "cost_sum",
    "cost_n",
    "at_limit_sum",
    "at_limit_n",
)
"""What is counted of runs beside their number, in the order of sql/metric_counts.sql."""

_KINDS = ("tool", "attempts", "infrastructure", "latency")
"""Of the rows of sql/metric_counts.sql."""

_Key = TypeVar("_Key")
Rows = Callable[[str], Sequence[Mapping[str, Any]]]
Numbers = dict[str | None, tuple[int, ...]]
"""Those of one kind in sql/metric_counts.sql, by name."""


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """One group's counts and sums."""

    sums: Mapping[str, int] = field(default_factory=dict)
    """By name: "n", "n_infrastructure" and `SUMS`, which are of all other runs."""
    turns_max_success: int | None = None
    attempts: Mapping[int, int] = field(default_factory=dict)
    """Attempts → how many runs made as many."""
    latency: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Bin → how many runs fall in it, and the sum of their latencies in nanoseconds."""
    tools: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Tool → calls, errors, distinct calls, runs, runs with a known outcome, successes."""

    def merge(self, other: GroupCounts) -> GroupCounts:
        """The counts of both groups' runs together."""
        turns = [t for t in (self.turns_max_success, other.turns_max_success) if t is not None]
        return GroupCounts(
            sums=_added(self.sums, other.sums),
            turns_max_success=max(turns, default=None),
            attempts=_added(self.attempts, other.attempts),
            latency=_added_all(self.latency, other.latency),
            tools=_added_all(self.tools, other.tools),
        )


@dataclass(frozen=True, slots=True)
class MetricsPartial:
    """The counts of every group of runs, by the values they are grouped by."""

    by: tuple[str, ...]
    groups: Mapping[tuple[Any, ...], GroupCounts]

    def merge(self, *others: MetricsPartial) -> MetricsPartial:
        """The partial of all their runs; no run may be in two of them.

        Raises:
            ValueError: They are grouped by different names.
        """
        groups = dict(self.groups)
        for other in others:
            if other.by != self.by:
                raise ValueError(f"Only partials by {self.by} merge, but got one by {other.by}.")
            for values, counts in other.groups.items():
                groups[values] = groups[values].merge(counts) if values in groups else counts
        return MetricsPartial(self.by, groups)

    def to_json(self) -> str:
        """The partial as JSON text, with its groups in a fixed order."""
        rows = [
            {
                "values": values,
                "sums": dict(sorted(counts.sums.items())),
                "turns_max_success": counts.turns_max_success,
                "attempts": sorted(counts.attempts.items()),
                "latency": sorted((b, *pair) for b, pair in counts.latency.items()),
                "tools": dict(sorted(counts.tools.items())),
            }
            for values, counts in sorted(self.groups.items(), key=lambda group: repr(group[0]))
        ]
        return json.dumps({"by": self.by, "groups": rows})

    @classmethod
    def from_json(cls, text: str) -> MetricsPartial:
        """Read what `to_json` wrote, to an equal partial.

        Raises:
            KeyError, TypeError, ValueError: The text is something else.
        """
        row = json.loads(text)
        groups = {
            tuple(one["values"]): GroupCounts(
                sums=one["sums"],
                turns_max_success=one["turns_max_success"],
                attempts=dict(map(tuple, one["attempts"])),
                latency={b: (runs, nanos) for b, runs, nanos in one["latency"]},
                tools={name: tuple(counts) for name, counts in one["tools"].items()},
            )
            for one in row["groups"]
        }
        return cls(tuple(row["by"]), groups)


def count_runs(rows: Rows, by: Sequence[str]) -> MetricsPartial:
    """Count the runs of the table `grouped`, which is `grouped(by)`.

    Args:
        rows: Runs the SQL text of that name, on any engine.
    """
    found: defaultdict[str | None, dict[str, Numbers]] = defaultdict(
        lambda: {kind: {} for kind in _KINDS}
    )
    for row in rows("metric_counts"):
        numbers = tuple(map(int, row["numbers"].split(",")))
        found[row["grp"]][row["kind"]][row["name"]] = numbers
    groups = {_values(grp, by): _counts(**numbers) for grp, numbers in found.items()}
    return MetricsPartial(tuple(by), groups)


def _counts(
    tool: Numbers, attempts: Numbers, infrastructure: Numbers, latency: Numbers
) -> GroupCounts:
    size = 1 + len(SUMS)
    sums = [row[:size] for row in attempts.values()] or [(0,) * size]
    turns = [most for row in attempts.values() for most in row[size:]]
    n, *others = map(sum, zip(*sums, strict=True))
    failed = sum(row[0] for row in infrastructure.values())
    bins = latency.get(None, ())
    return GroupCounts(
        sums={"n": n + failed, "n_infrastructure": failed} | dict(zip(SUMS, others, strict=True)),
        turns_max_success=max(turns, default=None),
        attempts={int(made): row[0] for made, row in attempts.items() if made is not None},
        latency=dict(zip(bins[::3], zip(bins[1::3], bins[2::3], strict=True), strict=True)),
        tools={str(name): counts for name, counts in tool.items()},
    )


def known_names(by: Sequence[str], labels: Set[str], *, some: bool) -> tuple[str, ...]:
    """The names to group by: `by`, or none of the unknown ones where there is no run.

    Args:
        labels: The runs' labels; none are needed where `by` names columns alone.
        some: Whether there is a run.

    Raises:
        InputError: A name is neither a column to group by nor a label.
    """
    unknown = [name for name in by if name not in COLUMNS and name not in labels]
    if unknown and some:
        expected = ", ".join([*COLUMNS, *sorted(labels - set(COLUMNS))])
        raise InputError(f"Cannot group traces by {unknown[0]!r}; expected: {expected}.")
    return tuple(name for name in by if name not in unknown)


def grouped(by: Sequence[str]) -> str:
    """SQL of the runs with, as `grp`, their values of `by` as one text that tells all apart.

    Each value is preceded by its length, an unknown one is a minus: any engine can build it, and
    no value can look like two. Sub-agents' runs, which are `part_of` another, are left out where
    the groups are not by agent: the other run has all their steps, tokens and time already.
    """
    values = "".join(
        f", CAST({f'r.{name}' if name in COLUMNS else _label(name)} AS STRING) AS by_{place}"
        for place, name in enumerate(by)
    )
    parts = ", ".join(
        f"CASE WHEN by_{place} IS NULL THEN '-'"
        f" ELSE CONCAT(CAST(LENGTH(by_{place}) AS STRING), ':', by_{place}) END"
        for place in range(len(by))
    )
    key = "by_0" if len(by) == 1 else f"CONCAT({parts})" if by else "''"
    kept = "" if {"agent", PART_OF} & set(by) else f" WHERE {_label(PART_OF)} IS NULL"
    return f"SELECT v.*, {key} AS grp FROM (SELECT r.*{values} FROM runs AS r{kept}) AS v"


def _label(name: str) -> str:
    quoted = name.replace("'", "''")
    return (
        "(SELECT MAX(l.value) FROM labels AS l WHERE l.agent = r.agent"
        f" AND l.trace_id = r.trace_id AND l.name = '{quoted}')"
    )


def _values(grp: str | None, by: Sequence[str]) -> tuple[Any, ...]:
    texts = [grp] if len(by) == 1 else _taken_apart(grp or "", len(by))
    return tuple(
        text == "true" if name == "success" and text is not None else text
        for name, text in zip(by, texts, strict=True)
    )


def _taken_apart(grp: str, count: int) -> list[str | None]:
    values: list[str | None] = []
    for _ in range(count):
        if grp[0] == "-":
            values.append(None)
            grp = grp[1:]
            continue
        size, _, rest = grp.partition(":")
        values.append(rest[: int(size)])
        grp = rest[int(size) :]
    return values


def _added(one: Mapping[_Key, int], other: Mapping[_Key, int]) -> dict[_Key, int]:
    return dict(one) | {key: one.get(key, 0) + value for key, value in other.items()}


def _added_all(
    one: Mapping[_Key, tuple[int, ...]], other: Mapping[_Key, tuple[int, ...]]
) -> dict[_Key, Any]:
    added = dict(one)
    for key, counts in other.items():
        held = added.get(key)
        added[key] = counts if held is None else tuple(map(operator.add, held, counts))
    return added
