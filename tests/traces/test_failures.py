"""Whose failure it was: the texts of hosts that fail, and of tools that sound like them."""

import duckdb
import pytest

from tracetune.traces.failures import CRASH_TEXTS, failure_kind_of
from tracetune.traces.model import ToolCall, Trace

OF_HOSTS = [
    "HTTPSConnectionPool(host='api.openai.com', port=443): Read timed out. (read timeout=600)",
    "ReadTimeout: The read operation timed out",
    "Request timed out.",
    "504 Gateway Timeout",
    "InternalServerError: Error code: 500",
    "DeadlineExceeded: 504 Deadline Exceeded",
    "401 Unauthorized",
    "google.api_core.exceptions.Unauthorized: 401 Request had no valid credentials",
    "UnauthorizedError('no key')",
    "PermissionDeniedError: Error code: 403",
    "You exceeded your current quota, please check your plan and billing details.",
    "ThrottlingException: Rate exceeded",
    "botocore.errorfactory.ThrottlingException: Too many requests",
    "Too many tokens per minute",
    "Overloaded",
    "ConnectionError: [Errno 111]",
    "[Errno -3] Temporary failure in name resolution",
    "APIConnectionError: Connection error.",
    "litellm.Timeout: Timeout",
    "litellm.RateLimitError: slow down",
]
OF_TOOLS = [
    "ValueError: rate limit field missing in order",
    "ToolException: user exceeded the rate limit of loyalty program",
    "AssertionError: expected 429 got 200",
    "KeyError: '503'",
    "order 429 not found",
    "Unauthorized: you may not cancel this booking",
    "The deadline was exceeded by the customer",
    "The room is overloaded with boxes",
    "TimeoutError()",
]


@pytest.mark.parametrize("error", OF_HOSTS)
def test_a_run_that_its_host_ended_is_the_infrastructures(error: str) -> None:
    assert failure_kind_of(ended_by(error)) == "infrastructure"


@pytest.mark.parametrize("error", OF_TOOLS)
def test_what_tools_say_of_their_business_is_not(error: str) -> None:
    assert failure_kind_of(ended_by(error)) == "unknown"


def test_a_call_that_fails_in_the_middle_of_a_run_is_the_runs_business() -> None:
    refused = ToolCall("ask", error="ThrottlingException: Rate exceeded")
    last = Trace("1", "a", success=False, steps=(refused,))
    assert failure_kind_of(last) == "infrastructure"
    gone_on = Trace("1", "a", success=False, steps=(refused, ToolCall("ask", result="ok")))
    assert failure_kind_of(gone_on) == "unknown"


def test_the_engine_reads_the_texts_alike() -> None:
    found = duckdb.execute(
        "SELECT regexp_matches(unnest($texts), $crash)",
        {"texts": OF_HOSTS + OF_TOOLS, "crash": CRASH_TEXTS},
    ).fetchall()
    assert [row[0] for row in found] == [True] * len(OF_HOSTS) + [False] * len(OF_TOOLS)


def ended_by(error: str) -> Trace:
    return Trace("1", "a", success=False, labels={"error": error})
