"""A model's connections belong to the event loop that opened them: none is met in another one."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel

from tracetune.nodes.calling.budget import Account, Budget, Limits
from tracetune.nodes.calling.calls import Branch, ask
from tracetune.nodes.workplace import Workplace

KEY = "sk-" + "k" * 20
AT_ONCE = 3
SAID = '{"word": "hi"}'
OPENAI = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": SAID},
        }
    ],
}
ANTHROPIC = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": SAID}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 4},
}
GEMINI = {
    "candidates": [
        {
            "index": 0,
            "finishReason": "STOP",
            "content": {"role": "model", "parts": [{"text": SAID}]},
        }
    ]
}
REPLIES = {"/v1/chat/completions": OPENAI, "/v1/messages": ANTHROPIC}


class Word(BaseModel):
    """One word."""

    word: str = ""


class Keeping(ThreadingHTTPServer):
    """Speaks the providers' protocols, and keeps each connection open for the next request."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked = 0
        self.together = threading.Barrier(AT_ONCE)
        super().__init__(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that their client gives up."""


def _handler(server: Keeping) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.asked += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            # All have come before one is answered: each has a connection of its own.
            server.together.wait(timeout=20)
            sent = json.dumps(REPLIES.get(self.path.partition("?")[0], GEMINI)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    with Keeping() as server:
        yield server
        server.shutdown()


def openai(url: str) -> BaseChatModel:
    chat = pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    made: BaseChatModel = chat.ChatOpenAI(model="m", api_key=KEY, base_url=f"{url}/v1")
    return made


def anthropic(url: str) -> BaseChatModel:
    chat = pytest.importorskip("langchain_anthropic")
    made: BaseChatModel = chat.ChatAnthropic(model="m", api_key=KEY, base_url=url)
    return made


def gemini(url: str) -> BaseChatModel:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model="m", api_key=KEY, base_url=url)


PROVIDERS = [
    pytest.param(openai, id="OpenAI's"),
    pytest.param(anthropic, id="Anthropic's"),
    pytest.param(gemini, id="Google's"),
]


async def words(model: BaseChatModel, account: Account) -> list[str]:
    with account.in_use():
        asked = [
            ask(model, Word, "Say a word.", branch=Branch("here"), timeout_s=20)
            for _ in range(AT_ONCE)
        ]
        return [answer.word for answer, _ in await asyncio.gather(*asked)]


async def used(model: BaseChatModel) -> None:
    await asyncio.gather(*(model.ainvoke("Hello?") for _ in range(AT_ONCE)))


@pytest.mark.parametrize("make", PROVIDERS)
def test_a_model_that_was_used_in_an_ended_loop_answers_at_the_first_try(
    make: Callable[[str], BaseChatModel], keeping: Keeping
) -> None:
    mine = make(keeping.url)
    place = Workplace(model=mine)

    async def cycle(account: Account) -> list[str]:
        return await words(await place.model("m"), account)

    asyncio.run(used(mine))
    for turn in range(1, 4):
        account = Account(budget=Budget(Limits(max_calls=AT_ONCE)))
        assert asyncio.run(cycle(account)) == ["hi"] * AT_ONCE
        assert [call["error"] for call in account.calls] == [""] * AT_ONCE
        # Nor is a question sent, and billed, whose answer nobody hears.
        assert keeping.asked == (1 + turn) * AT_ONCE


def test_a_model_that_is_named_keeps_no_connection_of_an_ended_loop(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{keeping.url}/v1")

    async def cycle(account: Account) -> list[str]:
        return await words(await Workplace().model("openai:m"), account)

    for turn in range(1, 4):
        account = Account(budget=Budget(Limits(max_calls=AT_ONCE)))
        assert asyncio.run(cycle(account)) == ["hi"] * AT_ONCE
        assert keeping.asked == turn * AT_ONCE
