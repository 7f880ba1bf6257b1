"""Plans that move the head; `commits` makes releases.

A plan never mixes reads and writes in one step (on SQLite that upgrade of a lock fails at
once when another process writes). All it writes is one step, a release before the journal
before the head: SQLite and Postgres write it as one statement, wholly or not at all, and on a
store that writes one by one no head ever names a release that is not there.

The head moves by compare-and-set. Who loses a race has written nothing: no release, no entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langgraph.store.base import PutOp

from tracetune.errors import ConflictError, InputError, NotFoundError
from tracetune.stores.ids import is_id
from tracetune.stores.reads import Plan, Pointer, ReadPlans
from tracetune.stores.rebase import Clash
from tracetune.stores.release import Action, Release
from tracetune.stores.steps import Swap, WritePlan

__all__ = ["NO_HEAD", "TRIES", "HeadPlans"]

NO_HEAD = ""
"""As a base: there must be no release in force yet."""

_DONE: Mapping[Action, str] = {"promoted": "promotion", "rolled back": "rollback"}
_PUT_IN_FORCE = tuple(_DONE)
TRIES = 1000
"""Each lost race is another writer's success; so many in a row mean that the store misleads."""


class HeadPlans(ReadPlans):
    """Promote, roll back, reject."""

    def promote(
        self, ref: str, *, by: str = "", why: str = "", base: str | None = None
    ) -> WritePlan[Release]:
        """Put a release in force and return it; one that is in force already stays so.

        Args:
            base: The head it is to replace, or NO_HEAD; left out, the one there is now.

        Raises:
            ConflictError: Another release is the head, or became so at the same moment.
            NotFoundError, InputError: As for `get`.
            StoreError: The store failed; the head is what it was.
        """
        base = yield from self._named(base)
        # Before the release is read: who prunes it renews the head, and so is found out.
        head = yield from self._pointer(self._home, "head")
        release = yield from self.get(ref)
        if head is not None and head.release == release.id:
            return release
        self._check_base("promotion", base, head)
        yield from self._put_in_force("promoted", release, head, by, why)
        return release

    def rollback(
        self,
        ref: str | None = None,
        *,
        steps: int | None = None,
        by: str = "",
        why: str = "",
        base: str | None = None,
    ) -> WritePlan[Release]:
        """Put an earlier release back in force and return it; the history keeps everything.

        Args:
            ref: A release that was in force before; the head's parent when left out.
            steps: Instead of `ref`: how many parents to go back, 1 or more.
            base: The head it is to replace; left out, the one there is now.

        Raises:
            ConflictError: Another release is the head, or became so at the same moment.
            NotFoundError: There is no head, it has no such parent, or `ref` names no release.
            InputError: The release is in force now, or never was; both `ref` and `steps` are
                given, or `steps` is below 1.
            StoreError: The store failed; the head is what it was.
        """
        if (ref is not None and steps is not None) or (steps is not None and steps < 1):
            raise InputError(f"steps must be 1 or more, and without a release, but got {steps}.")
        base = yield from self._named(base)
        pointer, head = yield from self._head()
        if head is None:
            raise NotFoundError(f"Agent {self.agent!r} has no release in force to roll back.")
        self._check_base("rollback", base, pointer)
        if ref is None:
            release = yield from self._ancestor(head, steps or 1)
        else:
            release = yield from self.get(ref)
        if release.id == head.id:
            raise InputError(f"Release {head.id} of agent {self.agent!r} is in force already.")
        if ref is not None:
            yield from self._check_was_in_force(release.id)
        yield from self._put_in_force("rolled back", release, pointer, by, why)
        return release

    def reject(self, ref: str, *, by: str, why: str) -> Plan[Release]:
        """Note in the journal that a release was turned down, and return it.

        Raises:
            NotFoundError: As for `get`.
            InputError: The release is in force, or `ref` names several.
        """
        release = yield from self.get(ref)
        head = yield from self._pointer(self._home, "head")
        if head is not None and release.id == head.release:
            raise InputError(
                f"Release {release.id} of agent {self.agent!r} is in force: roll back instead."
            )
        previous, after = (head.release, head.entry) if head else (None, None)
        yield [self._note("rejected", release.id, previous, by, why, after=after)]
        return release

    def _ancestor(self, head: Release, steps: int) -> Plan[Release]:
        release = head
        for step in range(steps):
            if release.parent is None:
                short = f"; it goes back {step} step{'s' * (step > 1)} only" if step else ""
                raise NotFoundError(
                    f"Release {release.id} of agent {self.agent!r} is its first:"
                    f" none to roll back to{short}."
                )
            release = yield from self.get(release.parent)
        return release

    def _check_was_in_force(self, release_id: str) -> Plan[None]:
        _, entries = yield from self._told()
        if not any(e.release == release_id and e.action in _PUT_IN_FORCE for e in entries):
            raise InputError(
                f"Release {release_id} of agent {self.agent!r} was never in force:"
                " promote it instead."
            )

    def _named(self, base: str | None) -> Plan[str | None]:
        """The id that a base names as `get` does; where it names none, as it was given.

        A whole id is not looked up: a release that is the head is there, and one that was pruned
        is no head.
        """
        if not base or is_id(base):
            return base
        try:
            release = yield from self.get(base)
        except NotFoundError:
            return base
        return release.id

    def _check_base(self, what: str, base: str | None, head: Pointer | None) -> None:
        now = head.release if head else None
        if base is not None and base != (now or NO_HEAD):
            raise self._conflict(what, base or None, now)

    def _put_in_force(
        self, action: Action, release: Release, head: Pointer | None, by: str, why: str
    ) -> WritePlan[None]:
        base = head.release if head else None
        for _ in range(TRIES):
            if (yield from self._move(action, release, head, by, why)):
                return
            head = yield from self._pointer(self._home, "head")
            now = head.release if head else None
            if action == "promoted" and now == release.id:
                return
            if now != base:
                break
            yield from self.get(release.id)  # it may have been pruned meanwhile
        raise self._conflict(_DONE[action], base, head.release if head else None)

    def _move(
        self, action: Action, release: Release, head: Pointer | None, by: str, why: str
    ) -> WritePlan[bool]:
        """Move the head to a release that is kept; False where it has moved already."""
        previous, entry = (head.release, head.entry) if head else (None, None)
        note = self._note(action, release.id, previous, by, why, after=entry)
        return (yield from self._swap(_DONE[action], release.id, head, note))

    def _swap(
        self, what: str, release_id: str, head: Pointer | None, told: PutOp
    ) -> WritePlan[bool]:
        """Move the head, which names the record that tells of it; False where it has moved already.

        Args:
            what: The act, for who is told that another came first.
            told: Is written with it, or not at all: a line of the journal, or the release itself.
        """
        previous, expected = (head.release, head.entry) if head else (None, None)
        record = self._point(self._home, "head", release_id, told.key)
        [outcome] = yield Swap(self._home, "head", expected, (told, record))
        if outcome == "overwritten":
            yield from self._check_overwritten(what, release_id, previous, told.key)
        return bool(outcome != "lost")

    def _check_overwritten(
        self, what: str, release_id: str, base: str | None, entry: str
    ) -> WritePlan[None]:
        """Pass where the next writer built on this release; else tell it, here and in the journal.

        Only a store that shows a write late, or a writer that hung for long, brings this about.
        """
        _, entries = yield from self._told()
        if any(e.previous == release_id and e.action in _PUT_IN_FORCE for e in entries):
            return
        head = yield from self._pointer(self._home, "head")
        now = head.release if head else None
        why = f"overwritten by {now}, put in force at the same moment"
        yield [self._note("refused", release_id, base, "", why, after=entry)]
        raise self._conflict(what, base, now)

    def _conflict(
        self, what: str, base: str | None, head: str | None, clashes: Sequence[Clash] = ()
    ) -> ConflictError:
        names = ", ".join(f"{clash.part}.{clash.name}" for clash in clashes)
        way_out = f"both changed {names}" if clashes else "build it again on that"
        return ConflictError(
            f"The {what} for agent {self.agent!r} was built on {base or 'no release'},"
            f" but {head or 'no release'} is in force now: {way_out}.",
            base,
            head,
            clashes,
        )
