"""checkpoint_versions: commit what survived as releases, and write their YAML."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

from tracetune.errors import TraceTuneError
from tracetune.graph.state import Candidate, Shippable, Shipped
from tracetune.nodes.calling.models import RULES_ONLY
from tracetune.nodes.edited import as_they_are
from tracetune.nodes.review import survivors
from tracetune.nodes.subjects import BY
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.memory import AgentMemory
from tracetune.stores.mirror import mirror
from tracetune.stores.project import AgentSpec, write_bundle
from tracetune.stores.release import Guideline, Release

__all__ = ["checkpoint_versions"]

Json = dict[str, Any]

REVIEWER = "review"
"""Who acted, in the journal, when a person answered the review."""


async def checkpoint_versions(state: Shippable, place: Workplace) -> Shipped:
    """Commit every surviving candidate; put the approved ones in force, journal the others.

    An agent whose commit fails is reported with the reason; the others go on. So does a release
    whose YAML cannot be written: it is in force.
    """
    memory = place.memory(state["project_name"])
    project = await place.load_project()
    candidates, verdicts = as_they_are(state)
    state = {**state, "candidates": candidates, "verdicts": verdicts}
    releases: dict[str, Json] = {}
    notes: list[str] = []
    for agent in survivors(verdicts):
        shipped: Json = {"id": None, "parent": None, "files": [], "mirrored": [], "error": ""}
        releases[agent] = shipped
        try:
            approved, spec = agent in state["approved"], None
            if approved and project is not None and state["subjects"][agent]["in_files"]:
                spec = project.agent(agent)
            release = await _keep(memory.agent(agent), agent, state)
            shipped |= {"id": release.id, "parent": release.parent}
            if not approved:
                await memory.agent(agent).areject(release.id, by=REVIEWER, why=state["turned_down"])
                continue
        except TraceTuneError as error:
            done = f"Release {shipped['id']} is kept, but what comes after it failed: "
            shipped["error"] = f"{done if shipped['id'] else ''}{error}"
            continue
        progress("checkpoint_versions", f"{agent}: released {release.id}")
        if project is not None and spec is not None:
            shipped["files"], told = await _copy(project.root, spec, release)
            notes += told
            held = state["subjects"][agent]["source_hash"]
            places = await mirror(spec, release, memory.store, previous=held)
            shipped["mirrored"] = [str(place) for place in places]
    return {"candidates": candidates, "verdicts": verdicts, "releases": releases, "notes": notes}


async def _keep(memory: AgentMemory, agent: str, state: Shippable) -> Release:
    """Commit the candidate; or return the release of it that a cycle cut short has left."""
    base, candidate = state["subjects"][agent]["base"], state["candidates"][agent]
    approved, lesson = agent in state["approved"], _lesson(agent, state)
    for release in await memory.areleases():
        same = (release.prompts, release.config) == (candidate["prompts"], candidate["config"])
        if same and release.parent == base and release.evidence == lesson:
            head = await memory.ahead()
            if not approved or (head is not None and head.id == release.id):
                return release
            return await memory.apromote(release.id, base=base, by=BY, why=_comment(state))
    return await _commit(memory, agent, state, lesson)


async def _commit(memory: AgentMemory, agent: str, state: Shippable, lesson: Json) -> Release:
    candidate = state["candidates"][agent]
    calls = [call for call in state["calls"] if call["agent"] in ("", agent)]
    approved = agent in state["approved"]
    why = [sentence for change in candidate["changes"] for sentence in change["why"]]
    if approved and (comment := _comment(state)):
        why.append(comment)
    return await memory.acommit(
        prompts=candidate["prompts"],
        config=candidate["config"],
        # What is turned down replaces nothing: it is kept whatever is in force by now.
        base=state["subjects"][agent]["base"] if approved else None,
        why=why,
        origin=_origin(candidate),
        guidelines=[Guideline.from_dict(line) for line in candidate["guidelines"]],
        evidence=lesson,
        metrics=state["measured"][agent]["metrics"],
        verdict={k: v for k, v in state["verdicts"][agent].items() if k != "survives"},
        model=next((call["model"] for call in calls if not call["error"]), None),
        calls=len(calls),
        tokens=sum((c["tokens_in"] or 0) + (c["tokens_out"] or 0) for c in calls),
        promote=approved,
        by=BY,
    )


def _comment(state: Shippable) -> str:
    return f"Approved in review: {state['comment']}" if state["comment"] else ""


def _origin(candidate: Candidate) -> Literal["llm", "rules", "human"]:
    origins = {change["origin"] for change in candidate["changes"]}
    return "human" if "human" in origins else "llm" if "llm" in origins else "rules"


def _lesson(agent: str, state: Shippable) -> Json:
    """What the release was learned from, so that the same lesson is not learned twice."""
    fell_back = any(fallback["agent"] in ("", agent) for fallback in state["fallbacks"])
    subject, patterns = state["subjects"][agent], state["measured"][agent]["patterns"]
    return {
        "digest": subject["digest"],
        # A lesson cut short by a failing model may be learned again when it answers.
        "learned_with": RULES_ONLY if fell_back else subject["learner"],
        "traces": subject["traces"],
        "patterns": [p["id"] for p in patterns],
        "failing": sorted({i for p in patterns for i in p["failing_ids"]}),
    }


async def _copy(root: Path, spec: AgentSpec, release: Release) -> tuple[list[str], list[str]]:
    """Write the release's YAML; return its files, or a note on what is in the way."""
    folder = root / ".tracetune" / "releases" / release.id
    try:
        files = await asyncio.to_thread(write_bundle, spec, release.bundle, folder)
    except TraceTuneError as error:
        failed = f"{spec.name}: {release.id} is in force, but its YAML copy failed: {error}"
        return [], [failed]
    return [str(path.relative_to(root)) for path in files], []
