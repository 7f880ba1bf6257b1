"""What every reader is, and the checks that readers share."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import orjson

from tracetune.traces.model import MAX_COST_USD, MAX_LATENCY_S, Trace, in_utc, plain_number
from tracetune.traces.redaction import Redactor

__all__ = [
    "UNPARSED",
    "UNUSABLE",
    "BadRecord",
    "Context",
    "Reader",
    "arguments_of",
    "as_list",
    "as_mapping",
    "beyond",
    "content_hash",
    "count",
    "dollars_in",
    "flag",
    "is_gemini",
    "json_text",
    "looks_said",
    "moment",
    "number",
    "reason_of",
    "seconds_in",
    "shown",
    "text",
    "told_aside",
]

# What foreign data of the wrong shape makes a reader raise; anything else is our own bug.
UNUSABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)

UNPARSED = "unparsed"
"""The one argument of a call whose arguments were not a JSON object: their text."""

_COUNTS = ("attempts", "turns", "tokens_in", "tokens_out")
_LONGEST_REASON = 300
_LOOKED_AT = 10_000
_redactor = Redactor()

# A number of seconds beyond this is later than the year 5138: it counts smaller units.
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that was set aside because no trace could be read from it."""

    source: str
    """The file it stands in, or "records" when it was given as data."""
    position: int
    """Line of a JSON Lines file, else index in the list; from 1."""
    reason: str


def beyond(trace: Trace) -> str:
    """Why a trace cannot be counted: a number of it is out of range; empty when it can."""
    try:
        seconds_in(trace.latency_s, "latency_s")
        dollars_in(trace.cost_usd, "cost_usd")
        for name in _COUNTS:
            made = getattr(trace, name)
            if made is not None and (type(made) is not int or made < 0):  # most need no more
                count(made, name)
    except (TypeError, ValueError) as error:
        return reason_of(error)
    return ""


def told_aside(bad: Sequence[BadRecord]) -> str:
    """One line on the records that were set aside: how many, and where and why the first was."""
    first = bad[0]
    where = f"{first.source} {first.position}: " if first.position else ""
    records = "1 record was" if len(bad) == 1 else f"{len(bad):,} records were"
    return f"{records} set aside; the first: {where}{first.reason}"


@dataclass(frozen=True, slots=True)
class Context:
    """What a reader is told besides the record itself."""

    path: Path | None
    """The file the record stands in; None when it was given as data."""
    set_aside: Callable[[str], None]
    """Reports one unusable part of the record, by its reason; the rest is still read."""
    memo: dict[Path, Any] = field(default_factory=dict)
    """Kept for the whole run: what was learned from neighbouring files."""
    nameless: Counter[str] = field(default_factory=Counter)
    """Kept for the whole file: how many records without an id had a content, by its hash."""

    def id_of(self, record: Any) -> str:
        """Return the id of a record that has none: 16 hexadecimal digits, whatever its key order.

        They follow from its content, the name of its file, and, for the second of equal records
        and those after it, from how many came before: so each is a run of its own, and reading
        the file again, wherever it was moved to, gives the same ids.
        """
        content = content_hash(record)
        self.nameless[content] += 1
        name = self.path.name.removesuffix(".gz") if self.path else ""
        earlier = self.nameless[content] - 1
        return content_hash([content, name, earlier]) if name or earlier else content


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
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, AttributeError | TypeError) and "expected" not in line:
        line = f"it is not of the expected shape ({line})"  # Python's own words
    line = _redactor.text(line[:_LOOKED_AT])  # before the cut: half a key is still a secret
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def shown(value: Any, most: int = 40) -> str:
    """Return a value as an error may show it: in `most` characters, and without credentials."""
    line = _redactor.text(repr(value)[:_LOOKED_AT])
    return line if len(line) <= most else f"{line[: most - 1]}…"


def as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return an object; null is an empty one."""
    if type(value) is dict:  # nearly always, and much quicker to see than any mapping
        return value
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
    found = plain_number(value)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    raise TypeError(_wrong(name, value, "text"))


def json_text(value: Any) -> str | None:
    """Return text as it is, None for null, and anything else as its JSON."""
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:  # whole numbers beyond 64 bits, lone surrogates, keys that are no text
        return json.dumps(value, default=str)


def number(
    value: Any, name: str, *, least: float = -math.inf, most: float = math.inf
) -> float | None:
    """Return a finite number from `least` to `most`, or None for null.

    Text that holds a number is one. NaN, an infinity and empty text are unknown, as null is:
    they are what writers without a null put in its place.
    """
    if value is None or value == "":
        return None
    found = _from_text(value) if isinstance(value, str) else plain_number(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError(_wrong(name, value, "a number"))
    try:
        if not math.isfinite(found):
            return None
    except OverflowError:
        raise ValueError(_wrong(name, value, "a number below 1e308")) from None
    if found < least:
        raise ValueError(_wrong(name, value, f"a finite number of at least {least:g}"))
    if found > most:
        raise ValueError(_wrong(name, value, f"a number of at most {most:g}"))
    return found


def seconds_in(value: Any, name: str) -> float | None:
    """Return how long something took, or None for null.

    Raises:
        TypeError, ValueError: It is no number from 0 to `MAX_LATENCY_S`.
    """
    return number(value, name, least=0, most=MAX_LATENCY_S)


def dollars_in(value: Any, name: str) -> float | None:
    """Return what something cost, or None for null.

    Raises:
        TypeError, ValueError: It is no number from 0 to `MAX_COST_USD`.
    """
    return number(value, name, least=0, most=MAX_COST_USD)


def count(value: Any, name: str) -> int | None:
    """Return a whole number from 0, or None for null; 12.0 and "12" are 12."""
    expected = "a whole number of at least 0"
    try:
        found = number(value, name)
    except TypeError:
        raise TypeError(_wrong(name, value, expected)) from None
    if found is None:
        return None
    if found < 0 or int(found) != found:
        raise ValueError(_wrong(name, value, expected))
    return int(found)


def flag(value: Any, name: str) -> bool | None:
    """Return true or false, also from their names as text, or None for null.

    0 and 1 are refused: they may be scores.
    """
    found = plain_number(value)
    if found is None or isinstance(found, bool):
        return found
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise TypeError(_wrong(name, value, "true or false"))


def moment(value: Any, name: str) -> datetime | None:
    """Return a point in time in UTC from ISO 8601 text, a date or time since 1970; None for null.

    What has no offset is read as UTC: the machine that reads it may be in another zone.
    Time since 1970 is in seconds; where those would be past the year 5138, in milli-, micro-
    or nanoseconds, whichever gives the earliest date that fits.
    """
    try:
        # Eight digits are a date, more or fewer are time since 1970.
        if isinstance(value, str) and (len(value) == 8 or _from_text(value) is None):
            # RFC 3339 allows a small z, and databases write " UTC".
            return in_utc(datetime.fromisoformat(value.upper().removesuffix(" UTC")))
        found = plain_number(value)
        if isinstance(found, date):  # with a time of day or without
            return in_utc(datetime.fromisoformat(found.isoformat()))
        since = number(found, name)
        if since is None:
            return None
        unit = next((unit for least, unit in _UNITS if abs(since) >= least), 1)
        return datetime.fromtimestamp(since / unit, UTC)
    except (ArithmeticError, OSError, TypeError, ValueError):
        raise ValueError(_wrong(name, value, "ISO 8601 text or seconds since 1970")) from None


def arguments_of(value: Any) -> Mapping[str, Any]:
    """Return a call's arguments as an object, from an object or from its JSON text.

    What is no JSON object is kept as text, under the one name `UNPARSED`.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            parsed = json.loads(value, strict=False)
        except (ValueError, RecursionError):
            return {UNPARSED: value}
        if parsed is None:
            return {}  # so some models call a tool that takes none
        return parsed if isinstance(parsed, dict) else {UNPARSED: value}
    if type(value) is dict or isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    return {UNPARSED: json_text(value)}


def content_hash(record: Any) -> str:
    """Return the id of a record that has none: 16 hexadecimal digits, whatever its key order."""

    def plain(value: Any) -> Any:
        dump = getattr(value, "model_dump", None)
        return dump() if dump else str(value)

    content = json.dumps(record, sort_keys=True, ensure_ascii=False, default=plain)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


def is_gemini(record: Mapping[str, Any]) -> bool:
    """Whether it is a request to Gemini: its messages are `contents`, each made of parts."""
    said = record.get("contents")
    first = said[0] if isinstance(said, list) and said else None
    return isinstance(first, Mapping) and "parts" in first and "messages" not in record


def looks_said(value: Any) -> bool:
    """Whether it is a chat message, as JSON or as a LangChain object."""
    if isinstance(value, Mapping):
        kept = {"content", "data", "kwargs"}  # where the forms with a type keep what was said
        return "role" in value or ("type" in value and not kept.isdisjoint(value))
    return hasattr(value, "content") and hasattr(value, "type")


def _from_text(value: str) -> float | None:
    """Return the number that text is, whole where it is written so; None when it is none."""
    try:
        return int(value)
    except ValueError:
        try:
            return float(value)
        except ValueError:
            return None


def _wrong(name: str, value: Any, expected: str) -> str:
    return f"{name} is {shown(value)}, expected {expected}"
