"""Chat messages in every form that is read."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_to_dict

from tracetune.traces.model import Message, Thought, ToolCall
from tracetune.traces.read import BadRecord, read_traces

RUN = [
    HumanMessage("find it"),
    AIMessage("", tool_calls=[{"name": "search", "args": {"q": "x"}, "id": "c1"}]),
    ToolMessage("timeout", tool_call_id="c1", status="error"),
    AIMessage("Not found."),
]
STEPS = (
    Message("user", "find it"),
    ToolCall("search", {"q": "x"}, error="timeout"),
    Message("assistant", "Not found."),
)


def openai(arguments: Any, id: str | None = "c1") -> list[dict[str, Any]]:
    call = {"id": id, "type": "function", "function": {"name": "search", "arguments": arguments}}
    return [
        {"role": "user", "content": "find it"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "content": "timeout", "status": "error"},
        {"role": "assistant", "content": "Not found."},
    ]


ANTHROPIC = [
    {"role": "user", "content": "find it"},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "c1", "name": "search", "input": {"q": "x"}}],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "is_error": True,
                "content": [{"type": "text", "text": "timeout"}],
            }
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Not found."}]},
]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(openai('{"q": "x"}'), id="OpenAI"),
        pytest.param(openai({"q": "x"}), id="OpenAI with arguments already parsed"),
        pytest.param(openai('{"q": "x"}', id=None), id="OpenAI without ids"),
        pytest.param(RUN, id="LangChain objects"),
        pytest.param(messages_to_dict(RUN), id="LangChain messages_to_dict"),
        pytest.param([m.model_dump() for m in RUN], id="LangChain model_dump"),
        pytest.param([m.to_json() for m in RUN], id="LangChain serialised"),
        pytest.param(ANTHROPIC, id="Anthropic blocks"),
    ],
)
def test_all_forms_give_the_same_steps(messages: list[Any]):
    bad: list[BadRecord] = []

    (trace,) = read_traces([{"messages": messages}], on_bad=bad.append)

    assert trace.steps == STEPS
    assert trace.attempts == 1
    assert bad == []
    (bare,) = read_traces([messages])
    assert bare.steps == STEPS


def test_what_the_record_says_is_kept_and_the_rest_stays_unknown():
    said = {
        "id": 7,
        "agent": "email",
        "release": "r1",
        "task": "t1",
        "success": False,
        "score": 0.5,
        "feedback": {"tone": "harsh"},
        "latency_s": 2,
        "started_at": "2026-01-02T03:04:05+02:00",
        "labels": {"day": 1},
    }
    full, empty = read_traces([{**said, "messages": RUN}, {"messages": RUN}])

    assert (full.id, full.agent, full.release, full.task) == ("7", "email", "r1", "t1")
    assert (full.success, full.score, full.latency_s) == (False, 0.5, 2)
    assert (full.feedback, full.labels) == ({"tone": "harsh"}, {"day": "1"})
    assert str(full.started_at) == "2026-01-02 01:04:05+00:00"
    assert (empty.agent, empty.success, empty.score, empty.latency_s) == ("agent", None, None, None)
    assert (empty.tokens_in, empty.started_at, empty.turns) == (None, None, None)


def test_a_missing_id_is_a_stable_hash_of_the_record():
    first, second, other = read_traces(
        [{"messages": openai("{}")}, {"messages": openai("{}")}, {"messages": openai("")[:1]}]
    )

    assert first.id == second.id != other.id
    assert first.id == "c291cd0bc16e51c1"


@pytest.mark.parametrize(
    ("arguments", "kept", "error"),
    [
        pytest.param("{bad", {"unparsed": "{bad"}, "its arguments are no JSON object", id="broken"),
        pytest.param("[1]", {"unparsed": "[1]"}, "its arguments are no JSON object", id="a list"),
        pytest.param("", {}, None, id="none, as some models write it"),
    ],
)
def test_a_call_with_broken_arguments_does_not_lose_the_run(arguments, kept, error):
    messages = openai(arguments)
    del messages[2]["status"]

    (trace,) = read_traces([messages])

    assert trace.steps[1] == ToolCall("search", kept, result="timeout", error=error)


def test_repeated_ids_and_results_without_a_call():
    call = {"name": "go", "args": {}, "id": "same"}
    messages = [
        ToolMessage("before", tool_call_id="cut", name="early"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("1", tool_call_id="same"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("2", tool_call_id="same"),
        AIMessage("", tool_calls=[call]),
    ]

    (trace,) = read_traces([messages])

    calls = [(c.name, c.result) for c in trace.agent_calls()]
    assert calls == [("early", "before"), ("go", "1"), ("go", "2"), ("go", None)]


def test_thoughts_and_tokens():
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    told = AIMessage("a", usage_metadata=usage, additional_kwargs={"reasoning_content": "hm"})
    known, partly = read_traces([[told, told], [told, AIMessage("b")]])

    assert known.steps[:2] == (Thought("hm"), Message("assistant", "a"))
    assert (known.tokens_in, known.tokens_out) == (6, 4)
    assert (partly.tokens_in, partly.tokens_out) == (None, None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": None}, "messages is empty"),
        ({"messages": "hi"}, "messages is 'hi', expected a list"),
        ({"messages": [3]}, "Unsupported message type"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "Unexpected message type"),
        ({"messages": [{"content": "x"}]}, "Message dict must contain"),
        ({"messages": openai("{}"), "success": "yes"}, "success is 'yes'"),
        ({"messages": openai("{}"), "score": "high"}, "score is 'high', expected a number"),
        ({"messages": openai("{}"), "latency_s": -1}, "latency_s is -1"),
        ({"messages": openai("{}"), "started_at": "soon"}, "started_at is 'soon', expected ISO"),
        ({"messages": openai("{}"), "labels": []}, "labels is [], expected an object"),
        ({"messages": openai("{}"), "feedback": 3}, "feedback is 3, expected text"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "a call names no tool"),
        ({"messages": [{"role": "assistant", "tool_calls": 3}]}, "tool_calls is 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_record_is_set_aside(record: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    assert not list(read_traces([record], on_bad=bad.append))
    assert [b.position for b in bad] == [1]
    assert reason in bad[0].reason
