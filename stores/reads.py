"""The records of an agent and how they are read; `heads` and `labels` write them.

A plan is a generator that yields lists of LangGraph store operations, is sent their results,
and returns its answer. So the sync and the async way in share one logic.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from langgraph.store.base import GetOp, Item, Op, PutOp, Result, SearchOp

from tracetune.errors import InputError, NotFoundError, StoreError
from tracetune.stores.layout import LAYOUT, Json, upgraded
from tracetune.stores.release import (
    Action,
    JournalEntry,
    Release,
    entries_of,
    new_release_id,
)

__all__ = ["Plan", "Pointer", "ReadPlans"]

T = TypeVar("T")
Plan: TypeAlias = Generator[list[Op], list[Result], T]

_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Pointer:
    """A record that names a release, such as the head, and the journal entry that set it."""

    release: str | None
    """None for a label that was taken off, and for a head before the first promotion."""
    entry: str
    """Never the same twice, so it tells one state of the record from any other."""


class ReadPlans:
    """Plans that only read."""

    def __init__(self, project: str, agent: str) -> None:
        self.agent = agent
        self._home = ("tracetune", project, agent)
        self._releases = (*self._home, "releases")
        self._journal = (*self._home, "journal")
        self._labels = (*self._home, "labels")
        self._known: tuple[Pointer, Release] | None = None

    def head(self) -> Plan[Release | None]:
        """Return the release in force, or None before the first promotion."""
        _, release = yield from self._head()
        return release.copied() if release else None

    def get(self, ref: str) -> Plan[Release]:
        """Return the release that `ref` names: its id, a label, or a part of the id.

        A part is a beginning or an end that no other id has; a label goes before it.

        Raises:
            NotFoundError: No release is named so; lists near ones.
            InputError: Several are; lists them.
        """
        if ref.isascii() and _storable(ref) and (release := (yield from self._stored(ref))):
            return release
        label = yield from self._pointer(self._labels, ref) if _storable(ref) else _nothing()
        if label and label.release and (release := (yield from self._stored(label.release))):
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

        Each entry carries its release's verdict and evidence, where the release is kept.

        Raises:
            InputError: `limit` is negative.
        """
        if limit is not None and limit < 0:
            raise InputError(f"limit must be 0 or more, but got {limit}.")
        releases, entries = yield from self._told()
        return [_with_release(entry, releases.get(entry.release)) for entry in entries[:limit]]

    def _told(self) -> Plan[tuple[Mapping[str, Json], list[JournalEntry]]]:
        """The records of all releases, and all that was done to them, newest first."""
        # In this order: a release's commit is in the journal before the release is pruned.
        releases = yield from self._rows(self._releases)
        lines = yield from self._rows(self._journal)
        return releases, entries_of(releases, lines)

    def _head(self) -> Plan[tuple[Pointer | None, Release | None]]:
        """The head and its release; one record is read where that is the last one known.

        The head names the entry that set it, and a release never changes: the same entry means
        the same release. `forget` alone rewrites one, and then renews the entry. The release is
        kept here, so it is not to be given away uncopied.
        """
        seen = None
        while True:
            [item] = yield [GetOp(self._home, "head", refresh_ttl=False)]
            known = self._known
            if known and isinstance(item, Item) and item.value.get("entry") == known[0].entry:
                return known
            pointer = self._read_pointer("head", item)
            if pointer is None or pointer.release is None:
                return pointer, None
            # What the head named is whole whether or not the head has moved since.
            if release := (yield from self._stored(pointer.release)):
                self._known = (pointer, release)
                return self._known
            # Once more when it has moved: its old release may have been pruned since.
            if pointer == seen:
                raise StoreError(
                    f"The head of agent {self.agent!r} names release {pointer.release},"
                    " but the store does not hold it."
                )
            seen = pointer

    def _pointer(self, namespace: tuple[str, ...], key: str) -> Plan[Pointer | None]:
        [item] = yield [GetOp(namespace, key, refresh_ttl=False)]
        return self._read_pointer("head" if key == "head" else "label", item)

    def _read_pointer(self, kind: str, item: object) -> Pointer | None:
        if not isinstance(item, Item):
            return None
        try:
            row = upgraded(kind, item.value)
            return Pointer(row["release"], row["entry"])
        except (ValueError, KeyError) as error:
            reason = f"has {error}" if isinstance(error, ValueError) else f"lacks {error}"
            raise StoreError(f"The {kind} of agent {self.agent!r} {reason}.") from error

    def _stored(self, release_id: str) -> Plan[Release | None]:
        [item] = yield [GetOp(self._releases, release_id, refresh_ttl=False)]
        return Release.from_record(item.value) if isinstance(item, Item) else None

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

    def _note(
        self,
        action: Action,
        release_id: str,
        previous: str | None,
        by: str,
        why: str,
        *,
        after: str | None = None,
        label: str = "",
    ) -> PutOp:
        now = datetime.now(UTC)
        entry_id = new_release_id(now, after=after)
        entry = JournalEntry(entry_id, action, release_id, previous, by, why, now, label)
        return PutOp(self._journal, entry.id, entry.to_record(), index=False)

    def _point(
        self, namespace: tuple[str, ...], key: str, release_id: str | None, entry: str
    ) -> PutOp:
        value = {"version": LAYOUT, "release": release_id, "entry": entry}
        return PutOp(namespace, key, value, index=False)


def _with_release(entry: JournalEntry, row: Mapping[str, Any] | None) -> JournalEntry:
    if row is None:
        return entry
    release = Release.from_record(row)
    return replace(entry, verdict=release.verdict, evidence=release.evidence)


def _nothing() -> Plan[None]:
    yield from ()


def _storable(name: str) -> bool:
    return bool(name) and name.isprintable()


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
