"""Langfuse observations: its blob storage export, its API, and traces with their observations.

Fields: https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields.
The export keeps scores, and in its older form traces, in folders of their own beside the
observations: they are joined by trace id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import (
    UNUSABLE,
    Context,
    Reader,
    as_list,
    as_mapping,
    content_hash,
    count,
    dollars_in,
    number,
    reason_of,
)
from tracetune.traces.readers.files import NotJson, find_files, records_of
from tracetune.traces.readers.said import parsed
from tracetune.traces.readers.scores import Score
from tracetune.traces.readers.span import Kind, Span, nanos
from tracetune.traces.readers.spans import Run, made, traces_of, usable

__all__ = ["LANGFUSE"]

_KINDS: Mapping[str, Kind] = {"AGENT": "agent", "GENERATION": "llm", "TOOL": "tool"}
_TYPES = frozenset(
    {
        "AGENT",
        "CHAIN",
        "EMBEDDING",
        "EVALUATOR",
        "EVENT",
        "GENERATION",
        "GUARDRAIL",
        "RETRIEVER",
        "SPAN",
        "TOOL",
    }
)
_FOLDERS = ("observations_v2", "observations")


def matches(record: Any) -> bool:
    """An observation has a type of its own; a trace holds observations; a score a trace's id."""
    if not isinstance(record, Mapping):
        return False
    trace = _get(record, "trace_id") is not None or "trace_id" in record
    if trace and str(record.get("type")) in _TYPES and "id" in record:
        return True
    if isinstance(record.get("observations"), list):
        return "id" in record
    return _is_score(record) or _is_trace(record)


def parts(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the observations, scores and the trace that a record holds, by trace id."""
    if not (_is_trace(record) or isinstance(record.get("observations"), list)):
        key = str(_get(record, "trace_id") or content_hash(record))
        yield key, (key, record)
        return
    key = str(record["id"])
    inner = ("observations", "scores")
    yield key, (key, {k: v for k, v in record.items() if k not in inner})
    for name in inner:
        for row in as_list(record.get(name), name):
            if isinstance(row, Mapping):  # a list of ids alone tells nothing
                yield key, (key, row)


def read(given: list[Any], context: Context) -> Iterator[Trace]:
    """Yield the trace of a list of parts, and those of its sub-agents.

    Nothing for scores and traces whose observations stand in another folder.
    """
    key, rows = given[0][0], [row for _, row in given]
    own_scores = [row for row in rows if _is_score(row)]
    traces = [row for row in rows if _is_trace(row)]
    seen = [row for row in rows if not _is_score(row) and not _is_trace(row)]
    if not seen and (not traces or _stands_beside(context)):
        return
    beside = _beside(context).get(key, [])
    scores = [*own_scores, *(row for row in beside if _is_score(row))]
    traces += [row for row in beside if _is_trace(row)]
    about: dict[str, Any] = {
        k: v for row in (*seen, *traces) for k, v in row.items() if v not in (None, "")
    }
    spans = usable(made(seen, _span), context)
    if not seen:
        # A trace without any observation is a run that was not looked into.
        spans = [Span(key, None, str(about.get("name") or "trace"), "agent", None, None)]
        spans[0].heard, spans[0].replied = about.get("input"), about.get("output")
        spans[0].start = nanos(about.get("timestamp"), "timestamp")
    name = _get(about, "trace_name") or next((t.get("name") for t in traces if t.get("name")), None)
    judged, single = _scores(scores, spans)
    for span in spans:
        span.scores = single.get(span.id)
    # An observation's metadata speaks of it alone; the root's is looked at with its span.
    metadata = next((row["metadata"] for row in traces if row.get("metadata")), None)
    info = _info({**about, "metadata": metadata})
    run = Run(agent=str(name) if name else None, info=info, scores=judged)
    yield from traces_of(key, spans, run, context)


def _get(row: Mapping[str, Any], name: str) -> Any:
    """Return a field by its name in exports, else by its name in the API; empty text is null."""
    first, *rest = name.split("_")
    value = row.get(name)
    if value in (None, ""):
        value = row.get(first + "".join(word.capitalize() for word in rest))
    return None if value == "" else value


def _is_score(row: Mapping[str, Any]) -> bool:
    told = "value" in row or "string_value" in row or "stringValue" in row
    return told and "name" in row and ("trace_id" in row or "traceId" in row) and "type" not in row


def _is_trace(row: Mapping[str, Any]) -> bool:
    return (
        "timestamp" in row
        and "trace_id" not in row
        and "traceId" not in row
        and ("session_id" in row or "sessionId" in row)
    )


def _span(row: Any) -> Span:
    row = as_mapping(row, "it")
    if not (id := _get(row, "id")):
        raise ValueError("it has no id")
    parent = _get(row, "parent_observation_id")
    span = Span(
        str(id),
        str(parent) if parent else None,
        str(_get(row, "name") or "observation"),
        _KINDS.get(str(row.get("type")), "other"),
        nanos(_get(row, "start_time"), "start_time"),
        nanos(_get(row, "end_time"), "end_time"),
        str(_get(row, "status_message") or "error") if row.get("level") == "ERROR" else None,
        heard=_get(row, "input"),
        replied=_get(row, "output"),
    )
    _fill_usage(span, row)
    metadata = parsed(row.get("metadata"))
    if isinstance(metadata, Mapping):
        span.info = metadata
        node = metadata.get("langgraph_node")
        if span.kind == "agent":
            span.agent = span.name
        elif isinstance(node, str) and node not in ("agent", "model", "tools"):
            span.agent = node
    return span


def _fill_usage(span: Span, row: Mapping[str, Any]) -> None:
    told = parsed(_get(row, "usage_details")) or parsed(_get(row, "usage"))
    usage = as_mapping(told, "usage_details")
    span.tokens_in, span.tokens_out = (_tokens(usage, kind) for kind in ("input", "output"))
    costs = as_mapping(parsed(_get(row, "cost_details")), "cost_details")
    cost = _get(row, "total_cost")
    span.cost_usd = dollars_in(costs.get("total") if cost is None else cost, "total_cost")
    model = _get(row, "provided_model_name") or row.get("model")
    span.model = str(model) if model else None


def _tokens(usage: Mapping[str, Any], kind: str) -> int | None:
    """Return the sum of all that has the kind in its name: what a cache held is told apart."""
    named = {name: worth for name, worth in usage.items() if kind in name and "ost" not in name}
    told = [count(worth, name) for name, worth in named.items() if not isinstance(worth, Mapping)]
    known = [tokens for tokens in told if tokens is not None]
    return sum(known) if known else None


def _info(about: Mapping[str, Any]) -> dict[str, Any]:
    metadata = parsed(about.get("metadata"))
    info = dict(metadata) if isinstance(metadata, Mapping) else {}
    for name in ("session_id", "environment", "tags"):
        if (value := _get(about, name)) is not None:
            info[name] = value
    return info


def _scores(
    rows: list[Mapping[str, Any]], spans: list[Span]
) -> tuple[dict[str, Score], dict[str, dict[str, Score]]]:
    """Return the scores of the whole trace, and those of single observations by id."""
    judged: dict[str, Score] = {}
    single: dict[str, dict[str, Score]] = {}
    roots = {span.id for span in spans if span.parent is None}
    for row in rows:
        id = _get(row, "observation_id")
        into = judged if id is None or id in roots else single.setdefault(str(id), {})
        name = str(row.get("name"))
        value: Any = _get(row, "string_value")
        if value is None or _get(row, "data_type") == "NUMERIC":
            value = number(row.get("value"), f"the score {name!r}")
        comment = _get(row, "comment")
        into[name] = Score(value, str(comment) if comment else None)
    return judged, single


def _stands_beside(context: Context) -> bool:
    """Whether the file is one of traces, and their observations stand in the folder beside."""
    if context.path is None or context.path.parent.name != "traces":
        return False
    return any((context.path.parent.parent / name).is_dir() for name in _FOLDERS)


def _beside(context: Context) -> Mapping[str, list[Mapping[str, Any]]]:
    """Return the scores and traces in the folders beside the observations', by trace id."""
    if context.path is None or context.path.parent.name not in _FOLDERS:
        return {}
    folder = context.path.parent.parent
    if folder not in context.memo:
        found: dict[str, list[Mapping[str, Any]]] = {}
        context.memo[folder] = found
        for name in ("scores", "traces"):
            if (folder / name).is_dir():
                _load(folder / name, found, context)
    known: Mapping[str, list[Mapping[str, Any]]] = context.memo[folder]
    return known


def _load(folder: Path, found: dict[str, list[Mapping[str, Any]]], context: Context) -> None:
    for path in find_files(folder)[0]:
        try:
            for position, row in records_of(path):
                if isinstance(row, NotJson):
                    context.set_aside(f"{path.name}:{position}: {row.reason}")
                elif matches(row):
                    key = row["id"] if _is_trace(row) else _get(row, "trace_id")
                    found.setdefault(str(key), []).append(row)
        except (TraceError, *UNUSABLE) as error:
            context.set_aside(f"{folder.name} stay unknown: {reason_of(error)}")


LANGFUSE = Reader("langfuse", matches, read, parts)
