"""A swap on a store that can only read and write, with claims: records of who is about to write.

Reading and writing alone cannot make writers agree when any of them may die (Herlihy, "Wait-Free
Synchronization", 1991), so a claim holds for a time. Each measures it by its own clock, from when
it saw the claim: the clocks of machines need not agree.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from langgraph.store.base import GetOp, Item, PutOp, SearchItem, SearchOp

from tracetune.errors import StoreError
from tracetune.stores.ids import new_release_id
from tracetune.stores.steps import Outcome, Pause, Swap, WritePlan

__all__ = ["claimed", "entry_of"]

_LEASE_S = 10.0
"""A claim seen for so long is its writer's who died; a writer half as slow starts again."""
_PAUSE_S = 0.002
_TRIES = 10_000


def claimed(swap: Swap) -> WritePlan[Outcome]:
    """Swap on a store that can only read and write, while no one else claims the same record.

    Each says first that it is about to write, and then looks who else is. Of two at most one
    sees nobody; where they see each other, the later steps back and the earlier waits for that.
    """
    space = (*swap.namespace, "claims")
    seen: dict[str, float] = {}
    for _ in range(_TRIES):
        began = time.monotonic()
        mine = f"{new_release_id(datetime.now(UTC))} {swap.key}"
        yield [PutOp(space, mine, {"entry": mine}, index=False)]
        rivals = yield from _rivals(space, mine, seen)
        while rivals and mine < min(rivals):
            yield Pause(_PAUSE_S)
            rivals = yield from _rivals(space, mine, seen)
        outcome = None if rivals else (yield from _compare_and_write(swap, began))
        yield [PutOp(space, mine, None)]
        if outcome is not None:
            return outcome
        yield Pause(_PAUSE_S)
    raise StoreError(f"{'.'.join(swap.namespace)}/{swap.key} is claimed by others all the time.")


def _rivals(space: tuple[str, ...], mine: str, seen: dict[str, float]) -> WritePlan[list[str]]:
    """The others' claims to the same record; of those who died they are taken away.

    Args:
        seen: When each was first seen; is added to.
    """
    [items] = yield [SearchOp(space, limit=1000, refresh_ttl=False)]
    same = mine.partition(" ")[2]
    keys = [i.key for i in items if isinstance(i, SearchItem) and i.key != mine]
    keys = [key for key in keys if key.partition(" ")[2] == same]
    now = time.monotonic()
    dead = [key for key in keys if now - seen.setdefault(key, now) > _LEASE_S]
    if dead:
        yield [PutOp(space, key, None) for key in dead]
    return [key for key in keys if key not in dead]


def _compare_and_write(swap: Swap, began: float) -> WritePlan[Outcome | None]:
    """The outcome; None where the claim is too old to be sure that others still heed it."""
    place = GetOp(swap.namespace, swap.key, refresh_ttl=False)
    [found] = yield [place]
    if entry_of(found) != swap.expected:
        return "lost"
    if time.monotonic() - began > _LEASE_S / 2:
        return None
    yield list(swap.writes)
    [found] = yield [place]
    return "won" if entry_of(found) == (swap.record.value or {})["entry"] else "overwritten"


def entry_of(item: object) -> Any:
    return item.value.get("entry") if isinstance(item, Item) else None
