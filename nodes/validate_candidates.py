"""validate_candidates: guard every candidate, and say what the recorded runs tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from tracetune.errors import InputError
from tracetune.graph.state import Candidate, Judgeable, Judged, Measures, Subject
from tracetune.nodes.configure_by_rules import replay_with_limit
from tracetune.nodes.guarding.guarded import trusted_words, violations_in
from tracetune.nodes.guarding.guards import check_sentence
from tracetune.nodes.guidelines import MAX_GUIDELINE, read_section
from tracetune.nodes.optimize_config import tunable
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.bundle import Bundle
from tracetune.traces.compare import Verdict, compare_replays, compare_runs
from tracetune.traces.model import Trace

__all__ = ["judge", "validate_candidates", "violations_of"]

Json = dict[str, Any]


async def validate_candidates(state: Judgeable, place: Workplace) -> Judged:
    """Judge every candidate that changes something."""
    evidence = await place.evidence(state)
    verdicts: dict[str, Json] = {}
    for agent, candidate in state["candidates"].items():
        if not candidate["changes"]:
            continue
        subject = state["subjects"][agent]
        violations = violations_of(candidate, subject, state["measured"][agent])
        runs = await asyncio.to_thread(evidence[agent].runs)
        verdict = await asyncio.to_thread(judge, candidate, subject, runs)
        survives = not violations and verdict.decision != "worse"
        verdicts[agent] = asdict(verdict) | {"survives": survives, "violations": violations}
        progress("validate_candidates", f"{agent}: {verdict.decision}")
    # Nothing reads the runs after this, and a review may wait for days.
    place.shelf.drop(state["cycle"])
    return {"verdicts": verdicts}


def violations_of(candidate: Candidate, subject: Subject, measures: Measures) -> list[str]:
    """Every rule the candidate breaks, whoever proposed it; empty when it may be released."""
    found: list[str] = []
    allowed = tunable(subject["config"], subject["parameters"])
    for change in candidate["changes"]:
        name, before, after = change["name"], change["before"], change["after"]
        half = subject["prompts"] if change["kind"] == "prompt" else subject["config"]
        if name not in half:
            found.append(f"{change['kind']} {name}: it is not the agent's")
        elif after is None:
            found.append(f"{change['kind']} {name}: it may not be taken out")
        elif change["kind"] == "prompt":
            broken = violations_in(after, name, subject, measures, change.get("style", ""))
            trusted = trusted_words(name, subject, measures)
            for line in set(read_section(after)) - set(read_section(before)):
                broken += check_sentence(line, MAX_GUIDELINE, trusted)
            found += [f"prompt {name}: {v.text} ({v.rule})" for v in broken]
        elif name not in allowed:
            found.append(f"config {name}: it may not be tuned")
        elif reason := allowed[name].violation(after, before):
            found.append(f"config {name}: {reason}")
    try:
        Bundle(candidate["prompts"], candidate["config"]).storable(subject["agent"])
    except InputError as error:
        found.append(str(error))
    return found


def judge(candidate: Candidate, subject: Subject, traces: Iterable[Trace]) -> Verdict:
    """What the recorded runs say of the candidate against what is in force.

    A lower step limit can be replayed: up to it, every run went as it would have gone, so each is
    compared with itself; one of unknown length tells nothing. Nothing recorded says how a prompt
    that never ran would do, so that a changed prompt has no evidence.

    Args:
        traces: All runs, which are gone through twice; their steps are not needed.
    """
    limits = [c["after"] for c in candidate["changes"] if _is_lower_limit(c, subject)]
    if limits:
        measured = (t for t in traces if t.turns is not None)
        verdict = compare_replays((t, replay_with_limit(t, min(limits))) for t in measured)
        alone = len(limits) == len(candidate["changes"])
        if verdict.decision == "worse" or (alone and verdict.n):
            return verdict
    return compare_runs(traces, [])


def _is_lower_limit(change: Mapping[str, Any], subject: Subject) -> bool:
    parameter = subject["parameters"].get(change["name"], {})
    limit = change["kind"] == "config" and parameter.get("step_limit", False)
    return bool(limit and change["after"] < change["before"])
