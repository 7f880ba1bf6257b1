"""Spans of any tracer: whose they are, what became of them, and what odd ones come to."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces
from tracetune.traces.readers.said import said_in, unseen_in
from tracetune.traces.readers.scores import Score, outcome_of
from tracetune.traces.readers.span import nanos
from tracetune.traces.readers.span_steps import arguments_in, result_in

T0 = 1_760_000_000_000_000_000
SECOND = 10**9


def span(id: str, parent: str | None, kind: str, at: float = 0, **more: Any) -> dict[str, Any]:
    """A span of `kind` that starts `at` seconds after the first and takes one."""
    start = T0 + round(at * SECOND)
    attributes = {"openinference.span.kind": kind, **more.pop("attributes", {})}
    row = {"trace_id": "t", "span_id": id, "parent_span_id": parent, "name": id}
    return {
        **row,
        "start_time": start,
        "end_time": start + SECOND,
        "status": {"code": 1},
        "attributes": attributes,
        **more,
    }


def llm(id: str, parent: str, at: float, said: Any = "", **attributes: Any) -> dict[str, Any]:
    told = {"llm.token_count.prompt": 10, "llm.token_count.completion": 5, "output.value": said}
    return span(id, parent, "LLM", at, attributes={**told, **attributes})


def tool(id: str, parent: str, at: float, **attributes: Any) -> dict[str, Any]:
    told = {"tool.name": id, "input.value": '{"a": 1}', "output.value": "done"}
    return span(id, parent, "TOOL", at, attributes={**told, **attributes})


def failed(row: dict[str, Any], error: str) -> dict[str, Any]:
    return {**row, "status": {"code": 2, "description": error}}


def read(*spans: Any) -> tuple[list[Trace], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_traces([{"trace_id": "t", "spans": [*spans]}], on_bad=bad.append)), bad


def one(*spans: Any) -> Trace:
    traces, bad = read(*spans)
    assert bad == []
    (trace,) = traces
    return trace


def test_real_runs_that_failed_on_their_host_blame_infrastructure(shared_data: Path):
    bad: list[BadRecord] = []
    traces = list(read_traces(shared_data / "openinference", on_bad=bad.append))

    assert bad == []
    assert len(traces) == 13
    assert {t.agent for t in traces} == {"ToolCallingAgent"}
    kinds = Counter((t.success, t.failure_kind) for t in traces)
    assert kinds == {(False, "infrastructure"): 11, (None, "unknown"): 2}
    by_task = {t.task: t for t in traces if t.tokens_in}
    weather = by_task["tool_weather_single"]
    # The file's own sum, 3069, is right here; where an agent sums up too, it counts twice.
    assert (weather.tokens_in, weather.tokens_out) == (3037, 32)
    assert [c.name for c in weather.agent_calls()] == ["get_weather", "final_answer"]
    assert next(weather.agent_calls()).arguments == {"location": "Paris, France"}
    assert weather.latency_s == pytest.approx(3.6466, abs=1e-4)
    assert weather.labels["ended_by"] == "error"


def test_steps_are_in_the_order_of_their_start_whatever_the_files():
    trace = one(
        tool("b", "root", 3),
        llm("l2", "root", 2, "then b"),
        span("root", None, "AGENT"),
        tool("a", "root", 1),
        llm("l1", "root", 0, "first a"),
    )

    said = [s.text if isinstance(s, Message) else getattr(s, "name", "") for s in trace.steps]
    assert said == ["first a", "a", "then b", "b"]
    assert (trace.attempts, trace.tokens_in, trace.tokens_out) == (2, 20, 10)
    assert trace.labels == {"ended_by": "finished"}
    assert trace.success is None


def test_a_sub_agent_has_a_trace_of_its_own_and_its_steps_bear_its_name_in_the_whole():
    traces, bad = read(
        span("boss", None, "AGENT"),
        llm("l1", "boss", 0, "ask the clerk"),
        span("clerk", "boss", "AGENT", 1),
        llm("l2", "clerk", 1, "looking"),
        tool("find", "clerk", 2),
        llm("l3", "boss", 3, "done"),
    )

    assert bad == []
    whole, part = traces
    assert (whole.id, whole.agent, part.id, part.agent) == ("t", "boss", "t/clerk", "clerk")
    assert [s.agent for s in whole.steps] == [None, "clerk", "clerk", None]
    assert [s.agent for s in part.steps] == [None, None]
    assert (whole.attempts, part.attempts) == (1, 1)
    assert (whole.tokens_in, part.tokens_in) == (30, 10)
    assert part.labels["part_of"] == "t"
    assert "part_of" not in whole.labels


@pytest.mark.parametrize(
    ("spans", "agents"),
    [
        pytest.param(
            [span("x", None, "CHAIN"), span("desk", "x", "AGENT"), llm("l", "desk", 1, "hi")],
            ["desk"],
            id="one agent below another span names the run",
        ),
        pytest.param(
            [
                span("flow", None, "CHAIN"),
                span("a", "flow", "AGENT"),
                llm("l", "a", 1, "hi"),
                span("b", "flow", "AGENT"),
                llm("m", "b", 2, "ho"),
            ],
            ["flow", "a", "b"],
            id="two agents side by side are parts of what is above them",
        ),
        pytest.param(
            [
                span("a", None, "AGENT"),
                span("b", "a", "AGENT"),
                span("again", "b", "AGENT", attributes={"agent.name": "a"}),
                llm("l", "again", 1, "hi"),
                llm("m", "b", 2, "ho"),
            ],
            ["a", "b"],
            id="an agent that its own sub-agent calls back is no second run",
        ),
        pytest.param(
            [span("a", None, "AGENT"), span("b", "a", "AGENT"), llm("l", "a", 1, "hi")],
            ["a"],
            id="a sub-agent that did nothing has no trace",
        ),
    ],
)
def test_whose_runs_they_are(spans: list[dict[str, Any]], agents: list[str]):
    traces, bad = read(*spans)

    assert ([t.agent for t in traces], bad) == (agents, [])


def test_what_a_tool_does_within_itself_is_no_step_but_its_tokens_count():
    trace = one(
        span("desk", None, "AGENT"),
        tool("sum_up", "desk", 1),
        llm("inner", "sum_up", 2, "in short"),
        tool("helper", "sum_up", 3),
    )

    assert [c.name for c in trace.agent_calls()] == ["sum_up"]
    assert (len(trace.steps), trace.tokens_in) == (1, 10)


def test_a_model_call_that_two_tracers_saw_counts_once():
    trace = one(
        span("desk", None, "AGENT"),
        llm("outer", "desk", 1, "hi"),
        llm("inner", "outer", 1, "hi"),
    )

    assert (len(trace.steps), trace.tokens_in) == (1, 10)


@pytest.mark.parametrize(
    ("spans", "tokens"),
    [
        pytest.param([llm("l", "d", 1)], 10, id="the sum of the calls"),
        pytest.param([failed(span("l", "d", "LLM"), "x"), llm("m", "d", 1)], 10, id="save failed"),
        pytest.param(
            [span("l", "d", "LLM"), llm("m", "d", 1)], None, id="unknown for one, for all"
        ),
        pytest.param([], None, id="no calls"),
    ],
)
def test_tokens(spans: list[dict[str, Any]], tokens: int | None):
    trace = one(span("d", None, "AGENT"), *spans, tool("t", "d", 3))

    assert trace.tokens_in == tokens


def test_the_roots_own_count_stands_in_for_missing_ones():
    root = span("d", None, "AGENT", attributes={"llm.token_count.prompt": 7})

    assert one(root, span("l", "d", "LLM", 1), tool("t", "d", 2)).tokens_in == 7


@pytest.mark.parametrize(
    ("error", "ended_by"),
    [
        ("GraphRecursionError: Recursion limit of 25 reached", "recursion_limit"),
        ("AgentMaxStepsError: Reached max steps.", "max_steps"),
        ("ValueError: no", "error"),
    ],
)
def test_what_ended_a_run(error: str, ended_by: str):
    trace = one(failed(span("d", None, "AGENT"), error), tool("t", "d", 1))

    assert (trace.success, trace.failure_kind) == (False, "unknown")
    assert trace.labels == {"ended_by": ended_by, "error": error}


def test_calls_without_spans_come_from_the_models_messages():
    asked = [{"id": f"c{n}", "function": {"name": f"t{n}", "arguments": "{}"}} for n in (1, 2)]
    reply = {"role": "assistant", "content": "on it", "tool_calls": asked}
    answers = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"r{n}"} for n in (2, 1)]
    trace = one(
        span("d", None, "AGENT"),
        llm("l", "d", 1, [reply]),
        llm("m", "d", 2, "bye", **{"gen_ai.input.messages": [reply, *answers]}),
    )

    assert [(c.name, c.result) for c in trace.agent_calls()] == [("t1", "r1"), ("t2", "r2")]


def test_a_call_that_no_tool_answered_is_kept_where_spans_tell_their_ids():
    asked = [{"id": id, "name": id, "args": {}} for id in ("real", "made_up")]
    reply = {"role": "assistant", "content": "", "tool_calls": asked}
    rows = [span("d", None, "AGENT"), llm("l", "d", 1, [reply])]

    told = one(*rows, tool("real", "d", 2, **{"tool_call.id": "real"}))
    untold = one(*rows, tool("real", "d", 2))

    assert sorted(c.name for c in told.agent_calls()) == ["made_up", "real"]
    assert [c.name for c in untold.agent_calls()] == ["real"]


def test_messages_are_said_once_although_each_call_is_sent_them_all():
    system, user = {"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}
    mine, more = {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "help"}
    trace = one(
        span("d", None, "AGENT"),
        llm("l", "d", 1, "yes?", **{"gen_ai.input.messages": [system, user]}),
        llm("m", "d", 2, "sure", **{"gen_ai.input.messages": [system, user, mine, more]}),
    )

    said = [(s.role, s.text) for s in trace.steps if isinstance(s, Message)]
    assert said == [
        ("system", "be kind"),
        ("user", "hi"),
        ("assistant", "yes?"),
        ("user", "help"),
        ("assistant", "sure"),
    ]


def test_earlier_turns_of_a_thread_are_no_steps_of_this_run():
    before = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "older"}]
    now = {"role": "user", "content": "new"}
    trace = one(
        span("d", None, "AGENT"),
        llm("l", "d", 1, "ok", **{"gen_ai.input.messages": [*before, now]}),
    )

    assert [s.text for s in trace.steps if isinstance(s, Message)] == ["new", "ok"]


def test_the_roots_input_and_output_stand_in_for_messages_that_were_not_recorded():
    root = span(
        "d", None, "AGENT", attributes={"input.value": '{"q": "hm?"}', "output.value": "ah"}
    )
    trace = one(root, tool("t", "d", 1))

    assert [type(s) for s in trace.steps] == [Message, ToolCall, Message]
    assert [s.text for s in trace.steps if isinstance(s, Message)] == ["hm?", "ah"]


ROOT = span("d", None, "AGENT")


@pytest.mark.parametrize(
    ("odd", "calls", "reasons"),
    [
        pytest.param(tool("t", "gone", 1), 1, [], id="a missing parent hangs it at the top"),
        pytest.param({**tool("t", "d", 1), "start_time": "2025-10-09T08:53:21"}, 1, [], id="naive"),
        pytest.param({**tool("t", "d", 1), "start_time": str(T0)}, 1, [], id="time as text"),
        pytest.param({**tool("t", "d", 1), "what": {"ever": 1}}, 1, [], id="unknown keys"),
        pytest.param(
            {**tool("t", "d", 1), "start_time": None, "end_time": 0}, 1, [], id="no times"
        ),
        pytest.param(3, 0, ["a span: it is 3, expected an object"], id="no object"),
        pytest.param(
            {**tool("t", "d", 1), "span_id": None}, 0, ["a span: it has no span_id"], id="no id"
        ),
        pytest.param(
            {**tool("t", "d", 1), "start_time": "soon"},
            0,
            ["a span: start_time is 'soon', expected ISO 8601 text or seconds since 1970"],
            id="no time",
        ),
        pytest.param(
            llm("l", "d", 1, **{"llm.token_count.prompt": "many"}),
            0,
            [
                "a span: llm.token_count.prompt is 'many', expected a whole number of at least 0",
            ],
            id="no count",
        ),
        pytest.param(
            tool("d", "d", 1), 0, ["span 'd' is given twice: the first was taken"], id="id"
        ),
    ],
)
def test_one_odd_span_never_loses_the_trace(odd: Any, calls: int, reasons: list[str]):
    traces, bad = read(ROOT, odd)

    assert [(t.agent, t.attempts or 0) for t in traces] == [("d", calls)]
    assert [b.reason for b in bad] == reasons


def test_a_run_whose_end_is_not_known_yet_is_read_once():
    trace = one({**ROOT, "end_time": "0001-01-01T00:00:00Z"}, tool("t", "d", 1))

    assert (trace.latency_s, trace.labels) == (None, {})


def test_an_argument_of_more_than_64_bits_is_no_bad_record():
    (trace,), bad = read(ROOT, tool("t", "d", 1, **{"input.value": {"n": 2**70}}))

    assert bad == []
    assert next(trace.agent_calls()).arguments == {"n": 2**70}


def test_a_record_without_any_span_is_told():
    bad: list[BadRecord] = []
    rows = [{"trace_id": "t", "spans": None}]

    assert not list(read_traces(rows, format="spans", on_bad=bad.append))
    assert [b.reason for b in bad] == ["it holds no span"]


def test_numbers_as_text_and_nan():
    trace = one(
        ROOT,
        llm("l", "d", 1, **{"llm.token_count.prompt": "12", "llm.cost.total": float("nan")}),
    )

    assert (trace.tokens_in, trace.cost_usd) == (12, None)


def test_a_span_that_is_sent_at_its_start_and_at_its_end_is_one():
    started = {**tool("t", "d", 1), "end_time": None, "status": {}}

    trace = one(ROOT, started, tool("t", "d", 1), tool("t", "d", 1))

    assert [c.latency_s for c in trace.agent_calls()] == [1.0]


def test_spans_that_are_each_others_parents_are_kept():
    trace = one(ROOT, tool("a", "b", 1), span("b", "c", "CHAIN"), span("c", "b", "CHAIN"))

    assert [c.name for c in trace.agent_calls()] == ["a"]


def test_parts_without_their_root_tell_no_latency_and_no_end():
    trace = one(tool("a", "gone", 1), tool("b", "lost", 2))

    assert (trace.latency_s, trace.attempts) == (None, 2)
    assert trace.labels == {"incomplete": "root missing"}
    assert trace.started_at is not None


def test_model_calls_side_by_side_are_no_root():
    retried = failed(span("a", None, "LLM", 0), "RateLimitError: 429")
    trace = one(retried, span("b", None, "LLM", 9))

    assert (trace.success, trace.latency_s) == (None, None)
    assert trace.labels == {"incomplete": "root missing"}


def test_a_model_call_before_the_root_is_not_the_run():
    trace = one(failed(span("guard", None, "LLM", -1), "refused"), ROOT, tool("t", "d", 1))

    assert (trace.agent, trace.success, trace.latency_s) == ("d", None, one(ROOT).latency_s)


def test_a_span_that_ends_before_it_starts_has_no_latency():
    trace = one({**ROOT, "end_time": T0 - 1}, tool("t", "d", 1))

    assert trace.latency_s is None


def test_spans_alone_in_their_records_are_gathered_by_trace_id():
    rows = [
        ROOT,
        {**ROOT, "trace_id": "u"},
        tool("t", "d", 1),
        {**tool("t", "d", 1), "trace_id": "u"},
    ]

    traces = list(read_traces(rows))

    assert [(t.id, t.attempts) for t in traces] == [("t", 1), ("u", 1)]


def test_spans_as_the_sdks_console_exporter_writes_them():
    row = {
        "name": "invoke_agent desk",
        "context": {"trace_id": "0xab", "span_id": "0x01", "trace_state": "[]"},
        "kind": "SpanKind.INTERNAL",
        "parent_id": None,
        "start_time": "2025-10-09T08:53:20.000000Z",
        "end_time": "2025-10-09T08:53:21.500000Z",
        "status": {"status_code": "ERROR", "description": "no"},
        "attributes": {"gen_ai.operation.name": "invoke_agent", "input": {"value": "hi"}},
        "events": [],
        "resource": {"attributes": {"deployment.environment": "test"}},
    }

    (trace,) = read_traces([row])

    assert (trace.id, trace.agent, trace.latency_s, trace.success) == ("ab", "desk", 1.5, False)
    assert trace.steps == (Message("user", "hi"),)
    assert trace.labels["environment"] == "test"


def test_phoenixs_table_of_spans():
    call = {"tool_call.id": "c", "tool_call.function.name": "t"}
    call["tool_call.function.arguments"] = '{"a": 1}'
    columns = {
        "context.trace_id": "t",
        "start_time": 1_760_000_000_000,
        "end_time": 1_760_000_001_000,
        "status_code": "OK",
        "attributes.input.value": None,
        "attributes.gen_ai.tool.name": None,
        "attributes.llm.output_messages": None,
    }
    said = {"message.role": "assistant", "message.content": "hi", "message.tool_calls": [call]}
    rows = [
        {**columns, "context.span_id": "1", "parent_id": None, "span_kind": "AGENT", "name": "d"},
        {**columns, "context.span_id": "2", "parent_id": "1", "span_kind": "LLM", "name": "l"}
        | {"attributes.llm.output_messages": [said], "attributes.llm.token_count.prompt": 5.0},
        {**columns, "context.span_id": "3", "parent_id": "1", "span_kind": "CHAIN", "name": "c"},
    ]

    (trace,) = read_traces(rows)

    assert (trace.id, trace.agent, trace.tokens_in, trace.latency_s) == ("t", "d", 5, 1.0)
    assert trace.steps == (Message("assistant", "hi"), ToolCall("t", {"a": 1}))


def test_messages_that_were_not_taken_apart():
    said = {"llm": {"output_messages": [{"message": {"role": "assistant", "content": "hi"}}]}}
    row = span("l", "d", "LLM", 1, attributes=said)

    assert one(ROOT, row).steps == (Message("assistant", "hi"),)


def test_an_attribute_that_is_null_is_not_there():
    hidden = {"gen_ai.tool.name": None, "gen_ai.usage.input_tokens": None}
    trace = one(ROOT, llm("l", "d", 1, "hi", **hidden), tool("t", "d", 2, **hidden))

    assert (trace.tokens_in, [call.name for call in trace.agent_calls()]) == (10, ["t"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (0, None),
        ("0", None),
        (1_760_000_000_000_000_001, 1_760_000_000_000_000_001),
        ("1760000000000000001", 1_760_000_000_000_000_001),
        (1_760_000_000_000_000, T0),
        (1_760_000_000_000, T0),
        (1_760_000_000, T0),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("2025-10-09T08:53:20Z", T0),
        ("2025-10-09 08:53:20", T0),
    ],
)
def test_times(value: Any, expected: int | None):
    assert nanos(value, "t") == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param({"success": Score(True)}, (True, None), id="true"),
        pytest.param({"Correctness": Score(0.4)}, (False, 0.4), id="a number in [0, 1]"),
        pytest.param({"correctness": Score("0.4")}, (False, 0.4), id="a number as text"),
        pytest.param({"correctness": Score("nan")}, (None, None), id="NaN as text"),
        pytest.param({"success": Score(None), "reward": Score(1.0)}, (True, 1.0), id="no value"),
        pytest.param({"correctness": Score(0.5)}, (True, 0.5), id="from one half up"),
        pytest.param({"quality": Score(4)}, (None, 4), id="another scale tells no success"),
        pytest.param({"correctness": Score("fail")}, (False, None), id="a word"),
        pytest.param({"toxicity": Score(1.0)}, (None, None), id="a name that may mean worse"),
        pytest.param({"quality": Score(0.1), "success": Score(1)}, (True, 1), id="the plainest"),
    ],
)
def test_scores(scores: dict[str, Score], expected: tuple[bool | None, float | None]):
    success, score, feedback = outcome_of(scores)

    assert (success, score) == expected
    given = {name: one.value for name, one in scores.items() if one.value is not None}
    assert feedback == given


def test_comments_are_feedback():
    _, _, feedback = outcome_of({"quality": Score(1, "good"), "note": Score(None, "late")})

    assert feedback == {"quality": 1, "quality.comment": "good", "note": "late"}


CALL = {"id": "c", "name": "t", "args": {"a": 1}}


@pytest.mark.parametrize(
    "value",
    [
        {"role": "assistant", "content": "hi", "tool_calls": [CALL]},
        '{"role": "assistant", "content": "hi", "tool_calls": [{"id": "c", "name": "t"}]}',
        {"type": "ai", "data": {"content": "hi", "tool_calls": [CALL]}},
        {"choices": [{"message": {"role": "assistant", "content": "hi", "tool_calls": [CALL]}}]},
        {
            "generations": [
                [
                    {
                        "text": "hi",
                        "message": {
                            "lc": 1,
                            "type": "constructor",
                            "id": ["langchain", "schema", "messages", "AIMessageChunk"],
                            "kwargs": {"content": "hi", "tool_calls": [CALL]},
                        },
                    }
                ]
            ]
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "tool_use", "id": "c", "name": "t", "input": {"a": 1}},
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "hi"},
                {"type": "tool_call", "id": "c", "name": "t", "arguments": {"a": 1}},
            ],
        },
        {"message": {"role": "assistant", "content": "hi", "tool_calls": [{"tool_call": CALL}]}},
    ],
    ids=["openai", "text", "type and data", "choices", "langchain", "anthropic", "otel", "nested"],
)
def test_forms_of_a_reply(value: Any):
    (said,) = said_in(value, "assistant")

    assert (said.role, said.text) == ("assistant", "hi")
    assert [(call.id, call.name) for call in said.calls] == [("c", "t")]


def test_a_call_and_its_answer_in_the_responses_api_share_their_id():
    called = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "t", "arguments": "{}"}
    answered = {"type": "function_call_output", "call_id": "c", "output": "4"}

    (call,) = said_in([{"role": "assistant", "content": [called]}], "assistant")
    (answer,) = said_in([{"role": "tool", "content": [answered]}], "tool")

    assert [one.id for one in call.calls] == ["c"]
    assert answer.answers == (("c", "4", False),)


def test_a_call_without_an_id_is_not_counted_beside_its_tools_span():
    call = {"name": "look", "args": {}}
    reply = {"role": "assistant", "content": "", "tool_calls": [call]}
    spans = ROOT, llm("l", "d", 1, reply), tool("look", "d", 2, **{"tool_call.id": "c"})

    assert one(*spans).attempts == 1


def test_items_of_the_responses_api_are_calls_and_answers():
    asked = {"role": "user", "content": "2 + 2?"}
    called = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": '{"a": 2}'},
        {"type": "custom_tool_call", "call_id": "d", "name": "run", "input": "2+2"},
    ]
    answers = [
        {"type": "function_call_output", "call_id": "c", "output": "4"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "four"},
    ]
    first = llm("l1", "d", 1, {"output": called}, **{"input.value": [asked]})
    last = llm("l2", "d", 2, "4", **{"input.value": [asked, *called, *answers]})

    assert one(ROOT, first, last).steps == (
        Message("user", "2 + 2?"),
        Thought("hm"),
        ToolCall("add", {"a": 2}, "4"),
        ToolCall("run", {"input": "2+2"}, "four"),
        Message("assistant", "4"),
    )


def test_tools_that_a_provider_runs_answer_in_the_reply():
    reply = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": "Room 4"},
        {"type": "text", "text": "In room 4."},
    ]
    trace = one(ROOT, llm("l", "d", 1, {"role": "assistant", "content": reply}))

    assert trace.steps[-1] == ToolCall("web_search", {"q": "x"}, "Room 4")


def test_an_answer_in_json_is_no_call_for_its_type():
    (said,) = said_in('{"type": "phone_call", "number": 5}', "assistant")

    assert (said.role, said.calls) == ("assistant", ())
    assert said.text == '{"type":"phone_call","number":5}'


def test_gemini_gives_no_ids_and_answers_in_order():
    def called(name: str) -> dict[str, Any]:
        return {"functionCall": {"name": name, "args": {}}}

    def answered(name: str, told: str) -> dict[str, Any]:
        return {"functionResponse": {"name": name, "response": {"result": told}}}

    asked = {"role": "user", "parts": [{"text": "go"}]}
    reply = {"role": "model", "parts": [called("f"), called("g")]}
    answers = {"role": "user", "parts": [answered("f", "F"), answered("g", "G")]}
    first = llm(
        "l1", "d", 1, {"candidates": [{"content": reply}]}, **{"input.value": {"contents": [asked]}}
    )
    done = {"candidates": [{"content": {"role": "model", "parts": [{"text": "done"}]}}]}
    sent = {"contents": [asked, reply, answers]}
    last = llm("l2", "d", 2, done, **{"input.value": sent})

    assert one(ROOT, first, last).steps == (
        Message("user", "go"),
        ToolCall("f", {}, "F"),
        ToolCall("g", {}, "G"),
        Message("assistant", "done"),
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param("4", "4", id="text"),
        pytest.param([{"type": "text", "text": "room "}, "4"], "room 4", id="blocks of text"),
        pytest.param([1, 2], "[1,2]", id="a list that is no content"),
        pytest.param({"result": "4"}, "4", id="an object with one text"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_forms_of_an_answer(content: Any, told: str):
    block = {"type": "tool_result", "tool_use_id": "c", "content": content}

    (said,) = said_in([{"role": "user", "content": [block]}], "user")

    assert said.answers == (("c", told, False),)


def test_reasoning_becomes_thoughts():
    parts = [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "hi"}]
    reply = [{"role": "assistant", "parts": parts}]
    trace = one(ROOT, llm("l", "d", 1, reply))

    assert trace.steps == (Thought("hm"), Message("assistant", "hi"))


def test_what_is_new_to_a_model():
    roles = ["system", "user", "assistant", "tool", "user"]

    assert [s.role for s in unseen_in([{"role": r, "content": r} for r in roles])] == [
        "system",
        "tool",
        "user",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"input": "{'a': 'it''s'}"}, {"a": "its"}),
        ("{'a': None}", {"a": None}),
        ("plain", {"input": "plain"}),
        ('{"a": ', {"input": '{"a": '}),
        ('["x"]', {"input": ["x"]}),
        ('{"args": [], "sanitize_inputs_outputs": true, "kwargs": {"a": 1}}', {"a": 1}),
        (None, {}),
    ],
)
def test_arguments(value: Any, expected: dict[str, Any]):
    assert arguments_in(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", ("plain", None)),
        ({"a": 1, "b": 2}, ('{"a":1,"b":2}', None)),
        ({"output": {"content": "r", "type": "tool", "tool_call_id": "c"}}, ("r", None)),
        ('{"content": "no", "type": "tool", "tool_call_id": "c", "status": "error"}', (None, "no")),
        (None, (None, None)),
    ],
)
def test_results(value: Any, expected: tuple[str | None, str | None]):
    assert result_in(value) == expected


def test_what_a_tools_span_does_not_tell_the_models_messages_do():
    asked = {"role": "user", "content": "go"}
    reply = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    answer = {"role": "tool", "tool_call_id": "c", "content": "Room 4"}
    first = llm("l1", "d", 1, reply, **{"input.value": [asked]})
    ran = span("t", "d", "TOOL", 2, attributes={"tool.name": "t", "tool_call.id": "c"})
    last = llm("l2", "d", 3, "done", **{"input.value": [asked, reply, answer]})

    (call,) = one(ROOT, first, ran, last).agent_calls()

    assert (call.arguments, call.result, call.latency_s) == ({"a": 1}, "Room 4", 1.0)
