"""validate_candidates: guard every candidate, and say what the recorded runs tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tracetune.graph.state import Judgeable, Judged
from tracetune.nodes.configure_by_rules import replay_with_limit
from tracetune.nodes.guards import check_prompt
from tracetune.nodes.ingest_traces import evidence_of
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.project import Parameter
from tracetune.traces.compare import Verdict, compare_runs
from tracetune.traces.model import Trace

__all__ = ["judge", "validate_candidates", "violations_of"]

Json = dict[str, Any]


async def validate_candidates(state: Judgeable, place: Workplace) -> Judged:
    """Judge every candidate that changes something."""
    evidence = await evidence_of(dict(state), place)
    verdicts: dict[str, Json] = {}
    for agent, candidate in state["candidates"].items():
        if not candidate["changes"]:
            continue
        subject = state["subjects"][agent]
        violations = violations_of(candidate, subject)
        verdict = await asyncio.to_thread(judge, candidate, subject, evidence[agent].traces)
        survives = not violations and verdict.decision != "worse"
        verdicts[agent] = asdict(verdict) | {"survives": survives, "violations": violations}
        progress("validate_candidates", f"{agent}: {verdict.decision}")
    return {"verdicts": verdicts}


def violations_of(candidate: Mapping[str, Any], subject: Mapping[str, Any]) -> list[str]:
    """Every rule the candidate breaks, whoever proposed it; empty when it may be released."""
    found: list[str] = []
    for change in candidate["changes"]:
        name = change["name"]
        if change["kind"] == "prompt":
            form = subject["prompt_specs"].get(name, {}).get("template_format", "auto")
            broken = check_prompt(change["before"], change["after"], template_format=form)
            found += [f"prompt {name}: {v.text} ({v.rule})" for v in broken]
        else:
            parameter = Parameter.model_validate(subject["parameters"].get(name, {}))
            if reason := parameter.violation(change["after"], change["before"]):
                found.append(f"config {name}: {reason}")
    return found


def judge(
    candidate: Mapping[str, Any], subject: Mapping[str, Any], traces: Sequence[Trace]
) -> Verdict:
    """What the recorded runs say of the candidate against what is in force.

    A lower step limit can be replayed: up to it, every run went as it would have gone. Nothing
    recorded says how a prompt that never ran would do, so that a changed prompt has no evidence.
    """
    limits = [c["after"] for c in candidate["changes"] if _is_lower_limit(c, subject)]
    if limits and len(limits) == len(candidate["changes"]):
        replayed = [replay_with_limit(trace, min(limits)) for trace in traces]
        return compare_runs(traces, replayed)
    return compare_runs(traces, [])


def _is_lower_limit(change: Mapping[str, Any], subject: Mapping[str, Any]) -> bool:
    parameter = subject["parameters"].get(change["name"], {})
    limit = change["kind"] == "config" and parameter.get("step_limit", False)
    return bool(limit and change["after"] < change["before"])
