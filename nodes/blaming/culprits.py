"""Which of several agents a failed run is owed to, from who did what and when.

The weights were fitted (a conditional logit with a ridge, then rounded by hand) on one half of the
126 algorithm-generated logs of Who&When (Zhang et al. 2025, arXiv 2505.00212); docs/blame.md says
how they do on the other half.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from tracetune.traces.model import Message, Step, ToolCall, Trace

__all__ = ["Culprits", "name_key", "who_failed"]

WEIGHTS: Mapping[str, float] = {"first_error": 0.5, "tools": 0.75, "busiest": 0.5, "opening": 1.0}
"""Log-odds of guilt for each sign at its most: all that fitting could tell from nothing.

The share of failing steps, beside the first, and having spoken last could not be told from it.
"""
OPENING = 2
"""Acts that open a run: a plan, and the first thing done about it."""
FEW_WORDS = 3
"""A message of fewer words ("TERMINATE", "Thanks.") is no work."""
_FAILED = re.compile(
    r"^Traceback \(most recent call last\)|^[\w.]*(?:Error|Exception):"
    r"|\bexit(?: |_)?(?:code|status):? *[1-9]|\bexecution failed\b",
    re.IGNORECASE | re.MULTILINE,
)
"""How a terminal or an interpreter says that what it was given failed."""


@dataclass(slots=True)
class _Act:
    who: str
    """Key of the name of whoever acted."""
    works: bool
    tools: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Culprits:
    """What the failed runs say of each agent, by its name."""

    runs: int
    """Failed runs in which one of them acted."""
    shares: Mapping[str, float]
    """Share of the failures that the rules put down to it, in [0, 1]; they add up to 1."""
    evidence: Mapping[str, tuple[str, ...]]
    """One phrase per sign, strongest first."""
    rivals: int
    """The most of them that acted in one run."""


def name_key(name: str) -> str:
    """The name as it is compared: case, blanks, `-` and `_` make no difference."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def who_failed(
    traces: Iterable[Trace], names: Sequence[str], *, by_step_only: bool = False
) -> Culprits:
    """Weigh, over the failed runs, how much each agent is to blame; nobody, where none acted.

    In each run an agent's share is the softmax of its signs: that it acted just before the first
    error, its share of the tool calls, that it acted most often, its share of the first two acts.

    Args:
        traces: Failed runs; what anybody else said after an agent is a reply to it.
        by_step_only: Leave out steps that name no agent, rather than take them for the run's own.
    """
    keys = {name_key(name) for name in names}
    tally = _Tally()
    for trace in traces:
        if acts := list(_acts(trace, keys, by_step_only)):
            tally.add(_signs(acts))
    return Culprits(
        runs=tally.runs,
        shares={name: tally.shares[name_key(name)] / max(1, tally.runs) for name in names},
        evidence={name: tuple(tally.phrases(name_key(name))) for name in names},
        rivals=tally.rivals,
    )


class _Tally:
    """Shares and signs, added up over the runs."""

    def __init__(self) -> None:
        self.runs = self.rivals = 0
        self.shares: defaultdict[str, float] = defaultdict(float)
        self._present: Counter[str] = Counter()
        self._signs = {sign: defaultdict[str, float](float) for sign in WEIGHTS}

    def add(self, signs: Mapping[str, Mapping[str, float]]) -> None:
        """Count one run, by the signs of those who acted in it."""
        self.runs += 1
        self.rivals = max(self.rivals, len(signs))
        strengths = {
            who: math.exp(sum(WEIGHTS[sign] * value for sign, value in found.items()))
            for who, found in signs.items()
        }
        for who, found in signs.items():
            self.shares[who] += strengths[who] / sum(strengths.values())
            self._present[who] += 1
            for sign, value in found.items():
                self._signs[sign][who] += value

    def phrases(self, who: str) -> Iterator[str]:
        """What was found, strongest first, and last in how many runs it acted at all."""
        totals = {sign: found[who] for sign, found in self._signs.items() if found[who] > 0}
        for sign in sorted(totals, key=lambda sign: -WEIGHTS[sign] * totals[sign]):
            yield _PHRASES[sign](totals[sign], self.runs)
        if self._present[who]:
            yield f"acted in {self._present[who]} of {self.runs} failed runs"


def _acts(trace: Trace, keys: Set[str], by_step_only: bool) -> Iterator[_Act]:
    latest: _Act | None = None
    for step in trace.steps:
        who = _actor(step, trace, by_step_only)
        if who in keys:
            if latest is not None:
                yield latest
            latest = _act(who, step)
        elif latest is not None and isinstance(step, Message) and step.agent:
            # A terminal, say: it takes part in the talk, and is no agent that could be to blame.
            latest.tools += 1
            latest.failed = latest.failed or _FAILED.search(step.text) is not None
    if latest is not None:
        yield latest


def _actor(step: Step, trace: Trace, by_step_only: bool) -> str:
    if isinstance(step, ToolCall) and step.by == "user":
        return ""
    if step.agent:
        return name_key(step.agent)
    own = not isinstance(step, Message) or step.role == "assistant"
    return name_key(trace.agent) if own and not by_step_only else ""


def _act(who: str, step: Step) -> _Act:
    if isinstance(step, ToolCall):
        return _Act(who, works=True, tools=1, failed=step.error is not None)
    return _Act(who, works=len(step.text.split()) >= FEW_WORDS)


def _signs(acts: Sequence[_Act]) -> dict[str, dict[str, float]]:
    """Each agent's signs, each in [0, 1], agents in the order in which they first acted."""
    first_error = next((act.who for act in acts if act.failed), None)
    tools: Counter[str] = Counter()
    works: Counter[str] = Counter()
    for act in acts:
        tools[act.who] += act.tools
        works[act.who] += act.works
    opening = [act.who for act in acts[:OPENING]]
    most = max(works.values())
    return {
        who: {
            "first_error": float(who == first_error),
            "tools": tools[who] / max(1, tools.total()),
            "busiest": float(most > 0 and works[who] == most),
            "opening": opening.count(who) / len(opening),
        }
        for who in dict.fromkeys(act.who for act in acts)
    }


_PHRASES: Mapping[str, Callable[[float, int], str]] = {
    "first_error": lambda total, runs: (
        f"acted just before the first error in {total:.0f} of {runs} failed runs"
    ),
    "tools": lambda total, runs: f"made {total / runs:.0%} of the tool calls in failed runs",
    "busiest": lambda total, runs: f"acted most often in {total:.0f} of {runs} failed runs",
    "opening": lambda total, runs: f"made {total / runs:.0%} of the first acts in failed runs",
}
