"""The agents a cycle works on: what is in force for each, and what may change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracetune.errors import ConflictError, InputError
from tracetune.graph.state import CycleInput, Subject
from tracetune.nodes.evidence import Evidence
from tracetune.nodes.guidelines import outside, read_section, with_section
from tracetune.stores.bundle import Bundle
from tracetune.stores.memory import NO_HEAD, AgentMemory
from tracetune.stores.project import Parameter, Project, PromptSpec, read_bundle
from tracetune.stores.release import Release

__all__ = ["BY", "Source", "carry_sections", "in_force", "learning", "same_lesson", "updatable"]

BY = "tracetune"
"""Who acted, in the journal, when no person did."""

TOOLS_KEPT = 100
_TOOL_NAME = re.compile(r"[\w.:-]{1,80}")


@dataclass(frozen=True, slots=True)
class Source:
    """An agent as its files, or the request, declare it."""

    bundle: Bundle
    prompt_specs: Mapping[str, PromptSpec]
    parameters: Mapping[str, Parameter]
    in_files: bool
    """Whether the project's files declare it, so that its releases are written beside them."""

    @classmethod
    async def of(cls, agent: str, request: CycleInput, project: Project | None) -> Source:
        """Read the agent's declaration.

        Raises:
            InputError: It declares nothing, or what a store could not keep unchanged.
        """
        if project is None:
            inline = request.inline[agent]
            if not inline.prompts and not inline.config:
                raise InputError(f"inline.{agent} must carry prompts or a config, but has neither.")
            bundle = Bundle(inline.prompts, inline.config).storable(agent)
            return cls(bundle, inline.prompt_specs, inline.parameters, False)
        spec = project.agent(agent)
        bundle = (await asyncio.to_thread(read_bundle, spec)).storable(agent)
        return cls(bundle, spec.prompts, spec.parameters, True)


async def in_force(
    memory: AgentMemory, source: Source, releases: Sequence[Release]
) -> tuple[Release, str]:
    """The head, after what the source declares is in memory, and a note when it was edited.

    A first sight is imported, and so is what a person has edited since: neither is ever
    overwritten. What was learned since the edited text was imported is carried into it.
    """
    for attempt in (1, 2):
        head = await memory.ahead()
        known = {release.content_hash for release in releases}
        if head is not None and source.bundle.content_hash in known:
            return head, ""
        try:
            if head is None:
                release = await _commit(memory, source.bundle, NO_HEAD, "import", "as first seen")
                return release, ""
            seen = next((r for r in releases if r.origin in ("import", "human")), None)
            edited = carry_sections(source.bundle, head, seen)
            release = await _commit(memory, edited, head.id, "human", "edited by hand")
        except ConflictError:
            # Another cycle imported at the same moment: look again at what is in force now.
            if attempt == 2:
                raise
            releases = await memory.areleases()
        else:
            note = f"{memory.name}: edited by hand since {head.id}: now in force as {release.id}."
            return release, note
    raise AssertionError("unreachable")


async def _commit(memory: AgentMemory, bundle: Bundle, base: str, origin: str, why: str) -> Release:
    return await memory.acommit(
        prompts=bundle.prompts,
        config=bundle.config,
        base=base,
        why=[why],
        origin="import" if origin == "import" else "human",
        # What the source's own text was when it was last seen, to tell the next edit by.
        evidence={"source": bundle.content_hash},
        promote=True,
        by=BY,
    )


def carry_sections(edited: Bundle, head: Release, seen: Release | None) -> Bundle:
    """The edited bundle with the head's learned sections where the person never had them.

    Who edits a text that never held the section did not take it out; who edits one that did, did.
    """
    prompts = dict(edited.prompts)
    for name, text in edited.prompts.items():
        learned = read_section(head.prompts.get(name, ""))
        had = read_section(seen.prompts.get(name, "")) if seen else []
        if learned and not read_section(text) and not had and outside(text) == text:
            prompts[name] = with_section(text, learned)
    return Bundle(prompts, edited.config)


def same_lesson(releases: Sequence[Release], digest: str, learner: str) -> str | None:
    """The id of the release that the same learner made from just these traces, if any."""
    for release in releases:
        lesson = release.evidence
        if lesson.get("digest") == digest and lesson.get("learned_with") == learner:
            return release.id
    return None


def tools_of(found: Evidence) -> list[str]:
    """Names of the tools the agent called, sorted; what is no plain name is left out.

    Whoever made a trace chose its names: one that holds a sentence is no tool to write about.
    """
    names = {call.name for trace in found.traces for call in trace.agent_calls()}
    return sorted(name for name in names if _TOOL_NAME.fullmatch(name))[:TOOLS_KEPT]


def learning(subjects: Mapping[str, Subject]) -> dict[str, Subject]:
    """The agents this cycle learns for: those not skipped."""
    return {agent: subject for agent, subject in subjects.items() if not subject["skip"]}


def updatable(subject: Subject) -> list[str]:
    """Names of the agent's prompts that may be updated: all but those whose owner said never."""
    specs = subject["prompt_specs"]
    return [
        name
        for name in subject["prompts"]
        if specs.get(name, {}).get("when_to_update", "").strip().casefold().rstrip(".") != "never"
    ]
