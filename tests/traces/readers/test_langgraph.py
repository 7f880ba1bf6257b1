"""Thread histories of LangGraph: exported snapshots of real graphs, forks, and odd shapes."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from tracetune.traces.model import Message, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces

THREAD: Any = {"configurable": {"thread_id": "t"}}


def exported(graph: Any, dump: Callable[[Any], Any] = dumpd) -> list[Any]:
    """The thread's history as JSON, as a program would write it."""
    rows = []
    for one in graph.get_state_history(THREAD):
        row = one._asdict() | {"tasks": [task._asdict() for task in one.tasks]}
        rows.append(json.loads(json.dumps(row, default=lambda value: _plain(value, dump))))
    return rows


def _plain(value: Any, dump: Callable[[Any], Any]) -> Any:
    return dump(value) if isinstance(value, BaseMessage) else str(value)


def steps(trace: Trace) -> list[Any]:
    return [(s.name, s.result, s.error) if isinstance(s, ToolCall) else s.text for s in trace.steps]


def graph_of(*nodes: Any, ends: bool = True) -> Any:
    """A graph of the nodes, one after the other."""
    builder = StateGraph(MessagesState)
    names = [f"n{index}" for index in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node)
    for before, after in zip([START, *names], [*names, END if ends else names[-1]], strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=InMemorySaver())


def say(text: str) -> Callable[[MessagesState], Any]:
    return lambda state: {"messages": [AIMessage(text)]}


def ask_tools(state: MessagesState) -> Any:
    calls = [
        {"name": "look", "args": {"n": n}, "id": f"c{len(state['messages'])}{n}"} for n in "12"
    ]
    return {"messages": [AIMessage("", tool_calls=calls)]}


def answer(state: MessagesState) -> Any:
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    return {"messages": [ToolMessage("ok", tool_call_id=call["id"]) for call in last.tool_calls]}


@pytest.mark.parametrize("dump", [dumpd, lambda m: m.model_dump()], ids=["dumpd", "model_dump"])
@pytest.mark.parametrize("turned", [False, True], ids=["newest first", "oldest first"])
def test_each_input_is_a_run_with_its_own_steps(dump: Callable[[Any], Any], turned: bool):
    graph = graph_of(ask_tools, answer, say("done"))
    for text in ("one", "two"):
        graph.invoke({"messages": [HumanMessage(text)]}, THREAD)
    history = exported(graph, dump)
    whole = next(iter(graph.get_state_history(THREAD)))

    first, second = read_traces(history[::-1] if turned else history)

    calls = [("look", "ok", None), ("look", "ok", None)]
    assert (steps(first), steps(second)) == (["one", *calls, "done"], ["two", *calls, "done"])
    assert len(first.steps) + len(second.steps) == len(whole.values["messages"]) - 2
    assert first.id.startswith("t/")
    assert first.id != second.id
    assert [t.labels for t in (first, second)] == [{"thread": "t"}] * 2
    assert [t.turns for t in (first, second)] == [3, 3]


def test_times_are_those_of_the_snapshots():
    graph = graph_of(ask_tools, answer, say("done"))
    graph.invoke({"messages": [HumanMessage("one")]}, THREAD)
    history = exported(graph)
    for second, row in enumerate(reversed(history)):
        row["created_at"] = f"2026-01-02T03:04:{second * second:02}+00:00"

    (trace,) = read_traces(history)

    # The snapshots: the input 0 s, before the model 1, before the tools 4, after them 9, done 16.
    assert str(trace.started_at) == "2026-01-02 03:04:00+00:00"
    assert trace.latency_s == 16.0
    assert [(c.latency_s, str(c.started_at)[-14:]) for c in trace.agent_calls()] == [
        (5.0, "03:04:04+00:00")
    ] * 2


def test_a_node_that_raises():
    def broken(state: MessagesState) -> Any:
        raise ValueError("boom")

    graph = graph_of(say("a"), broken)
    with pytest.raises(ValueError, match="boom"):
        graph.invoke({"messages": [HumanMessage("one")]}, THREAD)

    (trace,) = read_traces(exported(graph))

    assert (trace.success, trace.failure_kind, trace.latency_s) == (False, "unknown", None)
    assert trace.labels == {
        "thread": "t",
        "ended_by": "error",
        "error": "ValueError('boom')",
        "failed_at": "n1",
    }


@pytest.mark.parametrize(
    ("error", "kind", "success", "ended_by"),
    [
        ("RateLimitError(\"Error code: 429 - {'error': 1}\")", "infrastructure", None, "error"),
        ("AuthenticationError('bad key')", "infrastructure", None, "error"),
        ("ConnectTimeout('')", "infrastructure", None, "error"),
        ("ServiceUnavailable('503')", "infrastructure", None, "error"),
        ("openai.PermissionDeniedError('no')", "infrastructure", None, "error"),
        ("ResourceExhausted('quota')", "infrastructure", None, "error"),
        ("RuntimeError('litellm.RateLimitError: 429')", "infrastructure", None, "error"),
        ("TypeError('Authentication(user) takes one argument')", "unknown", False, "error"),
        ("PermissionError('/etc/shadow')", "unknown", False, "error"),
        ("TimeoutError()", "unknown", False, "error"),
        (
            "GraphRecursionError('Recursion limit of 4 reached')",
            "unknown",
            False,
            "recursion_limit",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_whose_fault_an_error_is(error: str, kind: str, success: bool | None, ended_by: str):
    task = {"name": "model", "path": ["__pregel_pull", "model"], "error": error}

    (trace,) = read_traces([snapshot("1", None, "input", tasks=[task], next=["model"])])

    assert (trace.failure_kind, trace.success, trace.labels["ended_by"]) == (
        kind,
        success,
        ended_by,
    )


def test_an_error_belongs_to_the_call_that_waited():
    def answer_none(state: MessagesState) -> Any:
        raise KeyError("shelf")

    def ask_one(state: MessagesState) -> Any:
        return {"messages": [AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])]}

    graph = graph_of(ask_one, answer_none)
    with pytest.raises(KeyError):
        graph.invoke({"messages": [HumanMessage("one")]}, THREAD)

    (trace,) = read_traces(exported(graph))

    assert steps(trace) == ["one", ("f", None, "KeyError('shelf')")]


@pytest.mark.parametrize(
    ("known", "ended_by", "success"),
    [(4, "recursion_limit", False), (None, "unfinished", None), (9, "unfinished", None)],
    ids=["at the limit", "limit unknown", "below the limit"],
)
def test_a_run_that_went_round_until_its_limit(
    known: int | None, ended_by: str, success: bool | None
):
    graph = graph_of(say("again"), ends=False)
    with pytest.raises(GraphRecursionError):
        graph.invoke({"messages": [HumanMessage("one")]}, THREAD | {"recursion_limit": 4})

    (trace,) = read_traces([row | {"recursion_limit": known} for row in exported(graph)])

    assert (trace.labels["ended_by"], trace.success, trace.turns) == (ended_by, success, 4)


def test_a_run_that_waits_for_a_person_and_goes_on():
    graph = graph_of(lambda state: {"messages": [AIMessage(f"so {interrupt('sure?')}")]})
    graph.invoke({"messages": [HumanMessage("one")]}, THREAD)
    (waiting,) = read_traces(exported(graph))
    graph.invoke(Command(resume="yes"), THREAD)
    (done,) = read_traces(exported(graph))

    assert (waiting.labels["ended_by"], waiting.success, steps(waiting)) == (
        "interrupt",
        None,
        ["one"],
    )
    assert (done.id, steps(done)) == (waiting.id, ["one", "so yes"])
    assert "ended_by" not in done.labels
    assert done.latency_s is None  # how long the person took is no one's latency


def test_what_was_trimmed_is_still_told():
    def trim(state: MessagesState) -> Any:
        return {"messages": [RemoveMessage(str(m.id)) for m in state["messages"]]}

    graph = graph_of(say("a"), trim, say("b"))
    for text in ("one", "two"):
        graph.invoke({"messages": [HumanMessage(text)]}, THREAD)

    first, second = read_traces(exported(graph))

    assert steps(first) == ["one", "a", "b"]
    assert steps(second) == ["two", "a", "b"]


def test_a_fork_is_a_run_of_its_own():
    graph = graph_of(say("a"), say("b"))
    graph.invoke({"messages": [HumanMessage("one")]}, THREAD)
    middle = next(s for s in graph.get_state_history(THREAD) if s.next == ("n1",))
    changed = graph.update_state(middle.config, {"messages": [HumanMessage("instead")]})
    graph.invoke(None, changed)

    traces = list(read_traces(exported(graph)))

    assert [steps(t) for t in traces] == [["one", "a", "b"], ["one", "a", "instead", "b"]]
    assert len({t.id for t in traces}) == 2


def test_without_snapshots_of_inputs_runs_are_told_by_where_the_graph_was_done():
    graph = graph_of(say("a"))
    for text in ("one", "two"):
        graph.invoke({"messages": [HumanMessage(text)]}, THREAD, durability="exit")

    traces = list(read_traces(exported(graph)))

    assert [steps(t) for t in traces] == [["one", "a"], ["two", "a"]]
    assert [t.latency_s for t in traces] == [None, None]


def test_an_export_without_parents_is_read_in_order():
    graph = graph_of(say("a"))
    for text in ("one", "two"):
        graph.invoke({"messages": [HumanMessage(text)]}, THREAD)

    traces = read_traces([row | {"parent_config": None} for row in exported(graph)])

    assert [steps(t) for t in traces] == [["one", "a"], ["two", "a"]]


def test_a_run_that_began_before_the_history_is_set_aside():
    graph = graph_of(say("a"))
    for text in ("one", "two"):
        graph.invoke({"messages": [HumanMessage(text)]}, THREAD)
    bad: list[BadRecord] = []

    traces = list(read_traces(exported(graph)[:4], on_bad=bad.append))

    assert [steps(t) for t in traces] == [["two", "a"]]
    assert ["begins earlier than the history" in b.reason for b in bad] == [True]


def snapshot(
    id: str, parent: str | None, source: str, messages: Iterable[Any] = (), **more: Any
) -> dict[str, Any]:
    place = {"thread_id": "t", "checkpoint_ns": ""}
    return {
        "values": {"messages": list(messages)},
        "next": [],
        "tasks": [],
        "metadata": {"source": source, "step": int(id)} | more.pop("metadata", {}),
        "created_at": f"2026-01-02T03:04:{int(id):02}+00:00",
        "checkpoint": place | {"checkpoint_id": id},
        "parent_checkpoint": parent and place | {"checkpoint_id": parent},
    } | more


STAMPED = AIMessage("a", response_metadata={"tracetune_agent": "mail", "tracetune_release": "r1"})


@pytest.mark.parametrize(
    ("metadata", "messages", "expected"),
    [
        ({}, [STAMPED], ("mail", "r1", None)),
        ({"lc_agent_name": "desk"}, [STAMPED], ("mail", "r1", None)),
        ({"tracetune_agent": "x", "tracetune_release": "r2"}, [STAMPED], ("x", "r2", None)),
        ({"lc_agent_name": "desk"}, [AIMessage("a", name="worker")], ("desk", None, None)),
        ({"graph_id": "team"}, [AIMessage("a", name="worker")], ("worker", None, None)),
        ({"graph_id": "team"}, [AIMessage("a")], ("team", None, None)),
        ({"tracetune_task": "t1", "task": "no"}, [AIMessage("a")], ("agent", None, "t1")),
        ({"task": 7}, [AIMessage("a")], ("agent", None, "7")),
    ],
)
def test_whose_run_it_was(metadata: dict[str, Any], messages: list[Any], expected: Any):
    run = [
        snapshot("1", None, "input", metadata=metadata),
        snapshot("2", "1", "loop", messages, metadata=metadata),
    ]

    (trace,) = read_traces(run)

    assert (trace.agent, trace.release, trace.task) == expected


def test_messages_without_ids_and_under_another_name():
    chat = [{"role": "user", "content": "again"}, {"role": "assistant", "content": "no"}]
    run = [
        snapshot("1", None, "input", values={"log": []}),
        snapshot("2", "1", "loop", values={"log": chat, "left": 3}),
        snapshot("3", "2", "input", values={"log": chat}),
        snapshot("4", "3", "loop", values={"log": [*chat, *chat], "left": 2}),
    ]

    first, second = read_traces(run)

    assert first.steps == second.steps == (Message("user", "again"), Message("assistant", "no"))


def test_several_threads_in_one_file_lie_mixed():
    other = {"thread_id": "u", "checkpoint_ns": ""}
    rows = [
        snapshot("1", None, "input", next=["a"]),
        snapshot("1", None, "input", checkpoint=other | {"checkpoint_id": "1"}),
        snapshot("2", "1", "loop", [AIMessage("a")]),
    ]

    assert {t.id: len(t.steps) for t in read_traces(rows)} == {"u/1": 0, "t/1": 1}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (snapshot("1", None, "input", checkpoint={"thread_id": "t"}), "names no thread_id and"),
        (snapshot("1", None, "input", metadata={"source": 3.5}), "metadata.source is 3.5"),
        (snapshot("1", None, "input", created_at="soon"), "created_at is 'soon', expected ISO"),
        (snapshot("1", None, "input", tasks=3), "tasks is 3, expected a list"),
        (snapshot("1", None, "loop", [3]), "run 1: messages[1] is 3, expected a chat message"),
        (snapshot("1", None, "loop", values={"messages": 3}), "values.messages is 3, expected a"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_snapshot_is_set_aside(record: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    assert not list(read_traces([record], format="langgraph", on_bad=bad.append))
    assert [reason in b.reason for b in bad] == [True], bad
