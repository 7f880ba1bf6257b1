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
    convert_to_messages,
)

from tracetune.traces.failures import judged
from tracetune.traces.model import Message, Thought, Trace
from tracetune.traces.readers.blocks import flat
from tracetune.traces.recording.live_parts import (
    LONGEST_LABEL,
    Heard,
    LiveCall,
    Outcome,
    labels_of,
    plain,
    reason,
    spoken_in,
    steps_told,
    text_of,
    tool_message,
)

__all__ = ["LiveRun"]

_AGENT, _RELEASE = "tracetune_agent", "tracetune_release"  # as TunedPrompt stamps them
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
        self.calls: dict[UUID, str] = {}
        """Of the tools that are at work: the ids of their calls."""
        self.paused = False
        self.outcome = Outcome()
        self._metadata = dict(metadata)
        self._started_at = datetime.now(UTC)
        self._began: float | None = time.perf_counter()
        self._active_s = 0.0
        self._own = {name, metadata.get("lc_agent_name")} - {None}
        self._created = metadata.get("ls_integration") == _CREATED
        self._steps: list[Message | Thought | LiveCall] = []
        self._calls: dict[str, LiveCall] = {}
        self._heard = Heard()
        self._waiting: list[Message] = []
        self._answers: set[str] = set()
        self._tokens: list[tuple[int, int]] = []
        self._marks: list[tuple[str | None, str]] = []
        self._supersteps: set[int] = set()
        self._models = 0
        self._labels: dict[str, str] = {}
        self._mark(metadata)

    @property
    def thread(self) -> str | None:
        """The thread it belongs to, when there is one."""
        thread = self._metadata.get("thread_id")
        return None if thread is None else str(thread)

    def asked(self, inputs: Any) -> None:
        """Take the input: what users said in it since the last answer."""
        said = inputs.get("messages") if isinstance(inputs, Mapping) else inputs
        if not said or not isinstance(said, list | tuple | str | BaseMessage):
            return
        said = said if isinstance(said, list) else [said]
        for message in self._since_foreign(convert_to_messages(said)):
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
            self._supersteps.add(step)

    def resumed(self, id: str) -> None:
        """Go on after a pause."""
        self.runs.add(id)
        self.paused = False
        self._began = time.perf_counter()

    def model_called(self, messages: list[BaseMessage], metadata: Mapping[str, Any]) -> None:
        """Take what a model is given, as far as it is new."""
        agent = self._agent(metadata)
        self._mark(metadata)
        self._models += 1
        if model := metadata.get("ls_model_name"):
            self._labels.setdefault("model", str(model))
        for message in messages:
            if isinstance(message, SystemMessage):
                self._hear(message, "system", agent)
        self._flush()
        for message in self._since_foreign(messages):
            if isinstance(message, HumanMessage):
                self._hear(message, "user", agent)
            elif isinstance(message, ToolMessage):
                self._answered(message)

    def model_answered(self, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
        """Take what a model said: thoughts, text, tool calls."""
        self._flush()
        agent = self._agent(metadata)
        if message.id:
            self._answers.add(message.id)
        self._mark(message.response_metadata)
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
            self._call(call["id"], call["name"], call["args"], agent)
        for bad in message.invalid_tool_calls:
            named = self._call(bad["id"], bad["name"] or "", {"unparsed": bad["args"]}, agent)
            named.error = bad["error"] or "its arguments are no JSON object"

    def tool_began(self, id: str, name: str, inputs: Any, metadata: Mapping[str, Any]) -> None:
        """Take the start of a tool; `id` is that of the model's call or, without, of its run."""
        self._flush()
        call = self._calls.get(id)
        if call is None:
            arguments = inputs if isinstance(inputs, Mapping) else {"input": inputs}
            call = self._call(id, name, arguments, self._agent(metadata))
        call.result = call.error = None  # it may run anew, after a pause or a retry
        call.began = time.perf_counter()
        call.started_at = call.started_at or datetime.now(UTC)

    def tool_ended(self, id: str, output: Any) -> None:
        """Take what a tool gave back."""
        if call := self._calls.get(id):
            message = tool_message(output, id)
            text = text_of(output) if message is None else flat(message.content)
            failed = message is not None and message.status == "error"
            call.end(None if failed else text, text if failed else None)

    def tool_failed(self, id: str, error: BaseException) -> None:
        """Take what a tool raised."""
        if call := self._calls.get(id):
            call.end(None, reason(error))

    def tool_paused(self, id: str) -> None:
        """Take that a tool waits for a person: it will run anew."""
        if call := self._calls.get(id):
            call.began = call.started_at = None

    def ended(self, outputs: Any) -> None:
        """Take the output of the whole."""
        self._stop()
        self._flush()
        messages = outputs.get("messages") if isinstance(outputs, Mapping) else None
        if not isinstance(messages, list):
            return
        for message in messages:
            if isinstance(message, ToolMessage):
                self._answered(message)
        if messages and isinstance(last := messages[-1], AIMessage) and not self.paused:
            self._closed(last)

    def failed(self, error: BaseException) -> None:
        """Take what ended the whole."""
        self._stop()
        self._flush()
        name = type(error).__name__
        if name in ("CancelledError", "GeneratorExit", "KeyboardInterrupt"):
            self._labels["ended_by"] = "cancelled"
            return
        self._labels["ended_by"] = "recursion_limit" if "Recursion" in name else "error"
        self._labels["error"] = f"{name}: {reason(error)}"[:LONGEST_LABEL]

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
            release=self._release(agent) if self._marks else release,
            task=None if task is None else str(task),
            started_at=self._started_at,
            latency_s=self._active_s,
            steps=steps_told(self._steps),
            turns=self._turns(),
            tokens_in=sum(tokens_in) if self._tokens else None,
            tokens_out=sum(tokens_out) if self._tokens else None,
            labels={**labels_of(self._metadata), **self._labels},
        )
        return self.outcome.on(judged(trace))

    def _release(self, agent: str) -> str | None:
        """Return the release all of the agent's steps were under; None where there were several."""
        own = {release for name, release in self._marks if name in (agent, None)}
        releases = own or {release for _, release in self._marks}
        return releases.pop() if len(releases) == 1 else None

    def _turns(self) -> int | None:
        if self._supersteps and not self._marks:  # TunedPrompt's limit counts calls of the model
            return max(self._supersteps) - min(self._supersteps) + 1
        return self._models or None

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
        if answer.id in self._answers or flat(answer.content) in self._answers:
            return True
        return any(call["id"] in self._calls for call in answer.tool_calls)

    def _call(self, id: str | None, name: str, arguments: Any, agent: str | None) -> LiveCall:
        call = LiveCall(name, plain(arguments), agent)
        self._calls[id or f"call {len(self._calls)}"] = call
        self._steps.append(call)
        return call

    def _answered(self, message: ToolMessage) -> None:
        call = self._calls.get(message.tool_call_id)
        if call is not None and not call.done():
            self.tool_ended(message.tool_call_id, message)

    def _closed(self, last: AIMessage) -> None:
        """Take the last answer, which need not be a model's."""
        text = flat(last.content)
        self._mark(last.response_metadata)
        if _RELEASE in last.response_metadata and "ended_by" in last.response_metadata:
            self._labels["ended_by"] = str(last.response_metadata["ended_by"])
        elif text and not self._is_own(last):
            self._steps.append(Message("assistant", text))

    def _mark(self, metadata: Mapping[str, Any]) -> None:
        if release := metadata.get(_RELEASE):
            mark = (metadata.get(_AGENT), str(release))
            if mark not in self._marks:
                self._marks.append(mark)

    def _stop(self) -> None:
        if self._began is not None:
            self._active_s += time.perf_counter() - self._began
            self._began = None
