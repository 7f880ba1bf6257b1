"""A promotion, put where agents read that never ask memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import BaseStore

from tracetune.errors import NotFoundError, ProjectError, TraceTuneError, WriteError
from tracetune.stores.backends import describe, store_errors
from tracetune.stores.project import AgentSpec, read_bundle, write_bundle
from tracetune.stores.project_file import nearest
from tracetune.stores.release import Release
from tracetune.stores.targets import MirrorTarget
from tracetune.stores.yaml_files import parse_yaml, read_text, same_value
from tracetune.stores.yaml_values import with_values, write_over

__all__ = ["Mirrored", "mirror"]


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What became of one place."""

    target: str
    """As the project file names it: `store ana/instructions.prompt`, `agent.yaml key`."""
    changed: bool
    """Whether it holds something else now; False also when there is a problem."""
    problem: str = ""
    """Why it could not be brought up to date, in one line; empty when it could."""

    def __str__(self) -> str:
        """One line for people."""
        if self.problem:
            return f"{self.target}: not brought up to date: {self.problem}"
        return f"{self.target}: {'brought up to date' if self.changed else 'as it was'}"


async def mirror(
    agent: AgentSpec, release: Release, store: BaseStore, *, previous: str | None
) -> list[Mirrored]:
    """Bring the agent's places up to the release; return one result for each.

    First the agent's own files, when it has `write_files`, then its targets in their order.
    One that fails stops no other. Every value is put in as it is, never filled in. What a
    target held is replaced; the other fields of a store's value, and all else in a file, stay.

    Args:
        release: The one in force now.
        store: The project's own.
        previous: Content hash of what the agent's own files held when they were last read. They
            are written only while they still hold it: an edit made since is left for the next
            cycle to import. None if it is not known; then they are not written.
    """
    results = []
    if agent.write_files:
        name = " and ".join(_own_names(agent))
        results.append(await _told(name, asyncio.to_thread(_own_files, agent, release, previous)))
    for target in agent.mirror:
        results.append(await _told(target.name, _bring(target, release, store)))
    return results


async def _told(name: str, work: Awaitable[bool]) -> Mirrored:
    try:
        return Mirrored(name, await work)
    except TraceTuneError as error:
        return Mirrored(name, False, str(error))


def _own_names(agent: AgentSpec) -> list[str]:
    files = (agent.prompts_file, agent.config_file)
    return list(dict.fromkeys(file.name for file in files if file is not None))


def _own_files(agent: AgentSpec, release: Release, previous: str | None) -> bool:
    found = read_bundle(agent)
    if found.content_hash == release.content_hash:
        return False
    if previous is None or found.content_hash != previous:
        reason = (
            "it is not known what they held when they were last read"
            if previous is None
            else "they were edited by hand since they were last read; the next cycle imports that"
        )
        raise WriteError(
            f"The files of agent {agent.name!r} were not written with {release.id}: {reason}."
        )
    write_bundle(agent, release.bundle)
    return read_bundle(agent).content_hash != found.content_hash


async def _bring(target: MirrorTarget, release: Release, store: BaseStore) -> bool:
    half = "prompts" if target.prompt else "config"
    values: Mapping[str, Any] = getattr(release, half)
    name = target.prompt or target.config or ""
    if name not in values:
        raise NotFoundError(
            f"Release {release.id} of agent {release.agent!r} has no {name!r} in its {half}"
            f" ({nearest(name, list(values))})."
        )
    if target.file is not None:
        return await asyncio.to_thread(_into_file, target, values[name])
    with store_errors(describe(store), f"mirroring to {target.name}"):
        return await _into_store(target, values[name], store)


def _into_file(target: MirrorTarget, value: Any) -> bool:
    assert target.file is not None
    text = read_text(target.file)
    held = parse_yaml(text, str(target.file))
    if target.key not in held:
        # A key nobody reads would look like success for ever.
        hint = nearest(target.key, list(held))
        raise ProjectError(f"{target.file} has no {target.key!r} to put the value under ({hint}).")
    changed = with_values(text, {target.key: value}, target.file)
    write_over({target.file: text}, {target.file: changed})
    return changed != text


async def _into_store(target: MirrorTarget, value: Any, store: BaseStore) -> bool:
    item = await _call(store, "get", target.namespace, target.key)
    held = None if item is None else item.value
    wanted = {**(held or {}), target.field: value}
    if same_value(held, wanted):
        return False
    # Agents get these by their key: embedding them would cost calls and find nothing.
    await _call(store, "put", target.namespace, target.key, wanted, index=False)
    return True


async def _call(store: BaseStore, method: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return await getattr(store, f"a{method}")(*args, **kwargs)
    except NotImplementedError:  # a sync-only store, such as SqliteStore
        pass
    return await asyncio.to_thread(getattr(store, method), *args, **kwargs)
