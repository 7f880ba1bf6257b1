"""What an error of a provider's client means: what to say of it, and what to do next.

Clients of all providers wrap what the server said in errors of their own, in chains. These are
read here for a status and a time to wait; their words are never quoted, as they may hold a key or
a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tracetune.errors import ReplyError
from tracetune.nodes.calling.replies import NoAnswerError

__all__ = [
    "another_form_may_do",
    "billed",
    "describe",
    "may_go_otherwise",
    "status_of",
    "unread",
    "wait_s",
]

_DELAY = re.compile(r"\s*(\d+(?:\.\d+)?)s?\s*")
_STATUSES = {401: "key refused", 403: "key refused", 404: "unknown model", 429: "rate limited"}
_AGAIN = (408, 409, 425, 429)
_FORM = (400, 415, 422, 501)
_NOT_REACHED = ("ConnectError", "ConnectTimeout", "ConnectionRefusedError")
_DEEPEST = 8
"""How far into an error's details a time to wait is looked for."""


def describe(error: BaseException, timeout_s: float) -> str:
    """Say what failed in a few words, quoting nothing that came from outside."""
    if isinstance(error, ReplyError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {round(timeout_s, 2):g} s"
    if (status := status_of(error)) is not None:
        if status == 400 and _names_the_key(error):
            return "key refused (HTTP 400)"
        other = "refused" if status < 500 else "provider failed"
        return f"{_STATUSES.get(status, other)} (HTTP {status})"
    kind = type(error).__name__
    if kind == "LengthFinishReasonError":
        return "the answer was cut off"
    if kind == "ContentFilterFinishReasonError":
        return "blocked by the provider's filter"
    if isinstance(error, ValueError):
        return "the answer could not be read"
    if "Timeout" in kind:
        return f"no answer within the time its client allows ({kind})"
    return f"{'provider not reached' if 'Connect' in kind else 'the call failed'} ({kind})"


def may_go_otherwise(error: BaseException) -> bool:
    """Whether asking the same again may help.

    An answer that does not fit is worth another try: models are not deterministic.
    """
    if isinstance(error, NotImplementedError):
        return False
    status = status_of(error)
    return status is None or status in _AGAIN or status >= 500


def another_form_may_do(error: BaseException) -> bool:
    """Whether the provider refused how it was asked: it knows no such tool choice or schema."""
    if isinstance(error, NotImplementedError | TypeError):
        return True
    if type(error).__name__ == "ContextOverflowError" or _names_the_key(error):
        return False
    return status_of(error) in _FORM


def unread(error: BaseException) -> bool:
    """Whether the model answered, and not in the asked form: it may in another one.

    Clients that read an answer themselves raise errors of their own where they cannot.
    """
    if isinstance(error, ReplyError):
        return isinstance(error, NoAnswerError)
    return isinstance(error, ValueError)


def billed(error: BaseException) -> bool:
    """Whether a call that failed so may have cost something: unless the server said that it failed.

    Requests that end in an error are not charged (https://ai.google.dev/gemini-api/docs/billing).
    """
    reached = not any(type(link).__name__ in _NOT_REACHED for link in _chain(error))
    return reached and status_of(error) is None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of any provider's client carries, or None."""
    for link in _chain(error):
        for name in ("status_code", "code", "http_status"):
            value = getattr(link, name, None)
            if isinstance(value, int) and 100 <= value < 600:
                return value
    return None


def wait_s(error: BaseException, now: datetime | None = None) -> float | None:
    """Seconds the server asks to wait before the next call, or None where it asks for nothing.

    Read from Retry-After (seconds, or a date: RFC 9110, 10.2.3) and from google.rpc.RetryInfo
    (https://cloud.google.com/apis/design/errors); the longer one, where both are there.
    """
    asked = [
        wait
        for link in _chain(error)
        for wait in (_from_headers(link, now or datetime.now(UTC)), _from_details(link))
        if wait is not None
    ]
    return max(asked, default=None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _from_headers(error: BaseException, now: datetime) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return None
    told = str(headers.get("retry-after") or headers.get("Retry-After") or "")
    if (seconds := _seconds(told)) is not None:
        return seconds
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _from_details(error: BaseException) -> float | None:
    details = getattr(error, "details", None) or getattr(error, "body", None)
    return _retry_delay(details, _DEEPEST)


def _retry_delay(details: Any, deep: int) -> float | None:
    if not deep:
        return None
    if isinstance(details, Mapping):
        if (seconds := _seconds(str(details.get("retryDelay", "")))) is not None:
            return seconds
        details = list(details.values())
    if not isinstance(details, list):
        return None
    return next((s for d in details if (s := _retry_delay(d, deep - 1)) is not None), None)


def _seconds(told: str) -> float | None:
    found = _DELAY.fullmatch(told)
    return float(found.group(1)) if found else None


def _names_the_key(error: BaseException) -> bool:
    # Gemini says 400, not 401, of a key that is none.
    return any("API_KEY_INVALID" in str(getattr(link, "details", "")) for link in _chain(error))
