"""What memory does, apart from how a store is reached.

Each method is a plan: a generator that yields lists of LangGraph store operations, is sent
their results, and returns its answer. So the sync and the async way in share one logic.

A plan never mixes reads and writes in one list (on SQLite that upgrade of a lock fails at
once when another process writes), and puts all it writes into one list, a release before
the journal before the head: SQLite and Postgres write it as one statement, wholly or not at
all, and on a store that writes one by one no head ever names a release that is not there.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from langgraph.store.base import GetOp, Item, Op, PutOp, Result, SearchOp

from tracetune.errors import ConflictError, InputError, NotFoundError, StoreError
from tracetune.stores.bundle import Bundle
from tracetune.stores.release import (
    LAYOUT,
    Action,
    Guideline,
    JournalEntry,
    Origin,
    Release,
    new_release_id,
)

__all__ = ["NO_HEAD", "AgentPlans", "Plan"]

NO_HEAD = ""
"""As the base of a commit: there must be no release in force yet."""

T = TypeVar("T")
Plan: TypeAlias = Generator[list[Op], list[Result], T]

_PAGE = 10_000
_PUT_IN_FORCE = ("promoted", "rolled back")


class AgentPlans:
    """The plans of one agent's memory; `AgentMemory` documents and runs them."""

    def __init__(self, project: str, agent: str) -> None:
        self.agent = agent
        self._home = ("tracetune", project, agent)
        self._releases = (*self._home, "releases")
        self._journal = (*self._home, "journal")

    def head(self) -> Plan[Release | None]:
        """Return the release in force, or None before the first promotion."""
        release_id = yield from self._head_id()
        if release_id is None:
            return None
        release = yield from self._stored(release_id)
        if release is None:
            raise StoreError(
                f"The head of agent {self.agent!r} names release {release_id},"
                " but the store does not hold it."
            )
        return release

    def get(self, ref: str) -> Plan[Release]:
        """Return the release that `ref` names: its id, or a beginning or end only it has.

        Raises:
            NotFoundError: No release is named so; lists near ones.
            InputError: Several are; lists them.
        """
        if ref and ref.isascii() and (release := (yield from self._stored(ref))):
            return release
        rows = yield from self._rows(self._releases)
        found = [i for i in rows if ref and (i.startswith(ref) or i.endswith(ref))]
        if len(found) == 1:
            return Release.from_record(rows[found[0]])
        if found:
            raise InputError(
                f"{ref!r} names {len(found)} releases of agent {self.agent!r}:"
                f" {_listed(found)}; give more of the id."
            )
        near = difflib.get_close_matches(ref, rows, n=3, cutoff=0.4) or list(rows)[:3]
        hint = f"near ones: {_listed(near)}" if near else "it has none yet"
        raise NotFoundError(f"Agent {self.agent!r} has no release {ref!r}; {hint}.")

    def releases(self) -> Plan[list[Release]]:
        """Return every release, in force or not, newest first."""
        rows = yield from self._rows(self._releases)
        return [Release.from_record(row) for row in rows.values()]

    def history(self, limit: int | None = None) -> Plan[list[JournalEntry]]:
        """Return what was done to the releases, newest first; the newest `limit` when given.

        Raises:
            InputError: `limit` is negative.
        """
        if limit is not None and limit < 0:
            raise InputError(f"limit must be 0 or more, but got {limit}.")
        rows = yield from self._rows(self._journal)
        return [JournalEntry.from_dict(row) for row in list(rows.values())[:limit]]

    def commit(
        self,
        *,
        prompts: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        base: str | None = None,
        why: Sequence[str] = (),
        origin: Origin = "human",
        guidelines: Sequence[Guideline] | None = None,
        evidence: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        verdict: Mapping[str, Any] | None = None,
        model: str | None = None,
        calls: int = 0,
        tokens: int = 0,
        promote: bool = False,
        by: str = "",
    ) -> Plan[Release]:
        """Keep a new release built on the head, and return it.

        Args:
            prompts: All of them, no patch; as in the head when left out. So are
                `config` and `guidelines`.
            base: Id of the head it was built on, or NO_HEAD where there must be none yet; left
                out, it is built on whatever is head now.
            why: One sentence per change.
            promote: Put it in force in the same write.
            by: Who did it, for the journal.

        Raises:
            ConflictError: Another release than `base` is the head now; nothing was written.
            InputError: There is nothing to keep, or a store could not keep it unchanged.
            StoreError: The store failed; the head is what it was.
        """
        head = yield from self.head()
        parent = head.id if head else None
        if base is not None and base != (parent or NO_HEAD):
            raise self._conflict(base, parent)
        bundle = self._bundle(head, prompts, config)
        now = datetime.now(UTC)
        if guidelines is None:
            guidelines = head.guidelines if head else ()
        release = Release(
            id=new_release_id(now),
            agent=self.agent,
            parent=parent,
            prompts=bundle.prompts,
            config=bundle.config,
            guidelines=tuple(guidelines),
            origin=origin,
            why=(why,) if isinstance(why, str) else tuple(why),
            evidence=evidence or {},
            metrics=metrics or {},
            verdict=verdict,
            model=model,
            calls=calls,
            tokens=tokens,
            created_at=now,
            content_hash=bundle.content_hash,
        )
        row = release.to_record()
        action: Action = "imported" if origin == "import" else "committed"
        reason = " ".join(release.why)
        writes = [
            PutOp(self._releases, release.id, row, index=False),
            self._note(action, release.id, parent, by, reason),
        ]
        if promote:
            writes += self._move("promoted", release.id, parent, by, reason)
        yield list(writes)
        return Release.from_record(row)

    def promote(self, ref: str, *, by: str = "", why: str = "") -> Plan[Release]:
        """Put a release in force and return it; one that is in force already stays so.

        Raises:
            NotFoundError, InputError: As for `get`.
            StoreError: The store failed; the head is what it was.
        """
        release = yield from self.get(ref)
        head = yield from self._head_id()
        if release.id != head:
            yield list(self._move("promoted", release.id, head, by, why))
        return release

    def rollback(self, ref: str | None = None, *, by: str = "", why: str = "") -> Plan[Release]:
        """Put an earlier release back in force and return it; the history keeps everything.

        Args:
            ref: A release that was in force before; the head's parent when left out.

        Raises:
            NotFoundError: There is no head, it has no parent, or `ref` names no release.
            InputError: The release is in force now, or never was.
            StoreError: The store failed; the head is what it was.
        """
        head = yield from self.head()
        if head is None:
            raise NotFoundError(f"Agent {self.agent!r} has no release in force to roll back.")
        if ref is None and head.parent is None:
            raise NotFoundError(
                f"Release {head.id} of agent {self.agent!r} is its first: none to roll back to."
            )
        release = yield from self.get(ref or head.parent or "")
        if release.id == head.id:
            raise InputError(f"Release {head.id} of agent {self.agent!r} is in force already.")
        if ref is not None:
            yield from self._check_was_in_force(release.id)
        yield list(self._move("rolled back", release.id, head.id, by, why))
        return release

    def reject(self, ref: str, *, by: str, why: str) -> Plan[Release]:
        """Note in the journal that a release was turned down, and return it.

        Raises:
            NotFoundError: As for `get`.
            InputError: The release is in force, or `ref` names several.
        """
        release = yield from self.get(ref)
        head = yield from self._head_id()
        if release.id == head:
            raise InputError(
                f"Release {head} of agent {self.agent!r} is in force: roll back instead."
            )
        yield [self._note("rejected", release.id, head, by, why)]
        return release

    def _check_was_in_force(self, release_id: str) -> Plan[None]:
        entries = yield from self.history()
        if not any(e.release == release_id and e.action in _PUT_IN_FORCE for e in entries):
            raise InputError(
                f"Release {release_id} of agent {self.agent!r} was never in force:"
                " promote it instead."
            )

    def _bundle(
        self,
        head: Release | None,
        prompts: Mapping[str, str] | None,
        config: Mapping[str, Any] | None,
    ) -> Bundle:
        old = head.bundle if head else Bundle()
        new = Bundle(
            old.prompts if prompts is None else prompts,
            old.config if config is None else config,
        )
        if not new.prompts and not new.config:
            raise InputError(f"A release of agent {self.agent!r} needs a prompt or a config value.")
        return new.storable(self.agent)

    def _conflict(self, base: str, head: str | None) -> ConflictError:
        return ConflictError(
            f"The commit for agent {self.agent!r} was built on {base or 'no release'},"
            f" but {head or 'no release'} is in force now: build it again on that.",
            base,
            head,
        )

    def _note(
        self, action: Action, release_id: str, previous: str | None, by: str, why: str
    ) -> PutOp:
        now = datetime.now(UTC)
        entry = JournalEntry(new_release_id(now), action, release_id, previous, by, why, now)
        return PutOp(self._journal, entry.id, entry.to_dict(), index=False)

    def _move(
        self, action: Action, release_id: str, previous: str | None, by: str, why: str
    ) -> list[PutOp]:
        """Journal first, then the head, which names the entry that moved it."""
        note = self._note(action, release_id, previous, by, why)
        head = {"version": LAYOUT, "release": release_id, "entry": note.key}
        return [note, PutOp(self._home, "head", head, index=False)]

    def _head_id(self) -> Plan[str | None]:
        row = yield from self._row(self._home, "head")
        if row is None:
            return None
        if row.get("version") != LAYOUT:
            raise StoreError(
                f"The head of agent {self.agent!r} has layout {row.get('version')},"
                f" but this tracetune knows only layout {LAYOUT}."
            )
        return str(row["release"])

    def _stored(self, release_id: str) -> Plan[Release | None]:
        row = yield from self._row(self._releases, release_id)
        return None if row is None else Release.from_record(row)

    def _row(self, namespace: tuple[str, ...], key: str) -> Plan[dict[str, Any] | None]:
        [item] = yield [GetOp(namespace, key, refresh_ttl=False)]
        return item.value if isinstance(item, Item) else None

    def _rows(self, namespace: tuple[str, ...]) -> Plan[dict[str, dict[str, Any]]]:
        """Every record of a namespace by key, newest first."""
        rows: dict[str, dict[str, Any]] = {}
        offset = 0
        while True:
            [page] = yield [SearchOp(namespace, limit=_PAGE, offset=offset, refresh_ttl=False)]
            items = page if isinstance(page, list) else []
            rows |= {i.key: i.value for i in items if isinstance(i, Item)}
            offset += len(items)
            if len(items) < _PAGE:
                return dict(sorted(rows.items(), reverse=True))


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
