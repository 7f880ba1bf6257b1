"""Chat messages in every form that is read."""

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
    convert_to_openai_messages,
    messages_to_dict,
)

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

OTEL = [
    {"role": "user", "parts": [{"type": "text", "content": "find it"}]},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "search", "arguments": {"q": "x"}}],
        "finish_reason": "tool_call",
    },
    {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "c1", "response": "Error: timeout"}],
    },
    {"role": "assistant", "parts": [{"type": "text", "content": "Not found."}]},
]

RESPONSES = [
    {"role": "user", "content": [{"type": "input_text", "text": "find it"}]},
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "search",
        "arguments": '{"q": "x"}',
    },
    {"type": "function_call_output", "call_id": "c1", "output": "Error: timeout"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Not found."}],
    },
]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(OTEL, id="OpenTelemetry parts"),
        pytest.param(RESPONSES, id="OpenAI Responses items"),
        pytest.param(
            [
                AIMessageChunk(content=m.content, tool_calls=m.tool_calls)
                if isinstance(m, AIMessage)
                else m
                for m in RUN
            ],
            id="LangChain chunks",
        ),
        pytest.param([dumpd(m) for m in RUN], id="LangChain dumpd"),
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

    told = [replace(s, error="timeout") if isinstance(s, ToolCall) else s for s in trace.steps]
    assert tuple(told) == STEPS
    (call,) = trace.agent_calls()
    assert (call.result, call.error) in [(None, "timeout"), (None, "Error: timeout")]
    assert trace.attempts == 1
    assert bad == []
    (bare,) = read_traces([messages])
    assert bare.steps == trace.steps


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
        "labels": {"day": 1, "hot": True, "none": None},
    }
    full, empty = read_traces([{**said, "messages": RUN}, {"messages": RUN}])

    assert (full.id, full.agent, full.release, full.task) == ("7", "email", "r1", "t1")
    assert (full.success, full.score, full.latency_s) == (False, 0.5, 2)
    assert (full.feedback, full.labels) == ({"tone": "harsh"}, {"day": "1", "hot": "true"})
    assert str(full.started_at) == "2026-01-02 01:04:05+00:00"
    assert (empty.agent, empty.success, empty.score, empty.latency_s) == ("agent", None, None, None)
    assert (empty.tokens_in, empty.started_at, empty.turns) == (None, None, None)


def test_a_missing_id_is_a_stable_hash_of_the_record():
    [first] = read_traces([{"messages": openai("{}")}])
    [again] = read_traces([{"messages": openai("{}")}])
    [other] = read_traces([{"messages": openai("")[:1]}])

    assert first.id == again.id != other.id
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


USAGE = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
TWO = [
    {"name": "look", "args": {"at": 1}, "id": "a"},
    {"name": "walk", "args": {"to": [2, {"x": None}]}, "id": "b"},
]
CHATS: dict[str, list[BaseMessage]] = {
    "plain": [SystemMessage("be kind"), HumanMessage("hi"), AIMessage("hello")],
    "text in blocks": [
        HumanMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        AIMessage([{"type": "text", "text": "c"}, "d"]),
    ],
    "parallel calls, answered the other way round": [
        AIMessage("both", tool_calls=TWO, usage_metadata=USAGE),
        ToolMessage("there", tool_call_id="b"),
        ToolMessage("seen", tool_call_id="a", name="look"),
        AIMessage("", tool_calls=TWO[:1], usage_metadata=USAGE),
        ToolMessage(
            [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}], tool_call_id="a"
        ),
        AIMessage("done", usage_metadata=USAGE),
    ],
    "a call with nothing to say": [AIMessage("", tool_calls=TWO)],
    "a picture": [
        HumanMessage(
            [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "?"}]
        ),
        AIMessage("a cat"),
    ],
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize(
    "written",
    [
        convert_to_openai_messages,
        lambda chat: [dumpd(m) for m in chat],
        lambda chat: [m.model_dump() for m in chat],
        lambda chat: [dict(m) for m in chat],
    ],
    ids=["OpenAI", "dumpd", "model_dump", "fields"],
)
def test_reading_is_as_langchain_converts(chat: list[BaseMessage], written):
    messages = written(chat)
    messages = messages if isinstance(messages, list) else [messages]

    direct, converted = read_traces([messages, convert_to_messages(messages)])

    assert direct.steps == converted.steps
    assert (direct.tokens_in, direct.tokens_out) == (converted.tokens_in, converted.tokens_out)
    assert direct.steps


def test_what_only_langchain_takes_for_messages_it_converts():
    (trace,) = read_traces([{"messages": [("system", "s"), ["user", "u"], ("ai", "a")]}])

    assert trace.steps == (Message("system", "s"), Message("user", "u"), Message("assistant", "a"))


@pytest.mark.parametrize("system", ["be kind", [{"type": "text", "text": "be kind"}]])
def test_a_system_prompt_beside_the_messages(system: Any):
    (trace,) = read_traces([{"system": system, "messages": ANTHROPIC}])

    assert trace.steps == (Message("system", "be kind"), *STEPS)


def calls_of(messages: list[Any]) -> list[tuple[str, str | None, str | None]]:
    (trace,) = read_traces([messages])
    return [(call.name, call.result, call.error) for call in trace.agent_calls()]


def ask(*ids: str | None, names: str = "ab") -> dict[str, Any]:
    calls = [{"id": id, "name": name, "args": {}} for id, name in zip(ids, names, strict=False)]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def told(content: Any, id: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": id} | more


@pytest.mark.parametrize(
    ("messages", "calls"),
    [
        pytest.param(
            [ask("1", "2"), told("two", "2"), told("one", "1")],
            [("a", "one", None), ("b", "two", None)],
            id="parallel calls are answered in any order",
        ),
        pytest.param(
            [told("one", "1"), ask("1")],
            [("a", "one", None)],
            id="a result may come before its call",
        ),
        pytest.param(
            [told("old", "1"), ask("1"), told("new", "1")],
            [("unknown", "old", None), ("a", "new", None)],
            id="a result of a call that was cut does not take the place of one that came",
        ),
        pytest.param(
            [ask(None, None), told("one"), told("two")],
            [("a", "one", None), ("b", "two", None)],
            id="without ids results answer in order",
        ),
        pytest.param(
            [ask(None, None), told("two", name="b"), told("one", name="a")],
            [("a", "one", None), ("b", "two", None)],
            id="without ids a tool's name tells",
        ),
        pytest.param(
            [ask(None), told("one", "9")],
            [("a", "one", None)],
            id="an id that only the result has is no obstacle",
        ),
        pytest.param(
            [ask("1", "2"), told("one"), told("two", "2")],
            [("a", "one", None), ("b", "two", None)],
            id="a result without an id answers the first call",
        ),
    ],
)
def test_results_are_joined(messages: list[Any], calls: list[Any]):
    assert calls_of(messages) == calls


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        (told("Error: no such order", "1"), True),
        (told("Error executing tool find: boom", "1"), True),
        (told("Traceback (most recent call last):\n  …", "1"), True),
        (told('{"error": "not found"}', "1"), True),
        (told("all went well", "1", status="error"), True),
        (told("all went well", "1", is_error=True), True),
        (told("Error: is what the page says", "1", is_error=False), False),
        (told('{"error": null}', "1"), False),
        (told('{"error": "x", "rows": []}', "1"), False),
        (told('{"error": "cut off', "1"), False),
        (told("Errors found: 0", "1", status="success"), False),
        (told("The log says Error: disk full", "1"), False),
        (told("", "1"), False),
    ],
    ids=lambda value: str(value["content"])[:30] if isinstance(value, dict) else None,
)
def test_what_counts_as_an_error(result: dict[str, Any], failed: bool):
    ((_, said, error),) = calls_of([ask("1"), result])

    assert (error, said) == ((result["content"], None) if failed else (None, result["content"]))


@pytest.mark.parametrize(
    "reply",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"thinking": "hm"},
        {"additional_kwargs": {"reasoning_content": "hm"}},
        {"additional_kwargs": {"reasoning": {"summary": [{"type": "summary_text", "text": "hm"}]}}},
        {"content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, "yes"]},
        {"content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "yes"}]},
        {"parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "yes"}]},
        {
            "content": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "output_text", "text": "yes"},
            ]
        },
    ],
    ids=str,
)
def test_thoughts_wherever_they_stand(reply: dict[str, Any]):
    (trace,) = read_traces([[{"role": "assistant", "content": "yes"} | reply]])

    assert trace.steps == (Thought("hm"), Message("assistant", "yes"))


@pytest.mark.parametrize(
    "usage",
    [
        {"usage_metadata": USAGE},
        {"usage": {"prompt_tokens": 7, "completion_tokens": 2}},
        {
            "usage": {
                "input_tokens": 3,
                "output_tokens": 2,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": None,
            }
        },
        {"response_metadata": {"token_usage": {"prompt_tokens": 7, "completion_tokens": 2}}},
        {"response_metadata": {"usage": {"input_tokens": 7, "output_tokens": 2}}},
        {"additional_kwargs": {"usage_metadata": USAGE}},
    ],
    ids=str,
)
def test_tokens_wherever_they_stand(usage: dict[str, Any]):
    (trace,) = read_traces([[{"role": "assistant", "content": "yes"} | usage]])

    assert (trace.tokens_in, trace.tokens_out) == (7, 2)


def test_tools_that_the_provider_runs():
    hosted = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "x"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": [{"type": "web_search_result", "url": "u"}],
        },
        {"type": "server_tool_use", "id": "s2", "name": "web_search", "input": {"q": "y"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s2",
            "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
        },
        {"type": "text", "text": "So."},
    ]
    items = [
        {"role": "user", "content": "find"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "mcp_call", "id": "m1", "name": "roll", "arguments": '{"n": 2}', "output": "7"},
    ]

    found, failed = calls_of([{"role": "assistant", "content": hosted}])
    assert (found[0], found[2]) == ("web_search", None)
    assert failed[2] is not None
    assert "max_uses_exceeded" in failed[2]
    assert calls_of(items) == [("web_search", None, None), ("roll", "7", None)]


STAMP = {"tracetune_agent": "desk", "tracetune_release": "r1"}


def reply(text: str = "a", name: str | None = None, **stamp: str) -> AIMessage:
    return AIMessage(text, name=name, response_metadata=stamp, usage_metadata=USAGE)


@pytest.mark.parametrize(
    ("record", "agent", "release"),
    [
        ({"messages": [reply(**STAMP)]}, "desk", "r1"),
        ({"messages": [reply(**STAMP), reply(**STAMP)], "release": "r0"}, "desk", "r0"),
        (
            {"messages": [reply(**STAMP), reply(**(STAMP | {"tracetune_release": "r2"}))]},
            "desk",
            None,
        ),
        (
            {
                "messages": [reply(**STAMP), reply(tracetune_agent="b", tracetune_release="r2")],
                "agent": "b",
            },
            "b",
            "r2",
        ),
        ({"messages": [reply(name="desk"), reply(name="desk")]}, "desk", None),
        ({"messages": [reply(name="desk"), reply(name="other")]}, "agent", None),
        ({"messages": [reply(name="desk"), reply()]}, "agent", None),
        ({"messages": [reply()]}, "agent", None),
    ],
    ids=[
        "stamped",
        "the record goes first",
        "two releases",
        "the agent's own release",
        "one name",
        "two names",
        "not all named",
        "nothing",
    ],
)
def test_whose_run_it_was(record: dict[str, Any], agent: str, release: str | None):
    (trace,) = read_traces([record])

    assert (trace.agent, trace.release) == (agent, release)


def test_steps_bear_the_names_of_other_agents():
    search = reply("", name="searcher")
    search.tool_calls = [{"name": "find", "args": {}, "id": "1"}]
    messages = [reply("go", name="lead"), search, ToolMessage("x", tool_call_id="1"), reply("ok")]

    (trace,) = read_traces([{"agent": "lead", "messages": messages}])

    assert [step.agent for step in trace.steps] == [None, "searcher", None]
    assert trace.steps[1] == ToolCall("find", {}, result="x", agent="searcher")


def test_a_notice_of_the_step_limit_is_no_reply_of_a_model():
    notice = AIMessage("Stopped.", response_metadata=STAMP | {"ended_by": "max_steps"})

    (trace,) = read_traces([[HumanMessage("q"), reply(**STAMP), notice]])

    assert trace.labels == {"ended_by": "max_steps"}
    assert (trace.turns, trace.tokens_in, trace.release) == (1, 7, "r1")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": None}, "messages is empty"),
        ({"messages": "hi"}, "messages is 'hi', expected a list"),
        ({"messages": [3]}, "messages[1] is 3, expected a chat message"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "role is 'robot', expected",
        ),
        ({"messages": [{"content": "x"}]}, "messages[1] has no role and no type"),
        ({"messages": openai("{}"), "success": "yes"}, "success is 'yes'"),
        ({"messages": openai("{}"), "score": "high"}, "score is 'high', expected a number"),
        ({"messages": openai("{}"), "latency_s": -1}, "latency_s is -1"),
        ({"messages": openai("{}"), "started_at": "soon"}, "started_at is 'soon', expected ISO"),
        ({"messages": openai("{}"), "labels": []}, "labels is [], expected an object"),
        ({"messages": openai("{}"), "labels": {"a": {}}}, "labels.a is {}, expected text"),
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


def steps_of(*items: dict[str, Any]) -> tuple[Any, ...]:
    bad: list[BadRecord] = []
    said = {"role": "user", "content": "find it"}
    [trace] = read_traces([{"messages": [said, *items]}], on_bad=bad.append)
    assert bad == []
    return trace.steps[1:]


@pytest.mark.parametrize(
    ("items", "call"),
    [
        (
            [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "custom", "custom": {"name": "run", "input": "1 + 1"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "2"},
            ],
            ToolCall("run", {"input": "1 + 1"}, "2"),
        ),
        (
            [
                {"type": "custom_tool_call", "call_id": "c", "name": "run", "input": "1 + 1"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": "2"},
            ],
            ToolCall("run", {"input": "1 + 1"}, "2"),
        ),
        (
            [
                {
                    "type": "web_search_call",
                    "id": "w",
                    "status": "failed",
                    "action": {"type": "search", "query": "form", "sources": [{"url": "a"}]},
                }
            ],
            ToolCall("web_search", {"type": "search", "query": "form"}, error="error"),
        ),
        (
            [
                {
                    "type": "code_interpreter_call",
                    "id": "i",
                    "status": "completed",
                    "code": "1 + 1",
                    "outputs": [{"type": "logs", "logs": "2"}],
                }
            ],
            ToolCall("code_interpreter", {"code": "1 + 1"}, '[{"type":"logs","logs":"2"}]'),
        ),
        (
            [
                {
                    "type": "apply_patch_call",
                    "call_id": "p",
                    "operation": {"type": "delete_file", "path": "a"},
                },
                {
                    "type": "apply_patch_call_output",
                    "call_id": "p",
                    "status": "failed",
                    "output": "no a",
                },
            ],
            ToolCall("apply_patch", {"type": "delete_file", "path": "a"}, error="no a"),
        ),
        (
            [
                {"type": "computer_call", "call_id": "s", "action": {"type": "click", "x": 1}},
                {
                    "type": "computer_call_output",
                    "call_id": "s",
                    "output": {"type": "computer_screenshot", "image_url": "data:image/png,a"},
                },
            ],
            ToolCall("computer", {"type": "click", "x": 1}, ""),
        ),
    ],
    ids=["custom tool", "custom item", "web search", "code", "patch", "screen"],
)
def test_calls_of_openais_own_and_custom_tools(items: list[dict[str, Any]], call: ToolCall):
    assert steps_of(*items) == (call,)


@pytest.mark.parametrize("kind", ["mcp_list_tools", "item_reference", "compaction"])
def test_items_that_say_nothing_do_not_lose_the_run(kind: str):
    answer = {"role": "assistant", "content": "Room 4"}
    assert steps_of({"type": kind, "id": "x"}, answer) == (Message("assistant", "Room 4"),)


def test_a_refusal_beside_the_content_is_said():
    reply = {"role": "assistant", "content": None, "refusal": "I cannot."}
    assert steps_of(reply) == (Message("assistant", "I cannot."),)


def test_a_result_that_a_log_repeats_is_no_call_of_its_own():
    call = {"id": "c", "function": {"name": "f", "arguments": "null"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "ok"}
    steps = steps_of({"role": "assistant", "tool_calls": [call]}, result, result)
    assert steps == (ToolCall("f", {}, "ok"),)


@pytest.mark.parametrize(
    ("content", "result"),
    [
        ([{"type": "search_result", "content": [{"type": "text", "text": "Room 4"}]}], "Room 4"),
        ([{"type": "resource", "resource": {"uri": "a", "text": "Room 4"}}], "Room 4"),
        ([{"type": "web_search_result", "title": "Rooms", "url": "b"}], "Rooms b"),
        ([{"type": "invoice", "id": 1}], '[{"type":"invoice","id":1}]'),
        ([{"type": "image", "source": {"data": "aaaa"}}], ""),
        ([{"type": "image", "url": "https://a/b.png"}], ""),
        ({"type": "input_image", "file_id": "f1"}, ""),
        ({"type": "file", "name": "a.py", "size": 3}, '{"type":"file","name":"a.py","size":3}'),
        ([{"type": "file", "name": "a.py"}], '[{"type":"file","name":"a.py"}]'),
        ([{"type": "blob", "path": "a.py"}], '[{"type":"blob","path":"a.py"}]'),
        ([{"type": "blob", "modality": "image", "content": "aaaa"}], "aaaa"),
        ([{"type": "resource", "id": 1}], '[{"type":"resource","id":1}]'),
    ],
)
def test_what_results_hold(content: Any, result: str):
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "c", "content": content}
    reply, told = {"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}
    assert steps_of(reply, told) == (ToolCall("f", {}, result),)


@pytest.mark.parametrize(
    ("broken", "name", "error"),
    [
        ({"name": None, "args": "{"}, "unknown", "its arguments are no JSON object"),
        ({"name": "f", "args": None, "error": "cut off"}, "f", "cut off"),
        ({"name": "f", "args": None}, "f", "it could not be read"),
    ],
)
def test_a_call_that_could_not_be_read_failed(broken: dict[str, Any], name: str, error: str):
    [step] = steps_of({"type": "ai", "content": "", "invalid_tool_calls": [broken | {"id": "c"}]})

    assert isinstance(step, ToolCall)
    assert (step.name, step.error) == (name, error)
