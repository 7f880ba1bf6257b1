"""One span of a trace, in the form that every tracer's spans are brought into."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tracetune.traces.readers.base import moment
from tracetune.traces.readers.scores import Score

__all__ = ["Kind", "Span", "nanos"]

Kind = Literal["agent", "llm", "tool", "other"]

_FAR, _NANOS = 10**14, 10**17  # the year 5138 in milliseconds and in microseconds
_NEVER = 1 << 63  # in 64 bits: writers without a null put the year 1, or 9999


class Span(msgspec.Struct, gc=False):  # a file's spans are held, and gc would go through them all
    """One span; never edited once it is made. None means unknown."""

    id: str
    parent: str | None
    name: str
    kind: Kind
    start: int | None
    """Nanoseconds since 1970, as `end`."""
    end: int | None
    error: str | None = None
    agent: str | None = None
    """For an agent its name, else who acted, where the span says so."""
    tool: str | None = None
    call_id: str | None = None
    instructions: Any = None
    """System messages that were sent beside `heard`."""
    heard: Any = None
    """A model's messages, a tool's arguments or an agent's input, as the tracer wrote them."""
    replied: Any = None
    """A model's reply, a tool's result or an agent's output."""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    model: str | None = None
    ended_by: str | None = None
    """What ended it, where no error says so."""
    turn: int | None = None
    """Which step of its graph it belongs to, as the graph's step limit counts them."""
    info: Mapping[str, Any] | None = None
    """Metadata that may speak of the whole run."""
    scores: Mapping[str, Score] | None = None


def nanos(value: Any, name: str) -> int | None:
    """Return a point in time as nanoseconds since 1970; null, 0 and the year 1 or 9999 are unknown.

    Whole numbers, also as text, past the year 5138 in microseconds are nanoseconds, those past it
    in milliseconds are microseconds; all else is read as `moment` reads it.

    Raises:
        ValueError: It is no point in time.
    """
    if type(value) is str and len(value) > 14 and value.isdigit():
        value = int(value)
    if type(value) is int:
        if _NANOS <= value < _NEVER:
            return value
        if _FAR <= value < _NANOS:
            return value * 1000
    if value in (None, "", 0, "0"):
        return None
    at = moment(value, name)
    since = None if at is None else _since_epoch(at)
    return since if since is not None and -_NEVER < since < _NEVER else None


def _since_epoch(at: datetime) -> int:
    passed = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds) * 1000
