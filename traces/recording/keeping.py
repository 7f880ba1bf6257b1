"""What becomes of a run that has ended: redacted, held for its outcome, given to the sink."""

from __future__ import annotations

import dataclasses
import logging
import threading

from tracetune.errors import NotFoundError
from tracetune.traces.model import Trace
from tracetune.traces.recording.live_parts import Outcome
from tracetune.traces.recording.live_run import LiveRun
from tracetune.traces.recording.sinks import Sink, StoreSink
from tracetune.traces.redaction import Redactor

__all__ = ["Keeper"]

_LONGEST_LABEL = 300

_REASONS = 100
"""Distinct reasons that are logged; a reason may name a run."""

_log = logging.getLogger(__name__)


class Keeper:
    """Keeps the traces of one agent's runs. Any thread may call it, and nothing it does raises,
    but for `outcome`, which is the user's own call."""

    def __init__(
        self, sink: Sink, agent: str, release: str | None, redactor: Redactor, hold: int
    ) -> None:
        self.redactor = redactor
        self.recorded = 0
        self.dropped = 0
        self._sink = sink
        self._agent = agent
        self._release = release
        self._hold = hold
        self._held: dict[str, Trace] = {}
        self._reasons: set[str] = set()
        self._lock = threading.RLock()  # a recorder may be collected anywhere, and lets go then

    def finish(self, run: LiveRun) -> None:
        """Keep a run, or hold it until its outcome is known."""
        try:
            trace = _shortened(self.redactor.trace(run.trace(self._agent, self._release)))
        except Exception as error:  # foreign messages may hold anything
            self.fault(f"{type(error).__name__}: {error}")
            return
        over: Trace | None = trace
        if self._hold and run.outcome == Outcome():
            with self._lock:
                self._held[trace.id] = trace
                full = len(self._held) > self._hold
                over = self._held.pop(next(iter(self._held))) if full else None
        if over is not None:
            self._write(over)

    def outcome(self, id: str, known: Outcome) -> None:
        """Add what became known of an ended run.

        Raises:
            NotFoundError: It is not held, and what was written cannot change.
        """
        with self._lock:
            held = self._held.pop(id, None)
        if held is not None:
            self._write(self.redactor.trace(known.on(held)))
        elif isinstance(self._sink, StoreSink):
            self._sink.amend(
                self._agent, id, lambda t: self.redactor.trace(known.on(t)), self._unchanged
            )
        else:
            raise NotFoundError(
                f"Run {id} neither goes on nor is held (hold is {self._hold}), and what was"
                " written stays as it is."
            )

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until the sink has all; False when the time was not enough."""
        return self._sink.flush(timeout_s)

    def let_go(self) -> None:
        """Give the sink what is held."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
        for trace in held:
            self._write(trace)

    def forked(self) -> None:
        """Begin anew in a child process, without what the parent holds."""
        self._lock, self._held = threading.RLock(), {}
        self._sink.forked()

    def fault(self, reason: str) -> None:
        """Count what could not be recorded, and log its reason once."""
        reason = self.redactor.text(reason)  # it may show a login, and is cut when it is logged
        with self._lock:
            self.dropped += 1
            new = reason not in self._reasons and len(self._reasons) < _REASONS
            if new:
                self._reasons.add(reason)
        if new:
            _log.warning("Not all of agent %r was recorded: %.300s", self._agent, reason)

    def _write(self, trace: Trace) -> None:
        with self._lock:
            self.recorded += 1
        self._sink.write(trace, self._lost)

    def _lost(self, id: str, error: Exception) -> None:
        with self._lock:
            self.recorded -= 1
        self._unchanged(id, error)

    def _unchanged(self, id: str, error: Exception) -> None:
        self.fault(f"{type(error).__name__}: {error}")


def _shortened(trace: Trace) -> Trace:
    """Cut long labels; not before redaction, which knows no half of a secret."""
    labels = {name: text[:_LONGEST_LABEL] for name, text in trace.labels.items()}
    return dataclasses.replace(trace, labels=labels)
