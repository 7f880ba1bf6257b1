"""Whose failure it was, where the trace itself does not say."""

from __future__ import annotations

import re
from dataclasses import replace

from tracetune.traces.model import FailureKind, ToolCall, Trace

__all__ = ["CRASH_TEXTS", "EXCUSED", "REFUSAL_TEXTS", "failure_kind_of", "judged"]

EXCUSED: frozenset[FailureKind] = frozenset({"infrastructure", "user"})
"""Kinds of failure that are none of the agent's: nothing is learned from its doing there."""

REFUSAL_TEXTS = (
    r"(?i)\brate.?limit.?error\b|\brate.?limit(?: is| was| has been)? (?:exceeded|reached)"
    r"|\b429 too many requests\b|\berror code: (?:429|529)\b|\bstatus.?code:? (?:429|529)\b"
    r"|\binsufficient_quota\b|\bresource_exhausted\b|\bservice_tier_capacity_exceeded\b"
    r"|\boverloaded_error\b|\b(?:invalid|incorrect) (?:x-)?api.?key\b|\bapi.?key not valid\b"
    r"|\binvalid_api_key\b|\bauthentication_?error\b|\bthrottlingexception\b"
    r"|\bexceeded your current quota\b|\btoo many tokens per (?:minute|day)\b"
)
"""What a model's host says when it refuses: rate limits, quotas, keys. RE2 and Python agree on it.

The texts are those of OpenAI, Anthropic, Google, Bedrock, Mistral and LiteLLM.
"""

CRASH_TEXTS = (
    REFUSAL_TEXTS
    + r"|\bapi.?(?:connection|timeout).?error\b|\bconnect(?:ion)?.?(?:error|timeout)\b"
    r"|\bconnection (?:refused|reset|aborted|timed out)\b|\bread.?timeout\b"
    r"|\b(?:401 unauthorized|403 forbidden|502 bad gateway|503 service unavailable)\b"
    r"|\b504 gateway time-?out\b|\bname or service not known\b|\bmax retries exceeded\b"
    r"|\bservice ?unavailable ?error\b|\binternal ?server ?error\b|\Arequest timed out\b"
    r"|\bdeadline ?exceeded\b|\bfailure in name resolution\b|\Aoverloaded\b|\blitellm\.timeout\b"
    # What the clients of hosts raise, where the text begins with the exception's name.
    r"|\A(?:\w+\.)*\w*(?:rateLimit|resourceExhausted|tooManyRequests|authentication|permissionDenied"
    r"|unauthenticated|apiConnection|connect|serviceUnavailable|internalServer"
    r"|overloaded|remoteProtocol|(?:api|connect|gateway|pool|read|write)Timeout)"
    r"(?:ed)?(?:error|exception|timeout)?\s*[:(]"
    # By itself it may be what a tool says to a customer.
    r"|\A(?:\w+\.)*\w*unauthori[sz]ed(?:(?:error|exception)\s*[:(]|:\s*4\d\d\b)"
)
"""The same, and connections that fail, for the text of what ended the run as a whole.

A tool may say these of its own business: a refused connection is what an operator looks for.
"""

_REFUSAL = re.compile(REFUSAL_TEXTS, re.ASCII)
_CRASH = re.compile(CRASH_TEXTS, re.ASCII)


def failure_kind_of(trace: Trace) -> FailureKind:
    """The trace's own kind of failure; where unknown, "infrastructure" if it plainly ended so.

    That is: it did not succeed, and either the label `error`, which holds what ended the run, is
    the text of a failing host, or its last step is the agent's call of a tool whose error says
    that the host of a model refused. An error in the middle of a run is the run's business.
    """
    if trace.failure_kind != "unknown" or trace.success:
        return trace.failure_kind
    last = trace.steps[-1] if trace.steps else None
    error = last.error if isinstance(last, ToolCall) and last.by == "agent" else None
    if _CRASH.search(trace.labels.get("error", "")) or _REFUSAL.search(error or ""):
        return "infrastructure"
    return "unknown"


def judged(trace: Trace) -> Trace:
    """The trace of a run that tells no outcome but what ended it: it failed where it raised.

    Of any other end the run itself cannot tell, nor where its host failed.
    """
    kind = failure_kind_of(trace)
    raised = trace.labels.get("ended_by") in ("error", "recursion_limit")
    failed = raised and kind != "infrastructure"
    return replace(trace, failure_kind=kind, success=False if failed else None)
