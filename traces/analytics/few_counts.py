"""Counting runs in memory for metrics: exactly what the SQL of `count_runs` finds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tracetune.traces.analytics.partials import (
    COLUMNS,
    PART_OF,
    RATIO,
    GroupCounts,
    MetricsPartial,
    known_names,
)
from tracetune.traces.analytics.run import Run

__all__ = ["count_few"]

_NO_TIME = -99999
"""The bin of latencies that have no logarithm."""


def count_few(runs: Sequence[Run], by: Sequence[str]) -> MetricsPartial:
    """Count the runs by their values of `by`.

    Raises:
        InputError: A name in `by` is neither a column to group by nor any trace's label.
    """
    labels = {name for run in runs for name in run.trace.labels}
    names = known_names(by, labels, some=bool(runs))
    groups: defaultdict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if {"agent", PART_OF} & set(names) or PART_OF not in run.trace.labels:
            groups[tuple(_value(run, name) for name in names)].append(run)
    return MetricsPartial(names, {values: _counts(own) for values, own in groups.items()})


def _value(run: Run, name: str) -> Any:
    if name not in COLUMNS or name == "ended_by":
        return run.trace.labels.get(name)
    return getattr(run.trace, name)


def _counts(runs: Sequence[Run]) -> GroupCounts:
    counted = [run for run in runs if run.counted]
    succeeded = [run.trace for run in counted if run.trace.success]
    costs = [run.trace.cost_usd for run in counted if run.trace.cost_usd is not None]
    ends = [run.at_limit for run in counted if run.at_limit is not None]
    known = [run for run in counted if run.trace.success is not None]
    tokens_in = [run.trace.tokens_in for run in counted if run.trace.tokens_in is not None]
    tokens_out = [run.trace.tokens_out for run in counted if run.trace.tokens_out is not None]
    return GroupCounts(
        sums={
            "n": len(runs),
            "n_infrastructure": len(runs) - len(counted),
            "n_known": len(known),
            "successes": len(succeeded),
            "tokens_in_sum": sum(tokens_in),
            "tokens_in_n": len(tokens_in),
            "tokens_out_sum": sum(tokens_out),
            "tokens_out_n": len(tokens_out),
            "cost_sum": sum(map(_billionths, costs)),
            "cost_n": len(costs),
            "at_limit_sum": sum(ends),
            "at_limit_n": len(ends),
        },
        turns_max_success=max((t.turns for t in succeeded if t.turns is not None), default=None),
        attempts=Counter(run.trace.attempts for run in counted if run.trace.attempts is not None),
        latency=_latencies(run.trace.latency_s for run in counted),
        tools=_tools(counted),
    )


def _latencies(seconds: Iterable[float | None]) -> dict[int, tuple[int, int]]:
    """Bins as in sql/metric_counts.sql."""
    bins: dict[int, tuple[int, int]] = {}
    for latency in seconds:
        if latency is not None:
            timed = latency > 1e-9
            bin = math.floor(math.log(latency) / math.log(RATIO)) if timed else _NO_TIME
            runs, nanos = bins.get(bin, (0, 0))
            bins[bin] = runs + 1, nanos + _billionths(latency)
    return bins


def _billionths(value: float) -> int:
    return math.floor(value * 1e9 + 0.5)


def _tools(runs: Iterable[Run]) -> dict[str, tuple[int, ...]]:
    tools: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for run in runs:
        success = run.trace.success
        for call in run.calls:
            counts = tools[call.name]
            counts[0] += 1
            counts[1] += call.error is not None
            counts[2] += not call.earlier
            if call.first_use:
                counts[3] += 1
                counts[4] += success is not None
                counts[5] += bool(success)
    return {name: tuple(counts) for name, counts in tools.items()}
