"""Canonical JSON Lines of traces, whatever they were read from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from tracetune.errors import TraceError
from tracetune.traces.analytics.sample import Sample, has_feedback
from tracetune.traces.model import Trace
from tracetune.traces.read import ReadTraces, given_traces
from tracetune.traces.readers.base import UNUSABLE, BadRecord, beyond, reason_of, told_aside
from tracetune.traces.readers.canonical import trace_of

__all__ = ["Admission", "Lined", "Placed", "Refusals", "Spool", "line_of", "placed", "second"]

_log = logging.getLogger(__name__)

_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_COUNTS = ("attempts", "turns", "tokens_in", "tokens_out")


class Lined(NamedTuple):
    """A trace that another process made a line of."""

    line: bytes
    agent: str
    id: str
    success: bool | None
    commented: bool
    attempts: int | None
    turns: int | None
    tokens_in: int | None
    tokens_out: int | None
    position: int
    """In its file."""


Placed = tuple[str, int, Trace | Lined]
"""A trace, after its source and its position there, as those of a `BadRecord`."""


def placed(traces: Iterable[Trace | Lined], source: str = "records") -> Iterator[Placed]:
    """Yield the traces with where each stands: its place among them, where no reader knows.

    Raises:
        TraceError: They are no traces.
    """
    for index, trace in enumerate(given_traces(traces, (Trace, Lined)), 1):
        if isinstance(trace, Lined):
            yield source, trace.position, trace
        elif isinstance(traces, ReadTraces):
            yield *traces.place, trace
        else:
            yield source, index, trace


def line_of(trace: Trace) -> bytes:
    """The trace's canonical JSON, without a line end; unknown numbers such as NaN are null."""
    row = trace.to_dict()
    try:
        return orjson.dumps(row, default=str, option=_JSON)
    except (TypeError, orjson.JSONEncodeError):
        # Lone surrogates and integers beyond 64 bits: orjson refuses both.
        plain = json.loads(json.dumps(row, default=str), parse_constant=lambda _: None)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")


def _unreadable(line: bytes) -> str:
    """Why no trace can be read back from a line, as from one with words for a number; or empty."""
    from tracetune.traces.analytics.direct import decoded

    try:
        decoded(line)
    except (RecursionError, ValueError):  # it may still be one, in values of other types
        try:
            trace_of(orjson.loads(line))
        except UNUSABLE as error:
            return reason_of(error)
    return ""


def second(agent: str, id: str) -> str:
    """Why a run with an id that its agent has already is not taken: each would be the other."""
    return f"Two traces of agent {agent!r} have the id {id!r}; expected 1."


class Admission:
    """Which traces can be counted: a trace's id may come once per agent."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def against(self, trace: Trace | Lined) -> str:
        """Why the trace cannot be counted; empty when it can, and is."""
        if isinstance(trace, Trace) and (reason := beyond(trace)):
            return f"{trace.id}: {reason}"
        for field in _COUNTS:
            value: Any = getattr(trace, field)
            if value is not None and not (isinstance(value, int) and abs(value) < 2**63):
                return f"{field} is {value!r:.40}, expected a whole number below 2^63."
        if (name := _name_of(trace)) in self._seen:
            return second(trace.agent, trace.id)
        self._seen.add(name)
        return ""

    def take_back(self, trace: Trace | Lined) -> None:
        """Forget a trace that could not be used after all: another may have its id."""
        self._seen.discard(_name_of(trace))


def _name_of(trace: Trace | Lined) -> bytes:
    # 64 bits of each name, for there may be millions.
    name = f"{trace.agent}\0{trace.id}".encode("utf-8", "replace")
    return hashlib.blake2b(name, digest_size=8).digest()


class Refusals:
    """Traces in hand that cannot be counted; at the end one warning says how many they are."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._refused: list[BadRecord] = []

    @classmethod
    def of(cls, traces: Iterable[Trace], *, strict: bool = False) -> Refusals:
        """Those of traces; none may be refused where they are read strictly."""
        return cls(strict=strict or (isinstance(traces, ReadTraces) and traces.strict))

    def add(self, bad: BadRecord) -> None:
        """Refuse a trace.

        Raises:
            TraceError: None may be refused.
        """
        if self._strict:
            raise TraceError(f"{bad.source}:{bad.position}: {bad.reason}")
        self._refused.append(bad)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._refused:
            _log.warning("%s", told_aside(self._refused))


class Spool:
    """A file of traces, one a line, with a sample of them."""

    def __init__(self, path: Path, sample: Sample) -> None:
        self.path = path
        self.longest = 0
        self._sample = sample
        self._admission = Admission()

    def __len__(self) -> int:
        return len(self._admission)

    def add(self, traces: Iterable[Placed], refuse: Callable[[BadRecord], None]) -> None:
        """Append traces; `refuse` is told of what cannot be put into tables, and why."""
        with self.path.open("ab") as file:
            for source, position, trace in traces:
                if reason := self._admission.against(trace):
                    refuse(BadRecord(source, position, reason))
                    continue
                if isinstance(trace, Lined):
                    line, commented = trace.line, trace.commented
                else:
                    line, commented = line_of(trace), has_feedback(trace)
                    if reason := _unreadable(line):
                        self._admission.take_back(trace)
                        refuse(BadRecord(source, position, f"{trace.id}: {reason}"))
                        continue
                self.longest = max(self.longest, len(line))
                self._sample.add(line, trace.id, trace.agent, trace.success, commented=commented)
                file.write(line + b"\n")
