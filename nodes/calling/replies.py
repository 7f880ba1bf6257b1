"""A model's reply read as the answer that was asked for: whole, or not at all.

LangChain's own parsers close what a cut-off JSON left open, so that half an answer passes for a
whole one, and need quadratic time for it. Here only JSON that ends counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ValidationError

from tracetune.errors import ReplyError

__all__ = ["LONGEST", "NoAnswerError", "check_ending", "read_reply", "usage_of", "with_schema"]

LONGEST = 200_000
"""Characters of a reply that are read; a few thousand are usual."""

SCANNED = 50 * LONGEST
"""Characters that are read in vain, all places together at which an answer is looked for."""

_MARK = re.compile(
    r"""
    \{(?=\s*["}])
    | <(?P<opened>think|thinking|reasoning|thought)>
    | </(?:think|thinking|reasoning|thought)>
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FENCE = re.compile(r"```(json)?", re.IGNORECASE)
_CUT_OFF = {"MAX_TOKENS", "max_tokens", "length", "model_length", "model_context_window_exceeded"}
_BLOCKED = {
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
    *("content_filter", "refusal", "guardrail_intervened"),
}
_TELLING = {"openai", "anthropic", "google_genai"}
"""Providers whose replies say how they ended; the last piece of a streamed one does."""
_ENDINGS = {"finish_reason", "stop_reason", "status"}

Answer = TypeVar("Answer", bound=BaseModel)


class NoAnswerError(ReplyError):
    """The reply holds nothing in the asked form: asked in another form, the model may answer."""


def read_reply(reply: Any, schema: type[Answer]) -> Answer:
    """Return the answer in a reply: a message of the model, or what its own parser made of one.

    Raises:
        NoAnswerError: There is no JSON object in it.
        ReplyError: It is cut off, blocked, too large, or no answer of this schema.
    """
    if isinstance(reply, schema):
        return reply
    if isinstance(reply, Mapping):
        return _as_answer(reply, schema)
    if not isinstance(reply, BaseMessage):
        raise NoAnswerError("no answer in the asked form")
    text = reply.text
    calls = getattr(reply, "tool_calls", None) or []
    size = len(text) + sum(len(str(call["args"])) for call in calls)
    if size > LONGEST:
        raise ReplyError(f"the answer is too large: {size:,} characters, at most {LONGEST:,}")
    check_ending(reply)
    for call in calls:
        if call["name"] == schema.__name__:
            return _as_answer(call["args"], schema)
    if not text.strip() and not calls:
        raise ReplyError("an empty answer")
    return _from_text(text, schema)


def usage_of(reply: Any) -> tuple[int | None, int | None]:
    """The tokens of input and output that a reply says it took; None where it says nothing."""
    usage = getattr(reply, "usage_metadata", None) or {}
    return usage.get("input_tokens"), usage.get("output_tokens")


def with_schema(prompt: str, schema: type[BaseModel]) -> str:
    """The prompt for a model that answers in plain text: it ends in the form of the answer."""
    form = json.dumps(schema.model_json_schema(), ensure_ascii=False)
    return (
        f"{prompt}\n\nAnswer with one JSON object and nothing else. It must fit this JSON "
        f"schema:\n{form}\n"
    )


def check_ending(reply: BaseMessage) -> None:
    """Refuse a reply that did not come to its end.

    Raises:
        ReplyError: It is cut off, broken off, or blocked.
    """
    told = reply.response_metadata
    ended = told.get("model_provider") not in _TELLING or not told.keys().isdisjoint(_ENDINGS)
    if not ended and getattr(reply, "tool_calls", None):
        # Text is read as JSON that ends; of a call LangChain may have closed what was left open.
        raise NoAnswerError("the answer broke off")
    reason = str(told.get("finish_reason") or told.get("stop_reason") or "")
    feedback = told.get("prompt_feedback") or {}
    if reason in _CUT_OFF:
        raise ReplyError("the answer was cut off")
    if reason in _BLOCKED or (isinstance(feedback, Mapping) and feedback.get("block_reason")):
        raise ReplyError("blocked by the provider's filter")


def _from_text(text: str, schema: type[Answer]) -> Answer:
    said = _said(text)
    wrong: ReplyError = NoAnswerError("no answer in the asked form")
    # What stands in a fence is meant as the answer; else the last word counts, not the draft.
    for found in [*reversed(said.fenced), *reversed(said.objects)]:
        if not found and said.rest:
            continue  # a brace pair in prose, and no answer that nothing is to be done
        # Of several objects, one with the schema's own keys: not an example, nor the schema.
        try:
            return _as_answer(found, schema)
        except ReplyError as error:
            wrong = error
    raise wrong


@dataclass(slots=True)
class _Said:
    """The whole JSON objects of a text that are not inside of another, nor in its thoughts."""

    fenced: list[Mapping[str, Any]] = field(default_factory=list)
    """Those that begin a fence which says that it is JSON."""
    objects: list[Mapping[str, Any]] = field(default_factory=list)
    """The others."""
    rest: str = ""
    """The prose around them."""

    def add(self, found: Mapping[str, Any], before: str) -> None:
        fenced = before.rstrip()[-7:].casefold() == "```json"
        (self.fenced if fenced else self.objects).append(found)
        self.rest += before


def _said(text: str) -> _Said:
    said, decoder = _Said(), json.JSONDecoder(strict=False)
    at = seen = 0
    left = SCANNED
    # Marks within an object are its own: a prompt may speak of <think>, too.
    while left > 0 and (mark := _MARK.search(text, at)):
        at = mark.end()
        if mark["opened"]:
            closed = re.compile(f"</{mark['opened']}>", re.IGNORECASE).search(text, at)
            said.rest += text[seen : mark.start()]
            at = seen = closed.end() if closed else len(text)
        elif mark[0] != "{":
            # Thoughts whose beginning the model's template holds: all so far was thought.
            said, seen = _Said(), at
        else:
            try:
                found, at = decoder.raw_decode(text, mark.start())
            except json.JSONDecodeError as error:
                # Its error counts the lines before it, some twenty times as fast as it reads.
                left -= error.pos - mark.start() + error.pos // 20 + 1
            except (RecursionError, ValueError):
                break  # no answer is that deep, nor holds a number of thousands of digits
            else:
                said.add(found, text[seen : mark.start()])
                seen = at
    said.rest = _FENCE.sub("", said.rest + text[seen:]).strip()
    return said


def _as_answer(found: Mapping[str, Any], schema: type[Answer]) -> Answer:
    # Where all keys have defaults, anything would pass for an empty answer.
    if found and not found.keys() & schema.model_fields.keys():
        raise ReplyError("the answer did not fit the asked form")
    try:
        return schema.model_validate(found)
    except ValidationError:
        pass
    raise ReplyError("the answer did not fit the asked form")
