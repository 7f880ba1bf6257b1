"""One large file read by several processes: orders for its pieces, and their answers joined."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tracetune.traces.analytics.parts import Stamp, stamp
from tracetune.traces.analytics.sample import has_feedback
from tracetune.traces.analytics.spool import Lined, line_of
from tracetune.traces.model import Trace
from tracetune.traces.pieces import Piece, Seen, pieces_of, read_piece
from tracetune.traces.read import silence
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

__all__ = ["PieceOrder", "PieceRead", "joined", "piece_orders", "tells_the_same"]

_AT_END = None
"""Stands between what was told while lines were read, and what of traces that were still open."""


@dataclass(frozen=True, slots=True)
class PieceOrder:
    """A piece of a file to be read into a file of events; it can be sent to another process."""

    piece: Piece
    settings: Mapping[str, Any]
    """`format`, `mapping` and `strict` of `read_traces`."""
    redactor: Redactor
    events: Path
    cut: Stamp
    """Of the file, before it was cut."""

    @property
    def name(self) -> str:
        """What is read, for people."""
        return str(self.piece.path)

    def answer(self) -> PieceRead:
        """Read the piece.

        Raises:
            TraceError, OSError: The file cannot be read.
        """
        seen, bad = Seen(), 0
        redactor = copy.copy(self.redactor)
        redactor.counts = Counter()
        with self.events.open("wb") as file:

            def set_aside(one: BadRecord) -> None:
                nonlocal bad
                bad += 1
                pickle.dump((one.position, one.reason), file)

            traces = read_piece(
                self.piece,
                seen,
                format=self.settings["format"],
                mapping=self.settings["mapping"],
                redactor=redactor,
                on_bad=set_aside,
                at_end=lambda: pickle.dump(_AT_END, file),
            )
            for position, trace in traces:
                pickle.dump(tuple(_lined(trace, position)), file)
        return PieceRead(self, seen, redactor.counts, bad)


@dataclass(frozen=True, slots=True)
class PieceRead:
    """What became of an order."""

    order: PieceOrder
    seen: Seen
    redacted: Counter[str]
    set_aside: int


def piece_orders(
    path: Path, count: int, settings: Mapping[str, Any], redactor: Redactor, folder: Path
) -> list[PieceOrder]:
    """Orders for up to `count` pieces of a file, whose events go into a folder; none or several."""
    cut = stamp(path)
    pieces = pieces_of(path, count, format=settings["format"], mapping=settings["mapping"])
    return [
        PieceOrder(piece, settings, redactor, folder / f"{piece.start}.events", cut)
        for piece in pieces
    ]


def tells_the_same(reads: Sequence[PieceRead]) -> bool:
    """Whether the pieces give what the whole file, as it is now, would."""
    keys: set[str] = set()
    for read in reads:
        strict = read.order.settings["strict"] and read.set_aside
        changed = stamp(read.order.piece.path) != read.order.cut
        if strict or changed or not read.seen.formats <= {read.order.piece.format}:
            return False
        if not keys.isdisjoint(read.seen.keys):
            return False
        keys |= read.seen.keys
    return True


def joined(
    reads: Sequence[PieceRead], on_bad: Callable[[BadRecord], None], redactor: Redactor
) -> Iterator[Lined]:
    """Yield the traces of all pieces, and tell what was set aside, as one process would."""
    for read in reads:
        redactor.counts.update(read.redacted)
    lines = 0
    rests: list[tuple[PieceRead, int, IO[bytes]]] = []
    try:
        for read in reads:
            file = read.order.events.open("rb")
            rests.append((read, lines, file))
            yield from _told(read, lines, file, on_bad)
            lines += read.seen.lines
        for read, before, rest in rests:
            yield from _told(read, before, rest, on_bad)
            read.order.events.unlink()
    finally:
        for _, _, rest in rests:
            rest.close()
    _tell_what_is_silent(reads)


def _told(
    read: PieceRead, before: int, file: IO[bytes], on_bad: Callable[[BadRecord], None]
) -> Iterator[Lined]:
    """Yield the traces up to the end of the lines, or of the events."""
    while True:
        try:
            event = pickle.load(file)
        except EOFError:
            return
        if event is _AT_END:
            return
        if len(event) == 2:
            position, reason = event
            on_bad(BadRecord(read.order.name, before + position, reason))
        else:
            lined = Lined(*event)
            yield lined._replace(position=before + lined.position)


def _lined(trace: Trace, position: int) -> Lined:
    return Lined(
        line_of(trace),
        trace.agent,
        trace.id,
        trace.success,
        has_feedback(trace),
        trace.attempts,
        trace.turns,
        trace.tokens_in,
        trace.tokens_out,
        position,
    )


def _tell_what_is_silent(reads: Sequence[PieceRead]) -> None:
    told = [read.seen for read in reads if read.seen.rows]
    if told:
        rows = sum(seen.rows for seen in told)
        for field in sorted(set.intersection(*(seen.silent for seen in told))):
            silence(told[0].mapping, field, rows)
