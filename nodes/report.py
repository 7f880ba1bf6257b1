"""report: what the cycle found, changed and kept, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tracetune.graph.state import AgentResult, Change, CycleState

__all__ = ["PATTERNS_REPORTED", "agent_result", "report", "summarize"]

Json = dict[str, Any]

PATTERNS_REPORTED = 8


async def report(state: CycleState) -> Json:
    """Gather the results of every agent; works from whichever node the cycle ended at."""
    results = [agent_result(agent, state) for agent in state["subjects"]]
    outcomes = {result.outcome for result in results}
    status: Literal["released", "no change", "failed"] = "no change"
    if "failed" in outcomes:
        status = "failed"
    elif "released" in outcomes:
        status = "released"
    return {
        "status": status,
        "summary": summarize(results),
        "results": [result.model_dump() for result in results],
        "notes": [],
    }


def agent_result(agent: str, state: CycleState) -> AgentResult:
    """What became of one agent."""
    subject = state["subjects"][agent]
    measures: Mapping[str, Any] = state.get("measured", {}).get(agent, {})
    result = AgentResult(
        agent=agent,
        outcome="no change",
        detail="",
        traces=subject["traces"],
        set_aside=subject["set_aside"],
        metrics=measures.get("metrics"),
        patterns=list(measures.get("patterns", []))[:PATTERNS_REPORTED],
        base=subject["base"],
    )
    if subject["skip"]:
        return result.model_copy(update={"outcome": subject["skip"], "detail": subject["detail"]})
    return result.model_copy(update=_decision(agent, state))


def _decision(agent: str, state: CycleState) -> Json:
    candidate = state.get("candidates", {}).get(agent)
    if not candidate or not candidate["changes"]:
        dropped = candidate["dropped"] if candidate else []
        detail = "Nothing in the evidence is strong enough to act on, or it is acted on already."
        return {"outcome": "no change", "detail": detail, "dropped": dropped}
    verdict = state["verdicts"][agent]
    told = {
        "changes": [Change(**change) for change in candidate["changes"]],
        "dropped": candidate["dropped"],
        "verdict": verdict,
    }
    if not verdict["survives"]:
        reason = "; ".join(verdict["violations"]) or verdict["why"]
        return told | {"outcome": "refused", "detail": reason}
    shipped = state["releases"][agent]
    told |= {"release": shipped["id"], "files": shipped["files"]}
    told["mirrored"] = shipped["mirrored"]
    told["base"] = shipped.get("parent") or state["subjects"][agent]["base"]
    if shipped["error"]:
        return told | {"outcome": "failed", "detail": shipped["error"]}
    if agent not in state["approved"]:
        detail = f"Turned down in review: {state['comment'] or 'no reason given'}."
        return told | {"outcome": "rejected", "detail": detail}
    count = len(candidate["changes"])
    detail = f"{count} change{'s' if count > 1 else ''} in force as {shipped['id']}."
    return told | {"outcome": "released", "detail": detail}


def summarize(results: list[AgentResult]) -> str:
    """One sentence per agent, in the cycle's order."""
    return " ".join(f"{r.agent}: {r.outcome} ({r.traces} traces). {r.detail}" for r in results)
