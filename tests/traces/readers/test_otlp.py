"""OTLP/JSON: GenAI and OpenInference attributes, as collectors write them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces

T0 = 1_760_000_000_000_000_000


def value(told: Any) -> dict[str, Any]:
    """A typed value as OTLP/JSON writes it: 64-bit numbers are text."""
    if isinstance(told, bool):
        return {"boolValue": told}
    if isinstance(told, int):
        return {"intValue": str(told)}
    if isinstance(told, float):
        return {"doubleValue": told}
    if isinstance(told, list):
        return {"arrayValue": {"values": [value(one) for one in told]}}
    if isinstance(told, dict):
        return {"kvlistValue": {"values": attributes(told)}}
    return {"stringValue": told}


def attributes(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(one)} for key, one in told.items()]


def span(id: str, parent: str, at: int, told: dict[str, Any], **more: Any) -> dict[str, Any]:
    start = T0 + at * 10**9
    return {
        "traceId": "ab" * 16,
        "spanId": id,
        "parentSpanId": parent,
        "name": id,
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 10**9),
        "attributes": attributes(told),
        "status": {},
        **more,
    }


def request(*spans: Any, **resource: Any) -> dict[str, Any]:
    about = {"attributes": attributes({name.replace("_", "."): v for name, v in resource.items()})}
    return {"resourceSpans": [{"resource": about, "scopeSpans": [{"spans": [*spans]}]}]}


def parts(role: str, *told: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": [*told]}


def read(*records: Any) -> tuple[list[Trace], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_traces([*records], on_bad=bad.append)), bad


AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk"}
ASKED = parts("user", {"type": "text", "content": "Where is the form?"})
REPLY = parts(
    "assistant",
    {"type": "reasoning", "content": "a form"},
    {"type": "text", "content": "Let me see."},
    {"type": "tool_call", "id": "c1", "name": "look_up", "arguments": {"what": "form"}},
)
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.usage.input_tokens": 20,
    "gen_ai.usage.output_tokens": 6,
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be kind."}]),
    "gen_ai.input.messages": json.dumps([ASKED]),
    "gen_ai.output.messages": json.dumps([REPLY]),
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "look_up",
    "gen_ai.tool.call.id": "c1",
    "gen_ai.tool.call.arguments": '{"what": "form"}',
    "gen_ai.tool.call.result": "Room 4",
}


def test_a_run_by_the_genai_conventions():
    about = {**AGENT, "gen_ai.conversation.id": "th", "tracetune_release": "r1", "task_id": "7"}
    judged = {
        "name": "gen_ai.evaluation.result",
        "attributes": attributes(
            {
                "gen_ai.evaluation.name": "Correctness",
                "gen_ai.evaluation.score.value": 0.9,
                "gen_ai.evaluation.explanation": "right room",
            }
        ),
    }

    traces, bad = read(
        request(
            span("2", "1", 1, CHAT),
            span("3", "1", 2, TOOL),
            span("1", "", 0, about, endTimeUnixNano=str(T0 + 4 * 10**9), events=[judged]),
            service_name="help",
            deployment_environment_name="prod",
        )
    )

    assert bad == []
    (trace,) = traces
    assert trace.steps[:4] == (
        Message("system", "Be kind."),
        Message("user", "Where is the form?"),
        Thought("a form"),
        Message("assistant", "Let me see."),
    )
    (call,) = trace.agent_calls()
    assert (call.name, call.arguments, call.result) == ("look_up", {"what": "form"}, "Room 4")
    assert (call.latency_s, str(call.started_at)) == (1.0, "2025-10-09 08:53:22+00:00")
    assert (trace.id, trace.agent, trace.release, trace.task) == ("ab" * 16, "desk", "r1", "7")
    assert (trace.latency_s, trace.tokens_in, trace.tokens_out) == (4.0, 20, 6)
    assert (trace.success, trace.score) == (True, 0.9)
    assert trace.feedback == {"Correctness": 0.9, "Correctness.comment": "right room"}
    assert trace.labels == {
        "ended_by": "finished",
        "environment": "prod",
        "model": "gpt-x",
        "service": "help",
        "thread": "th",
    }


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"status": {"code": 2, "message": "no such form"}}, "no such form"),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "error"),
        ({"attributes": attributes({**TOOL, "error.type": "KeyError"})}, "KeyError"),
        (
            {
                "status": {"code": 2},
                "events": [
                    {
                        "name": "exception",
                        "attributes": attributes(
                            {"exception.type": "KeyError", "exception.message": "'x'"}
                        ),
                    }
                ],
            },
            "KeyError: 'x'",
        ),
        ({"status": {"code": 1}}, None),
    ],
    ids=["status", "status by name", "attribute", "exception", "none"],
)
def test_a_tools_error(more: dict[str, Any], error: str | None):
    ((trace,), _) = read(request(span("1", "", 0, AGENT), span("3", "1", 1, TOOL, **more)))

    (call,) = trace.agent_calls()
    assert (call.error, call.result) == (error, None if error else "Room 4")
    assert trace.success is None


def test_openinferences_flat_messages():
    prefix, call = "llm.output_messages.0.message.", "tool_calls.0.tool_call.function."
    told = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m",
        "llm.token_count.prompt": 3,
        "llm.token_count.completion": 4,
        "llm.cost.total": 0.02,
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.contents.0.message_content.type": "text",
        "llm.input_messages.0.message.contents.0.message_content.text": "Be kind.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "hi",
        f"{prefix}role": "assistant",
        f"{prefix}content": "hello",
        f"{prefix}{call}name": "look_up",
        f"{prefix}{call}arguments": '{"what": "x"}',
        "metadata": '{"task": "t7", "thread_id": "th"}',
    }
    root = {"openinference.span.kind": "AGENT", "agent.name": "desk", "tag.tags": ["b", "a"]}

    ((trace,), bad) = read(request(span("1", "", 0, root), span("2", "1", 1, told)))

    assert bad == []
    assert trace.steps == (
        Message("system", "Be kind."),
        Message("user", "hi"),
        Message("assistant", "hello"),
        ToolCall("look_up", {"what": "x"}),
    )
    assert (trace.tokens_in, trace.tokens_out, trace.cost_usd) == (3, 4, 0.02)
    assert (trace.task, trace.labels["thread"], trace.labels["tags"]) == ("t7", "th", "a,b")


def test_messages_as_events_and_openllmetrys_own_names():
    events = [
        {"name": "gen_ai.user.message", "attributes": attributes({"content": "hi"})},
        {"name": "gen_ai.choice", "attributes": attributes({"message": '{"content": "hello"}'})},
    ]
    old = {"gen_ai.operation.name": "chat"}
    flat = {
        "gen_ai.request.model": "m",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "more",
        "gen_ai.completion.0.content": "sure",
        "gen_ai.usage.prompt_tokens": 1,
    }

    ((trace,), _) = read(
        request(
            span("1", "", 0, AGENT), span("2", "1", 1, old, events=events), span("3", "1", 2, flat)
        )
    )

    assert [s.text for s in trace.steps if isinstance(s, Message)] == [
        "hi",
        "hello",
        "more",
        "sure",
    ]


def test_a_trace_whose_spans_lie_apart_in_a_file_is_one(tmp_path: Path):
    other = {"traceId": "cd" * 16}
    records = [
        request(span("3", "1", 2, TOOL), span("3", "1", 2, TOOL, **other)),
        request(span("1", "", 0, AGENT, **other)),
        request(span("1", "", 0, AGENT)),
    ]
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))

    traces = list(read_traces(path))

    assert {t.id: (t.agent, t.attempts) for t in traces} == {
        "ab" * 16: ("desk", 1),
        "cd" * 16: ("desk", 1),
    }


def test_without_an_agents_span_the_service_names_the_run():
    told = {"http.route": "/chat"}
    ((named,), _) = read(
        request(span("POST", "", 0, told), span("3", "POST", 1, TOOL), service_name="help")
    )
    ((unnamed,), _) = read(
        request(
            span("POST", "", 0, told), span("3", "POST", 1, TOOL), service_name="unknown_service"
        )
    )

    assert (named.agent, unnamed.agent) == ("help", "POST")
    assert "service" not in unnamed.labels


def test_protobufs_own_names_are_read_too():
    row = {
        "trace_id": "ef" * 16,
        "span_id": "1",
        "name": "invoke_agent desk",
        "start_time_unix_nano": T0,
        "end_time_unix_nano": T0 + 10**9,
        "attributes": [{"key": "gen_ai.operation.name", "value": {"string_value": "invoke_agent"}}],
    }

    ((trace,), bad) = read({"resource_spans": [{"scope_spans": [{"spans": [row]}]}]})

    assert (trace.id, trace.agent, trace.latency_s, bad) == ("ef" * 16, "desk", 1.0, [])


def test_spans_without_a_trace_id_are_one_trace_per_record():
    rows = [span("1", "", 0, AGENT, traceId=None), span("3", "1", 1, TOOL, traceId="")]

    traces, bad = read(request(*rows), request(rows[0]))

    assert ([t.attempts for t in traces], bad) == ([1, None], [])
    assert len({t.id for t in traces}) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (span("", "1", 1, TOOL), "a span: it has no spanId"),
        (span("3", "1", 1, TOOL, attributes=[{"value": {}}]), "a span: the key 'key' is missing"),
        (
            span("3", "1", 1, TOOL, startTimeUnixNano="soon"),
            "a span: startTimeUnixNano is 'soon', expected ISO 8601 text or seconds since 1970",
        ),
    ],
    ids=["no id", "no key", "no time"],
)
def test_a_bad_span_is_set_aside_and_the_rest_is_read(row: Any, reason: str):
    traces, bad = read(request(span("1", "", 0, AGENT), row))

    assert [t.agent for t in traces] == ["desk"]
    assert [b.reason for b in bad] == [reason]


def test_a_trace_of_bad_spans_alone_is_set_aside():
    traces, bad = read(request(3))

    assert traces == []
    assert [b.reason for b in bad] == ["a span: it is 3, expected an object"]


@pytest.mark.parametrize("odd", [5, 1.5, True, ["a"], {"a": "b"}], ids=repr)
def test_names_that_are_no_text_become_text(odd: Any):
    told = dict.fromkeys(("gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.tool.call.id"), odd)
    tool = span("2", "1", 1, {"gen_ai.operation.name": "execute_tool", **told})
    model = span("3", "1", 2, {**CHAT, "gen_ai.agent.name": odd, "gen_ai.response.model": odd})
    root = span("1", "", 0, {"gen_ai.operation.name": "invoke_agent", "agent.name": odd})
    root["status"] = {"code": 2, "message": {"why": "none"}}

    [trace], bad = read(request(root, tool, model))

    assert not bad
    assert trace.agent == str(odd)
    assert str(odd) in [step.name for step in trace.steps if isinstance(step, ToolCall)]
    assert trace.labels["model"] == str(odd)
    assert trace.labels["error"] == str({"why": "none"})


def event(name: str, **told: Any) -> dict[str, Any]:
    return {
        "name": name,
        "attributes": attributes({k.replace("__", "."): v for k, v in told.items()}),
    }


ASKED_TEXT = json.dumps([{"role": "user", "content": "Where is the form?"}])
REPLY_TEXT = json.dumps([{"role": "assistant", "content": "In room 4."}])
LLM = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-x"}


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            span(
                "02",
                "01",
                1,
                LLM,
                events=[
                    event("gen_ai.content.prompt", gen_ai__prompt=ASKED_TEXT),
                    event("gen_ai.content.completion", gen_ai__completion=REPLY_TEXT),
                ],
            ),
            id="events of version 1.27",
        ),
        pytest.param(
            span(
                "02", "01", 1, LLM | {"gen_ai.prompt": ASKED_TEXT, "gen_ai.completion": REPLY_TEXT}
            ),
            id="one attribute of JSON",
        ),
        pytest.param(
            span(
                "02",
                "01",
                1,
                {
                    "llm.request.type": "chat",
                    "gen_ai.prompt.0.role": "user",
                    "gen_ai.prompt.0.content": "Where is the form?",
                    "gen_ai.completion.0.role": "assistant",
                    "gen_ai.completion.0.content": "In room 4.",
                },
            ),
            id="OpenLLMetry's indexed attributes, by no model's name",
        ),
    ],
)
def test_messages_of_older_conventions_are_read(call: dict[str, Any]):
    [trace], bad = read(request(span("01", "", 0, AGENT), call))

    assert trace.steps == (
        Message("user", "Where is the form?"),
        Message("assistant", "In room 4."),
    )
    assert bad == []


@pytest.mark.parametrize("name", ["instrumentationLibrarySpans", "instrumentation_library_spans"])
def test_spans_of_a_library_are_those_of_a_scope(name: str):
    row = request(span("01", "", 0, AGENT))
    [trace], bad = read(json.loads(json.dumps(row).replace("scopeSpans", name)))

    assert (trace.agent, bad) == ("desk", [])


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"resourceSpans": []}, id="no resource"),
        pytest.param({"resourceSpans": [{"scopespans": [{"spans": [1]}]}]}, id="a name misspelt"),
        pytest.param(request(), id="no span"),
    ],
)
def test_a_request_without_a_span_is_told(record: dict[str, Any]):
    traces, bad = read(record)

    assert (traces, [one.reason for one in bad]) == ([], ["it holds no span"])


def test_each_unusable_span_is_told_once():
    traces, bad = read(request({"traceId": "x"}, {"traceId": "y"}, {"traceId": "y"}))

    assert (traces, [one.reason for one in bad]) == ([], ["a span: it has no spanId"] * 3)


@pytest.mark.parametrize(
    ("heard", "replied", "arguments", "result"),
    [
        pytest.param('{"inputs": {"q": 1}, "tags": []}', '{"output": "x", "kwargs": {}}', {"q": 1},
            "x", id="what a callback wraps"),
        pytest.param('{"input_str": "{\'q\': 1}", "inputs": null}', '"x"', {"q": 1}, '"x"',
            id="arguments as Python's text"),
        pytest.param('{"args": [], "kwargs": {"q": 1}}', "x", {"q": 1}, "x", id="a decorator's"),
        pytest.param('{"q": 1}', '{"output": "x", "more": 1}', {"q": 1},
            '{"output": "x", "more": 1}', id="nothing wrapped"),
    ],
)  # fmt: skip
def test_openllmetrys_wrapping_is_taken_off(
    heard: str, replied: str, arguments: dict[str, Any], result: str
):
    told = {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "look",
        "traceloop.entity.input": heard,
        "traceloop.entity.output": replied,
    }
    [trace], _ = read(request(span("01", "", 0, AGENT), span("02", "01", 1, told)))
    [call] = trace.agent_calls()

    assert (call.arguments, call.result) == (arguments, result)


def test_arguments_called_inputs_are_wrapped_by_openllmetry_alone():
    told = TOOL | {"gen_ai.tool.call.arguments": '{"inputs": {"q": 1}}'}
    [trace], _ = read(request(span("01", "", 0, AGENT), span("02", "01", 1, told)))

    assert next(trace.agent_calls()).arguments == {"inputs": {"q": 1}}


def test_a_run_of_more_than_31_years_has_an_unknown_latency():
    row = span("01", "", 0, AGENT) | {"startTimeUnixNano": "1000"}
    [trace], bad = read(request(row))

    assert (trace.latency_s, bad) == (None, [])


def test_an_attribute_without_a_value_is_unknown():
    kept = {"key": "gen_ai.tool.name", "value": {"stringValue": "f"}}
    odd = [{"key": "a"}, {"key": "b", "value": None}, {"key": "c", "value": {}}]
    row = {"traceId": "t", "spanId": "1", "name": "s", "attributes": [*odd, kept]}
    bad: list[BadRecord] = []

    (trace,) = read_traces(
        [{"resourceSpans": [{"scopeSpans": [{"spans": [row]}]}]}], on_bad=bad.append
    )

    assert (trace.attempts, bad) == (1, [])


@pytest.mark.parametrize(
    "told",
    [
        {"gen_ai.tool.name": "f", "gcp.vertex.agent.tool_call_args": '{"a": 1}'}
        | {"gcp.vertex.agent.tool_response": "Room 4"},
        {"gen_ai.tool.name": "f", "tool_arguments": '{"a": 1}', "tool_response": "Room 4"},
        {"ai.toolCall.name": "f", "ai.toolCall.args": '{"a": 1}', "ai.toolCall.result": "Room 4"},
    ],
    ids=["Google's ADK", "Pydantic AI", "Vercel's AI SDK"],
)
def test_frameworks_names_for_a_tools_arguments_and_result(told: dict[str, Any]):
    (trace,), _ = read(request(span("1", "", 0, AGENT), span("2", "1", 1, told)))

    assert [(c.name, c.arguments, c.result) for c in trace.agent_calls()] == [
        ("f", {"a": 1}, "Room 4")
    ]


@pytest.mark.parametrize(
    ("tool", "calls"), [("f", ["web_search", "f"]), ("web_search", ["web_search"])]
)
def test_a_call_that_the_provider_carries_out_has_no_span_beside_those_without_ids(
    tool: str, calls: list[str]
):
    asked = {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}}
    model = LLM | {"gen_ai.output.messages": json.dumps([asked])}
    told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    spans = (span("1", "", 0, AGENT), span("2", "1", 1, model), span("3", "1", 2, told))
    (trace,), _ = read(request(*spans))

    assert [call.name for call in trace.agent_calls()] == calls


def test_adk_keeps_content_back_and_sums_up_what_ran_side_by_side():
    kept_back = {"gcp.vertex.agent.tool_call_args": "{}", "gcp.vertex.agent.tool_response": "{}"}
    told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f"} | kept_back
    merged = told | {"gen_ai.tool.name": "(merged tools)"}
    calls = [span(str(n), "1", n, told) for n in (2, 3)]
    (trace,), _ = read(request(span("1", "", 0, AGENT), *calls, span("4", "1", 4, merged)))

    assert [(c.name, c.arguments, c.result) for c in trace.agent_calls()] == [("f", {}, None)] * 2


@pytest.mark.parametrize(
    ("status", "result", "error"), [("success", "Room 4", None), ("error", None, "Room 4")]
)
def test_strands_tells_a_tools_call_in_events(status: str, result: Any, error: Any):
    events = [
        event("gen_ai.tool.message", role="tool", content='{"a": 1}', id="c"),
        event("gen_ai.choice", message='[{"text": "Room 4"}]', id="c"),
    ]
    told = {"gen_ai.tool.name": "f", "gen_ai.tool.status": status}
    row = span("2", "1", 1, told, events=events)
    (trace,), _ = read(request(span("1", "", 0, AGENT), row))

    (call,) = trace.agent_calls()
    assert (call.arguments, call.result, call.error) == ({"a": 1}, result, error)
