"""Where the runs stand that are set aside because an earlier file has them."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracetune.errors import TraceError
from tracetune.traces.analytics.orders import Order
from tracetune.traces.analytics.parts import Part
from tracetune.traces.analytics.spool import placed, second
from tracetune.traces.analytics.views import Double
from tracetune.traces.readers.base import BadRecord

__all__ = ["told_doubles"]

_LOOKED_THROUGH = 64 << 20
"""Larger files are not read once more: of their runs the file is told, and no position."""


def told_doubles(
    doubles: Sequence[Double], parts: Sequence[Part], order: Order
) -> Iterator[BadRecord]:
    """Yield what is to be told of doubles, part by part, each with its file and position.

    Args:
        order: One that the parts' files were read by.
    """
    for part in parts:
        own = [(agent, id) for folder, agent, id in doubles if folder == str(part.folder)]
        if own:
            places = _places(own, part, order)
            for run in own:
                source, position = places.get(run, (part.files[0][0], 0))
                yield BadRecord(source, position, second(*run))


def _places(
    runs: Sequence[tuple[str, str]], part: Part, order: Order
) -> dict[tuple[str, str], tuple[str, int]]:
    """Return the file and the position of the runs in a part's files, as far as they are found."""
    wanted = set(runs)
    found: dict[tuple[str, str], tuple[str, int]] = {}
    if sum(size for _, size, _ in part.files) > _LOOKED_THROUGH:
        return found
    redactor = copy.copy(order.redactor)  # ids may hold what it takes out
    redactor.counts = Counter()
    for name, _, _ in part.files:
        traces = order.traces_of(Path(name), lambda _: None, redactor)
        with contextlib.suppress(OSError, TraceError):  # whoever read it before has told
            for source, position, trace in placed(traces, name):
                if (run := (trace.agent, trace.id)) in wanted:
                    found.setdefault(run, (source, position))
                    if len(found) == len(wanted):
                        return found
    return found
