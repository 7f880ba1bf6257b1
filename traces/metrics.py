"""Metrics of groups of traces."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracetune.traces.analytics.few import FewTraces
from tracetune.traces.analytics.partials import GroupCounts, MetricsPartial
from tracetune.traces.analytics.tables import TraceTables, opened
from tracetune.traces.model import Trace
from tracetune.traces.reward import RewardRefs, RewardSpec
from tracetune.traces.stats import Interval, wilson

__all__ = [
    "Histogram",
    "Metrics",
    "ToolMetrics",
    "compute_metrics",
    "count_metrics",
    "latency_histogram",
    "medians_of",
    "metrics_of",
]


@dataclass(frozen=True, slots=True)
class ToolMetrics:
    """How a group's runs used one tool."""

    calls: int
    runs: int
    """Runs that called it at least once."""
    error_rate: float
    """Share of calls that failed, in [0, 1]."""
    success_rate_when_used: float | None
    """Success rate of the runs that called it and whose outcome is known."""
    repeated_calls: int
    """Calls that were made before in the same run with identical arguments."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What one group's runs were like. None means unknown, never zero.

    Infrastructure failures are in `n` and `n_infrastructure` and nowhere else.
    """

    group: Mapping[str, Any]
    """The group's value of each name it was grouped by."""
    n: int
    n_infrastructure: int
    n_known: int
    """Runs whose outcome is known; `success_rate` is over these."""
    successes: int
    success_rate: float | None
    success_interval: Interval | None
    """95 % Wilson interval."""
    latency_p50: float | None
    """In seconds, as `latency_p95`; at most 0.5 % off, and exact for few runs."""
    latency_p95: float | None
    attempts_mean: float | None
    attempts_p95: float | None
    turns_max_success: int | None
    """The most turns a successful run took: a lower step limit would have cut it off."""
    tokens_in_mean: float | None
    tokens_out_mean: float | None
    cost_mean: float | None
    """In US dollars."""
    ended_at_limit: float | None
    """Share of runs that a step limit ended, among those that say what ended them."""
    reward_mean: float | None
    refs: RewardRefs
    """What the reward was measured against."""
    terms_left_out: tuple[str, ...] = ()
    """Reward terms with a weight that the mean leaves out: unknown for a run, or no reference."""
    tools: Mapping[str, ToolMetrics] = field(default_factory=dict)
    """By tool name; most called first."""


def compute_metrics(
    traces: Iterable[Trace] | TraceTables | FewTraces,
    *,
    by: Sequence[str] = ("agent",),
    reward: RewardSpec = RewardSpec(),  # noqa: B008 (frozen)
    refs: Mapping[str, RewardRefs] | None = None,
) -> list[Metrics]:
    """One `Metrics` per group, sorted by the groups' values.

    Args:
        by: Columns (agent, ended_by, failure_kind, release, success, task) or labels. Without
            the agent (or `part_of`), runs of sub-agents that are `part_of` another are left out:
            they would count twice.
        refs: The reward's references by agent; where an agent is missing, or `by` does not
            name the agent, the group's own medians.

    Raises:
        InputError: `by` names something no trace has.
    """
    if isinstance(traces, FewTraces):
        return metrics_of(traces.count(by), reward, refs)
    with opened(traces) as tables:
        return metrics_of(count_metrics(tables, by), reward, refs)


def count_metrics(tables: TraceTables, by: Sequence[str] = ("agent",)) -> MetricsPartial:
    """What `metrics_of` needs of the runs, to be merged with that of other runs.

    Raises:
        InputError: `by` names something no trace has.
    """
    return tables.count(by)


def metrics_of(
    partial: MetricsPartial,
    reward: RewardSpec = RewardSpec(),  # noqa: B008 (frozen)
    refs: Mapping[str, RewardRefs] | None = None,
) -> list[Metrics]:
    """One `Metrics` per group of a partial, sorted by the groups' values; as `compute_metrics`."""
    found = [
        _metrics(dict(zip(partial.by, values, strict=True)), counts, reward, refs or {})
        for values, counts in partial.groups.items()
    ]
    return sorted(found, key=lambda one: [(v is None, str(v)) for v in one.group.values()])


def medians_of(groups: Iterable[GroupCounts]) -> RewardRefs:
    """The medians of the runs of all groups together, to measure rewards of each against."""
    whole = functools.reduce(GroupCounts.merge, groups, GroupCounts())
    return RewardRefs(latency_histogram(whole).quantile(0.5), _attempts(whole).quantile(0.5))


class Histogram:
    """How many runs have which value.

    Args:
        values: Ascending.
        runs: How many have each, at least one; as long as `values`.
    """

    def __init__(self, values: Sequence[float], runs: Sequence[int]) -> None:
        self._values = values
        self._runs = runs
        self._ends = list(itertools.accumulate(runs))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def quantile(self, share: float) -> float | None:
        """The quantile, interpolated between the two nearest runs; None where there are none."""
        if not self._ends:
            return None
        last = len(self) - 1
        rank = last * share
        below = int(rank)
        low, high = (
            self._values[bisect.bisect_right(self._ends, place)]
            for place in (below, min(below + 1, last))
        )
        return low + (high - low) * (rank - below)

    def mean(self) -> float | None:
        """The mean; None where there are no runs."""
        if not self._ends:
            return None
        return self._sum(self._values) / len(self)

    def capped(self, ref: float, cap: float) -> float:
        """The mean of a reward's term, in [0, 1]: the share of `cap` times the reference."""
        terms = [min(value / ref, cap) for value in self._values]
        return self._sum(terms) / cap / len(self)

    def _sum(self, values: Sequence[float]) -> float:
        return sum([value * runs for value, runs in zip(values, self._runs, strict=True)])


def latency_histogram(counts: GroupCounts) -> Histogram:
    """The group's latencies in seconds, each bin as its mean."""
    # A bin's mean stands for its values: exact where they are one, else at most a bin off.
    bins = [pair for _, pair in sorted(counts.latency.items())]
    return Histogram([nanos / runs / 1e9 for runs, nanos in bins], [runs for runs, _ in bins])


def _attempts(counts: GroupCounts) -> Histogram:
    made = sorted(counts.attempts.items())
    return Histogram([float(value) for value, _ in made], [runs for _, runs in made])


def _reward(
    sums: Mapping[str, int],
    latencies: Histogram,
    attempts: Histogram,
    refs: RewardRefs,
    reward: RewardSpec,
) -> tuple[float | None, tuple[str, ...]]:
    """The mean reward, and the terms that it leaves out."""
    counted = sums["n"] - sums["n_infrastructure"]
    terms: dict[str, float | None] = {"success": None, "latency": None, "attempts": None}
    if counted and sums["n_known"] == counted:
        terms["success"] = sums["successes"] / counted
    if counted and len(latencies) == counted and refs.latency_s:
        terms["latency"] = latencies.capped(refs.latency_s, reward.cap)
    if counted and len(attempts) == counted and refs.attempts:
        terms["attempts"] = attempts.capped(refs.attempts, reward.cap)
    weights = {name: getattr(reward, f"{name}_weight") for name in terms}
    wanted = {name: value for name, value in terms.items() if weights[name]}
    left_out = tuple(name for name, value in wanted.items() if value is None)
    kept = [weights[name] * value for name, value in wanted.items() if value is not None]
    return (sum(kept) if kept else None), left_out


def _tools(counts: GroupCounts) -> dict[str, ToolMetrics]:
    ranked = sorted(counts.tools.items(), key=lambda tool: (-tool[1][0], tool[0]))
    return {
        name: ToolMetrics(
            calls=calls,
            runs=runs,
            error_rate=errors / calls,
            success_rate_when_used=_share(successes, known),
            repeated_calls=calls - different,
        )
        for name, (calls, errors, different, runs, known, successes) in ranked
    }


def _metrics(
    group: Mapping[str, Any],
    counts: GroupCounts,
    reward: RewardSpec,
    refs: Mapping[str, RewardRefs],
) -> Metrics:
    sums, latencies, attempts = counts.sums, latency_histogram(counts), _attempts(counts)
    own = RewardRefs(latencies.quantile(0.5), attempts.quantile(0.5))
    used = refs.get(group.get("agent", ""), own)
    reward_mean, left_out = _reward(sums, latencies, attempts, used, reward)
    known, successes = sums["n_known"], sums["successes"]
    return Metrics(
        group=group,
        n=sums["n"],
        n_infrastructure=sums["n_infrastructure"],
        n_known=known,
        successes=successes,
        success_rate=_share(successes, known),
        success_interval=wilson(successes, known) if known else None,
        latency_p50=own.latency_s,
        latency_p95=latencies.quantile(0.95),
        attempts_mean=attempts.mean(),
        attempts_p95=attempts.quantile(0.95),
        turns_max_success=counts.turns_max_success,
        tokens_in_mean=_share(sums["tokens_in_sum"], sums["tokens_in_n"]),
        tokens_out_mean=_share(sums["tokens_out_sum"], sums["tokens_out_n"]),
        cost_mean=_share(sums["cost_sum"] / 1e9, sums["cost_n"]),
        ended_at_limit=_share(sums["at_limit_sum"], sums["at_limit_n"]),
        reward_mean=reward_mean,
        refs=used,
        terms_left_out=left_out,
        tools=_tools(counts),
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
