"""Runs straight from LangSmith: its real client against a server on loopback."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langsmith import Client

from tracetune.errors import TraceError
from tracetune.traces.live import langsmith_runs
from tracetune.traces.read import read_traces

PROJECT = str(uuid.UUID(int=7))
TRACE = str(uuid.UUID(int=1))
SINCE = datetime(2026, 1, 1)

Answer = tuple[int, Any]


def run(number: int, kind: str, **more: Any) -> dict[str, Any]:
    """A run as the second version of the API gives it."""
    return {
        "id": str(uuid.UUID(int=number)),
        "trace_id": TRACE,
        "parent_run_ids": [] if number == 1 else [TRACE],
        "name": "desk" if number == 1 else "look_up",
        "run_type": kind,
        "status": "SUCCESS",
        "start_time": f"2026-01-02T03:04:0{number}.000Z",
        "end_time": f"2026-01-02T03:04:0{number}.500Z",
        **more,
    }


TOOL = run(2, "TOOL", inputs={"what": "form"}, outputs={"output": "Room 4"})
ROOT = run(1, "CHAIN", end_time="2026-01-02T03:04:09.000Z")


class Server(ThreadingHTTPServer):
    """Answers each query for runs from a script, and keeps what it was asked."""

    def __init__(self, script: list[Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.queries: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith("/sessions"):
            return self.answer(200, {"version": "0.18.0"})
        known = {"name": "p", "tenant_id": PROJECT, "start_time": "2026-01-01T00:00:00Z"}
        found = [{**known, "id": PROJECT, "reference_dataset_id": None}]
        return self.answer(200, found if "name=p&" in self.path else [])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/api/v2/runs/query":
            return self.answer(404, {"detail": "Not Found"})
        assert isinstance(self.server, Server)
        self.server.queries.append(body)
        self.server.keys.add(self.headers["x-api-key"])
        return self.answer(*self.server.script.pop(0))

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Client, Server]]]:
    servers: list[Server] = []

    def start(*script: Answer) -> tuple[Client, Server]:
        servers.append(Server([*script]))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{servers[-1].server_port}"
        return Client(url, api_key="k" * 8, auto_batch_tracing=False), servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def page(*items: Any, cursor: str | None = None) -> Answer:
    return 200, {"items": [*items], "next_cursor": cursor}


def test_pages_are_read_to_the_last_and_become_one_trace(serve: Any):
    client, server = serve(page(TOOL, cursor="c1"), page(ROOT))

    (trace,) = read_traces(langsmith_runs(client, "p", since=SINCE, trace_filter="eq(name, 'x')"))

    assert (trace.id, trace.agent, trace.latency_s) == (TRACE, "desk", 8.0)
    assert [(c.name, c.arguments, c.result) for c in trace.agent_calls()] == [
        ("look_up", {"what": "form"}, "Room 4")
    ]
    first, second = server.queries
    assert first["project_ids"] == [PROJECT]
    assert first["min_start_time"] == "2026-01-01T00:00:00+00:00"
    assert first["trace_filter"] == "eq(name, 'x')"
    assert {"FEEDBACK_STATS", "OUTPUTS", "PARENT_RUN_IDS"} <= set(first["selects"])
    assert ("cursor" in first, second["cursor"]) == (False, "c1")
    assert server.keys == {"k" * 8}


@pytest.mark.parametrize("status", [429, 500])
def test_a_page_that_fails_once_is_asked_for_again(serve: Any, status: int):
    client, server = serve(page(TOOL, cursor="c1"), (status, {"detail": "later"}), page(ROOT))

    runs = list(langsmith_runs(client, PROJECT, since=SINCE, until=datetime(2026, 2, 1)))

    assert [one["id"] for one in runs] == [TOOL["id"], ROOT["id"]]
    assert [query.get("cursor") for query in server.queries] == [None, "c1", "c1"]
    assert server.queries[0]["max_start_time"] == "2026-02-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("project", "answer", "reason"),
    [
        pytest.param(PROJECT, (401, {"detail": "no"}), "401", id="a wrong key"),
        pytest.param(PROJECT, (404, {"detail": "no"}), "404", id="a server that is too old"),
        pytest.param(PROJECT, (200, [1]), "expected a page of runs", id="another answer"),
        pytest.param("gone", (200, {}), "LangSmith project 'gone'", id="no such project"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    serve: Any, project: str, answer: Answer, reason: str
):
    client, _ = serve(answer)

    with pytest.raises(TraceError) as told:
        list(langsmith_runs(client, project, since=SINCE))

    assert reason in str(told.value)
    assert "\n" not in str(told.value)
    assert "k" * 8 not in str(told.value)
