"""A swap on a store that can only read and write, with claims: records of who is about to write."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.store.base import GetOp, Item, PutOp, SearchItem, SearchOp

from tracetune.errors import StoreError
from tracetune.stores.ids import id_time
from tracetune.stores.steps import Outcome, Pause, Swap, WritePlan

__all__ = ["claimed", "entry_of"]

_LEASE = timedelta(seconds=30)
"""From this age on a claim is its writer's who died; a writer that slow starts again.

So the clocks of machines that share such a store must agree to within it.
"""
_PAUSE_S = 0.002


def claimed(swap: Swap) -> WritePlan[Outcome]:
    """Swap on a store that can only read and write, while no one else claims the same record.

    Each says first that it is about to write, and then looks who else is. Of two at most one
    sees nobody; where they see each other, the later steps back and the earlier waits for that.
    """
    space = (*swap.namespace, "claims")
    for _ in range(int(2 * _LEASE.total_seconds() / _PAUSE_S)):
        mine = _new_claim(datetime.now(UTC), swap.key)
        yield [PutOp(space, mine, {"entry": mine}, index=False)]
        rivals = yield from _rivals(space, mine)
        while rivals and mine < min(rivals) and not _is_old(mine):
            yield Pause(_PAUSE_S)
            rivals = yield from _rivals(space, mine)
        outcome = None if rivals else (yield from _compare_and_write(swap, mine))
        yield [PutOp(space, mine, None)]
        if outcome is not None:
            return outcome
        yield Pause(_PAUSE_S)
    raise StoreError(f"{'.'.join(swap.namespace)}/{swap.key} is claimed by others all the time.")


def _new_claim(now: datetime, key: str) -> str:
    # Not `new_release_id`: a claim must tell this clock's time, not one that came after another's.
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(3)} {key}"


def _rivals(space: tuple[str, ...], mine: str) -> WritePlan[list[str]]:
    [items] = yield [SearchOp(space, limit=1000, refresh_ttl=False)]
    same = mine.partition(" ")[2]
    keys = [i.key for i in items if isinstance(i, SearchItem) and i.key != mine]
    keys = [key for key in keys if key.partition(" ")[2] == same]
    if dead := [key for key in keys if _is_old(key)]:
        yield [PutOp(space, key, None) for key in dead]
    return [key for key in keys if key not in dead]


def _compare_and_write(swap: Swap, claim: str) -> WritePlan[Outcome | None]:
    """The outcome; None where the claim is too old to be sure that others still heed it."""
    place = GetOp(swap.namespace, swap.key, refresh_ttl=False)
    [found] = yield [place]
    if entry_of(found) != swap.expected:
        return "lost"
    if _is_old(claim, _LEASE / 2):
        return None
    yield list(swap.writes)
    [found] = yield [place]
    return "won" if entry_of(found) == (swap.record.value or {})["entry"] else "overwritten"


def _is_old(claim: str, age: timedelta = _LEASE) -> bool:
    made = id_time(claim)
    return made is None or abs(datetime.now(UTC) - made) > age


def entry_of(item: object) -> Any:
    return item.value.get("entry") if isinstance(item, Item) else None
