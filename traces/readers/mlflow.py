"""MLflow traces as `Trace.to_json` and `Trace.to_dict` write them, of versions 2 and 3.

Format: https://mlflow.org/docs/latest/genai/concepts/trace/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.readers.base import (
    Context,
    Reader,
    as_list,
    as_mapping,
    count,
    dollars_in,
    json_text,
    number,
    text,
)
from tracetune.traces.readers.said import parsed
from tracetune.traces.readers.scores import Score
from tracetune.traces.readers.span import Kind, Span, nanos
from tracetune.traces.readers.spans import Run, made, traces_of, usable

__all__ = ["MLFLOW"]

_KINDS: Mapping[str, Kind] = {"AGENT": "agent", "CHAT_MODEL": "llm", "LLM": "llm", "TOOL": "tool"}
_USAGE = "mlflow.trace.tokenUsage"


def matches(record: Any) -> bool:
    """A trace has its info beside its data."""
    return (
        isinstance(record, Mapping)
        and isinstance(record.get("info"), Mapping)
        and isinstance(record.get("data"), Mapping)
        and "spans" in record["data"]
    )


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the trace of one record, and those of its sub-agents."""
    info = as_mapping(record["info"], "info")
    rows = as_list(as_mapping(record["data"], "data").get("spans"), "data.spans")
    spans = usable(made(rows, _span), context)
    id = text(info.get("trace_id") or info.get("request_id"), "info.trace_id")
    metadata = as_mapping(
        info.get("trace_metadata") or info.get("request_metadata"), "info.trace_metadata"
    )
    tags = as_mapping(info.get("tags"), "info.tags")
    run, judged = _run(info, {**tags, **metadata})
    for span in spans:
        if span.parent is None:
            _fill_root(span, info, metadata)
        span.scores = judged.get(span.id)
    yield from traces_of(id or context.id_of(record), spans, run, context)


def _run(
    info: Mapping[str, Any], told: Mapping[str, Any]
) -> tuple[Run, dict[str, dict[str, Score]]]:
    """Return what is known of the whole trace, and the scores of single spans by their id."""
    own = {name: value for name, value in told.items() if not name.startswith("mlflow.")}
    if session := told.get("mlflow.trace.session"):
        own["session_id"] = session
    name = told.get("mlflow.traceName")
    whole: dict[str, Score] = {}
    single: dict[str, dict[str, Score]] = {}
    for row in as_list(info.get("assessments"), "info.assessments"):
        row = as_mapping(row, "info.assessments")
        feedback = as_mapping(row.get("feedback"), "feedback")
        # The others say what was expected, that a judge failed, or were replaced since.
        if feedback.get("value") is not None and row.get("valid") is not False:
            key = str(row.get("assessment_name") or row.get("name") or "score")
            value = feedback["value"]
            if isinstance(value, dict | list):
                value = json_text(value)
            elif not isinstance(value, bool | str):
                value = number(value, f"the score {key!r}")
            why = row.get("rationale")
            into = single.setdefault(str(row["span_id"]), {}) if row.get("span_id") else whole
            into[key] = Score(value, str(why) if why else None)
    return Run(agent=str(name) if name else None, info=own, scores=whole), single


def _fill_root(span: Span, info: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    if span.kind == "other":
        span.kind, span.agent = "agent", span.agent or span.name
    if span.error is None and str(info.get("state") or info.get("status")) == "ERROR":
        span.error = "error"
    if span.tokens_in is None and span.kind == "agent":
        usage = as_mapping(parsed(metadata.get(_USAGE)), _USAGE)
        span.tokens_in = count(usage.get("input_tokens"), "input_tokens")
        span.tokens_out = count(usage.get("output_tokens"), "output_tokens")
    if span.cost_usd is None:
        cost = as_mapping(parsed(metadata.get("mlflow.trace.cost")), "mlflow.trace.cost")
        span.cost_usd = dollars_in(cost.get("total_cost"), "total_cost")


def _span(row: Any) -> Span:
    row = as_mapping(row, "it")
    place = as_mapping(row.get("context"), "context")
    if not (id := row.get("span_id") or place.get("span_id")):
        raise ValueError("it has no span_id")
    parent = row.get("parent_span_id") or row.get("parent_id")
    attributes = as_mapping(row.get("attributes"), "attributes")
    kind = _KINDS.get(str(parsed(attributes.get("mlflow.spanType"))), "other")
    span = Span(
        str(id),
        str(parent) if parent else None,
        str(row.get("name") or "span"),
        kind,
        nanos(row.get("start_time_unix_nano", row.get("start_time")), "start_time_unix_nano"),
        nanos(row.get("end_time_unix_nano", row.get("end_time")), "end_time_unix_nano"),
        _error(row),
        agent=str(row.get("name")) if kind == "agent" else None,
        heard=parsed(attributes.get("mlflow.spanInputs")),
        replied=parsed(attributes.get("mlflow.spanOutputs")),
    )
    usage = as_mapping(parsed(attributes.get("mlflow.chat.tokenUsage")), "mlflow.chat.tokenUsage")
    span.tokens_in = count(usage.get("input_tokens"), "input_tokens")
    span.tokens_out = count(usage.get("output_tokens"), "output_tokens")
    cost = as_mapping(parsed(attributes.get("mlflow.llm.cost")), "mlflow.llm.cost")
    span.cost_usd = dollars_in(cost.get("total_cost"), "total_cost")
    model = parsed(attributes.get("mlflow.llm.model"))
    span.model = str(model) if model else None
    return span


def _error(row: Mapping[str, Any]) -> str | None:
    status = as_mapping(row.get("status"), "status")
    code = status.get("code", row.get("status_code"))
    if code not in ("STATUS_CODE_ERROR", "ERROR", 2):
        return None
    said = status.get("message") or row.get("status_message")
    for event in as_list(row.get("events"), "events"):
        about = as_mapping(as_mapping(event, "events").get("attributes"), "attributes")
        said = said or parsed(about.get("exception.message"))
    return str(said or "error")


MLFLOW = Reader("mlflow", matches, read)
