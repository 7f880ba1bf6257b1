"""Asking: in the form a model understands, again where that may help, and quoting nothing."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, Field

from tracetune.errors import ReplyError
from tracetune.nodes.calling.budget import Account, Budget, Limits
from tracetune.nodes.calling.calls import Branch, CallError, ask
from tracetune.nodes.calling.clients import with_own_clients
from tracetune.nodes.calling.forms import REMEMBERED_S, Forms
from tracetune.nodes.calling.replies import LONGEST, NoAnswerError, read_reply
from tracetune.nodes.calling.troubles import wait_s

QUICK = {"Retry-After": "0"}
SECRET = "sk-" + "q" * 30


class Found(BaseModel):
    """What was found; every field has a default, as in our own schemas."""

    names: list[str] = Field(default_factory=list)
    count: int = 0


ROLE = {"role": "assistant"}
RIGHT = {"names": ["a"], "count": 1}
TEXT = json.dumps(RIGHT)
NOTHING = '{"names": []}'
"""An answer too, but not the one that is meant."""


class Refused(Exception):  # noqa: N818
    """An error as providers' clients raise them."""

    def __init__(self, status: int, said: str = SECRET, headers: Any = None) -> None:
        super().__init__(said)
        self.status_code = status
        self.response = Said(headers or {})


class Said:
    def __init__(self, headers: Any) -> None:
        self.headers = headers


class PlainChat(BaseChatModel):
    """A model that only answers in text, and knows nothing of tools."""

    replies: list[Any]
    prompts: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.prompts.append(str(messages[-1].content))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        message = reply if isinstance(reply, AIMessage) else AIMessage(content=reply)
        return ChatResult(generations=[ChatGeneration(message=message)])


class ToolChat(PlainChat):
    """A model that may be given tools; what it does with them is up to its replies."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tool=tools[0].__name__)


async def asking(
    model: BaseChatModel, account: Account | None = None, **given: Any
) -> tuple[Found, Account]:
    used = account or Account()
    with used.in_use():
        answer, _ = await ask(
            model, Found, "Which?", branch=Branch("node", "agent"), timeout_s=5, **given
        )
    return answer, used


def called(args: Any) -> AIMessage:
    return AIMessage(
        content="",
        tool_calls=[{"name": "Found", "args": args, "id": "1"}],
        usage_metadata={"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    )


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(TEXT, id="bare"),
        pytest.param(f"```json\n{TEXT}\n```", id="fenced"),
        pytest.param(f"Sure {{here}} it is:\n{TEXT}\nAnything else?", id="in prose"),
        pytest.param(f'For example {{"x": 1}}.\n{TEXT}', id="behind an example"),
        pytest.param(f"{json.dumps(Found.model_json_schema())}\n{TEXT}", id="behind the schema"),
        pytest.param(f"<think>{{}} or {{not}}</think>{TEXT}", id="behind thoughts"),
        pytest.param('{"names": ["a"],\n "count": 1}', id="on two lines"),
        pytest.param(f"<think>{NOTHING} will do.</think>\n{TEXT}", id="behind a thought answer"),
        pytest.param(f"<Thinking>{NOTHING}</thinking>{TEXT}", id="behind thoughts in capitals"),
        pytest.param(f"<reasoning>{NOTHING}</reasoning>{TEXT}", id="behind reasoning"),
        pytest.param(f"{NOTHING}, no: </think>{TEXT}", id="behind thoughts begun by the template"),
        pytest.param(f"{TEXT} <think>{NOTHING}</think>", id="before thoughts"),
        pytest.param(f"First {NOTHING}. Then again: {TEXT}", id="after a draft"),
        pytest.param(f"```json\n{TEXT}\n```\nNot: {NOTHING}", id="in a fence before another"),
        pytest.param(f"```\n{NOTHING}\n```\n```JSON\n{TEXT}\n```", id="in the fence of JSON"),
        pytest.param(f"{'{x} ' * 500}{TEXT}", id="behind many variables"),
    ],
)
async def test_a_model_that_only_writes_text_is_understood(said: str) -> None:
    model = PlainChat(replies=[said])
    answer, account = await asking(model)
    assert answer == Found(**RIGHT)
    assert '"title": "Found"' in model.prompts[0]
    assert [call["error"] for call in account.calls] == [""]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(TEXT[:-1], "no answer in the asked form", id="cut off before its end"),
        pytest.param('{"names": ["a", {"x": 1}', "did not fit", id="cut off behind an object"),
        pytest.param('{"names": ["a"', "no answer in the asked form", id="cut off in a list"),
        pytest.param('{"other": 1}', "did not fit", id="other keys"),
        pytest.param('{"names": 7}', "did not fit", id="another type"),
        pytest.param('["a"]', "no answer in the asked form", id="a list"),
        pytest.param("No idea {}.", "no answer in the asked form", id="a brace pair in prose"),
        pytest.param("  ", "an empty answer", id="blank"),
        pytest.param(f"<think>{TEXT}", "no answer in the asked form", id="thoughts without end"),
        pytest.param(f"<think>{TEXT}</think>", "no answer in the asked form", id="thoughts alone"),
        pytest.param(f"<think>{TEXT}</think>{{}}?", "no answer", id="braces behind thoughts"),
        pytest.param("[" * 100_000, "no answer in the asked form", id="brackets without end"),
        pytest.param("{" * 200_000, "no answer in the asked form", id="nothing but braces"),
        pytest.param(f'{{"count": {"1" * 5000}}}', "no answer", id="a number without end"),
        pytest.param('{"a":' * 30_000, "no answer in the asked form", id="braces without end"),
        pytest.param(f'{{"names": ["{"x" * LONGEST}"]}}', "too large: 200,015", id="too large"),
    ],
)
def test_what_is_no_whole_answer_is_refused(said: str, told: str) -> None:
    with pytest.raises(ReplyError, match=told) as caught:
        read_reply(AIMessage(content=said), Found)
    assert "other" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        pytest.param(
            AIMessage(content=TEXT, response_metadata={"finish_reason": "length"}),
            "cut off",
            id="OpenAI's length",
        ),
        pytest.param(
            AIMessage(content=TEXT, response_metadata={"stop_reason": "max_tokens"}),
            "cut off",
            id="Anthropic's max_tokens",
        ),
        pytest.param(
            AIMessage(content=TEXT, response_metadata={"finish_reason": "content_filter"}),
            "blocked",
            id="OpenAI's filter",
        ),
        pytest.param(
            AIMessage(content=[{"type": "image", "base64": "AAAA", "mime_type": "image/png"}]),
            "an empty answer",
            id="an image",
        ),
        pytest.param(called({"names": ["x" * LONGEST]}), "too large", id="a large tool call"),
        pytest.param(called({"x": 1}), "did not fit", id="a tool call with other keys"),
        pytest.param(7, "no answer", id="no message at all"),
    ],
)
def test_messages_that_hold_no_answer(message: Any, told: str) -> None:
    with pytest.raises(ReplyError, match=told):
        read_reply(message, Found)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Think within <think> and </think>.", id="tags"),
        pytest.param("</reasoning>", id="a closing tag"),
        pytest.param('```json\n{"names": []}\n```', id="a fence with an answer"),
        pytest.param('{"names": ["b"]}', id="an answer"),
    ],
)
def test_what_stands_within_an_answer_is_its_own(text: str) -> None:
    found = Found(names=[text])
    said = f"<think>Hm.</think>Here: {found.model_dump_json()}"
    assert read_reply(AIMessage(content=said), Found) == found


def test_an_answer_that_says_nothing_is_one() -> None:
    assert read_reply(AIMessage(content="```json\n{}\n```"), Found) == Found()
    assert read_reply(AIMessage(content="<think>No {x}.</think>\n{}"), Found) == Found()
    assert read_reply(called({}), Found) == Found()


async def test_a_tool_call_is_read_and_its_usage_counted() -> None:
    answer, account = await asking(ToolChat(replies=[called(RIGHT)]))
    assert answer == Found(**RIGHT)
    [call] = account.calls
    assert (call["tokens_in"], call["tokens_out"], call["agent"]) == (7, 3, "agent")


@pytest.mark.parametrize("status", [400, 422, 501])
async def test_where_tools_are_refused_text_is_asked_for_and_that_is_remembered(
    status: int,
) -> None:
    model = ToolChat(replies=[Refused(status), TEXT, TEXT])
    answer, first = await asking(model)
    assert answer == Found(**RIGHT)
    assert [bool(call["error"]) for call in first.calls] == [True, False]
    _, second = await asking(model, Account(forms=first.forms))
    assert len(second.calls) == 1


async def calls_of_each(model: BaseChatModel, forms: Forms, questions: int) -> list[int]:
    return [len((await asking(model, Account(forms=forms)))[1].calls) for _ in range(questions)]


async def test_tools_that_are_ignored_twice_running_are_not_offered_for_a_while() -> None:
    prose, now = "I have no tools.", [0.0]
    model = ToolChat(replies=[prose, TEXT, prose, TEXT, TEXT, called(RIGHT)])
    forms = Forms(clock=lambda: now[0])
    assert await calls_of_each(model, forms, 3) == [2, 2, 1]
    now[0] = REMEMBERED_S
    assert await calls_of_each(model, forms, 1) == [1]


async def test_one_answer_in_prose_takes_no_form_from_the_next_question() -> None:
    prose = "Let me think."
    replies = [prose, TEXT, called(RIGHT), prose, TEXT, called(RIGHT)]
    assert await calls_of_each(ToolChat(replies=replies), Forms(), 4) == [2, 1, 2, 1]


async def test_where_no_form_works_none_is_remembered_as_unfit() -> None:
    model = ToolChat(replies=[Refused(400), Refused(400), called(RIGHT)])
    account = Account()
    with pytest.raises(CallError, match=r"refused \(HTTP 400\)") as caught:
        await asking(model, account)
    assert len(caught.value.calls) == 2
    answer, _ = await asking(model, Account(forms=account.forms))
    assert answer == Found(**RIGHT)


async def test_an_answer_that_does_not_fit_is_asked_for_again_in_the_same_form() -> None:
    model = ToolChat(replies=[called({"names": 7}), called(RIGHT)])
    answer, account = await asking(model)
    assert answer == Found(**RIGHT)
    assert [(call["attempt"], bool(call["error"])) for call in account.calls] == [
        (1, True),
        (2, False),
    ]
    assert not any("title" in prompt for prompt in model.prompts)


async def test_what_a_check_turns_down_is_asked_for_again() -> None:
    model = ToolChat(replies=[called(RIGHT | {"count": -1}), called(RIGHT)])
    answer, account = await asking(
        model, check=lambda found: "a count below 0" if found.count < 0 else ""
    )
    assert answer.count == 1
    assert account.calls[0]["error"] == "a count below 0"


@pytest.mark.parametrize(
    ("error", "made"),
    [
        pytest.param(Refused(429, headers=QUICK), 3, id="rate limited"),
        pytest.param(Refused(503, headers=QUICK), 3, id="unavailable"),
        pytest.param(Refused(401), 1, id="key refused"),
        pytest.param(Refused(404), 1, id="unknown model"),
        pytest.param(Refused(429, headers={"Retry-After": "601"}), 1, id="wait past the deadline"),
    ],
)
async def test_calls_are_tried_again_only_where_that_may_help(error: Refused, made: int) -> None:
    model = PlainChat(replies=[error] * 5)
    with pytest.raises(CallError) as caught:
        await asking(model)
    assert len(caught.value.calls) == made
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_every_call_counts_in_the_budget_also_those_that_another_form_takes() -> None:
    account = Account(budget=Budget(Limits(max_calls=1)))
    with pytest.raises(CallError, match=r"budget of the cycle is spent \(max_calls: 1\)"):
        await asking(ToolChat(replies=[Refused(400), TEXT]), account)
    assert len(account.calls) == 1


class Silent(PlainChat):
    """A model that never answers."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.prompts.append("asked")
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


async def test_a_call_that_is_cancelled_holds_up_nobody() -> None:
    account = Account(budget=Budget(Limits(max_tokens=4000)))
    model = Silent(replies=[])
    asked = asyncio.create_task(asking(model, account))
    while not model.prompts:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    # What it may have taken is taken; nobody waits for it.
    with pytest.raises(CallError, match=r"is spent \(max_tokens: 4000\)"):
        await asyncio.wait_for(asking(PlainChat(replies=[TEXT]), account), 5)


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Detailed(Exception):  # noqa: N818
    def __init__(self, details: Any) -> None:
        super().__init__("x")
        self.details = details


def retry_info(delay: str) -> Any:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    return {"error": {"details": [{"reason": "x"}, {"@type": kind, "retryDelay": delay}]}}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        pytest.param(Refused(429, headers={"retry-after": "7"}), 7, id="seconds"),
        pytest.param(
            Refused(429, headers={"Retry-After": format_datetime(NOW + timedelta(seconds=90))}),
            90,
            id="a date",
        ),
        pytest.param(
            Refused(429, headers={"Retry-After": format_datetime(NOW - timedelta(days=1))}),
            0,
            id="a date that has passed",
        ),
        pytest.param(Refused(429, headers={"Retry-After": "soon"}), None, id="neither"),
        pytest.param(Refused(429), None, id="nothing"),
        pytest.param(Detailed(retry_info("7.5s")), 7.5, id="RetryInfo"),
        pytest.param(Detailed(retry_info("later")), None, id="RetryInfo that is none"),
        pytest.param(Detailed("text"), None, id="details that are text"),
    ],
)
def test_how_long_a_server_asks_to_wait(error: Exception, seconds: float | None) -> None:
    assert wait_s(error, NOW) == seconds
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = error
    assert wait_s(wrapped, NOW) == seconds


class Unwilling:
    """An OpenAI-protocol server that refuses what it does not know with HTTP 400."""

    def __init__(self, refuses: Callable[[dict[str, Any]], bool]) -> None:
        self.refuses = refuses
        self.asked: list[dict[str, Any]] = []
        self.says = TEXT
        self.pieces: list[Any] = []
        """What it streams, where it is asked to."""


def _openai(server: Unwilling) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append(body)
            refused = server.refuses(body)
            reply: dict[str, Any] = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": server.says},
                    }
                ],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
            }
            if refused:
                reply = {"error": {"message": f"Invalid tool_choice type {SECRET}", "code": 400}}
            sent, kind = json.dumps(reply).encode(), "application/json"
            if body.get("stream"):
                sent = b"".join(b"data: %s\n\n" % json.dumps(p).encode() for p in server.pieces)
                kind = "text/event-stream"
            self.send_response(400 if refused else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def openai() -> Iterator[Callable[[Callable[[dict[str, Any]], bool]], tuple[Any, Unwilling]]]:
    chat = pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    servers: list[ThreadingHTTPServer] = []

    def start(refuses: Callable[[dict[str, Any]], bool]) -> tuple[Any, Unwilling]:
        server = Unwilling(refuses)
        http = ThreadingHTTPServer(("127.0.0.1", 0), _openai(server))
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(http)
        url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        return chat.ChatOpenAI(model="local", api_key=SECRET, base_url=url, max_retries=0), server

    yield start
    for http in servers:
        http.shutdown()
        http.server_close()


def no_schema(body: dict[str, Any]) -> bool:
    return body.get("response_format", {}).get("type") == "json_schema"


def nothing_but_text(body: dict[str, Any]) -> bool:
    return bool({"tools", "tool_choice", "response_format"} & body.keys())


@pytest.mark.parametrize(
    ("refuses", "calls"),
    [
        pytest.param(lambda body: "tools" in body, 1, id="tools refused"),
        pytest.param(no_schema, 2, id="no json_schema"),
        pytest.param(nothing_but_text, 3, id="nothing but text"),
    ],
)
async def test_a_real_client_finds_the_form_that_its_server_takes(
    refuses: Callable[[dict[str, Any]], bool],
    calls: int,
    openai: Callable[[Callable[[dict[str, Any]], bool]], tuple[Any, Unwilling]],
) -> None:
    model, server = openai(refuses)
    answer, first = await asking(model)
    assert answer == Found(**RIGHT)
    assert len(server.asked) == len(first.calls) == calls
    assert SECRET not in repr(first.calls)
    _, second = await asking(model, Account(forms=first.forms))
    assert [call["tokens_in"] for call in second.calls] == [9]


async def test_a_server_that_always_fences_its_answer_is_asked_in_plain_text(
    openai: Callable[[Callable[[dict[str, Any]], bool]], tuple[Any, Unwilling]],
) -> None:
    model, server = openai(lambda body: False)
    server.says = f"Here it is:\n```json\n{TEXT}\n```"
    answer, account = await asking(model)
    assert answer == Found(**RIGHT)
    assert [call["error"] for call in account.calls] == ["the answer could not be read", ""]


@pytest.mark.parametrize(
    ("said", "finish", "error"),
    [
        pytest.param(TEXT, "stop", "", id="to its end"),
        pytest.param(TEXT, None, "", id="whole, by a server that does not say so"),
        pytest.param(TEXT[:-4], None, "no answer in the asked form|not be read", id="half"),
    ],
)
async def test_an_answer_that_is_streamed_counts_where_it_is_whole(
    said: str,
    finish: str | None,
    error: str,
    openai: Callable[[Callable[[dict[str, Any]], bool]], tuple[Any, Unwilling]],
) -> None:
    model, server = openai(lambda body: False)
    model.streaming = True
    pieces: list[tuple[str, str | None]] = [(said, None)]
    pieces += [("", finish)] if finish else []
    server.pieces = [
        {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "local",
            "choices": [{"index": 0, "delta": {**ROLE, "content": text}, "finish_reason": reason}],
        }
        for text, reason in pieces
    ]
    account = Account(retries=0)
    if not error:
        assert (await asking(model, account))[0] == Found(**RIGHT)
        return
    with pytest.raises(CallError, match=error):
        await asking(model, account)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google_genai"])
def test_a_streamed_call_that_broke_off_is_no_answer(provider: str) -> None:
    """LangChain closes what was left open: half a text would pass for a whole one."""
    call = {"name": "Found", "args": {"names": ["a"]}, "id": "1"}
    told = {"model_provider": provider}
    with pytest.raises(NoAnswerError, match="the answer broke off"):
        read_reply(AIMessage("", tool_calls=[call], response_metadata=told), Found)
    whole = AIMessage("", tool_calls=[call], response_metadata=told | {"finish_reason": "stop"})
    assert read_reply(whole, Found) == Found(names=["a"])
    assert read_reply(AIMessage("", tool_calls=[call]), Found) == Found(names=["a"])


def test_a_client_s_own_retries_are_off_where_it_reads_them_at_every_call() -> None:
    google = pytest.importorskip("langchain_google_genai")
    model = google.ChatGoogleGenerativeAI(model="gemini-flash-latest", api_key=SECRET)
    once: Any = with_own_clients(model)
    # 1 is one try for Google's client, which takes 0 for its default of 5.
    assert (model.max_retries, once.max_retries) == (6, 1)
    plain = PlainChat(replies=[])
    assert with_own_clients(plain) is plain


class Busy(ThreadingHTTPServer):
    """A server that is overloaded, whatever it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.asked += 1
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def busy() -> Iterator[Busy]:
    with Busy() as server:
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("package", "name", "path"),
    [
        pytest.param("langchain_openai", "ChatOpenAI", "/v1", id="OpenAI's"),
        pytest.param("langchain_anthropic", "ChatAnthropic", "", id="Anthropic's"),
    ],
)
async def test_a_client_does_not_retry_by_itself_though_it_was_made_and_used_before(
    package: str, name: str, path: str, busy: Busy
) -> None:
    made = getattr(pytest.importorskip(package), name)
    url = f"http://127.0.0.1:{busy.server_port}{path}"
    model = made(model="m", api_key=SECRET, base_url=url, max_retries=1)
    with pytest.raises(Exception, match="503"):
        await model.ainvoke("Hello?")
    assert busy.asked == 2
    once = with_own_clients(model)
    with pytest.raises(Exception, match="503"):
        await once.ainvoke("Hello?")
    with pytest.raises(Exception, match="503"):
        once.invoke("Hello?")
    assert busy.asked == 4
    assert model.max_retries == 1


def test_no_answer_is_a_reply_error() -> None:
    assert issubclass(NoAnswerError, ReplyError)
