"""OpenTelemetry spans as plain JSON objects, as SDK exporters, Phoenix and SMOLTRACE write them.

A record is one span, or an object whose `spans` are those of one trace. Attributes are an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracetune.traces.readers.base import Reader, as_list, as_mapping, content_hash
from tracetune.traces.readers.otlp import read
from tracetune.traces.readers.semconv import span_from
from tracetune.traces.readers.span import Span, nanos
from tracetune.traces.readers.spans import made

__all__ = ["SPANS"]

_COLUMN = "context.span_id"  # of the table that Phoenix's client makes
_MESSAGES = ("llm.input_messages", "llm.output_messages")
_FAILED = (2, "2", "ERROR", "STATUS_CODE_ERROR", "StatusCode.ERROR")


def matches(record: Any) -> bool:
    """A span has an id and attributes; a trace is an object with a list of them."""
    if not isinstance(record, Mapping):
        return False
    if isinstance(spans := record.get("spans"), list) and "info" not in record:
        return bool(spans) and matches(spans[0])
    if _COLUMN in record:
        return True
    named = "span_id" in record or (
        isinstance(context := record.get("context"), Mapping) and "span_id" in context
    )
    return named and "attributes" in record


def parts(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield each span by its trace id; those of one record without an id are one trace."""
    if _COLUMN in record:
        record = _gathered(record)
    rows = as_list(record["spans"], "spans") if "spans" in record else [record]
    if not rows:
        raise ValueError("it holds no span")
    nameless = ""
    for row in rows:
        key = _id(row, "trace_id") if isinstance(row, Mapping) else None
        if key is None:
            key = nameless = nameless or str(record.get("trace_id") or content_hash(record))
        resource = row.get("resource") if isinstance(row, Mapping) else None
        about = resource.get("attributes") if isinstance(resource, Mapping) else None
        yield key, (key, made([row], _span), about if isinstance(about, Mapping) else {})


def _gathered(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of Phoenix's table of spans with its columns as objects again."""
    whole: dict[str, Any] = {"context": {}, "attributes": {}}
    for column, value in row.items():
        outer, _, inner = column.partition(".")
        if inner and outer in ("context", "attributes"):
            whole[outer][inner] = _nested(value) if inner in _MESSAGES else value
        else:
            whole[column] = value
    return whole


def _nested(value: Any) -> Any:
    """Return `[{"message.role": x}]` as `[{"message": {"role": x}}]`, at any depth."""
    if isinstance(value, list):
        return [_nested(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    whole: dict[str, Any] = {}
    for name, one in value.items():
        *path, last = str(name).split(".")
        at = whole
        for part in path:
            at = at.setdefault(part, {})
        at[last] = _nested(one)
    return whole


def _id(row: Mapping[str, Any], name: str) -> str | None:
    context = row.get("context")
    value = row.get(name) or (context.get(name) if isinstance(context, Mapping) else None)
    return str(value).removeprefix("0x") if value else None


def _span(row: Any) -> Span:
    row = as_mapping(row, "it")
    if (id := _id(row, "span_id")) is None:
        raise ValueError("it has no span_id")
    parent = row.get("parent_span_id") or row.get("parent_id")
    span = Span(
        id,
        str(parent).removeprefix("0x") if parent else None,
        str(row.get("name") or "span"),
        "other",
        nanos(row.get("start_time"), "start_time"),
        nanos(row.get("end_time"), "end_time"),
    )
    attributes = _flat(as_mapping(row.get("attributes"), "attributes"))
    if "openinference.span.kind" not in attributes and (kind := row.get("span_kind")):
        attributes["openinference.span.kind"] = kind  # Phoenix keeps it beside the attributes
    status = row.get(
        "status", {"code": row.get("status_code"), "message": row.get("status_message")}
    )
    status = as_mapping(status, "status")
    if status.get("code", status.get("status_code")) in _FAILED:
        span.error = str(status.get("description") or status.get("message") or "error")
    told = [as_mapping(event, "events") for event in as_list(row.get("events"), "events")]
    events = [(str(e.get("name")), as_mapping(e.get("attributes"), "attributes")) for e in told]
    return span_from(span, attributes, events)


def _flat(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested attributes as dotted ones; lists of messages stay as they are."""
    flat: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, Mapping) and "." not in name and name != "metadata":
            flat |= {f"{name}.{below}": one for below, one in _flat(value).items()}
        elif value is not None:  # in tables every span has every attribute
            flat[name] = value
    return flat


SPANS = Reader("spans", matches, read, parts)
