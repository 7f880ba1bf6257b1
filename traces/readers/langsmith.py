"""LangSmith runs: as JSON, JSON Lines or Parquet, nested or flat, and as its API has them.

Fields: https://docs.langchain.com/langsmith/run-data-format
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.readers.base import (
    Context,
    Reader,
    as_mapping,
    content_hash,
    count,
    dollars_in,
    number,
    seconds_in,
)
from tracetune.traces.readers.said import parsed
from tracetune.traces.readers.scores import Score
from tracetune.traces.readers.span import Kind, Span, nanos
from tracetune.traces.readers.spans import Run, made, traces_of, usable

__all__ = ["LANGSMITH"]

_KINDS: Mapping[str, Kind] = {"llm": "llm", "tool": "tool"}
# Nodes that LangChain's own agents are made of: they are no agents of their own.
_PLUMBING = frozenset({"agent", "call_model", "llm", "model", "model_request", "tools"})
# How LangGraph leaves a run that waits for a person, or hands over to another graph.
_NO_FAILURES = ("GraphInterrupt", "NodeInterrupt", "ParentCommand", "GraphBubbleUp")
_TRACEBACK = "Traceback (most recent call last)"


def matches(record: Any) -> bool:
    """A run has a type and an id, and says where it stands."""
    if not isinstance(record, Mapping) or "run_type" not in record:
        return False
    known = {"dotted_order", "parent_run_id", "parent_run_ids", "start_time", "trace_id"}
    return ("id" in record or "run_id" in record) and not known.isdisjoint(record)


def parts(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the run, and the runs nested in it, by trace id."""
    ids = re.findall(r"Z([0-9a-fA-F-]{32,36})", str(record.get("dotted_order") or ""))
    parent = _parents(record)
    found = record.get("trace_id") or (ids and ids[0]) or (parent and parent[0]) or _id(record)
    key = str(found or content_hash(record))
    yield key, (key, made(_nested(record), _span))


def read(given: list[Any], context: Context) -> Iterator[Trace]:
    """Yield the trace of a list of parts, and those of its sub-agents."""
    spans = usable(chain.from_iterable(spans for _, spans in given), context)
    return traces_of(given[0][0], spans, Run(), context)


def _nested(record: Any) -> Iterator[Any]:
    stack = [record]
    while stack:
        row = stack.pop()
        yield row
        children = row.get("child_runs") if isinstance(row, Mapping) else None
        if isinstance(children, list):
            for child in reversed(children):
                known = isinstance(child, Mapping) and _parents(child)
                inherited = {} if known or not _id(row) else {"parent_run_id": _id(row)}
                stack.append({**child, **inherited} if isinstance(child, Mapping) else child)


def _id(row: Mapping[str, Any]) -> str | None:
    value = row.get("id") or row.get("run_id")
    return str(value) if value else None


def _parents(row: Mapping[str, Any]) -> list[str]:
    """Return the ids above a run, outermost first; only the nearest one where that is all."""
    above = _json(row.get("parent_run_ids"))
    if isinstance(above, list) and above:
        return [str(id) for id in above]
    return [str(parent)] if (parent := row.get("parent_run_id")) else []


def _span(row: Any) -> Span:
    row = as_mapping(row, "it")
    ids = re.findall(r"Z([0-9a-fA-F-]{32,36})", str(row.get("dotted_order") or ""))
    id = _id(row) or (ids[-1] if ids else None)
    if id is None:
        raise ValueError("it has no id")
    above = _parents(row) or ids[:-1]
    extra = _object(row.get("extra"), "extra")
    metadata = {
        **_object(extra.get("metadata"), "metadata"),
        **_object(row.get("metadata"), "metadata"),
    }
    span = Span(
        id,
        above[-1] if above else None,
        str(row.get("name") or "run"),
        _KINDS.get(str(row.get("run_type")).lower(), "other"),
        *_times(row),
        _error(row),
        heard=_json(row.get("inputs")),
        replied=_json(row.get("outputs")),
        scores=_scores(row),
    )
    if str(row.get("error") or "").startswith(_NO_FAILURES):
        span.ended_by = "interrupt"
    _fill_kind(span, metadata)
    _fill_call(span, extra, metadata)
    _fill_usage(span, row)
    span.turn = _turn(metadata)
    span.info = _info(span, row, metadata)
    return span


def _times(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    start, end = nanos(row.get("start_time"), "start_time"), nanos(row.get("end_time"), "end_time")
    if end is None and start is not None:
        took = seconds_in(row.get("latency_seconds"), "latency_seconds")
        end = None if took is None else start + round(took * 1e9)
    return start, end


def _fill_call(span: Span, extra: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    if span.kind == "other":
        span.heard = span.replied = None  # each node repeats the whole state
    elif span.kind == "tool":
        told = extra.get("tool_call_id") or _message(span.replied).get("tool_call_id")
        span.call_id = _text(told)
    elif span.kind == "llm":
        called = _object(extra.get("invocation_params"), "invocation_params")
        model = metadata.get("ls_model_name") or called.get("model") or called.get("model_name")
        span.model = _text(model)


def _turn(metadata: Mapping[str, Any]) -> int | None:
    """Return the step of the outermost graph: a bar stands between the names of nested ones."""
    if "|" in str(metadata.get("langgraph_checkpoint_ns") or ""):
        return None
    return count(metadata.get("langgraph_step"), "langgraph_step")


def _json(value: Any) -> Any:
    """Return a value that exports keep as JSON text, where null is text, too."""
    return None if value in ("", "null") else parsed(value)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    return as_mapping(_json(value), name)


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _error(row: Mapping[str, Any]) -> str | None:
    error = str(row.get("error") or "")
    if not error:
        failed = str(row.get("status")).lower() == "error"
        return str(row.get("error_preview") or "error") if failed else None
    if error.startswith(_NO_FAILURES):
        return None
    said = error.partition(_TRACEBACK)[0].strip()
    return said or error.strip().splitlines()[-1]


def _scores(row: Mapping[str, Any]) -> dict[str, Score] | None:
    told: dict[str, Score] = {}
    for name, stats in _object(row.get("feedback_stats"), "feedback_stats").items():
        stats = as_mapping(stats, "feedback_stats")
        value: Any = number(stats.get("avg"), f"the feedback {name!r}")
        values = stats.get("values")
        if value is None and isinstance(values, Mapping) and values:
            value = max(values.items(), key=lambda told: told[1])[0]
        comments = [str(c) for c in stats.get("comments") or () if c]
        told[name] = Score(value, "; ".join(comments) or None)
    return told or None


def _fill_kind(span: Span, metadata: Mapping[str, Any]) -> None:
    node = metadata.get("langgraph_node")
    if span.kind != "other":
        if isinstance(node, str) and node not in _PLUMBING:
            span.agent = node
    elif span.parent is None:
        span.kind, span.agent = "agent", span.name
    elif span.name == metadata.get("lc_agent_name"):
        span.kind, span.agent = "agent", span.name  # create_agent names its graph after itself
    elif span.name == "LangGraph" and node:
        span.kind, span.agent = "agent", str(node)  # a graph without a name, in a node


def _message(value: Any) -> Mapping[str, Any]:
    """Return the one message in outputs, in LangChain's forms; else an empty object."""
    for _ in range(6):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, Mapping):
            inner = next(
                (
                    value[k]
                    for k in ("generations", "message", "output", "kwargs", "messages")
                    if value.get(k)
                ),
                None,
            )
            if not isinstance(inner, list | Mapping):
                return value
            value = inner
    return value if isinstance(value, Mapping) else {}


def _fill_usage(span: Span, row: Mapping[str, Any]) -> None:
    # It counts 0 where it could not count: a model reads at least one token.
    span.tokens_in = count(row.get("prompt_tokens"), "prompt_tokens") or None
    if span.tokens_in is not None:
        span.tokens_out = count(row.get("completion_tokens"), "completion_tokens")
    elif span.kind == "llm":
        usage = _json(row.get("outputs"))
        usage = usage.get("usage_metadata") if isinstance(usage, Mapping) else None
        usage = as_mapping(usage or _message(span.replied).get("usage_metadata"), "usage_metadata")
        span.tokens_in = count(usage.get("input_tokens"), "input_tokens")
        span.tokens_out = count(usage.get("output_tokens"), "output_tokens")
    # Likewise a model whose price it does not know.
    span.cost_usd = dollars_in(row.get("total_cost"), "total_cost") or None


def _info(
    span: Span, row: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    if span.parent is None:
        told = {name: row.get(name) for name in ("reference_example_id", "thread_id", "tags")}
        return {**{name: value for name, value in told.items() if value}, **metadata}
    release = metadata.get("tracetune_release")
    if not release and span.kind == "llm":
        written = _message(span.replied).get("response_metadata")
        release = written.get("tracetune_release") if isinstance(written, Mapping) else None
    return {"tracetune_release": release} if release else None


LANGSMITH = Reader("langsmith", matches, read, parts)
