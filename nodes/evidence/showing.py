"""Evidence as text for a prompt: bounded, whatever the number of traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracetune.graph.state import Measures
from tracetune.nodes.evidence.choosing import choose_feedback
from tracetune.nodes.evidence.differences import show_steps
from tracetune.nodes.evidence.shortening import fenced_tokens, shorten, shorten_to, tokens_of
from tracetune.prompts.loader import fence
from tracetune.traces.model import Trace

__all__ = [
    "FittedEvidence",
    "choose_feedback",
    "cited_patterns",
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
LEAST_CUT = 120
"""Tokens: a run, or a text of feedback, is not cut to less than that."""
_LEFT_OUT = "  … more is left out …"

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
        f"{_figure(p['success_without'])} without{_within(p)} (q = {_figure(p['q_value'])})"
        for number, p in enumerate(patterns[:PATTERNS_SHOWN], start=1)
    )


def cited_patterns(patterns: Sequence[Json], numbers: Iterable[int]) -> list[Json]:
    """Those that a model names by their numbers, each once; what it was not shown tells nothing."""
    shown = patterns[:PATTERNS_SHOWN]
    return [shown[n - 1] for n in dict.fromkeys(numbers) if 1 <= n <= len(shown)]


def _within(pattern: Json) -> str:
    """What is left of the difference where runs of the same task were compared."""
    if not pattern.get("tasks"):
        return ""
    return f", {pattern['effect'] * 100:+.0f} points within the same tasks"


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
    texts = list(lines)
    part = _Part(texts, [fenced_tokens(line) + 1 for line in texts])
    left = part.take(room)
    return part.shown(), left


def fit_evidence(measures: Measures, room: int, more: Iterable[str] = ()) -> FittedEvidence:
    """As much of the evidence as so many tokens hold, counted as it is sent.

    Figures with patterns, runs, and feedback are each sure of a third. What feedback and figures
    leave of theirs is for runs, and what these leave for feedback, then for figures. Where not
    even one run, or one text of feedback, fits into its part, the first one is cut.

    Args:
        more: Lines that come after the patterns.
    """
    lines = show_metrics(measures["metrics"]).splitlines()
    lines += [*show_patterns(measures["patterns"]).splitlines(), *more]
    told = _Part(lines, [fenced_tokens(line) + 1 for line in lines])
    lines = [f"feedback: {text}" for text in measures["feedback"]]
    feedback = _Part(lines, [fenced_tokens(line) + 1 for line in lines])
    runs = _Part([*measures["runs"]], [tokens_of(text) + 1 for text in measures["runs"]])
    room = max(0, room - _COVERAGE_TOKENS)
    left = room - 2 * (room // 3)
    left += told.take(room // 3)
    left += feedback.take_or_cut(room // 3, _cut_line)
    left = runs.take_or_cut(left, _cut_run)
    left = told.take(feedback.take(left))
    coverage = coverage_text(measures.get("coverage", {}), sorted(runs.taken))
    evidence = told.shown()
    if coverage and room:
        evidence.append(f"the runs that are shown: {coverage}")
    evidence += feedback.shown()
    return FittedEvidence("\n".join(evidence), "\n".join(runs.shown()), coverage)


@dataclass(slots=True)
class _Part:
    """Texts of one kind, and which of them there is room for."""

    texts: list[str]
    sizes: list[int]
    """Tokens of each, as it is sent."""
    taken: set[int] = field(default_factory=set)

    def take(self, room: int) -> int:
        """Take what fits of the texts that are not taken yet; the room that is left."""
        for place, size in enumerate(self.sizes):
            if place not in self.taken and size <= room:
                self.taken.add(place)
                room -= size
        return room

    def take_or_cut(self, room: int, cut: Callable[[str, int], str]) -> int:
        """Take what fits or, where nothing does, the first text cut; the room that is left."""
        left = self.take(room)
        if not self.texts or self.taken or room < LEAST_CUT:
            return left
        if text := cut(self.texts[0], room - 1):
            self.texts[0], self.taken = text, {0}
            return 0
        return left

    def shown(self) -> list[str]:
        """The texts that are taken, in their order."""
        return [self.texts[place] for place in sorted(self.taken)]


def _cut_line(text: str, tokens: int) -> str:
    return shorten_to(text, tokens, fenced=True)


def _cut_run(text: str, tokens: int) -> str:
    """The lines of a fenced run that fit; empty where none does. All tags stay.

    What was asked and what differs from another run goes first, then what is nearer to the end.
    """
    lines = text.split("\n")
    tags = {place for place, line in enumerate(lines) if line.startswith("<")}
    steps = [place for place in range(len(lines)) if place not in tags]
    differs = {place for place in steps if lines[place][:1] in ("-", "+")}
    ranked = sorted(
        steps, key=lambda n: (n != steps[0], n not in differs, n if n in differs else -n)
    )
    # What is left out has a mark: at most one more than there are lines.
    mark = tokens_of(_LEFT_OUT) + 1
    left = tokens - mark - sum(tokens_of(lines[place]) + 1 for place in tags)
    kept: set[int] = set()
    for place in ranked:
        size = tokens_of(lines[place]) + 1 + mark
        if size <= left:
            kept.add(place)
            left -= size
    shown: list[str] = []
    for place, line in enumerate(lines):
        if place in kept | tags:
            shown.append(line)
        elif shown[-1:] != [_LEFT_OUT]:
            shown.append(_LEFT_OUT)
    return "\n".join(shown) if kept else ""


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
