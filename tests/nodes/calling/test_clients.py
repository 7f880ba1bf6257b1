"""A model's clients made our own: no connection is met in another loop, and no setting is lost."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import BaseModel, PrivateAttr, SecretStr

from tracetune.errors import ModelError, NoModelError
from tracetune.nodes.calling.budget import Account, Budget, Limits
from tracetune.nodes.calling.calls import Branch, ask
from tracetune.nodes.calling.clients import with_own_clients
from tracetune.nodes.calling.models import guessed_model
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
            # A proxy is asked for a whole URL.
            path = urlsplit(self.path).path
            sent = json.dumps(REPLIES.get(path, GEMINI)).encode()
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


def behind_a_proxy(url: str) -> BaseChatModel:
    chat = pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    there = "http://provider.invalid/v1"
    made: BaseChatModel = chat.ChatOpenAI(
        model="m", api_key=KEY, base_url=there, openai_proxy=url, http_socket_options=()
    )
    return made


def anthropic(url: str) -> BaseChatModel:
    chat = pytest.importorskip("langchain_anthropic")
    made: BaseChatModel = chat.ChatAnthropic(model="m", api_key=KEY, base_url=url)
    return made


def gemini(url: str) -> BaseChatModel:
    return ChatGoogleGenerativeAI(model="m", api_key=KEY, base_url=url)


PROVIDERS = [
    pytest.param(openai, id="OpenAI's"),
    pytest.param(behind_a_proxy, id="OpenAI's behind a proxy"),
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


def test_a_client_of_the_user_s_for_sync_calls_is_the_one_that_asks(keeping: Keeping) -> None:
    """One with a proxy, say: no other client may pass it by."""
    chat = pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    import openai as sdk

    client = sdk.DefaultHttpxClient(proxy=keeping.url)
    model = chat.ChatOpenAI(
        model="m", api_key=KEY, base_url="http://provider.invalid/v1", http_client=client
    )
    place = Workplace(model=model)

    async def cycle() -> list[str]:
        return await words(await place.model("m"), Account())

    assert asyncio.run(cycle()) == ["hi"] * AT_ONCE
    assert keeping.asked == AT_ONCE


def test_an_async_client_of_the_user_s_is_the_one_that_asks(keeping: Keeping) -> None:
    chat = pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    import openai as sdk

    given: dict[str, Any] = {"api_key": KEY, "base_url": "http://provider.invalid/v1"}
    proxied = sdk.DefaultAsyncHttpxClient(proxy=keeping.url)
    model = chat.ChatOpenAI(model="m", http_client=sdk.DefaultHttpxClient(), **given)
    model.root_async_client = sdk.AsyncOpenAI(http_client=proxied, **given)
    model.async_client = model.root_async_client.chat.completions
    model.http_client = None
    place = Workplace(model=model)

    async def cycle() -> list[str]:
        return await words(await place.model("m"), Account())

    assert asyncio.run(cycle()) == ["hi"] * AT_ONCE


class Named(FakeListChatModel):
    """Has the name of a provider's model, and nothing of its client."""

    max_retries: int = 3

    @property
    def _llm_type(self) -> str:
        return "anthropic-chat-elsewhere"


class Tenant(ChatGoogleGenerativeAI):
    """Holds what its fields do not tell."""

    _tenant: str = PrivateAttr(default="nobody")


def test_a_model_that_is_like_a_known_one_stays_what_it_is() -> None:
    named = with_own_clients(Named(responses=["hi"]))
    assert named.invoke("Hello?").content == "hi"
    tenant = Tenant(model="m", api_key=SecretStr(KEY))
    tenant._tenant = "acme"
    own = with_own_clients(tenant)
    assert isinstance(own, Tenant)
    assert (own._tenant, own.max_retries, tenant.max_retries) == ("acme", 1, 6)


def test_a_google_client_that_the_user_put_in_is_not_replaced() -> None:
    model = ChatGoogleGenerativeAI(model="m", api_key=KEY)
    mine = ChatGoogleGenerativeAI(model="m", api_key=KEY).client
    model.client = mine
    own = with_own_clients(model)
    assert isinstance(own, ChatGoogleGenerativeAI)
    assert own.client is mine


def test_settings_of_a_google_model_are_kept() -> None:
    model = ChatGoogleGenerativeAI(
        model="m", api_key=KEY, temperature=0.25, additional_headers={"X-Tenant": "acme"}, timeout=7
    )
    own = with_own_clients(model)
    assert isinstance(own, ChatGoogleGenerativeAI)
    assert own is not model
    assert (own.temperature, own.timeout) == (0.25, 7)
    assert own.additional_headers == {"X-Tenant": "acme", "Connection": "close"}
    assert model.additional_headers == {"X-Tenant": "acme"}


@pytest.mark.parametrize(
    ("name", "environment", "error", "told"),
    [
        pytest.param("gpt-4o", {}, NoModelError, "No API key for gpt-4o", id="no key"),
        pytest.param("", {}, ModelError, "got ''", id="nothing"),
        pytest.param("nonsense", {}, ModelError, "got 'nonsense'", id="no model"),
        pytest.param(
            "gpt-4o",
            {"OPENAI_API_KEY": KEY, "ALL_PROXY": "socks5://127.0.0.1:1"},
            ModelError,
            "'gpt-4o' cannot be set up: a package that its client asks for is not installed",
            id="a proxy that needs a package",
        ),
        pytest.param(
            "gpt-4o",
            {"OPENAI_API_KEY": KEY, "SSL_CERT_FILE": "/nowhere.pem"},
            ModelError,
            "(FileNotFoundError)",
            id="certificates that are not there",
        ),
    ],
)
def test_a_model_that_cannot_be_set_up_is_told_in_a_line(
    name: str,
    environment: dict[str, str],
    error: type[Exception],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("langchain_openai", reason="needs the extra `local`")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(error, match=re.escape(told)) as found:
        guessed_model(name)
    assert KEY not in str(found.value)


def test_clients_that_cannot_be_made_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_anthropic")
    model = anthropic("http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(ModelError, match=r"client of ChatAnthropic .* \(FileNotFoundError\)"):
        Workplace(model=model)
