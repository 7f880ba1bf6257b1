"""Evidence as text for a prompt: bounded, whatever the number of traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from tracetune.graph.state import Measures
from tracetune.nodes.evidence.choosing import choose_feedback
from tracetune.nodes.evidence.differences import show_steps
from tracetune.nodes.evidence.shortening import shorten, tokens_of
from tracetune.prompts.loader import fence
from tracetune.traces.model import Trace

__all__ = [
    "FittedEvidence",
    "choose_feedback",
    "coverage_text",
    "cut_evenly",
    "fit",
    "fit_evidence",
    "shorten",
    "show_metrics",
    "show_patterns",
    "show_trace",
]

PATTERNS_SHOWN = 8
TOOLS_SHOWN = 12
NAME_SHOWN, PATTERN_SHOWN = 80, 300
"""Characters of a tool's name, and of a pattern's text, that are shown."""
_COVERAGE_TOKENS = 60

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FittedEvidence:
    """What of an agent's evidence there is room for."""

    evidence: str
    """Figures, patterns, what the runs stand for and feedback: a line each, not fenced."""
    runs: str
    """Fenced runs."""
    coverage: str
    """What the runs stand for; empty where none failed."""


def show_metrics(metrics: Json) -> str:
    """The figures of one agent, a line each."""
    names = ("n", "success_rate", "latency_p50", "latency_p95", "attempts_mean", "ended_at_limit")
    lines = [f"{name}: {_figure(metrics.get(name))}" for name in names]
    tools = sorted(metrics.get("tools", {}).items(), key=lambda item: -item[1]["calls"])
    for name, tool in tools[:TOOLS_SHOWN]:
        lines.append(
            f"tool {name[:NAME_SHOWN]}: {tool['calls']} calls, "
            f"error rate {_figure(tool['error_rate'])}, "
            f"success of runs that used it {_figure(tool['success_rate_when_used'])}"
        )
    return "\n".join(lines)


def show_patterns(patterns: Sequence[Json]) -> str:
    """The strongest patterns, numbered from 1."""
    if not patterns:
        return "no pattern stands out"
    return "\n".join(
        f"{number}. {shorten(p['text'], PATTERN_SHOWN)}: {p['support']} runs; "
        f"success {_figure(p['success_with'])} with, "
        f"{_figure(p['success_without'])} without (q = {_figure(p['q_value'])})"
        for number, p in enumerate(patterns[:PATTERNS_SHOWN], start=1)
    )


def _figure(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_trace(trace: Trace, most: int = 3000) -> str:
    """One run as fenced data of at most about `most` characters."""
    outcome = {True: "succeeded", False: "failed", None: "unknown"}[trace.success]
    return fence("run", show_steps(trace, most), outcome=outcome)


def fit(lines: Iterable[str], room: int) -> tuple[list[str], int]:
    """The first lines that fit into so many tokens once they are fenced, and the room that is left.

    What is too long is passed over, and what comes after it still may fit.
    """
    kept = []
    for line in lines:
        if (size := tokens_of(escape(line)) + 1) <= room:
            kept.append(line)
            room -= size
    return kept, room


def fit_evidence(measures: Measures, room: int, more: Iterable[str] = ()) -> FittedEvidence:
    """As much of the evidence as so many tokens hold.

    Figures and patterns come first, in up to half of the room. Of the rest a third is kept for
    feedback, and runs take what they can of the others; what these leave is for feedback too.

    Args:
        more: Lines that come after the patterns.
    """
    patterns = measures["patterns"]
    told = show_metrics(measures["metrics"]).splitlines() + show_patterns(patterns).splitlines()
    told, left = fit([*told, *more], room // 2)
    room -= room // 2 - left + _COVERAGE_TOKENS
    lines = [f"feedback: {text}" for text in measures["feedback"]]
    feedback, left = fit(lines, room // 3)
    room -= room // 3 - left
    shown: list[int] = []
    for place, text in enumerate(measures["runs"]):
        if (size := tokens_of(text) + 1) <= room:  # fenced already
            shown.append(place)
            room -= size
    feedback += fit([line for line in lines if line not in feedback], room)[0]
    coverage = coverage_text(measures.get("coverage", {}), shown)
    if coverage:
        told.append(f"the runs that are shown: {coverage}")
    runs = "\n".join(measures["runs"][place] for place in shown)
    return FittedEvidence("\n".join([*told, *feedback]), runs, coverage)


def coverage_text(coverage: Json, shown: Sequence[int]) -> str:
    """How much of what failed the runs at these places stand for; empty where nothing failed."""
    if not coverage.get("failures"):
        return ""
    runs = [coverage["runs"][place] for place in shown]
    failures = sum(count for count, _ in runs)
    clusters = len({cluster for _, cluster in runs if cluster is not None})
    text = (
        f"{failures:,} of {coverage['failures']:,} failures, "
        f"{clusters} of {coverage['clusters']} clusters"
    )
    if coverage["sampled"] < coverage["failures"]:
        text += f" in a sample of {coverage['sampled']:,} failures"
    return text


def cut_evenly(texts: Sequence[str], characters: int, most: int) -> list[str]:
    """The texts, of at most `characters` together: the longest are shortened, to one length."""
    left, bound = characters, most
    for place, size in enumerate(sorted(map(len, texts))):
        bound = max(0, min(most, left // (len(texts) - place)))
        if size > bound:
            break
        left -= size
    return [shorten(text, bound) if bound > 60 else text[:bound] for text in texts]
