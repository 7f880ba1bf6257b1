"""ingest_traces: read the runs, and what is in force for the agents that made them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from langgraph.types import Overwrite

from tracetune.errors import InputError, NoModelError, NotFoundError
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleInput
from tracetune.graph.state import Subject
from tracetune.nodes.calling.models import RULES_ONLY, name_of
from tracetune.nodes.evidence.gathering import Evidence, gather
from tracetune.nodes.guarding.guarded import sizes_by_hand
from tracetune.nodes.review import can_wait
from tracetune.nodes.subjects import Source, check_edit, in_force, same_lesson
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.mirror import mirror
from tracetune.stores.project import Project
from tracetune.stores.project_file import nearest
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import told_aside
from tracetune.traces.redaction import Redactor

__all__ = ["ingest_traces"]

Json = dict[str, Any]

OTHER_TOOLS_KEPT = 300


async def ingest_traces(request: CycleInput, place: Workplace) -> Json:
    """Read traces, declarations and heads; check all that can be checked before anything is kept.

    Raises:
        InputError: The request, the project, a source or the model's name is wrong.
        StoreError: Memory fails.
    """
    project = None if request.inline else await place.project(request.project)
    settings = _settings(place.settings(), project)
    cycle = await place.begin(settings)
    memory = await _memory(request, project, place)
    learner, notes = await _learner(settings.model, place)
    request, secrets = await asyncio.to_thread(_without_secrets, request)
    evidence = await asyncio.to_thread(_gather, request, project, secrets)
    notes += _redaction_notes(evidence)
    notes += _left_out(request, project, evidence)
    owned = place.owns_memory
    sources = {n: await Source.of(n, request, project, edits=owned) for n in evidence}
    for agent, source in sources.items():
        await check_edit(memory.agent(agent), source)
    if place.forgets:
        notes.append("No store was given: what is released is forgotten when the process ends.")
    subjects: dict[str, Subject] = {}
    for agent, found in evidence.items():
        subjects[agent], told = await _subject(found, sources[agent], memory, settings, learner)
        notes += told
        progress("ingest_traces", f"{agent}: {found.n} traces")
    for subject in subjects.values():
        subject["other_tools"] = _tools_of_others(subject, subjects.values())
    place.keep(cycle, evidence)
    return {
        "request": request.model_dump(),
        "project_name": memory.project,
        "settings": settings.model_dump(),
        "cycle": cycle,
        "subjects": subjects,
        **_nothing_yet(),
        "notes": Overwrite(notes),
    }


def _without_secrets(request: CycleInput) -> tuple[CycleInput, Counter[str]]:
    """The request as the state keeps it, and how many secrets of each kind were in its traces."""
    redactor = Redactor()
    # Whatever its format, a record is searched as what a trace may hold.
    held = (Trace("", "", feedback=record) for record in request.traces)
    traces = [redactor.trace(trace).feedback for trace in held]
    return request.model_copy(update={"traces": traces}), redactor.counts


def _gather(
    request: CycleInput, project: Project | None, secrets: Counter[str]
) -> Mapping[str, Evidence]:
    """The evidence of the agents that were asked for, which tells of the secrets sent with it."""
    if request.inline:
        for name in request.agents:
            if name not in request.inline:
                hint = nearest(name, list(request.inline))
                raise NotFoundError(f"inline has no agent {name!r} ({hint}).")
    found = gather(request, project)
    for tables in {id(one.tables): one.tables for one in found.values()}.values():
        tables.redacted.update(secrets)
    return {name: found[name] for name in request.agents or found}


def _left_out(
    request: CycleInput, project: Project | None, evidence: Mapping[str, Evidence]
) -> list[str]:
    if project is None or request.agents:
        return []
    left = [name for name in project.agents if name not in evidence]
    return [f"{name}: left out, for the project file names no traces of it." for name in left]


def _tools_of_others(subject: Subject, all_subjects: Iterable[Subject]) -> list[str]:
    others = {tool for other in all_subjects for tool in other["tools"]}
    return sorted(others - {*subject["tools"]})[:OTHER_TOOLS_KEPT]


def _nothing_yet() -> Json:
    # A thread may run several cycles: what the last one left must not leak into this one.
    return {
        **{
            field: Overwrite([])
            for field in (
                *("prompt_drafts", "config_drafts", "fallbacks", "calls"),
                *("prompts_left", "configs_left"),
            )
        },
        **{field: {} for field in ("measured", "shown", "candidates", "verdicts", "releases")},
        "chosen": [],
        "approved": [],
        "comment": "",
        "turned_down": "",
    }


def _settings(given: Settings, project: Project | None) -> Settings:
    if given.review and not can_wait():
        raise InputError("review needs a checkpointer and a thread to wait in, but has none.")
    if project is None:
        return given
    reward = project.reward
    declared: Json = {
        "min_traces": project.min_traces,
        "success_weight": reward.success_weight,
        "latency_weight": reward.latency_weight,
        "attempts_weight": reward.attempts_weight,
        "reward_cap": reward.cap,
        **project.limits,
    }
    if project.model:
        declared["model"] = project.model
    return given.over(declared)


async def _memory(
    request: CycleInput, project: Project | None, place: Workplace
) -> ProceduralMemory:
    if project is not None:
        return place.memory(project.name)
    own = await place.load_project()
    if own is not None and request.project == own.name:
        raise InputError(
            f"project must not be {own.name!r} with inline agents: its agents are in its own files."
        )
    if not request.project and not place.forgets:
        raise InputError("project must name what memory of inline agents is kept under.")
    return place.memory(request.project or "inline")


async def _learner(model: str, place: Workplace) -> tuple[str, list[str]]:
    try:
        found = await place.model(model)
    except NoModelError as error:
        return RULES_ONLY, [f"{error} This cycle runs on rules alone."]
    return name_of(found), []


async def _subject(
    found: Evidence, source: Source, memory: ProceduralMemory, settings: Settings, learner: str
) -> tuple[Subject, list[str]]:
    own = memory.agent(found.agent)
    notes = _set_aside_notes(found)
    bundle, base, guidelines, refs, skip = source.bundle, None, [], {}, ""
    sizes: dict[str, int] = {}
    detail = _too_few(found, settings)
    if detail:
        skip = "not enough traces"
    else:
        held = await in_force(own, source)
        head, releases = held.head, held.releases
        notes += [held.note] if held.note else []
        if source.spec is not None:
            previous = source.bundle.content_hash
            places = await mirror(source.spec, head, memory.store, previous=previous)
            notes += [f"{found.agent}: {one}" for one in places if one.problem or one.changed]
        bundle, base = head.bundle, head.id
        guidelines = [line.to_dict() for line in head.guidelines]
        refs = dict(head.metrics.get("refs") or {})
        sizes = sizes_by_hand([head, *releases])
        if not settings.relearn and (old := same_lesson(releases, found.digest, learner)):
            skip = "nothing new"
            detail = f"Release {old} was already made from these {found.n} traces."
    subject = Subject(
        agent=found.agent,
        prompts=dict(bundle.prompts),
        config=dict(bundle.config),
        prompt_specs={name: spec.model_dump() for name, spec in source.prompt_specs.items()},
        parameters={name: part.model_dump() for name, part in source.parameters.items()},
        guidelines=guidelines,
        first_sizes=sizes,
        refs=refs,
        base=base,
        in_files=source.spec is not None,
        source_hash=source.bundle.content_hash,
        tools=await asyncio.to_thread(found.tools),
        traces=found.n,
        set_aside=len(found.set_aside),
        redacted=dict(found.tables.redacted),
        digest=found.digest,
        learner=learner,
        skip=skip,
        detail=detail,
    )
    return subject, notes


def _too_few(found: Evidence, settings: Settings) -> str:
    if found.n >= settings.min_traces:
        return ""
    detail = f"{found.n} traces, but min_traces is {settings.min_traces}."
    if found.others and not found.n:
        detail += f" The sources hold runs of {', '.join(sorted(found.others)[:5])}."
    return detail


def _redaction_notes(evidence: Mapping[str, Evidence]) -> list[str]:
    """What was taken out of the traces, by kind: one note for each set of sources."""
    notes = {id(found.tables): _redacted(found.tables.redacted) for found in evidence.values()}
    return [note for note in notes.values() if note]


def _redacted(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{kind} {count:,}" for kind, count in kinds)
    total = sum(counts.values())
    secrets = "1 secret was" if total == 1 else f"{total:,} secrets were"
    return f"{secrets} redacted in the traces: {told}."


def _set_aside_notes(found: Evidence) -> list[str]:
    return [f"{found.agent}: {told_aside(found.set_aside)}"] if found.set_aside else []
