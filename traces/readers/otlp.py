"""OpenTelemetry spans as OTLP/JSON, one export request per record.

Format: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.readers.base import Context, Reader, as_list, as_mapping, content_hash
from tracetune.traces.readers.semconv import span_from
from tracetune.traces.readers.span import Span, nanos
from tracetune.traces.readers.spans import Run, made, traces_of, usable

__all__ = ["OTLP", "read"]

_FAILED = (2, "2", "STATUS_CODE_ERROR")
_SCOPES = (
    "scopeSpans",
    "scope_spans",
    "instrumentationLibrarySpans",
    "instrumentation_library_spans",
)
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
    """Yield spans that follow each other, by trace id; those without an id are one trace."""
    nameless, empty = "", True
    groups = record.get("resourceSpans", record.get("resource_spans"))
    for group in as_list(groups, "resourceSpans"):
        group = as_mapping(group, "resourceSpans")
        about = _plain(as_mapping(group.get("resource"), "resource").get("attributes"))
        for scope in _scopes(group):
            spans = as_list(as_mapping(scope, "scopeSpans").get("spans"), "spans")
            for key, rows in groupby(spans, _trace_id):
                if not key:
                    key = nameless = nameless or content_hash(record)
                empty = False
                yield key, (key, made(rows, _span), about)
    if empty:
        raise ValueError("it holds no span")


def _scopes(group: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what holds the spans of each scope, by any version's name for it."""
    for name in _SCOPES:
        yield from as_list(group.get(name), name)


def read(given: list[Any], context: Context) -> Iterator[Trace]:
    """Yield the trace of a list of (trace id, spans, what their resource says), and its parts."""
    spans = usable(chain.from_iterable(spans for _, spans, _ in given), context)
    about: Mapping[str, Any] = next((about for _, _, about in given if about), {})
    return traces_of(given[0][0], spans, run_of(about), context)


def _trace_id(row: Any) -> str | None:
    if not isinstance(row, dict):
        return None
    key = row["traceId"] if "traceId" in row else row.get("trace_id")
    return key if isinstance(key, str) else None


def run_of(resource: Mapping[str, Any]) -> Run:
    """Return what a resource says of the runs it traced."""
    service = resource.get("service.name")
    known = isinstance(service, str) and not service.startswith("unknown_service")
    if not known:
        return Run(info=resource)
    return Run(info=resource, service=str(service), labels={"service": str(service)})


def _span(row: Any) -> Span:
    if type(row) is not dict:
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
        span.error = str(status.get("message") or "error")
    events = row.get("events")
    told = [(e.get("name") or "", _plain(e.get("attributes"))) for e in events] if events else ()
    return span_from(span, _plain(row.get("attributes")), told)


def _plain(attributes: Any) -> dict[str, Any]:
    """Return OTLP's list of keys and typed values as an object."""
    try:
        return {
            one["key"]: _value(one["value"])
            if (told := one["value"].get("stringValue")) is None
            else told
            for one in attributes or ()
        }
    except (AttributeError, KeyError):  # one without a value, which is rare
        return {one["key"]: _value(one.get("value") or {}) for one in attributes}


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
