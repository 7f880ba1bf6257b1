"""The layout of stored records: its version, how an older one is read, and what JSON keeps."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from tracetune.stores.bundle import plain_text
from tracetune.traces.model import in_utc

__all__ = ["LAYOUT", "Json", "copied", "json_fields", "plain", "upgraded"]

Json = dict[str, Any]

LAYOUT = 2
"""Version of the records' layout; a record of a newer one is refused, never guessed at."""


def _from_1(kind: str, row: Json) -> Json:
    # Its releases tell nothing of their commits: those stand in the journal, which is still read.
    return row


_MIGRATIONS: Mapping[int, Callable[[str, Json], Json]] = {1: _from_1}
"""By the version it reads: makes a record of one kind the next version's."""


def upgraded(kind: str, row: Mapping[str, Any]) -> Json:
    """Return a copy of a stored record in the layout of today, without its version.

    Args:
        kind: `release`, `journal entry`, `head`, `label` or `preferences`.

    Raises:
        ValueError: Its layout is newer than this tracetune's, or too old to be known.
    """
    values = {name: copied(value) for name, value in row.items()}
    version = values.pop("version")
    while version != LAYOUT:
        if version not in _MIGRATIONS:
            raise ValueError(f"layout {version}, but this tracetune knows only layout {LAYOUT}")
        values = _MIGRATIONS[version](kind, values)
        version += 1
    return values


def copied(value: Any) -> Any:
    """Return a copy of a JSON value that shares no list or mapping with it."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return [copied(part) for part in value] if isinstance(value, list) else value


def json_fields(record: Any) -> Json:
    """Return a dataclass' fields by name, as `plain` copies them."""
    return {name: plain(getattr(record, name)) for name in _names(record.__class__)}


def plain(value: Any) -> Any:
    """Copy as JSON; what JSON lacks is replaced, since evidence and metrics steer nothing."""
    kind = type(value)
    if kind is str:
        return plain_text(value)
    if value is None or kind is bool or (kind is int and abs(value) < 2**63):
        return value
    if kind is dict:
        return {plain(str(key)): plain(part) for key, part in value.items()} if value else {}
    if isinstance(value, datetime):
        return in_utc(value).isoformat()
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, numbers.Integral):
        return int(value) if -(2**63) <= int(value) < 2**64 else str(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return plain(dict(value))
    if isinstance(value, set | frozenset):
        return sorted((plain(part) for part in value), key=str)
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_fields(value)
    return plain(str(value))


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
