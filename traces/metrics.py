"""Metrics of groups of traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.reward import RewardRefs, RewardSpec
from tracetune.traces.stats import Interval, wilson
from tracetune.traces.tables import TraceTables, opened

__all__ = ["Metrics", "ToolMetrics", "compute_metrics"]

_TERMS = ("success", "latency", "attempts")


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
    """In seconds, as `latency_p95`."""
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
    traces: Iterable[Trace] | TraceTables,
    *,
    by: Sequence[str] = ("agent",),
    reward: RewardSpec = RewardSpec(),  # noqa: B008 (frozen)
    refs: Mapping[str, RewardRefs] | None = None,
) -> list[Metrics]:
    """One `Metrics` per group, sorted by the groups' values.

    Args:
        by: Columns (agent, ended_by, failure_kind, release, success, task) or labels.
        refs: The reward's references by agent; where an agent is missing, or `by` does not
            name the agent, the group's own medians.

    Raises:
        InputError: `by` names something no trace has.
    """
    with opened(traces) as tables:
        tables.group(by)
        sums = {row["grp"]: row for row in tables.query("run_sums")}
        quantiles = {row["grp"]: row for row in tables.query("run_quantiles")}
        groups = {grp: dict(zip(by, json.loads(grp), strict=True)) for grp in sums}
        used = {grp: _refs(groups[grp], quantiles.get(grp, {}), refs or {}) for grp in sums}
        rewards = _rewards(tables, sums, used, reward)
        tools = _tools(tables)
    found = [
        _metrics(groups[grp], row, quantiles.get(grp, {}), used[grp], rewards[grp], tools.get(grp))
        for grp, row in sums.items()
    ]
    return sorted(found, key=lambda one: [(v is None, str(v)) for v in one.group.values()])


def _refs(
    group: Mapping[str, Any], quantiles: Mapping[str, Any], refs: Mapping[str, RewardRefs]
) -> RewardRefs:
    own = RewardRefs(quantiles.get("latency_p50"), quantiles.get("attempts_p50"))
    return refs.get(group.get("agent", ""), own)


def _rewards(
    tables: TraceTables,
    sums: Mapping[str, Mapping[str, Any]],
    refs: Mapping[str, RewardRefs],
    reward: RewardSpec,
) -> dict[str, tuple[float | None, tuple[str, ...]]]:
    """Each group's mean reward and the terms it leaves out."""
    tables.put(
        "refs",
        {
            "grp": ("VARCHAR", list(refs)),
            "latency_s": ("DOUBLE", [ref.latency_s or None for ref in refs.values()]),
            "attempts": ("DOUBLE", [ref.attempts or None for ref in refs.values()]),
        },
    )
    terms = {row["grp"]: row for row in tables.query("reward_sums", cap=float(reward.cap))}
    return {grp: _reward(row, terms.get(grp, {}), refs[grp], reward) for grp, row in sums.items()}


def _reward(
    sums: Mapping[str, Any], terms: Mapping[str, Any], refs: RewardRefs, reward: RewardSpec
) -> tuple[float | None, tuple[str, ...]]:
    counted = sums["n"] - sums["n_infrastructure"]
    known = {
        "success": sums["n_known"] == counted,
        "latency": sums["latency_n"] == counted and bool(refs.latency_s),
        "attempts": sums["attempts_n"] == counted and bool(refs.attempts),
    }
    weights = {name: getattr(reward, f"{name}_weight") for name in _TERMS}
    wanted = [name for name in _TERMS if weights[name]]
    left_out = tuple(name for name in wanted if not (counted and known[name]))
    kept = [name for name in wanted if name not in left_out]
    if not kept:
        return None, left_out
    return sum(weights[name] * terms[name] for name in kept) / counted, left_out


def _tools(tables: TraceTables) -> dict[str, dict[str, ToolMetrics]]:
    tools: dict[str, dict[str, ToolMetrics]] = {}
    for row in tables.query("tool_sums"):
        tools.setdefault(row["grp"], {})[row["name"]] = ToolMetrics(
            calls=int(row["calls"]),
            runs=row["runs"],
            error_rate=row["errors"] / row["calls"],
            success_rate_when_used=_share(row["successes"], row["runs_known"]),
            repeated_calls=int(row["calls"] - row["distinct_calls"]),
        )
    return tools


def _metrics(
    group: Mapping[str, Any],
    sums: Mapping[str, Any],
    quantiles: Mapping[str, Any],
    refs: RewardRefs,
    reward: tuple[float | None, tuple[str, ...]],
    tools: Mapping[str, ToolMetrics] | None,
) -> Metrics:
    known, successes = sums["n_known"], int(sums["successes"])
    return Metrics(
        group=group,
        n=sums["n"],
        n_infrastructure=int(sums["n_infrastructure"]),
        n_known=known,
        successes=successes,
        success_rate=_share(successes, known),
        success_interval=wilson(successes, known) if known else None,
        latency_p50=quantiles.get("latency_p50"),
        latency_p95=quantiles.get("latency_p95"),
        attempts_mean=_share(sums["attempts_sum"], sums["attempts_n"]),
        attempts_p95=quantiles.get("attempts_p95"),
        turns_max_success=sums["turns_max_success"],
        tokens_in_mean=_share(sums["tokens_in_sum"], sums["tokens_in_n"]),
        tokens_out_mean=_share(sums["tokens_out_sum"], sums["tokens_out_n"]),
        cost_mean=_share(sums["cost_sum"], sums["cost_n"]),
        ended_at_limit=_share(sums["at_limit_sum"], sums["at_limit_n"]),
        reward_mean=reward[0],
        refs=refs,
        terms_left_out=reward[1],
        tools=tools or {},
    )


def _share(part: float | None, whole: int) -> float | None:
    return None if part is None or not whole else float(part) / whole
