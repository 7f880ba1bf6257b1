"""Releases, their guidelines and the journal: the records that memory keeps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from tracetune.errors import StoreError
from tracetune.stores.bundle import Bundle
from tracetune.stores.ids import id_time, new_release_id
from tracetune.stores.layout import LAYOUT, Json, copied, json_fields, plain, upgraded

__all__ = [
    "Action",
    "Guideline",
    "JournalEntry",
    "Origin",
    "Release",
    "entries_of",
    "id_time",
    "journalled",
    "new_release_id",
]

Origin = Literal["llm", "rules", "human", "import"]
Action = Literal[
    "committed",
    "forgotten",
    "imported",
    "labelled",
    "promoted",
    "pruned",
    "refused",
    "rejected",
    "rolled back",
    "unlabelled",
]

_COMMIT = "commit"
"""The part of a release's record that tells who committed it, and whether that put it in force."""

_to_json = json.JSONEncoder(ensure_ascii=False).encode
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Guideline:
    """One learned sentence in a prompt's managed section."""

    id: str
    prompt: str
    """Name of the prompt it stands in."""
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """The traces and patterns that support it."""
    origin: Literal["llm", "rules", "human"] = "llm"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: `from_dict` reads it back to an equal guideline."""
        return json_fields(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Guideline:
        """Read the JSON form.

        Raises:
            StoreError: The row is not a guideline.
        """
        return _read(
            "guideline", row, lambda: cls(**{name: copied(value) for name, value in row.items()})
        )

    def copied(self) -> Guideline:
        """An equal guideline that shares no list or mapping with this one."""
        return Guideline(self.id, self.prompt, self.text, copied(self.evidence), self.origin)


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable version of an agent's whole bundle, with where it came from."""

    id: str
    agent: str
    parent: str | None
    """The head it was built on; None for an agent's first release."""
    prompts: Mapping[str, str]
    config: Mapping[str, Any]
    guidelines: tuple[Guideline, ...] = ()
    origin: Origin = "human"
    why: tuple[str, ...] = ()
    """One sentence per change."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Ids of the patterns and traces the changes rest on."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Of the traces it came from."""
    verdict: Mapping[str, Any] | None = None
    model: str | None = None
    calls: int = 0
    """LLM calls spent on it."""
    tokens: int = 0
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """In UTC."""
    content_hash: str = ""
    """Of the bundle; computed when left out."""

    def __post_init__(self) -> None:
        if not self.content_hash:
            object.__setattr__(self, "content_hash", self.bundle.content_hash)

    @property
    def bundle(self) -> Bundle:
        """The prompts and config, as the thing that is tuned."""
        return Bundle(self.prompts, self.config)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the layout's `version`; numbers that are not finite become None."""
        return {"version": LAYOUT, **json_fields(self)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Release:
        """Read the JSON form; the result shares nothing with `row`.

        Raises:
            StoreError: The row is no release, or of a newer layout than this tracetune knows.
        """
        return _read("release", row, lambda: cls._from_fields(upgraded("release", row)))

    @classmethod
    def _from_fields(cls, values: Json) -> Release:
        values["guidelines"] = tuple(map(Guideline.from_dict, values["guidelines"]))
        # An older tracetune took anything here.
        values["why"] = tuple(map(str, values["why"]))
        values["origin"] = str(values.get("origin", "human"))
        for name in ("evidence", "metrics"):
            if not isinstance(part := values.get(name, {}), dict):
                values[name] = {name: part}
        values["created_at"] = datetime.fromisoformat(values["created_at"])
        return cls(**values)

    def to_record(self) -> dict[str, Any]:
        """The form a store keeps: that of `to_dict`, but the config as JSON text.

        Postgres' jsonb would reorder its keys and turn 1e16 into an integer.
        """
        row = self.to_dict()
        row["config"] = _to_json(row["config"])
        return row

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Release:
        """Read the form a store keeps; errors as for `from_dict`."""

        def build() -> Release:
            values = upgraded("release", row)
            values.pop(_COMMIT, None)
            return cls._from_fields(values | {"config": json.loads(values["config"])})

        return _read("release", row, build)

    def kept(self, *, by: str, promoted: bool) -> tuple[Release, Json]:
        """Return the release as a store gives it back, and the record of it and of its commit.

        They share parts, so that neither is to be changed.

        Args:
            by: Who commits it.
            promoted: Whether it is put in force in the same write.
        """
        values = json_fields(self)
        commit = {"by": plain(by), "promoted": promoted}
        config = _to_json(values["config"])
        record = {"version": LAYOUT, **values, "config": config, _COMMIT: commit}
        return self._from_fields(values), record

    def copied(self) -> Release:
        """An equal release that shares no list or mapping with this one."""
        return Release(
            self.id,
            self.agent,
            self.parent,
            dict(self.prompts),
            copied(self.config),
            tuple(g.copied() for g in self.guidelines),
            self.origin,
            self.why,
            copied(self.evidence),
            copied(self.metrics),
            copied(self.verdict),
            self.model,
            self.calls,
            self.tokens,
            self.created_at,
            self.content_hash,
        )


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One thing that was done to an agent's releases, by whom and why."""

    id: str
    """Sorts by time, as a release's does; that of a commit, and of its promotion, is its own."""
    action: Action
    release: str
    previous: str | None
    """The head it replaced; for a commit, the head it was built on."""
    by: str
    why: str
    at: datetime
    """In UTC."""
    label: str = ""
    """The one that was set or taken off."""
    verdict: Mapping[str, Any] | None = None
    """The release's, as `history` adds it; the journal does not hold it."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """As `verdict`."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the layout's `version`."""
        return {"version": LAYOUT} | json_fields(self)

    def to_record(self) -> dict[str, Any]:
        """The form a store keeps: without what is the release's, or empty."""
        row = self.to_dict()
        del row["verdict"], row["evidence"]
        return row if self.label else {k: v for k, v in row.items() if k != "label"}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> JournalEntry:
        """Read the JSON form.

        Raises:
            StoreError: The row is no journal entry, or of a newer layout.
        """
        return _read("journal entry", row, lambda: cls._from_fields(upgraded("journal entry", row)))

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> tuple[JournalEntry, ...]:
        """Read the form a store keeps: what it tells, the last first; errors as for `from_dict`."""

        def build() -> tuple[JournalEntry, ...]:
            values = upgraded("journal entry", row)
            promoted = values.pop("promoted", False)
            entry = cls._from_fields(values)
            return (dataclasses.replace(entry, action="promoted"), entry) if promoted else (entry,)

        return _read("journal entry", row, build)

    @classmethod
    def _from_fields(cls, values: Json) -> JournalEntry:
        values["at"] = datetime.fromisoformat(values["at"])
        return cls(**values)


def journalled(row: Mapping[str, Any]) -> Json | None:
    """Return what a release's record tells of its commit, as the journal would keep it.

    None for one of layout 1, whose commit is in the journal.

    Raises:
        StoreError: The record cannot be read.
    """
    if _COMMIT not in row:
        return None

    def line() -> Json:
        return {
            "version": row["version"],
            "id": row["id"],
            "action": "imported" if row["origin"] == "import" else "committed",
            "release": row["id"],
            "previous": row["parent"],
            "why": " ".join(map(str, row["why"])),
            "at": row["created_at"],
            **row[_COMMIT],
        }

    return _read("release", row, line)


def entries_of(
    releases: Mapping[str, Mapping[str, Any]], lines: Mapping[str, Mapping[str, Any]]
) -> list[JournalEntry]:
    """Return all that was done to an agent's releases, newest first.

    Args:
        releases: Their records, by id.
        lines: The records of the journal, by id; those of commits are there of releases that
            were pruned, or were about to be.
    """
    commits = {name: line for name, row in releases.items() if (line := journalled(row))}
    told = sorted((commits | dict(lines)).items(), reverse=True)
    return [entry for _, row in told for entry in JournalEntry.from_record(row)]


def _read(kind: str, row: Mapping[str, Any], build: Callable[[], R]) -> R:
    try:
        return build()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        name = row.get("id", "without an id") if isinstance(row, Mapping) else f"{row!r:.40}"
        raise StoreError(f"The stored {kind} {name} cannot be read: {error}.") from error
