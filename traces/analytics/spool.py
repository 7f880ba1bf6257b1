"""Canonical JSON Lines of traces, whatever they were read from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from tracetune.traces.analytics.sample import Sample
from tracetune.traces.model import Trace

__all__ = ["Spool", "line_of", "second"]

_COUNTS = ("attempts", "turns", "tokens_in", "tokens_out")


def line_of(trace: Trace) -> bytes:
    """The trace's canonical JSON, without a line end; unknown numbers such as NaN are null."""
    row = trace.to_dict()
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        # Lone surrogates and integers beyond 64 bits: orjson refuses both.
        text = json.dumps(row, default=str, ensure_ascii=False)
        return text.encode("utf-8", "replace")


def second(agent: str, id: str) -> str:
    """Why a run with an id that its agent has already is not taken: each would be the other."""
    return f"Two traces of agent {agent!r} have the id {id!r}; expected 1."


class Spool:
    """A file of traces, one a line, with a sample of them; a trace's id may come once per agent."""

    def __init__(self, path: Path, sample: Sample) -> None:
        self.path = path
        self.longest = 0
        self._sample = sample
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, traces: Iterable[Trace], refuse: Callable[[str], None]) -> None:
        """Append traces; `refuse` is told of what cannot be put into tables, and why."""
        with self.path.open("ab") as file:
            for trace in traces:
                if reason := self._against(trace):
                    refuse(reason)
                    continue
                line = line_of(trace)
                self.longest = max(self.longest, len(line))
                self._sample.add(line, trace.id, trace.agent, trace.success)
                file.write(line + b"\n")

    def _against(self, trace: Trace) -> str:
        for field in _COUNTS:
            value: Any = getattr(trace, field)
            if value is not None and not (isinstance(value, int) and abs(value) < 2**63):
                return f"{field} is {value!r:.40}, expected a whole number below 2^63."
        # 64 bits of each name, for there may be millions.
        name = f"{trace.agent}\0{trace.id}".encode("utf-8", "replace")
        seen = hashlib.blake2b(name, digest_size=8).digest()
        if seen in self._seen:
            return second(trace.agent, trace.id)
        self._seen.add(seen)
        return ""
