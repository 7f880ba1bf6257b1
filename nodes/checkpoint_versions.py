"""checkpoint_versions: commit what was approved as releases, and write their YAML."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from tracetune.errors import StoreError, TraceTuneError
from tracetune.graph.state import Shippable, Shipped
from tracetune.nodes.models import RULES_ONLY, is_branch_of
from tracetune.nodes.review import survivors
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.memory import AgentMemory
from tracetune.stores.project import Project, write_bundle
from tracetune.stores.release import Guideline, Release

__all__ = ["checkpoint_versions"]

Json = dict[str, Any]

BY = "tracetune"


async def checkpoint_versions(state: Shippable, place: Workplace) -> Shipped:
    """Commit every surviving candidate; put the approved ones in force, journal the others.

    An agent whose commit fails is reported with the reason; the others go on.
    """
    memory = place.memory(state["project_name"])
    project = await place.load_project()
    releases: dict[str, Json] = {}
    for agent in survivors(state["verdicts"]):
        try:
            release = await _commit(memory.agent(agent), agent, state)
        except StoreError as error:
            releases[agent] = {"id": None, "files": [], "error": str(error)}
            continue
        approved = agent in state["approved"]
        releases[agent] = {"id": release.id, "parent": release.parent, "files": [], "error": ""}
        if approved and project is not None and agent in project.agents:
            releases[agent] |= await _write(project, agent, release)
        verb = "released" if approved else "rejected"
        progress("checkpoint_versions", f"{agent}: {verb} {release.id}")
    return {"releases": releases}


async def _commit(memory: AgentMemory, agent: str, state: Shippable) -> Release:
    subject, candidate = state["subjects"][agent], state["candidates"][agent]
    base = subject["base"]
    if subject["import"]:
        base = (await _import(memory, subject)).id
    calls = [call for call in state["calls"] if is_branch_of(call["branch"], agent)]
    approved = agent in state["approved"]
    why = [sentence for change in candidate["changes"] for sentence in change["why"]]
    if approved and state["comment"]:
        why.append(f"Approved in review: {state['comment']}")
    release = await memory.acommit(
        prompts=candidate["prompts"],
        config=candidate["config"],
        base=base,
        why=why,
        origin=_origin(candidate),
        guidelines=[Guideline(**line) for line in candidate["guidelines"]],
        evidence=_lesson(agent, state),
        metrics=state["measured"][agent]["metrics"],
        verdict={k: v for k, v in state["verdicts"][agent].items() if k != "survives"},
        model=calls[0]["model"] if calls else None,
        calls=len(calls),
        tokens=sum((c["tokens_in"] or 0) + (c["tokens_out"] or 0) for c in calls),
        promote=approved,
        by=BY,
    )
    if not approved:
        await memory.areject(release.id, by="review", why=state["comment"])
    return release


async def _import(memory: AgentMemory, subject: Mapping[str, Any]) -> Release:
    why = "as first seen" if subject["import"] == "import" else "the files were edited by hand"
    return await memory.acommit(
        prompts=subject["prompts"],
        config=subject["config"],
        base=subject["base"],
        why=[why],
        origin=subject["import"],
        guidelines=[Guideline(**line) for line in subject["guidelines"]],
        promote=True,
        by=BY,
    )


def _origin(candidate: Mapping[str, Any]) -> Literal["llm", "rules"]:
    origins = {change["origin"] for change in candidate["changes"]}
    return "llm" if "llm" in origins else "rules"


def _lesson(agent: str, state: Shippable) -> Json:
    """What the release was learned from, so that the same lesson is not learned twice."""
    fell_back = any(is_branch_of(fallback["branch"], agent) for fallback in state["fallbacks"])
    patterns = state["measured"][agent]["patterns"]
    return {
        "digest": state["subjects"][agent]["digest"],
        # A lesson cut short by a failing model may be learned again when it answers.
        "learned_with": RULES_ONLY if fell_back else state["subjects"][agent]["learner"],
        "traces": state["subjects"][agent]["traces"],
        "patterns": [p["id"] for p in patterns],
        "failing": sorted({i for p in patterns for i in p["failing_ids"]}),
    }


async def _write(project: Project, agent: str, release: Release) -> Json:
    folder = project.root / ".tracetune" / "releases" / release.id
    spec = project.agents[agent]
    try:
        files = await asyncio.to_thread(write_bundle, spec, release.bundle, folder)
    except TraceTuneError as error:
        return {"error": f"Release {release.id} is in force, but its YAML is missing: {error}"}
    return {"files": [str(path) for path in files]}
