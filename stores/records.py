"""All records below a namespace, whatever they are, and the running of plans over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from langgraph.store.base import BaseStore, Item, PutOp, SearchItem, SearchOp

from tracetune.stores import swap
from tracetune.stores.backends import describe, store_errors
from tracetune.stores.layout import LAYOUT
from tracetune.stores.reads import Plan
from tracetune.stores.release import Action, JournalEntry, new_release_id
from tracetune.stores.steps import Swap, WritePlan

__all__ = ["Namespace", "arun", "note", "records", "renewal", "run", "strings", "write"]

Namespace: TypeAlias = tuple[str, ...]
"""Of a record; that of an agent is `("tracetune", project, agent)`."""

T = TypeVar("T")

_EVERYTHING = 2**31 - 1
_CHUNK = 500
"""Records in one write: SQLite takes 32,766 values in a statement, five for each record."""


def records(namespace: Namespace) -> Plan[list[SearchItem]]:
    """Return every record in the namespace and below it, in no order.

    They are of one moment where the store answers a search whole, as SQLite and Postgres do.
    """
    found: dict[tuple[Namespace, str], SearchItem] = {}
    offset = 0
    while True:
        op = SearchOp(namespace, limit=_EVERYTHING, offset=offset, refresh_ttl=False)
        [page] = yield [op]
        items = [i for i in page if isinstance(i, SearchItem)] if isinstance(page, list) else []
        if not items:
            return list(found.values())
        offset += len(items)
        for item in items:
            # A store may match the namespace as text: `shop` is no part of `shop2`.
            if item.namespace[: len(namespace)] == namespace:
                found[item.namespace, item.key] = item


def write(puts: Sequence[PutOp]) -> Plan[None]:
    """Write in the order given, as many together as every store takes."""
    for start in range(0, len(puts), _CHUNK):
        yield list(puts[start : start + _CHUNK])


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, names of keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from strings(part)


def note(
    home: Namespace,
    action: Action,
    release: str,
    by: str,
    why: str,
    *,
    after: str | None = None,
) -> PutOp:
    """Return the write of a new line in the journal of the agent whose namespace that is."""
    now = datetime.now(UTC)
    name = new_release_id(now, after=after)
    entry = JournalEntry(name, action, release, previous=None, by=by, why=why, at=now)
    return PutOp((*home, "journal"), name, entry.to_record(), index=False)


def run(store: BaseStore, plan: WritePlan[T], doing: str) -> T:
    """Return what the plan returns, its steps done by the store.

    Raises:
        StoreError: The store failed; names it and what it was `doing`.
    """
    with store_errors(describe(store), doing):
        return swap.run(store, plan)


async def arun(store: BaseStore, plan: WritePlan[T], doing: str) -> T:
    """As `run`; never blocks the event loop, with any store."""
    with store_errors(describe(store), doing):
        return await swap.arun(store, plan)


def renewal(home: Namespace, head: object, writes: Sequence[PutOp] = ()) -> Swap:
    """Return the swap that has all look again, with what is written if the head is still that.

    Who is about to move the head or a label finds the head changed, and so does who keeps what it
    names at hand.

    Args:
        head: Its record, if there is one.
        writes: Deletions last.
    """
    none: dict[str, Any] = {"version": LAYOUT, "release": None}
    kept = head.value if isinstance(head, Item) else none
    entry: str | None = kept.get("entry")
    value = kept | {"entry": new_release_id(datetime.now(UTC), after=entry)}
    puts = [write for write in writes if write.value is not None]
    gone = [write for write in writes if write.value is None]
    return Swap(home, "head", entry, (*puts, PutOp(home, "head", value, index=False), *gone))
