"""The agents a cycle works on: what is in force for each, and what may change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.errors import ConflictError, InputError
from tracetune.graph.schemas import CycleInput
from tracetune.graph.state import Subject
from tracetune.nodes.blaming.when_to_update import permission_of
from tracetune.nodes.guidelines import (
    read_examples,
    read_section,
    with_examples,
    with_section,
)
from tracetune.stores.bundle import Bundle
from tracetune.stores.memory import NO_HEAD, AgentMemory
from tracetune.stores.project import AgentSpec, Parameter, Project, PromptSpec, read_bundle
from tracetune.stores.release import Release

__all__ = [
    "BY",
    "Source",
    "conditions",
    "in_force",
    "learning",
    "merge_edit",
    "open_to_rules",
    "same_lesson",
    "updatable",
]

BY = "tracetune"
"""Who acted, in the journal, when no person did."""


@dataclass(frozen=True, slots=True)
class Source:
    """An agent as its files, or the request, declare it."""

    bundle: Bundle
    prompt_specs: Mapping[str, PromptSpec]
    parameters: Mapping[str, Parameter]
    spec: AgentSpec | None
    """Where the project's files declare it; None for one that the request carries."""

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
            return cls(bundle, inline.prompt_specs, inline.parameters, None)
        spec = project.agent(agent)
        bundle = (await asyncio.to_thread(read_bundle, spec)).storable(agent)
        return cls(bundle, spec.prompts, spec.parameters, spec)


async def in_force(
    memory: AgentMemory, source: Source, releases: Sequence[Release]
) -> tuple[Release, str]:
    """The head, after what the source declares is in memory, and a note when it was edited.

    A first sight is imported, and so is what a person has edited since: neither is ever
    overwritten, and what was learned meanwhile stays wherever the person did not touch it.
    """
    for attempt in (1, 2):
        head = await memory.ahead()
        declared = fingerprint(source.bundle)
        try:
            if head is None:
                return await _import(memory, source.bundle, NO_HEAD, declared), ""
            sources = (r.evidence["source"] for r in releases if "source" in r.evidence)
            seen: Mapping[str, Any] = next(sources, {})
            known = {release.content_hash for release in releases}
            if declared == seen or source.bundle.content_hash in known:
                return head, ""
            merged = merge_edit(source.bundle, head.bundle, seen)
            release = await _import(memory, merged, head.id, declared)
        except ConflictError:
            # Another cycle imported at the same moment: look again at what is in force now.
            if attempt == 2:
                raise
            releases = await memory.areleases()
        else:
            note = f"{memory.name}: edited by hand since {head.id}: now in force as {release.id}."
            return release, note
    raise AssertionError("unreachable")


async def _import(
    memory: AgentMemory, bundle: Bundle, base: str, declared: Mapping[str, Any]
) -> Release:
    return await memory.acommit(
        prompts=bundle.prompts,
        config=bundle.config,
        base=base,
        why=["edited by hand" if base else "as first seen"],
        origin="human" if base else "import",
        evidence={"source": dict(declared)},
        promote=True,
        by=BY,
    )


def fingerprint(source: Bundle) -> dict[str, Any]:
    """What to tell the next edit by: a hash of each text and value, and who holds a section."""
    return {
        "prompts": {n: Bundle({n: text}).content_hash for n, text in source.prompts.items()},
        "config": {n: Bundle({}, {n: value}).content_hash for n, value in source.config.items()},
        "sections": [n for n, text in source.prompts.items() if read_section(text)],
    }


def merge_edit(edited: Bundle, head: Bundle, seen: Mapping[str, Any]) -> Bundle:
    """The edited bundle, with the head's text or value wherever the edit did not touch it.

    An edited text gets the head's learned section where the text it was made from had none: who
    never had the section did not take it out.
    """
    old, new = seen, fingerprint(edited)
    prompts: dict[str, str] = {}
    for name, text in edited.prompts.items():
        held = head.prompts.get(name)
        if held is not None and new["prompts"][name] == old.get("prompts", {}).get(name):
            prompts[name] = held
        elif name in new["sections"] or name in old.get("sections", ()) or held is None:
            prompts[name] = text
        else:
            section = with_section(text, read_section(held))
            prompts[name] = with_examples(section, read_examples(text) or read_examples(held))
    config = {
        name: head.config[name]
        if name in head.config and new["config"][name] == old.get("config", {}).get(name)
        else value
        for name, value in edited.config.items()
    }
    return Bundle(prompts, config)


def same_lesson(releases: Sequence[Release], digest: str, learner: str) -> str | None:
    """The id of the release that the same learner made from just these traces, if any."""
    for release in releases:
        lesson = release.evidence
        if lesson.get("digest") == digest and lesson.get("learned_with") == learner:
            return release.id
    return None


def learning(subjects: Mapping[str, Subject]) -> dict[str, Subject]:
    """The agents this cycle learns for: those not skipped."""
    return {agent: subject for agent, subject in subjects.items() if not subject["skip"]}


def conditions(subject: Subject) -> dict[str, str]:
    """When each of the agent's prompts may be updated, as its owner put it; empty: always."""
    specs = subject["prompt_specs"]
    return {name: specs.get(name, {}).get("when_to_update", "") for name in subject["prompts"]}


def updatable(subject: Subject) -> list[str]:
    """Names of the agent's prompts that may be updated: all but those whose owner said never."""
    said = conditions(subject)
    return [name for name, condition in said.items() if permission_of(condition) != "never"]


def open_to_rules(subject: Subject) -> list[str]:
    """Names of the prompts that may be updated with no model to judge an exception to a never."""
    said = conditions(subject)
    return [name for name, condition in said.items() if permission_of(condition) == "open"]
