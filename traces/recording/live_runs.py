"""The runs that go on, and what each of the runs within them belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langgraph.errors import GraphInterrupt
from langgraph.types import Command

from tracetune.traces.recording.live_run import LiveRun

__all__ = ["LiveRuns"]

_PAUSED = 1000
"""Paused runs that are kept in mind; beyond them the oldest ends as it stands."""

_CUT = 1000
"""Runs in which nothing is recorded: what a cancelled run left behind, edits of a state."""


class LiveRuns:
    """All runs that go on or pause; one thread at a time calls it."""

    def __init__(self) -> None:
        self.ended: list[LiveRun] = []
        """Outermost runs that are over; the caller takes them away."""
        self._runs: dict[UUID, LiveRun] = {}
        self._paused: dict[str, LiveRun] = {}
        self._cut: dict[UUID, None] = {}

    def get(self, run_id: UUID | None) -> LiveRun | None:
        """Return the outermost run that one belongs to."""
        return self._runs.get(run_id) if run_id else None

    def named(self, id: str) -> LiveRun | None:
        """Return the outermost run with that id, also one that pauses."""
        live = (*self._runs.values(), *self._paused.values())
        return next((run for run in live if id in run.runs), None)

    def leave_paused(self) -> None:
        """End all that pause: nobody will resume them."""
        while self._paused:
            self._left(next(iter(self._paused)))

    def forget_paused(self) -> None:
        """Leave all that pause to somebody else."""
        self._paused.clear()

    def enter(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        inputs: Any,
        name: str | None,
        metadata: Mapping[str, Any],
    ) -> LiveRun | None:
        """Return the outermost run that one belongs to; None if there is nothing to record."""
        if run_id in self._runs:  # the recorder was passed twice
            return None
        run = self._runs.get(parent_run_id) if parent_run_id else None
        if run is None and (parent_run_id in self._cut or _edits_state(name, metadata)):
            self._cut_off(run_id)
            return None
        if run is None:
            run = self._begin(run_id, inputs, name, metadata)
        self._runs[run_id] = run
        run.going.add(run_id)
        return run

    def join(self, run_id: UUID, parent_run_id: UUID | None) -> None:
        """Take what is no run by itself: what begins in it belongs where it does."""
        if parent_run_id in self._runs or parent_run_id in self._cut:
            self.enter(run_id, parent_run_id, None, None, {})

    def _begin(
        self, run_id: UUID, inputs: Any, name: str | None, metadata: Mapping[str, Any]
    ) -> LiveRun:
        """Return the run that begins, or goes on after a pause."""
        thread = metadata.get("thread_id")
        paused = None if thread is None else self._paused.pop(str(thread), None)
        if paused is not None:
            if inputs is None or isinstance(inputs, Command):
                paused.resumed(str(run_id))
                return paused
            paused.left_paused()
            self.ended.append(paused)
        run = LiveRun(str(run_id), name, metadata)
        run.asked(inputs)
        return run

    def end(self, run_id: UUID, outputs: Any = None) -> None:
        """Take that a run has ended; an outermost one is over, or pauses."""
        if (run := self._leave(run_id)) is not None:
            run.ended(outputs)
            self._pause(run) if run.paused else self.ended.append(run)

    def fail(self, run_id: UUID, error: BaseException) -> None:
        """Take that a run has raised; an outermost one is over, or pauses."""
        if isinstance(error, GraphInterrupt) and (within := self._runs.get(run_id)):
            within.asks = True
        if (run := self._leave(run_id)) is None:
            return
        if run.asks and isinstance(error, GeneratorExit):  # a stream, left where it asked a person
            run.ended(None)
            self._pause(run)
            return
        run.failed(error)
        self.ended.append(run)

    def _leave(self, run_id: UUID) -> LiveRun | None:
        """Forget a run that is over, and return it if it was an outermost one."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.going.discard(run_id)
        if run is None or str(run_id) not in run.runs:
            return None
        for id in run.going:  # they were cut off, and their end may never be told
            self._cut_off(id)
            self._runs.pop(id, None)
        run.going.clear()
        return run

    def _cut_off(self, run_id: UUID) -> None:
        self._cut[run_id] = None
        if len(self._cut) > _CUT:
            del self._cut[next(iter(self._cut))]

    def _pause(self, run: LiveRun) -> None:
        if run.thread is None:  # without a thread nobody can resume it
            run.left_paused()
            self.ended.append(run)
            return
        if run.thread in self._paused:  # two ran at once
            self._left(run.thread)
        self._paused[run.thread] = run
        if len(self._paused) > _PAUSED:
            self._left(next(iter(self._paused)))

    def _left(self, thread: str) -> None:
        run = self._paused.pop(thread)
        run.left_paused()
        self.ended.append(run)


def _edits_state(name: str | None, metadata: Mapping[str, Any]) -> bool:
    # `update_state` has callbacks told of itself, under the graph's name and this; but an agent may
    # have such a name of its own. Within a node the metadata are those of the graph around it.
    graph = metadata.get("ls_integration") == "langgraph" and "langgraph_node" not in metadata
    runs = graph or name == metadata.get("lc_agent_name")
    return (name or "").endswith("UpdateState") and "thread_id" in metadata and not runs
