"""Real agents under a recorder: what is in their traces, wherever and however they run."""

import asyncio
import json
import logging
import math
import operator
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypedDict

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, ModelRetryMiddleware
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from langgraph.types import CachePolicy, Command, Send, interrupt

from tracetune.errors import InputError, NotFoundError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.middleware import TunedPrompt, stamp
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.recording.recorder import TraceRecorder
from tracetune.traces.recording.sinks import stored_traces
from tracetune.traces.redaction import Redactor


class Model(BaseChatModel):
    """Says what the script says, message by message; streams in pieces of three characters."""

    script: list[Any]

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self

    def _next(self) -> AIMessage:
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, AIMessage)
        return said

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next())])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        said = self._next()
        text = str(said.content)
        calls: Any = [
            {"name": c["name"], "args": json.dumps(c["args"]), "id": c["id"], "index": n}
            for n, c in enumerate(said.tool_calls)
        ]
        for at in range(0, len(text), 3):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text[at : at + 3]))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="", tool_call_chunks=calls, usage_metadata=said.usage_metadata
            )
        )


class State(TypedDict):
    """Messages that get no ids."""

    messages: Annotated[list[BaseMessage], operator.add]


def says(text: str | list[Any] = "", *calls: tuple[str, dict[str, Any], str]) -> AIMessage:
    return AIMessage(
        text,
        tool_calls=[{"name": name, "args": args, "id": id} for name, args, id in calls],
        usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    )


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
def find(name: str) -> str:
    """Find, and fail."""
    raise LookupError(f"nobody is called {name}")


def sums(*answers: Any) -> Any:
    script = answers or (says("I add.", ("add", {"a": 1, "b": 2}, "c1")), says("It is 3."))
    return create_agent(Model(script=list(script)), [add, find], system_prompt="You add.")


DAY = date(2026, 11, 22)
ASK: Any = {"messages": [("user", "1 + 2?")]}

STEPS = (
    Message("system", "You add."),
    Message("user", "1 + 2?"),
    Message("assistant", "I add."),
    ToolCall("add", {"a": 1, "b": 2}, "3"),
    Message("assistant", "It is 3."),
)


def timeless(trace: Trace) -> tuple[Any, ...]:
    """The trace's steps without when they were."""
    return tuple(
        ToolCall(s.name, s.arguments, s.result, s.error, by=s.by, agent=s.agent)
        if isinstance(s, ToolCall)
        else s
        for s in trace.steps
    )


@pytest.fixture
def traces() -> list[Trace]:
    return []


@pytest.fixture
def recorder(traces: list[Trace]) -> Iterator[TraceRecorder]:
    made = TraceRecorder(traces.append, agent="sums")
    yield made
    assert made.dropped == 0
    assert made.recorded == len(traces)


def _invoke(agent: Any, config: Any) -> None:
    agent.invoke(ASK, config)


def _stream(agent: Any, config: Any) -> None:
    assert list(agent.stream(ASK, config, stream_mode=["messages", "updates"]))


def _ainvoke(agent: Any, config: Any) -> None:
    asyncio.run(agent.ainvoke(ASK, config))


def _astream(agent: Any, config: Any) -> None:
    async def run() -> None:
        parts: AsyncIterator[Any] = agent.astream(ASK, config, stream_mode=["messages", "values"])
        assert [part async for part in parts]

    asyncio.run(run())


def _astream_events(agent: Any, config: Any) -> None:
    async def run() -> None:
        assert [event async for event in agent.astream_events(ASK, config, version="v2")]

    asyncio.run(run())


@pytest.mark.parametrize("way", [_invoke, _stream, _ainvoke, _astream, _astream_events])
def test_each_way_to_run_an_agent_gives_the_same_trace(
    way: Callable[[Any, Any], None], recorder: TraceRecorder, traces: list[Trace]
) -> None:
    run_id = uuid.uuid4()
    way(
        sums(),
        {"callbacks": [recorder], "run_id": run_id, "metadata": {"task": "t1", "tier": "gold"}},
    )
    (trace,) = traces
    assert timeless(trace) == STEPS
    assert (trace.id, trace.agent, trace.task) == (str(run_id), "sums", "t1")
    assert (trace.attempts, trace.turns) == (1, 3)
    assert (trace.tokens_in, trace.tokens_out) == (20, 10)
    assert (trace.success, trace.release, trace.failure_kind) == (None, None, "unknown")
    assert trace.labels["tier"] == "gold"
    assert "ended_by" not in trace.labels
    call = trace.steps[3]
    assert isinstance(call, ToolCall)
    assert trace.started_at is not None
    assert call.started_at is not None
    assert trace.started_at <= call.started_at
    assert trace.latency_s is not None
    assert call.latency_s is not None
    assert 0 < call.latency_s < trace.latency_s


def test_parallel_tools_each_get_their_own_result(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    calls = [("add", {"a": n, "b": 1}, f"c{n}") for n in range(8)]
    sums(says("", *calls), says("Done.")).invoke(ASK, {"callbacks": [recorder]})
    made = [s for s in timeless(traces[0]) if isinstance(s, ToolCall)]
    assert made == [ToolCall("add", {"a": n, "b": 1}, str(n + 1)) for n in range(8)]


def test_tool_that_raises_ends_the_run_as_a_failure(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    agent = sums(says("", ("find", {"name": "Bo"}, "c1")))
    with pytest.raises(LookupError):
        agent.invoke(ASK, {"callbacks": [recorder]})
    (trace,) = traces
    assert timeless(trace)[-1] == ToolCall("find", {"name": "Bo"}, None, "nobody is called Bo")
    assert trace.success is False
    assert trace.labels["ended_by"] == "error"
    assert trace.labels["error"] == "LookupError: nobody is called Bo"


def graph_of(model: Model, **options: Any) -> Any:
    """A graph made by hand: a model, and tools whose errors the model is told."""

    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke([SystemMessage("Add."), *state["messages"]])]}

    def after(state: MessagesState) -> str:
        return "tools" if getattr(state["messages"][-1], "tool_calls", ()) else "__end__"

    built = StateGraph(MessagesState)
    built.add_node("reply", reply)
    built.add_node("tools", ToolNode([add, find], handle_tool_errors=True))
    built.add_edge(START, "reply")
    built.add_conditional_edges("reply", after, ["tools", "__end__"])
    built.add_edge("tools", "reply")
    return built.compile(**options)


def test_tool_error_that_the_model_is_told_is_the_calls(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    script = [says("", ("find", {"name": "Bo"}, "c1")), says("Nobody.")]
    graph_of(Model(script=script)).invoke(ASK, {"callbacks": [recorder]})
    (trace,) = traces
    assert timeless(trace) == (
        Message("system", "Add."),
        Message("user", "1 + 2?"),
        ToolCall("find", {"name": "Bo"}, None, "nobody is called Bo"),
        Message("assistant", "Nobody."),
    )
    assert trace.success is None


def test_tool_that_is_no_langchain_tool_is_joined_by_its_message(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    model = Model(script=[says("", ("ping", {"host": "a"}, "c1")), says("Up.")])

    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    def ping(state: MessagesState) -> dict[str, Any]:
        return {"messages": [ToolMessage("pong", tool_call_id="c1")]}

    built = StateGraph(MessagesState)
    built.add_node("reply", reply).add_node("ping", ping).add_node("close", reply)
    built.add_edge(START, "reply").add_edge("reply", "ping").add_edge("ping", "close")
    built.compile().invoke(ASK, {"callbacks": [recorder]})
    assert ToolCall("ping", {"host": "a"}, "pong", agent="reply") in traces[0].steps


@pytest.mark.parametrize(
    ("error", "success", "kind"),
    [
        pytest.param(ValueError("no answer"), False, "unknown", id="of its own"),
        pytest.param(
            RuntimeError("Error code: 429 - rate_limit_error"),
            None,
            "infrastructure",
            id="its host",
        ),
    ],
)
def test_model_that_raises_ends_the_run(
    error: Exception, success: bool | None, kind: str, recorder: TraceRecorder, traces: list[Trace]
) -> None:
    with pytest.raises(type(error)):
        sums(error).invoke(ASK, {"callbacks": [recorder]})
    (trace,) = traces
    assert (trace.success, trace.failure_kind) == (success, kind)
    assert trace.labels["error"] == f"{type(error).__name__}: {error}"
    assert timeless(trace) == STEPS[:2]


def test_recursion_limit_is_told(recorder: TraceRecorder, traces: list[Trace]) -> None:
    agent = sums(*(says("", ("add", {"a": 1, "b": 2}, f"c{n}")) for n in range(9)))
    with pytest.raises(GraphRecursionError):
        agent.invoke(ASK, {"callbacks": [recorder], "recursion_limit": 4})
    (trace,) = traces
    assert trace.labels["ended_by"] == "recursion_limit"
    assert (trace.success, trace.turns, trace.attempts) == (False, 4, 2)


def test_stream_that_is_left_is_no_failure(recorder: TraceRecorder, traces: list[Trace]) -> None:
    stream = sums().stream(ASK, {"callbacks": [recorder]})
    next(stream)
    stream.close()
    (trace,) = traces
    assert trace.labels["ended_by"] == "cancelled"
    assert trace.success is None


def test_task_that_is_cancelled_is_no_failure(recorder: TraceRecorder, traces: list[Trace]) -> None:
    async def run() -> None:
        resting, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        @tool
        def rest() -> str:
            """Rest in a thread, which no cancellation reaches, and ask a model."""
            loop.call_soon_threadsafe(resting.set)
            go_on.wait(10)
            Model(script=[says("Too late.")]).invoke("Hi.")
            loop.call_soon_threadsafe(resting.set)
            return ""

        agent = create_agent(Model(script=[says("", ("rest", {}, "c1"))]), [rest])
        task = asyncio.create_task(agent.ainvoke(ASK, {"callbacks": [recorder]}))
        await resting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        resting.clear()
        go_on.set()
        await resting.wait()

    asyncio.run(run())
    (trace,) = traces
    assert trace.labels["ended_by"] == "cancelled"
    assert trace.success is None


def test_agents_of_a_supervisor_are_told_apart(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    flights = create_agent(
        Model(script=[says("", ("add", {"a": 1, "b": 1}, "f1")), says("2 flights.")]),
        [add],
        system_prompt="You fly.",
        name="flights",
    )

    @tool
    def ask_flights(query: str) -> str:
        """Ask."""
        return str(flights.invoke({"messages": [HumanMessage(query)]})["messages"][-1].text)

    boss = create_agent(
        Model(script=[says("", ("ask_flights", {"query": "to Rome"}, "b1")), says("Two.")]),
        [ask_flights],
        name="boss",
    )
    boss.invoke(ASK, {"callbacks": [recorder]})
    (trace,) = traces
    assert timeless(trace) == (
        Message("user", "1 + 2?"),
        ToolCall("ask_flights", {"query": "to Rome"}, "2 flights."),
        Message("system", "You fly.", agent="flights"),
        Message("user", "to Rome", agent="flights"),
        ToolCall("add", {"a": 1, "b": 1}, "2", agent="flights"),
        Message("assistant", "2 flights.", agent="flights"),
        Message("assistant", "Two."),
    )
    assert trace.tokens_in == 40


def test_nodes_of_a_graph_are_its_agents(recorder: TraceRecorder, traces: list[Trace]) -> None:
    writer = create_agent(Model(script=[says("Once…")]), [], name="writer")
    model = Model(script=[says("A plan.")])

    def plan(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke([HumanMessage("Plan it."), *state["messages"]])]}

    built = StateGraph(MessagesState)
    built.add_node("plan", plan).add_node("write", writer)
    built.add_edge(START, "plan").add_edge("plan", "write")
    built.compile().invoke(ASK, {"callbacks": [recorder]})
    assert timeless(traces[0]) == (
        Message("user", "1 + 2?"),
        Message("user", "Plan it.", agent="plan"),
        Message("assistant", "A plan.", agent="plan"),
        Message("assistant", "Once…", agent="writer"),
    )


def test_thoughts_are_steps_of_their_own(recorder: TraceRecorder, traces: list[Trace]) -> None:
    blocks = [{"type": "thinking", "thinking": "Easy.", "signature": "x"}]
    agent = sums(says([*blocks, {"type": "text", "text": "It is 3."}]))
    agent.invoke(ASK, {"callbacks": [recorder]})
    assert traces[0].steps[2:] == (Thought("Easy."), Message("assistant", "It is 3."))


def test_earlier_runs_of_a_thread_are_not_told_again(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    script = [says("I add.", ("add", {"a": 1, "b": 2}, "c1")), says("It is 3."), says("Bye.")]
    agent = graph_of(Model(script=script), checkpointer=InMemorySaver())
    config = {"callbacks": [recorder], "configurable": {"thread_id": "T"}}
    agent.invoke(ASK, config)
    agent.invoke({"messages": [HumanMessage("Thanks.")]}, config)
    assert timeless(traces[1]) == (
        Message("system", "Add."),
        Message("user", "Thanks."),
        Message("assistant", "Bye."),
    )
    assert [t.turns for t in traces] == [3, 1]
    assert {t.labels["thread"] for t in traces} == {"T"}


def test_history_that_the_caller_sends_along_is_not_told_again(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    said = [("user", "Hi."), ("assistant", "Hello."), ("user", "1 + 2?")]
    sums(says("It is 3.")).invoke({"messages": said}, {"callbacks": [recorder]})
    assert timeless(traces[0]) == (*STEPS[:2], STEPS[-1])


def paused_graph() -> Any:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [HumanMessage(interrupt("Sure?"))]}

    model = Model(script=[says("A plan."), says("Done.")])

    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    built = StateGraph(MessagesState)
    built.add_node("plan", reply).add_node("ask", ask).add_node("act", reply)
    built.add_edge(START, "plan").add_edge("plan", "ask").add_edge("ask", "act")
    return built.compile(checkpointer=InMemorySaver())


def test_run_that_is_resumed_is_one_trace(recorder: TraceRecorder, traces: list[Trace]) -> None:
    graph = paused_graph()
    config = {"callbacks": [recorder], "configurable": {"thread_id": "T"}}
    first = uuid.uuid4()
    graph.invoke(ASK, {**config, "run_id": first})
    assert traces == []
    graph.invoke(Command(resume="Yes."), config)
    (trace,) = traces
    assert trace.id == str(first)
    assert [s.text for s in trace.steps if isinstance(s, Message)] == [
        "1 + 2?",
        "A plan.",
        "Yes.",
        "Done.",
    ]
    assert "ended_by" not in trace.labels


@pytest.mark.parametrize("then", ["a new input", "the end"])
def test_run_that_is_never_resumed_is_recorded_as_interrupted(
    then: str, recorder: TraceRecorder, traces: list[Trace]
) -> None:
    graph = paused_graph()
    config = {"callbacks": [recorder], "configurable": {"thread_id": "T"}}
    graph.invoke(ASK, config)
    if then == "a new input":
        graph.invoke({"messages": [HumanMessage("Other.")]}, config)
    recorder.close()
    assert traces[0].labels["ended_by"] == "interrupt"
    assert [s.text for s in traces[0].steps if isinstance(s, Message)] == ["1 + 2?", "A plan."]


def test_two_runs_that_pause_on_one_thread_are_both_recorded(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    config: Any = {"callbacks": [recorder], "configurable": {"thread_id": "T"}}
    ids = [uuid.uuid4(), uuid.uuid4()]
    first: Any = paused_graph().stream(ASK, {**config, "run_id": ids[0]})
    next(first)
    paused_graph().invoke(ASK, {**config, "run_id": ids[1]})
    list(first)
    recorder.close()
    assert {trace.id for trace in traces} == set(map(str, ids))


def test_tool_that_waits_for_a_person_is_one_call(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    @tool
    def buy(what: str) -> str:
        """Buy."""
        return f"{what}: {interrupt('Sure?')}"

    script = [says("", ("buy", {"what": "milk"}, "c1")), says("Bought.")]
    agent = create_agent(Model(script=script), [buy], checkpointer=InMemorySaver())
    config: Any = {"callbacks": [recorder], "configurable": {"thread_id": "T"}}
    agent.invoke(ASK, config)
    agent.invoke(Command(resume="yes"), config)
    assert timeless(traces[0])[1:] == (
        ToolCall("buy", {"what": "milk"}, "milk: yes"),
        Message("assistant", "Bought."),
    )


def test_concurrent_tasks_do_not_mix(recorder: TraceRecorder, traces: list[Trace]) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(20):
                script = [says("", ("add", {"a": n, "b": 0}, "c1")), says(f"It is {n}.")]
                group.create_task(sums(*script).ainvoke(ASK, {"callbacks": [recorder]}))

    asyncio.run(run())
    assert_unmixed(traces, 20)


def test_threads_do_not_mix(recorder: TraceRecorder, traces: list[Trace]) -> None:
    def run(n: int) -> None:
        script = [says("", ("add", {"a": n, "b": 0}, "c1")), says(f"It is {n}.")]
        sums(*script).invoke(ASK, {"callbacks": [recorder]})

    threads = [threading.Thread(target=run, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_unmixed(traces, 12)


def assert_unmixed(traces: list[Trace], count: int) -> None:
    told = set()
    for trace in traces:
        call, last = timeless(trace)[2:]
        n = call.arguments["a"]
        assert (call.result, last.text) == (str(n), f"It is {n}.")
        told.add(n)
    assert told == set(range(count))


def test_file_is_read_back_equal(tmp_path: Path) -> None:
    path, seen = tmp_path / "new" / "traces.jsonl", []
    to_file = TraceRecorder(path, agent="sums")
    to_list = TraceRecorder(seen.append, agent="sums")
    for n in range(3):
        sums().invoke(ASK, {"callbacks": [to_file], "metadata": {"task": f"t{n}"}})
    read = list(read_traces(path, strict=True))
    assert [trace.task for trace in read] == ["t0", "t1", "t2"]
    assert [timeless(trace) for trace in read] == [STEPS] * 3
    sums().invoke(ASK, {"callbacks": [to_list]})
    (trace,) = seen
    assert list(read_traces([trace.to_dict()])) == [trace]


def test_many_recorders_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"

    def run() -> None:
        recorder = TraceRecorder(path, agent="sums")
        for _ in range(10):
            sums(says("x" * 20_000)).invoke(ASK, {"callbacks": [recorder]})

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(1 for _ in read_traces(path, strict=True)) == 40


def test_secrets_do_not_reach_the_file(tmp_path: Path) -> None:
    secret = "ghp" + "_" + "aB3dE5fG7h" * 4
    path = tmp_path / "traces.jsonl"
    recorder = TraceRecorder(path, agent="sums", redactor=Redactor(emails=True))
    agent = sums(says(f"Use {secret} or ask a@b.de.", ("find", {"name": secret}, "c1")))
    with pytest.raises(LookupError):
        agent.invoke(ASK, {"callbacks": [recorder], "metadata": {"key": secret}})
    assert secret not in path.read_text()
    assert recorder.redactor.counts["e-mail address"] == 1
    assert recorder.redactor.counts["GitHub token"] >= 3


@pytest.mark.parametrize("kind", ["a file", "a function"])
def test_sink_that_fails_never_fails_the_agent(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(trace: Trace) -> None:
        raise ConnectionError("gone")

    sink = tmp_path if kind == "a file" else broken
    recorder = TraceRecorder(sink, agent="sums")
    for _ in range(3):
        assert sums().invoke(ASK, {"callbacks": [recorder]})["messages"][-1].text == "It is 3."
    assert (recorder.recorded, recorder.dropped) == (0, 3)
    (line,) = [r for r in caplog.records if r.name.startswith("tracetune")]
    assert line.levelno == logging.WARNING
    assert "Not all of agent 'sums' was recorded: " in line.getMessage()


def test_odd_values_are_recorded_as_text(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    recorder = TraceRecorder(path, agent="odd")

    @tool
    def odd(x: Any) -> Any:
        """Give back what JSON does not know."""
        return {"path": Path("a"), "set": {1}, "nan": float("nan")}

    odd.invoke({"x": Path("b")}, {"callbacks": [recorder]})
    sums(says("half \ud83d a character")).invoke(ASK, {"callbacks": [recorder]})
    first, second = read_traces(path, strict=True)
    (call,) = first.steps
    assert isinstance(call, ToolCall)
    assert call.arguments == {"x": "b"}
    assert json.loads(call.result or "") == {"path": "a", "set": "{1}", "nan": None}
    assert second.steps[-1] == Message("assistant", "half ? a character")
    assert recorder.dropped == 0


def test_recorder_that_is_passed_twice_records_once(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    model = Model(script=[says("I add.", ("add", {"a": 1, "b": 2}, "c1")), says("It is 3.")])
    model.callbacks = [recorder]
    agent = create_agent(model, [add], system_prompt="You add.")
    agent.with_config(callbacks=[recorder]).invoke(ASK, {"callbacks": [recorder]})
    assert [timeless(trace) for trace in traces] == [STEPS]


def test_model_alone_is_a_run(recorder: TraceRecorder, traces: list[Trace]) -> None:
    Model(script=[says("Hi.")]).invoke("Hello.", {"callbacks": [recorder]})
    assert timeless(traces[0]) == (Message("user", "Hello."), Message("assistant", "Hi."))


def test_store_keeps_traces_and_later_outcomes() -> None:
    store = InMemoryStore()
    recorder = TraceRecorder(store, agent="sums.v2")
    run_id = uuid.uuid4()
    sums().invoke(ASK, {"callbacks": [recorder], "run_id": run_id})
    recorder.outcome(run_id, success=True, feedback="quick")
    assert recorder.flush(10)
    (trace,) = read_traces(stored_traces(store, "sums.v2"))
    assert timeless(trace) == STEPS
    assert (trace.agent, trace.success, trace.feedback) == ("sums.v2", True, "quick")
    recorder.outcome(uuid.uuid4(), success=True)
    assert recorder.flush(10)
    assert (recorder.recorded, recorder.dropped) == (1, 1)


def test_async_store_is_written_to_from_its_own_loop(tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        async with AsyncSqliteStore.from_conn_string(str(tmp_path / "a.db")) as store:
            await store.setup()
            recorder = TraceRecorder(store, agent="sums")
            await sums().ainvoke(ASK, {"callbacks": [recorder]})
            assert await recorder.aflush(10)
            assert (recorder.recorded, recorder.dropped) == (1, 0)
            return await asyncio.to_thread(lambda: list(stored_traces(store, "sums")))

    (trace,) = read_traces(asyncio.run(run()))
    assert timeless(trace) == STEPS


def test_held_run_waits_for_its_outcome(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    recorder = TraceRecorder(path, agent="sums", hold=2)
    ids = [uuid.uuid4() for _ in range(4)]
    for id in ids[:3]:
        sums().invoke(ASK, {"callbacks": [recorder], "run_id": id})
    recorder.outcome(ids[2], success=False, score=0.25, feedback={"tone": "rude"})
    recorder.close()
    read = {trace.id: trace for trace in read_traces(path, strict=True)}
    assert [read[str(id)].success for id in ids[:3]] == [None, None, False]
    assert read[str(ids[2])].score == 0.25
    assert read[str(ids[2])].feedback == {"tone": "rude"}
    with pytest.raises(NotFoundError, match="neither goes on nor is held"):
        recorder.outcome(ids[0], success=True)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"success": 1}, "success is 1, expected true or false"),
        ({"success": "yes"}, "success is 'yes', expected true or false"),
        ({"success": True, "score": True}, "score is True, expected a number"),
        ({"success": True, "score": "x"}, "score is 'x', expected a number"),
        ({"success": True, "feedback": ["bad"]}, r"feedback is \['bad'\], expected text"),
        ({"success": True, "feedback": 5}, "feedback is 5, expected text or an object"),
    ],
)
def test_an_outcome_that_nobody_could_read_is_refused_and_can_be_mended(
    odd: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path, id = tmp_path / "traces.jsonl", uuid.uuid4()
    recorder = TraceRecorder(path, agent="sums", hold=1)
    sums().invoke(ASK, {"callbacks": [recorder], "run_id": id})
    with pytest.raises(InputError, match=f"^{reason}"):
        recorder.outcome(id, **odd)
    recorder.outcome(id, success=False)
    assert [trace.success for trace in read_traces(path, strict=True)] == [False]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({"score": np.mean([0.5, 1])}, (None, 0.75, None), id="a mean"),
        pytest.param(
            {"success": np.bool_(True), "score": np.float32(0.5)}, (True, 0.5, None), id="compared"
        ),
        pytest.param({"success": "true", "score": "0.5"}, (True, 0.5, None), id="text"),
        pytest.param(
            {"feedback": MappingProxyType({"tone": np.float64(0.5)})},
            (None, None, {"tone": 0.5}),
            id="in feedback",
        ),
        pytest.param({"success": True, "score": math.nan}, (True, None, None), id="no number"),
    ],
)
@pytest.mark.parametrize("into", ["a file", "a store"])
def test_an_outcome_is_kept_as_what_it_plainly_means(
    given: dict[str, Any], kept: tuple[Any, ...], into: str, tmp_path: Path
) -> None:
    path, store, id = tmp_path / "traces.jsonl", InMemoryStore(), uuid.uuid4()
    recorder = TraceRecorder(path if into == "a file" else store, agent="sums", hold=1)
    sums().invoke(ASK, {"callbacks": [recorder], "run_id": id})
    recorder.outcome(id, **given)
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (1, 0)
    source = path if into == "a file" else stored_traces(store, "sums")
    (trace,) = read_traces(source, strict=True)
    assert (trace.success, trace.score, trace.feedback) == kept


def test_outcome_may_be_known_while_the_run_goes_on(traces: list[Trace]) -> None:
    recorder = TraceRecorder(traces.append, agent="sums", hold=5)
    run_id = uuid.uuid4()

    @tool
    def grade() -> str:
        """Grade."""
        recorder.outcome(run_id, success=True)
        return "ok"

    agent = create_agent(Model(script=[says("", ("grade", {}, "c1")), says("Done.")]), [grade])
    agent.invoke(ASK, {"callbacks": [recorder], "run_id": run_id})
    assert [trace.success for trace in traces] == [True]


def test_release_of_the_tuned_prompt_is_the_traces(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    with open_store("memory://") as store:
        memory = ProceduralMemory(store, "shop").agent("sums")
        release = memory.commit(prompts={"main": "You add."}, promote=True)
        script = [says("I add.", ("add", {"a": 1, "b": 2}, "c1")), says("It is 3.")]
        agent = create_agent(Model(script=script), [add], middleware=[TunedPrompt(memory)])
        agent.invoke(ASK, {"callbacks": [recorder]})
        assert timeless(traces[0]) == STEPS
        assert traces[0].release == release.id
        assert traces[0].turns == 2
        sums().invoke(ASK, stamp({"callbacks": [recorder]}, release))
        assert traces[1].release == release.id


def test_given_release_is_used_where_no_stamp_is(traces: list[Trace]) -> None:
    sums().invoke(ASK, {"callbacks": [TraceRecorder(traces.append, agent="sums", release="r1")]})
    assert traces[0].release == "r1"


def test_step_limit_of_the_release_ends_the_run(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    with open_store("memory://") as store:
        memory = ProceduralMemory(store, "shop").agent("sums")
        memory.commit(prompts={"main": "You add."}, config={"max_step": 1}, promote=True)
        script = [says("", ("add", {"a": 1, "b": 2}, "c1"))]
        limited = TunedPrompt(memory, step_limit="max_step")
        agent = create_agent(Model(script=script), [add], middleware=[limited])
        agent.invoke(ASK, {"callbacks": [recorder]})
    assert traces[0].labels["ended_by"] == "max_steps"
    assert traces[0].turns == 1
    assert isinstance(traces[0].steps[-1], ToolCall)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sink": 3, "agent": "a"}, "sink is 3, expected a path, a LangGraph store or a function"),
        ({"sink": print, "agent": ""}, "agent is '' and hold 0"),
        ({"sink": print, "agent": "a", "hold": -1}, "hold -1, expected a name and 0 or more"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TraceRecorder(**arguments)


def test_what_is_no_chat_is_one_run_all_the_same(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    run_id = uuid.uuid4()
    agents = [sums(), sums()]

    def both(numbers: list[int]) -> list[Any]:
        return [agents[n].invoke(ASK) for n in numbers]

    RunnableLambda(both).invoke([0, 1], {"callbacks": [recorder], "run_id": run_id})
    (trace,) = traces
    assert (trace.id, trace.attempts) == (str(run_id), 2)


def test_input_that_the_graph_refuses_is_a_failed_run(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    with pytest.raises(ValueError, match="weird"):
        sums().invoke({"messages": [{"role": "weird", "content": ""}]}, {"callbacks": [recorder]})
    (trace,) = traces
    assert trace.success is False


def test_answer_in_the_words_of_an_earlier_run_tells_none_of_it_again(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    script = [says("Sure."), says("Sure.", ("add", {"a": 1, "b": 2}, "c1")), says("It is 3.")]
    agent: Any = create_agent(Model(script=script), [add], checkpointer=InMemorySaver())
    config: Any = {"callbacks": [recorder], "configurable": {"thread_id": "t"}}
    agent.invoke({"messages": [("user", "Hi.")]}, config)
    agent.invoke(ASK, config)
    assert timeless(traces[1]) == (
        Message("user", "1 + 2?"),
        Message("assistant", "Sure."),
        ToolCall("add", {"a": 1, "b": 2}, "3"),
        Message("assistant", "It is 3."),
    )


def test_agents_whose_models_count_their_calls_alike_do_not_mix(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    script = [says("", ("add", {"a": 1, "b": 2}, "call_0")), says("It is 3.")]
    inner = create_agent(Model(script=script), [add], name="inner")

    @tool
    def ask(question: str) -> str:
        """Ask the inner agent."""
        return inner.invoke(ASK)["messages"][-1].text

    script = [says("", ("ask", {"question": "1 + 2?"}, "call_0")), says("3.")]
    create_agent(Model(script=script), [ask]).invoke(ASK, {"callbacks": [recorder]})
    asked, added = (s for s in traces[0].steps if isinstance(s, ToolCall))
    assert (asked.name, asked.result) == ("ask", "It is 3.")
    assert (added.name, added.result, added.agent) == ("add", "3", "inner")
    assert asked.latency_s is not None
    assert added.latency_s is not None
    assert added.latency_s < asked.latency_s


def test_agents_side_by_side_whose_calls_are_named_alike_do_not_mix(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    def one(n: int) -> Any:
        calls = [says("", ("add", {"a": n, "b": 1}, "call_0")), says("Done.")]
        return create_agent(Model(script=calls), [add], name=f"agent{n}")

    agents = [one(n) for n in range(4)]

    def work(state: Any) -> dict[str, Any]:
        return {"messages": agents[state["n"]].invoke(ASK)["messages"][-1:]}

    built = StateGraph(MessagesState).add_node("work", work)
    built.add_conditional_edges(START, lambda _: [Send("work", {"n": n}) for n in range(4)])
    built.compile().invoke(ASK, {"callbacks": [recorder]})
    made = {(s.agent, s.result) for s in traces[0].steps if isinstance(s, ToolCall)}
    assert made == {(f"agent{n}", str(n + 1)) for n in range(4)}


def test_tools_by_hand_whose_calls_are_named_alike_each_get_their_result(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    model = Model(script=[*(says("", ("ping", {"host": h}, "0")) for h in "ab"), says("Up.")])

    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    def ping(state: MessagesState) -> dict[str, Any]:
        last = state["messages"][-1]
        assert isinstance(last, AIMessage)
        host = last.tool_calls[0]["args"]["host"]
        return {"messages": [ToolMessage(f"pong {host}", tool_call_id="0")]}

    built = StateGraph(MessagesState)
    built.add_node("reply", reply).add_node("ping", ping).add_edge(START, "reply")
    built.add_conditional_edges("reply", tools_condition, {"tools": "ping", "__end__": "__end__"})
    built.add_edge("ping", "reply").compile().invoke(ASK, {"callbacks": [recorder]})
    results = [s.result for s in traces[0].steps if isinstance(s, ToolCall)]
    assert results == ["pong a", "pong b"]


def test_call_that_a_person_changed_is_told_as_it_was_made(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    script = [says("", ("add", {"a": 1, "b": 2}, "c1")), says("It is 11.")]
    asking: Any = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    agent = create_agent(
        Model(script=script), [add], middleware=[asking], checkpointer=InMemorySaver()
    )
    config: Any = {"callbacks": [recorder], "configurable": {"thread_id": "t"}}
    agent.invoke(ASK, config)
    edited = {"type": "edit", "edited_action": {"name": "add", "args": {"a": 5, "b": 6}}}
    agent.invoke(Command(resume={"decisions": [edited]}), config)
    assert timeless(traces[0])[1] == ToolCall("add", {"a": 5, "b": 6}, "11")


def test_state_that_is_edited_during_a_pause_is_no_run(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    script = [says("I add.", ("add", {"a": 1, "b": 2}, "c1")), says("It is 3.")]
    config: Any = {"configurable": {"thread_id": "t"}}
    graph = graph_of(
        Model(script=script), checkpointer=InMemorySaver(), interrupt_before=["tools"]
    ).with_config(callbacks=[recorder])
    graph.invoke(ASK, config)
    last = graph.get_state(config).values["messages"][-1]
    last.tool_calls[0]["args"]["b"] = 5
    graph.update_state(config, {"messages": [last]})
    graph.invoke(None, config)
    (trace,) = traces
    assert timeless(trace)[-2:] == (
        ToolCall("add", {"a": 1, "b": 5}, "6"),
        Message("assistant", "It is 3."),
    )
    assert trace.turns == 3


@pytest.mark.parametrize("made", ["a graph", "an agent"])
def test_agent_that_is_named_as_an_edit_is_recorded(
    made: str, recorder: TraceRecorder, traces: list[Trace]
) -> None:
    config: Any = {"configurable": {"thread_id": "t"}, "callbacks": [recorder]}
    model, saver = Model(script=[says("3.")]), InMemorySaver()
    if made == "a graph":
        graph = graph_of(model, checkpointer=saver)
        graph.name = "OrdersUpdateState"
    else:
        graph = create_agent(model, [add], checkpointer=saver, name="OrdersUpdateState")
    graph.invoke(ASK, config)
    assert timeless(traces[0])[-1] == Message("assistant", "3.")
    graph.update_state(config, {"messages": [HumanMessage("Sure?")]})

    def edit(state: MessagesState) -> None:
        graph.update_state(config, {"messages": [HumanMessage("Sure?")]})

    around: Any = StateGraph(MessagesState).add_node("edit", edit).add_edge(START, "edit").compile()
    around.invoke(ASK)
    assert len(traces) == 1


def test_edits_of_states_leave_nothing_behind_that_grows(recorder: TraceRecorder) -> None:
    runs = recorder._runs
    for _ in range(3000):
        assert (
            runs.enter(uuid.uuid4(), None, {}, "LangGraphUpdateState", {"thread_id": "t"}) is None
        )
    assert len(runs._cut) == 1000


def test_answer_that_repeats_an_earlier_one_is_said_once(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    def reply(state: State) -> State:
        answer = Model(script=[says("Yes.")]).invoke(state["messages"])
        return {"messages": [AIMessage(answer.content)]}

    graph: Any = StateGraph(State).add_node("reply", reply).add_edge(START, "reply").compile()
    said = [HumanMessage("Is it?"), AIMessage("Yes."), HumanMessage("Really?")]
    graph.invoke({"messages": said}, {"callbacks": [recorder]})
    assert timeless(traces[0]) == (Message("user", "Really?"), Message("assistant", "Yes."))


def test_agent_within_a_graph_that_asks_a_person_or_hands_over_has_not_failed(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt("Name?"))]}

    def hand_over(state: MessagesState) -> Any:
        return Command(graph=Command.PARENT, goto="__end__")

    for node in (ask, hand_over):
        inner = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
        outer = StateGraph(MessagesState)
        outer.add_node("inner", inner.with_config(callbacks=[recorder]))
        outer.add_edge(START, "inner")
        config: Any = {"configurable": {"thread_id": "t"}}
        outer.compile(checkpointer=InMemorySaver()).invoke(ASK, config)
    asked, handed = traces
    assert (asked.success, asked.labels.get("ended_by")) == (None, "interrupt")
    assert (handed.success, handed.labels.get("ended_by")) == (None, None)


def test_tool_that_gives_several_commands_and_messages(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    @tool
    def several() -> Any:
        """Give back a result and more."""
        more = Command(update={"messages": [HumanMessage("Mind the gap.")]})
        return [more, ToolMessage("Here.", tool_call_id="c1")]

    agent = create_agent(Model(script=[says("", ("several", {}, "c1")), says("Fine.")]), [several])
    agent.invoke(ASK, {"callbacks": [recorder]})
    assert timeless(traces[0])[1] == ToolCall("several", {}, "Here.")


def test_arguments_that_json_hardly_holds_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    recorder = TraceRecorder(path, agent="odd")
    given = {"a": 2**70, "b": float("nan"), "half": "\ud83d", "c": 1}
    sums(says("", ("add", given, "c1")), says("Much.")).invoke(ASK, {"callbacks": [recorder]})
    (trace,) = read_traces(path, strict=True)
    call = next(s for s in trace.steps if isinstance(s, ToolCall))
    assert call.arguments == {"a": 2**70, "b": None, "half": "?", "c": 1}


def test_metadata_of_any_plain_kind_are_labels(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    user = uuid.uuid4()
    told = {"task": "t", "task_type": "refund", "user": user, "shard": np.int64(3), "day": DAY}
    sums().invoke(ASK, {"callbacks": [recorder], "metadata": told})
    assert traces[0].labels == {
        "task_type": "refund",
        "user": str(user),
        "shard": "3",
        "day": "2026-11-22",
    }


def test_long_labels_hold_no_half_of_a_secret(traces: list[Trace]) -> None:
    key = "ghp_" + "aB3dE5gH7jK9" * 3
    recorder = TraceRecorder(traces.append, agent="sums")
    agent = sums(RuntimeError(f"{'x' * 260} {key}"))
    with pytest.raises(RuntimeError):
        agent.invoke(ASK, {"callbacks": [recorder], "metadata": {"note": f"{'x' * 280} {key}"}})
    labels = traces[0].labels
    assert not [name for name, text in labels.items() if key[:8] in text or len(text) > 300]


def test_reason_why_nothing_was_recorded_shows_no_login(caplog: pytest.LogCaptureFixture) -> None:
    def sink(trace: Trace) -> None:
        raise OSError("cannot reach postgresql://ana:hunter2secret@db/x")

    sums().invoke(ASK, {"callbacks": [TraceRecorder(sink, agent="sums")]})
    assert "cannot reach postgresql://" in caplog.text
    assert "hunter2secret" not in caplog.text


def test_outcomes_during_a_run_add_up(traces: list[Trace]) -> None:
    run_id = uuid.uuid4()
    recorder = TraceRecorder(traces.append, agent="sums")

    def rate(numbers: Any) -> None:
        recorder.outcome(run_id, success=False, score=0.5)
        recorder.outcome(run_id, success=True)
        recorder.outcome(run_id, feedback="short")

    RunnableLambda(rate).invoke("", {"callbacks": [recorder], "run_id": run_id})
    (trace,) = traces
    assert (trace.success, trace.score, trace.feedback) == (True, 0.5, "short")


def test_stamped_config_counts_steps_of_the_graph(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    desk = ProceduralMemory(InMemoryStore(), "p").agent("sums")
    release = desk.commit(prompts={"main": "Add."}, promote=True)
    sums().invoke(ASK, stamp({"callbacks": [recorder]}, release))
    assert (traces[0].release, traces[0].turns) == (release.id, 3)


def test_model_of_a_retriever_is_part_of_the_run(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    class Rewriting(BaseRetriever):
        model: Model

        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            config: Any = {"callbacks": run_manager.get_child()}
            return [Document(self.model.invoke(query, config).text)]

    retriever = Rewriting(model=Model(script=[says("felines"), ValueError("gone")]))

    @tool
    def look(query: str) -> str:
        """Look something up."""
        return retriever.invoke(query)[0].page_content

    look_up = ("look", {"query": "cats"}, "c1")
    agent = create_agent(Model(script=[says("", look_up), says("Found.")]), [look])
    agent.invoke(ASK, {"callbacks": [recorder]})
    assert traces[0].tokens_in == 30
    assert Message("assistant", "felines") in traces[0].steps
    with pytest.raises(ValueError, match="gone"):
        RunnableLambda(retriever.invoke).invoke("cats", {"callbacks": [recorder]})
    assert [trace.success for trace in traces] == [None, False]


def test_cached_step_is_a_turn(recorder: TraceRecorder, traces: list[Trace]) -> None:
    def step(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Done.")]}

    built = StateGraph(MessagesState).add_node("a", step)
    built.add_node("b", step, cache_policy=CachePolicy(key_func=lambda _: "b"))
    built.add_node("c", step).add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    graph = built.compile(cache=InMemoryCache())
    for _ in range(2):
        graph.invoke(ASK, {"callbacks": [recorder]})
    assert [trace.turns for trace in traces] == [3, 3]


def test_turns_under_a_tuned_prompt_are_the_agents_own(traces: list[Trace]) -> None:
    memory = ProceduralMemory(InMemoryStore(), "p")
    prompts = {name: TunedPrompt(memory.agent(name)) for name in ("top", "inner")}
    for name in prompts:
        memory.agent(name).commit(prompts={"main": "Add."}, promote=True)
    script = [says("", ("add", {"a": 1, "b": 2}, "c1")), says("3.")]
    inner = create_agent(Model(script=script), [add], middleware=[prompts["inner"]], name="inner")

    @tool
    def ask() -> str:
        """Ask the inner agent."""
        return inner.invoke(ASK)["messages"][-1].text

    script = [says("", ("ask", {}, "c1")), says("3.")]
    top = create_agent(Model(script=script), [ask], middleware=[prompts["top"]])
    top.invoke(ASK, {"callbacks": [TraceRecorder(traces.append, agent="top")]})
    assert traces[0].turns == 2


def test_user_who_says_the_same_twice_is_heard_twice(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    model = Model(script=[says("Which?"), says("Sure?"), says("Done.")])

    def talk(said: list[Any]) -> list[Any]:
        for answer in ("yes", "yes"):
            said = [*said, model.invoke(said), HumanMessage(answer)]
        return [*said, model.invoke(said)]

    RunnableLambda(talk).invoke([HumanMessage("yes")], {"callbacks": [recorder]})
    assert timeless(traces[0]) == (
        Message("user", "yes"),
        Message("assistant", "Which?"),
        Message("user", "yes"),
        Message("assistant", "Sure?"),
        Message("user", "yes"),
        Message("assistant", "Done."),
    )


def test_history_without_ids_is_not_told_again_by_an_answer_in_its_words(
    recorder: TraceRecorder, traces: list[Trace]
) -> None:
    model = Model(script=[says("Sure."), says("Done.")])

    def talk(said: list[Any]) -> Any:
        return model.invoke([*said, model.invoke(said), HumanMessage("Now.")])

    history = [HumanMessage("Hi."), AIMessage("Sure."), HumanMessage("Book it.")]
    RunnableLambda(talk).invoke(history, {"callbacks": [recorder]})
    assert timeless(traces[0]) == (
        Message("user", "Book it."),
        Message("assistant", "Sure."),
        Message("user", "Now."),
        Message("assistant", "Done."),
    )


@pytest.mark.parametrize("way", ["sync", "async"])
def test_stream_that_is_left_where_it_asks_a_person_pauses(
    way: str, recorder: TraceRecorder, traces: list[Trace]
) -> None:
    def name(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"Hello {interrupt('Name?')}.")]}

    built = StateGraph(MessagesState).add_node("name", name).add_edge(START, "name")
    graph = built.compile(checkpointer=InMemorySaver())
    config: Any = {"callbacks": [recorder], "configurable": {"thread_id": "t"}}

    async def run() -> None:
        stream: Any = graph.astream(ASK, config)
        assert "__interrupt__" in await anext(stream)
        await stream.aclose()

    if way == "async":
        asyncio.run(run())
    else:
        stream: Any = graph.stream(ASK, config)
        assert "__interrupt__" in next(stream)
        stream.close()
    assert traces == []
    graph.invoke(Command(resume="Bo"), config)
    (trace,) = traces
    assert timeless(trace) == (Message("user", "1 + 2?"), Message("assistant", "Hello Bo."))
    assert "ended_by" not in trace.labels


def test_model_that_is_tried_again_takes_one_turn(traces: list[Trace]) -> None:
    memory = ProceduralMemory(InMemoryStore(), "p").agent("sums")
    memory.commit(prompts={"main": "Add."}, promote=True)
    call = says("", ("add", {"a": 1, "b": 2}, "c1"))
    script = [ValueError("busy"), call, ValueError("busy"), ValueError("busy"), says("3.")]
    again: Any = ModelRetryMiddleware(max_retries=2, initial_delay=0)
    agent = create_agent(Model(script=script), [add], middleware=[TunedPrompt(memory), again])
    agent.invoke(ASK, {"callbacks": [TraceRecorder(traces.append, agent="sums")]})
    assert traces[0].turns == 2
