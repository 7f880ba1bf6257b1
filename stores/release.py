"""Releases, their guidelines and the journal: the records that memory keeps."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeVar

from tracetune.errors import StoreError
from tracetune.stores.bundle import Bundle
from tracetune.stores.ids import id_time, new_release_id

__all__ = [
    "LAYOUT",
    "Action",
    "Guideline",
    "JournalEntry",
    "Origin",
    "Release",
    "id_time",
    "new_release_id",
    "upgraded",
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

Json = dict[str, Any]

LAYOUT = 1
"""Version of the records' layout; a record of a newer one is refused, never guessed at."""

_MIGRATIONS: Mapping[int, Callable[[str, Json], Json]] = {}
"""By the version it reads: makes a record of one kind the next version's."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
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
        return _json_fields(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Guideline:
        """Read the JSON form.

        Raises:
            StoreError: The row is not a guideline.
        """
        return _read(
            "guideline", row, lambda: cls(**{name: _copied(value) for name, value in row.items()})
        )


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
        row = {"version": LAYOUT} | _json_fields(self)
        row["guidelines"] = [guideline.to_dict() for guideline in self.guidelines]
        return row

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
        values["why"] = tuple(values["why"])
        values["created_at"] = datetime.fromisoformat(values["created_at"])
        return cls(**values)

    def to_record(self) -> dict[str, Any]:
        """The form a store keeps: that of `to_dict`, but the config as JSON text.

        Postgres' jsonb would reorder its keys and turn 1e16 into an integer.
        """
        row = self.to_dict()
        return row | {"config": json.dumps(row["config"], ensure_ascii=False)}

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Release:
        """Read the form a store keeps; errors as for `from_dict`."""

        def build() -> Release:
            values = upgraded("release", row)
            return cls._from_fields(values | {"config": json.loads(values["config"])})

        return _read("release", row, build)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One thing that was done to an agent's releases, by whom and why."""

    id: str
    """Sorts by time, as a release's id does."""
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
        return {"version": LAYOUT} | _json_fields(self)

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

        def build() -> JournalEntry:
            values = upgraded("journal entry", row)
            values["at"] = datetime.fromisoformat(values["at"])
            return cls(**values)

        return _read("journal entry", row, build)


def upgraded(kind: str, row: Mapping[str, Any]) -> Json:
    """Return a copy of a stored record in the layout of today, without its version.

    Args:
        kind: `release`, `journal entry`, `head`, `label` or `preferences`.

    Raises:
        ValueError: Its layout is newer than this tracetune's, or too old to be known.
    """
    values = {name: _copied(value) for name, value in row.items()}
    version = values.pop("version")
    while version != LAYOUT:
        if version not in _MIGRATIONS:
            raise ValueError(f"layout {version}, but this tracetune knows only layout {LAYOUT}")
        values = _MIGRATIONS[version](kind, values)
        version += 1
    return values


def _copied(value: Any) -> Any:
    """A copy of a JSON value that shares no list or mapping with it."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _json_fields(record: Any) -> dict[str, Any]:
    return {f.name: _jsonable(getattr(record, f.name)) for f in dataclasses.fields(record)}


def _jsonable(value: Any) -> Any:
    """Copy as JSON; what JSON lacks is replaced, since evidence and metrics steer nothing."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, numbers.Integral):
        return int(value) if -(2**63) <= int(value) < 2**64 else str(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_jsonable(str(key)): _jsonable(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((_jsonable(v) for v in value), key=str)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _json_fields(value)
    return _jsonable(str(value))


def _read(kind: str, row: Mapping[str, Any], build: Callable[[], R]) -> R:
    try:
        return build()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        name = row.get("id", "without an id") if isinstance(row, Mapping) else f"{row!r:.40}"
        raise StoreError(f"The stored {kind} {name} cannot be read: {error}.") from error
