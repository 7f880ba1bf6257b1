"""ingest_traces: read the runs, and what is in force for the agents that made them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langgraph.runtime import get_runtime
from langgraph.types import Overwrite

from tracetune.errors import InputError, NoModelError
from tracetune.graph.context import Settings
from tracetune.graph.state import CycleInput
from tracetune.nodes.evidence import Evidence, gather
from tracetune.nodes.models import RULES_ONLY, name_of
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.bundle import Bundle
from tracetune.stores.memory import AgentMemory
from tracetune.stores.project import Parameter, Project, PromptSpec, read_bundle
from tracetune.stores.release import Release
from tracetune.traces.tables import digest_of

__all__ = ["base_of", "ingest_traces", "same_lesson"]

Json = dict[str, Any]

TOOLS_KEPT = 200


async def ingest_traces(request: CycleInput, place: Workplace) -> Json:
    """Read traces, bundles and heads; check everything that can be checked before any work.

    Raises:
        InputError: The request, the project, a source or the model's name is wrong.
        StoreError: Memory cannot be read.
    """
    project = None if request.inline else await place.project(request.project)
    settings = _effective(get_runtime(Settings).context, project)
    learner, notes = await _learner(settings.model, place)
    evidence = await asyncio.to_thread(gather, request, project)
    name = request.project or (project.name if project else "inline")
    memory = place.memory(name)
    if place.forgets:
        notes.append("No store was given: what is released is forgotten when the process ends.")
    subjects: dict[str, Json] = {}
    for agent, found in evidence.items():
        declared = await _declared(agent, request, project)
        subjects[agent] = await _subject(found, declared, memory.agent(agent), settings, learner)
        notes += _evidence_notes(found, subjects[agent])
        progress("ingest_traces", f"{agent}: {len(found.traces)} traces")
    place.shelf.put(_key(subjects), evidence)
    return {
        "project_name": name,
        "settings": settings.model_dump(),
        "subjects": subjects,
        # A thread may run several cycles: what the last one collected must not leak into this one.
        **{field: Overwrite([]) for field in ("drafts", "fallbacks", "calls")},
        "notes": Overwrite(notes),
    }


async def evidence_of(state: Json, place: Workplace) -> dict[str, Evidence]:
    """The evidence that `ingest_traces` read, read again where this process has not got it."""
    if (kept := place.shelf.get(_key(state["subjects"]))) is not None:
        return dict(kept)
    fields = {k: state[k] for k in CycleInput.model_fields if k in state}
    request = CycleInput.model_validate(fields)
    project = None if request.inline else await place.project(request.project)
    evidence = await asyncio.to_thread(gather, request, project)
    place.shelf.put(_key(state["subjects"]), evidence)
    return evidence


def _key(subjects: Json) -> str:
    return "+".join(f"{agent}:{subject['digest']}" for agent, subject in subjects.items())


def _effective(given: Settings | None, project: Project | None) -> Settings:
    if project is None:
        return given or Settings()
    declared: Json = {"min_traces": project.min_traces}
    if project.model:
        declared["model"] = project.model
    reward = project.reward
    declared |= {
        "success_weight": reward.success_weight,
        "latency_weight": reward.latency_weight,
        "attempts_weight": reward.attempts_weight,
        "reward_cap": reward.cap,
    }
    return (given or Settings()).over(declared)


async def _learner(model: str, place: Workplace) -> tuple[str, list[str]]:
    try:
        found = await place.model(model)
    except NoModelError as error:
        return RULES_ONLY, [f"{error} This cycle runs on rules alone."]
    return name_of(found), []


async def _declared(
    agent: str, request: CycleInput, project: Project | None
) -> tuple[Bundle, dict[str, PromptSpec], dict[str, Parameter]]:
    if agent in request.inline:
        inline = request.inline[agent]
        if not inline.prompts and not inline.config:
            raise InputError(f"inline.{agent} must carry prompts or a config, but has neither.")
        bundle = Bundle(inline.prompts, inline.config)
        return bundle, inline.prompt_specs, inline.parameters
    assert project is not None
    spec = project.agent(agent)
    bundle = await asyncio.to_thread(read_bundle, spec)
    return bundle, dict(spec.prompts), dict(spec.parameters)


async def _subject(
    found: Evidence,
    declared: tuple[Bundle, dict[str, PromptSpec], dict[str, Parameter]],
    memory: AgentMemory,
    settings: Settings,
    learner: str,
) -> Json:
    source, prompts, parameters = declared
    releases = await memory.areleases()
    head = await memory.ahead()
    bundle, base, imports = base_of(source, head, releases)
    digest = await asyncio.to_thread(digest_of, found.traces)
    skip, detail = "", ""
    if len(found.traces) < settings.min_traces:
        skip = "not enough traces"
        detail = f"{len(found.traces)} traces, but min_traces is {settings.min_traces}."
        if found.others and not found.traces:
            detail += f" The sources hold runs of {', '.join(sorted(found.others)[:5])}."
    elif not settings.relearn and (old := same_lesson(releases, digest, learner)):
        skip = "nothing new"
        detail = f"Release {old} was already made from these {len(found.traces)} traces."
    return {
        "agent": found.agent,
        "prompts": dict(bundle.prompts),
        "config": dict(bundle.config),
        "prompt_specs": {name: spec.model_dump() for name, spec in prompts.items()},
        "parameters": {name: parameter.model_dump() for name, parameter in parameters.items()},
        "reward": {name: getattr(settings, name) for name in _WEIGHTS},
        "guidelines": [_plain(g) for g in head.guidelines] if head else [],
        "refs": dict((head.metrics.get("refs") or {}) if head else {}),
        "base": base,
        "import": imports,
        "tools": _tools(found),
        "traces": len(found.traces),
        "set_aside": len(found.set_aside),
        "digest": digest,
        "learner": learner,
        "skip": skip,
        "detail": detail,
    }


_WEIGHTS = ("success_weight", "latency_weight", "attempts_weight")


def _tools(found: Evidence) -> list[str]:
    names = {call.name for trace in found.traces for call in trace.agent_calls()}
    return sorted(names)[:TOOLS_KEPT]


def _plain(guideline: Any) -> Json:
    fields = ("id", "prompt", "text", "origin", "evidence")
    return {field: getattr(guideline, field) for field in fields}


def base_of(
    source: Bundle, head: Release | None, releases: Sequence[Release]
) -> tuple[Bundle, str | None, str]:
    """What the cycle builds on: the bundle, the head's id, and how the files are to be imported.

    The last is `import` when memory holds nothing yet, `human` when the files hold what no
    release does (someone edited them: that is never overwritten), and empty otherwise.
    """
    if head is None:
        return source, None, "import"
    if source.content_hash in {release.content_hash for release in releases}:
        return head.bundle, head.id, ""
    return source, head.id, "human"


def same_lesson(releases: Sequence[Release], digest: str, learner: str) -> str | None:
    """The id of the release that the same learner made from just these traces, if any."""
    for release in releases:
        lesson = release.evidence
        if lesson.get("digest") == digest and lesson.get("learned_with") == learner:
            return release.id
    return None


def _evidence_notes(found: Evidence, subject: Json) -> list[str]:
    notes = []
    if found.set_aside:
        first = found.set_aside[0]
        notes.append(
            f"{found.agent}: {len(found.set_aside)} records were set aside; the first: "
            f"{first.source} {first.position}: {first.reason}"
        )
    if subject["import"] == "human":
        notes.append(
            f"{found.agent}: the files were edited by hand since release {subject['base']}."
        )
    return notes
