"""Parts of messages without a type, as Gemini and Bedrock write them."""

import re
from typing import Any

import pytest

from tracetune.errors import TraceError
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces

STEPS = (
    Message("user", "find it"),
    Thought("hm"),
    ToolCall("search", {"q": "x"}, "Room 4"),
    Message("assistant", "In room 4."),
)


def gemini(answer: Any, *, role: str = "user", id: str | None = None) -> list[dict[str, Any]]:
    called: dict[str, Any] = {"name": "search", "args": {"q": "x"}}
    answered: dict[str, Any] = {"name": "search", "response": answer}
    if id:
        called["id"] = answered["id"] = id
    return [
        {"role": "user", "parts": [{"text": "find it"}]},
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"functionCall": called, "thoughtSignature": "c2ln"},
            ],
        },
        {"role": role, "parts": [{"functionResponse": answered}]},
        {"role": "model", "parts": [{"text": "In room 4."}, {"text": "", "thoughtSignature": "x"}]},
    ]


def snake(value: Any) -> Any:
    """As Google's Python client dumps it."""
    if isinstance(value, list):
        return [snake(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("([A-Z])", lambda m: f"_{m[1].lower()}", k): snake(v) for k, v in value.items()}


GEMINI = gemini({"result": "Room 4"})
BEDROCK = [
    {"role": "user", "content": [{"text": "find it"}]},
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "x"}}},
            {"toolUse": {"toolUseId": "c1", "name": "search", "input": {"q": "x"}}},
        ],
    },
    {
        "role": "user",
        "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "Room 4"}]}}],
    },
    {"role": "assistant", "content": [{"text": "In room 4."}]},
]


def read(record: Any) -> tuple[list[Trace], list[str]]:
    bad: list[BadRecord] = []
    traces = list(read_traces([record], on_bad=bad.append))
    return traces, [one.reason for one in bad]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"messages": GEMINI}, id="messages"),
        pytest.param({"contents": GEMINI}, id="contents"),
        pytest.param({"agent": "agent", "id": "1", "contents": GEMINI}, id="contents of an agent"),
        pytest.param(GEMINI, id="a bare list"),
        pytest.param({"contents": snake(GEMINI)}, id="snake case"),
        pytest.param(snake(GEMINI), id="a bare list in snake case"),
        pytest.param({"contents": gemini({"output": "Room 4"}, id="c1")}, id="calls with ids"),
        pytest.param({"contents": gemini("Room 4", role="function")}, id="an older role"),
        pytest.param({"messages": BEDROCK}, id="Bedrock"),
    ],
)
def test_all_forms_give_the_same_steps(record: Any):
    [trace], bad = read(record)

    assert trace.steps == STEPS
    assert (trace.attempts, bad) == (1, [])


@pytest.mark.parametrize(
    ("answer", "result", "error"),
    [
        pytest.param({"error": "no such room"}, None, "no such room", id="an error"),
        pytest.param({"a": 1, "error": None}, '{"a":1,"error":null}', None, id="an object"),
        pytest.param({"result": {"room": 4}}, '{"room":4}', None, id="an object as the result"),
        pytest.param({"result": "Error: no"}, None, "Error: no", id="a text that says it failed"),
        pytest.param(None, "", None, id="nothing"),
    ],
)
def test_what_a_function_answers(answer: Any, result: str | None, error: str | None):
    [trace], _ = read({"contents": gemini(answer)})
    [call] = trace.agent_calls()

    assert (call.result, call.error) == (result, error)


def test_a_tool_of_bedrock_may_fail():
    told = {"toolUseId": "c1", "content": [{"json": {"why": "down"}}], "status": "error"}
    said = [*BEDROCK[:2], {"role": "user", "content": [{"toolResult": told}]}]
    [trace], _ = read({"messages": said})

    assert [call.error for call in trace.agent_calls()] == ['{"why":"down"}']


@pytest.mark.parametrize("outcome", ["OUTCOME_OK", "OUTCOME_FAILED"])
def test_code_that_the_model_ran_is_a_call(outcome: str):
    ran = {"executableCode": {"language": "PYTHON", "code": "1 / 0"}}
    came = {"codeExecutionResult": {"outcome": outcome, "output": "what it printed"}}
    [trace], _ = read({"contents": [GEMINI[0], {"role": "model", "parts": [ran, came]}]})
    [call] = trace.agent_calls()

    assert (call.name, call.arguments["code"]) == ("code_execution", "1 / 0")
    printed = (call.result, call.error)
    assert printed == (
        ("what it printed", None) if outcome == "OUTCOME_OK" else (None, "what it printed")
    )


@pytest.mark.parametrize(
    "system",
    [
        pytest.param({"systemInstruction": {"parts": [{"text": "Be kind."}]}}, id="parts"),
        pytest.param({"system_instruction": {"parts": [{"text": "Be kind."}]}}, id="snake case"),
        pytest.param({"systemInstruction": "Be kind."}, id="text"),
    ],
)
def test_a_request_keeps_the_systems_words_beside(system: dict[str, Any]):
    [trace], _ = read(system | {"contents": GEMINI})

    assert trace.steps == (Message("system", "Be kind."), *STEPS)


def test_a_request_of_one_message_needs_no_role():
    [trace], bad = read({"contents": [{"parts": [{"text": "find it"}]}]})

    assert (trace.steps, bad) == ((Message("user", "find it"),), [])


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        pytest.param({"telepathy": {"x": 1}}, "telepathy", id="a part without a type"),
        pytest.param({"type": "telepathy", "x": 1}, "telepathy", id="a block with one"),
    ],
)
def test_a_part_of_an_unknown_kind_is_told(block: dict[str, Any], kind: str):
    record = {"messages": [GEMINI[0], {"role": "model", "parts": [block, block, {"text": "?"}]}]}
    [trace], bad = read(record)

    assert trace.steps == (Message("user", "find it"), Message("assistant", "?"))
    assert bad == [f"messages hold blocks of an unknown kind, '{kind}': 2 left out"]
    with pytest.raises(TraceError, match="of an unknown kind"):
        list(read_traces([record], strict=True))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param({"inlineData": {"mimeType": "image/png", "data": "x"}}, id="inline data"),
        pytest.param({"file_data": {"file_uri": "gs://x"}}, id="a file"),
        pytest.param({"type": "input_audio", "input_audio": {}}, id="sound"),
        pytest.param({"type": "redacted_thinking", "data": "x"}, id="a hidden thought"),
        pytest.param({"cachePoint": {"type": "default"}}, id="a cache's mark"),
        pytest.param({"thoughtSignature": "x"}, id="a signature alone"),
    ],
)
def test_media_and_marks_are_left_out(block: dict[str, Any]):
    [trace], bad = read([{"role": "user", "parts": [{"text": "see"}, block]}])

    assert (trace.steps, bad) == ((Message("user", "see"),), [])


def test_a_call_that_is_no_object_sets_the_record_aside():
    traces, bad = read([{"role": "model", "parts": [{"functionCall": "search"}]}])

    assert traces == []
    assert bad == ["functionCall is 'search', expected an object"]


def test_the_models_calls_in_a_span_are_read_so_too():
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": GEMINI[:1],
        "gen_ai.output.messages": GEMINI[1:2],
    }
    [trace], bad = read({"trace_id": "t", "span_id": "1", "attributes": attributes})

    assert trace.steps == (*STEPS[:2], ToolCall("search", {"q": "x"}))
    assert bad == []
