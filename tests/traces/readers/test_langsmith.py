"""LangSmith runs: real ones of LangGraph agents, in each of the shapes they come in."""

import json
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import duckdb
import langsmith
import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langgraph.graph import END, START, MessagesState, StateGraph

from tracetune.traces.model import Message, Trace
from tracetune.traces.read import BadRecord, read_traces

Row = dict[str, Any]


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


@tool
def look_up(what: str) -> str:
    """Look something up."""
    if what == "bad":
        raise ValueError("no such form")
    return "Room 4"


def said(text: str, tokens: int, **more: Any) -> AIMessage:
    usage = {"input_tokens": tokens, "output_tokens": 5, "total_tokens": tokens + 5}
    return AIMessage(text, usage_metadata=usage, **more)


def rows_of(run: Any) -> Iterator[Row]:
    """A run and those below it, as LangSmith keeps them: messages in LangChain's own form."""
    names = ("id", "name", "run_type", "start_time", "end_time", "parent_run_id", "trace_id")
    names += ("dotted_order", "inputs", "outputs", "error", "extra", "tags")
    row = {name: getattr(run, name) for name in names}
    yield json.loads(
        json.dumps(row, default=lambda one: dumpd(one) if hasattr(one, "content") else str(one))
    )
    for child in run.child_runs:
        yield from rows_of(child)


def recorded(graph: Any, **metadata: Any) -> list[Row]:
    collector = RunCollectorCallbackHandler()
    asked = {"messages": [{"role": "user", "content": "Where is the form?"}]}
    config = {"callbacks": [collector], "metadata": metadata, "tags": ["b", "a"]}
    try:
        graph.invoke(asked, config)
    except ValueError:
        assert collector.traced_runs[0].error
    return list(rows_of(collector.traced_runs[0]))


def agent(what: str = "form", **more: Any) -> Any:
    call = {"name": "look_up", "args": {"what": what}, "id": "c1"}
    replies = [said("Let me see.", 10, tool_calls=[call]), said("In room 4.", 20)]
    return create_agent(Scripted(messages=iter(replies)), [look_up], **more)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    told = {"tracetune_release": "r1", "task": "t1", "thread_id": "th", "ls_model_name": "m"}
    return recorded(agent(name="desk"), **told)


@pytest.fixture(scope="module")
def nested() -> list[Row]:
    graph = StateGraph(MessagesState)

    def route(state: MessagesState) -> dict[str, Any]:
        Scripted(messages=iter([said("ask them", 1)])).invoke(state["messages"])
        return {}

    graph.add_node("router", route)
    graph.add_node("research", agent(name="researcher"))
    graph.add_edge(START, "router")
    graph.add_edge("router", "research")
    graph.add_edge("research", END)
    return recorded(graph.compile(name="office"))


def read(records: Any) -> tuple[list[Trace], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_traces(records, on_bad=bad.append)), bad


def second_version(row: Row) -> Row:
    """As the second version of the API has it."""
    row = json.loads(json.dumps(row))
    parent = row.pop("parent_run_id")
    return {
        **row,
        "metadata": row["extra"].pop("metadata"),
        "parent_run_ids": [parent] if parent else [],
        "run_type": row["run_type"].upper(),
        "status": "SUCCESS",
    }


def command_line(row: Row) -> Row:
    return {("run_id" if name == "id" else name): value for name, value in row.items()}


def in_text(row: Row) -> Row:
    """As a bulk export has it: nested values are JSON in text."""
    return {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()}


def without_ids(row: Row) -> Row:
    """Where a run stands can be told from its dotted order alone."""
    return {k: v for k, v in row.items() if k not in ("trace_id", "parent_run_id")}


@pytest.mark.parametrize(
    "shape",
    [dict, second_version, command_line, in_text, without_ids],
    ids=lambda one: one.__name__,
)
def test_one_run_in_every_shape(rows: list[Row], shape: Any):
    traces, bad = read([shape(row) for row in reversed(rows)])

    assert bad == []
    (trace,) = traces
    assert (trace.id, trace.agent) == (rows[0]["id"], "desk")
    assert (trace.release, trace.task, trace.turns) == ("r1", "t1", 3)
    assert (trace.tokens_in, trace.tokens_out, trace.cost_usd) == (30, 10, None)
    (call,) = trace.agent_calls()
    assert (call.name, call.arguments, call.result) == ("look_up", {"what": "form"}, "Room 4")
    assert call.latency_s is not None
    assert trace.latency_s is not None
    assert call.latency_s < trace.latency_s
    assert [s.text for s in trace.steps if isinstance(s, Message)][1:] == [
        "Let me see.",
        "In room 4.",
    ]
    assert trace.labels == {"ended_by": "finished", "model": "m", "tags": "a,b", "thread": "th"}
    assert trace.success is None


def test_runs_nested_in_their_parents(rows: list[Row]):
    def tree(row: Row) -> Row:
        below = [tree(one) for one in rows if one["parent_run_id"] == row["id"]]
        return {**row, "child_runs": below}

    ((trace,), bad) = read([tree(rows[0])])

    assert (trace.attempts, trace.tokens_in, bad) == (1, 30, [])


def test_an_agent_in_a_node_is_a_sub_agent(nested: list[Row]):
    (whole, part), bad = read(nested)

    assert bad == []
    assert (whole.agent, part.agent) == ("office", "researcher")
    assert (whole.tokens_in, part.tokens_in) == (31, 30)
    assert part.labels["part_of"] == whole.id
    assert [s.agent for s in whole.steps] == ["router"] * 2 + ["researcher"] * 4
    assert {s.agent for s in part.steps} == {None}
    assert (whole.turns, part.turns) == (2, None)


def test_a_tool_that_raises_fails_its_call_and_the_run():
    ((trace,), _) = read(recorded(agent("bad", name="desk")))

    assert [c.error for c in trace.agent_calls()] == ["ValueError('no such form')"]
    assert (trace.success, trace.failure_kind) == (False, "unknown")
    assert trace.labels["error"] == "ValueError('no such form')"


def changed(rows: list[Row], **more: Any) -> list[Row]:
    return [{**rows[0], **more}, *rows[1:]]


@pytest.mark.parametrize(
    ("more", "success", "ended_by"),
    [
        ({"error": "GraphRecursionError('Recursion limit of 25')"}, False, "recursion_limit"),
        ({"error": "GraphInterrupt((Interrupt(value=1),))"}, None, "interrupt"),
        ({"status": "error"}, False, "error"),
        ({"error": "x", "feedback_stats": {"correctness": {"n": 1, "avg": 1.0}}}, True, "error"),
    ],
    ids=["step limit", "waits for a person", "status alone", "a score has the last word"],
)
def test_how_a_run_ended(rows: list[Row], more: Row, success: bool | None, ended_by: str):
    ((trace,), _) = read(changed(rows, **more))

    assert (trace.success, trace.labels["ended_by"]) == (success, ended_by)


def test_a_host_that_refuses_is_infrastructure(rows: list[Row]):
    error = "RateLimitError(\"Error code: 429 - {'error': {'message': 'Rate limit reached'}}\")"

    ((trace,), _) = read(changed(rows, error=error))

    assert (trace.success, trace.failure_kind) == (False, "infrastructure")


def test_feedback(rows: list[Row]):
    stats = {
        "user_score": {"n": 2, "avg": 0.5, "comments": ["fine", "slow"]},
        "tone": {"n": 1, "avg": None, "values": {"warm": 1}},
    }

    ((trace,), _) = read(changed(rows, feedback_stats=json.dumps(stats)))

    assert (trace.success, trace.score) == (True, 0.5)
    assert trace.feedback == {"user_score": 0.5, "user_score.comment": "fine; slow", "tone": "warm"}


def test_runs_of_one_dataset_example_are_of_one_task(rows: list[Row]):
    bare = json.loads(json.dumps(rows).replace('"task"', '"other"'))

    ((trace,), _) = read(changed(bare, reference_example_id="e1"))

    assert trace.task == "e1"


def test_what_langsmith_counted_goes_before_what_messages_say(rows: list[Row]):
    told = {"prompt_tokens": "100", "completion_tokens": 7, "total_cost": "0.25"}
    models = [{**row, **told} if row["run_type"] == "llm" else row for row in rows]

    # The root's own sums must not be added to those of its calls.
    ((trace,), _) = read(changed(models, prompt_tokens=200, completion_tokens=14, total_cost=0.5))

    assert (trace.tokens_in, trace.tokens_out, trace.cost_usd) == (200, 14, 0.5)


def test_the_release_that_a_message_bears(rows: list[Row]):
    bare = json.loads(json.dumps(rows).replace("tracetune_release", "other"))
    reply = next(row for row in bare if row["run_type"] == "llm")["outputs"]["generations"][0][0]
    reply["message"]["kwargs"]["response_metadata"] = {"tracetune_release": "r9"}

    ((trace,), _) = read(bare)

    assert trace.release == "r9"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"start_time": "soon"}, "a span: start_time is 'soon', expected ISO 8601 text or seconds"),
        ({"extra": 3}, "a span: extra is 3, expected an object"),
        ({"prompt_tokens": "x"}, "a span: prompt_tokens is 'x', expected a whole number"),
    ],
)
def test_a_bad_run_is_set_aside_and_the_rest_is_read(rows: list[Row], more: Row, reason: str):
    broken = [{**row, **more} if row["run_type"] == "tool" else row for row in rows]

    traces, bad = read(broken)

    assert [t.agent for t in traces] == ["desk"]
    assert [b.reason.startswith(reason) for b in bad] == [True]


def test_a_bulk_export_as_parquet(rows: list[Row], tmp_path: Path):
    import duckdb

    lines = tmp_path / "runs.jsonl"
    lines.write_text("\n".join(json.dumps(in_text(row)) for row in rows))
    path = tmp_path / "runs" / "year=2026" / "part.parquet"
    path.parent.mkdir(parents=True)
    text = "inputs: 'VARCHAR', outputs: 'VARCHAR', extra: 'VARCHAR', tags: 'VARCHAR'"
    times = "start_time: 'TIMESTAMP', end_time: 'TIMESTAMP', error: 'VARCHAR'"
    ids = ", ".join(
        f"{name}: 'VARCHAR'"
        for name in ("id", "name", "run_type", "parent_run_id", "trace_id", "dotted_order")
    )
    columns = f"{{{text}, {times}, {ids}}}"
    duckdb.sql(
        f"COPY (FROM read_json('{lines}', columns = {columns})) TO '{path}' (FORMAT parquet)"
    )

    ((trace,), bad) = read(tmp_path / "runs")

    assert (trace.agent, trace.attempts, trace.tokens_in, bad) == ("desk", 1, 30, [])
    assert trace.started_at == next(read_traces(rows)).started_at


def test_objects_of_the_client_are_read_as_what_they_dump(rows: list[Row]):
    made, bad = read([langsmith.schemas.Run(**row) for row in rows])

    assert bad == []
    assert made == read(rows)[0]


def test_any_object_may_give_its_dict_and_a_dataclass_has_one(rows: list[Row]):
    names = sorted({name for row in rows for name in row})
    cls = make_dataclass("Run", names)

    assert read([cls(**{name: row.get(name) for name in names}) for row in rows]) == read(rows)
    with_dict = [type("Run", (), {"dict": lambda self, row=row: row})() for row in rows]
    assert read(with_dict) == read(rows)


def test_null_as_text_in_parquet_is_null(rows: list[Row], tmp_path: Path):
    texts = ("inputs", "outputs", "extra", "tags")
    kept = [{**row, **{n: json.dumps(row[n]) for n in texts}} for row in rows]
    kept = [row | {"feedback_stats": "null", "parent_run_ids": "null"} for row in kept]
    kept[-1]["outputs"] = "null"
    (tmp_path / "rows.json").write_text(json.dumps(kept), encoding="utf-8")
    path = tmp_path / "runs.parquet"
    duckdb.sql(f"COPY (FROM read_json('{tmp_path}/rows.json')) TO '{path}' (FORMAT parquet)")
    expected, _ = read([*rows[:-1], {**rows[-1], "outputs": None}])

    assert read(path) == (expected, [])
