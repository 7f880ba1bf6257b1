"""Metrics and patterns, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracetune.terminal.style import (
    UNKNOWN,
    clean,
    counted,
    duration,
    heading,
    indented,
    number,
    one_line,
    percent,
    percents,
    points,
    probability,
)

__all__ = ["metrics_block", "pattern_table", "render_metrics", "render_patterns"]

Json = Mapping[str, Any]

MOST_TOOLS = 6
"""Rows of the table of tools; the rest is counted in one line."""
CLEAR = 0.1
"""Largest q-value of a pattern whose effect is coloured."""


def render_metrics(found: Json) -> RenderableType:
    """Return the metrics of every group, each under its agent and the values it was grouped by."""
    parts: list[RenderableType] = []
    for metrics in found["metrics"]:
        values = [
            f"{name} {UNKNOWN if value is None else value}"
            for name, value in metrics["group"].items()
        ]
        parts += [heading(metrics["agent"], ", ".join(values)), metrics_block(metrics), Text("")]
    return Group(*parts[:-1], *_set_aside(found))


def render_patterns(found: Json) -> RenderableType:
    """Return every agent's patterns as tables."""
    parts: list[RenderableType] = []
    for agent, patterns in found["patterns"].items():
        none = Text(f"none: {one_line(found['why_none'].get(agent, ''))}")
        parts += [heading(agent), indented(pattern_table(patterns) if patterns else none), Text("")]
    return Group(*parts[:-1], *_set_aside(found))


def _set_aside(found: Json) -> list[RenderableType]:
    lines = [Text(f"{agent}: {one_line(told)}") for agent, told in found["set_aside"].items()]
    return [Text(""), *lines] if lines else []


def metrics_block(metrics: Json, *, tools: int = MOST_TOOLS) -> RenderableType:
    """Return what a person wants of one group's metrics: figures, then the most used tools."""
    parts: list[RenderableType] = [indented(_figures(metrics))]
    rows = sorted((metrics.get("tools") or {}).items(), key=lambda row: -row[1]["calls"])
    if rows[:tools]:
        parts += [Text(""), indented(_tool_table(rows[:tools]))]
        if (rest := len(rows) - tools) > 0:
            parts.append(indented(Text(f"… and {counted(rest, 'tool')} used less", style="dim")))
    return Group(*parts)


def _figures(metrics: Json) -> Text:
    interval = percents(metrics.get("success_interval"))
    n, known = metrics["n"], metrics.get("n_known", metrics["n"])
    left_out = ", ".join(metrics.get("terms_left_out") or ())
    text = Text.assemble(
        (counted(n, "run"), "bold"),
        f" ({number(known)} with a known outcome)" if known < n else "",
        " · success ",
        (percent(metrics.get("success_rate")), "bold"),
        f" [{interval}]" if interval else "",
    )
    return text.append(
        f"\nlatency p50 {duration(metrics.get('latency_p50'))}"
        f", p95 {duration(metrics.get('latency_p95'))}"
        f" · attempts {number(metrics.get('attempts_mean'))}"
        f" · reward {number(metrics.get('reward_mean'), 2)}"
        + (f" (without {left_out})" if left_out else "")
    )


def _tool_table(rows: Sequence[tuple[str, Json]]) -> Table:
    table = _table()
    table.add_column("tool", ratio=1, overflow="fold")
    for title in ("calls", "errors", "success when used"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, tool in rows:
        used = percent(tool.get("success_rate_when_used"))
        table.add_row(clean(name), number(tool["calls"]), percent(tool.get("error_rate")), used)
    return table


def pattern_table(patterns: Sequence[Json]) -> Table:
    """Return the patterns as a table, in the order given; effects in percentage points."""
    table = _table()
    table.add_column("the agent …", ratio=1, overflow="fold")
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("success\nwith → without", justify="right", no_wrap=True)
    table.add_column("effect, points", justify="right", no_wrap=True)
    table.add_column("q", justify="right", no_wrap=True)
    for pattern in patterns:
        effect, q_value = pattern.get("effect"), pattern.get("q_value")
        shares = [percent(pattern.get(f"success_{side}")) for side in ("with", "without")]
        table.add_row(
            _with_names(pattern["text"]),
            number(pattern.get("support")),
            " → ".join(shares),
            Text(points(effect, pattern.get("interval")), style=_leaning(effect, q_value)),
            probability(q_value),
        )
    return table


def _with_names(text: str) -> Text:
    """The text with what stands between backticks coloured, and without them."""
    parts = one_line(text).split("`")
    return Text.assemble(*((part, "cyan" if n % 2 else "") for n, part in enumerate(parts)))


def _leaning(effect: float | None, q_value: float | None) -> str:
    if not effect or q_value is None or q_value > CLEAR:
        return ""
    return "green" if effect > 0 else "red"


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
