"""Evidence as text for a prompt: bounded, whatever the number of traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracetune.prompts.loader import fence
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.patterns import Pattern

__all__ = [
    "choose_feedback",
    "choose_runs",
    "shorten",
    "show_metrics",
    "show_patterns",
    "show_trace",
]

FEEDBACK_SHOWN = 12
PATTERNS_SHOWN = 8
RUNS_SHOWN = 3
TOOLS_SHOWN = 12


def shorten(text: str, most: int) -> str:
    """The text itself, or its beginning and end with what was left out in between."""
    if len(text) <= most:
        return text
    half = max((most - 30) // 2, 1)
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def show_metrics(metrics: Mapping[str, Any]) -> str:
    """The figures of one agent, a line each."""
    names = ("n", "success_rate", "latency_p50", "latency_p95", "attempts_mean", "ended_at_limit")
    lines = [f"{name}: {_figure(metrics.get(name))}" for name in names]
    tools = sorted(metrics.get("tools", {}).items(), key=lambda item: -item[1]["calls"])
    for name, tool in tools[:TOOLS_SHOWN]:
        lines.append(
            f"tool {name}: {tool['calls']} calls, error rate {_figure(tool['error_rate'])}, "
            f"success of runs that used it {_figure(tool['success_rate_when_used'])}"
        )
    return "\n".join(lines)


def show_patterns(patterns: Sequence[Mapping[str, Any]]) -> str:
    """The strongest patterns, numbered from 1."""
    if not patterns:
        return "no pattern stands out"
    return "\n".join(
        f"{number}. {p['text']}: {p['support']} runs; success {_figure(p['success_with'])} with, "
        f"{_figure(p['success_without'])} without (q = {_figure(p['q_value'])})"
        for number, p in enumerate(patterns[:PATTERNS_SHOWN], start=1)
    )


def _figure(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_trace(trace: Trace, most: int = 3000) -> str:
    """One run as fenced data of at most about `most` characters."""
    lines = [_line(step) for step in trace.steps]
    text = shorten("\n".join(lines), most)
    outcome = {True: "succeeded", False: "failed", None: "unknown"}[trace.success]
    return fence("run", text, outcome=outcome)


def _line(step: Message | Thought | ToolCall) -> str:
    if isinstance(step, Message):
        return f"{step.role}: {shorten(step.text, 400)}"
    if isinstance(step, Thought):
        return f"thought: {shorten(step.text, 300)}"
    outcome = f"error: {step.error}" if step.error else str(step.result)
    return f"call {step.name}({shorten(str(dict(step.arguments)), 200)}) -> {shorten(outcome, 250)}"


def choose_runs(traces: Sequence[Trace], patterns: Sequence[Pattern]) -> list[str]:
    """Two failures of the strongest patterns and a success, of the same task if there is one."""
    by_id = {trace.id: trace for trace in traces}
    failing = [by_id[name] for p in patterns for name in p.failing_ids[:1] if name in by_id]
    chosen = {trace.id: trace for trace in failing[: RUNS_SHOWN - 1]}
    tasks = {trace.task for trace in chosen.values()}
    won = sorted(
        (trace for trace in traces if trace.success),
        key=lambda trace: (trace.task not in tasks, len(trace.steps), trace.id),
    )
    chosen |= {trace.id: trace for trace in won[:1]}
    return [show_trace(trace) for trace in chosen.values()]


def choose_feedback(traces: Sequence[Trace]) -> list[str]:
    """What people said of a few runs, shortened; runs that failed first."""
    told = sorted((t for t in traces if t.feedback), key=lambda t: (t.success is True, t.id))
    return [shorten(str(t.feedback), 300) for t in told[:FEEDBACK_SHOWN]]
