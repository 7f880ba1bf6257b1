"""The agents a cycle works on: what is in force for each, and what may change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.errors import ConflictError, InputError
from tracetune.graph.schemas import CycleInput, InlineAgent
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
from tracetune.stores.project import (
    AgentSpec,
    Parameter,
    Project,
    PromptSpec,
    misnamed,
    read_bundle,
    step_limits,
)
from tracetune.stores.release import Release

__all__ = [
    "BY",
    "InForce",
    "Source",
    "check_edit",
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
    edits: bool = True
    """Whether it is the owner's: what it changes goes in force."""

    @classmethod
    async def of(
        cls, agent: str, request: CycleInput, project: Project | None, *, edits: bool
    ) -> Source:
        """Read the agent's declaration.

        Args:
            edits: Whether an agent that the request carries is the owner's.

        Raises:
            InputError: It declares nothing, what does not fit together, or what a store could
                not keep unchanged.
        """
        if project is None:
            inline = request.inline[agent]
            bundle = Bundle(inline.prompts, inline.config).storable(agent)
            _check_inline(f"inline.{agent}", inline)
            return cls(bundle, inline.prompt_specs, inline.parameters, None, edits)
        spec = project.agent(agent)
        bundle = (await asyncio.to_thread(read_bundle, spec)).storable(agent)
        return cls(bundle, spec.prompts, spec.parameters, spec)


def _check_inline(where: str, inline: InlineAgent) -> None:
    """Hold an agent that a request carries to what a project file is held to."""
    prompts, config, parameters = inline.prompts, inline.config, inline.parameters
    if not prompts and not config:
        raise InputError(f"{where} must carry prompts or a config, but has neither.")
    problem = misnamed(inline.prompt_specs, f"{where}.prompt_specs", prompts, f"{where}.prompts")
    problem = problem or misnamed(parameters, f"{where}.parameters", config, f"{where}.config")
    if problem:
        raise InputError(problem)
    if (limits := step_limits(parameters))[1:]:
        raise InputError(f"{where} may have one step_limit, but has {' and '.join(limits)}.")
    for name, parameter in parameters.items():
        if unfit := parameter.mismatch(config[name]):
            own = f"{where}.parameters.{name}"
            raise InputError(f"{where}.config.{name} does not fit {own}: {unfit}.")


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force for an agent."""

    head: Release
    releases: list[Release]
    """Those there were, newest first; without the head where it was imported just now."""
    note: str = ""
    """What a reader of the report should know."""


async def in_force(memory: AgentMemory, source: Source) -> InForce:
    """The head, after what the source declares is in memory.

    A first sight is imported, and so is what the owner has edited since: neither is ever
    overwritten, and what was learned meanwhile stays wherever the owner did not touch it.

    Raises:
        InputError: As `check_edit`.
    """
    for attempt in (1, 2):
        head, releases = await _held(memory)
        declared = fingerprint(source.bundle)
        try:
            if head is None:
                return InForce(await _import(memory, source.bundle, NO_HEAD, declared), releases)
            if not _edited(source, head, releases):
                return InForce(head, releases)
            basis = await _basis(memory, declared, releases)
            merged = merge_edit(source.bundle, head.bundle, basis)
            release = await _import(memory, merged, head.id, declared)
        except ConflictError:
            # Another cycle imported at the same moment: look again at what is in force now.
            if attempt == 2:
                raise
        else:
            note = f"{memory.name}: edited by hand since {head.id}: now in force as {release.id}."
            return InForce(release, releases, note)
    raise AssertionError("unreachable")


async def check_edit(memory: AgentMemory, source: Source) -> None:
    """Make sure that the source edits nothing, unless it is the owner's.

    Raises:
        InputError: It declares another agent than memory holds, and nobody knows whose it is.
    """
    if not source.edits:
        head, releases = await _held(memory)
        if head is not None:
            _edited(source, head, releases)


async def _held(memory: AgentMemory) -> tuple[Release | None, list[Release]]:
    # In this order: a head that another cycle has just imported is among the releases then.
    return await memory.ahead(), await memory.areleases()


def _seen(releases: Sequence[Release]) -> Mapping[str, Any]:
    """The fingerprint of what was imported last."""
    return next((r.evidence["source"] for r in releases if "source" in r.evidence), {})


async def _basis(
    memory: AgentMemory, declared: Mapping[str, Any], releases: Sequence[Release]
) -> Mapping[str, Any]:
    """The fingerprint of what the owner edited.

    That is what was imported last, unless a release that was in force is nearer to the edit: then
    the files had been brought up to it.
    """
    put = {e.release for e in await memory.ahistory() if e.action in ("promoted", "rolled back")}
    in_files = (fingerprint(release.bundle) for release in releases if release.id in put)
    own = _traits(declared)
    return min([_seen(releases), *in_files], key=lambda one: len(own ^ _traits(one)))


def _traits(of: Mapping[str, Any]) -> set[tuple[str, ...]]:
    sections = {("section", name) for name in of.get("sections", ())}
    return sections.union(*(of.get(half, {}).items() for half in ("prompts", "config")))


def _edited(source: Source, head: Release, releases: Sequence[Release]) -> bool:
    """Whether the owner has changed what memory knows; a change by anybody else is an error."""
    bundle = source.bundle
    known = {release.content_hash for release in releases}
    if bundle.content_hash in known or fingerprint(bundle) == _seen(releases):
        return False
    if source.edits:
        return True
    if new := _differing(bundle, head, releases):
        raise InputError(
            f"inline.{head.agent} differs in {', '.join(new[:3])} from what memory still "
            f"holds, and a request changes nothing that is in force ({head.id}): send what is in "
            "force, or have the agent's owner commit the change."
        )
    return False


def _differing(bundle: Bundle, head: Release, releases: Sequence[Release]) -> list[str]:
    """Names of the parts that no release has as the bundle has them, or only bundle or head.

    Who takes over a release may take its prompts, and its config later.
    """
    own, now = _parts(bundle), _parts(head.bundle)
    held = [now, *(_parts(release.bundle) for release in releases)]
    changed = {name for name, value in own.items() if all(p.get(name) != value for p in held)}
    return sorted(changed | (own.keys() ^ now.keys()))


def _parts(bundle: Bundle) -> dict[str, Any]:
    prompts = {f"prompts.{name}": text for name, text in bundle.prompts.items()}
    return prompts | {f"config.{name}": value for name, value in bundle.config.items()}


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
