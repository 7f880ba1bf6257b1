"""Thread histories read from a real `langgraph dev` server, through its SDK."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph_api", reason="needs the extra `server`")

from langgraph_sdk import get_client, get_sync_client

from tracetune.errors import TraceError
from tracetune.traces.model import Message, ToolCall, Trace
from tracetune.traces.threads import aserver_traces, server_traces

# One graph that, by what it is asked, looks things up, raises, asks a person, or never ends.
SERVED = """
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt


def think(state: MessagesState) -> dict:
    asked = [m.text for m in state["messages"] if m.type == "human"][-1]
    last = state["messages"][-1]
    if asked == "wait" and last.type == "human":
        return {"messages": [AIMessage(f"You said {interrupt('sure?')}.")]}
    if last.type == "tool" and asked != "round":
        stamp = {"tracetune_agent": "desk", "tracetune_release": "r1"}
        return {"messages": [AIMessage("Done.", response_metadata=stamp)]}
    call = {"name": "look", "args": {"at": asked}, "id": f"c{len(state['messages'])}"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


def look(state: MessagesState) -> dict:
    call = state["messages"][-1].tool_calls[0]
    if call["args"]["at"] == "fire":
        raise ValueError("too hot")
    return {"messages": [ToolMessage("found it", tool_call_id=call["id"])]}


def after_think(state: MessagesState) -> str:
    return "look" if state["messages"][-1].tool_calls else END


builder = StateGraph(MessagesState)
builder.add_node("think", think)
builder.add_node("look", look)
builder.add_edge(START, "think")
builder.add_conditional_edges("think", after_think, ["look", END])
builder.add_edge("look", "think")
graph = builder.compile()
"""

Serve = Callable[[Path, dict[str, Any]], AbstractContextManager[str]]


@pytest.fixture
def server(tmp_path: Path, serve: Serve) -> Iterator[str]:
    (tmp_path / "desk_graph.py").write_text(SERVED, encoding="utf-8")
    served = {"dependencies": ["."], "graphs": {"helper": "./desk_graph.py:graph"}}
    with serve(tmp_path, served) as address:
        yield address


async def run(client: Any, text: str, **more: Any) -> str:
    """Run the graph on a thread of its own, and return the thread's id."""
    thread = await client.threads.create()
    return await again(client, thread["thread_id"], text, **more)


async def again(client: Any, thread: str, text: str, **more: Any) -> str:
    asked = {"messages": [{"role": "user", "content": text}]}
    await client.runs.wait(thread, "helper", input=asked, raise_error=False, **more)
    return thread


def told(traces: list[Trace]) -> list[Any]:
    return [
        [
            s.text if isinstance(s, Message) else (s.result, s.error)
            for s in t.steps
            if isinstance(s, Message | ToolCall)
        ]
        for t in traces
    ]


async def test_the_runs_of_a_servers_threads(server: str):
    # One test: a server takes seconds to start.
    client = get_client(url=server)
    task = {"metadata": {"tracetune_task": "t7"}}
    twice, failed, round_, waits = await asyncio.gather(
        run(client, "up", config=task),
        run(client, "fire"),
        run(client, "round", config={"recursion_limit": 120}),
        run(client, "wait"),
    )
    await again(client, twice, "down")

    async def read(*threads: str, **more: Any) -> list[Trace]:
        return [trace async for trace in aserver_traces(client, threads, **more)]

    first, second = await read(twice)
    assert told([first, second]) == [
        ["up", ("found it", None), "Done."],
        ["down", ("found it", None), "Done."],
    ]
    assert [(t.agent, t.release, t.task) for t in (first, second)] == [
        ("desk", "r1", "t7"),
        ("desk", "r1", None),
    ]
    runs = await client.runs.list(twice)
    assert [first.id, second.id] == [f"{twice}/{one['run_id']}" for one in reversed(runs)]
    assert first.latency_s is not None
    assert all(call.latency_s is not None for call in first.agent_calls())

    (raised,) = await read(failed)
    assert told([raised]) == [["fire", (None, "ValueError('too hot')")]]
    assert (raised.agent, raised.success, raised.labels["failed_at"]) == ("helper", False, "look")

    (endless,) = await read(round_)
    assert (endless.labels["ended_by"], endless.success) == ("recursion_limit", False)
    assert (endless.turns, endless.attempts) == (120, 60)  # over several pages

    (waiting,) = await read(waits)
    await client.runs.wait(waits, "helper", command={"resume": "yes"})
    (answered,) = await read(waits, agent="front")
    assert (waiting.labels["ended_by"], told([waiting])) == ("interrupt", [["wait"]])
    assert (answered.id, told([answered])) == (waiting.id, [["wait", "You said yes."]])
    assert (answered.agent, answered.latency_s) == ("front", None)

    empty = (await client.threads.create())["thread_id"]
    queued = (await client.threads.create())["thread_id"]
    asked: Any = {"messages": [{"role": "user", "content": "up"}]}
    await client.runs.create(queued, "helper", input=asked, after_seconds=600)
    everything = [trace async for trace in aserver_traces(client)]
    assert len(everything) == 5
    by_sync_client = await asyncio.to_thread(
        lambda: list(server_traces(get_sync_client(url=server)))
    )
    assert sorted(t.id for t in by_sync_client) == sorted(t.id for t in everything)
    assert set(map(repr, by_sync_client)) == set(map(repr, everything))

    for thread in (empty, queued):
        with pytest.raises(TraceError, match=f"thread '{thread}' has no run that has ended"):
            await read(thread)
        with pytest.raises(TraceError, match=f"thread '{thread}' has no run that has ended"):
            list(server_traces(get_sync_client(url=server), [thread]))
    with pytest.raises(TraceError, match="thread '00000000-0000-0000-0000-000000000000' cannot be"):
        await read("00000000-0000-0000-0000-000000000000")
    with pytest.raises(TraceError, match="the threads cannot be read"):
        [trace async for trace in aserver_traces(get_client(url="http://127.0.0.1:9"))]

    reader = server_traces(get_sync_client(url=server))
    seen = next(reader).labels["thread"]
    for thread in {twice, failed, round_, waits} - {seen}:
        await client.threads.delete(thread)
    assert {t.labels["thread"] for t in reader} <= {seen}, "those deleted meanwhile are skipped"
