"""What every reader is, and the checks that readers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tracetune.traces.model import Trace

__all__ = [
    "UNUSABLE",
    "BadRecord",
    "Context",
    "Reader",
    "as_list",
    "as_mapping",
    "count",
    "flag",
    "looks_said",
    "moment",
    "number",
    "reason_of",
    "text",
]

# What foreign data of the wrong shape makes a reader raise; anything else is our own bug.
UNUSABLE = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that was set aside because no trace could be read from it."""

    source: str
    """The file it stands in, or "records" when it was given as data."""
    position: int
    """Line of a JSON Lines file, else index in the list; from 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a reader is told besides the record itself."""

    path: Path | None
    """The file the record stands in; None when it was given as data."""
    set_aside: Callable[[str], None]
    """Reports one unusable part of the record, by its reason; the rest is still read."""
    memo: dict[Path, Any] = field(default_factory=dict)
    """Kept for the whole run: what was learned from neighbouring files."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One trace format.

    A record is any JSON value. `read` yields its traces, and raises one of `UNUSABLE`
    with a one-line reason when there is nothing to be had from it.
    """

    name: str
    matches: Callable[[Any], bool]
    read: Callable[[Any, Context], Iterator[Trace]]
    parts: Callable[[Any], Iterator[tuple[str, Any]]] | None = None
    """For formats whose records hold parts of traces, such as spans: yields each part with the
    key of its trace. `read` is then given a list of all parts of one trace, in file order."""


def reason_of(error: Exception) -> str:
    """Return the error as one line that a person can act on."""
    if isinstance(error, KeyError):
        return f"the key {error} is missing"
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, AttributeError | TypeError) and "expected" not in line:
        line = f"it is not of the expected shape ({line})"  # Python's own words
    return line if len(line) <= 300 else f"{line[:299]}…"


def as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return an object; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(_wrong(name, value, "an object"))
    return value


def as_list(value: Any, name: str) -> list[Any]:
    """Return a list; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise TypeError(_wrong(name, value, "a list"))
    return list(value)


def text(value: Any, name: str) -> str | None:
    """Return text, or None for null; numbers become text, because ids often are numbers."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(_wrong(name, value, "text"))


def number(value: Any, name: str, *, least: float = -math.inf) -> float | None:
    """Return a finite number, at least `least`, or None for null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(_wrong(name, value, "a number"))
    if not math.isfinite(value) or value < least:
        floor = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(_wrong(name, value, f"a finite number{floor}"))
    return value


def count(value: Any, name: str) -> int | None:
    """Return a whole number from 0, or None for null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(_wrong(name, value, "a whole number of at least 0"))
    return value


def flag(value: Any, name: str) -> bool | None:
    """Return true or false, or None for null; 0 and 1 are refused, they may be scores."""
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(_wrong(name, value, "true or false"))


def moment(value: Any, name: str) -> datetime | None:
    """Return a point in time in UTC from ISO 8601 text or seconds since 1970, or None.

    Text without an offset is read as UTC: the machine that reads it may be in another zone.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str):
            stamp = datetime.fromisoformat(value)
            return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)
        return datetime.fromtimestamp(number(value, name) or 0.0, UTC)
    except (ArithmeticError, OSError, TypeError, ValueError):
        raise ValueError(_wrong(name, value, "ISO 8601 text or seconds since 1970")) from None


def looks_said(value: Any) -> bool:
    """Whether it is a chat message, as JSON or as a LangChain object."""
    if isinstance(value, Mapping):
        kept = {"content", "data", "kwargs"}  # where the forms with a type keep what was said
        return "role" in value or ("type" in value and not kept.isdisjoint(value))
    return hasattr(value, "content") and hasattr(value, "type")


def _wrong(name: str, value: Any, expected: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return f"{name} is {shown}, expected {expected}"
