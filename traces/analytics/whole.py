"""The runs of tables that are kept whole, as traces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson

from tracetune.traces.analytics.sample import bounds
from tracetune.traces.analytics.views import Asked, rows_of
from tracetune.traces.failures import failure_kind_of
from tracetune.traces.model import Trace
from tracetune.traces.readers.canonical import trace_of
from tracetune.traces.redaction import Redactor

__all__ = ["whole_runs"]


def whole_runs(
    db: Asked,
    redactor: Redactor,
    agent: str,
    ids: Sequence[str] | None = None,
    *,
    commented: bool = False,
) -> Iterator[Trace]:
    """Yield an agent's runs that are kept whole, lowest marks first, as many as `bounds` says.

    Args:
        ids: Those with these ids, however many.
        commented: Those with feedback.
    """
    most, most_bytes = bounds(commented=commented)
    spent: dict[bool | None, list[int]] = {}
    asked = {"agent": agent, "ids": ids, "commented": commented}
    for row in rows_of(db, "kept_runs", asked):
        count = spent.setdefault(row["success"], [0, 0])
        count[0] += 1
        count[1] += len(row["line"].encode())
        if ids is not None or (count[0] <= most and count[1] <= most_bytes):
            trace = redactor.trace(trace_of(orjson.loads(row["line"])))
            kind = failure_kind_of(trace)
            yield trace if kind == trace.failure_kind else replace(trace, failure_kind=kind)
