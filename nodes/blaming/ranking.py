"""rank_prompts: how much the evidence points at each prompt, or at each agent; no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.errors import InputError
from tracetune.nodes.blaming.culprits import Culprits, name_key, who_failed
from tracetune.nodes.blaming.feedback_match import Embed, match_feedback
from tracetune.traces.failures import EXCUSED, failure_kind_of
from tracetune.traces.mining.patterns import Pattern, mine_patterns
from tracetune.traces.model import Trace
from tracetune.traces.read import given_traces

__all__ = ["Blame", "harmful", "rank_prompts"]

SIGNIFICANT = 0.1
"""Highest q-value (false discovery rate) a pattern may have to be acted on."""
FEEDBACK_READ = 200
"""Different texts that are matched, at most: each may cost a call of an embedding model."""
ERROR_WEIGHT = 0.5
"""Of a tool's errors, which a prompt that speaks of the tool may not be able to prevent."""

_Finding = tuple[float, str]
"""A weight in [0, 1], and its phrase."""


@dataclass(frozen=True, slots=True)
class Blame:
    """How much the evidence points at one prompt."""

    name: str
    score: float
    """In [0, 1]; 0 means that nothing points at it."""
    evidence: tuple[str, ...]
    """One phrase per finding, strongest first."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    text: str
    when_to_update: str
    is_agent: bool
    """Whether only a name was given: there is no text to match, just what the agent did."""

    def speaks_of(self, tool: str) -> bool:
        told = f"{self.name} {self.when_to_update} {self.text}"
        return re.search(rf"(?<!\w){re.escape(tool)}(?!\w)", told) is not None


def harmful(patterns: Iterable[Pattern]) -> list[Pattern]:
    """The patterns that go with failure and are unlikely to be chance, strongest first."""
    return [p for p in patterns if p.effect < 0 and p.q_value <= SIGNIFICANT]


def rank_prompts(
    traces: Iterable[Trace],
    prompts: Sequence[Mapping[str, Any] | str] | Mapping[str, str],
    *,
    patterns: Sequence[Pattern] | None = None,
    commented: Iterable[Trace] | None = None,
    embed: Embed | None = None,
) -> list[Blame]:
    """Return every prompt with its blame, highest first; ties in the given order.

    What points at a prompt: harmful patterns and errors of tools it speaks of, feedback that is
    about it, and, in runs of several agents, what the agent of the same name did. What is found is
    joined as independent evidence: 1 - Π (1 - weight).

    Args:
        prompts: Each {name, prompt} and, where there are any, when_to_update and
            update_instructions; or a mapping of names to texts, as an agent's memory has it; or
            names of agents, to ask which one the failures belong to.
        patterns: Those of the traces, when they are known already.
        commented: The runs with feedback, where the traces are a sample that lacks most of them.
        embed: Texts to vectors, to match feedback by meaning too.

    Runs that failed for the user's or the infrastructure's sake blame no prompt, and a run whose
    outcome is unknown counts only by the feedback it came with.

    Raises:
        InputError: A prompt without a name or text, `embed` returns no vectors, or the traces
            are none.
    """
    if isinstance(prompts, Mapping):
        prompts = [{"name": name, "prompt": text} for name, text in prompts.items()]
    candidates = [_candidate(prompt) for prompt in prompts]
    blamable = _blamable(traces)
    told = blamable if commented is None else _blamable(commented)
    found = harmful(mine_patterns(blamable) if patterns is None else patterns)
    sources = (
        _by_acts(blamable, candidates),
        _by_patterns(found, blamable, candidates),
        _by_errors(blamable, candidates),
        _by_feedback(told, candidates, embed),
    )
    blames = [_blame(c.name, [s[i] for s in sources]) for i, c in enumerate(candidates)]
    return sorted(blames, key=lambda blame: -blame.score)


def _blamable(traces: Iterable[Trace]) -> list[Trace]:
    return [t for t in given_traces(traces) if failure_kind_of(t) not in EXCUSED]


def _candidate(prompt: Mapping[str, Any] | str) -> _Candidate:
    if isinstance(prompt, str):
        return _Candidate(prompt, "", "", is_agent=True)
    name, text = prompt.get("name"), prompt.get("prompt")
    if not isinstance(name, str) or not isinstance(text, str):
        raise InputError(f"A prompt must have a name and a prompt (texts), but got {name!r}.")
    return _Candidate(name, text, str(prompt.get("when_to_update") or ""), is_agent=False)


def _blame(name: str, findings: Sequence[Sequence[_Finding]]) -> Blame:
    """Join the findings of all sources; within one they say the same, so the strongest counts."""
    innocent = 1.0
    for source in findings:
        innocent *= 1 - max((weight for weight, _ in source), default=0.0)
    told = [f for source in findings for f in source if round(f[0], 4) > 0]
    told.sort(key=lambda finding: -finding[0])
    return Blame(name, round(1 - innocent, 4), tuple(dict.fromkeys(text for _, text in told)))


def _by_acts(traces: Sequence[Trace], candidates: Sequence[_Candidate]) -> list[list[_Finding]]:
    culprits = _culprits([t for t in traces if t.success is False], candidates)
    if culprits is None:
        return [[] for _ in candidates]
    return [
        [(culprits.shares[c.name], phrase) for phrase in culprits.evidence[c.name]]
        for c in candidates
    ]


def _culprits(traces: Sequence[Trace], candidates: Sequence[_Candidate]) -> Culprits | None:
    agents = all(c.is_agent for c in candidates)
    culprits = who_failed(traces, [c.name for c in candidates], by_step_only=not agents)
    # A prompt that has its agent's name, and no rival, would be blamed for whatever happens.
    return culprits if agents or culprits.rivals > 1 else None


def _by_patterns(
    patterns: Sequence[Pattern], traces: Sequence[Trace], candidates: Sequence[_Candidate]
) -> list[list[_Finding]]:
    longest = max((len(c.text) for c in candidates), default=0)
    callers = _callers(traces)
    return [
        [
            (abs(p.effect) * p.coverage * _relevance(p, candidate, longest, callers), p.text)
            for p in patterns
        ]
        for candidate in candidates
    ]


def _callers(traces: Sequence[Trace]) -> dict[str, Counter[str]]:
    """Who made the calls of each tool in failed runs: tool -> name key -> calls."""
    callers: dict[str, Counter[str]] = {}
    for trace in traces:
        if trace.success is False:
            for call in trace.agent_calls():
                who = name_key(call.agent or trace.agent)
                callers.setdefault(call.name, Counter())[who] += 1
    return callers


def _relevance(
    pattern: Pattern, candidate: _Candidate, longest: int, callers: Mapping[str, Counter[str]]
) -> float:
    if candidate.is_agent:
        calls = [callers[tool] for tool in pattern.subject if tool in callers]
        made = sum(count[name_key(candidate.name)] for count in calls)
        return made / max(1, sum(count.total() for count in calls))
    if any(candidate.speaks_of(tool) for tool in pattern.subject):
        return 1.0
    # What no prompt speaks of belongs to the one that instructs the agent: the longest.
    return 0.5 if len(candidate.text) == longest else 0.1


def _by_errors(traces: Sequence[Trace], candidates: Sequence[_Candidate]) -> list[list[_Finding]]:
    """Errors of the tools each prompt speaks of, as far as failed runs have more of them."""
    failed, succeeded = _failing_tools(traces, False), _failing_tools(traces, True)
    tools = set().union(*failed) if failed else set()
    findings: list[list[_Finding]] = [[] for _ in candidates]
    for tool in sorted(tools):
        told = [i for i, c in enumerate(candidates) if not c.is_agent and c.speaks_of(tool)]
        runs = sum(tool in names for names in failed)
        usual = sum(tool in names for names in succeeded) / max(1, len(succeeded))
        more = max(0.0, runs / len(failed) - usual)
        for i in told:
            text = f"`{tool}`, which it speaks of, failed in {runs} of {len(failed)} failed runs"
            findings[i].append((ERROR_WEIGHT * more / len(told), text))
    return findings


def _failing_tools(traces: Sequence[Trace], success: bool) -> list[set[str]]:
    return [
        {call.name for call in trace.agent_calls() if call.error is not None}
        for trace in traces
        if trace.success is success
    ]


def _by_feedback(
    traces: Sequence[Trace], candidates: Sequence[_Candidate], embed: Embed | None
) -> list[list[_Finding]]:
    told = sorted((t for t in traces if t.feedback and t.success is not True), key=_failed_first)
    runs: dict[str, Trace] = {}
    for trace in told:
        runs.setdefault(_feedback_text(trace), trace)
    texts = list(runs)[:FEEDBACK_READ]
    documents = [f"{c.name}\n{c.when_to_update}\n{c.text}" for c in candidates]
    names = [c.name for c in candidates]
    matches = match_feedback(texts, documents, names=names, embed=embed)
    rows = [
        _with_acts(row, runs[text], candidates) for row, text in zip(matches, texts, strict=True)
    ]
    findings: list[list[_Finding]] = [[] for _ in candidates]
    for i in range(len(candidates)):
        best = sum(1 for row in rows if row[i] > 0 and row[i] == max(row))
        share = sum(row[i] for row in rows) / max(1, len(rows))
        if share > 0:
            text = f"{best} of {len(rows)} texts of feedback match it best"
            findings[i].append((share, text))
    return findings


def _with_acts(
    row: Sequence[float], trace: Trace, candidates: Sequence[_Candidate]
) -> Sequence[float]:
    """Share out what a text leaves open by what the agents did in the run it came with."""
    # What they did in a failed run counts by itself, and a text that matches nothing may be praise.
    if trace.success is False or not any(row):
        return row
    culprits = _culprits([trace], candidates)
    if culprits is None or not culprits.runs:
        return row
    doubt = max(0.0, 1 - sum(row))
    return [
        share + doubt * culprits.shares[c.name] for share, c in zip(row, candidates, strict=True)
    ]


def _failed_first(trace: Trace) -> tuple[bool, str]:
    return trace.success is not False, trace.id


def _feedback_text(trace: Trace) -> str:
    feedback = trace.feedback
    if isinstance(feedback, Mapping):
        return "; ".join(f"{key}: {value}" for key, value in feedback.items())
    return str(feedback)
