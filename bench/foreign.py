"""Made-up traces in foreign formats: the runs of `synthetic` as chat messages and OTLP spans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import synthetic

__all__ = ["FORMATS", "write"]

FORMATS = ("messages", "otlp")
_START = 1_790_000_000_000_000_000


def write(folder: Path, kind: str, *, files: int, count: int) -> int:
    """Write files of `count` runs each, and return the bytes of all."""
    form = {"messages": _chat, "otlp": _spans}[kind]
    folder.mkdir()
    for number in range(files):
        rows = map(orjson.loads, synthetic.traces(count, first=number * count))
        with (folder / f"{number}.jsonl").open("wb") as file:
            for row in rows:
                file.writelines(orjson.dumps(record) + b"\n" for record in form(row))
    return sum(path.stat().st_size for path in folder.iterdir())


def _chat(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One record: the run as an OpenAI client logs it."""
    messages: list[dict[str, Any]] = []
    thought = ""
    for place, step in enumerate(row["steps"]):
        if step["kind"] == "thought":
            thought = step["text"]
        elif step["kind"] == "message":
            messages.append({"role": step["role"], "content": step["text"]})
        else:
            messages += _exchange(f"call-{place}", thought, step)
    known = ("id", "agent", "task", "success", "latency_s", "labels")
    yield {name: row[name] for name in known} | {"messages": messages}


def _exchange(id: str, thought: str, step: dict[str, Any]) -> list[dict[str, Any]]:
    arguments = orjson.dumps(step["arguments"]).decode()
    call = {
        "id": id,
        "type": "function",
        "function": {"name": step["name"], "arguments": arguments},
    }
    answer = {"role": "tool", "tool_call_id": id, "content": step.get("result") or step["error"]}
    return [{"role": "assistant", "content": thought, "tool_calls": [call]}, answer]


def _spans(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One record: an export request with the run's spans, by the GenAI conventions."""
    trace = row["id"].encode().hex().rjust(32, "0")
    end = _START + int(row["latency_s"] * 1e9)
    told = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": row["agent"]}
    spans = [_span(trace, 1, 0, _START, end, told | {"tracetune_task": row["task"]})]
    at = _START
    for place, step in enumerate(row["steps"], 2):
        if step["kind"] == "tool_call":
            spans.append(_tool_span(trace, place, at, step))
            at += 10**9
        elif step["kind"] == "message":
            asked = [{"role": step["role"], "parts": [{"type": "text", "content": step["text"]}]}]
            told = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1500}
            told |= {"gen_ai.input.messages": orjson.dumps(asked).decode()}
            spans.append(_span(trace, place, 1, at, at + 10**8, told))
    yield {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": spans}]}]}


def _tool_span(trace: str, number: int, at: int, step: dict[str, Any]) -> dict[str, Any]:
    told = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": step["name"],
        "gen_ai.tool.call.arguments": orjson.dumps(step["arguments"]).decode(),
    }
    if "result" in step:
        told["gen_ai.tool.call.result"] = step["result"]
    span = _span(trace, number, 1, at, at + int(step["latency_s"] * 1e9), told)
    if "error" in step:
        span["status"] = {"code": 2, "message": step["error"]}
    return span


def _span(
    trace: str, number: int, parent: int, start: int, end: int, told: dict[str, Any]
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": told["gen_ai.operation.name"],
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": [
            {"key": key, "value": {"intValue" if isinstance(value, int) else "stringValue": value}}
            for key, value in told.items()
        ],
    }
