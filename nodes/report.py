"""report: what the cycle found, changed and kept, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tracetune.graph.schemas import AgentResult, Change, Spent
from tracetune.graph.state import CycleState, ModelCall
from tracetune.nodes.workplace import Workplace

__all__ = ["PATTERNS_REPORTED", "agent_result", "report", "spent_on", "summarize"]

Json = dict[str, Any]

PATTERNS_REPORTED = 8


async def report(state: CycleState, place: Workplace) -> Json:
    """Gather the results of every agent; works from whichever node the cycle ended at."""
    place.shelf.drop(state["cycle"])
    results = [agent_result(agent, state) for agent in state["subjects"]]
    outcomes = {result.outcome for result in results}
    status: Literal["released", "no change", "failed"] = "no change"
    if "failed" in outcomes:
        status = "failed"
    elif "released" in outcomes:
        status = "released"
    return {
        # Nothing reads the traces any more, and a thread's state is kept for long.
        "request": {**state["request"], "traces": []},
        "status": status,
        "summary": summarize(results),
        "results": [result.model_dump() for result in results],
        "notes": [],
        "spent": spent_on(state["calls"]).model_dump(),
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
        redacted=subject.get("redacted", {}),
        patterns=list(measures.get("patterns", []))[:PATTERNS_REPORTED],
        why_no_patterns=measures.get("why_no_patterns", ""),
        coverage=_coverage(agent, state),
        base=subject["base"],
    )
    if subject["skip"]:
        return result.model_copy(update={"outcome": subject["skip"], "detail": subject["detail"]})
    return result.model_copy(update=_decision(agent, state))


def _coverage(agent: str, state: CycleState) -> str:
    """What the model was shown for updates, or else to choose what to update.

    Prompts of different lengths leave different room: then it is said for each.
    """
    drafts = [d for d in state.get("prompt_drafts", ()) if d["agent"] == agent]
    told = {d["prompt"]: d.get("coverage", "") for d in drafts if d.get("coverage")}
    if len(set(told.values())) > 1:
        return "; ".join(f"{prompt}: {told[prompt]}" for prompt in sorted(told))
    return next(iter(told.values()), state.get("shown", {}).get(agent, ""))


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
        detail = f"Turned down in review: {state['turned_down'] or 'no reason given'}."
        return told | {"outcome": "rejected", "detail": detail}
    count = len(candidate["changes"])
    detail = f"{count} change{'s' if count > 1 else ''} in force as {shipped['id']}."
    return told | {"outcome": "released", "detail": detail}


def summarize(results: list[AgentResult]) -> str:
    """One sentence per agent, in the cycle's order."""
    return " ".join(f"{r.agent}: {r.outcome} ({r.traces} traces). {r.detail}" for r in results)


def spent_on(calls: Sequence[ModelCall]) -> Spent:
    """What the calls took together."""
    unmetered = [c for c in calls if c["tokens_in"] is None or c["tokens_out"] is None]
    unpriced = {
        c["model"] for c in calls if c["usd"] is None and (c["tokens_in"] or c["tokens_out"])
    }
    return Spent(
        calls=len(calls),
        failed_calls=sum(bool(c["error"]) for c in calls),
        retries=sum(c["attempt"] > 1 for c in calls),
        tokens_in=sum(c["tokens_in"] or 0 for c in calls),
        tokens_out=sum(c["tokens_out"] or 0 for c in calls),
        unmetered_calls=len(unmetered),
        usd=None if unpriced else round(sum(c["usd"] or 0.0 for c in calls), 8),
        unpriced_models=sorted(unpriced),
        seconds=round(sum(c["seconds"] for c in calls), 3),
    )
