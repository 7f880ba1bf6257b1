"""One run as it happens: what callbacks tell of it, gathered into a trace."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.errors import GraphBubbleUp

from tracetune.traces.failures import judged
from tracetune.traces.model import Message, Thought, Trace
from tracetune.traces.readers.blocks import flat
from tracetune.traces.recording.live_calls import LiveCall, LiveCalls
from tracetune.traces.recording.live_parts import (
    Heard,
    Outcome,
    Stamps,
    chat_in,
    end_of,
    labels_of,
    plain,
    reason,
    spoken_in,
    steps_told,
    text_of,
    tool_message,
)
from tracetune.traces.recording.live_turns import Turns

__all__ = ["LiveRun"]

_TASKS = ("tracetune_task", "task")
_CREATED = "langchain_create_agent"


class LiveRun:
    """A run of an agent, from its first event to its trace; one thread at a time calls it."""

    def __init__(self, id: str, name: str | None, metadata: Mapping[str, Any]) -> None:
        self.id = id
        self.runs = {id}
        """Ids of the outermost run, and of those that went on with it after a pause."""
        self.going: set[UUID] = set()
        """Runs within it, and itself, that have not ended."""
        self.metadata: dict[UUID, Mapping[str, Any]] = {}
        """Of the models that are at work."""
        self.calls: dict[UUID, LiveCall] = {}
        """Of the tools that are at work."""
        self.paused = self.asks = False
        """Whether it pauses, and whether something in it asked a person since it began."""
        self.outcome = Outcome()
        self._metadata = dict(metadata)
        self._started_at = datetime.now(UTC)
        self._began: float | None = time.perf_counter()
        self._active_s = 0.0
        self._own = {name, metadata.get("lc_agent_name")} - {None}
        self._created = metadata.get("ls_integration") == _CREATED
        self._steps: list[Message | Thought | LiveCall] = []
        self._calls = LiveCalls()
        self._heard = Heard()
        self._waiting: list[Message] = []
        self._answers: set[str] = set()
        self._foreign: set[str] = set()
        self._tokens: list[tuple[int, int]] = []
        self._stamps = Stamps()
        self._turns = Turns()
        self._labels: dict[str, str] = {}
        self._stamps.take(metadata)

    @property
    def thread(self) -> str | None:
        """The thread it belongs to, when there is one."""
        thread = self._metadata.get("thread_id")
        return None if thread is None else str(thread)

    def asked(self, inputs: Any) -> None:
        """Take the input: what users said in it since the last answer."""
        for message in self._since_foreign(chat_in(inputs)):
            if isinstance(message, HumanMessage):
                text = flat(message.content)
                self._waiting.append(Message("user", text))
                if message.id is None:
                    self._heard.unnamed.append(text)
                else:
                    self._heard.ids.add(message.id)

    def stepped(self, metadata: Mapping[str, Any]) -> None:
        """Take a step of the graph itself."""
        if isinstance(step := metadata.get("langgraph_step"), int):
            self._turns.stepped(step)

    def resumed(self, id: str) -> None:
        """Go on after a pause."""
        self.runs.add(id)
        self.paused = self.asks = False
        self._turns.resumed()
        self._began = time.perf_counter()

    def model_called(self, messages: list[BaseMessage], metadata: Mapping[str, Any]) -> None:
        """Take what a model is given, as far as it is new."""
        agent = self._agent(metadata)
        self._stamps.take(metadata, by_prompt=not self._stamps.has(metadata))
        self._turns.called(self._stamps.agent_on(metadata))
        if model := metadata.get("ls_model_name"):
            self._labels.setdefault("model", str(model))
        self._heard.at_once.clear()
        for message in messages:
            if isinstance(message, SystemMessage):
                self._hear(message, "system", agent)
        self._flush()
        new = self._since_foreign(messages)
        for message in new:
            if isinstance(message, HumanMessage):
                self._hear(message, "user", agent)
        self._answered(new, agent)

    def model_failed(self, metadata: Mapping[str, Any]) -> None:
        """Take that a model raised."""
        self._turns.failed(self._stamps.agent_on(metadata))

    def model_answered(self, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
        """Take what a model said: thoughts, text, tool calls."""
        self._flush()
        agent = self._agent(metadata)
        if message.id:
            self._answers.add(message.id)
        self._stamps.take(message.response_metadata, by_prompt=True)
        thoughts, text = spoken_in(message)
        if text:
            self._answers.add(text)
        self._steps += [Thought(thought, agent) for thought in thoughts]
        if text:
            self._steps.append(Message("assistant", text, agent))
        if not isinstance(message, AIMessage):
            return
        if usage := message.usage_metadata:
            self._tokens.append((usage["input_tokens"], usage["output_tokens"]))
        for call in message.tool_calls:
            self._call(call["id"], call["name"], plain(call["args"]), agent)
        for bad in message.invalid_tool_calls:
            named = self._call(bad["id"], bad["name"] or "", {"unparsed": bad["args"]}, agent)
            named.error = bad["error"] or "its arguments are no JSON object"

    def tool_began(
        self, run_id: UUID, id: str, name: str, inputs: Any, metadata: Mapping[str, Any]
    ) -> None:
        """Take the start of a tool; `id` is that of the model's call or, without, of its run."""
        self._flush()
        arguments = plain(inputs) if isinstance(inputs, Mapping) else {"input": plain(inputs)}
        call = self._calls.beginning(id, name, arguments)
        if call is None:
            call = self._call(id, name, arguments, self._agent(metadata))
        elif isinstance(inputs, Mapping):  # a person may have changed what the model asked for
            call.name, call.arguments = name, arguments
        self.calls[run_id] = call
        call.result = call.error = None  # it may run anew, after a pause or a retry
        call.began = time.perf_counter()
        call.started_at = call.started_at or datetime.now(UTC)

    def tool_ended(self, run_id: UUID, output: Any) -> None:
        """Take what a tool gave back."""
        if call := self.calls.pop(run_id, None):
            self._end(call, output)

    def tool_failed(self, run_id: UUID, error: BaseException) -> None:
        """Take what a tool raised; one that waits for a person will run anew."""
        call = self.calls.pop(run_id, None)
        if call is None:
            return
        if isinstance(error, GraphBubbleUp):
            call.began = call.started_at = None
        else:
            call.end(None, reason(error))

    def ended(self, outputs: Any) -> None:
        """Take the output of the whole."""
        self._stop()
        self._flush()
        messages = outputs.get("messages") if isinstance(outputs, Mapping) else None
        if not isinstance(messages, list):
            return
        self._answered(messages, None)
        if messages and isinstance(last := messages[-1], AIMessage) and not self.paused:
            self._closed(last)

    def failed(self, error: BaseException) -> None:
        """Take what ended the whole."""
        self._stop()
        self._flush()
        self._labels |= end_of(error)

    def left_paused(self) -> None:
        """Take that nobody will resume it."""
        self._labels["ended_by"] = "interrupt"

    def trace(self, agent: str, release: str | None) -> Trace:
        """Return all of it as a trace.

        Args:
            agent: Whose run it was.
            release: What it ran under, if nothing in the run says so.
        """
        tokens_in, tokens_out = zip(*self._tokens, strict=True) if self._tokens else ((), ())
        task = next((self._metadata[k] for k in _TASKS if self._metadata.get(k)), None)
        trace = Trace(
            id=self.id,
            agent=agent,
            release=self._stamps.release(agent) if self._stamps.found else release,
            task=None if task is None else str(task),
            started_at=self._started_at,
            latency_s=self._active_s,
            steps=steps_told(self._steps),
            turns=self._turns.count(agent, self._stamps.by_prompt),
            tokens_in=sum(tokens_in) if self._tokens else None,
            tokens_out=sum(tokens_out) if self._tokens else None,
            labels={**labels_of(self._metadata), **self._labels},
        )
        return self.outcome.on(judged(trace))

    def _agent(self, metadata: Mapping[str, Any]) -> str | None:
        """Return who acts: an agent's name, or the node of a graph; None for the run's own."""
        if name := metadata.get("lc_agent_name"):
            return None if name in self._own else str(name)
        if self._created:
            return None
        place = metadata.get("langgraph_checkpoint_ns") or metadata.get("langgraph_node") or ""
        return str(place).partition("|")[0].partition(":")[0] or None

    def _hear(self, message: BaseMessage, role: Any, agent: str | None) -> None:
        text = flat(message.content)
        if self._heard.is_new(message, agent, text) and text:
            self._steps.append(Message(role, text, agent))

    def _flush(self) -> None:
        self._steps += self._waiting
        self._waiting = []

    def _since_foreign(self, messages: list[BaseMessage]) -> list[BaseMessage]:
        """Return what comes after the last answer that was not given in this run."""
        at = 0
        for index, message in enumerate(messages, 1):
            if isinstance(message, AIMessage) and not self._is_own(message):
                at = index
        return messages[at:]

    def _is_own(self, answer: AIMessage) -> bool:
        if answer.id in self._answers:
            return True
        text = flat(answer.content)
        mark = answer.id or text
        if mark and mark in self._foreign:  # it may say what this run says later
            return False
        calls = (call["id"] in self._calls for call in answer.tool_calls)
        own = text in self._answers or any(calls)
        if not own:
            self._foreign.add(mark)
        return own

    def _call(self, id: str | None, name: str, arguments: Any, agent: str | None) -> LiveCall:
        call = self._calls.add(id, name, arguments, agent)
        self._steps.append(call)
        return call

    def _answered(self, messages: list[Any], agent: str | None) -> None:
        """Take the results of tools that no callback told of, the newest first."""
        for message in reversed(messages):
            if not isinstance(message, ToolMessage) or message.id in self._heard.ids:
                continue
            if message.id is not None:
                self._heard.ids.add(message.id)
            text = flat(message.content)
            if call := self._calls.answered_by(message.tool_call_id, text, agent):
                self._end(call, message)

    def _end(self, call: LiveCall, output: Any) -> None:
        message = tool_message(output, call.id)
        text = text_of(output) if message is None else flat(message.content)
        failed = message is not None and message.status == "error"
        call.end(None if failed else text, text if failed else None)

    def _closed(self, last: AIMessage) -> None:
        """Take the last answer, which need not be a model's."""
        text = flat(last.content)
        stamped = self._stamps.take(last.response_metadata, by_prompt=True)
        if stamped and "ended_by" in last.response_metadata:
            self._labels["ended_by"] = str(last.response_metadata["ended_by"])
        elif text and text not in self._answers and not self._is_own(last):
            self._steps.append(Message("assistant", text))

    def _stop(self) -> None:
        if self._began is not None:
            self._active_s += time.perf_counter() - self._began
            self._began = None
