"""What the commands do that moves a head, names a release, or keeps memory in order."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.errors import InputError
from tracetune.terminal.lookups import evidence, memory_of, owner_of, who

if TYPE_CHECKING:
    from tracetune.stores.memory import AgentMemory, ProceduralMemory
    from tracetune.stores.project import Project
    from tracetune.stores.release import Release

__all__ = [
    "backup",
    "forget_trace",
    "name_release",
    "promote_release",
    "prune_releases",
    "restore_backup",
    "roll_back",
]

Json = dict[str, Any]


def promote_release(project: Project, release: str, agent: str | None, why: str) -> Json:
    """Put a release in force; return `{agent, release, previous, mirrored}`.

    Raises:
        InputError: There is no such release.
        StoreError: Memory failed; the head is what it was.
    """
    with memory_of(project) as memory:
        owner = owner_of(project, memory, [release], agent)
        head = owner.head()
        now = owner.promote(release, by=who(), why=why)
        places = _mirrored(project, memory, owner, now)
    previous = head.id if head else None
    return {"agent": owner.name, "release": now.id, "previous": previous, "mirrored": places}


def roll_back(
    project: Project, release: str | None, steps: int | None, agent: str | None, why: str
) -> Json:
    """Put an earlier release in force; return `{agent, release, previous, mirrored}`.

    Raises:
        InputError: There is no such release, it cannot be gone back to, or both it and a number
            of steps are given.
        StoreError: Memory failed; the head is what it was.
    """
    if release is not None and steps is not None:
        raise InputError(f"The release {release} and --steps {steps} exclude each other.")
    with memory_of(project) as memory:
        owner = owner_of(project, memory, [release], agent)
        previous = owner.release.id
        if steps is None:
            now = owner.rollback(release, by=who(), why=why)
        else:
            now = owner.rollback(steps=steps, by=who(), why=why)
        places = _mirrored(project, memory, owner, now)
    return {"agent": owner.name, "release": now.id, "previous": previous, "mirrored": places}


def _mirrored(
    project: Project, memory: ProceduralMemory, owner: AgentMemory, now: Release
) -> list[str]:
    """Bring the agent's other places up to what is in force; one line for each."""
    from tracetune.stores.mirror import mirror
    from tracetune.stores.project import read_bundle

    if (spec := project.agents.get(owner.name)) is None or not (spec.write_files or spec.mirror):
        return []
    held = read_bundle(spec).content_hash
    known = held in {release.content_hash for release in owner.releases()}
    # What no release holds is somebody's edit since, which the next cycle imports.
    previous = held if known else ""
    places = mirror(spec, now, memory.store, previous=previous)
    return [str(place) for place in asyncio.run(places)]


def name_release(
    project: Project, name: str, release: str | None, agent: str | None, why: str, *, remove: bool
) -> Json:
    """Put a label on a release (the head if None), or take it away; return `{agent, label, …}`.

    `release` is the one that has it now, `previous` the one that had it; each may be None.

    Raises:
        InputError: There is no such release or label, or one is named together with `remove`.
        StoreError: Memory failed; the label is what it was.
    """
    if release is not None and remove:
        raise InputError(f"--remove takes no release, but got {release!r}.")
    with memory_of(project) as memory:
        owner = owner_of(project, memory, [name if remove else release], agent)
        was = owner.labels().get(name)
        if remove:
            owner.unlabel(name, by=who(), why=why)
            return {"agent": owner.name, "label": name, "release": None, "previous": was}
        now = owner.label(name, release or owner.release.id, by=who(), why=why)
        return {"agent": owner.name, "label": name, "release": now.id, "previous": was}


def backup(project: Project, file: Path) -> Json:
    """Write the whole memory into a new file; return what it holds, and the `file`.

    Raises:
        NotFoundError: There is no memory yet.
        StoreError: Memory cannot be read.
        WriteError: The file exists, or cannot be written.
    """
    from tracetune.stores.archive import dump, write_archive

    with memory_of(project) as memory:
        rows = dump(memory)
    return asdict(write_archive(file, rows)) | {"file": str(file)}


def restore_backup(project: Project, file: Path, *, rename: bool) -> Json:
    """Put a backup into the project's memory, which must be empty; return what it holds.

    Raises:
        InputError: The file is no whole backup or of another project, or memory is not empty.
        StoreError: Memory failed.
    """
    from tracetune.stores.archive import check_archive, read_archive, restore
    from tracetune.stores.backends import open_store
    from tracetune.stores.memory import ProceduralMemory

    rows = read_archive(file)
    # Before the store is opened, which makes its file.
    check_archive(rows, project.name, rename=rename)
    with open_store(project.store, base=project.root) as store:
        found = restore(ProceduralMemory(store, project.name), rows, rename=rename)
    return asdict(found) | {"file": str(file)}


def prune_releases(
    project: Project, agents: Sequence[str], keep: int, *, dry_run: bool
) -> list[Json]:
    """Drop old releases; return per agent the ids `dropped`, or that would be, and what is `kept`.

    Raises:
        InputError: An agent does not exist, or its files cannot be read.
        StoreError: Memory failed.
    """
    from tracetune.stores.project import read_bundle
    from tracetune.stores.prune import prune

    specs = [project.agent(name) for name in agents] or list(project.agents.values())
    hashes = {spec.name: read_bundle(spec).content_hash for spec in specs}
    with memory_of(project) as memory:
        return [
            asdict(prune(memory, name, keep=keep, dry_run=dry_run, declared=[declared], by=who()))
            for name, declared in hashes.items()
        ]


def forget_trace(project: Project, trace: str, agent: str | None) -> Json:
    """Take a trace out of memory; return where it was, and the agents whose sources still have it.

    Raises:
        InputError: The agent does not exist, or the id is empty.
        StoreError: Memory failed.
    """
    from tracetune.nodes.evidence.gathering import CACHE
    from tracetune.stores.forget import forget

    names = [project.agent(agent).name] if agent else list(project.agents)
    with memory_of(project) as memory:
        done = asdict(forget(memory, trace, agent=agent, by=who()))
    # What was read of sources is kept there, even of files that are gone since.
    shutil.rmtree(project.root / CACHE, ignore_errors=True)
    return {"trace": trace} | done | {"still_in": _still_in(project, names, trace)}


def _still_in(project: Project, names: Sequence[str], trace: str) -> list[str]:
    """The agents whose sources hold the trace: the next cycle would learn from it again."""
    found = []
    for name in names:
        with suppress(InputError):  # sources that are gone hold nothing any more
            [read] = evidence(project, [name])
            found += [name] if read.has(trace) else []
    return found
