"""Which runs and which feedback a model is shown: few, and as different as what failed is.

Failures are grouped by what most likely stands behind each. No clustering of texts: a group has a
name that a person can check, and the same runs make the same groups in any order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tracetune.nodes.blaming.ranking import harmful
from tracetune.nodes.evidence.differences import likeness, show_pair, show_steps
from tracetune.nodes.evidence.shortening import shorten
from tracetune.prompts.loader import fence
from tracetune.traces.analytics.errors_text import error_key
from tracetune.traces.analytics.run import calls_of
from tracetune.traces.analytics.tables import STEP_LIMITS
from tracetune.traces.failures import EXCUSED
from tracetune.traces.mining.patterns import Pattern
from tracetune.traces.model import Trace

__all__ = ["Shown", "cause_of", "choose_feedback", "choose_runs", "clusters_of"]

RUNS_SHOWN = 12
"""Runs or pairs of runs that are made ready; how many a prompt has room for is another matter."""
PAIR_CHARACTERS, RUN_CHARACTERS = 2_400, 1_500
PARTNERS = 10
"""Successes of a task, the shortest first, that are compared with its failure."""
USUAL = 0.75
"""Share of the successful runs that call a tool whose lack may be why a run failed."""
LOOP = 3

FEEDBACK_SHOWN, FEEDBACK_READ = 12, 200
FEEDBACK_ALL, FEEDBACK_EACH = 3_600, 300
"""Characters of all texts together, and of each where they are many."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A run, or a failed run against one of its task that succeeded, as fenced text."""

    text: str
    failures: int
    """How many failed runs it shows: 1 or 0."""
    cluster: int | None
    """Which of the clusters they are from, the largest being 0."""
    run: str
    """Its id; of a pair, that of the failed one."""


def choose_runs(traces: Sequence[Trace], patterns: Sequence[Pattern]) -> tuple[list[Shown], int]:
    """The runs to show, in order, and how many clusters of failures there are.

    First a pair for each cluster, largest first: a failure and the success of its task that is
    most like it. Then a failure of each cluster that has no such task, then a second one of each.
    Where there is no pair, one success stands beside the first failure.
    """
    partners = _partners(traces)
    clusters = clusters_of(traces, patterns)
    places = {trace.id: n for n, runs in enumerate(clusters.values()) for trace in runs}
    shown = [
        _shown(trace, partners.get(trace.task or "", ()), places[trace.id])
        for trace in _in_turn(list(clusters.values()), partners)
    ]
    if not any(trace.task in partners for runs in clusters.values() for trace in runs):
        others = [t for t in traces if t.success] or [t for t in traces if t.success is None]
        alone = [_alone(t, None) for t in sorted(others, key=_order)[: 1 if shown else 2]]
        shown[1:1] = alone
    return shown[:RUNS_SHOWN], len(clusters)


def clusters_of(traces: Sequence[Trace], patterns: Sequence[Pattern]) -> dict[str, list[Trace]]:
    """Failed runs by `cause_of`, the largest cluster first; in each the most telling run first.

    Failures of the user or the infrastructure are no failures of the agent.
    """
    failed = [t for t in traces if t.success is False]
    failed = [t for t in failed if t.failure_kind not in EXCUSED]
    usual = _usual_tools(traces)
    # What is wrong by itself stands behind a failure; what tool came last may only be its sign.
    strong = sorted(harmful(patterns), key=lambda pattern: pattern.kind not in _FAULTS)
    clusters: dict[str, list[Trace]] = {}
    for trace in sorted(failed, key=_order):
        clusters.setdefault(cause_of(trace, strong, usual), []).append(trace)
    return dict(sorted(clusters.items(), key=lambda item: (-len(item[1]), item[0])))


def cause_of(trace: Trace, patterns: Sequence[Pattern], usual: Sequence[str]) -> str:
    """What most likely stands behind a failure, to complete "the agent …": the first that holds.

    The first pattern it has; its last error; what ended it; a usual tool that it never called; its
    last tool.

    Args:
        patterns: Harmful ones, in the order in which they are looked for.
        usual: Tools that successful runs call.
    """
    calls = list(trace.agent_calls())
    for pattern in patterns:
        if _has(trace, pattern):
            return pattern.text
    errors = [call for call in calls if call.error is not None]
    if errors:
        return f'gets from `{errors[-1].name}` the error "{error_key(errors[-1].error or "")}"'
    if ended := trace.labels.get("ended_by"):
        return f"is ended by {shorten(ended, 60)}"
    called = {call.name for call in calls}
    if missing := [tool for tool in usual if tool not in called]:
        return f"never calls `{missing[0]}`"
    return f"ends with `{calls[-1].name}`" if calls else "calls no tool"


def _has(trace: Trace, pattern: Pattern) -> bool:
    calls = list(trace.agent_calls())
    names = [call.name for call in calls]
    tool = pattern.subject[0] if pattern.subject else ""
    match pattern.kind:
        case "loop":
            least = int(found[1]) if (found := _TIMES.search(pattern.text)) else LOOP
            return any(c.earlier + 1 >= least for c in calls_of(trace) if c.name == tool)
        case "tool_error":
            errors = [error_key(c.error) for c in calls if c.name == tool and c.error is not None]
            found = _ERROR.search(pattern.text)
            return found[1] in errors if found else bool(errors)
        case "hit_limit":
            return trace.labels.get("ended_by") in STEP_LIMITS
        case "tool_pair" | "tool_triple":
            size = len(pattern.subject)
            return any(
                tuple(names[n : n + size]) == pattern.subject for n in range(len(names) - size + 1)
            )
        case "first_tool":
            return names[:1] == [tool]
        case "last_tool":
            return names[-1:] == [tool]
        case "tool_unused":
            return tool not in names
        case "tool_used":
            return tool in names
    # What was written, how long it took, or any error at all: no cause to tell failures apart by.
    return False


_FAULTS = ("loop", "tool_error", "any_error", "hit_limit")
_TIMES = re.compile(r" at least (\d+) times$")
_ERROR = re.compile(r'^gets from `.*?` the error "(.*)"$', re.DOTALL)


def _usual_tools(traces: Sequence[Trace]) -> list[str]:
    """Tools that most successful runs call, those of the most runs first."""
    won = [{call.name for call in t.agent_calls()} for t in traces if t.success]
    counts = Counter(name for names in won for name in names)
    return sorted(
        (name for name, runs in counts.items() if runs >= USUAL * len(won)),
        key=lambda name: (-counts[name], name),
    )


def _order(trace: Trace) -> tuple[bool, bool, bool, int, str]:
    """Runs in which something was done first, then those with feedback, then the shortest."""
    acted = any(trace.agent_calls())
    return not trace.steps, not acted, not trace.feedback, len(trace.steps), trace.id


def _partners(traces: Sequence[Trace]) -> Mapping[str, list[Trace]]:
    """The successful runs with steps of each task, shortest first."""
    partners: dict[str, list[Trace]] = {}
    for trace in sorted((t for t in traces if t.success and t.steps), key=_order):
        if trace.task:
            partners.setdefault(trace.task, []).append(trace)
    return partners


def _in_turn(
    clusters: Sequence[Sequence[Trace]], partners: Mapping[str, Sequence[Trace]]
) -> Iterator[Trace]:
    """Yield at most two failures of each cluster: all pairs first, then those without, then more.

    The second one is of another task where there is any.
    """
    paired = [[t for t in runs if t.task in partners and t.steps] for runs in clusters]
    first = [pairs[0] for pairs in paired if pairs]
    first += [runs[0] for runs, pairs in zip(clusters, paired, strict=True) if not pairs]
    yield from first
    taken = {trace.id for trace in first}
    tasks = {trace.task for trace in first}
    for runs, pairs in zip(clusters, paired, strict=True):
        left = [t for t in (*pairs, *runs) if t.id not in taken]
        yield from sorted(left, key=lambda t: t.task in tasks)[:1]


def _shown(failed: Trace, partners: Sequence[Trace], cluster: int) -> Shown:
    if not partners or not failed.steps:
        return _alone(failed, cluster)
    near = max(partners[:PARTNERS], key=lambda other: likeness(failed, other))
    text = show_pair(failed, near, PAIR_CHARACTERS)
    lines = "- of the one that failed, + of the one that succeeded, others of both"
    shown = fence("run", text, outcome="two runs of one task", lines=lines)
    return Shown(shown, 1, cluster, failed.id)


def _alone(trace: Trace, cluster: int | None) -> Shown:
    outcome = {True: "succeeded", False: "failed", None: "unknown"}[trace.success]
    text = fence("run", show_steps(trace, RUN_CHARACTERS), outcome=outcome)
    return Shown(text, int(trace.success is False), cluster, trace.id)


def choose_feedback(traces: Sequence[Trace]) -> list[str]:
    """What people said of runs: all of it where it is little, else a few that differ most.

    Runs that failed come first; each further text is the one that shares the fewest words with
    those chosen before. A text said twice counts once.
    """
    told = sorted((t for t in traces if t.feedback), key=lambda t: (t.success is True, t.id))
    texts = list(dict.fromkeys(_said(trace) for trace in told))
    if len(texts) <= FEEDBACK_SHOWN and sum(map(len, texts)) <= FEEDBACK_ALL:
        return texts
    chosen = _varied(texts[:FEEDBACK_READ])
    return [shorten(text, max(FEEDBACK_EACH, FEEDBACK_ALL // len(chosen))) for text in chosen]


def _said(trace: Trace) -> str:
    if isinstance(trace.feedback, Mapping):
        # A grade by key must not read like a sentence: only sentences say what is to change.
        return ", ".join(f"{name}={value}" for name, value in trace.feedback.items())
    return str(trace.feedback)


def _varied(texts: Sequence[str]) -> list[str]:
    words = [frozenset(re.findall(r"\w+", text.casefold())) for text in texts]
    chosen: list[int] = []
    nearest = [0.0] * len(texts)
    while len(chosen) < min(FEEDBACK_SHOWN, len(texts)):
        left = [n for n in range(len(texts)) if n not in chosen]
        best = min(left, key=lambda n: (nearest[n], n))
        chosen.append(best)
        for n in left:
            both = len(words[n] & words[best])
            either = len(words[n]) + len(words[best]) - both
            nearest[n] = max(nearest[n], both / max(1, either))
    return [texts[n] for n in chosen]
