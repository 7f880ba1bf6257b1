"""Runs read live from checkpointers: graphs and savers, in memory and on SQLite."""

import asyncio
import json
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph_sdk.client import SyncLangGraphClient
from typing_extensions import TypedDict

from tracetune.errors import TraceError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.middleware import TunedPrompt
from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.read import BadRecord
from tracetune.traces.redaction import Redactor
from tracetune.traces.threads import athread_traces, server_traces, thread_traces

ANSWERED = (("look", "found it", None), ("look", "found it", None))


class State(TypedDict):
    messages: list[Any]


class Looker(BaseChatModel):
    """Looks for each word of what it was asked, at once, then says so."""

    @property
    def _llm_type(self) -> str:
        return "looker"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = str(messages[-1].content) if messages[-1].type == "human" else ""
        calls = [
            {"name": "look", "args": {"at": word}, "id": f"{len(messages)}-{index}"}
            for index, word in enumerate(asked.split())
        ]
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        reply = AIMessage("" if calls else "Done.", tool_calls=calls, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


@tool
def look(at: str) -> str:
    """Look at it."""
    if at == "fire":
        raise ValueError("too hot")
    return "found it"


def agent(saver: Any, **more: Any) -> Any:
    return create_agent(Looker(), [look], name="desk", checkpointer=saver, **more)


def ask(graph: Any, thread: str, text: str, **config: Any) -> None:
    graph.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": thread}, **config})


def calls(trace: Trace) -> tuple[Any, ...]:
    return tuple((s.name, s.result, s.error) for s in trace.steps if isinstance(s, ToolCall))


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemorySaver()
        return
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        yield saver


@pytest.fixture
def threads(saver: Any) -> tuple[Any, Any]:
    """A graph and its saver, after two runs on the thread `b`, one on `a`, and a failed one."""
    graph = agent(saver)
    ask(graph, "b", "up down")
    ask(graph, "b", "left")
    ask(graph, "a", "hi")
    with pytest.raises(ValueError, match="too hot"):
        ask(graph, "c", "ice fire")
    return graph, saver


@pytest.mark.parametrize("source", [0, 1], ids=["the graph", "the saver alone"])
def test_every_run_of_every_thread(threads: tuple[Any, Any], source: int):
    traces = list(thread_traces(threads[source]))

    assert [(t.labels["thread"], t.agent, calls(t)) for t in traces] == [
        ("a", "desk", ANSWERED[:1]),
        ("b", "desk", ANSWERED),
        ("b", "desk", ANSWERED[:1]),
        ("c", "desk", (ANSWERED[0], ("look", None, "ValueError('too hot')"))),
    ]
    assert [t.success for t in traces] == [None, None, None, False]
    assert [(t.tokens_in, t.tokens_out, t.turns) for t in traces[:3]] == [(6, 4, 3)] * 3
    assert all(t.started_at and t.latency_s is not None for t in traces[:3])
    assert all(call.latency_s is not None for t in traces[:3] for call in t.agent_calls())
    assert len({t.id for t in traces}) == len(traces)


def test_the_same_thread_gives_the_same_traces_by_graph_and_by_saver(threads: tuple[Any, Any]):
    graph, saver = threads

    assert list(thread_traces(graph, ["b"])) == list(thread_traces(saver, ["b"]))


def test_chosen_threads_under_a_chosen_name(threads: tuple[Any, Any]):
    traces = list(thread_traces(threads[0], ["c", "a"], agent="front"))

    assert [(t.labels["thread"], t.agent) for t in traces] == [("c", "front"), ("a", "front")]


def test_a_graphs_own_name_is_the_agents():
    builder = StateGraph(MessagesState)
    builder.add_node("reply", lambda state: {"messages": [AIMessage("a")]})
    builder.add_edge(START, "reply")
    saver = InMemorySaver()
    ask(builder.compile(checkpointer=saver), "a", "up")

    named = thread_traces(builder.compile(checkpointer=saver, name="helper"))
    nameless = thread_traces(builder.compile(checkpointer=saver))

    assert [t.agent for t in (*named, *nameless)] == ["helper", "agent"]


async def test_asynchronous_savers(tmp_path: Path):
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        graph = agent(saver)
        config: Any = {"configurable": {"thread_id": "a"}}
        await graph.ainvoke({"messages": [("user", "up down")]}, config)
        await asyncio.gather(
            *(
                graph.ainvoke({"messages": [("user", "left")]}, {"configurable": {"thread_id": id}})
                for id in ("b", "c")
            )
        )

        by_graph = [trace async for trace in athread_traces(graph)]
        by_saver = [trace async for trace in athread_traces(saver)]

    assert by_graph == by_saver
    assert [(t.labels["thread"], calls(t)) for t in by_graph] == [
        ("a", ANSWERED),
        ("b", ANSWERED[:1]),
        ("c", ANSWERED[:1]),
    ]


def test_a_recursion_limit_that_ended_a_run():
    saver = InMemorySaver()
    with pytest.raises(GraphRecursionError):
        ask(agent(saver), "a", "up", recursion_limit=2)

    (unknown,) = thread_traces(saver)
    (known,) = thread_traces(saver, recursion_limit=2)

    assert (unknown.labels["ended_by"], unknown.success) == ("unfinished", None)
    assert (known.labels["ended_by"], known.success) == ("recursion_limit", False)


def test_a_persons_edits_are_no_steps_of_the_graph():
    config: Any = {"configurable": {"thread_id": "t"}}
    graph = agent(InMemorySaver(), interrupt_before=["tools"])
    graph.invoke({"messages": [("user", "here")]}, config)
    graph.update_state(config, {"messages": []}, as_node="model")
    graph.invoke(None, config)

    (trace,) = thread_traces(graph)

    assert (trace.turns, trace.attempts) == (3, 1)


def test_a_replay_takes_as_many_steps_as_the_run_did():
    config: Any = {"configurable": {"thread_id": "t"}}
    graph = agent(InMemorySaver())
    graph.invoke({"messages": [("user", "here")]}, config)
    [before] = [one for one in graph.get_state_history(config) if one.next == ("tools",)]
    graph.invoke(None, before.config)

    assert [trace.turns for trace in thread_traces(graph)] == [3, 3]


def test_the_release_a_run_was_under():
    with open_store("memory://") as store:
        memory = ProceduralMemory(store, "p").agent("mail")
        limited = {"prompts": {"main": "Look."}, "config": {"max_steps": 1}}
        release = memory.commit(**limited, why=["first"], origin="human", promote=True)
        saver = InMemorySaver()
        ask(agent(saver, middleware=[TunedPrompt(memory, step_limit="max_steps")]), "a", "up")

    (trace,) = thread_traces(saver)

    assert (trace.agent, trace.release) == ("mail", release.id)
    assert (trace.labels["ended_by"], trace.turns, trace.tokens_in) == ("max_steps", 1, 3)
    assert {step.agent for step in trace.steps} == {None}


@pytest.mark.parametrize(
    ("source", "threads", "reason"),
    [
        (3, None, "source is 3, expected a checkpointer, or a graph with one"),
        (agent(None), None, "expected a checkpointer, or a graph with one"),
        (InMemorySaver(), ["x"], "thread 'x' has no history"),
        (agent(InMemorySaver()), ["x"], "thread 'x' has no history"),
    ],
    ids=["a number", "a graph without one", "an empty saver", "an empty graph"],
)
def test_what_cannot_be_read_is_told(source: Any, threads: Any, reason: str):
    with pytest.raises(TraceError, match=reason):
        list(thread_traces(source, threads))


async def test_an_asynchronous_saver_read_synchronously_is_told(tmp_path: Path):
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        with pytest.raises(TraceError, match="cannot be read"):
            list(thread_traces(saver, ["a"]))


def test_secrets_are_taken_out_unless_told_otherwise():
    saver, key = InMemorySaver(), "ghp_" + "a1B2" * 9
    ask(agent(saver), "a", key)

    (clean,) = thread_traces(saver)
    (raw,) = thread_traces(saver, redactor=Redactor.off())

    assert key not in repr(clean)
    assert [call.arguments for call in raw.agent_calls()] == [{"at": key}]


def test_a_long_error_holds_no_half_of_a_secret():
    key = "ghp_" + "a1B2" * 9

    def reply(state: State) -> Any:
        raise RuntimeError(f"{'x' * 260} {key}")

    builder = StateGraph(State)
    builder.add_node("reply", reply)
    builder.add_edge(START, "reply")
    graph = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError):
        ask(graph, "a", "up")
    (trace,) = thread_traces(graph)
    assert "xxx" in trace.labels["error"]
    assert key[:8] not in trace.labels["error"]


def test_a_run_that_cannot_be_read_is_set_aside_or_ends_it():
    def reply(state: State) -> Any:
        return {"messages": [*state["messages"], 3]}

    builder = StateGraph(State)
    builder.add_node("reply", reply)
    builder.add_edge(START, "reply")
    graph = builder.compile(checkpointer=InMemorySaver())
    bad: list[BadRecord] = []
    ask(graph, "a", "up")

    assert list(thread_traces(graph, on_bad=bad.append)) == []
    assert ["messages[2] is 3, expected a chat message" in b.reason for b in bad] == [True]
    with pytest.raises(TraceError, match="expected a chat message"):
        list(thread_traces(graph, strict=True))


async def test_checkpoints_of_all_threads_are_not_kept_to_find_the_threads():
    class Counting(InMemorySaver):
        kept = most = 0

        async def alist(self, config: Any, **more: Any) -> AsyncIterator[CheckpointTuple]:
            for number in range(50):
                big: Any = Big()
                one = CheckpointTuple({"configurable": {"thread_id": str(number)}}, big, {})
                weakref.finalize(one.checkpoint, self.let_go)
                self.kept += 1
                self.most = max(self.most, self.kept)
                yield one
                del one, big

        def let_go(self) -> None:
            self.kept -= 1

    class Big(dict[str, Any]):
        """A checkpoint."""

    saver = Counting()
    found = athread_traces(saver)
    with pytest.raises(TraceError):
        await anext(found)
    assert saver.most < 5


def test_thread_that_two_pages_show_is_read_once():
    """A thread that begins while the pages are read moves the others on."""
    place = {"thread_id": "99", "checkpoint_id": "1", "checkpoint_ns": ""}
    run = {"run_id": "r", "status": "success"}
    history = {
        **{"values": {"messages": [{"role": "user", "content": "Hi."}]}, "next": [], "tasks": []},
        **{"checkpoint": place, "metadata": {"run_id": "r", "source": "input", "step": -1}},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content) if request.content else {}
        if request.url.path == "/threads/search":
            pages = {0: range(100), 100: range(99, 120)}
            return httpx.Response(
                200, json=[{"thread_id": str(n)} for n in pages.get(asked["offset"], ())]
            )
        if not request.url.path.startswith("/threads/99/"):
            return httpx.Response(200, json=[])
        if request.url.path.endswith("/runs"):
            return httpx.Response(200, json=[] if "offset=1" in str(request.url) else [run])
        return httpx.Response(200, json=[] if asked.get("before") else [history])

    http = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://server")
    (trace,) = server_traces(SyncLangGraphClient(http))
    assert trace.id == "99/r"


def test_time_in_which_someone_edited_the_state_is_none_of_the_runs():
    graph = agent(InMemorySaver())
    ask(graph, "a", "up")
    (whole,) = thread_traces(graph)
    place: Any = {"configurable": {"thread_id": "a"}}
    states = list(graph.get_state_history(place))
    (before,) = (one for one in states if one.next == ("tools",))
    graph.update_state(place, {"messages": [("user", "Well done.")]})
    (edited,) = thread_traces(graph)
    assert (edited.latency_s, edited.turns) == (whole.latency_s, whole.turns)

    graph.invoke(None, graph.update_state(before.config, {"messages": []}))
    forked = list(thread_traces(graph))[-1]
    assert (forked.latency_s, forked.turns) == (None, whole.turns)
    assert [call.latency_s for call in forked.agent_calls()] == [None]
    assert [call.latency_s is None for call in whole.agent_calls()] == [False]
