"""OpenTelemetry spans as OTLP/JSON, one export request per record.

Format: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.readers.base import Context, Reader, as_list, as_mapping, content_hash
from tracetune.traces.readers.semconv import span_from
from tracetune.traces.readers.span import Span, nanos
from tracetune.traces.readers.spans import Run, made, traces_of, usable

__all__ = ["OTLP", "by_trace"]

_FAILED = (2, "2", "STATUS_CODE_ERROR")
# As writers that keep protobuf's own names have them.
_CAMEL = {
    "end_time_unix_nano": "endTimeUnixNano",
    "parent_span_id": "parentSpanId",
    "span_id": "spanId",
    "start_time_unix_nano": "startTimeUnixNano",
    "trace_id": "traceId",
}


def matches(record: Any) -> bool:
    """An export request holds the spans of each resource."""
    return isinstance(record, Mapping) and ("resourceSpans" in record or "resource_spans" in record)


def parts(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield each span with its trace id and resource; those without an id are one trace."""
    nameless = ""
    groups = record.get("resourceSpans", record.get("resource_spans"))
    for group in as_list(groups, "resourceSpans"):
        group = as_mapping(group, "resourceSpans")
        about = _plain(as_mapping(group.get("resource"), "resource").get("attributes"))
        scopes = group.get("scopeSpans", group.get("scope_spans"))
        for scope in as_list(scopes, "scopeSpans"):
            for span in as_list(as_mapping(scope, "scopeSpans").get("spans"), "spans"):
                key = span.get("traceId", span.get("trace_id")) if isinstance(span, dict) else None
                if not isinstance(key, str) or not key:
                    key = nameless = nameless or content_hash(record)
                yield key, (key, made(span, _span), about)


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the trace of a list of parts, and those of its sub-agents."""
    given = record if isinstance(record, list) else [part for _, part in parts(record)]
    return by_trace(given, context)


def by_trace(given: Iterable[Any], context: Context) -> Iterator[Trace]:
    """Yield the traces of (trace id, span, what its resource says) in the order of their first."""
    by_key: dict[str, list[Any]] = {}
    for part in given:
        by_key.setdefault(part[0], []).append(part)
    for key, told in by_key.items():
        spans = usable([span for _, span, _ in told], context)
        about: Mapping[str, Any] = next((one for _, _, one in told if one), {})
        yield from traces_of(key, spans, run_of(about), context)


def run_of(resource: Mapping[str, Any]) -> Run:
    """Return what a resource says of the runs it traced."""
    service = resource.get("service.name")
    known = isinstance(service, str) and not service.startswith("unknown_service")
    if not known:
        return Run(info=resource)
    return Run(info=resource, service=str(service), labels={"service": str(service)})


def _span(row: Any) -> Span:
    if not isinstance(row, dict):
        row = as_mapping(row, "it")
    if "spanId" not in row and "span_id" in row:
        row = {_CAMEL.get(name, name): value for name, value in row.items()}
    id, name = row.get("spanId"), row.get("name")
    if not isinstance(id, str) or not id:
        raise ValueError("it has no spanId")
    span = Span(
        id,
        row.get("parentSpanId") or None,
        name if isinstance(name, str) and name else "span",
        "other",
        nanos(row.get("startTimeUnixNano"), "startTimeUnixNano"),
        nanos(row.get("endTimeUnixNano"), "endTimeUnixNano"),
    )
    if (status := row.get("status")) and status.get("code") in _FAILED:
        span.error = status.get("message") or "error"
    events = row.get("events")
    told = [(e.get("name") or "", _plain(e.get("attributes"))) for e in events] if events else ()
    return span_from(span, _plain(row.get("attributes")), told)


def _plain(attributes: Any) -> dict[str, Any]:
    """Return OTLP's list of keys and typed values as an object."""
    plain: dict[str, Any] = {}
    for attribute in attributes or ():
        value = attribute["value"]
        told = value.get("stringValue")
        plain[attribute["key"]] = _value(value) if told is None else told
    return plain


def _value(value: Mapping[str, Any]) -> Any:
    for kind, told in value.items():
        if kind in ("intValue", "int_value"):
            return int(told)  # 64-bit numbers are text in JSON
        if kind in ("doubleValue", "double_value"):
            return float(told)  # also "NaN" and "Infinity"
        if kind in ("arrayValue", "array_value"):
            return [_value(one) for one in told.get("values") or ()]
        if kind in ("kvlistValue", "kvlist_value"):
            return _plain(told.get("values"))
        return told
    return None


OTLP = Reader("otlp", matches, read, parts)
