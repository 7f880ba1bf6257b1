"""A server on loopback that speaks the Gemini REST protocol, and fails as it is told to.

What it is asked: `POST /v1beta/models/NAME:generateContent` or `:streamGenerateContent?alt=sse`,
the schema of the answer in `generationConfig.responseJsonSchema` or in `tools`. Whatever it says
of a failure quotes the key and the prompt, as a careless provider would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FAULTS", "KEY", "TOLD", "Asked", "FakeGemini", "Reply", "answer", "fault", "gemini"]

KEY = "AIza" + "Sy" * 17
TOLD = "what-the-provider-said"
"""Stands in everything the server says of a failure."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    schema: str
    """Title of the schema the answer must have; empty when none was given."""
    prompt: str
    streamed: bool
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What comes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    dropped: bool = False
    """Whether the connection ends half-way."""


Script = Callable[[Asked], Reply]


def answer(found: Any, finish: str = "STOP") -> Reply:
    """A reply that holds this answer: a text, or what JSON says of anything else."""
    text = found if isinstance(found, str) else json.dumps(found)
    candidate = {
        "content": {"role": "model", "parts": [{"text": text}]},
        "finishReason": finish,
        "index": 0,
    }
    return _json({"candidates": [candidate], "usageMetadata": _usage(1000, 100)})


def fault(status: int, said: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as Google's servers send them; `said` is its status in words."""
    message = f"{TOLD}: API key {KEY} may not"
    error = {"code": status, "status": said, "message": message, "details": [{"reason": said}]}
    return Reply(status, json.dumps({"error": error}).encode(), headers or {})


def asks_to_wait(delay: str) -> Reply:
    """A 429 that says in google.rpc.RetryInfo when to come again."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": TOLD, "details": [info]}
    return Reply(429, json.dumps({"error": error}).encode())


def _usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {
        "promptTokenCount": tokens_in,
        "candidatesTokenCount": tokens_out,
        "totalTokenCount": tokens_in + tokens_out,
    }


def _json(document: Mapping[str, Any]) -> Reply:
    return Reply(200, json.dumps(document).encode())


_BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": _usage(1000, 0)}
_HUGE = "x" * 5_000_000

FAULTS: dict[str, Reply] = {
    "key refused (401)": fault(401, "UNAUTHENTICATED"),
    "key refused (403)": fault(403, "PERMISSION_DENIED"),
    "key refused (400)": fault(400, "API_KEY_INVALID"),
    "rate limited": fault(429, "RESOURCE_EXHAUSTED"),
    "rate limited, come again at once": fault(429, "RESOURCE_EXHAUSTED", {"Retry-After": "0"}),
    "rate limited, come again tomorrow": fault(429, "RESOURCE_EXHAUSTED", {"Retry-After": "86400"}),
    "rate limited, told in the body": asks_to_wait("86400s"),
    "broken (500)": fault(500, "INTERNAL"),
    "broken (503)": fault(503, "UNAVAILABLE", {"Retry-After": "0"}),
    "hangs": Reply(hangs=True),
    "drops the connection": Reply(200, answer({"add": [], "updates": []}).body, dropped=True),
    "malformed JSON around the answer": Reply(200, b'{"candidates": [{"content": ' + TOLD.encode()),
    "no candidate": _json({"candidates": [], "usageMetadata": _usage(1000, 0)}),
    "blocked": _json(_BLOCKED),
    "blocked while answering": answer('{"add": [', "SAFETY"),
    "cut off": answer('{"add": [{"text": "Say hello.", "why": "it helps"}', "MAX_TOKENS"),
    "cut off and not said": answer('{"add": [{"text": "Say hello.", "why": "it helps"}'),
    "another schema": answer({"recipe": "eggs", "note": TOLD}),
    "a wrong type": answer({"add": "everything", "updates": 7, "changes": TOLD}),
    "plain prose": answer(f"I would rather not. {TOLD}"),
    "5 MB": answer({"add": [{"text": _HUGE, "why": "long"}], "updates": [], "changes": []}),
    "5 MB that do not end": answer('{"add": [{"text": "' + _HUGE),
}
"""Name -> a reply from which no answer can be had."""


class FakeGemini:
    """Answers each request by `script`, and keeps what it was asked, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            return self.script(asked)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def model(self, name: str = "gemini-flash-latest", **options: Any) -> Any:
        """A real client of this server."""
        from langchain_google_genai import ChatGoogleGenerativeAI

        return ChatGoogleGenerativeAI(model=name, api_key=KEY, base_url=self.url, **options)


@contextmanager
def gemini(script: Script) -> Iterator[FakeGemini]:
    """Run a server for the block."""
    server = FakeGemini(script)
    try:
        yield server
    finally:
        server.close()


def _handler(fake: FakeGemini) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = _read(self)
            reply = fake.reply(asked)
            if reply.hangs:
                fake.closing.wait(30)
                self.close_connection = True
                return
            body = reply.body
            if asked.streamed and reply.status == 200:
                body = b"data: " + body + b"\r\n\r\n"
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if reply.dropped else body)
            self.close_connection = reply.dropped

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _read(request: BaseHTTPRequestHandler) -> Asked:
    body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
    config = body.get("generationConfig", {})
    schema = config.get("responseJsonSchema", {}).get("title", "")
    for tool in body.get("tools", []):
        schema = schema or tool["functionDeclarations"][0]["name"]
    parts = [part["text"] for content in body["contents"] for part in content["parts"]]
    streamed = ":streamGenerateContent" in request.path
    return Asked(schema, "\n".join(parts), streamed, body)
