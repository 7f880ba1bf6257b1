"""classify_by_rules: the prompts that patterns and feedback point at, with no model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.graph.state import Choice, Classified, Evidenced
from tracetune.nodes.subjects import learning
from tracetune.nodes.workplace import progress
from tracetune.traces.model import Trace
from tracetune.traces.patterns import Pattern, mine_patterns

__all__ = ["Blame", "classify_by_rules", "harmful", "rank_prompts"]

SIGNIFICANT = 0.1
"""Highest q-value (false discovery rate) a pattern may have to be acted on."""


@dataclass(frozen=True, slots=True)
class Blame:
    """How much the evidence points at one prompt."""

    name: str
    score: float
    """In [0, 1]; 0 means that nothing points at it."""
    evidence: tuple[str, ...]
    """One phrase per finding, strongest first."""


async def classify_by_rules(state: Evidenced) -> Classified:
    """Choose, for each agent, the prompt that the evidence points at most, if it does at all."""
    progress("classify_by_rules", "choosing prompts by rules")
    chosen: list[Choice] = []
    for agent in learning(state["subjects"]):
        for best in state["measured"][agent]["blames"][:1]:
            if best["score"] > 0:
                why = "; ".join(best["evidence"][:3])
                chosen.append(Choice(agent=agent, prompt=best["name"], why=why))
    return {"chosen": chosen}


def harmful(patterns: Iterable[Pattern]) -> list[Pattern]:
    """The patterns that go with failure and are unlikely to be chance, strongest first."""
    return [p for p in patterns if p.effect < 0 and p.q_value <= SIGNIFICANT]


def rank_prompts(
    traces: Iterable[Trace],
    prompts: Sequence[Mapping[str, Any]],
    *,
    patterns: Sequence[Pattern] | None = None,
) -> list[Blame]:
    """Return every prompt with its blame, highest first; ties in the given order.

    Args:
        prompts: Each {name, prompt} and, where there are any, when_to_update and
            update_instructions.
        patterns: Those of the traces, when they are known already.

    Runs that failed for the user's or the infrastructure's sake blame no prompt.
    """
    blamable = [t for t in traces if t.failure_kind not in ("user", "infrastructure")]
    found = harmful(mine_patterns(blamable) if patterns is None else patterns)
    feedback = [str(t.feedback) for t in blamable if t.feedback and t.success is not True]
    longest = max((len(p["prompt"]) for p in prompts), default=0)
    blames = []
    for prompt in prompts:
        findings = [
            (_weight(pattern) * _relevance(pattern, prompt, longest), pattern.text)
            for pattern in found
        ]
        if feedback and (match := _feedback_match(feedback, prompt, prompts)):
            findings.append((match, f"{len(feedback)} runs came with feedback that speaks of it"))
        findings.sort(key=lambda finding: -finding[0])
        total = min(1.0, sum(weight for weight, _ in findings))
        blames.append(
            Blame(prompt["name"], round(total, 4), tuple(t for w, t in findings if w > 0))
        )
    return sorted(blames, key=lambda blame: -blame.score)


def _weight(pattern: Pattern) -> float:
    return abs(pattern.effect) * pattern.coverage


def _relevance(pattern: Pattern, prompt: Mapping[str, Any], longest: int) -> float:
    told = " ".join(str(prompt.get(key, "")) for key in ("name", "when_to_update", "prompt"))
    if any(tool in told for tool in pattern.subject):
        return 1.0
    # What no prompt speaks of belongs to the one that instructs the agent: the longest.
    return 0.5 if len(prompt["prompt"]) == longest else 0.1


def _feedback_match(
    feedback: Sequence[str], prompt: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]]
) -> float:
    said = set().union(*(_words(text) for text in feedback))
    own = _words(" ".join(str(prompt.get(key, "")) for key in ("name", "when_to_update")))
    other = set().union(
        *(_words(f"{p['name']} {p.get('when_to_update', '')}") for p in prompts if p is not prompt)
    )
    telling = own - other
    return len(said & telling) / len(telling) if telling else 0.0


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.casefold().replace("_", " ")))
