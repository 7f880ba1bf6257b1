"""The traces of a Stratus checkout."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tracetune.dropin.stratus_layout import AGENTS
from tracetune.errors import TraceError
from tracetune.traces.readers.base import BadRecord, told_aside

if TYPE_CHECKING:
    from tracetune.traces.model import Trace

__all__ = ["Survey", "TraceFolder", "survey"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)  # not frozen: callers point it at a run's own folder
class TraceFolder:
    """Where the traces lie."""

    storage_dir: Path | str
    """A folder with all below it; a relative one starts at the checkout."""
    root: Path = field(default_factory=Path)

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self.root / Path(self.storage_dir).expanduser()

    def load_traces(self, include_historical: bool = False) -> list[Trace]:
        """Return the runs that lie there; none where there is no such folder.

        Args:
            include_historical: No effect, as in Stratus: all that lies there is read.
        """
        from tracetune.traces.read import read_traces

        try:
            return list(read_traces(self.path, on_bad=lambda _: None))
        except TraceError as error:
            _log.warning("No traces: %s", error)
            return []


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a folder of traces; a second run of the same id counts once."""

    runs: Counter[str]
    """By agent."""
    failed: set[str]
    """Agents with a run that failed, and not for the user's or the infrastructure's sake."""
    notes: list[str]
    """Why nothing can be read, or be learned from what is."""


def survey(path: Path) -> Survey:
    """Look at the runs that lie there, in one pass."""
    from tracetune.traces.read import read_traces

    seen: set[tuple[str, str]] = set()
    failed: set[str] = set()
    notes: list[str] = []
    bad: list[BadRecord] = []
    known = False
    try:
        for trace in read_traces(path, on_bad=bad.append):
            if trace.agent not in AGENTS:
                continue
            seen.add((trace.agent, trace.id))
            known = known or trace.success is not None
            if trace.success is False and trace.failure_kind in ("agent", "unknown"):
                failed.add(trace.agent)
    except TraceError as error:
        notes.append(str(error))
    if bad and not seen:  # else the cycle tells of them
        notes.append(told_aside(bad))
    if seen and not known:
        notes.append(f"How they ended is known of none of the {len(seen)} runs.")
    return Survey(Counter(agent for agent, _ in seen), failed, notes)
