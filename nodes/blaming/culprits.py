"""Which of several agents a failed run is owed to, from who did what and when.

Nothing is fitted: three signs count alike. With few examples to learn from, equal weights do better
than fitted ones (Dawes, "The robust beauty of improper linear models in decision making", 1979).
docs/blame.md says how the signs were chosen, and how often they are right.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from tracetune.traces.model import Message, Step, ToolCall, Trace

__all__ = ["Culprits", "name_key", "who_failed"]

MOST_CHARS = 4000
"""Of a step that are looked at: what is longer is mostly quoted."""
_FAILED = re.compile(
    r"^Traceback \(most recent call last\)|^[\w.]*(?:Error|Exception):"
    r"|\bexit(?: |_)?(?:code|status):? *[1-9]|\bexecution failed\b",
    re.IGNORECASE | re.MULTILINE,
)
"""How a terminal or an interpreter says that what it was given failed."""
_NOTHING = re.compile(
    r"(?:\A|\b(?:output|results?):)\s*(?:\[\s*\]|\{\s*\}|\(\s*\)|none|null|nil)?\s*\Z",
    re.IGNORECASE,
)
"""How a tool says that it found nothing."""
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_FIGURE = re.compile(r"\d(?:[\d.,:/-]*\d)?")


@dataclass(slots=True)
class _Act:
    who: str
    """Key of the name of whoever acted."""
    wrote: int
    """Characters."""
    figures: int = 0
    """Different ones that it says and nobody said before."""
    checked: bool = False
    """Whether a tool answered it: its figures were asked about rather than claimed."""
    failed: bool = False
    """Whether what a tool answered is an error, or nothing."""


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


@functools.lru_cache(maxsize=1024)  # asked of every step
def name_key(name: str) -> str:
    """The name as it is compared: case, blanks, `-` and `_` make no difference."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def who_failed(
    traces: Iterable[Trace], names: Sequence[str], *, by_step_only: bool = False
) -> Culprits:
    """Weigh, over the failed runs, how much each agent is to blame; nobody, where none acted.

    In each run an agent's share is the softmax of its signs, each 1 for whoever shows it most: how
    much it wrote, that it acted just before the first error or empty result, and how many figures
    it stated that neither the task nor a tool nor anybody before it gave.

    Args:
        traces: Failed runs; what anybody else said after an agent is a reply to it.
        by_step_only: Leave out steps that name no agent, rather than take them for the run's own.
    """
    keys = {name_key(name) for name in names}
    tally = _Tally()
    for trace in traces:
        if acts := _acts(trace, keys, by_step_only):
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
        self._most: dict[str, Counter[str]] = {sign: Counter() for sign in _PHRASES}

    def add(self, signs: Mapping[str, Mapping[str, float]]) -> None:
        """Count one run, by the signs of those who acted in it."""
        self.runs += 1
        self.rivals = max(self.rivals, len(signs))
        strengths = {who: math.exp(sum(found.values())) for who, found in signs.items()}
        for who, found in signs.items():
            self.shares[who] += strengths[who] / sum(strengths.values())
            self._present[who] += 1
            for sign, value in found.items():
                self._most[sign][who] += value == 1

    def phrases(self, who: str) -> Iterator[str]:
        """In how many runs it showed each sign most, and last in how many it acted at all."""
        shown = sorted(_PHRASES, key=lambda sign: -self._most[sign][who])
        for sign in shown:
            if count := self._most[sign][who]:
                yield f"{_PHRASES[sign]} in {count} of {self.runs} failed runs"
        if self._present[who]:
            yield f"acted in {self._present[who]} of {self.runs} failed runs"


def _acts(trace: Trace, keys: Set[str], by_step_only: bool) -> list[_Act]:
    actors = [_actor(step, trace, by_step_only) for step in trace.steps]
    if keys.isdisjoint(actors):
        return []
    acts: list[_Act] = []
    known: set[str] = set()
    for at, (step, who) in enumerate(zip(trace.steps, actors, strict=True)):
        said = _said(step)
        figures = set(_FIGURE.findall(said))
        if who in keys:
            # A run starts with its task, in whose name ever: nobody made up the figures in it.
            acts.append(_act(who, step, said, known if at else figures))
        elif acts and isinstance(step, Message) and step.agent:
            # A terminal, say: it takes part in the talk, and is no agent that could be to blame.
            acts[-1].checked = True
            acts[-1].failed = acts[-1].failed or _is_failure(step.text)
        known |= figures
        if isinstance(step, ToolCall):
            known.update(_FIGURE.findall((step.result or "")[:MOST_CHARS]))
    return acts


def _actor(step: Step, trace: Trace, by_step_only: bool) -> str:
    if isinstance(step, ToolCall) and step.by == "user":
        return ""
    if step.agent:
        return name_key(step.agent)
    own = not isinstance(step, Message) or step.role == "assistant"
    return name_key(trace.agent) if own and not by_step_only else ""


def _said(step: Step) -> str:
    if not isinstance(step, ToolCall):
        return step.text[:MOST_CHARS]
    arguments = json.dumps(dict(step.arguments), ensure_ascii=False, default=str)
    return f"{step.name} {arguments}"[:MOST_CHARS]


def _act(who: str, step: Step, said: str, known: Set[str]) -> _Act:
    if isinstance(step, ToolCall):
        nothing = step.result is not None and _NOTHING.search(step.result[-MOST_CHARS:]) is not None
        return _Act(who, len(said), checked=True, failed=step.error is not None or nothing)
    # What stands in a block of code is computed with, and not claimed.
    claimed = set(_FIGURE.findall(_FENCED.sub(" ", said)))
    return _Act(who, len(said), figures=len(claimed - known))


def _is_failure(reply: str) -> bool:
    return bool(_FAILED.search(reply) or _NOTHING.search(reply[-MOST_CHARS:]))


def _signs(acts: Sequence[_Act]) -> dict[str, dict[str, float]]:
    """Each agent's signs, each in [0, 1], agents in the order in which they first acted."""
    first_failed = next((act.who for act in acts if act.failed), None)
    wrote: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    for act in acts:
        wrote[act.who] += act.wrote
        claimed[act.who] += 0 if act.checked else act.figures
    return {
        who: {
            "failed": float(who == first_failed),
            "wrote": wrote[who] / max(1, *wrote.values()),
            "claimed": claimed[who] / max(1, *claimed.values()),
        }
        for who in wrote
    }


_PHRASES: Mapping[str, str] = {
    "failed": "acted just before the first error or empty result",
    "wrote": "wrote more than any other agent",
    "claimed": "stated the most figures that came from nowhere",
}
"""Of each sign, what whoever shows it most did."""
