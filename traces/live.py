"""Traces straight from the service that keeps them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from tracetune.errors import TraceError

if TYPE_CHECKING:
    from langsmith import Client

__all__ = ["langsmith_runs"]

_PAGE = 100
_TRIES = 4
_FIELDS = (
    "COMPLETION_TOKENS",
    "DOTTED_ORDER",
    "END_TIME",
    "ERROR",
    "EXTRA",
    "FEEDBACK_STATS",
    "ID",
    "INPUTS",
    "METADATA",
    "NAME",
    "OUTPUTS",
    "PARENT_RUN_IDS",
    "PROMPT_TOKENS",
    "REFERENCE_EXAMPLE_ID",
    "RUN_TYPE",
    "START_TIME",
    "STATUS",
    "TAGS",
    "THREAD_ID",
    "TOTAL_COST",
    "TRACE_ID",
)


def langsmith_runs(
    client: Client,
    project: str | uuid.UUID,
    *,
    since: datetime,
    until: datetime | None = None,
    trace_filter: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield every run of a LangSmith project that started in a time, as records for `read_traces`.

    Pages are fetched as the iterator goes. A page that the server refuses for its load, or fails
    to give, is asked for again, up to four times in all. A trace that began before `since` comes
    in part: its root is missing, and its trace has the label `incomplete`.

    Args:
        project: Its name or its id.
        since: Runs that started then or later; without an offset it is read as UTC, as `until`.
        until: Runs that started before; now when None.
        trace_filter: Traces whose root run matches, in LangSmith's own filter language.

    Raises:
        TraceError: The project does not exist, or the server refuses or cannot be reached.

    Source: https://docs.langchain.com/langsmith/smithdb-sdk-migration-query-runs
    """
    from langsmith.utils import LangSmithError  # not at the top: few commands need it

    body: dict[str, Any] = {
        "min_start_time": _stamp(since),
        "page_size": _PAGE,
        "selects": _FIELDS,
    }
    if until is not None:
        body["max_start_time"] = _stamp(until)
    if trace_filter is not None:
        body["trace_filter"] = trace_filter
    try:
        body["project_ids"] = [_project_id(client, project)]
        while True:
            page = _page(client, body)
            yield from page.get("items") or ()
            if not (cursor := page.get("next_cursor")):
                return
            body["cursor"] = cursor
    except LangSmithError as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise TraceError(f"LangSmith project {str(project)!r}: {reason:.300}") from error


def _page(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    from langsmith.utils import LangSmithRateLimitError

    # The client's own `runs` are bound to one event loop and `list_runs` ends with January 2027.
    response = client.request_with_retries(
        "POST",
        "/api/v2/runs/query",
        request_kwargs={
            "data": orjson.dumps(body),
            "headers": {"Content-Type": "application/json"},
        },
        stop_after_attempt=_TRIES,
        retry_on=[LangSmithRateLimitError],
    )
    try:
        page = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        page = None
    if not isinstance(page, dict):
        raise TraceError(f"LangSmith answered {response.text!r:.80}, expected a page of runs")
    return page


def _project_id(client: Client, project: str | uuid.UUID) -> str:
    try:
        return str(uuid.UUID(str(project)))
    except ValueError:
        return str(client.read_project(project_name=str(project)).id)


def _stamp(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
