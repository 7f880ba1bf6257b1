"""A LangChain callback that records each run of an agent as a trace."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent
from typing_extensions import override

from tracetune.errors import InputError
from tracetune.traces.model import Trace
from tracetune.traces.recording.keeping import Keeper
from tracetune.traces.recording.lifetime import at_last, watch
from tracetune.traces.recording.live_parts import Outcome
from tracetune.traces.recording.live_runs import LiveRuns
from tracetune.traces.recording.sinks import sink_of
from tracetune.traces.redaction import Redactor

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

__all__ = ["TraceRecorder"]

Event = TypeVar("Event", bound=Callable[..., None])


def _guarded(event: Event) -> Event:
    """Keep what goes wrong in a callback away from the agent."""

    @functools.wraps(event)
    def guarded(self: TraceRecorder, *args: Any, **kwargs: Any) -> None:
        try:
            with self._lock:
                event(self, *args, **kwargs)
                ended, self._runs.ended = self._runs.ended, []
            for run in ended:
                self._keeper.finish(run)
        except Exception as error:
            self._keeper.fault(f"{event.__name__}: {type(error).__name__}: {error}")

    return cast(Event, guarded)


class TraceRecorder(GraphCallbackHandler):
    """Records each run of an agent as a trace: pass it in the `callbacks` of the run's config.

    One trace per outermost run, whether it is invoked or streamed, sync or async; a recorder may
    serve many runs at once, in tasks and in threads. Steps of other agents that work in the run
    carry their names. It never changes the run and never fails it: what cannot be recorded is
    counted in `dropped` and logged, once per reason.

    The trace's id is the run's id. Its task is `task` of the run's metadata. A run that raised has
    failed, unless a model's host refused, which `failure_kind` says; of any other, whether it
    succeeded is unknown: see `outcome`. A run that pauses for a person is recorded when it has
    been resumed and has ended, as one trace, without the time it waited.

    Args:
        sink: A path of a file of JSON Lines to append to, which threads and processes may share;
            a LangGraph store; or a function that is called with each trace.
        agent: Whose runs these are.
        release: The release they run under, where no `TunedPrompt` and no `stamp` says.
        redactor: Takes secrets out before anything is kept; None for one that takes credentials
            only, `Redactor.off()` for none.
        hold: How many ended runs wait in memory for their `outcome`; beyond them the oldest is
            recorded as it stands.

    Raises:
        InputError: The sink is none of these, the agent has no name, or `hold` is negative.
    """

    run_inline = True  # in the event loop, in the order of the events

    def __init__(
        self,
        sink: str | os.PathLike[str] | BaseStore | Callable[[Trace], object],
        *,
        agent: str,
        release: str | None = None,
        redactor: Redactor | None = None,
        hold: int = 0,
    ) -> None:
        super().__init__()
        if not agent or hold < 0:
            raise InputError(f"agent is {agent!r} and hold {hold!r}, expected a name and 0 or more")
        self._keeper = Keeper(sink_of(sink), agent, release, redactor or Redactor(), hold)
        self._lock = threading.Lock()
        self._runs = LiveRuns()
        self._at_exit = watch(self)

    @property
    def recorded(self) -> int:
        """Traces given to the sink so far."""
        return self._keeper.recorded

    @property
    def dropped(self) -> int:
        """Traces, or events of runs, that could not be recorded."""
        return self._keeper.dropped

    @property
    def redactor(self) -> Redactor:
        """What takes the secrets out; its `counts` say how many."""
        return self._keeper.redactor

    def outcome(
        self,
        run_id: UUID | str,
        *,
        success: bool | None = None,
        score: float | None = None,
        feedback: str | Mapping[str, Any] | None = None,
    ) -> None:
        """Say how a run went, as soon as it is known: it becomes part of the run's trace.

        Possible while the run goes on, pauses or waits (`hold`), and with a store at any time
        later. A line that stands in a file, or a trace that a function was given, stays as it is.

        Args:
            run_id: Id of the outermost run, as its caller set it in the config.
            success: True or false, also as text; 1 and 0 are refused: they may be scores.
            score: A number.

        Raises:
            InputError: A value is none of its kind; nothing was recorded.
            NotFoundError: The run is not known, or was recorded already where that cannot change.
        """
        id = str(run_id)
        known = Outcome.of({"success": success, "score": score, "feedback": feedback})
        with self._lock:
            run = self._runs.named(id)
            if run is not None:
                run.outcome = known.after(run.outcome)
        if run is None:
            self._keeper.outcome(id, known)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until a store has all that was recorded; False when the time was not enough."""
        return self._keeper.flush(timeout_s)

    async def aflush(self, timeout_s: float | None = None) -> bool:
        """Do what `flush` does, without blocking the event loop."""
        return await asyncio.to_thread(self.flush, timeout_s)

    def close(self) -> None:
        """Record what still waits: for its outcome, or for a person. Python does so at its end."""
        self._record_what_waits()
        self._keeper.flush(None)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # its arguments may have been refused
            atexit.unregister(self._at_exit)
            at_last(self._record_what_waits)

    def _record_what_waits(self) -> None:
        with self._lock:
            self._runs.leave_paused()
            ended, self._runs.ended = self._runs.ended, []
        for run in ended:
            self._keeper.finish(run)
        self._keeper.let_go()

    def forked(self) -> None:
        """Begin anew in a child process: what waits is the parent's, and no lock is ever freed."""
        self._lock = threading.Lock()
        self._runs.forget_paused()
        self._keeper.forked()

    @override
    @_guarded
    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        told = metadata or {}
        run = self._runs.enter(run_id, parent_run_id, inputs, kwargs.get("name"), told)
        if run is not None and str(parent_run_id) in run.runs:
            run.stepped(told)

    @override
    @_guarded
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._runs.end(run_id, outputs)

    @override
    @_guarded
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._runs.fail(run_id, error)

    @override
    @_guarded
    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        run = self._runs.get(event.run_id)
        if run is not None and str(event.run_id) in run.runs:
            run.paused = True

    @override
    @_guarded
    def on_chat_model_start(
        self,
        serialized: Any,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._model_called(messages[0], run_id, parent_run_id, metadata or {})

    @override
    @_guarded
    def on_llm_start(
        self,
        serialized: Any,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._model_called([HumanMessage(prompts[0])], run_id, parent_run_id, metadata or {})

    @override
    @_guarded
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.get(run_id)
        if run is None or not response.generations or not response.generations[0]:
            return
        said = response.generations[0][0]
        message = said.message if isinstance(said, ChatGeneration) else AIMessage(said.text)
        run.model_answered(message, run.metadata.pop(run_id, {}))
        self._runs.end(run_id)

    @override
    @_guarded
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        if (run := self._runs.get(run_id)) is not None:
            run.model_failed(run.metadata.pop(run_id, {}))
        self._runs.fail(run_id, error)

    @override
    @_guarded
    def on_tool_start(
        self,
        serialized: Any,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        told = metadata or {}
        name = kwargs.get("name") or (serialized or {}).get("name") or "tool"
        run = self._runs.enter(run_id, parent_run_id, None, name, told)
        if run is None:
            return
        call = str(kwargs.get("tool_call_id") or run_id)
        run.tool_began(run_id, call, name, input_str if inputs is None else inputs, told)

    @override
    @_guarded
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        if (run := self._runs.get(run_id)) is None:
            return
        run.tool_ended(run_id, output)
        self._runs.end(run_id)

    @override
    @_guarded
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        if (run := self._runs.get(run_id)) is None:
            return
        run.tool_failed(run_id, error)
        self._runs.fail(run_id, error)

    @override
    @_guarded
    def on_retriever_start(
        self,
        serialized: Any,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._runs.join(run_id, parent_run_id)  # some ask a model

    @override
    @_guarded
    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._runs.end(run_id)

    @override
    @_guarded
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._runs.fail(run_id, error)

    def _model_called(
        self,
        messages: list[BaseMessage],
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Mapping[str, Any],
    ) -> None:
        run = self._runs.enter(run_id, parent_run_id, messages, None, metadata)
        if run is None:
            return
        run.metadata[run_id] = metadata
        run.model_called(messages, metadata)
