"""Releases, their guidelines and the journal: the records that memory keeps."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import numbers
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypeVar

from tracetune.errors import StoreError
from tracetune.stores.bundle import Bundle

__all__ = [
    "LAYOUT",
    "Action",
    "Guideline",
    "JournalEntry",
    "Origin",
    "Release",
    "new_release_id",
]

Origin = Literal["llm", "rules", "human", "import"]
Action = Literal["committed", "promoted", "rolled back", "rejected", "imported"]

LAYOUT = 1
"""Version of the records' layout; a record of a newer one is refused, never guessed at."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
        return _read("guideline", row, lambda: cls(**copy.deepcopy(dict(row))))


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

        def build() -> Release:
            values = _known(row)
            values["guidelines"] = tuple(map(Guideline.from_dict, values["guidelines"]))
            values["why"] = tuple(values["why"])
            values["created_at"] = datetime.fromisoformat(values["created_at"])
            return cls(**values)

        return _read("release", row, build)

    def to_record(self) -> dict[str, Any]:
        """The form a store keeps: that of `to_dict`, but the config as JSON text.

        Postgres' jsonb would reorder its keys and turn 1e16 into an integer.
        """
        row = self.to_dict()
        return row | {"config": json.dumps(row["config"], ensure_ascii=False)}

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> Release:
        """Read the form a store keeps; errors as for `from_dict`."""
        config = _read("release", row, lambda: json.loads(_known(row)["config"]))
        return cls.from_dict({**row, "config": config})


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

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the layout's `version`."""
        return {"version": LAYOUT} | _json_fields(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> JournalEntry:
        """Read the JSON form.

        Raises:
            StoreError: The row is no journal entry, or of a newer layout.
        """

        def build() -> JournalEntry:
            values = _known(row)
            values["at"] = datetime.fromisoformat(values["at"])
            return cls(**values)

        return _read("journal entry", row, build)


class _IdClock:
    """Milliseconds that never repeat nor go back within this process."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def tick(self, now: datetime) -> int:
        with self._lock:
            self._last = max((now - _EPOCH) // timedelta(milliseconds=1), self._last + 1)
            return self._last


_clock = _IdClock()


def new_release_id(now: datetime) -> str:
    """Return a new id such as `20261121-224711-482-3f9c07`: UTC time, then noise.

    Ids sort by time; within a process each is greater than the one before, even when the
    clock stands still or goes back. `now` must know its timezone.
    """
    milliseconds = _clock.tick(now)
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    noise = secrets.token_hex(3)  # other processes may commit in the same millisecond
    return f"{moment:%Y%m%d-%H%M%S}-{milliseconds % 1000:03d}-{noise}"


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


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the row without its version, which is checked."""
    values = copy.deepcopy(dict(row))
    version = values.pop("version")
    if version != LAYOUT:
        raise ValueError(f"layout {version}, but this tracetune knows only layout {LAYOUT}")
    return values


def _read(kind: str, row: Mapping[str, Any], build: Callable[[], R]) -> R:
    try:
        return build()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        name = row.get("id", "without an id") if isinstance(row, Mapping) else f"{row!r:.40}"
        raise StoreError(f"The stored {kind} {name} cannot be read: {error}.") from error
