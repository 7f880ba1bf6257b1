"""Dropping old releases that nothing needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import GetOp, PutOp, SearchItem

from tracetune.errors import InputError, StoreError
from tracetune.stores.arguments import checked
from tracetune.stores.commits import AgentPlans
from tracetune.stores.heads import TRIES
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.reads import Plan
from tracetune.stores.records import Namespace, arun, note, records, renewal, run, strings
from tracetune.stores.release import JournalEntry, Release, entries_of, journalled
from tracetune.stores.steps import WritePlan

__all__ = ["Pruned", "aprune", "prune"]

Json = dict[str, Any]

_AT_ONCE = 500
"""Releases in one write: SQLite takes 32,766 values in a statement."""
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


@checked
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
    dropped: list[str] = []
    for _ in range(TRIES):
        # Before all else is read: who promotes or labels one of them moves it, and so is found out.
        [head] = yield [GetOp(home, "head", refresh_ttl=False)]
        unneeded, kept = yield from _droppable(home, plans, keep, declared)
        names = sorted(unneeded)[: None if dry_run else _AT_ONCE]
        if not names or dry_run:
            return Pruned(agent, tuple(dropped + names), kept)
        why = f"nothing needed it (keep {keep})"
        [outcome] = yield renewal(home, head, _drops(home, [unneeded[n] for n in names], by, why))
        dropped += names if outcome != "lost" else []
    raise StoreError(f"The head of agent {agent!r} is moved by others all the time.")


def _droppable(
    home: Namespace, plans: AgentPlans, keep: int, declared: Collection[str]
) -> Plan[tuple[dict[str, Json], int]]:
    """The records of what nothing needs, by id, and the number of all others."""
    items = yield from records(home)
    head = yield from plans.head()
    rows = {i.key: i.value for i in _newest_first(items, (*home, "releases"))}
    own = {name: Release.from_record(row) for name, row in rows.items()}
    lines = {i.key: i.value for i in _newest_first(items, (*home, "journal"))}
    journal = entries_of(rows, lines)
    needed = {name for name, release in own.items() if release.content_hash in declared}
    needed |= set(list(own)[:keep]) | set(_in_force_before(journal)[: keep + 1])
    needed |= set(_chain(own, head.id if head else None)[: keep + 1])
    needed |= set(_newest_of_a_kind(own.values())) | _named_in(items, home)
    unneeded = {name: row for name, row in rows.items() if name not in needed}
    return unneeded, len(own) - len(unneeded)


def _drops(home: Namespace, rows: Sequence[Json], by: str, why: str) -> list[PutOp]:
    """The writes that drop releases, and tell in the journal of that and of their commits."""
    commits = [line for row in rows if (line := journalled(row))]
    return [
        *(PutOp((*home, "journal"), line["id"], line, index=False) for line in commits),
        *(note(home, "pruned", row["id"], by, why) for row in rows),
        *(PutOp((*home, "releases"), row["id"], None) for row in rows),
    ]


def _newest_first(items: Sequence[SearchItem], namespace: Namespace) -> list[SearchItem]:
    own = [item for item in items if item.namespace == namespace]
    return sorted(own, key=lambda item: item.key, reverse=True)


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
