"""Dropping old releases that nothing needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import GetOp, PutOp, SearchItem

from tracetune.errors import InputError
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.plans import AgentPlans
from tracetune.stores.reads import Plan
from tracetune.stores.records import Namespace, arun, note, records, renew_head, run, strings, write
from tracetune.stores.release import JournalEntry, Release
from tracetune.stores.steps import WritePlan

__all__ = ["Pruned", "aprune", "prune"]

Json = dict[str, Any]

_PUT_IN_FORCE = ("promoted", "rolled back")
_LEARNED = ("source", "digest")
"""What a cycle looks up in older evidence: the text it saw last, the lesson it has learned."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning dropped, or would drop."""

    agent: str
    dropped: tuple[str, ...]
    """Ids, oldest first."""
    kept: int
    """Releases that stay."""


def prune(
    memory: ProceduralMemory,
    agent: str,
    *,
    keep: int,
    dry_run: bool = False,
    declared: Collection[str] = (),
    by: str = "",
) -> Pruned:
    """Drop an agent's old releases that nothing needs, and return which; the journal stays whole.

    These stay: the head, the `keep` parents before it, the `keep` last that were in force before,
    the `keep` newest; every release that a label, a user's layer or any other record names; the
    newest of each origin, and those a cycle needs to tell a hand edit or a lesson learned.

    Args:
        keep: How far back to go, 1 or more.
        dry_run: Only say what would be dropped.
        declared: Content hashes of what the agent's own files hold: releases with that content
            stay, else the next cycle would take the files for edited by hand.
        by: Who did it, for the journal.

    Raises:
        InputError: `keep` is below 1, or the agent's name cannot be one.
        StoreError: The store failed, or a record cannot be read.
    """
    plan = _prune(memory, agent, keep, dry_run, declared, by)
    return run(memory.store, plan, f"prune for agent {agent!r}")


async def aprune(
    memory: ProceduralMemory,
    agent: str,
    *,
    keep: int,
    dry_run: bool = False,
    declared: Collection[str] = (),
    by: str = "",
) -> Pruned:
    """As `prune`; never blocks the event loop."""
    plan = _prune(memory, agent, keep, dry_run, declared, by)
    return await arun(memory.store, plan, f"prune for agent {agent!r}")


def _prune(
    memory: ProceduralMemory,
    agent: str,
    keep: int,
    dry_run: bool,
    declared: Collection[str],
    by: str,
) -> WritePlan[Pruned]:
    if keep < 1:
        raise InputError(f"keep must be 1 or more, but got {keep}.")
    home = ("tracetune", memory.project, memory.agent(agent).name)
    plans = AgentPlans(memory.project, agent)
    unneeded, kept = yield from _droppable(home, plans, keep, declared)
    if not unneeded or dry_run:
        return Pruned(agent, tuple(sorted(unneeded)), kept)
    # First told, then done: what is gone without a word would be lost silently.
    why = f"nothing needed it (keep {keep})"
    yield from write([note(home, "pruned", name, by, why) for name in sorted(unneeded)])
    [head] = yield [GetOp(home, "head", refresh_ttl=False)]
    unneeded, kept = yield from _droppable(home, plans, keep, declared)
    space = (*home, "releases")
    yield from write([PutOp(space, name, None) for name in unneeded])
    yield from renew_head(home, head)
    # Someone who promoted or labelled one of them meanwhile gets it back.
    back = unneeded.keys() & (yield from _named(home))
    yield from write([PutOp(space, name, unneeded[name], index=False) for name in back])
    return Pruned(agent, tuple(sorted(unneeded.keys() - back)), kept + len(back))


def _droppable(
    home: Namespace, plans: AgentPlans, keep: int, declared: Collection[str]
) -> Plan[tuple[dict[str, Json], int]]:
    """The records of what nothing needs, by id, and the number of all others."""
    items = yield from records(home)
    head = yield from plans.head()
    rows = {i.key: i.value for i in _newest_first(items, (*home, "releases"))}
    own = {name: Release.from_record(row) for name, row in rows.items()}
    journal = [JournalEntry.from_dict(i.value) for i in _newest_first(items, (*home, "journal"))]
    needed = {name for name, release in own.items() if release.content_hash in declared}
    needed |= set(list(own)[:keep]) | set(_in_force_before(journal)[: keep + 1])
    needed |= set(_chain(own, head.id if head else None)[: keep + 1])
    needed |= set(_newest_of_a_kind(own.values())) | _named_in(items, home)
    unneeded = {name: row for name, row in rows.items() if name not in needed}
    return unneeded, len(own) - len(unneeded)


def _newest_first(items: Sequence[SearchItem], namespace: Namespace) -> list[SearchItem]:
    own = [item for item in items if item.namespace == namespace]
    return sorted(own, key=lambda item: item.key, reverse=True)


def _named(home: Namespace) -> Plan[set[str]]:
    return _named_in((yield from records(home)), home)


def _named_in(items: Sequence[SearchItem], home: Namespace) -> set[str]:
    """Every text in the head, labels, users' layers and all else but releases and journal."""
    past = ((*home, "releases"), (*home, "journal"))
    return {text for i in items if i.namespace not in past for text in strings(i.value)}


def _in_force_before(journal: Sequence[JournalEntry]) -> list[str]:
    """Ids of the releases that were put in force, the latest first, each once."""
    return list(dict.fromkeys(e.release for e in journal if e.action in _PUT_IN_FORCE))


def _chain(own: Mapping[str, Release], name: str | None) -> list[str]:
    chain: list[str] = []
    while name is not None and name in own and name not in chain:
        chain.append(name)
        name = own[name].parent
    return chain


def _newest_of_a_kind(newest_first: Collection[Release]) -> Iterator[str]:
    seen: set[str] = set()
    for release in newest_first:
        kinds = {release.origin, *(key for key in _LEARNED if key in release.evidence)}
        if kinds - seen:
            yield release.id
        seen |= kinds
